package track_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/manifest/vectortest"
	"github.com/tandem-cdn/tandem/internal/track"
)

type reject struct {
	Name   string `json:"name"`
	Hex    string `json:"hex"`
	Reason string `json:"reason"`
}

type headerVector struct {
	Stream string `json:"stream"`
	Began  string `json:"began"`
	Name   string `json:"name"`
	Track  string `json:"track"`
	Signed string `json:"signed"`
}

type segmentVector struct {
	Name          string `json:"name"`
	Start         string `json:"start"`
	Duration      int64  `json:"duration"`
	Init          bool   `json:"init"`
	Discontinuity bool   `json:"discontinuity"`
	Part          bool   `json:"part"`
	Size          int64  `json:"size"`
	Object        string `json:"object"`
}

type pageVector struct {
	Track    string          `json:"track"`
	First    int             `json:"first"`
	Piece    int             `json:"piece"`
	Offset   string          `json:"offset"`
	Ended    bool            `json:"ended"`
	Segments []segmentVector `json:"segments"`
	Signed   string          `json:"signed"`
}

type file struct {
	About         string         `json:"about"`
	Key           string         `json:"key"`
	Headers       []headerVector `json:"headers"`
	Pages         []pageVector   `json:"pages"`
	RejectHeaders []reject       `json:"reject_headers"`
	RejectPages   []reject       `json:"reject_pages"`
}

func TestVectorsTracks(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	want := file{
		About: "Signed headers and pages of tracks. Times are in milliseconds, began since 1970. In the segments' bytes, byte i is i mod 251. key is the public key of the signer.",
		Key:   hex.EncodeToString(key.Public().(ed25519.PublicKey)),
	}
	h := track.Header{Stream: sha256.Sum256([]byte("stream")), Began: time.UnixMilli(1764457200123), Name: "/live/720p.m3u8"}
	dash := h
	dash.Name = "/vod/a.mpd?v=1#video%201"
	low := h
	low.Name = "/low/720p.m3u8"
	for _, h := range []track.Header{h, dash, low} {
		want.Headers = append(want.Headers, headerVector{
			Stream: h.Stream.String(), Began: strconv.FormatInt(h.Began.UnixMilli(), 10), Name: h.Name,
			Track: h.ID().String(), Signed: hex.EncodeToString(h.Sign(key)),
		})
	}
	first := track.Page{Track: h.ID(), Segments: []track.Segment{
		{Name: "/live/init.mp4", Init: true, Manifest: vectortest.Made(t, 700)},
		{Name: "/live/1.m4s", Duration: 4 * time.Second, Manifest: vectortest.Made(t, 65537)},
	}}
	second := track.Page{Track: h.ID(), First: 2, Piece: 3, Offset: 66237, Ended: true, Segments: []track.Segment{
		{Name: "/live/2.m4s?a", Start: 4 * time.Second, Duration: 1500 * time.Millisecond, Discontinuity: true, Manifest: vectortest.Made(t, 1)},
	}}
	parts := track.Page{Track: low.ID(), Segments: []track.Segment{
		{Name: "/low/3.0.m4s", Start: 5500 * time.Millisecond, Duration: 500 * time.Millisecond, Part: true, Manifest: vectortest.Made(t, 300)},
		{Name: "/low/3.1.m4s", Start: 6 * time.Second, Duration: 500 * time.Millisecond, Part: true, Manifest: vectortest.Made(t, 200)},
		{Name: "/low/3.m4s", Start: 5500 * time.Millisecond, Duration: time.Second, Manifest: vectortest.Made(t, 500)},
	}}
	for _, p := range []track.Page{first, second, {Track: dash.ID()}, parts} {
		want.Pages = append(want.Pages, vectorOf(&p, key))
	}
	want.RejectHeaders = badHeaders(&h, key)
	want.RejectPages = badPages(&second, key)
	check(t, vectortest.Check(t, "track.json", want))
}

func vectorOf(p *track.Page, key ed25519.PrivateKey) pageVector {
	v := pageVector{
		Track: p.Track.String(), First: p.First, Piece: p.Piece, Offset: strconv.FormatInt(p.Offset, 10), Ended: p.Ended,
		Segments: []segmentVector{}, Signed: hex.EncodeToString(p.Sign(key)),
	}
	for _, s := range p.Segments {
		v.Segments = append(v.Segments, segmentVector{
			Name: s.Name, Start: strconv.FormatInt(s.Start.Milliseconds(), 10), Duration: s.Duration.Milliseconds(),
			Init: s.Init, Discontinuity: s.Discontinuity, Part: s.Part, Size: s.Manifest.Size, Object: s.Manifest.ID().String(),
		})
	}
	return v
}

// signed puts a good signature behind what may be bad.
func signed(b []byte, key ed25519.PrivateKey, context string) string {
	return hex.EncodeToString(manifest.AppendSignature(b, key, context, sha256.Sum256(b)))
}

// with returns good with bytes replaced.
func with(good []byte, at int, to ...byte) []byte {
	b := bytes.Clone(good)
	copy(b[at:], to)
	return b
}

