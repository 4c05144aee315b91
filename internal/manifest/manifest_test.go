package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// content is the object the tests and the vectors use: byte i is i mod 251.
func content(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func build(t testing.TB, data []byte) *Manifest {
	t.Helper()
	b, err := NewBuilder(int64(len(data)))
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
	return m
}

// odd is a valid manifest with arbitrary hashes.
func odd(size, pieceSize int64) *Manifest {
	m := &Manifest{Size: size, PieceSize: pieceSize, Digest: Hash{1, 2, 3}, Pieces: make([]Hash, PieceCount(size, pieceSize))}
	for i := range m.Pieces {
		binary.BigEndian.PutUint32(m.Pieces[i][:], uint32(i))
	}
	return m
}

func TestPieceSizeFor(t *testing.T) {
	const k, m, g = int64(1) << 10, int64(1) << 20, int64(1) << 30
	for _, c := range []struct{ size, want int64 }{
		{0, 64 * k},
		{1, 64 * k},
		{64 * m, 64 * k},
		{64*m + 1, 128 * k},
		{128 * m, 128 * k},
		{250_000_000, 256 * k},
		{1 * g, 1 * m},
		{1*g + 1, 2 * m},
		{4 * g, 4 * m},
		{4*g + 1, 4 * m},
		{MaxSize, 4 * m},
	} {
		if got := PieceSizeFor(c.size); got != c.want {
			t.Errorf("piece size of %d bytes is %d, want %d", c.size, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, MaxSize).Draw(t, "size")
		m := &Manifest{Size: size, PieceSize: PieceSizeFor(size)}
		n := PieceCount(size, m.PieceSize)
		if n > MaxPieces || m.PieceSize < MaxPieceSize && n > targetCount {
			t.Fatalf("%d bytes in %d pieces", size, n)
		}
		if n == 0 {
			return
		}
		last := n - 1
		if m.Offset(last)+m.PieceLen(last) != size || m.PieceLen(last) < 1 || m.PieceAt(size-1) != last {
			t.Fatalf("the last of %d pieces is %d bytes at %d of %d", n, m.PieceLen(last), m.Offset(last), size)
		}
	})
}

func TestBuilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := content(rapid.IntRange(0, 4*MinPieceSize).Draw(t, "size"))
		b, err := NewBuilder(int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for rest := data; len(rest) > 0; {
			k := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if n, err := b.Write(rest[:k]); n != k || err != nil {
				t.Fatalf("%d of %d bytes: %v", n, k, err)
			}
			rest = rest[k:]
		}
		m, err := b.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		if m.Digest != sha256.Sum256(data) {
			t.Fatal("wrong digest of the whole")
		}
		for i := range m.NumPieces() {
			p := data[m.Offset(i) : m.Offset(i)+m.PieceLen(i)]
			if !m.Verify(i, p) {
				t.Fatalf("piece %d is not right", i)
			}
			if m.Verify(i, p[1:]) || m.Verify(i+1, p) && i+1 < m.NumPieces() && !bytes.Equal(p, data[m.Offset(i+1):]) {
				t.Fatalf("piece %d passes for something else", i)
			}
		}
	})
}

func TestBuilderRefuses(t *testing.T) {
	for _, size := range []int64{-1, MaxSize + 1, math.MaxInt64} {
		if _, err := NewBuilder(size); err == nil {
			t.Errorf("an object of %d bytes was begun", size)
		}
	}
	b, err := NewBuilder(3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write([]byte("1234")); err == nil {
		t.Error("4 bytes went into 3")
	}
	if _, err := b.Finish(); err == nil {
		t.Error("finished without content")
	}
	if _, err := b.Write([]byte("123")); err != nil {
		t.Error(err)
	}
	if m, err := b.Finish(); err != nil || m.NumPieces() != 1 {
		t.Errorf("%v", err)
	}
}

func TestVerifyRange(t *testing.T) {
	m := build(t, content(MinPieceSize+1))
	for _, i := range []int{-1, 2, math.MaxInt, math.MinInt} {
		if m.Verify(i, nil) || m.Verify(i, []byte{1}) {
			t.Errorf("there is no piece %d", i)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, m := range map[string]*Manifest{
		"negative size":      {Size: -1, PieceSize: MinPieceSize},
		"huge size":          {Size: MaxSize + 1, PieceSize: MaxPieceSize},
		"no piece size":      {},
		"odd piece size":     {PieceSize: MinPieceSize + 1},
		"small piece size":   {PieceSize: MinPieceSize / 2},
		"large piece size":   {PieceSize: MaxPieceSize * 2},
		"too many pieces":    odd((MaxPieces+1)*MinPieceSize, MinPieceSize),
		"a hash is missing":  {Size: 1, PieceSize: MinPieceSize},
		"a hash is too many": {Size: 0, PieceSize: MinPieceSize, Pieces: make([]Hash, 1)},
	} {
		if err := m.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ps := int64(1) << rapid.IntRange(16, 22).Draw(t, "log2")
		m := odd(rapid.Int64Range(0, 100*ps).Draw(t, "size"), ps)
		extra := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "extra")
		b := m.Append([]byte("before"))[len("before"):]
		got, n, err := Parse(append(b, extra...))
		if err != nil {
			t.Fatal(err)
		}
		if n != len(b) {
			t.Fatalf("%d bytes read of %d", n, len(b))
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Fatal(diff)
		}
		if m.ID() != sha256.Sum256(b) {
			t.Fatal("the ID is not the hash of the encoding")
		}
		for _, cut := range []int{0, 1, 47, len(b) - 1} {
			if _, _, err := Parse(b[:cut]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("cut to %d bytes: %v", cut, err)
			}
		}
	})
}

// A header that announces a large object costs nothing without its hashes.
func TestParseDoesNotOverAllocate(t *testing.T) {
	b := odd(0, MaxPieceSize).Append(nil)
	binary.BigEndian.PutUint64(b[8:], uint64(MaxSize))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := Parse(b)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<16 {
		t.Fatalf("%d bytes allocated", n)
	}
}

func TestObjectID(t *testing.T) {
	id := build(t, content(10)).ID()
	var back ObjectID
	b, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &back); err != nil || back != id {
		t.Fatalf("%s came back as %s: %v", id, back, err)
	}
	upper, err := ParseObjectID(strings.ToUpper(id.String()))
	if err != nil || upper != id {
		t.Errorf("upper case: %v", err)
	}
	for _, s := range []string{"", "00", id.String()[1:], id.String() + "0", strings.Repeat("x", 64), "0x" + id.String()[2:]} {
		if _, err := ParseObjectID(s); err == nil {
			t.Errorf("%q is no ID", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range []*Manifest{odd(0, MinPieceSize), odd(1, MaxPieceSize), build(f, content(3*MinPieceSize+1))} {
		f.Add(m.Append(nil))
	}
	f.Add([]byte("TDMF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, n, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		if again := m.Append(nil); !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x became %x", b[:n], again)
		}
	})
}
