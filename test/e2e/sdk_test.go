package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	sdk "github.com/tandem-cdn/tandem"
)

// Seeking into the middle of a big object costs little more than asking the
// server for the piece that is there: no byte is shown before its piece is
// verified.
func TestSDKSeeks(t *testing.T) {
	const (
		size  = 1 << 30
		piece = mib
		rate  = 64 * mib               // of the edge, per second
		slack = 100 * time.Millisecond // for what the machine does besides
	)
	path := filepath.Join(t.TempDir(), "big.bin")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	mark := random(piece)
	if _, err := f.WriteAt(mark, size/2); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	base, _ := serve(t, filepath.Dir(path))
	u := throttled(t, base, rate) + "/big.bin"
	c, err := sdk.New(sdk.Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })

	best, plain := time.Hour, time.Hour
	for range 3 {
		begin := time.Now()
		r := request(t, http.MethodGet, u, http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", size/2, size/2+piece-1)}})
		plain = min(plain, time.Since(begin))
		same(t, "range", r.body, mark)
		best = min(best, seek(t, c, u, size/2, mark))
	}
	t.Logf("first byte after a seek: %v, range request: %v", best, plain)
	if best > plain*12/10+slack {
		t.Errorf("first byte %v after a seek; a range request takes %v", best, plain)
	}
}

// seek opens an object, seeks to off and returns how long the first byte took.
func seek(t *testing.T, c *sdk.Client, u string, off int64, want []byte) time.Duration {
	t.Helper()
	o, err := c.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	begin := time.Now()
	if _, err := o.Seek(off, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(o, got[:1]); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	if _, err := io.ReadFull(o, got[1:]); err != nil {
		t.Fatal(err)
	}
	same(t, "bytes after the seek", got, want)
	return took
}
