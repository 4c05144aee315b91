// Package lowlatency is an origin of Low-Latency HLS for tests and benchmarks. It cuts
// the fragmented MP4 that an encoder writes into parts and segments, and serves them as
// draft-pantos-hls-rfc8216bis has it: reloads of playlists are held until there is what
// they ask for (§6.2.5.2), requests for the part that is hinted until it is there
// (§4.4.5.3), older segments are skipped on request (§6.2.5.1).
package lowlatency

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options say how a presentation is cut. Encoders must write fragments of Part at the
// most, and begin one with a keyframe every Segment.
type Options struct {
	Segment, Part time.Duration
	// Window is how many segments a playlist lists.
	Window int
	// Dir is where all that was ever served is written to, too: the truth to compare with.
	Dir string
}

// Origin serves one presentation: NAME/index.m3u8 for each of its renditions, and what
// that names.
type Origin struct {
	o Options

	mu         sync.Mutex
	renditions []*rendition
	changed    chan struct{} // closed and replaced when there is more
}

// rendition is guarded by the origin's mutex.
type rendition struct {
	name     string
	init     []byte
	segments []*segment
	now      *segment // that is being made
	began    time.Time
	ended    bool
	files    map[string][]byte
}

type segment struct {
	number   uint64
	start    time.Duration
	duration time.Duration
	parts    []part
	bytes    []byte
}

type part struct {
	duration    time.Duration
	independent bool
}

// New returns an origin without renditions.
func New(o Options) *Origin { return &Origin{o: o, changed: make(chan struct{})} }

// Feed makes a rendition of what is read from r, until that ends.
func (o *Origin) Feed(name string, r io.Reader) error {
	s := &rendition{name: name, now: &segment{}, files: map[string][]byte{}}
	o.mu.Lock()
	o.renditions = append(o.renditions, s)
	o.mu.Unlock()
	if err := os.MkdirAll(filepath.Join(o.o.Dir, name), 0o755); err != nil {
		return fmt.Errorf("rendition %s: %w", name, err)
	}
	in := &fragments{r: r}
	for {
		f, err := in.next()
		if err == nil {
			err = o.add(s, in.init, f)
		}
		if err == nil {
			continue
		}
		o.mu.Lock()
		s.ended = true
		o.wake()
		o.mu.Unlock()
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("rendition %s: %w", name, err)
	}
}

// wake tells those who wait. The mutex is held.
func (o *Origin) wake() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// add makes a part of a fragment, and a segment of the parts if it is the last.
func (o *Origin) add(s *rendition, init []byte, f *fragment) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.init == nil {
		s.began = time.Now().Add(-f.duration)
		s.init = init
		if err := o.keep(s, "init.mp4", init); err != nil {
			return err
		}
	}
	n := s.now
	if err := o.keep(s, partName(n.number, len(n.parts)), f.bytes); err != nil {
		return err
	}
	n.parts = append(n.parts, part{f.duration, f.independent})
	n.duration += f.duration
	n.bytes = append(n.bytes, f.bytes...)
	const frame = 50 * time.Millisecond // what a segment may lack
	if n.duration >= o.o.Segment-frame {
		if err := o.keep(s, segmentName(n.number), n.bytes); err != nil {
			return err
		}
		n.bytes = nil
		s.segments = append(s.segments, n)
		s.now = &segment{number: n.number + 1, start: n.start + n.duration}
		o.shrink(s)
	}
	o.wake()
	return nil
}

func partName(segment uint64, part int) string { return fmt.Sprintf("%05d.%d.m4s", segment, part) }

func segmentName(n uint64) string { return fmt.Sprintf("%05d.m4s", n) }

func (o *Origin) keep(s *rendition, name string, b []byte) error {
	s.files[name] = b
	return os.WriteFile(filepath.Join(o.o.Dir, s.name, name), b, 0o600)
}

// shrink forgets what has not been listed for a window.
func (o *Origin) shrink(s *rendition) {
	for len(s.segments) > 2*o.o.Window {
		gone := s.segments[0]
		delete(s.files, segmentName(gone.number))
		for i := range gone.parts {
			delete(s.files, partName(gone.number, i))
		}
		s.segments = s.segments[1:]
	}
}

// ServeHTTP implements [http.Handler].
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dir, name := path.Split(strings.TrimPrefix(r.URL.Path, "/"))
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.renditions {
		if s.name+"/" != dir {
			continue
		}
		if name == "index.m3u8" {
			o.playlist(w, r, s)
		} else {
			o.file(w, r, s, name)
		}
		return
	}
	notFound(w)
}

func notFound(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "max-age=1")
	http.Error(w, "not found", http.StatusNotFound)
}

// file answers with a file, as soon as it is there if it is what is hinted.
func (o *Origin) file(w http.ResponseWriter, r *http.Request, s *rendition, name string) {
	if s.files[name] == nil && name == partName(s.now.number, len(s.now.parts)) && !o.await(r, func() bool { return s.files[name] != nil || s.ended }) {
		http.Error(w, "it is late", http.StatusServiceUnavailable)
		return
	}
	b := s.files[name]
	if b == nil {
		notFound(w)
		return
	}
	kind := "video/iso.segment"
	if name == "init.mp4" {
		kind = "video/mp4"
	}
	o.send(w, r, kind, fmt.Sprintf("%s-%s-%d", s.name, name, len(b)), time.Hour, b)
}

// send answers, without the mutex meanwhile.
func (o *Origin) send(w http.ResponseWriter, r *http.Request, kind, tag string, fresh time.Duration, b []byte) {
	o.mu.Unlock()
	defer o.mu.Lock()
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("ETag", `"`+tag+`"`)
	h.Set("Cache-Control", fmt.Sprintf("max-age=%d", int(fresh.Seconds())))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// await waits until something is there, for three segments at the most, and reports
// whether it is. The mutex is held, but not meanwhile.
func (o *Origin) await(r *http.Request, is func() bool) bool {
	late := time.NewTimer(3 * o.o.Segment)
	defer late.Stop()
	for !is() {
		changed := o.changed
		o.mu.Unlock()
		over := false
		select {
		case <-changed:
		case <-late.C:
			over = true
		case <-r.Context().Done():
			over = true
		}
		o.mu.Lock()
		if over {
			return is()
		}
	}
	return true
}
