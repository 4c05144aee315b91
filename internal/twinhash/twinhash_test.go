package twinhash

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"runtime"
	"testing"
)

func random(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(p) // it does not fail
	return p
}

func agree(t *testing.T, got hash.Hash, parts ...[]byte) {
	t.Helper()
	if want := sha256.Sum256(bytes.Join(parts, nil)); !bytes.Equal(got.Sum(nil), want[:]) {
		t.Fatalf("the hash of %d parts is not crypto/sha256's", len(parts))
	}
}

func TestEveryLength(t *testing.T) {
	p := random(1200)
	before := p[:192]
	for n := range p {
		a, b := sha256.New(), sha256.New()
		a.Write(before)
		Write(a, b, p[:n])
		agree(t, a, before, p[:n])
		agree(t, b, p[:n])
	}
}

// A hash that has begun a block goes on at every place of it, also beside one that is
// at another place.
func TestEveryPlace(t *testing.T) {
	p := random(400)
	for i := range 70 {
		for _, j := range []int{i, 0, 1, i + 64} {
			a, b := sha256.New(), sha256.New()
			a.Write(p[:i])
			b.Write(p[:j])
			Write(a, b, p)
			Write(a, b, p[1:])
			agree(t, a, p[:i], p, p[1:])
			agree(t, b, p[:j], p, p[1:])
		}
	}
}

func TestLong(t *testing.T) {
	p := random(3*most + 77)
	a, b := sha256.New(), sha256.New()
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 65483)
		Write(a, b, rest[:n])
		rest = rest[n:]
	}
	agree(t, a, p)
	agree(t, b, p)
}

// Hashes of other kinds are written to as they are.
func TestOtherHashes(t *testing.T) {
	p := random(1000)
	a, b := sha256.New224(), sha256.New()
	Write(a, b, p)
	if want := sha256.Sum224(p); !bytes.Equal(a.Sum(nil), want[:]) {
		t.Error("SHA-224 is not crypto/sha256's")
	}
	agree(t, b, p)
}

// Where the processor can, it is not crypto/sha256 twice: the check of its state
// passes with the present toolchain.
func TestFast(t *testing.T) {
	if !supported() {
		t.Skipf("%s without the SHA extensions: crypto/sha256 is used", runtime.GOARCH)
	}
	if !fast {
		t.Error("the state of crypto/sha256 is not what is expected")
	}
}

func FuzzWrite(f *testing.F) {
	f.Add([]byte(nil), []byte(nil), []byte("a"))
	f.Add(random(64), random(0), random(300))
	f.Add(random(100), random(36), random(1000))
	f.Add(random(63), random(64), random(65))
	f.Fuzz(func(t *testing.T, before, other, p []byte) {
		a, b := sha256.New(), sha256.New()
		a.Write(before)
		b.Write(other)
		Write(a, b, p)
		Write(a, b, before)
		agree(t, a, before, p, before)
		agree(t, b, other, p, before)
	})
}

func BenchmarkWrite(b *testing.B) {
	p := random(256 << 10)
	x, y := sha256.New(), sha256.New()
	for name, write := range map[string]func(){
		"one":  func() { x.Write(p) },
		"two":  func() { x.Write(p); y.Write(p) },
		"twin": func() { Write(x, y, p) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				write()
			}
		})
	}
}
