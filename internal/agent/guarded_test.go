package agent

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
	"time"
)

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

// What passes the engine by counts for its limits all the same.
func TestMetered(t *testing.T) {
	const size = 4 << 20
	e, err := New(Config{Data: t.TempDir(), DownloadLimit: 8 << 20, DownloadMonthly: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	read := func() (int64, error) {
		rc := e.Metered(t.Context(), io.NopCloser(bytes.NewReader(random(1, size))))
		defer rc.Close()
		return io.Copy(io.Discard, rc)
	}
	began := time.Now()
	if n, err := read(); n < size-1<<20 || err != nil && !errors.Is(err, ErrMonthly) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("%d bytes took %v at 8 MiB/s", size, took)
	}
	if n, err := read(); n != 0 || !errors.Is(err, ErrMonthly) {
		t.Errorf("when the month's bytes are used up: %d bytes, %v", n, err)
	}
}

func guardOf(err error) func(string, netip.AddrPort) error {
	return func(string, netip.AddrPort) error { return err }
}
