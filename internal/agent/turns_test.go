package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"
)

func TestTurns(t *testing.T) {
	var ts turns
	a, b, quick := &turn{off: 1}, &turn{off: 2}, &turn{off: 3}
	at := time.Unix(0, 0)
	if !ts.leads(quick, at) {
		t.Error("nobody waits, and a reader does not lead")
	}
	ts.enter(a, at)
	ts.enter(b, at.Add(time.Millisecond))
	if !ts.leads(a, at) || ts.leads(b, at) || ts.leads(quick, at) {
		t.Error("not the first leads")
	}
	ts.leave(a) // it was served, and asks again
	a = &turn{off: 4}
	ts.enter(a, at.Add(turnAfter/2))
	if late := at.Add(turnAfter + time.Millisecond); !ts.leads(b, late) || ts.leads(a, late) {
		t.Error("who has waited long does not lead")
	}
	ts.leave(b)
	if late := at.Add(2 * turnAfter); !ts.leads(a, late) || ts.leads(quick, late) {
		t.Error("the next one does not lead")
	}
	ts.leave(a)
	if len(ts.wait) != 0 || ts.lead != nil {
		t.Errorf("%d left", len(ts.wait))
	}
}

// TestReadersAtManyPlaces reads an object at several places at once, as download
// managers do: each reader gets its part, in order and in time.
func TestReadersAtManyPlaces(t *testing.T) {
	data := random(3, 24<<20)
	base, _ := realEdge(t, map[string][]byte{"a": data})
	e, err := New(Config{Data: t.TempDir(), DownloadLimit: 12 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	d, err := e.Download(t.Context(), Request{URL: base + "/a", Sequential: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if ordinary, err := d.Ordinary(t.Context()); ordinary || err != nil {
		t.Fatalf("ordinary %v, %v", ordinary, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const readers = 4
	part := len(data) / readers
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			from := (readers - 1 - i) * part // the last part first: what is before it is out of its window
			got := make([]byte, part)
			for n := 0; n < part; {
				m, err := d.ReadAt(ctx, got[n:min(part, n+32<<10)], int64(from+n))
				if n += m; err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("reader at %d: after %d bytes: %v", from, n, err)
					return
				}
			}
			if !bytes.Equal(got, data[from:from+part]) {
				t.Errorf("reader at %d: other bytes", from)
			}
		})
	}
	wg.Wait()
}

// TestGuard has a guard refuse: neither the object nor what describes it is asked for,
// whatever name it has; downloads that are not guarded go on.
func TestGuard(t *testing.T) {
	data := random(4, 2<<20)
	base, gets := realEdge(t, map[string][]byte{"a": data})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused by the guard")
	e, err := New(Config{Data: t.TempDir(), Guard: guardOf(refused)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	for _, at := range []string{base, "http://localhost:" + u.Port()} {
		d, err := e.Download(t.Context(), Request{URL: at + "/a", Guarded: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Wait(t.Context()); !errors.Is(err, refused) {
			t.Errorf("%s: %v", at, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := e.Guarded().Do(req); !errors.Is(err, refused) {
			if err == nil {
				resp.Body.Close()
			}
			t.Errorf("%s: %v", at, err)
		}
	}
	if _, err := e.WellKnown(t.Context(), u); !errors.Is(err, refused) {
		t.Errorf("well-known document: %v", err)
	}
	if n := gets.Load(); n != 0 {
		t.Errorf("%d requests went past the guard", n)
	}
	r, err := fetchTo(t, e, Request{URL: base + "/a", File: t.TempDir() + "/a"})
	if err != nil || r.Size != int64(len(data)) {
		t.Errorf("not guarded: %+v, %v", r, err)
	}
}

func guardOf(err error) func(string, netip.AddrPort) error {
	return func(string, netip.AddrPort) error { return err }
}