func badHeaders(h *track.Header, key ed25519.PrivateKey) []reject {
	const context = "tandem track v1\x00"
	good := h.Append(nil)
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	return []reject{
		{"magic", signed(with(good, 0, 'X'), key, context), "the magic is TDTR"},
		{"version", signed(with(good, 4, 2), key, context), "the version is 1"},
		{"reserved", signed(with(good, 5, 1), key, context), "reserved bytes are 0"},
		{"time", signed(with(good, 40, 1), key, context), "times are at most 2^43"},
		{"name longer", signed(append(bytes.Clone(good), 'x'), key, context), "nothing follows the name"},
		{"name shorter", signed(good[:len(good)-1:len(good)-1], key, context), "the name has the length that is said"},
		{"no path", signed(with(good, 50, 'x'), key, context), "names begin with a slash"},
		{"space", signed(with(good, 51, ' '), key, context), "names are printable ASCII without spaces"},
		{"context", signed(bytes.Clone(good), key, "tandem track page v1\x00"), "it is signed as something else"},
		{"stranger", hex.EncodeToString(h.Sign(stranger)), "the signer is not trusted"},
		{"no signature", hex.EncodeToString(good), "the signature is missing"},
	}
}

func badPages(p *track.Page, key ed25519.PrivateKey) []reject {
	const context = "tandem track page v1\x00"
	good := p.Append(nil)
	name := 56 + 16
	manifest := name + len(p.Segments[0].Name)
	bad := func(name, reason string, b []byte) reject { return reject{name, signed(b, key, context), reason} }
	return []reject{
		bad("magic", "the magic is TDTP", with(good, 0, 'X')),
		bad("version", "the version is 1", with(good, 4, 0)),
		bad("flags", "the only flag is 1", with(good, 5, 3)),
		bad("number of segments", "there are as many as are said", with(good, 7, 2)),
		bad("too many segments", "pages have at most 256", with(good, 6, 1, 1)),
		bad("number", "tracks have at most 2^20 pieces", with(good, 40, 0, 16, 0, 1)),
		bad("piece", "tracks have at most 2^20 pieces", with(good, 44, 0, 16, 0, 1)),
		bad("byte", "at most 2^62 bytes", with(good, 48, 64, 0, 0, 0, 0, 0, 0, 1)),
		bad("start", "starts are at most 2^43", with(good, 56, 0, 0, 8, 0, 0, 0, 0, 1)),
		bad("segment flags", "the flags are 1, 2 and 4", with(good, 56+12, 8)),
		bad("part without media", "an initialization is no part", with(good, 56+12, 5)),
		bad("segment reserved", "reserved bytes are 0", with(good, 56+13, 1)),
		bad("no path", "names begin with a slash", with(good, name, 'x')),
		bad("manifest", "there is a manifest for every segment", with(good, manifest, 'X')),
		bad("empty segment", "segments have bytes", with(good[:len(good)-32], manifest+8, make([]byte, 8)...)),
		bad("big segment", "segments have at most 2^28 bytes", with(append(bytes.Clone(good), make([]byte, 64*32)...), manifest+6, 22, 0, 0, 0, 0, 0, 16, 0, 0, 1)),
		bad("trailing byte", "nothing follows the segments", append(bytes.Clone(good), 0)),
		bad("cut", "it ends behind the last segment", good[:len(good)-1:len(good)-1]),
		{"context", signed(bytes.Clone(good), key, "tandem track v1\x00"), "it is signed as something else"},
	}
}

func check(t *testing.T, got file) {
	t.Helper()
	trusted := []ed25519.PublicKey{vectortest.Bytes(t, got.Key)}
	for _, v := range got.Headers {
		h, err := track.ParseHeader(vectortest.Bytes(t, v.Signed), trusted)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if h.Name != v.Name || h.Stream.String() != v.Stream || h.ID().String() != v.Track || strconv.FormatInt(h.Began.UnixMilli(), 10) != v.Began {
			t.Errorf("%s: read as %+v", v.Name, h)
		}
	}
	for _, v := range got.Pages {
		p, err := track.ParsePage(vectortest.Bytes(t, v.Signed), trusted)
		if err != nil {
			t.Errorf("page from %d: %v", v.First, err)
			continue
		}
		if p.Track.String() != v.Track || p.First != v.First || p.Piece != v.Piece || strconv.FormatInt(p.Offset, 10) != v.Offset || p.Ended != v.Ended || len(p.Segments) != len(v.Segments) {
			t.Errorf("page from %d: read as %+v", v.First, p)
			continue
		}
		for i, s := range p.Segments {
			want := v.Segments[i]
			if s.Name != want.Name || strconv.FormatInt(s.Start.Milliseconds(), 10) != want.Start || s.Duration.Milliseconds() != want.Duration ||
				s.Init != want.Init || s.Discontinuity != want.Discontinuity || s.Part != want.Part || s.Manifest.Size != want.Size || s.Manifest.ID().String() != want.Object {
				t.Errorf("segment %s: read as %+v", want.Name, s)
			}
		}
	}
	for _, v := range got.RejectHeaders {
		if _, err := track.ParseHeader(vectortest.Bytes(t, v.Hex), trusted); err == nil {
			t.Errorf("header %s was accepted: %s", v.Name, v.Reason)
		}
	}
	for _, v := range got.RejectPages {
		if _, err := track.ParsePage(vectortest.Bytes(t, v.Hex), trusted); err == nil {
			t.Errorf("page %s was accepted: %s", v.Name, v.Reason)
		}
	}
}
