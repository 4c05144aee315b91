package chunkmap

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func mapOf(data []byte) *Map {
	b := NewBuilder(int64(len(data)))
	_, _ = b.Write(data)
	return b.Finish(manifest.ObjectID(sha256.Sum256(data)))
}

func cut(log int, data []byte) []Chunk {
	var got []Chunk
	c := NewChunker(log, func(c Chunk) { got = append(got, c) })
	_, _ = c.Write(data)
	_ = c.Close()
	return got
}

// The definition, byte by byte, of what the chunker does in a hurry.
func slowCut(log int, data []byte) []Chunk {
	least, mean, most := 1<<log/4, 1<<log, 4<<log
	var got []Chunk
	for len(data) > 0 {
		n := len(data)
		for k := least + 1; k <= len(data); k++ {
			var h uint64
			for _, b := range data[max(0, k-64):k] {
				h = h<<1 + gear[b]
			}
			early, late := uint64(1)<<(64-log-2), uint64(1)<<(64-log+2)
			if k <= mean && h < early || k > mean && h < late || k == most {
				n = k
				break
			}
		}
		sum := sha256.Sum256(data[:n])
		got = append(got, Chunk{Len: int32(n), Sum: Sum(sum[:])})
		data = data[n:]
	}
	return got
}

func TestChunkerIsAsDefined(t *testing.T) {
	for i, data := range [][]byte{random(1, 300_000), make([]byte, 200_000), nil, random(2, 1), random(3, 4096)} {
		if diff := cmp.Diff(slowCut(14, data), cut(14, data)); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
	}
}

