package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSimInterrupted sees that what there is by then is written.
func TestSimInterrupted(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []time.Duration{0, 500 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		stop := time.AfterFunc(after, cancel)
		if after == 0 {
			cancel()
		}
		var stdout, stderr bytes.Buffer
		args := []string{"sim", "scale", "--set", "hosts.count=3000", "--out", dir}
		code := Run(ctx, args, Streams{Stdout: &stdout, Stderr: &stderr})
		stop.Stop()
		cancel()
		if code != exitInterrupted || !strings.Contains(stderr.String(), "tandem sim: scenario scale: interrupted") {
			t.Errorf("exit code %d: %s", code, stderr.String())
		}
		if !strings.Contains(stdout.String(), "Ended early") {
			t.Errorf("it says %s", stdout.String())
		}
		b, err := os.ReadFile(filepath.Join(dir, "scale.json"))
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Complete bool }
		if err := json.Unmarshal(b, &got); err != nil || got.Complete {
			t.Errorf("report: complete %v, %v", got.Complete, err)
		}
	}
}
