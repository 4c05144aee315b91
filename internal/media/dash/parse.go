package dash

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Parse reads an MPD that was loaded from base, after redirects. Errors in
// elements are of type [*media.Error].
func Parse(mpd []byte, base *url.URL) (*MPD, error) {
	if err := media.CheckBase(base); err != nil {
		return nil, fmt.Errorf("MPD: %w", err)
	}
	p := &parser{base: base, urlsLeft: media.MaxURLs}
	if err := walk(mpd, p); err != nil {
		return nil, fmt.Errorf("MPD: %w", err)
	}
	p.mpd.measure()
	return &p.mpd, nil
}

// parser keeps a scope for each open element from MPD to Representation.
type parser struct {
	base     *url.URL
	mpd      MPD
	scopes   []scope
	listed   int // S and SegmentURL elements
	urlsLeft int
	ids      map[string]bool // of representations of this period

	inherited []segmentURL // of the SegmentList that is open, if it has none
}

// scope is what a level hands down to the next.
type scope struct {
	above, bases []Base // of the level above, and here
	based        bool   // has a BaseURL of its own
	address      addressing
	addressed    bool // has an addressing element of its own
	sealed       bool // has handed down, so that it is too late to say more
	rep          Representation
}

func (p *parser) top() *scope { return &p.scopes[len(p.scopes)-1] }

// homes are the elements that are read, and what they have to be in.
var homes = map[string]string{
	"Period":          "MPD",
	"AdaptationSet":   "Period",
	"Representation":  "AdaptationSet",
	"BaseURL":         "MPD Period AdaptationSet Representation",
	"Location":        "MPD",
	"PatchLocation":   "MPD",
	"UTCTiming":       "MPD",
	"ContentSteering": "MPD",

	"ContentProtection": "Period AdaptationSet Representation",
	"SegmentBase":       "Period AdaptationSet Representation",
	"SegmentList":       "Period AdaptationSet Representation",
	"SegmentTemplate":   "Period AdaptationSet Representation",
	"SegmentTimeline":   "SegmentList SegmentTemplate",
	"S":                 "SegmentTimeline",
	"Initialization":    "SegmentBase SegmentList SegmentTemplate",
	"SegmentURL":        "SegmentList",
}

func (p *parser) open(path []*element) (bool, error) {
	e := path[len(path)-1]
	if len(path) == 1 {
		return true, p.openMPD(e)
	}
	if !slices.Contains(strings.Fields(homes[e.name]), path[len(path)-2].name) {
		return false, nil
	}
	switch e.name {
	case "Period":
		return true, p.openPeriod(e)
	case "AdaptationSet":
		p.openSet(e)
	case "Representation":
		return true, p.openRepresentation(e)
	case "ContentProtection":
		return false, p.protection(e)
	case "UTCTiming":
		return false, p.utcTiming(e)
	case "SegmentBase", "SegmentList", "SegmentTemplate":
		return true, p.openAddressing(e)
	case "SegmentTimeline":
		p.top().address.hasTimeline, p.top().address.timeline = true, nil
	case "S":
		if err := p.count(); err != nil {
			return false, err
		}
		return false, p.top().address.add(e)
	case "Initialization":
		return false, p.initialization(e)
	case "SegmentURL":
		return false, p.segmentURL(e)
	}
	return true, nil
}

func (p *parser) close(path []*element) error {
	e := path[len(path)-1]
	switch e.name {
	case "Representation":
		p.closeRepresentation()
		p.scopes = p.scopes[:len(p.scopes)-1]
	case "MPD", "Period", "AdaptationSet":
		p.scopes = p.scopes[:len(p.scopes)-1]
	case "SegmentList":
		if a := &p.top().address; len(a.list) == 0 {
			a.list = p.inherited
		}
	case "BaseURL":
		return p.baseURL(e)
	case "Location":
		return p.location(e, &p.mpd.Locations)
	case "PatchLocation":
		return p.location(e, &p.mpd.PatchLocations)
	case "ContentSteering":
		return p.steering(e)
	}
	return nil
}

// push begins a scope below the one that is open.
func (p *parser) push() *scope {
	up := p.top()
	up.sealed = true
	p.scopes = append(p.scopes, scope{above: up.bases, bases: up.bases, address: up.address, rep: up.rep})
	return p.top()
}

func (p *parser) openMPD(e *element) error {
	m := &p.mpd
	switch e.str("type") {
	case "", "static":
	case "dynamic":
		m.Dynamic = true
	default:
		return errors.New("@type is neither static nor dynamic")
	}
	var err error
	for name, d := range map[string]*time.Duration{
		"mediaPresentationDuration": &m.Duration, "timeShiftBufferDepth": &m.TimeShiftBufferDepth,
		"suggestedPresentationDelay": &m.SuggestedDelay, "maxSegmentDuration": &m.MaxSegmentDuration,
		"minimumUpdatePeriod": &m.MinimumUpdatePeriod,
	} {
		if *d, err = e.duration(name); err != nil {
			return err
		}
	}
	for name, t := range map[string]*time.Time{
		"availabilityStartTime": &m.AvailabilityStart, "availabilityEndTime": &m.AvailabilityEnd, "publishTime": &m.PublishTime,
	} {
		if *t, err = e.date(name); err != nil {
			return err
		}
	}
	_, m.Updates = e.get("minimumUpdatePeriod")
	if m.Dynamic && m.AvailabilityStart.IsZero() {
		return errors.New("dynamic, and no @availabilityStartTime")
	}
	m.base = media.Location(p.base)
	p.scopes = []scope{{}}
	p.top().above = []Base{{URL: m.base}}
	p.top().bases = p.top().above
	return nil
}

