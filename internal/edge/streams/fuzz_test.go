package streams

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
)

func record(b []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	return append(binary.BigEndian.AppendUint32(head, crc32.Checksum(b, castagnoli)), b...)
}

// Whatever is on disk is read as a track that ends where it says, or not at all.
func FuzzReadFile(f *testing.F) {
	h := track.Header{Stream: track.StreamID{1}, Began: time.UnixMilli(1), Name: "/a.m3u8"}
	m := &manifest.Manifest{Size: 1, PieceSize: manifest.MinPieceSize, Pieces: make([]manifest.Hash, 1)}
	p := track.Page{Track: h.ID(), Segments: []track.Segment{{Name: "/1.ts", Manifest: m}}}
	file := append(record(h.Append(nil)), record(p.Append(nil))...)
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add(record(h.Append(nil)))
	f.Add(append(bytes.Clone(file), 0, 0, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, size, err := readFile(bytes.NewReader(b))
		if err != nil {
			return
		}
		if size > int64(len(b)) {
			t.Fatalf("%d bytes of %d", size, len(b))
		}
		again, n, err := readFile(bytes.NewReader(b[:size]))
		if err != nil || n != size {
			t.Fatalf("cut to %d it is read to %d, %v", size, n, err)
		}
		a, ended := tr.Next()
		if b, e := again.Next(); a != b || ended != e {
			t.Fatalf("cut it is at %+v, before at %+v", b, a)
		}
	})
}

// Whatever a playlist says, every load of it can be followed.
func FuzzFollow(f *testing.F) {
	f.Add(list(0, 5, 2), list(1, 5, 2), false)
	f.Add(list(0, 5, 2), list(0, 3, 2, endList), false)
	f.Add(list(100, 5, 2), list(0, 5, 1), false)
	f.Add(mpd(time.Minute, "", "a", "b"), mpd(time.Hour, `minimumUpdatePeriod="PT4S"`, "a"), true)
	f.Fuzz(func(t *testing.T, first, second string, isMPD bool) {
		k := isHLS
		if isMPD {
			k = isDASH
		}
		r, err := newReader("/dir/a", k, publicURL(t))
		if err != nil {
			t.Fatal(err)
		}
		fl, now := newFollow(), time.Now()
		fl.ask(now, "")
		for _, text := range []string{first, second, first} {
			l, _, err := r.read([]byte(text), now)
			if err != nil || l == nil {
				fl.failed(now)
				continue
			}
			fl.took(now, "", l)
			for range 20 {
				now = now.Add(time.Second)
				s := fl.next(now)
				for _, w := range s.take {
					if !track.ValidName(w.name) {
						t.Fatalf("takes %q", w.name)
					}
					fl.askFor(now, w.name, "x")
					if _, it, v := fl.got(now, w, Object{ETag: "x", Manifest: &manifest.Manifest{}}, nil); v == publish {
						it.published((&manifest.Manifest{}).ID())
					}
				}
				for _, r := range fl.renditions {
					if r.flights < 0 || r.flights > maxFlights+1 || len(fl.renditions) > maxRenditions {
						t.Fatalf("%d flights", r.flights)
					}
				}
			}
		}
	})
}
