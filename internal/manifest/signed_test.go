package manifest

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func TestSigned(t *testing.T) {
	k := key(1)
	m := build(t, content(MinPieceSize+5))
	s := Sign(m, k)
	b := s.Append(nil)
	if len(b) != headerSize+2*HashSize+SignatureSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := ParseSigned(b, []ed25519.PublicKey{public(key(2)), public(k)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, got); diff != "" {
		t.Fatal(diff)
	}
	if got.Object != m.ID() {
		t.Fatal("wrong Object ID")
	}
}

func TestParseSignedRefuses(t *testing.T) {
	k := key(1)
	trusted := []ed25519.PublicKey{public(k)}
	b := Sign(build(t, content(MinPieceSize+5)), k).Append(nil)
	sig := len(b) - SignatureSize
	with := func(at int, to byte) []byte {
		c := bytes.Clone(b)
		c[at] ^= to
		return c
	}
	foreign := bytes.Clone(b)
	copy(foreign[sig+8:], public(key(2)))
	for _, c := range []struct {
		name    string
		b       []byte
		trusted []ed25519.PublicKey
		want    error
	}{
		{"no trusted key", b, nil, ErrSignature},
		{"another trusted key", b, []ed25519.PublicKey{public(key(2))}, ErrSignature},
		{"short trusted key", b, []ed25519.PublicKey{{1}}, ErrSignature},
		{"key swapped", foreign, append(trusted, public(key(2))), ErrSignature},
		{"digest changed", with(20, 1), trusted, ErrSignature},
		{"piece hash changed", with(50, 1), trusted, ErrSignature},
		{"signature changed", with(len(b)-1, 1), trusted, ErrSignature},
		{"block magic", with(sig, 1), trusted, ErrMalformed},
		{"block version", with(sig+4, 3), trusted, ErrMalformed},
		{"block reserved", with(sig+7, 1), trusted, ErrMalformed},
		{"truncated", b[:len(b)-1], trusted, ErrMalformed},
		{"unsigned", b[:sig], trusted, ErrMalformed},
		{"trailing byte", append(bytes.Clone(b), 0), trusted, ErrMalformed},
		{"empty", nil, trusted, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseSigned(c.b, c.trusted); !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
		})
	}
}

// Signatures of one kind must not pass for another.
func TestSignedBytesAreDistinct(t *testing.T) {
	id := build(t, nil).ID()
	if b := SignedBytes(id); !bytes.HasPrefix(b, []byte("tandem manifest v1\x00")) || !bytes.HasSuffix(b, id[:]) {
		t.Fatalf("%q", b)
	}
}

func FuzzParseSigned(f *testing.F) {
	k := key(1)
	f.Add(Sign(build(f, content(1)), k).Append(nil))
	f.Add(Sign(build(f, content(MinPieceSize+1)), k).Append(nil))
	f.Add(Sign(build(f, nil), key(2)).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSigned(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if again := s.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		if s.Object != s.ID() {
			t.Fatal("wrong Object ID")
		}
		if err := s.Verify([]ed25519.PublicKey{public(k)}); err == nil && !s.Key.Equal(public(k)) {
			t.Fatal("believed another key")
		}
	})
}
