package fetch

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// draft is a Basis in memory.
type draft struct {
	m    *manifest.Manifest
	data []byte // with whatever in gaps
	err  error  // of reading
	mu   sync.Mutex
	gaps map[int][]chunkmap.Range
}

func (b *draft) ReadAt(p []byte, off int64) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return copy(p, b.data[off:]), nil
}

func (b *draft) Gaps(i int) []chunkmap.Range {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gaps[i]
}

func (b *draft) Drop(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gaps[i] = []chunkmap.Range{{Off: b.m.Offset(i), Len: b.m.PieceLen(i)}}
}

// drafted is a world whose client has all but two gaps in every fourth piece, one at
// the end, and the third of the piece behind.
func drafted(t *testing.T, size int) (*world, *draft, int64) {
	w := newWorld(t, size)
	m := w.store.m
	b := &draft{m: m, data: slices.Clone(w.data), gaps: map[int][]chunkmap.Range{}}
	var missing int64
	for i := range m.NumPieces() {
		off := m.Offset(i)
		switch {
		case i%4 == 1 && m.PieceLen(i) == m.PieceSize:
			b.gaps[i] = []chunkmap.Range{{Off: off + 100, Len: 5000}, {Off: off + m.PieceLen(i) - 3000, Len: 3000}}
		case i%4 == 2 && m.PieceLen(i) == m.PieceSize:
			b.gaps[i] = []chunkmap.Range{{Off: off, Len: 4000}}
		default:
			w.store.have.Set(i)
		}
		for _, g := range b.gaps[i] {
			clear(b.data[g.Off:g.End()])
		}
		missing += total(b.gaps[i])
	}
	w.options.Basis = b
	return w, b, missing
}

func TestBasisFromEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, missing := drafted(t, 8<<20+77)
		if _, err := w.run(); err != nil {
			t.Fatal(err)
		}
		st := w.d.Stats()
		if !w.store.have.Full() || w.sent.Load() != missing || st.FromEdge != missing || st.Wasted != 0 {
			t.Errorf("%d bytes of %d sent; %+v", w.sent.Load(), missing, st)
		}
		if pieces := int64(w.store.m.NumPieces()) / 4 * 2; st.FromBasis != pieces*w.store.m.PieceSize-missing {
			t.Errorf("%d bytes of the basis", st.FromBasis)
		}
		if w.open.Load() != 0 {
			t.Errorf("%d bodies left open", w.open.Load())
		}
	})
}

func TestBasisFromPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := drafted(t, 8<<20)
		w.misdeed = func(int, int64, *answer) error { return errReset } // there are peers alone
		p := &mate{rate: 1 << 20}
		if _, err := w.run(p); err != nil {
			t.Fatal(err)
		}
		m := w.store.m
		var hulls int64
		for i := range m.NumPieces() {
			switch i % 4 {
			case 1:
				hulls += m.PieceLen(i) - 100
			case 2:
				hulls += 4000
			}
		}
		if st := w.d.Stats(); st.FromPeers != hulls || st.FromEdge != 0 {
			t.Errorf("%d bytes of %d from peers: %+v", st.FromPeers, hulls, st)
		}
	})
}

// Bytes of the basis that are wrong, or cannot be read, cost the piece once more, and
// nobody is blamed.
func TestBasisThatIsWrong(t *testing.T) {
	for name, harm := range map[string]func(b *draft){
		"other bytes": func(b *draft) {
			for i := range b.data {
				b.data[i] ^= 1
			}
		},
		"unreadable": func(b *draft) { b.err = errors.New("cut short") },
	} {
		for _, from := range []string{"edge", "peer"} {
			t.Run(name+" "+from, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, b, _ := drafted(t, 4<<20)
					harm(b)
					var peers []*mate
					if from == "peer" {
						peers = append(peers, &mate{rate: 4 << 20})
					}
					took, err := w.run(peers...)
					if err != nil {
						t.Fatalf("after %v: %v", took, err)
					}
					for _, p := range peers {
						if p.dropped == DropCorrupt {
							t.Error("a peer was blamed")
						}
					}
					if !w.store.have.Full() {
						t.Error("not whole")
					}
				})
			})
		}
	}
}

// Who sends rubbish into a piece that the basis has part of is found out.
func TestBasisAndRubbish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := drafted(t, 8<<20)
		p := &mate{rate: 8 << 20, conduct: "corrupt"}
		if _, err := w.run(p); err != nil {
			t.Fatal(err)
		}
		if !w.store.have.Full() {
			t.Error("not whole")
		}
		if st := w.d.Stats(); st.FromPeers != 0 {
			t.Errorf("%d bytes counted as had from a peer that sends rubbish", st.FromPeers)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := drafted(t, 4<<20)
		w.misdeed = func(_ int, _ int64, a *answer) error { a.flip = 0; return nil }
		if _, err := w.run(); !errors.Is(err, ErrCorruptEdge) {
			t.Errorf("an edge that damages everything: %v", err)
		}
	})
}

func TestPatched(t *testing.T) {
	whole := []byte("0123456789abcdef")
	gaps := []chunkmap.Range{{Off: 100, Len: 2}, {Off: 105, Len: 4}, {Off: 114, Len: 2}}
	sent := "01" + "5678" + "ef"
	basis := append(make([]byte, 100), "..234....9abcd.."...)
	for name, sender := range map[string]io.Reader{
		"at once":          bytes.NewReader([]byte(sent)),
		"byte by byte":     iotest.OneByteReader(bytes.NewReader([]byte(sent))),
		"with its end":     iotest.DataErrReader(bytes.NewReader([]byte(sent))),
		"more than is due": bytes.NewReader([]byte(sent + "more")),
		"of small buffers": iotest.HalfReader(bytes.NewReader([]byte(sent))),
	} {
		r := &patched{basis: bytes.NewReader(basis), sender: sender, gaps: gaps, at: 100, end: 116}
		if got, err := io.ReadAll(iotest.OneByteReader(r)); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	r := &patched{basis: bytes.NewReader(basis), sender: bytes.NewReader([]byte("01")), gaps: gaps, at: 100, end: 116}
	if got, err := io.ReadAll(r); string(got) == string(whole) || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a sender that breaks off: %q, %v", got, err)
	}
	r = &patched{basis: bytes.NewReader(basis[:110]), sender: bytes.NewReader([]byte(sent)), gaps: gaps, at: 100, end: 116}
	if _, err := io.ReadAll(r); !errors.Is(err, errBasis) {
		t.Errorf("a basis that is cut: %v", err)
	}
}

// A file of which nearly all is new is asked for side by side, and nothing twice.
func TestBasisWithWideGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8<<20)
		m := w.store.m
		b := &draft{m: m, data: w.data, gaps: map[int][]chunkmap.Range{}}
		for i := range m.NumPieces() {
			b.gaps[i] = []chunkmap.Range{{Off: m.Offset(i), Len: m.PieceLen(i)}}
		}
		b.gaps[77][0].Len /= 2
		w.options.Basis = b
		if _, err := w.run(); err != nil {
			t.Fatal(err)
		}
		st := w.d.Stats()
		if missing := m.Size - m.PieceSize/2; w.sent.Load() != missing || st.FromEdge != missing || st.Wasted != 0 {
			t.Errorf("%d bytes of %d sent; %+v", w.sent.Load(), missing, st)
		}
		if n := w.asked.Load(); n > 12 {
			t.Errorf("%d requests", n)
		}
	})
}
