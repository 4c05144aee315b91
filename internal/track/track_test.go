package track

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func trust(k ed25519.PrivateKey) []ed25519.PublicKey { return []ed25519.PublicKey{public(k)} }

// of returns a manifest as of an object of that size.
func of(size int64) *manifest.Manifest {
	m := &manifest.Manifest{Size: size, PieceSize: manifest.PieceSizeFor(size)}
	for i := range manifest.PieceCount(size, m.PieceSize) {
		m.Pieces = append(m.Pieces, sha256.Sum256([]byte{byte(i)}))
	}
	return m
}

func header() *Header {
	return &Header{Stream: StreamID{1, 2}, Began: time.UnixMilli(1764457200123), Name: "/live/720p.m3u8?a=b"}
}

func page() *Page {
	return &Page{
		Track: header().ID(), First: 3, Piece: 17, Offset: 1 << 33, Ended: true,
		Segments: []Segment{
			{Name: "/live/init.mp4", Init: true, Manifest: of(800)},
			{Name: "/live/7.m4s?x", Start: 12345 * time.Millisecond, Duration: 4004 * time.Millisecond, Discontinuity: true, Manifest: of(200_000)},
			{Name: "/live/8.1.m4s", Start: 16349 * time.Millisecond, Duration: 500 * time.Millisecond, Part: true, Manifest: of(30_000)},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	k := key(1)
	h, err := ParseHeader(header().Sign(k), trust(k))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(header(), h); diff != "" {
		t.Error(diff)
	}
	for _, want := range []*Page{page(), {Track: header().ID()}} {
		p, err := ParsePage(want.Sign(k), append(trust(key(2)), public(k)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Error(diff)
		}
	}
	for i := range page().Segments {
		s := &page().Segments[i]
		if n := len(s.append(nil)); n != s.Encoded() {
			t.Errorf("segment %d takes %d bytes and says %d", i, n, s.Encoded())
		}
	}
}

// A header may not pass for a page or a manifest, or the other way round.
func TestContexts(t *testing.T) {
	k := key(1)
	body := header().Append(nil)
	for _, context := range []string{pageContext, "tandem manifest v1\x00"} {
		if _, err := ParseHeader(sign(bytes.Clone(body), k, context), trust(k)); !errors.Is(err, manifest.ErrSignature) {
			t.Errorf("header signed as %q: %v", context, err)
		}
	}
	if _, err := ParsePage(sign(page().Append(nil), k, headerContext), trust(k)); !errors.Is(err, manifest.ErrSignature) {
		t.Errorf("page signed as a header: %v", err)
	}
}

// changed returns b with bytes replaced.
func changed(b []byte, at int, to ...byte) []byte {
	c := bytes.Clone(b)
	copy(c[at:], to)
	return c
}

func TestRefusesHeaders(t *testing.T) {
	good := header().Append(nil)
	name := func(s string) []byte {
		return append(binary.BigEndian.AppendUint16(bytes.Clone(good[:48]), uint16(len(s))), s...)
	}
	k := key(1)
	for what, b := range map[string][]byte{
		"nothing":            nil,
		"cut":                good[:headerSize-1],
		"magic":              changed(good, 0, 'X'),
		"version":            changed(good, 4, 2),
		"reserved":           changed(good, 7, 1),
		"time of no year":    changed(good, 40, 255),
		"longer name":        append(bytes.Clone(good), 'x'),
		"shorter name":       good[:len(good)-1],
		"no name":            name(""),
		"relative name":      name("live.m3u8"),
		"space in the name":  name("/a b"),
		"line end":           name("/a\r\nb"),
		"not ASCII":          name("/ä"),
		"name over its size": name("/" + strings.Repeat("a", MaxName)),
	} {
		if _, err := ParseHeader(sign(bytes.Clone(b), k, headerContext), trust(k)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	signed := header().Sign(k)
	for what, b := range map[string][]byte{
		"trailing byte": append(bytes.Clone(signed), 0), "cut": signed[:len(signed)-1], "no signature": good, "nothing": nil,
		"stranger": header().Sign(key(2)), "another stream": changed(signed, 9, 99),
	} {
		if _, err := ParseHeader(b, trust(k)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := ParseHeader(name("/"+strings.Repeat("a", MaxName-1)), nil); err == nil {
		t.Error("accepted without keys")
	}
	if _, err := ParseHeader(sign(name("/"+strings.Repeat("a", MaxName-1)), k, headerContext), trust(k)); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}

func TestRefusesPages(t *testing.T) {
	good := page().Append(nil)
	first := pageSize // the first segment
	at := func(i int, to ...byte) []byte { return changed(good, i, to...) }
	k := key(1)
	for what, b := range map[string][]byte{
		"nothing":                  nil,
		"cut":                      good[:pageSize-1],
		"magic":                    at(0, 'X'),
		"version":                  at(4, 0),
		"flag":                     at(5, 2),
		"more segments than said":  at(7, 1),
		"fewer segments than said": at(7, 4),
		"too many segments":        at(6, 1, 1),
		"number over the limit":    at(40, 0, 16, 0, 1),
		"piece over the limit":     at(44, 0, 16, 0, 1),
		"byte over the limit":      at(48, 0x40, 0, 0, 0, 0, 0, 0, 1),
		"trailing byte":            append(bytes.Clone(good), 0),
		"segment cut":              good[:first+segmentSize-1],
		"name cut":                 good[:first+segmentSize+3],
		"manifest cut":             good[:len(good)-1],
		"segment flag":             at(first+12, 8),
		"part without media":       at(first+12, flagInit|flagPart),
		"segment reserved":         at(first+13, 1),
		"start over the limit":     at(first, 0, 0, 8, 0, 0, 0, 0, 1),
		"relative name":            at(first+segmentSize, 'x'),
		"manifest":                 at(first+segmentSize+len("/live/init.mp4"), 'X'),
		"empty segment":            at(first+segmentSize+len("/live/init.mp4")+8, 0, 0, 0, 0, 0, 0, 0, 0),
	} {
		if _, err := ParsePage(sign(bytes.Clone(b), k, pageContext), trust(k)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	signed := page().Sign(k)
	for what, b := range map[string][]byte{
		"too long": append(bytes.Clone(signed), make([]byte, MaxPage)...), "stranger": page().Sign(key(2)), "hash changed": changed(signed, len(good)-1, 99),
	} {
		if _, err := ParsePage(b, trust(k)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestValidate(t *testing.T) {
	good := page().Segments[1]
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Segment){
		"no name":         func(s *Segment) { s.Name = "" },
		"other host":      func(s *Segment) { s.Name = "https://a/b" },
		"before time":     func(s *Segment) { s.Start = -1 },
		"start too late":  func(s *Segment) { s.Start = (maxMillis + 1) * time.Millisecond },
		"runs backwards":  func(s *Segment) { s.Duration = -time.Second },
		"lasts too long":  func(s *Segment) { s.Duration = 1 << 32 * time.Millisecond },
		"no manifest":     func(s *Segment) { s.Manifest = nil },
		"no bytes":        func(s *Segment) { s.Manifest = of(0) },
		"too many bytes":  func(s *Segment) { s.Manifest = of(MaxSegmentSize + 1) },
		"part of nothing": func(s *Segment) { s.Init, s.Part = true, true },
		"hash missing":    func(s *Segment) { m := *of(200_000); m.Pieces = m.Pieces[1:]; s.Manifest = &m },
	} {
		s := good
		if change(&s); !errors.Is(s.Validate(), ErrMalformed) && !errors.Is(s.Validate(), manifest.ErrMalformed) {
			t.Errorf("%s: %v", what, s.Validate())
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	k := key(1)
	f.Add(header().Append(nil))
	f.Add(header().Append(nil)[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(sign(bytes.Clone(b), k, headerContext), trust(k))
		if err == nil && !bytes.Equal(h.Append(nil), b) {
			t.Fatalf("%x was read as %+v", b, h)
		}
		_, _ = ParseHeader(b, trust(k))
	})
}

func FuzzParsePage(f *testing.F) {
	k := key(1)
	f.Add(page().Append(nil))
	f.Add((&Page{}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePage(sign(bytes.Clone(b), k, pageContext), trust(k))
		if err != nil {
			return
		}
		if !bytes.Equal(p.Append(nil), b) {
			t.Fatalf("%x was read as %+v", b, p)
		}
		for i := range p.Segments {
			if err := p.Segments[i].Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
