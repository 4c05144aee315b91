//go:build linux

// Command video plays HLS or DASH on hosts of the lab, with a player on each that behaves
// as hls.js does: a stream that ffmpeg has made, from nginx through `tandem edge`, once
// straight from the edge and once by the gateway of an agent on each host. Every segment
// is compared with the origin's.
//
//	go run ./bench/video                       # on demand, 12 players, 3 renditions
//	go run ./bench/video -live -n 16 -seconds 600 -join 20s -kill 30s
//	go run ./bench/video -low -n 16 -segment 2 -behind 3.4s
//	go run ./bench/video -format time          # DASH; also number, timeline, list, ranges
//
// Figures go to bench/results. It needs root, nginx and ffmpeg.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	rig.Options
	players int
	stagger time.Duration
	up      float64 // Mbit/s
	down    float64
	edge    float64
	seconds int // of the stream
	segment int // seconds
	behind  time.Duration
	live    bool
	low     bool
	format  string
	join    time.Duration
	kill    time.Duration
	what    string
	page    string
}

// result is one crowd of players; the tables of all make bench/results/video.md.
type result struct {
	Case    string      `json:"case"`
	What    string      `json:"what"`
	Live    bool        `json:"live"`
	Date    string      `json:"date"`
	Players []played    `json:"players"`
	Sent    int64       `json:"edge_sent"`   // bytes, all headers and control's counted
	Line    []float64   `json:"edge_mbit"`   // each second, what the edge sent
	Got     []float64   `json:"played_mbit"` // and what players got
	Machine rig.Machine `json:"machine"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == playerArg {
		rig.Main(playerMain)
		return
	}
	if len(os.Args) > 1 && os.Args[1] == originArg {
		rig.Main(originMain)
		return
	}
	rig.Main(bench)
}

func parse() options {
	var o options
	flag.IntVar(&o.players, "n", 12, "players")
	flag.DurationVar(&o.stagger, "stagger", 5*time.Second, "between the beginnings of two players")
	flag.Float64Var(&o.up, "up", 20, "of each player, in Mbit/s")
	flag.Float64Var(&o.down, "down", 20, "of each player, in Mbit/s")
	flag.Float64Var(&o.edge, "edge", 0, "what the edge sends at most, in Mbit/s; 0: what it can")
	flag.IntVar(&o.seconds, "seconds", 120, "how long the stream is, or is watched when all have begun")
	flag.IntVar(&o.segment, "segment", 4, "length of a segment in seconds")
	flag.DurationVar(&o.behind, "behind", 7500*time.Millisecond, "how far behind the source players of a live stream are")
	flag.BoolVar(&o.live, "live", false, "a live stream")
	flag.StringVar(&o.format, "format", "hls", "hls, or how a DASH stream names its segments: number, timeline, time, list, ranges (of one file)")
	flag.DurationVar(&o.join, "join", 0, "how often another player joins a live stream; 0: never")
	flag.DurationVar(&o.kill, "kill", 0, "how often one leaves it, its agent killed; 0: never")
	flag.BoolVar(&o.low, "low", false, "the live stream as Low-Latency HLS, in parts of half a second")
	flag.StringVar(&o.what, "what", "edge,tandem", "what plays: edge alone, tandem")
	flag.StringVar(&o.page, "report", "", "file for a page that shows the runs")
	o.Parse(1, "runs of each")
	o.live = o.live || o.low
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	if _, dash := addressing[o.format]; !dash && o.format != "hls" || o.live && o.format == "ranges" || o.low && o.format != "hls" {
		return fmt.Errorf("-format %q: want hls, which is all that has -low, number, timeline, time, list, or on demand ranges", o.format)
	}
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	var all []*result
	for range o.Runs {
		for what := range strings.SplitSeq(o.what, ",") {
			if what != "edge" && what != "tandem" {
				return fmt.Errorf("-what %q: want edge, tandem", what)
			}
			r, err := o.crowd(ctx, what == "tandem")
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			fmt.Println(r)
			all = append(all, r)
			if o.Save {
				if err := rig.WriteJSON("video-"+r.Case+"-"+what, r); err != nil {
					return err
				}
			}
		}
	}
	if o.page != "" {
		if err := report(o.page, all); err != nil {
			return err
		}
		fmt.Println("report:", o.page)
	}
	if !o.Save {
		return nil
	}
	return write()
}

// name is what the case is filed under.
func (o options) name() string {
	kind := "vod"
	if o.live {
		kind = "live"
	}
	if o.low {
		kind = "low"
	}
	if o.format != "hls" {
		kind += "-dash-" + o.format
	}
	name := fmt.Sprintf("%s-n%d-%ds-%g-%g-%g", kind, o.players, o.segment, o.up, o.down, o.edge)
	if o.join > 0 || o.kill > 0 {
		name += "-churn"
	}
	return name
}

func (o options) link(mbit float64) lab.Rate { return lab.Rate(mbit * float64(lab.Mbit)) }

var errWrong = errors.New("a player was given wrong bytes")
