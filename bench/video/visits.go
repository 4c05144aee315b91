//go:build linux

package main

import (
	"math/rand/v2"
	"time"
)

// visit is a player's stay in the crowd. Times are those since the first began; one that
// ends at 0 plays to the stream's end.
type visit struct {
	begins, ends time.Duration
	killed       bool // its agent is killed when it leaves
}

// visits are who comes when, and goes: the crowd that begins, then one after the other, and
// who is there is as likely to be killed as anybody else.
func (o options) visits() []visit {
	var all []visit
	for i := range o.players {
		all = append(all, visit{begins: time.Duration(i) * o.stagger})
	}
	if !o.live {
		return all
	}
	gathered := all[len(all)-1].begins
	end := gathered + time.Duration(o.seconds)*time.Second
	for at := gathered + o.join; o.join > 0 && at < end-o.join/2; at += o.join {
		all = append(all, visit{begins: at})
	}
	for i := range all {
		all[i].ends = end
	}
	draw := rand.New(rand.NewPCG(1, 1))
	for at := gathered + o.kill; o.kill > 0 && at < end; at += o.kill {
		var there []int
		for i, v := range all {
			if v.begins < at-time.Second && !v.killed {
				there = append(there, i)
			}
		}
		i := there[draw.IntN(len(there))]
		all[i].ends, all[i].killed = at, true
	}
	return all
}
