package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

func head(t testing.TB) []byte {
	t.Helper()
	b, err := encodeHead(meta)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStateRoundTrip(t *testing.T) {
	_, s := content(t, 3*piece, 1)
	marks := []mark{{Length: 5, Sum: manifest.Hash{1}}, {Length: 6, Sum: manifest.Hash{2}}}
	b := head(t)
	for _, m := range marks {
		b = appendMark(b, m)
	}
	b = appendPieces(b, s)
	end := len(b)
	b = append(b, 1, 0, 1)
	got, err := parseState(b)
	if err != nil {
		t.Fatal(err)
	}
	want := &state{meta: meta, marks: marks, signed: s, claims: []byte{1, 0, 1}, end: int64(end)}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(state{})); diff != "" {
		t.Fatal(diff)
	}
}

func TestStateLimits(t *testing.T) {
	if _, err := encodeHead(Meta{URL: strings.Repeat("x", maxMeta)}); err == nil {
		t.Error("a description over the limit was written")
	}
	backwards := appendMark(appendMark(head(t), mark{Length: 9}), mark{Length: 9})
	negative := appendMark(head(t), mark{Length: -1})
	for name, b := range map[string][]byte{"backwards": backwards, "negative": negative} {
		if _, err := parseState(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: error %v, want ErrDamaged", name, err)
		}
	}
}

// A state file that says it is large costs no more than it is.
func TestStateDoesNotOverAllocate(t *testing.T) {
	_, s := content(t, piece, 1)
	b := append(head(t), entryPieces)
	at := len(b)
	b = append(b, appendPieces(nil, s)[1:]...)
	binary.BigEndian.PutUint32(b[at:], manifest.MaxEncoded)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	st, err := parseState(b)
	runtime.ReadMemStats(&after)
	if err != nil || st.signed != nil {
		t.Fatalf("state %+v, error %v", st, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Fatalf("%d bytes allocated", n)
	}
}

func FuzzParseState(f *testing.F) {
	_, s := content(f, 2*piece, 1)
	plain := appendMark(head(f), mark{Length: 7})
	f.Add([]byte{})
	f.Add(head(f))
	f.Add(plain)
	f.Add(append(appendPieces(plain, s), 1, 1))
	f.Add(appendPieces(head(f), s))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseState(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("error %v is not ErrDamaged", err)
			}
			return
		}
		if st.end > int64(len(b)) {
			t.Fatalf("end at %d of %d", st.end, len(b))
		}
		// What was understood is understood again.
		again := bytes.Clone(b[:st.end])
		if st.signed != nil {
			if len(st.claims) != st.signed.NumPieces() {
				t.Fatalf("%d claims for %d pieces", len(st.claims), st.signed.NumPieces())
			}
			again = append(again, st.claims...)
		}
		st2, err := parseState(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(st, st2, cmp.AllowUnexported(state{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
