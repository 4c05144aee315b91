//go:build linux

package rig

import (
	"io"
	"os/exec"
	"path/filepath"
	"testing"
)

// Who waits for a word of a program learns that it has ended without one.
func TestPipedEnds(t *testing.T) {
	r, err := Piped(exec.CommandContext(t.Context(), "sh", "-c", "printf word; exit 1"), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "word" {
		t.Errorf("%q: %v", b, err)
	}
}
