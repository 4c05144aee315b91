package hls

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// note is what a segment leaves for the ones after it, in this playlist or in a
// delta update of it, and for errors.
type note struct {
	line   int
	keys   []Key // in effect; never written to
	cueOut bool  // between EXT-X-CUE-OUT and EXT-X-CUE-IN
}

// segmenter is the state between the tags of a media playlist.
type segmenter struct {
	next    media.Segment // what is known of the segment to come
	begun   bool          // a tag of it has been read
	inf     bool          // EXTINF was one
	ranged  string        // EXT-X-BYTERANGE was one
	clock   time.Time     // of its first sample, by those before
	keys    []Key
	cueOut  bool
	keySeen map[Key]bool
	count   int // segments and parts
	reports int
	dates   map[string]int // places of date ranges by ID
}

func (s *segmenter) room() error {
	if s.count++; s.count > media.MaxSegments {
		return fmt.Errorf("more than %d segments and parts", media.MaxSegments)
	}
	return nil
}

// started is whether it is too late for tags that number segments.
func (p *parser) started() bool {
	return len(p.out.Media.Segments) > 0 || len(p.seg.next.Parts) > 0
}

func (p *parser) inf(v string) error {
	if p.seg.inf {
		return errors.New("the segment before has no URI")
	}
	for i := range len(v) {
		if v[i] == ',' {
			v = v[:i]
			break
		}
	}
	d, err := seconds(v)
	p.seg.next.Duration, p.seg.inf, p.seg.begun = d, true, true
	return err
}

func (p *parser) byteRange(v string) error {
	if p.seg.ranged != "" {
		return errors.New("the segment has two byte ranges")
	}
	p.seg.ranged, p.seg.begun = v, true
	if _, err := byteRange(v, 0); err != nil {
		return err
	}
	return nil
}

func (p *parser) discontinuity(string) error {
	if len(p.seg.next.Parts) > 0 {
		return errors.New("between the parts of a segment")
	}
	p.seg.next.Discontinuity++
	return nil
}

func (p *parser) gap(string) error {
	p.seg.next.Gap, p.seg.begun = true, true
	return nil
}

func (p *parser) programDateTime(v string) error {
	t, err := date(v)
	if err != nil {
		return err
	}
	p.seg.clock = t
	// Those before are dated by the first date there is (§4.4.4.6).
	done := p.out.Media.Segments
	for i := len(done) - 1; i >= 0 && done[i].ProgramTime.IsZero(); i-- {
		done[i].ProgramTime = t.Add(done[i].Start - p.seg.next.Start)
	}
	return nil
}

func (p *parser) cueOut(string) error {
	p.seg.cueOut = true
	return nil
}

func (p *parser) cueIn(string) error {
	p.seg.cueOut = false
	return nil
}

// key is EXT-X-KEY (§4.4.4.4): it replaces the key of the same format.
func (p *parser) key(list attrs) error {
	k, err := p.readKey(list)
	if err != nil {
		return err
	}
	if k.Method == "NONE" {
		p.seg.keys = nil
		return nil
	}
	keys := slices.Clone(p.seg.keys)
	i := slices.IndexFunc(keys, func(o Key) bool { return o.Format == k.Format })
	switch {
	case i >= 0:
		keys[i] = k
	case len(keys) == maxKeyFormats:
		return fmt.Errorf("more than %d key formats", maxKeyFormats)
	default:
		keys = append(keys, k)
	}
	p.seg.keys = keys
	p.addKeys(k)
	return nil
}

func (p *parser) addKeys(keys ...Key) {
	for _, k := range keys {
		if p.seg.keySeen == nil {
			p.seg.keySeen = map[Key]bool{}
		}
		if !p.seg.keySeen[k] {
			p.seg.keySeen[k] = true
			p.out.Media.Keys = append(p.out.Media.Keys, k)
		}
	}
}

func (p *parser) readKey(list attrs) (Key, error) {
	method, _ := list.find("METHOD")
	k := Key{Method: method.value, Format: "identity"}
	if err := p.strs(list, map[string]*string{"KEYFORMAT": &k.Format}); err != nil {
		return k, err
	}
	if k.Method == "" {
		return k, errors.New("no METHOD")
	}
	if k.Method == "NONE" {
		return k, nil
	}
	uri, err := p.uri(list, "URI")
	if errors.Is(err, media.ErrScheme) {
		uri, err = p.str(list, "URI")
	}
	k.URI = uri
	return k, err
}

// method is how what comes next is encrypted.
func (s *segmenter) method() string {
	if len(s.keys) == 0 {
		return ""
	}
	return s.keys[0].Method
}

func (p *parser) initialization(list attrs) error {
	u, err := p.uri(list, "URI")
	if err != nil {
		return err
	}
	r := media.Resource{URL: u, Encryption: p.seg.method()}
	if list.has("BYTERANGE") {
		s, err := p.str(list, "BYTERANGE")
		if err != nil {
			return err
		}
		if r.Range, err = byteRange(s, 0); err != nil {
			return err
		}
	}
	p.seg.next.Init = &r
	return nil
}

