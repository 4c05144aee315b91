package hls

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode"

	"github.com/tandem-cdn/tandem/internal/media"
)

// dateRange is EXT-X-DATERANGE (§4.4.5.1). Tags of one ID add up.
func (p *parser) dateRange(list attrs) error {
	d := DateRange{}
	var start, end string
	err := p.strs(list, map[string]*string{
		"ID": &d.ID, "CLASS": &d.Class, "START-DATE": &start, "END-DATE": &end,
	})
	switch {
	case err != nil:
		return err
	case d.ID == "":
		return errors.New("no ID")
	}
	if start != "" {
		if d.Start, err = date(start); err != nil {
			return fmt.Errorf("START-DATE: %w", err)
		}
	}
	if d.End, err = rangeEnd(list, d.Start, end); err != nil {
		return err
	}
	d.Ad = isAdClass(d.Class) || list.has("SCTE35-OUT") || list.has("SCTE35-IN") || list.has("SCTE35-CMD")
	for _, name := range []string{"X-ASSET-URI", "X-ASSET-LIST"} {
		if !list.has(name) {
			continue
		}
		u, err := p.uri(list, name)
		if errors.Is(err, media.ErrScheme) {
			continue
		}
		if err != nil {
			return err
		}
		d.Interstitial = append(d.Interstitial, u)
	}
	return p.addDateRange(d)
}

func rangeEnd(list attrs, start time.Time, end string) (time.Time, error) {
	if end != "" {
		t, err := date(end)
		if err == nil && !start.IsZero() && t.Before(start) {
			err = errors.New("before START-DATE")
		}
		if err != nil {
			return t, fmt.Errorf("END-DATE: %w", err)
		}
		return t, nil
	}
	for _, name := range []string{"DURATION", "PLANNED-DURATION"} {
		d, err := list.seconds(name)
		if err != nil {
			return time.Time{}, err
		}
		if list.has(name) && !start.IsZero() {
			return start.Add(d), nil
		}
	}
	return time.Time{}, nil
}

func (p *parser) addDateRange(d DateRange) error {
	m := p.out.Media
	i, ok := p.seg.dates[d.ID]
	if !ok {
		if len(m.DateRanges) == maxDateRanges {
			return fmt.Errorf("more than %d date ranges", maxDateRanges)
		}
		if p.seg.dates == nil {
			p.seg.dates = map[string]int{}
		}
		p.seg.dates[d.ID] = len(m.DateRanges)
		m.DateRanges = append(m.DateRanges, d)
		return nil
	}
	old := &m.DateRanges[i]
	old.Class = cmp.Or(old.Class, d.Class)
	old.Ad = old.Ad || d.Ad
	if old.Start.IsZero() {
		old.Start = d.Start
	}
	if !d.End.IsZero() {
		old.End = d.End
	}
	for _, u := range d.Interstitial {
		if slices.Contains(old.Interstitial, u) {
			continue
		}
		if len(old.Interstitial) == maxAssets {
			return fmt.Errorf("a date range of more than %d assets", maxAssets)
		}
		old.Interstitial = append(old.Interstitial, u)
	}
	return nil
}

// isAdClass finds the word "ad" in a class, as in "twitch-stitched-ad".
func isAdClass(class string) bool {
	words := strings.FieldsFunc(strings.ToLower(class), func(r rune) bool { return !unicode.IsLetter(r) })
	return slices.ContainsFunc(words, func(w string) bool {
		return w == "ad" || w == "ads" || w == "advert" || w == "advertisement"
	})
}

// markAds marks the segments that date ranges of advertisements touch. Ranges
// are sorted and their ends made to grow, so that one search tells of a segment.
func (m *Media) markAds() {
	type span struct{ start, end time.Time }
	var ads []span
	open := time.Unix(1<<40, 0)
	for _, d := range m.DateRanges {
		if !d.Ad || d.Start.IsZero() {
			continue
		}
		s := span{d.Start, d.End}
		if s.end.IsZero() {
			s.end = open
		}
		ads = append(ads, s)
	}
	if len(ads) == 0 {
		return
	}
	slices.SortFunc(ads, func(a, b span) int { return a.start.Compare(b.start) })
	for i := 1; i < len(ads); i++ {
		if ads[i].end.Before(ads[i-1].end) {
			ads[i].end = ads[i-1].end
		}
	}
	mark := func(s *media.Segment) {
		if s.ProgramTime.IsZero() {
			return
		}
		end := s.ProgramTime.Add(s.Duration)
		i := sort.Search(len(ads), func(i int) bool { return !ads[i].start.Before(end) })
		s.Ad = s.Ad || i > 0 && ads[i-1].end.After(s.ProgramTime)
	}
	for i := range m.Segments {
		mark(&m.Segments[i])
	}
	if m.Partial != nil {
		mark(m.Partial)
	}
}
