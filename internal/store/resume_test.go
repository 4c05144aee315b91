package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// crash copies what a process killed at this moment would leave, and returns the
// path of the copy.
func crash(t failer, path string) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(path), "crash")
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "file")
	for _, suffix := range []string{StateSuffix, PartSuffix, ""} {
		b, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// edit changes a file in place.
func edit(t failer, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 6*piece+5, 1)
	f := create(t, path, s)
	write(t, f, data, 0, 3, 6)

	r := mustResume(t, crash(t, path))
	if r.Pieces != 3 || r.Bytes != 2*piece+5 || r.Dropped != 0 || r.Meta != meta {
		t.Fatalf("kept %+v", r)
	}
	if err := r.File.Signed().Verify([]ed25519.PublicKey{s.Key}); err != nil {
		t.Fatal(err)
	}
	write(t, r.File, data, 1, 2, 4, 5)
	if err := r.File.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, r.File.Path(), data)
}

func TestResumeDropsWhatIsWrong(t *testing.T) {
	for name, damage := range map[string]func(part []byte) []byte{
		"a bit":      func(b []byte) []byte { b[piece+1] ^= 4; return b },
		"cut short":  func(b []byte) []byte { return b[:2*piece-1] },
		"all zeros":  func(b []byte) []byte { return make([]byte, len(b)) },
		"empty":      func([]byte) []byte { return nil },
		"grown":      func(b []byte) []byte { return append(b, 1, 2, 3) },
		"moved":      func(b []byte) []byte { return append([]byte{0}, b...) },
		"other file": func([]byte) []byte { return []byte("hello") },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			data, s := content(t, 3*piece, 1)
			f := create(t, path, s)
			write(t, f, data, 0, 1)
			f.Close()
			edit(t, path+PartSuffix, damage)
			r := mustResume(t, path)
			if r.Pieces+r.Dropped != 2 {
				t.Fatalf("%d kept and %d dropped of 2", r.Pieces, r.Dropped)
			}
			onlyRight(t, r.File, data)
			write(t, r.File, data, 0, 1, 2)
			if err := r.File.Commit(); err != nil {
				t.Fatal(err)
			}
			wantFile(t, path, data)
		})
	}
}

// onlyRight checks that everything f says it has reads back right.
func onlyRight(t failer, f *File, data []byte) {
	t.Helper()
	for i := range f.Manifest().NumPieces() {
		b := make([]byte, f.Manifest().PieceLen(i))
		n, err := f.ReadAt(b, f.Manifest().Offset(i))
		if f.Has(i) != (err == nil) {
			t.Fatalf("piece %d: has %v, read %v", i, f.Has(i), err)
		}
		if !bytes.Equal(b[:n], pieceOf(f.Manifest(), data, i)[:n]) {
			t.Fatalf("piece %d reads back wrong", i)
		}
	}
}

func TestResumeWithoutData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	f.Close()
	if err := os.Remove(path + PartSuffix); err != nil {
		t.Fatal(err)
	}
	r := mustResume(t, path)
	if r.Pieces != 0 || r.Dropped != 1 {
		t.Fatalf("kept %+v", r)
	}
	write(t, r.File, data, 0, 1)
	if err := r.File.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

func TestResumeRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	_, err := Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, fs.ErrNotExist)

	data, s := content(t, 2*piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	f.Close()
	for name, want := range map[string]Meta{
		"URL":           {URL: "https://example.test/other"},
		"ETag":          {ETag: `"v2"`},
		"Last-Modified": {LastModified: "Thu, 01 Jan 1970 00:00:00 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Resume(t.Context(), Target{Path: path}, want)
			wantErr(t, err, ErrStale)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Resume(ctx, Target{Path: path}, Meta{})
	wantErr(t, err, context.Canceled)

	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Resume(t.Context(), Target{Path: path}, Meta{})
	wantErr(t, err, ErrExists)

	// Nothing of this has cost anything.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r := mustResume(t, path); r.Pieces != 1 {
		t.Fatalf("%d pieces kept, want 1", r.Pieces)
	}
}

func TestResumeDamagedState(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"empty":       func([]byte) []byte { return nil },
		"text":        func([]byte) []byte { return []byte("not a state file at all") },
		"version":     func(b []byte) []byte { b[8] = 9; return b },
		"description": func(b []byte) []byte { b[20] ^= 1; return b },
		"size":        func(b []byte) []byte { b[12] = 0xff; return b },
		"too long":    func(b []byte) []byte { return append(b, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			data, s := content(t, 2*piece, 1)
			f := create(t, path, s)
			write(t, f, data, 0)
			f.Close()
			edit(t, path+StateSuffix, damage)
			_, err := Resume(t.Context(), Target{Path: path}, meta)
			wantErr(t, err, ErrDamaged)
			f = create(t, path, s)
			write(t, f, data, 0, 1)
			if err := f.Commit(); err != nil {
				t.Fatal(err)
			}
			wantFile(t, path, data)
		})
	}
}

