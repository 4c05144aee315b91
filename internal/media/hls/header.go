package hls

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// The tags of a media playlist that are not about one segment.

func (p *parser) targetDuration(v string) error {
	d, err := seconds(v) // a whole number by the standard, a decimal one in the field
	if err == nil && d == 0 {
		// What rounds to nothing is allowed to be that long.
		d = time.Second / 2
	}
	p.out.Media.TargetDuration = d
	return err
}

func (p *parser) mediaSequence(v string) error {
	if p.started() {
		return errors.New("after the first segment")
	}
	n, err := integer(v)
	p.out.Media.MediaSequence = n
	return err
}

func (p *parser) discontinuitySequence(v string) error {
	if p.started() || p.seg.next.Discontinuity > 0 {
		return errors.New("after the first segment or EXT-X-DISCONTINUITY")
	}
	n, err := integer(v)
	p.out.Media.DiscontinuitySequence, p.out.Media.NumbersDiscontinuities = n, true
	p.seg.next.Discontinuity = n
	return err
}

func (p *parser) playlistType(v string) error {
	v = strings.TrimSpace(v)
	if v != "EVENT" && v != "VOD" {
		return errors.New("neither EVENT nor VOD")
	}
	p.out.Media.Type = v
	return nil
}

func (p *parser) iFramesOnly(string) error {
	p.out.Media.IFramesOnly = true
	return nil
}

func (p *parser) endList(string) error {
	p.out.Media.EndList = true
	return nil
}

func (p *parser) partInf(list attrs) error {
	d, err := list.seconds("PART-TARGET")
	if err == nil && d == 0 {
		err = errors.New("no PART-TARGET above 0")
	}
	p.out.Media.PartTarget = d
	return err
}

func (p *parser) serverControl(list attrs) error {
	c := &p.out.Media.ServerControl
	var err error
	if c.CanBlockReload, err = list.yes("CAN-BLOCK-RELOAD"); err != nil {
		return err
	}
	if c.CanSkipDateRanges, err = list.yes("CAN-SKIP-DATERANGES"); err != nil {
		return err
	}
	for name, d := range map[string]*time.Duration{"CAN-SKIP-UNTIL": &c.CanSkipUntil, "HOLD-BACK": &c.HoldBack, "PART-HOLD-BACK": &c.PartHoldBack} {
		if *d, err = list.seconds(name); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) preloadHint(list attrs) error {
	m := p.out.Media
	if p.seg.reports++; p.seg.reports > maxReports {
		return fmt.Errorf("more than %d hints and reports", maxReports)
	}
	u, err := p.uri(list, "URI")
	if err != nil {
		return err
	}
	h := Hint{Resource: media.Resource{URL: u, Encryption: p.seg.method()}}
	switch kind, _ := list.find("TYPE"); kind.value {
	case "PART":
	case "MAP":
		h.Map = true
	default: // clients ignore what they do not know (§4.4.5.3)
		return nil
	}
	start, err := list.integer("BYTERANGE-START")
	if err != nil {
		return err
	}
	length, err := list.integer("BYTERANGE-LENGTH")
	if err != nil {
		return err
	}
	if start > maxSequence-length {
		return errors.New("the byte range ends beyond what a file can have")
	}
	h.Range = media.Range{Offset: int64(start), Length: int64(length)}
	m.Hints = append(m.Hints, h)
	return nil
}

func (p *parser) renditionReport(list attrs) error {
	if p.seg.reports++; p.seg.reports > maxReports {
		return fmt.Errorf("more than %d hints and reports", maxReports)
	}
	u, err := p.uri(list, "URI")
	if err != nil {
		return err
	}
	r := Report{URL: u, LastPart: -1}
	if r.LastMSN, err = list.integer("LAST-MSN"); err != nil {
		return err
	}
	if list.has("LAST-PART") {
		n, err := list.integer("LAST-PART")
		if err != nil {
			return err
		}
		r.LastPart = int64(n)
	}
	p.out.Media.Reports = append(p.out.Media.Reports, r)
	return nil
}

// skip is EXT-X-SKIP (§4.4.5.2): the segments that it stands for come from the
// playlist before, and with them what they leave in effect.
func (p *parser) skip(list attrs) error {
	m, prev := p.out.Media, p.c.Previous
	if p.started() {
		return errors.New("after the first segment")
	}
	n, err := list.integer("SKIPPED-SEGMENTS")
	switch {
	case err != nil:
		return err
	case n == 0:
		return errors.New("no SKIPPED-SEGMENTS above 0")
	case prev == nil:
		return ErrDelta
	case m.MediaSequence < prev.MediaSequence || n > uint64(len(prev.Segments)) ||
		m.MediaSequence-prev.MediaSequence > uint64(len(prev.Segments))-n:
		return fmt.Errorf("%w: it skips %d segments from %d on, the playlist before has %d from %d on",
			ErrDelta, n, m.MediaSequence, len(prev.Segments), prev.MediaSequence)
	}
	from := int(m.MediaSequence - prev.MediaSequence)
	first := prev.Segments[from]
	for i, seg := range prev.Segments[from : from+int(n)] {
		if err := p.seg.room(); err != nil {
			return err
		}
		p.seg.count += len(seg.Parts)
		nt := prev.notes[from+i]
		seg.Start -= first.Start
		seg.Discontinuity = m.DiscontinuitySequence + seg.Discontinuity - first.Discontinuity
		p.seg.keys, p.seg.cueOut, seg.Ad = nt.keys, nt.cueOut, nt.cueOut
		p.addKeys(nt.keys...)
		nt.line = p.now.no
		m.Segments, m.notes = append(m.Segments, seg), append(m.notes, nt)
	}
	m.Skipped = int(n)
	p.follow(m.Segments[n-1])
	return p.skipDates(list)
}

func (p *parser) skipDates(list attrs) error {
	removed, err := p.str(list, "RECENTLY-REMOVED-DATERANGES")
	if err != nil {
		return err
	}
	gone := strings.Split(removed, "\t")
	for _, d := range p.c.Previous.DateRanges {
		if slices.Contains(gone, d.ID) {
			continue
		}
		if err := p.addDateRange(d); err != nil {
			return err
		}
	}
	return nil
}