func (p *parser) openPeriod(e *element) error {
	m := &p.mpd
	if len(m.Periods) == maxPeriods {
		return fmt.Errorf("more than %d periods", maxPeriods)
	}
	d := Period{ID: e.str("id")}
	var err error
	if d.Duration, err = e.duration("duration"); err != nil {
		return err
	}
	_, said := e.get("start")
	if said {
		if d.Start, err = e.duration("start"); err != nil {
			return err
		}
	}
	if n := len(m.Periods); n > 0 {
		last := m.Periods[n-1]
		switch {
		case !said && (last.Early || last.Duration == 0):
			d.Early = true
		case !said:
			d.Start = last.Start + last.Duration
		case d.Start < last.Start:
			return fmt.Errorf("begins at %v, before the period ahead of it", d.Start)
		}
	}
	if d.Start > maxPresentation {
		return errTooLong
	}
	s := p.push()
	if href, ok := e.get("xlink:href"); ok {
		if d.Remote, err = p.remote(href, s); err != nil {
			return fmt.Errorf("@xlink:href: %w", err)
		}
	}
	m.Periods = append(m.Periods, d)
	p.ids = map[string]bool{}
	return nil
}

func (p *parser) remote(href string, s *scope) (string, error) {
	u, err := p.resolve(s.bases[0].URL, href)
	if errors.Is(err, media.ErrScheme) { // urn:mpeg:dash:resolve-to-zero:2013
		return "", nil
	}
	return u, err
}

func (p *parser) openSet(e *element) {
	s := p.push()
	s.rep.Type = e.str("contentType")
	s.rep.Language = e.str("lang")
	s.describe(e)
}

// describe takes what sets and representations may both say.
func (s *scope) describe(e *element) {
	s.rep.Codecs = cmp.Or(e.str("codecs"), s.rep.Codecs)
	if s.rep.Type == "" {
		s.rep.Type, _, _ = strings.Cut(e.str("mimeType"), "/")
	}
}

func (p *parser) openRepresentation(e *element) error {
	if len(p.mpd.Representations) == maxRepresentations {
		return fmt.Errorf("more than %d representations", maxRepresentations)
	}
	s := p.push()
	s.describe(e)
	s.rep.ID, s.rep.line, s.rep.Period = e.str("id"), e.line, len(p.mpd.Periods)-1
	switch {
	case s.rep.ID == "":
		return errors.New("no @id")
	case p.ids[s.rep.ID]:
		return errors.New("another representation of the period has the same @id")
	}
	p.ids[s.rep.ID] = true
	var err error
	s.rep.Bandwidth, err = e.uinteger("bandwidth", 0, maxTicks)
	return err
}

func (p *parser) closeRepresentation() {
	s := p.top()
	s.rep.Bases, s.rep.address = s.bases, s.address
	p.mpd.Representations = append(p.mpd.Representations, s.rep)
}

var errLate = errors.New("after what it is for")

func (p *parser) protection(e *element) error {
	s := p.top()
	if s.sealed {
		return errLate
	}
	if strings.EqualFold(e.str("schemeIdUri"), "urn:mpeg:dash:mp4protection:2011") && e.str("value") != "" {
		s.rep.Encryption = e.str("value")
	}
	s.rep.Encryption = cmp.Or(s.rep.Encryption, "cenc")
	return nil
}

func (p *parser) utcTiming(e *element) error {
	if len(p.mpd.UTCTimings) == maxLocations {
		return fmt.Errorf("more than %d of them", maxLocations)
	}
	p.mpd.UTCTimings = append(p.mpd.UTCTimings, UTCTiming{e.str("schemeIdUri"), e.str("value")})
	return nil
}

func (p *parser) openAddressing(e *element) error {
	s := p.top()
	switch {
	case s.sealed:
		return errLate
	case s.addressed:
		return errors.New("a second way to address segments on the same level")
	}
	s.addressed = true
	var err error
	s.address, err = s.address.inherit(e)
	p.inherited, s.address.list = s.address.list, nil
	return err
}

func (p *parser) initialization(e *element) error {
	a := &p.top().address
	a.hasInit, a.initURL = true, e.str("sourceURL")
	var err error
	a.initRange, err = e.byteRange("range")
	return err
}

func (p *parser) segmentURL(e *element) error {
	if err := p.count(); err != nil {
		return err
	}
	u := segmentURL{media: e.str("media")}
	if len(u.media) > media.MaxURL {
		return fmt.Errorf("@media of %d bytes, the limit is %d", len(u.media), media.MaxURL)
	}
	var err error
	u.rng, err = e.byteRange("mediaRange")
	a := &p.top().address
	a.list = append(a.list, u)
	return err
}

func (p *parser) count() error {
	if p.listed++; p.listed > media.MaxSegments {
		return fmt.Errorf("more than %d segments and runs of them", media.MaxSegments)
	}
	return nil
}

// measure gives periods the durations that follow from others (5.3.2.1).
func (m *MPD) measure() {
	for i := range m.Periods {
		d := &m.Periods[i]
		switch {
		case i+1 < len(m.Periods) && !m.Periods[i+1].Early && !d.Early:
			d.Duration = m.Periods[i+1].Start - d.Start
		case i+1 == len(m.Periods) && d.Duration == 0 && !d.Early && m.Duration > d.Start:
			d.Duration = m.Duration - d.Start
		}
	}
}
