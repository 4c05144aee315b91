package agent

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
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

func guardOf(err error) func(string, netip.AddrPort) error {
	return func(string, netip.AddrPort) error { return err }
}
