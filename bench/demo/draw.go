package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Times between drawings, on a terminal and elsewhere.
const (
	drawEvery = 250 * time.Millisecond
	sayEvery  = 3 * time.Second
)

// watch draws the crowd until everybody has the file, somebody has failed, or
// ctx ends.
func watch(ctx context.Context, c *crowd, size int64) {
	terminal := term.IsTerminal(int(os.Stdout.Fd()))
	every := sayEvery
	if terminal {
		every = drawEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	lines := 0
	draw := func() {
		if terminal {
			text, n := bars(c, size)
			// One write: up to where it was, then over it.
			fmt.Fprintf(os.Stdout, "%s%s", strings.Repeat("\x1b[A", lines), text)
			lines = n
			return
		}
		say(os.Stdout, c, size)
	}
	for left := len(c.clients); left > 0; {
		select {
		case <-ctx.Done():
			return
		case cl := <-c.ended:
			if _, done := cl.state(); done == nil {
				return
			}
			left--
		case <-tick.C:
			draw()
		}
	}
	draw()
}

const barWidth = 40

// bars is the picture of all clients, for a terminal, and its number of lines.
func bars(c *crowd, size int64) (text string, lines int) {
	var b strings.Builder
	for i, cl := range c.clients {
		p, done := cl.state()
		rate := fmt.Sprintf("%6.1f MB/s  %2d peers", float64(p.Rate)/1e6, p.Peers)
		if done != nil {
			p.Done, p.FromEdge, p.FromPeers = done.Bytes, done.FromEdge, done.FromPeers
			rate = fmt.Sprintf("%6.1f s", done.Seconds)
		}
		edge, peers := cells(p.FromEdge, size), cells(p.FromEdge+p.FromPeers, size)
		fmt.Fprintf(&b, "%3d %s%s%s %3d%%  %s\x1b[K\n", i+1,
			strings.Repeat("█", edge), strings.Repeat("▒", peers-edge), strings.Repeat("·", barWidth-peers), percent(p.Done, size), rate)
	}
	t := total(c)
	fmt.Fprintf(&b, "\x1b[K\n    █ from the edge %s   ▒ from each other %s   %.0f s\x1b[K\n", sizeOf(t.FromEdge), sizeOf(t.FromPeers), time.Since(c.began).Seconds())
	return b.String(), len(c.clients) + 2
}

func cells(n, size int64) int { return int(min(n, size) * barWidth / max(size, 1)) }

func percent(n, size int64) int64 { return n * 100 / max(size, 1) }

// say is one line about all clients, for a log.
func say(w io.Writer, c *crowd, size int64) {
	t, have := total(c), 0
	for _, cl := range c.clients {
		if _, done := cl.state(); done != nil {
			have++
		}
	}
	fmt.Fprintf(w, "%4.0f s  %3d%%  %2d of %d complete  from the edge %s, from each other %s\n", time.Since(c.began).Seconds(),
		percent(t.Done, size*int64(len(c.clients))), have, len(c.clients), sizeOf(t.FromEdge), sizeOf(t.FromPeers))
}

func total(c *crowd) progress {
	var t progress
	for _, cl := range c.clients {
		p, done := cl.state()
		if done != nil {
			p.Done, p.FromEdge, p.FromPeers = done.Bytes, done.FromEdge, done.FromPeers
		}
		t.Done += p.Done
		t.FromEdge += p.FromEdge
		t.FromPeers += p.FromPeers
	}
	return t
}

func sizeOf(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
