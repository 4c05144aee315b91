package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/test/lab"
)

// on is the part of this package's commands that runs on a host of the lab.
func on(t *testing.T, h *lab.Host, args ...string) *process {
	t.Helper()
	// The lab's context must outlive the clean-up of the process.
	cmd := h.Command(context.WithoutCancel(t.Context()), "tandem", args...)
	return start(t, cmd)
}

// getOn starts a download on a host.
func getOn(t *testing.T, h *lab.Host, url string, flags ...string) *download {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	args := append([]string{"get", url, "-o", file, "--json", "--data", t.TempDir()}, flags...)
	return &download{on(t, h, args...), file}
}

func host(t *testing.T, h *lab.Host, err error) *lab.Host {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A crowd gets most of what it wants from each other: the edge sends little more
// than half the copies, and nobody waits as long as for the edge alone.
func TestFlashCrowd(t *testing.T) {
	const (
		n    = 6
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
	on(t, edge, "serve", filepath.Dir(path), "--listen", "10.77.1.1:80", "--data", t.TempDir()).ready(t)
	clients, err := l.Clients(ctx, n, link, lab.Open)
	if err != nil {
		t.Fatal(err)
	}
	var all []*download
	for _, h := range clients {
		all = append(all, getOn(t, h, "http://10.77.1.1/a.bin", "--linger", "1h"))
	}
	var last float64
	for _, d := range all {
		last = max(last, d.done(t, want).Seconds)
	}
	sent, err := edge.Counters(ctx)
	if err != nil {
		t.Fatal(err)
	}
	copies := float64(sent.Sent) / size
	alone := n * size * 8 / float64(rate)
	t.Logf("last client after %.1f s, the edge alone would take %.1f s; it sent %.2f copies", last, alone, copies)
	if copies > n/2.+0.5 || last > alone {
		t.Errorf("%.2f copies for %d clients, %.1f s", copies, n, last)
	}
}

// Clients behind NATs that cannot reach each other do not notice; those that can
// share.
func TestCrowdBehindNATs(t *testing.T) {
	const size = 16 * mib
	for _, tt := range []struct {
		seed, client lab.NAT
		links        bool
	}{
		{lab.Cone, lab.Cone, true},
		{lab.Open, lab.Symmetric, true},
		{lab.Symmetric, lab.Open, true},
		{lab.Firewalled, lab.Open, true},       // the open one is called over TCP
		{lab.Firewalled, lab.Firewalled, true}, // both call at once
		{lab.Firewalled, lab.Symmetric, false},
		{lab.Symmetric, lab.Symmetric, false},
	} {
		t.Run(string(tt.seed)+"-"+string(tt.client), func(t *testing.T) {
			t.Parallel()
			l := lab.ForTest(t)
			ctx := t.Context()
			edge, err := l.Server(ctx, lab.Link{Up: 20 * lab.Mbit, Down: 20 * lab.Mbit})
			host(t, edge, err)
			path := file(t, "a.bin", size)
			want := read(t, path)
			on(t, edge, "serve", filepath.Dir(path), "--listen", "10.77.1.1:80", "--data", t.TempDir()).ready(t)
			link := lab.Link{Up: 20 * lab.Mbit, Down: 20 * lab.Mbit}
			a, err := l.Client(ctx, link, tt.seed)
			host(t, a, err)
			b, err := l.Client(ctx, link, tt.client)
			host(t, b, err)
			getOn(t, a, "http://10.77.1.1/a.bin", "--linger", "1h", "--log-level", "debug").done(t, want)
			o := getOn(t, b, "http://10.77.1.1/a.bin", "--limit-rate", "1M", "--log-level", "debug").done(t, want)
			if (o.FromPeers > 0) != tt.links {
				t.Errorf("from_peers %d of %d", o.FromPeers, size)
			}
		})
	}
}

// Two clients behind symmetric NATs link over TCP when the router of one of them maps its
// port, which the agent asks for by itself.
func TestPortMapping(t *testing.T) {
	const size = 16 * mib
	lab.NeedPortMapper(t)
	l := lab.ForTest(t)
	ctx := t.Context()
	link := lab.Link{Up: 20 * lab.Mbit, Down: 20 * lab.Mbit}
	edge, err := l.Server(ctx, link)
	host(t, edge, err)
	path := file(t, "a.bin", size)
	want := read(t, path)
	const url = "http://10.77.1.1/a.bin"
	on(t, edge, "serve", filepath.Dir(path), "--listen", "10.77.1.1:80", "--data", t.TempDir()).ready(t)
	a, err := l.Home(ctx, link, lab.Symmetric)
	host(t, a, err)
	b, err := l.Home(ctx, link, lab.Symmetric)
	host(t, b, err)
	if _, err := a.ServePortMapping(ctx, t.TempDir(), lab.SpeakAll); err != nil {
		t.Fatal(err)
	}

	data := t.TempDir()
	on(t, a, "agent", "--data", data, "--log-level", "debug").ready(t)
	if code := on(t, a, "get", url, "-o", filepath.Join(t.TempDir(), "a"), "--data", data).wait(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	status, err := a.Run(ctx, "tandem", "status", "--data", data)
	if err != nil {
		t.Fatal(err)
	}
	if at := "tcp by PCP at " + a.Public.String() + ":"; !strings.Contains(string(status), at) {
		t.Errorf("status without %q:\n%s", at, status)
	}
	d := getOn(t, b, url, "--limit-rate", "1M", "--log-level", "debug")
	o := d.done(t, want)
	if o.FromPeers == 0 {
		t.Errorf("from_peers %d of %d", o.FromPeers, size)
	}
	if log := d.stderr.String(); !strings.Contains(log, "kind=tcp addr="+a.Public.String()) {
		t.Errorf("no link over TCP to %s:\n%s", a.Public, log)
	}
}
