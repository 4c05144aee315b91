package store

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const piece = manifest.MinPieceSize

var meta = Meta{URL: "https://example.test/file", ETag: `"v1"`}

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// content is size bytes that depend on seed, and their manifest.
func content(t testing.TB, size int, seed uint64) ([]byte, *manifest.Signed) {
	t.Helper()
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rng.Read(data)
	return data, sign(t, data)
}

func sign(t testing.TB, data []byte) *manifest.Signed {
	t.Helper()
	b, err := manifest.NewBuilder(int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(data); err != nil {
		t.Fatal(err)
	}
	m, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return unsigned(m)
}

func pieceOf(m *manifest.Manifest, data []byte, i int) []byte {
	return data[m.Offset(i) : m.Offset(i)+m.PieceLen(i)]
}

func create(t testing.TB, path string, s *manifest.Signed) *File {
	t.Helper()
	f, err := Create(Target{Path: path}, s, meta)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t failer, f *File, data []byte, pieces ...int) {
	t.Helper()
	for _, i := range pieces {
		if err := f.WritePiece(i, pieceOf(f.Manifest(), data, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func allPieces(m *manifest.Manifest) []int {
	return rand.Perm(m.NumPieces())
}

func mustResume(t testing.TB, path string) *Resumed {
	t.Helper()
	r, err := Resume(t.Context(), Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.File != nil {
			r.File.Close()
		} else {
			r.Plain.Close()
		}
	})
	return r
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func wantFile(t failer, path string, data []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%s differs from the %d bytes written", path, len(data))
	}
}

func wantGone(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", p, err)
		}
	}
}

func TestDownload(t *testing.T) {
	for _, size := range []int{0, 1, piece - 1, piece, piece + 1, 5*piece + 17} {
		path := filepath.Join(t.TempDir(), "file")
		data, s := content(t, size, 1)
		f := create(t, path, s)
		if size > 0 {
			wantErr(t, f.Commit(), ErrMissing)
		}
		write(t, f, data, allPieces(f.Manifest())...)
		if !f.Have().Full() {
			t.Fatal("pieces are missing")
		}
		wantGone(t, path)
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, data)
		wantGone(t, path+PartSuffix, path+StateSuffix)

		// It goes on serving from there.
		got, err := io.ReadAll(io.NewSectionReader(f, 0, int64(size)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes of %d: %v", len(got), size, err)
		}
		if err := f.Commit(); err != nil {
			t.Fatalf("commit again: %v", err)
		}
		if err := f.Abort(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, data)
	}
}

func TestWritePieceRefusesWrongBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece+5, 1)
	f := create(t, path, s)
	flipped := bytes.Clone(pieceOf(f.Manifest(), data, 0))
	flipped[100] ^= 1
	wantErr(t, f.WritePiece(0, flipped), ErrCorrupt)
	wantErr(t, f.WritePiece(0, nil), ErrCorrupt)
	wantErr(t, f.WritePiece(0, data[:piece-1]), ErrCorrupt)
	wantErr(t, f.WritePiece(1, data[:piece]), ErrCorrupt)
	wantErr(t, f.WritePiece(3, data[:piece]), ErrCorrupt)
	wantErr(t, f.WritePiece(-1, data[:piece]), ErrCorrupt)
	if n := f.Have().Count(); n != 0 {
		t.Fatalf("%d pieces entered", n)
	}
	write(t, f, data, 0)
	// A piece that is there is left alone, whatever is offered.
	if err := f.WritePiece(0, flipped); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, piece)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data[:piece]) {
		t.Fatalf("piece 0 is wrong now: %v", err)
	}
}

func TestReadAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 4*piece+10, 1)
	f := create(t, path, s)
	write(t, f, data, 0, 1, 4)
	for _, c := range []struct {
		name   string
		off, n int
		want   int
		err    error
	}{
		{"nothing", 0, 0, 0, nil},
		{"across pieces", piece - 5, 10, 10, nil},
		{"up to the hole", 2*piece - 5, 10, 5, ErrMissing},
		{"in the hole", 2*piece + 5, 10, 0, ErrMissing},
		{"the end", 4 * piece, 10, 10, nil},
		{"past the end", 4*piece + 5, 10, 5, io.EOF},
		{"at the end", 4*piece + 10, 1, 0, io.EOF},
		{"negative", -1, 1, 0, fs.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := make([]byte, c.n)
			n, err := f.ReadAt(p, int64(c.off))
			if n != c.want || !errors.Is(err, c.err) {
				t.Fatalf("%d bytes, %v; want %d, %v", n, err, c.want, c.err)
			}
			if n > 0 && !bytes.Equal(p[:n], data[c.off:c.off+n]) {
				t.Fatal("wrong bytes")
			}
		})
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	data, s := content(t, piece, 1)
	path := filepath.Join(dir, "taken")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrExists)
	_, err = CreatePlain(Target{Path: path}, meta)
	wantErr(t, err, ErrExists)
	_, err = Create(Target{Path: dir, Overwrite: true}, s, meta)
	wantErr(t, err, ErrExists)
	_, err = Create(Target{Path: filepath.Join(dir, "no", "such")}, s, meta)
	wantErr(t, err, fs.ErrNotExist)
	wantFile(t, path, []byte("mine"))

	f, err := Create(Target{Path: path, Overwrite: true, Sync: true}, s, meta)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, data, 0)
	wantFile(t, path, []byte("mine"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

func TestNameTakenMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, f.Commit(), ErrExists)
	wantFile(t, path, []byte("mine"))
	// Renaming itself does not replace either.
	wantErr(t, fail("rename to", path, renameNew(path+PartSuffix, path)), ErrExists)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

func TestLinksAreNotFollowed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making links needs a privilege on Windows")
	}
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	data, s := content(t, piece, 1)
	path := filepath.Join(dir, "file")
	if err := os.Symlink(victim, path+PartSuffix); err != nil {
		t.Fatal(err)
	}
	f := create(t, path, s)
	write(t, f, data, 0)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, victim, []byte("precious"))

	if err := os.Rename(path+PartSuffix, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path+PartSuffix); err != nil {
		t.Fatal(err)
	}
	_, err := Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrDamaged)

	if err := os.Remove(path + StateSuffix); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path+StateSuffix); err != nil {
		t.Fatal(err)
	}
	_, err = Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrDamaged)
	wantFile(t, victim, []byte("precious"))
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	_, err := Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrLocked)
	_, err = Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrLocked)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if r := mustResume(t, path); r.Pieces != 1 {
		t.Fatalf("%d pieces kept, want 1", r.Pieces)
	}
}

func TestClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, f.WritePiece(1, data[piece:]), fs.ErrClosed)
	_, err := f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, fs.ErrClosed)
	wantErr(t, f.Commit(), fs.ErrClosed)
	wantErr(t, f.Verify(t.Context()), fs.ErrClosed)
	if err := mustResume(t, path).File.Abort(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, path, path+PartSuffix, path+StateSuffix)
}

func TestConcurrentUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 20*piece+1, 1)
	f := create(t, path, s)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, i := range allPieces(f.Manifest()) {
				if err := f.WritePiece(i, pieceOf(f.Manifest(), data, i)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			p := make([]byte, piece)
			for !f.Have().Full() {
				off := rand.Int64N(f.Manifest().Size)
				if n, _ := f.ReadAt(p, off); !bytes.Equal(p[:n], data[off:off+int64(n)]) {
					t.Errorf("wrong bytes at %d", off)
				}
			}
		})
	}
	wg.Wait()
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

// age makes a file look as if it had been left alone for a while.
func age(t *testing.T, path string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

func TestSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 3*piece+9, 1)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, path)
	f, err := Seed(path, s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSeeded := func(want []byte) {
		t.Helper()
		got, err := io.ReadAll(io.NewSectionReader(f, 0, int64(len(data))))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
	}
	wantSeeded(data)

	// The owner writes to the file: the piece is gone, the others stay.
	changed := bytes.Clone(data)
	changed[piece+3] ^= 0xff
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	_, err = f.ReadAt(p, piece)
	wantErr(t, err, ErrChanged)
	if _, err := f.ReadAt(p, 0); err != nil || !bytes.Equal(p, data[:10]) {
		t.Fatalf("an untouched piece cannot be read: %v", err)
	}
	if f.Has(1) || !f.Has(0) {
		t.Fatal("piece 1 should be gone, piece 0 there")
	}
	wantErr(t, f.WritePiece(1, data[piece:2*piece]), ErrChanged)
	wantErr(t, f.Verify(t.Context()), ErrChanged)
	wantFile(t, path, changed)

	// It is put right again, then cut short.
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, path)
	wantSeeded(data)
	if err := os.Truncate(path, piece); err != nil {
		t.Fatal(err)
	}
	_, err = f.ReadAt(p, 0)
	wantErr(t, err, ErrChanged)
	if f.Have().Count() != 0 {
		t.Fatal("pieces of a file of another size")
	}
	wantErr(t, f.Verify(t.Context()), ErrChanged)

	_, err = Seed(path, s.Manifest)
	wantErr(t, err, ErrChanged)
	_, err = Seed(path+"x", s.Manifest)
	wantErr(t, err, fs.ErrNotExist)
}

// A file that was changed while nobody looked is caught at the first read.
func TestSeedHashesBeforeItServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece, 1)
	data[5]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, path)
	f, err := Seed(path, s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, ErrChanged)
	if _, err := f.ReadAt(make([]byte, 1), piece); err != nil {
		t.Fatal(err)
	}
}

