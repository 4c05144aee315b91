package ledger

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

func nth(i int) (o manifest.ObjectID) {
	binary.BigEndian.PutUint64(o[:], uint64(i))
	return o
}

func TestShares(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir) // two processes
	for i, l := range []*Ledger{a, b} {
		l.Name(nth(1), "cdn.example", "https://cdn.example/one")
		l.Uploaded(nth(1), 100)
		l.Uploaded(nth(2+i), 10) // nobody said where it is from
	}
	if got := a.Shares().Publishers["cdn.example"].Uploaded; got != 100 {
		t.Errorf("%d bytes before anything is written", got)
	}
	for _, l := range []*Ledger{a, b, a} {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir).Shares()
	one := s.Objects[nth(1).String()]
	if one.Uploaded != 200 || one.Publisher != "cdn.example" || one.URL != "https://cdn.example/one" || one.Last == "" {
		t.Errorf("the first is %+v", one)
	}
	if p := s.Publishers["cdn.example"]; p.Uploaded != 200 || p.URL != "" || len(s.Publishers) != 1 || len(s.Objects) != 3 {
		t.Errorf("%+v", s)
	}
}

// What is kept is bounded, and what was sent last stays.
func TestSharesAreBounded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.unshared.Objects["old"] = Share{Uploaded: 1 << 50, Last: "2020-01-01"}
	for i := range maxObjects + maxPublishers {
		l.Name(nth(i), fmt.Sprintf("host-%d.example", i), strings.Repeat("&", 4000)) // as JSON escaped
		l.Uploaded(nth(i), 1+i)
	}
	if len(l.names) > maxObjects {
		t.Errorf("%d names", len(l.names))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	s := l.Shares()
	if len(s.Objects) != maxObjects || len(s.Publishers) != maxPublishers {
		t.Errorf("%d objects, %d publishers", len(s.Objects), len(s.Publishers))
	}
	last := nth(maxObjects + maxPublishers - 1).String()
	if _, ok := s.Objects["old"]; ok || s.Objects[last].Uploaded == 0 {
		t.Error("the oldest stayed, or the last went")
	}
	if fi, err := os.Stat(l.objectsPath()); err != nil || fi.Size() > maxShared {
		t.Errorf("the file: %v, %v", fi, err)
	}
}

func TestBadSharesArePutAside(t *testing.T) {
	for name, text := range map[string]string{"garbage": "garbage", "null": "null", "nothing": "{}", "other": `{"objects": 3}`} {
		t.Run(name, func(t *testing.T) {
			l := open(t, t.TempDir())
			if err := os.WriteFile(l.objectsPath(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			l.Uploaded(object, 3)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if got := l.Shares().Objects[object.String()].Uploaded; got != 3 {
				t.Errorf("%d bytes", got)
			}
		})
	}
}
