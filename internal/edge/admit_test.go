package edge

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// A full edge refuses the bytes of objects and nothing else: whoever is refused
// learns when to come back, and how to begin without this edge.
func TestFullEdge(t *testing.T) {
	tmp := t.TempDir()
	const size = 64 << 20 // more than socket buffers hold
	put(t, tmp, "big", make([]byte, size))
	_, base := start(t, Config{Origin: tmp, MaxRequests: 2, Mirrors: []string{"https://mirror.example/m"}})
	type reply struct {
		StatusCode    int
		Header        http.Header
		ContentLength int64
		Body          io.ReadCloser
	}
	ask := func(method, path, rng string) reply {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if rng != "" {
			req.Header.Set("Range", rng)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return reply{resp.StatusCode, resp.Header, resp.ContentLength, resp.Body}
	}
	first, second := ask("GET", "/big", ""), ask("GET", "/big", "")
	if first.StatusCode != 200 || second.StatusCode != 200 {
		t.Fatalf("statuses %d and %d", first.StatusCode, second.StatusCode)
	}

	began := time.Now()
	if resp := ask("GET", "/big", "bytes=0-1048575"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("first bytes: status %d", resp.StatusCode)
	}
	refused := ask("GET", "/big", "")
	if time.Since(began) >= lineTime {
		t.Error("who could begin elsewhere had to wait")
	}
	seconds, err := strconv.Atoi(refused.Header.Get("Retry-After"))
	if refused.StatusCode != http.StatusServiceUnavailable || err != nil || seconds < 1 || seconds > longestRetry {
		t.Errorf("status %d, Retry-After %q", refused.StatusCode, refused.Header.Get("Retry-After"))
	}
	links := strings.Join(refused.Header.Values("Link"), ", ")
	if !strings.Contains(links, wire.ManifestType) || !strings.Contains(links, `<https://mirror.example/m/big>; rel="duplicate"`) {
		t.Errorf("links %q", links)
	}
	for _, path := range []string{wire.WellKnownPath, healthPath} {
		if resp := ask("GET", path, ""); resp.StatusCode != 200 {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
	if resp := ask("HEAD", "/big", ""); resp.StatusCode != 200 || resp.ContentLength != size {
		t.Errorf("HEAD: status %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}

	// A part waits for its turn.
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		<-time.After(100 * time.Millisecond)
		_ = first.Body.Close()
	})
	part := ask("GET", "/big", "bytes=5-9")
	if b, err := io.ReadAll(part.Body); part.StatusCode != http.StatusPartialContent || len(b) != 5 || err != nil {
		t.Errorf("part: status %d, %d bytes, %v", part.StatusCode, len(b), err)
	}
}

// Retry-After grows with the crowd and spreads it.
func TestRetryGrows(t *testing.T) {
	now := time.Unix(1000, 0)
	a := newAdmission(1, func() time.Time { return now })
	if s := a.retry(); s != 1 {
		t.Errorf("first refused for %d s", s)
	}
	seen := map[int]bool{}
	for range 1000 {
		s := a.retry()
		if s < 1 || s > longestRetry {
			t.Fatalf("refused for %d s", s)
		}
		seen[s] = true
	}
	if len(seen) < 20 {
		t.Errorf("a thousand were told %d different times", len(seen))
	}
	now = now.Add(time.Second)
	if s := a.retry(); s != 1 {
		t.Errorf("refused for %d s when the crowd is gone", s)
	}
}