func TestResumeHugeState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	_, s := content(t, piece, 1)
	create(t, path, s).Close()
	if err := os.Truncate(path+StateSuffix, 1<<40); err != nil {
		t.Skipf("no sparse file of 1 TiB: %v", err)
	}
	_, err := Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrDamaged)
}

// A kill between the two steps of Commit leaves the whole file with its state.
func TestResumeAfterRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece+1, 1)
	f := create(t, path, s)
	write(t, f, data, 0, 1, 2)
	f.Close()
	if err := os.Rename(path+PartSuffix, path); err != nil {
		t.Fatal(err)
	}
	r := mustResume(t, path)
	if r.Pieces != 3 {
		t.Fatalf("%d pieces kept, want 3", r.Pieces)
	}
	wantGone(t, path+StateSuffix)
	if err := r.File.Commit(); err != nil {
		t.Fatal(err)
	}
	onlyRight(t, r.File, data)
	wantFile(t, path, data)
}

// The same with a file of that name that is something else.
func TestResumeAfterRenameOfOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece+1, 1)
	f := create(t, path, s)
	write(t, f, data, 0, 1, 2)
	f.Close()
	if err := os.Remove(path + PartSuffix); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrExists)
	wantFile(t, path, []byte("mine"))
}

func TestResumePlain(t *testing.T) {
	data, _ := content(t, 4*markEvery+100, 1)
	for _, c := range []struct {
		name  string
		clean bool // closed, not killed
		n     int
		edit  func([]byte) []byte
		kept  int
	}{
		{name: "killed early", n: markEvery - 1, kept: 0},
		{name: "killed later", n: 3*markEvery + 50, kept: 3 * markEvery},
		{name: "closed", clean: true, n: 3*markEvery + 50, kept: 3*markEvery + 50},
		{name: "closed empty", clean: true},
		{
			name: "changed", clean: true, n: 3*markEvery + 50, kept: markEvery,
			edit: func(b []byte) []byte { b[2*markEvery-1] ^= 1; return b },
		},
		{
			name: "cut short", clean: true, n: 3*markEvery + 50, kept: 2 * markEvery,
			edit: func(b []byte) []byte { return b[:3*markEvery-1] },
		},
		{
			name: "grown", n: 2 * markEvery, kept: 2 * markEvery,
			edit: func(b []byte) []byte { return append(b, 1) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			p, err := CreatePlain(Target{Path: path}, meta)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			for rest := data[:c.n]; len(rest) > 0; {
				k := min(len(rest), 32<<10)
				if _, err := p.Write(rest[:k]); err != nil {
					t.Fatal(err)
				}
				rest = rest[k:]
			}
			if c.clean {
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				path = crash(t, path)
			}
			if c.edit != nil {
				edit(t, path+PartSuffix, c.edit)
			}
			goOn(t, path, data, c.kept)
		})
	}
}

