package store

import (
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"path/filepath"
	"testing"
)

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
	p := plainOf(t, path, data)
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
	_, err := Resume(t.Context(), Target{Path: path}, meta)
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
			p := plainOf(t, path, c.got)
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
	p := plainOf(t, path, append(bytes.Clone(data), 0))
	_, err := p.Promote(t.Context(), s)
	wantErr(t, err, ErrStale)
	if _, err := p.Write([]byte("more")); err != nil {
		t.Fatalf("the download does not go on: %v", err)
	}
}

// What is appended is hashed while the next bytes are read into other memory, and
// all that tells of the hash waits for it.
func TestAppend(t *testing.T) {
	data, _ := content(t, 3*markEvery+777, 61)
	path := filepath.Join(t.TempDir(), "file")
	p, err := CreatePlain(Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	var halves [2][]byte
	for at, k := 0, 0; at < len(data); k++ {
		b := append(halves[0][:0], data[at:min(at+1+k*4099, len(data))]...)
		halves[0], halves[1] = halves[1], b
		if n, err := p.Append(b); n != len(b) || err != nil {
			t.Fatalf("appended %d of %d bytes, error %v", n, len(b), err)
		}
		at += len(b)
		if got, want := p.Sum(), hashOf(data[:at]); k%7 == 0 && got != want {
			t.Fatalf("SHA-256 of %d bytes is %v, want %v", at, got, want)
		}
	}
	crashed := crash(t, path)
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
	r := mustResume(t, crashed)
	if lost := int64(len(data)) - r.Bytes; lost > 2*markEvery {
		t.Errorf("%d bytes are lost by a kill", lost)
	}
}