func (p *parser) part(list attrs) error {
	if err := p.seg.room(); err != nil {
		return err
	}
	u, err := p.uri(list, "URI")
	if err != nil {
		return err
	}
	if !list.has("DURATION") {
		return errors.New("no DURATION")
	}
	pt := media.Part{Resource: media.Resource{URL: u, Encryption: p.seg.method()}}
	if pt.Duration, err = list.seconds("DURATION"); err != nil {
		return err
	}
	if pt.Independent, err = list.yes("INDEPENDENT"); err != nil {
		return err
	}
	if pt.Gap, err = list.yes("GAP"); err != nil {
		return err
	}
	if list.has("BYTERANGE") {
		s, err := p.str(list, "BYTERANGE")
		if err != nil {
			return err
		}
		if pt.Range, err = byteRange(s, p.partEnd(u)); err != nil {
			return err
		}
	}
	p.seg.next.Parts = append(p.seg.next.Parts, pt)
	return nil
}

// partEnd is where the part before ended, if it was a range of this resource;
// else -1. It may have been the last of the segment before.
func (p *parser) partEnd(u string) int64 {
	parts := p.seg.next.Parts
	if done := p.out.Media.Segments; len(parts) == 0 && len(done) > 0 {
		parts = done[len(done)-1].Parts
	}
	if len(parts) == 0 {
		return -1
	}
	return endOf(parts[len(parts)-1].Resource, u)
}

func endOf(r media.Resource, u string) int64 {
	if end, ok := r.Range.End(); ok && r.URL == u {
		return end
	}
	return -1
}

// segment is the line with the URI, which ends a segment.
func (p *parser) segment() error {
	m, s := p.out.Media, &p.seg
	if !s.inf {
		return errors.New("a URI without EXTINF")
	}
	if err := s.room(); err != nil {
		return err
	}
	u, err := p.resolve(p.now.uri)
	if err != nil {
		return err
	}
	s.next.URL = u
	if s.ranged != "" {
		next := int64(-1)
		if n := len(m.Segments); n > 0 {
			next = endOf(m.Segments[n-1].Resource, u)
		}
		if s.next.Range, err = byteRange(s.ranged, next); err != nil {
			return err
		}
	}
	p.push(p.now.no)
	s.inf, s.begun, s.ranged = false, false, ""
	return nil
}

// push ends the segment and begins the next.
func (p *parser) push(line int) {
	m, s := p.out.Media, &p.seg
	p.describe()
	done := s.next
	m.Segments = append(m.Segments, done)
	m.notes = append(m.notes, note{line: line, keys: s.keys, cueOut: s.cueOut})
	p.follow(done)
}

// describe fills in what the segment has from those before.
func (p *parser) describe() {
	s := &p.seg
	s.next.Number = p.out.Media.MediaSequence + uint64(len(p.out.Media.Segments))
	s.next.Encryption = s.method()
	s.next.ProgramTime = s.clock
	s.next.Ad = s.cueOut
}

// follow begins the segment after one that is done.
func (p *parser) follow(done media.Segment) {
	s := &p.seg
	s.next = media.Segment{Start: done.Start + done.Duration, Discontinuity: done.Discontinuity, Init: done.Init}
	if !done.ProgramTime.IsZero() {
		s.clock = done.ProgramTime.Add(done.Duration)
	}
}

// partTolerance is how much longer than its target a part may be written, for
// targets are rounded.
const partTolerance = 10 * time.Millisecond

func (p *parser) finishMedia() error {
	m, s := p.out.Media, &p.seg
	switch {
	case !p.seen["EXT-X-TARGETDURATION"]:
		return errors.New("no EXT-X-TARGETDURATION")
	case s.begun:
		return p.now.err(errors.New("the playlist ends before the URI of its last segment"))
	case s.count > 0 && m.MediaSequence > maxSequence-uint64(s.count):
		return fmt.Errorf("media sequence numbers beyond %d", uint64(maxSequence))
	}
	if len(s.next.Parts) > 0 {
		p.describe()
		for _, pt := range s.next.Parts {
			s.next.Duration += pt.Duration
		}
		partial := s.next
		m.Partial = &partial
		if err := m.checkParts(partial, p.now.no); err != nil {
			return err
		}
	}
	for i, seg := range m.Segments {
		if seg.Duration > m.TargetDuration+time.Second/2 { // rounded to seconds it may be as long
			return &media.Error{Line: m.notes[i].line, Tag: "EXTINF", Err: fmt.Errorf("%v is longer than the target duration, %v", seg.Duration, m.TargetDuration)}
		}
		if err := m.checkParts(seg, m.notes[i].line); err != nil {
			return err
		}
	}
	m.markAds()
	return nil
}

// checkParts holds the parts of a segment against it.
func (m *Media) checkParts(seg media.Segment, line int) error {
	var sum time.Duration
	for i, pt := range seg.Parts {
		err := func() error {
			sum += pt.Duration
			end, _ := pt.Range.End()
			segEnd, ranged := seg.Range.End()
			switch {
			case m.PartTarget == 0:
				return errors.New("there are parts, and no EXT-X-PART-INF")
			case pt.Duration > m.PartTarget+partTolerance:
				return fmt.Errorf("part %d, of %v, is longer than the part target, %v", i, pt.Duration, m.PartTarget)
			case sum > seg.Duration+m.PartTarget:
				return fmt.Errorf("the first %d parts last %v, and the segment %v", i+1, sum, seg.Duration)
			case ranged && pt.URL == seg.URL && (pt.Range.Offset < seg.Range.Offset || end > segEnd):
				return fmt.Errorf("part %d is beyond the byte range of its segment", i)
			}
			return nil
		}()
		if err != nil {
			return &media.Error{Line: line, Tag: "EXT-X-PART", Err: err}
		}
	}
	return nil
}