func TestChunkerTakesBytesAsTheyCome(t *testing.T) {
	data := random(1, 1<<20)
	want := cut(14, data)
	rapid.Check(t, func(t *rapid.T) {
		var got []Chunk
		c := NewChunker(14, func(c Chunk) { got = append(got, c) })
		for rest := data; len(rest) > 0; {
			k := min(rapid.IntRange(1, 100_000).Draw(t, "write"), len(rest))
			_, _ = c.Write(rest[:k])
			rest = rest[k:]
		}
		_ = c.Close()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestChunkSizes(t *testing.T) {
	data := random(1, 64<<20)
	chunks := cut(14, data)
	for i, c := range chunks {
		if c.Len > 64<<10 || c.Len <= 4<<10 && i < len(chunks)-1 {
			t.Fatalf("chunk %d has %d bytes", i, c.Len)
		}
	}
	if mean := len(data) / len(chunks); mean < 12<<10 || mean > 20<<10 {
		t.Errorf("%d bytes on average", mean)
	}
}

func TestAverageFor(t *testing.T) {
	for _, c := range []struct {
		size int64
		want int
	}{{0, 14}, {1 << 32, 14}, {1<<32 + 1<<14, 15}, {1 << 36, 18}, {manifest.MaxSize, 22}} {
		if got := AverageFor(c.size); got != c.want {
			t.Errorf("%d bytes: 2^%d, want 2^%d", c.size, got, c.want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 1 << 20} {
		m := mapOf(random(7, n))
		b := m.Sign(key(1))
		if int64(len(b)) > MaxEncoded(int64(n)) {
			t.Errorf("%d bytes, the limit is %d", len(b), MaxEncoded(int64(n)))
		}
		got, err := ParseSigned(b, []ed25519.PublicKey{public(key(2)), public(key(1))})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Error(diff)
		}
		if _, err := ParseSigned(b, []ed25519.PublicKey{public(key(2))}); !errors.Is(err, manifest.ErrSignature) {
			t.Errorf("a stranger's signature: %v", err)
		}
		b[headerSize-1] ^= 1
		if _, err := ParseSigned(b, []ed25519.PublicKey{public(key(1))}); !errors.Is(err, manifest.ErrSignature) {
			t.Errorf("changed: %v", err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := mapOf(random(7, 100_000)).Append(nil)
	with := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	set := func(at int, v byte) []byte {
		return with(func(b []byte) []byte { b[at] = v; return b })
	}
	for name, b := range map[string][]byte{
		"nothing":           nil,
		"cut":               good[:len(good)-1],
		"longer":            append(bytes.Clone(good), 0),
		"magic":             set(0, 'X'),
		"version":           set(4, 2),
		"average too small": set(5, 13),
		"average too great": set(5, 23),
		"reserved":          set(6, 1),
		"another size":      set(15, good[15]^1),
		"a huge size":       set(8, 1),
		"a size it cannot have": with(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[8:], uint64(manifest.MaxSize)+1)
			return b
		}),
		"too fine for the size": with(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[8:], 1<<40)
			return b
		}),
		"another number of chunks": set(51, good[51]+1),
		"a number beyond all":      set(48, 0xff),
		"a chunk that is short":    with(func(b []byte) []byte { b[52], b[53], b[54] = 0, 0, 9; return b }),
		"a chunk that is long":     set(52, 1),
	} {
		if _, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, n := range []int{0, 1, 4097, 100_000} {
		f.Add(mapOf(random(7, n)).Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if !bytes.Equal(m.Append(nil), b) {
			t.Fatalf("%x became %x", b, m.Append(nil))
		}
		x := NewIndex(m)
		for _, c := range m.Chunks {
			x.Find(c, func(int) {})
		}
		if !x.Complete() || len(x.Gaps(0, m.Size, 1)) > 0 {
			t.Fatal("a map does not find itself")
		}
	})
}

// edited is data after an edit script, and an upper bound of the places where it
// differs.
func edited(t *rapid.T, data []byte) ([]byte, int, int64) {
	n := rapid.IntRange(0, 8).Draw(t, "edits")
	var fresh int64
	for k := range n {
		at := rapid.IntRange(0, len(data)).Draw(t, "at")
		del := min(rapid.IntRange(0, 50_000).Draw(t, "delete"), len(data)-at)
		put := random(byte(100+k), rapid.IntRange(0, 50_000).Draw(t, "insert"))
		fresh += int64(len(put))
		data = bytes.Join([][]byte{data[:at], put, data[at+del:]}, nil)
	}
	return data, n, fresh
}

// A small edit costs less than two chunks on average: the one that it is in, what is cut
// otherwise until both are in step again, and by chance more.
func TestEditsCostFewChunks(t *testing.T) {
	const edits = 300
	old := random(1, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	var all int64
	for range edits {
		at := rng.IntN(len(old))
		data := bytes.Join([][]byte{old[:at], []byte("xy"), old[min(at+100, len(old)):]}, nil)
		m := mapOf(data)
		x := NewIndex(m)
		c := NewChunker(m.Log, func(c Chunk) { x.Find(c, func(int) {}) })
		_, _ = c.Write(old)
		_ = c.Close()
		all += gapsIn(x, m.Size)
	}
	if mean := all / edits; mean > 2*16<<10 {
		t.Errorf("%d bytes an edit, want %d at most", mean, 2*16<<10)
	}
}

// Whatever was done to an object, the new one is put together from the old and the
// gaps, which are no more than what is new and some chunks for each edit: two on
// average, but until both are cut at the same place again ten have been seen.
func TestRebuild(t *testing.T) {
	old := random(1, 1<<20)
	rapid.Check(t, func(t *rapid.T) {
		data, edits, fresh := edited(t, old)
		m := mapOf(data)
		x := NewIndex(m)
		from := make([]int64, len(m.Chunks))
		var at int64
		c := NewChunker(m.Log, func(c Chunk) {
			x.Find(c, func(i int) { from[i] = at })
			at += int64(c.Len)
		})
		_, _ = c.Write(old)
		_ = c.Close()
		got := make([]byte, len(data))
		var off int64
		for i, c := range m.Chunks {
			if x.found[i] {
				copy(got[off:off+int64(c.Len)], old[from[i]:])
			}
			off += int64(c.Len)
		}
		piece := int64(rapid.IntRange(1<<16, 1<<20).Draw(t, "piece"))
		bridge := int64(rapid.IntRange(0, 10_000).Draw(t, "bridge"))
		var fetched int64
		for b := int64(0); b < m.Size; b += piece {
			for _, g := range x.Gaps(b, min(b+piece, m.Size), bridge) {
				copy(got[g.Off:g.End()], data[g.Off:])
				fetched += g.Len
			}
		}
		if !bytes.Equal(got, data) {
			t.Fatal("what was put together is not the object")
		}
		if most := fresh + int64(edits)*24*16<<10 + bridge*int64(edits+int(m.Size/piece)); fetched > most && fetched > 1<<14 {
			t.Fatalf("%d bytes fetched for %d edits with %d new bytes, at most %d", fetched, edits, fresh, most)
		}
		if x.Found()+gapsIn(x, m.Size) != m.Size {
			t.Fatal("what was found and what was not are not the whole")
		}
	})
}

func gapsIn(x *Index, size int64) (n int64) {
	for _, g := range x.Gaps(0, size, 0) {
		n += g.Len
	}
	return n
}

// An object of one chunk over and over costs no more than any other.
func TestIndexIsLinear(t *testing.T) {
	m := mapOf(make([]byte, 64<<20))
	x := NewIndex(m)
	calls := 0
	for _, c := range m.Chunks {
		x.Find(c, func(int) { calls++ })
	}
	if calls != len(m.Chunks) || !x.Complete() {
		t.Errorf("%d calls for %d chunks", calls, len(m.Chunks))
	}
}

func BenchmarkChunker(b *testing.B) {
	data := random(1, 64<<20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	c := NewChunker(14, func(Chunk) {})
	for b.Loop() {
		_, _ = c.Write(data)
	}
}

// What chunks of several averages cost when 1 % of an object is new, in edits of 100 KB:
// the table in DESIGN.md §7.
func TestAverages(t *testing.T) {
	if testing.Short() {
		t.Skip("it cuts gigabytes")
	}
	const size, each = 200_000_000, 100_000
	old := random(1, size)
	var parts [][]byte
	for i := range size / each / 100 {
		part := old[i*100*each : (i+1)*100*each]
		at, gone := (i*37%90)*each+i*1234, []int{each, 0, each / 2}[i%3]
		parts = append(parts, part[:at], random(byte(2+i), each), part[at+gone:])
	}
	data := bytes.Join(parts, nil)
	for log := 12; log <= 17; log++ {
		m := &Map{Log: log}
		cutting := NewChunker(log, func(c Chunk) { m.Chunks, m.Size = append(m.Chunks, c), m.Size+int64(c.Len) })
		_, _ = cutting.Write(data)
		_ = cutting.Close()
		x := NewIndex(m)
		searching := NewChunker(log, func(c Chunk) { x.Find(c, func(int) {}) })
		_, _ = searching.Write(old)
		_ = searching.Close()
		encoded, gaps := 100*float64(len(m.Append(nil)))/size, 100*float64(gapsIn(x, m.Size))/size
		t.Logf("| %d KiB | %.3f | %.2f | %.2f |", 1<<log>>10, encoded, gaps, encoded+gaps)
		if log == AverageFor(1e9) && encoded+gaps > 1.6 {
			t.Errorf("%.2f %% of the object for 1 %% that is new", encoded+gaps)
		}
	}
}
