package manifest

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestBitfield(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "pieces")
		f, model := NewBitfield(n), map[int]bool{}
		draw := func(t *rapid.T) int { return rapid.IntRange(-2, n+2).Draw(t, "i") }
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				i := draw(t)
				fresh := i >= 0 && i < n && !model[i]
				if f.Set(i) != fresh {
					t.Fatalf("Set(%d) is not %v", i, fresh)
				}
				if fresh {
					model[i] = true
				}
			},
			"clear":  func(t *rapid.T) { i := draw(t); f.Clear(i); delete(model, i) },
			"clone":  func(*rapid.T) { g := f.Clone(); f.SetAll(); f = g },
			"encode": func(t *rapid.T) { f = reparse(t, f) },
			"": func(t *rapid.T) {
				if f.Count() != len(model) || f.Full() != (len(model) == n) || f.Len() != n {
					t.Fatalf("%d of %d pieces, want %d of %d", f.Count(), f.Len(), len(model), n)
				}
				for i := -2; i < n+2; i++ {
					if f.Has(i) != model[i] {
						t.Fatalf("Has(%d) is not %v", i, model[i])
					}
				}
			},
		})
	})
}

func reparse(t *rapid.T, f Bitfield) Bitfield {
	b := bytes.Clone(f.Bytes())
	g, err := ParseBitfield(b, f.Len())
	if err != nil {
		t.Fatal(err)
	}
	clear(b) // the parser has made a copy
	return g
}

func FuzzBitfield(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add([]byte{0xff}, 8)
	f.Add([]byte{0xff}, 7)
	f.Add([]byte{0x80, 0x80}, 9)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > MaxPieces {
			return
		}
		s, err := ParseBitfield(b, n)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if !bytes.Equal(s.Bytes(), b) || s.Count() > n {
			t.Fatalf("%x of %d pieces became %x", b, n, s.Bytes())
		}
	})
}
