//go:build unix

package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/store"
)

// crashes is one download that is killed and resumed again and again.
type crashes struct {
	url, path string
	want      []byte
	flags     []string
	rand      *rand.Rand
	// What the reopened stores showed.
	empty, partial, whole int
	dropped, kept         int64
}

// A client is killed at random points, and the power fails now and then: what the
// disk had not got of the last writes is lost. Each time the reopened store holds
// verified bytes alone, and in the end the download has the right ones.
func TestKilledAtRandom(t *testing.T) {
	kills := 10
	if long() {
		kills = 100
	}
	const size = 24*mib + 12345
	path := file(t, "a.bin", size)
	url, _ := serve(t, filepath.Dir(path))
	for name, flags := range map[string][]string{"pieces": nil, "plain": {"--no-p2p"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			c := &crashes{
				url: url + "/a.bin", path: filepath.Join(t.TempDir(), "file"), want: read(t, path),
				flags: flags, rand: rand.New(rand.NewPCG(seed, 1)),
			}
			for range kills {
				c.kill(t)
				if c.reopen(t) > 0 {
					c.partial++
				}
				if c.rand.IntN(2) == 0 {
					c.losePower(t)
					c.reopen(t)
				}
			}
			c.get(t).done(t, c.want)
			t.Logf("seed %d: after %d kills %d stores were empty, %d partial, %d whole; %d bytes kept, %d pieces dropped",
				seed, kills, c.empty, c.partial, c.whole, c.kept, c.dropped)
			if c.partial < kills/2 {
				t.Errorf("only %d of %d kills came in the middle", c.partial, kills)
			}
		})
	}
}

// get goes on with the download, at a rate at which it takes more than a second.
func (c *crashes) get(t *testing.T, flags ...string) *download {
	t.Helper()
	return getTo(t, c.path, c.url, append(append([]string{"-C", "--upload", "off"}, c.flags...), flags...)...)
}

// kill lets the download go on for a random time.
func (c *crashes) kill(t *testing.T) {
	t.Helper()
	d := c.get(t, "--limit-rate", "20M")
	select {
	case <-time.After(50*time.Millisecond + time.Duration(c.rand.Int64N(int64(700*time.Millisecond)))):
	case <-d.ended:
	}
	d.kill()
}

// reopen checks that nothing is believed that is not right, and returns how many
// bytes are. A download that was whole begins anew.
func (c *crashes) reopen(t *testing.T) int64 {
	t.Helper()
	if got, err := os.ReadFile(c.path); err == nil {
		if !bytes.Equal(got, c.want) {
			t.Fatal("a file has its name and wrong bytes")
		}
		c.whole++
		for _, suffix := range []string{"", store.StateSuffix} {
			if err := os.Remove(c.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		return 0
	}
	r, err := store.Resume(t.Context(), store.Target{Path: c.path}, store.Meta{URL: c.url})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged) {
		c.empty++ // killed before the state was written, or that was lost
		return 0
	}
	if err != nil {
		t.Fatalf("reopen: %v", err)
	}
	c.kept += r.Bytes
	c.dropped += int64(r.Dropped)
	if r.Plain != nil {
		c.onlyPrefix(t, r)
	} else {
		c.onlyRight(t, r)
	}
	return r.Bytes
}

func (c *crashes) onlyPrefix(t *testing.T, r *store.Resumed) {
	t.Helper()
	got := make([]byte, r.Plain.Size())
	if _, err := r.Plain.ReadAt(got, 0); err != nil || !bytes.Equal(got, c.want[:len(got)]) || [32]byte(r.Plain.Sum()) != sha256.Sum256(got) {
		t.Fatalf("%d bytes are believed and wrong, error %v", len(got), err)
	}
	if err := r.Plain.Close(); err != nil {
		t.Fatal(err)
	}
}

func (c *crashes) onlyRight(t *testing.T, r *store.Resumed) {
	t.Helper()
	m, n := r.File.Manifest(), int64(0)
	for i := range m.NumPieces() {
		if !r.File.Has(i) {
			continue
		}
		n += m.PieceLen(i)
		got := make([]byte, m.PieceLen(i))
		if _, err := r.File.ReadAt(got, m.Offset(i)); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, c.want[m.Offset(i):][:len(got)]) {
			t.Fatalf("piece %d is believed and wrong, error %v", i, err)
		}
	}
	if n != r.Bytes {
		t.Fatalf("%d bytes can be read, %d are said to be there", n, r.Bytes)
	}
	if err := r.File.Close(); err != nil {
		t.Fatal(err)
	}
}

// losePower takes from the files what a disk without power may not have got: pages
// that are still zero, an end that is missing, sectors that were torn. The state
// suffers less often: with nothing in it there is nothing to resume.
func (c *crashes) losePower(t *testing.T) {
	t.Helper()
	c.damage(t, c.path+store.PartSuffix)
	if c.rand.IntN(4) == 0 {
		c.damage(t, c.path+store.StateSuffix)
	}
}

func (c *crashes) damage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || len(b) == 0 {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for range 1 + c.rand.IntN(8) {
		at := c.rand.IntN(len(b)) &^ (page - 1)
		switch lost := b[at:min(at+page<<c.rand.IntN(6), len(b))]; c.rand.IntN(3) {
		case 0:
			clear(lost)
		case 1:
			clear(lost[c.rand.IntN(len(lost)):])
		case 2:
			lost[c.rand.IntN(len(lost))] ^= 1 << c.rand.IntN(8)
		}
	}
	if c.rand.IntN(3) == 0 {
		b = b[:c.rand.IntN(len(b)+1)]
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
