package chunkmap_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/manifest/vectortest"
)

type chunk struct {
	Len int32  `json:"len"`
	Sum string `json:"sum"`
}

type vector struct {
	Name   string  `json:"name"`
	Size   int     `json:"size"`
	Log    int     `json:"log"`
	Object string  `json:"object"`
	Chunks []chunk `json:"chunks"`
	Signed string  `json:"signed"`
}

type reject struct {
	Name   string `json:"name"`
	Hex    string `json:"hex"`
	Reason string `json:"reason"`
}

type file struct {
	About  string   `json:"about"`
	Key    string   `json:"key"`
	Valid  []vector `json:"valid"`
	Reject []reject `json:"reject"`
}

// stream is size bytes: the SHA-256 of the 32-bit numbers 0, 1, … one after the other.
func stream(size int) []byte {
	var b []byte
	for i := 0; len(b) < size; i++ {
		sum := sha256.Sum256([]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		b = append(b, sum[:]...)
	}
	return b[:size]
}

func TestVectorsChunks(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	want := file{
		About: "Signed chunk maps. The object is the SHA-256 of the 32-bit big-endian numbers 0, 1, 2, ... one after the other, cut to size; its Object ID is here the SHA-256 of that. key is the public key of the signer.",
		Key:   hex.EncodeToString(public),
	}
	var last []byte
	for _, c := range []struct {
		name string
		size int
	}{{"empty object", 0}, {"one byte", 1}, {"several chunks", 200_000}} {
		b := chunkmap.NewBuilder(int64(c.size))
		_, _ = b.Write(stream(c.size))
		m := b.Finish(sha256.Sum256(stream(c.size)))
		v := vector{Name: c.name, Size: c.size, Log: m.Log, Object: m.Object.String(), Chunks: []chunk{}, Signed: hex.EncodeToString(m.Sign(key))}
		for _, c := range m.Chunks {
			v.Chunks = append(v.Chunks, chunk{c.Len, hex.EncodeToString(c.Sum[:])})
		}
		want.Valid = append(want.Valid, v)
		last = m.Append(nil)
	}
	bad := func(name, reason string, change func(b []byte) []byte) {
		b := change(bytes.Clone(last))
		b = manifest.AppendSignature(b, key, "tandem chunk map v1\x00", sha256.Sum256(b))
		want.Reject = append(want.Reject, reject{name, hex.EncodeToString(b), reason})
	}
	set := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	bad("magic", "it does not begin with TDCM", set(0, 'X'))
	bad("version", "version 2", set(4, 2))
	bad("average", "the average is 2^13", set(5, 13))
	bad("reserved", "a reserved byte is set", set(7, 1))
	bad("size", "the lengths are not the size in sum", set(15, last[15]^1))
	bad("number", "there are fewer chunks than it says", set(51, last[51]+1))
	bad("length", "a chunk is longer than four times the average", set(52, 1))
	bad("cut", "the last chunk is cut", func(b []byte) []byte { return b[:len(b)-1] })
	want.Reject = append(want.Reject, reject{"signature", hex.EncodeToString(manifest.AppendSignature(bytes.Clone(last), key, "tandem manifest v1\x00", sha256.Sum256(last))), "the signature has the context of manifests"})
	got := vectortest.Check(t, "chunks.json", want)
	for _, v := range got.Valid {
		b, err := hex.DecodeString(v.Signed)
		if err != nil {
			t.Fatal(err)
		}
		m, err := chunkmap.ParseSigned(b, []ed25519.PublicKey{public})
		if err != nil || len(m.Chunks) != len(v.Chunks) || m.Size != int64(v.Size) {
			t.Errorf("%s: %+v, %v", v.Name, m, err)
		}
	}
	for _, v := range got.Reject {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chunkmap.ParseSigned(b, []ed25519.PublicKey{public}); err == nil {
			t.Errorf("%s was accepted: %s", v.Name, v.Reason)
		}
	}
}