// Changes that leave size and time as they were within the clock's resolution
// are found, because young hashes are not remembered.
func TestSeedFastChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Seed(path, s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	now := time.Now()
	for i := range 20 {
		b := data[i] ^ 1
		if _, err := w.WriteAt([]byte{b}, int64(i)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
		if n, err := f.ReadAt(make([]byte, 1), int64(i)); err == nil {
			t.Fatalf("change %d was not seen (%d bytes)", i, n)
		}
		if _, err := w.WriteAt(data[i:i+1], int64(i)); err != nil {
			t.Fatal(err)
		}
		other := now.Add(time.Duration(i+1) * time.Nanosecond) // ends the verdict on the piece
		if err := os.Chtimes(path, other, other); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(make([]byte, 1), int64(i)); err != nil {
			t.Fatal(err)
		}
		now = other
	}
}

func TestErrorsReadWell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	f := create(t, path, s)
	err := f.WritePiece(0, data[1:])
	if got, want := err.Error(), "write "+path+": piece 0: bytes do not match the manifest"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	_, err = Resume(t.Context(), Target{Path: path + "x"}, meta)
	if got := err.Error(); strings.Count(got, path) != 1 {
		t.Errorf("error %q names the path more than once", got)
	}
}

func TestPlain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, _ := content(t, 3*markEvery+7, 1)
	p, err := CreatePlain(Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := io.Copy(p, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if p.Size() != int64(len(data)) || p.Sum() != sha256.Sum256(data) || p.Meta() != meta {
		t.Fatalf("%d bytes, hash %x, meta %v", p.Size(), p.Sum(), p.Meta())
	}
	got := make([]byte, 100)
	if _, err := p.ReadAt(got, 1000); err != nil || !bytes.Equal(got, data[1000:1100]) {
		t.Fatalf("read: %v", err)
	}
	n, err := p.ReadAt(got, int64(len(data)-10))
	wantErr(t, err, ErrMissing)
	if n != 10 {
		t.Fatalf("%d bytes before the end, want 10", n)
	}
	wantGone(t, path)
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
	wantGone(t, path+PartSuffix, path+StateSuffix)
	_, err = p.Write([]byte("more"))
	wantErr(t, err, fs.ErrClosed)
}

func TestPlainRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, _ := content(t, 2*markEvery, 1)
	p, err := CreatePlain(Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Write(data); err != nil {
		t.Fatal(err)
	}
	v2 := Meta{URL: meta.URL, ETag: `"v2"`}
	if err := p.Restart(v2); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("short")); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrStale)
	r, err := Resume(t.Context(), Target{Path: path}, v2)
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes != 5 || r.Plain.Sum() != sha256.Sum256([]byte("short")) {
		t.Fatalf("%d bytes kept, want 5", r.Bytes)
	}
	if err := r.Plain.Commit(); err != nil {
		t.Fatal(err)
	}
	r.Plain.Close()
	wantFile(t, path, []byte("short"))
}

func TestPromote(t *testing.T) {
	data, s := content(t, 5*piece+100, 1)
	for _, c := range []struct {
		name string
		got  []byte
		good int
		bad  int
		tail int
	}{
		{"nothing", nil, 0, 0, 0},
		{"part of the first", data[:10], 0, 0, 10},
		{"whole pieces", data[:2*piece], 2, 0, 0},
		{"and a bit", data[:2*piece+1], 2, 0, 1},
		{"all but one byte", data[:5*piece+99], 5, 0, 99},
		{"all", data, 6, 0, 0},
		{"another version", bytes.Repeat([]byte{1}, 3*piece+5), 0, 3, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			p, err := CreatePlain(Target{Path: path}, meta)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Write(c.got); err != nil {
				t.Fatal(err)
			}
			pr, err := p.Promote(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			defer pr.File.Close()
			if pr.Good != c.good || pr.Bad != c.bad || len(pr.Tail) != c.tail {
				t.Fatalf("%d good, %d bad, %d in the tail; want %d, %d, %d", pr.Good, pr.Bad, len(pr.Tail), c.good, c.bad, c.tail)
			}
			if !bytes.Equal(pr.Tail, c.got[len(c.got)-c.tail:]) {
				t.Fatal("wrong tail")
			}
			_, err = p.Write([]byte("more"))
			wantErr(t, err, fs.ErrClosed)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			write(t, pr.File, data, allPieces(s.Manifest)...)
			if err := pr.File.Commit(); err != nil {
				t.Fatal(err)
			}
			wantFile(t, path, data)
		})
	}
}

func TestPromoteTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	p, err := CreatePlain(Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Write(append(bytes.Clone(data), 0)); err != nil {
		t.Fatal(err)
	}
	_, err = p.Promote(t.Context(), s)
	wantErr(t, err, ErrStale)
	if _, err := p.Write([]byte("more")); err != nil {
		t.Fatalf("the download does not go on: %v", err)
	}
}

func hashOf(b []byte) manifest.Hash { return sha256.Sum256(b) }

// unsigned wraps a manifest that need not be believed by anyone.
func unsigned(m *manifest.Manifest) *manifest.Signed {
	return manifest.Sign(m, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
}
