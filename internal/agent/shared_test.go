package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/store"
)

// A seed whose file is changed leaves the swarm when a peer asks for what is gone.
// Another one may take its place, which it does not lose when the first is closed.
func TestSeedLeavesWhenItsFileChanges(t *testing.T) {
	data := random(9, 2<<20)
	base, _ := realEdge(t, map[string][]byte{"a": data})
	dir, e := t.TempDir(), newEngine(t)
	share := func(name string) *Download {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := e.Seed(t.Context(), Request{URL: base + "/a", File: file})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		return d
	}
	member := func(d *Download) bool { return d.Progress().Object != manifest.ObjectID{} }
	first, second := share("first"), share("second")
	if !member(first) || member(second) {
		t.Fatal("the first is to be the member, the second not")
	}
	buf := make([]byte, 1000)
	peers := shared{first.member} // what they read
	if _, err := peers.ReadAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "first"), data[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := peers.ReadAt(buf, 0); !errors.Is(err, store.ErrChanged) {
		t.Fatalf("error %v, want %v", err, store.ErrChanged)
	}
	until(t, "leaving", func() bool { return first.member.ctx.Err() != nil })
	first.member.leave() // returns when it is done
	third := share("third")
	if !member(third) {
		t.Error("the first has not left: nobody can take its place")
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	fourth := share("fourth")
	if member(fourth) {
		t.Error("the third has lost its place")
	}
	if err := errors.Join(third.Close(), fourth.Close()); err != nil {
		t.Error(err)
	}
}
