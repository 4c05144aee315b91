package e2e

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/lab"
)

// One of two edges fails in the middle of a download, in silence. It takes hardly
// longer than from the good edge alone.
func TestEdgeGoesBad(t *testing.T) {
	const (
		size = 16 * mib
		rate = 20 * lab.Mbit
	)
	path := file(t, "a.bin", size)
	want := read(t, path)
	run := func(t *testing.T, harm func(ctx context.Context, bad *lab.Host) error, flags ...string) float64 {
		l := lab.ForTest(t)
		ctx := t.Context()
		link := lab.Link{Up: rate, Down: rate}
		var edges []*lab.Host
		for _, addr := range []string{"10.77.1.1:80", "10.77.1.2:80"} {
			edge, err := l.Server(ctx, link)
			edges = append(edges, host(t, edge, err))
			on(t, edge, append([]string{"serve", filepath.Dir(path), "--listen", addr, "--data", t.TempDir()}, flags...)...).ready(t)
		}
		client, err := l.Client(ctx, lab.Link{Up: rate, Down: rate}, lab.Open)
		d := getOn(t, host(t, client, err), "http://10.77.1.1/a.bin")
		d.reached(t, size, 0.2)
		if err := harm(ctx, edges[0]); err != nil {
			t.Fatal(err)
		}
		o := d.done(t, want)
		t.Logf("%.2f s, %d bytes wasted", o.Seconds, o.Wasted)
		if o.Wasted > size/50 {
			t.Errorf("%d bytes wasted", o.Wasted)
		}
		return o.Seconds
	}
	alone := run(t, func(context.Context, *lab.Host) error { return nil })
	for name, harm := range map[string]func(context.Context, *lab.Host) error{
		"slow": func(ctx context.Context, h *lab.Host) error { return h.Throttle(ctx, lab.Mbit) },
		"dead": func(ctx context.Context, h *lab.Host) error { return h.Blackhole(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			// Half a second is for what the machine does besides.
			if took := run(t, harm, "--mirrors", "http://10.77.1.2"); took > alone*1.1+0.5 {
				t.Errorf("%.2f s, from the good edge alone %.2f s", took, alone)
			}
		})
	}
}

// More clients than an edge admits: nobody fails, nobody has to wait for all the
// others.
func TestSpike(t *testing.T) {
	const (
		n    = 8
		size = 8 * mib
		rate = 20 * lab.Mbit
	)
	l := lab.ForTest(t)
	ctx := t.Context()
	link := lab.Link{Up: rate, Down: rate}
	edge, err := l.Server(ctx, link)
	host(t, edge, err)
	path := file(t, "a.bin", size)
	want := read(t, path)
	on(t, edge, "serve", filepath.Dir(path), "--listen", "10.77.1.1:80", "--data", t.TempDir(), "--max-requests", "2").ready(t)
	clients, err := l.Clients(ctx, n, link, lab.Open)
	if err != nil {
		t.Fatal(err)
	}
	var all []*download
	began := time.Now()
	for _, h := range clients {
		all = append(all, getOn(t, h, "http://10.77.1.1/a.bin", "--linger", "1h"))
	}
	for _, d := range all {
		d.done(t, want)
	}
	took, alone := time.Since(began).Seconds(), n*size*8/float64(rate)
	t.Logf("%.1f s, the edge alone would take %.1f s", took, alone)
	if took > alone {
		t.Errorf("took %.1f s", took)
	}
}
