package directory

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Numbers are held by one member each, are those below Of, and become few when
// members go.
func TestDutiesAreDisjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSwarm()
		in := map[int]*Peer{}
		join := func(n, have int) {
			w := who{n: n, ip: fmt.Sprintf("20.0.%d.%d", n%200, n/200), facts: Facts{
				NAT: wire.NATOpen, Uploads: n%7 != 0, Uplink: uint32(n%3) * 10_000,
			}, have: have}
			p := in[n]
			if p == nil {
				p = w.peer()
				in[n] = p
			}
			s.Put(p, w.membership(), start)
		}
		for n := range rapid.IntRange(1, 400).Draw(t, "members") {
			join(n, 0)
		}
		for range rapid.IntRange(0, 300).Draw(t, "changes") {
			switch n := rapid.IntRange(0, 500).Draw(t, "member"); rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				join(n, 0)
			case 1:
				join(n, total)
			default:
				if in[n] != nil {
					s.Remove(in[n])
				}
			}
		}
		holders := map[uint32]bool{}
		due, live := 0, uint32(0)
		for _, m := range s.members {
			if m.uploads && !m.Seed() {
				due++
			}
		}
		for m, held := range s.duties.held {
			live += held.Width
			if s.members[m.Peer.Key] != m || !m.uploads || m.Seed() {
				t.Fatalf("%+v is held by one who should not", held)
			}
			for i := range held.Width {
				if n := held.Index + i; holders[n] || n >= s.duties.of {
					t.Fatalf("number %d of %d is held twice, or out of range", n, s.duties.of)
				}
				holders[held.Index+i] = true
			}
			if d := s.duties.duty(m); (d.Of > 0) != (due > SmallSwarm) {
				t.Fatalf("%d members, duty %+v", due, d)
			}
		}
		if len(s.duties.held) != due {
			t.Fatalf("%d hold numbers, %d should", len(s.duties.held), due)
		}
		if live != s.duties.live {
			t.Fatalf("%d numbers are held, the books say %d", live, s.duties.live)
		}
		if due == 0 && s.duties.of != 0 {
			t.Fatal("numbers are left where nobody is")
		}
	})
}

// Members are told anew when a swarm has grown by half, and not before.
func TestRedivide(t *testing.T) {
	d := New(1)
	scope := Scope{Publisher: key(1)}
	told := map[wire.Key]wire.Duty{}
	redivide := func() int {
		clear(told)
		d.Redivide(func(_ Scope, p *Peer, duty wire.Duty) { told[p.Key] = duty })
		return len(told)
	}
	joined := 0
	var peers []*Peer
	join := func(upTo int) {
		for ; joined < upTo; joined++ {
			w := who{n: joined, ip: fmt.Sprintf("20.0.%d.1", joined), facts: Facts{Uploads: true}}
			peers = append(peers[:joined], w.peer())
			d.Join(scope, peers[joined], w.membership(), Query{Now: start})
		}
	}
	for _, step := range []struct{ members, told int }{{100, 100}, {149, 0}, {151, 151}, {200, 0}, {90, 90}, {80, 0}} {
		join(step.members)
		for ; joined > step.members; joined-- {
			d.Leave(scope, peers[joined-1])
		}
		if n := redivide(); n != step.told {
			t.Fatalf("with %d members %d were told, want %d", step.members, n, step.told)
		}
		for k, duty := range told {
			if duty.Of != uint32(step.members) || duty.Width != 1 {
				t.Fatalf("%v was told %+v of %d", k.Short(), duty, step.members)
			}
		}
	}
}
