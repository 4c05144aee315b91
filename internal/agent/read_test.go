package agent

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestOrdinaryWaitsForItsReader opens an object without a manifest and does not
// read for a moment: no more than a little is fetched.
func TestOrdinaryWaitsForItsReader(t *testing.T) {
	data := random(9, 64<<20)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a" {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "a", time.Unix(1, 0), bytes.NewReader(data))
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
	// Until that is known the response runs on, which may be for all of a short one.
	known := d.Progress().Done
	until(t, "reading ahead", func() bool { return d.Progress().Done >= readAhead })
	<-time.After(50 * time.Millisecond)
	if n := d.Progress().Done; n > max(known, readAhead)+(256<<10) {
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
