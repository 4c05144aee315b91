package dir

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/filehash"
)

func stampOf(t testing.TB, dir, name string) filehash.Stamp {
	t.Helper()
	fi, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return filehash.StampOf(fi)
}

// running runs the background work until the test ends.
func running(t testing.TB, d *Dir) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// wait polls until ok, for at most ten seconds.
func wait(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen within ten seconds")
		}
	}
}
