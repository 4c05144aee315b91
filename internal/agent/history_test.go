package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "downloads.json")
	h := openHistory(path)
	add := func(url, file string) {
		t.Helper()
		if err := h.add(url, file); err != nil {
			t.Fatal(err)
		}
	}
	add("https://user:secret@host.example/a?token=secret", "/1")
	add("https://host.example/a", "/2")
	add("https://host.example/b", "/3")
	add("https://host.example/b", "/1") // in place of what was there
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", fi.Mode(), err)
	}
	want := `[{"url":"https://host.example/a","file":"/2"},{"url":"https://host.example/b","file":"/3"},{"url":"https://host.example/b","file":"/1"}]`
	if string(b) != want {
		t.Errorf("kept: %s", b)
	}
	h = openHistory(path)
	if got := h.files("https://host.example/b?token=other"); !slices.Equal(got, []string{"/1", "/3"}) {
		t.Errorf("files: %v", got)
	}
	if got := h.files("https://host.example/c"); got != nil {
		t.Errorf("files of another URL: %v", got)
	}
	for i := range maxHistory + 10 {
		h.list = append(h.list, past{"https://host.example/d", fmt.Sprint(i)})
	}
	add("https://host.example/e", "/last")
	if len(h.list) != maxHistory || h.files("https://host.example/e") == nil {
		t.Errorf("%d are remembered", len(h.list))
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := openHistory(path).files("https://host.example/e"); got != nil {
		t.Errorf("a damaged list: %v", got)
	}
}
