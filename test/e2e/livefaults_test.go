package e2e

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/hostile"
)

// fault is what is wrong with a broadcast.
type fault struct {
	edge   string                                // by how much its clock is wrong
	agents [3]string                             // likewise
	harm   func(t *testing.T, b *broadcast)      // is done once all are under way; nil: nothing
	check  func(t *testing.T, viewers []*viewer) // in the end; nil: nothing more
}

// What goes wrong with a live stream hurts those who share it no more than one who gets it
// from the edge alone, beside them: nobody sees a byte that is not what ffmpeg wrote, loses
// a segment, or waits for longer; and they go on sharing, as far as they can.
func TestLiveFaults(t *testing.T) {
	need(t, "ffmpeg")
	need(t, "nginx")
	_, _ = buildAstray() // before anything is timed; who needs it hears of errors
	var wg sync.WaitGroup
	defer wg.Wait()
	turns := make(chan struct{}, 2*runtime.NumCPU()) // they do little but wait
	for name, f := range map[string]fault{
		"control killed":                 {harm: func(_ *testing.T, b *broadcast) { b.control.kill() }},
		"edge killed":                    {harm: edgeAway},
		"edge replaced":                  {harm: edgeReplaced},
		"encoder restarted, same names":  {harm: func(_ *testing.T, b *broadcast) { b.again("0") }},
		"encoder restarted, other names": {harm: func(_ *testing.T, b *broadcast) { b.again("5000") }},
		"clocks":                         {edge: "-30s", agents: [3]string{"30s", "-30s", ""}},
		"poisoners":                      poisoned(),
	} {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			t.Run(name, f.test)
		})
	}
}

// edgeAway has the edge killed, and begin again ten seconds later.
func edgeAway(t *testing.T, b *broadcast) {
	b.edge.kill()
	<-time.After(10 * time.Second)
	b.edge = tandem(t, b.edge.cmd.Args[1:]...)
	b.edge.ready(t)
}

// edgeReplaced has the edge killed, and another begin at once in its place, which knows
// nothing of what that knew.
func edgeReplaced(t *testing.T, b *broadcast) {
	b.edge.kill()
	args := slices.Clone(b.edge.cmd.Args[1:])
	args[slices.Index(args, "--data")+1] = t.TempDir()
	b.edge = tandem(t, args...)
	b.edge.ready(t)
}

// poisoned has peers join that claim all and send rubbish, or nothing.
func poisoned() fault {
	var peers []*hostile.Peer
	return fault{
		harm: func(t *testing.T, b *broadcast) {
			for _, behave := range []hostile.Behaviour{hostile.Corrupt, hostile.Corrupt, hostile.Stall, hostile.Trickle, hostile.Lie, hostile.Garbage} {
				p, err := hostile.StartStream(t.Context(), b.url+"/0.m3u8", behave)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = p.Close() })
				peers = append(peers, p)
			}
		},
		check: func(t *testing.T, viewers []*viewer) {
			found := 0
			for i, p := range peers {
				if p.Links() == 0 {
					t.Errorf("hostile peer %d was never linked", i)
				}
				for _, v := range viewers {
					if v.door != nil && i < 2 && named(v.door.agent.stderr.String(), p.Key().Short()) {
						found++
					}
				}
			}
			if found == 0 {
				t.Error("nobody has found out who sends rubbish")
			}
		},
	}
}

// test has three watch through gateways and one at the edge, and one more of each once the
// harm is done.
func (f fault) test(t *testing.T) {
	b := newBroadcast(t, f.edge)
	alone, late := &viewer{b: b, base: b.url}, &viewer{b: b, base: b.url}
	all := []*viewer{alone}
	for _, clock := range f.agents {
		all = append(all, b.gateway(clock))
	}
	lateShared := b.gateway("")
	ctx, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, v := range all {
		wg.Go(func() { v.watch(ctx) })
	}
	all = append(all, late, lateShared)
	<-time.After(6 * time.Second)
	before := sums(t, all)
	if f.harm != nil {
		f.harm(t, b)
	}
	for _, v := range []*viewer{late, lateShared} {
		wg.Go(func() { v.watch(ctx) })
	}
	<-time.After(4 * time.Second)
	after := sums(t, all)
	<-time.After(6 * time.Second)
	last := sums(t, all)
	end()
	wg.Wait()
	t.Logf("before %+v, afterwards %+v, in the end %+v", before, after, last)
	if before.peers == 0 || last.peers-after.peers < (last.played-after.played)/8 {
		t.Error("hardly anything from peers")
	}
	if f.check != nil {
		f.check(t, all)
	}
	for i, v := range all {
		if v == late { // who has as little to play as its like
			alone = late
		}
		t.Logf("viewer %d: %d segments, %d lost, stalled for %v\n%s", i, v.segments, v.lost, v.stalled.Round(time.Millisecond), strings.Join(v.log, "\n"))
		if len(v.wrong) > 0 {
			t.Errorf("viewer %d has seen wrong bytes: %v", i, v.wrong)
		}
		if v.segments < max(1, alone.segments-2) || v.lost > alone.lost || v.stalled > alone.stalled+time.Second {
			t.Errorf("viewer %d: %d segments, %d lost, stalled for %v; with the edge alone %d, %d, %v", i, v.segments, v.lost, v.stalled, alone.segments, alone.lost, alone.stalled)
		}
	}
}

// sum is what those behind gateways have had so far, in bytes.
type sum struct{ played, peers, edge int64 }

func sums(t *testing.T, all []*viewer) (s sum) {
	t.Helper()
	for _, v := range all {
		if v.door != nil {
			tr := v.door.traffic(t)
			s.played += v.bytes.Load()
			s.peers += tr.FromPeers
			s.edge += tr.FromEdge
		}
	}
	return s
}
