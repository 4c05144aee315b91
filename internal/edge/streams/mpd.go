package streams

import (
	"fmt"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/dash"
)

// noUpdates is the pace at which an MPD is loaded that says it will not change.
const noUpdates = time.Hour

// readDASH reads a load of an MPD.
func (r *reader) readDASH(b []byte, now time.Time) (*listing, error) {
	m, err := dash.Parse(b, r.base)
	if err != nil {
		return nil, err
	}
	change := media.Continues
	if r.dash != nil {
		change, _ = dash.Compare(r.dash, m, now) // the error says more of the same
	}
	if change = r.judge(change, max(m.MaxSegmentDuration, r.long), now); change != media.Stale {
		r.dash = m
	}
	return r.listDASH(change, now)
}

// listDASH lists the MPD that was loaded last as of now: of a live one there may be
// more without another load.
func (r *reader) listDASH(change media.Change, now time.Time) (*listing, error) {
	m := r.dash
	l := &listing{change: change, live: m.Dynamic, target: m.MaxSegmentDuration, absolute: true, base: r.host}
	places := map[string]int{} // of renditions by ID, which may have several periods
	for i := range m.Representations {
		rep := &m.Representations[i]
		s, err := m.List(i, now, r.location(rep))
		if err != nil {
			return nil, err
		}
		if inOneFile(&s) {
			continue
		}
		at, ok := places[rep.ID]
		if !ok {
			at = len(l.renditions)
			places[rep.ID] = at
			l.renditions = append(l.renditions, listed{ID: rep.ID})
		}
		rendition := &l.renditions[at]
		if len(rendition.Segments)+len(s.Segments) > media.MaxSegments {
			return nil, fmt.Errorf("MPD: more than %d segments of representation %.64q", media.MaxSegments, rep.ID)
		}
		rendition.Segments = append(rendition.Segments, s.Segments...)
		if n := len(s.Segments); n > 0 {
			l.target = max(l.target, s.Segments[n-1].Duration)
		}
		if !s.Next.IsZero() && (l.next.IsZero() || s.Next.Before(l.next)) {
			l.next = s.Next
		}
	}
	r.long, l.pace = l.target, noUpdates
	if m.Updates {
		l.pace = max(l.target, m.MinimumUpdatePeriod) / 2
	}
	return l, nil
}

// location is the base URL of a representation that is on this host.
func (r *reader) location(rep *dash.Representation) string {
	for _, b := range rep.Bases {
		if strings.HasPrefix(b.URL, r.host+"/") {
			return b.URL
		}
	}
	return ""
}

// inOneFile says whether what is listed are ranges of one resource, which is an
// object like any other and needs no track.
func inOneFile(s *dash.Listing) bool {
	if len(s.Segments) != 1 {
		return false
	}
	init := s.Segments[0].Init
	return s.Index != nil || init != nil && init.URL == s.Segments[0].URL
}
