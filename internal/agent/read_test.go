package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// held is content whose body is given after its first bytes only once ready is closed.
type held struct {
	io.ReadSeeker
	ctx   context.Context //nolint:containedctx // of the one request that it answers
	ready chan struct{}
	gave  int
}

func (h *held) Read(p []byte) (int, error) {
	if h.gave >= 64<<10 {
		select {
		case <-h.ready:
		case <-h.ctx.Done():
			return 0, h.ctx.Err()
		}
	}
	n, err := h.ReadSeeker.Read(p)
	h.gave += n
	return n, err
}

// TestOrdinaryWaitsForItsReader opens an object without a manifest and does not
// read for a moment: no more than a little is fetched.
func TestOrdinaryWaitsForItsReader(t *testing.T) {
	data := random(9, 8<<20)
	known := make(chan struct{}) // whether there is a manifest: until then the response runs on
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a" {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "a", time.Unix(1, 0), &held{ReadSeeker: bytes.NewReader(data), ctx: r.Context(), ready: known})
	}))
	t.Cleanup(s.Close)
	d, err := newEngine(t).Download(t.Context(), Request{URL: s.URL + "/a", Sequential: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if ordinary, err := d.Ordinary(t.Context()); !ordinary || err != nil {
		t.Fatalf("ordinary: %v, error %v", ordinary, err)
	}
	close(known)
	until(t, "reading ahead", func() bool { return d.Progress().Done >= readAhead })
	<-time.After(50 * time.Millisecond)
	if n := d.Progress().Done; n > readAhead+(128<<10) {
		t.Errorf("%d bytes before anything is read", n)
	}
	var got []byte
	for buf := make([]byte, 1<<20); err == nil; {
		var n int
		n, err = d.ReadAt(t.Context(), buf, int64(len(got)))
		got = append(got, buf[:n]...)
	}
	if !errors.Is(err, io.EOF) || !bytes.Equal(got, data) {
		t.Errorf("read %d of %d bytes, error %v", len(got), len(data), err)
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
