package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A client that downloads 4 GB, from edge and peer, stays small.
func TestMemory(t *testing.T) {
	if !long() {
		t.Skip("moves gigabytes; run with -long")
	}
	const size = 4 << 30
	path := filepath.Join(t.TempDir(), "big.bin")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for off := int64(0); off < size; off += 64 * mib {
		if _, err := f.WriteAt(random(mib), off); err != nil { // the rest is a hole
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, filepath.Dir(path))
	url += "/big.bin"
	begin := time.Now()
	plain := get(t, url, "--no-p2p")
	ended(t, plain)
	peer := get(t, url, "--linger", "1h")
	until(t, "first client", func() bool { return peer.stdout.String() != "" })
	second := get(t, url)
	ended(t, second)
	t.Logf("%v; resident at most: %d MiB from the edge alone, %d MiB from edge and peers (%s)", time.Since(begin),
		plain.peakRSS()/mib, second.peakRSS()/mib, second.stdout)
	for _, d := range []*download{plain, second} {
		if rss := d.peakRSS(); rss > 100*mib {
			t.Errorf("%d MiB resident, want at most 100", rss/mib)
		}
	}
}

func ended(t *testing.T, d *download) {
	t.Helper()
	if code := d.wait(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
