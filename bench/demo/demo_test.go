package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func done(edge, peers int64, sum string) *client {
	return &client{done: &result{Bytes: edge + peers, Seconds: 2, FromEdge: edge, FromPeers: peers, Peers: 3, SHA256: sum}}
}

func TestTable(t *testing.T) {
	obj := object{size: 1000, sha256: "s"}
	var b strings.Builder
	c := &crowd{clients: []*client{done(1000, 0, "s"), done(500, 500, "s")}}
	if err := table(&b, c, obj, options{rate: "1K"}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"1.50 copies for 2 clients", "25% came from each other", "equal", "alone takes 1.0 s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	c.clients = append(c.clients, done(1000, 0, "other"))
	if err := table(&b, c, obj, options{}); err == nil || !strings.Contains(b.String(), "DIFFERS") {
		t.Errorf("a file that differs: %v", err)
	}
}

func TestBars(t *testing.T) {
	c := &crowd{clients: []*client{{last: progress{Done: 500, FromEdge: 250, FromPeers: 250}}, done(500, 500, "")}}
	text, lines := bars(c, 1000)
	if n := strings.Count(text, "\n"); n != lines {
		t.Errorf("%d lines, said %d", n, lines)
	}
	if want := strings.Repeat("█", 10) + strings.Repeat("▒", 10) + strings.Repeat("·", 20) + "  50%"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
}

func TestLinkReplaces(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, content := range []string{"one", "two"} {
		if err := os.WriteFile(from, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := link(from, to); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(to); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	}
}