// goOn resumes a Plain, twice to see that resuming changes nothing, and
// completes it.
func goOn(t *testing.T, path string, data []byte, kept int) {
	t.Helper()
	var p *Plain
	for range 2 {
		if p != nil {
			p.Close()
		}
		r := mustResume(t, path)
		p = r.Plain
		if r.Bytes != int64(kept) || p.Size() != int64(kept) || p.Sum() != sha256.Sum256(data[:kept]) {
			t.Fatalf("%d bytes kept, want %d", r.Bytes, kept)
		}
	}
	if _, err := io.Copy(p, bytes.NewReader(data[kept:])); err != nil {
		t.Fatal(err)
	}
	if p.Sum() != sha256.Sum256(data) {
		t.Fatal("wrong hash")
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

// A promotion cut short at any byte of the state leaves the Plain or the File.
func TestResumePromotion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 20*piece, 1)
	p, err := CreatePlain(Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(data[:17*piece+1]); err != nil {
		t.Fatal(err)
	}
	pr, err := p.Promote(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	pr.File.Close()
	state, err := os.ReadFile(path + StateSuffix)
	if err != nil {
		t.Fatal(err)
	}
	head, err := encodeHead(meta)
	if err != nil {
		t.Fatal(err)
	}
	var step int
	for cut := len(head); cut <= len(state); cut += step {
		if cut > len(head)+2*markSize && cut < len(state)-s.NumPieces() {
			step = min(41, len(state)-s.NumPieces()-cut) // inside the manifest it is all the same
		} else {
			step = 1
		}
		if err := os.WriteFile(path+StateSuffix, state[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		at := crash(t, path)
		r := mustResume(t, at)
		switch {
		case r.Plain != nil:
			if got := r.Plain.Sum(); got != sha256.Sum256(data[:r.Bytes]) {
				t.Fatalf("cut at %d: wrong bytes kept", cut)
			}
			r.Plain.Close()
		case cut == len(state) && r.Pieces != 17:
			t.Fatalf("%d pieces kept, want 17", r.Pieces)
		default:
			onlyRight(t, r.File, data)
			r.File.Close()
		}
		if err := os.RemoveAll(filepath.Dir(at)); err != nil {
			t.Fatal(err)
		}
	}
}

// The life of an object under arbitrary events: whatever happens, no byte that
// is not the object's is ever read, and without damage nothing is lost.
func TestNeverAWrongByte(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := t.TempDir()
		defer os.RemoveAll(d) // there will be hundreds
		path := filepath.Join(d, "file")
		data, s := content(t, rapid.IntRange(1, 9*piece).Draw(rt, "size"), uint64(rapid.Byte().Draw(rt, "seed")))
		f, err := Create(Target{Path: path}, s, meta)
		if err != nil {
			rt.Fatal(err)
		}
		m := &model{path: path, data: data, s: s, f: f, have: map[int]bool{}}
		defer func() { m.f.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"write":  m.write,
			"poison": m.poison,
			"crash":  m.crash,
			"tamper": m.tamper,
			"":       m.check,
		})
		m.finish(rt)
	})
}

type model struct {
	path string
	data []byte
	s    *manifest.Signed
	f    *File
	have map[int]bool
}

func (m *model) piece(rt *rapid.T) int {
	return rapid.IntRange(0, m.s.NumPieces()-1).Draw(rt, "piece")
}

func (m *model) write(rt *rapid.T) {
	i := m.piece(rt)
	if err := m.f.WritePiece(i, pieceOf(m.s.Manifest, m.data, i)); err != nil {
		rt.Fatal(err)
	}
	m.have[i] = true
}

func (m *model) poison(rt *rapid.T) {
	i := m.piece(rt)
	b := bytes.Clone(pieceOf(m.s.Manifest, m.data, i))
	b[rapid.IntRange(0, len(b)-1).Draw(rt, "byte")] ^= 1
	if err := m.f.WritePiece(i, b); !m.have[i] && !errors.Is(err, ErrCorrupt) {
		rt.Fatalf("piece %d: %v", i, err)
	}
}

// crash goes on with a copy of the files, as the next process would.
func (m *model) crash(rt *rapid.T) {
	r := m.restart(rt, nil)
	if r.Dropped != 0 {
		rt.Fatalf("%d pieces lost", r.Dropped)
	}
}

func (m *model) tamper(rt *rapid.T) {
	m.restart(rt, func(to string) {
		edit(rt, to+PartSuffix, func(b []byte) []byte {
			switch rapid.IntRange(0, 2).Draw(rt, "how") {
			case 0:
				b[rapid.IntRange(0, len(b)-1).Draw(rt, "byte")] ^= 0x10
			case 1:
				b = b[:rapid.IntRange(0, len(b)).Draw(rt, "length")]
			case 2:
				clear(b[rapid.IntRange(0, len(b)-1).Draw(rt, "from"):])
			}
			return b
		})
		edit(rt, to+StateSuffix, func(b []byte) []byte {
			n := m.s.NumPieces()
			claims := b[len(b)-n:]
			for i := range claims {
				claims[i] = rapid.ByteRange(0, 2).Draw(rt, "claim")
			}
			return b
		})
	})
	clear(m.have)
	for i := range m.s.NumPieces() {
		if m.f.Has(i) {
			m.have[i] = true
		}
	}
}

func (m *model) restart(rt *rapid.T, damage func(path string)) *Resumed {
	to := crash(rt, m.path)
	m.f.Close()
	if damage != nil {
		damage(to)
	}
	r, err := Resume(context.Background(), Target{Path: to}, meta)
	if err != nil {
		rt.Fatal(err)
	}
	m.path, m.f = to, r.File
	return r
}

func (m *model) check(rt *rapid.T) {
	for i := range m.s.NumPieces() {
		if m.f.Has(i) != m.have[i] {
			rt.Fatalf("piece %d: has %v, want %v", i, m.f.Has(i), m.have[i])
		}
	}
	onlyRight(rt, m.f, m.data)
}

func (m *model) finish(rt *rapid.T) {
	write(rt, m.f, m.data, allPieces(m.s.Manifest)...)
	if err := m.f.Commit(); err != nil {
		rt.Fatal(err)
	}
	wantFile(rt, m.path, m.data)
}
