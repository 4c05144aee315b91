package dash

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// addressing is how segments are found (5.3.9): what SegmentBase, SegmentList and
// SegmentTemplate say, inherited from level to level.
type addressing struct {
	kind        string // name of the element; empty: the base URL is the segment
	timescale   uint64
	origin      uint64 // @presentationTimeOffset, in ticks
	duration    uint64 // of each segment, in ticks; 0: there is a timeline
	startNumber uint64
	endNumber   uint64 // 0: not said
	offset      time.Duration

	media, initialization template
	initURL               string // of Initialization; empty: the base URL
	initRange             media.Range
	hasInit               bool
	indexRange            media.Range

	hasTimeline bool
	timeline    []run // never written to once the element has ended
	list        []segmentURL
}

// run is an S element: count segments of d ticks each from t on. Of the last run
// count may be 0: it repeats until the period ends.
type run struct{ t, d, count uint64 }

func (r run) end() uint64 { return r.t + r.d*r.count }

type segmentURL struct {
	media string // empty: the base URL
	rng   media.Range
}

// inherit begins an element where its like on the level above says a.
func (a addressing) inherit(e *element) (addressing, error) {
	if a.kind != e.name {
		a = addressing{kind: e.name, timescale: 1, startNumber: 1}
	}
	var err error
	get := func(name string, dst *uint64, limit uint64) {
		if err == nil {
			*dst, err = e.uinteger(name, *dst, limit)
		}
	}
	get("timescale", &a.timescale, maxTimescale)
	get("presentationTimeOffset", &a.origin, maxTicks)
	get("duration", &a.duration, maxTicks)
	get("startNumber", &a.startNumber, maxTicks)
	get("endNumber", &a.endNumber, maxTicks)
	if err == nil && a.timescale == 0 {
		err = errors.New("@timescale is 0")
	}
	if _, ok := e.get("availabilityTimeOffset"); ok && err == nil {
		a.offset, err = e.timeOffset()
	}
	if _, ok := e.get("indexRange"); ok && err == nil {
		a.indexRange, err = e.byteRange("indexRange")
	}
	if s, ok := e.get("media"); ok && err == nil {
		a.media, err = parseTemplate(s)
	}
	if s, ok := e.get("initialization"); ok && err == nil {
		if a.initialization, err = parseTemplate(s); err == nil && a.initialization.perSegment() {
			err = errors.New("@initialization depends on the segment")
		}
	}
	return a, err
}

// add takes an S element (5.3.9.6).
func (a *addressing) add(e *element) error {
	var last *run
	next := uint64(0)
	if n := len(a.timeline); n > 0 {
		last = &a.timeline[n-1]
		next = last.end()
	}
	t, err := e.uinteger("t", next, maxTicks)
	if err != nil {
		return err
	}
	_, timed := e.get("t")
	d, err := e.uinteger("d", 0, maxTicks)
	if err != nil {
		return err
	}
	if d == 0 {
		return errors.New("no @d above 0")
	}
	switch {
	case last == nil:
	case last.count == 0 && !timed:
		return errors.New("no @t, and the S before repeats without end")
	case t <= last.t || last.count > 0 && t <= last.end()-last.d:
		return errors.New("the timeline goes backwards")
	case last.count == 0:
		last.count = (t - last.t + last.d - 1) / last.d
	}
	count, err := repeats(e.str("r"))
	if err != nil {
		return err
	}
	r := run{t: t, d: d, count: count}
	if count > 0 && d > (maxTicks-t)/count {
		return errors.New("the timeline ends beyond what a clock can have")
	}
	a.timeline = append(a.timeline, r)
	return nil
}

// repeats is how many segments an @r makes, 0 for those without end.
func repeats(s string) (uint64, error) {
	if s == "" {
		return 1, nil
	}
	if strings.HasPrefix(s, "-") {
		if _, err := strconv.ParseInt(s, 10, 64); err != nil {
			return 0, errors.New("@r is not a whole number")
		}
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, errors.New("@r is not a whole number")
	}
	if n >= media.MaxSegments {
		return 0, fmt.Errorf("@r makes %d segments, the limit is %d", n+1, media.MaxSegments)
	}
	return n + 1, nil
}

// template is a URL with identifiers (5.3.9.4.4): text and identifiers in turn,
// the last without one.
type template []piece

type piece struct {
	text  string
	id    string
	width int
}

func parseTemplate(s string) (template, error) {
	if len(s) > media.MaxURL {
		return nil, fmt.Errorf("a template of %d bytes, the limit is %d", len(s), media.MaxURL)
	}
	var t template
	text := ""
	for {
		before, rest, ok := strings.Cut(s, "$")
		text += before
		if !ok {
			return append(t, piece{text: text}), nil
		}
		id, after, ok := strings.Cut(rest, "$")
		if !ok {
			return nil, errors.New("a template with one $ too many")
		}
		s = after
		if id == "" {
			text += "$"
			continue
		}
		p := piece{text: text}
		var err error
		if p.id, p.width, err = identifier(id); err != nil {
			return nil, err
		}
		t, text = append(t, p), ""
	}
}

func identifier(s string) (id string, width int, err error) {
	id, format, formatted := strings.Cut(s, "%0")
	if formatted {
		digits, ok := strings.CutSuffix(format, "d")
		width, err = strconv.Atoi(digits)
		if !ok || err != nil || width < 0 || width > maxWidth {
			return "", 0, fmt.Errorf("a template with a width that is not 0 to %d digits", maxWidth)
		}
	}
	switch id {
	case "Number", "Time", "Bandwidth":
		return id, width, nil
	case "RepresentationID":
		if !formatted {
			return id, 0, nil
		}
	}
	return "", 0, fmt.Errorf("a template with the identifier %.32q, which is not known", s)
}

// perSegment is whether the template gives every segment a URL of its own.
func (t template) perSegment() bool { return t.has("Number") || t.has("Time") }

func (t template) has(id string) bool {
	for _, p := range t {
		if p.id == id {
			return true
		}
	}
	return false
}

func (t template) expand(r *Representation, number, time uint64) string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.text)
		var n uint64
		switch p.id {
		case "":
			continue
		case "RepresentationID":
			b.WriteString(r.ID)
			continue
		case "Bandwidth":
			n = r.Bandwidth
		case "Number":
			n = number
		case "Time":
			n = time
		}
		digits := strconv.FormatUint(n, 10)
		b.WriteString(strings.Repeat("0", max(0, p.width-len(digits))))
		b.WriteString(digits)
	}
	return b.String()
}
