package hls

import (
	"errors"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Compare says what became of a media playlist between two loads, the first of
// which is prev. Both must be of the same URL.
//
// A segment is known by its number; if URL, byte range, encryption, duration,
// date or parts of it are others, it is another segment. Where all that both
// playlists list are others, or numbers go back beyond what was listed, the
// origin began anew and [media.Restarted] says so: what is known of the numbers
// of prev is void. Where some are the same and some are not the playlists
// contradict each other, and the error names the first line of next that does.
//
// An origin that begins anew under the same numbers and names, and dates
// nothing, looks as if it went on: then only the bytes tell.
func Compare(prev, next *Media) (media.Change, error) {
	shift := int64(next.MediaSequence) - int64(prev.MediaSequence)
	same, other, bad := 0, 0, -1
	for i := range next.Segments {
		j := int64(i) + shift
		if j < 0 || j >= int64(len(prev.Segments)) {
			continue
		}
		if err := differ(prev, next, int(j), i); err == nil {
			same++
			continue
		}
		other++
		if bad < 0 {
			bad = i
		}
	}
	prevEnd := prev.MediaSequence + uint64(len(prev.Segments))
	nextEnd := next.MediaSequence + uint64(len(next.Segments))
	switch {
	case same > 0 && other > 0:
		err := differ(prev, next, bad+int(shift), bad)
		return media.Contradicts, next.err(bad, fmt.Errorf("segment %d: %w", next.Segments[bad].Number, err))
	case other > 0:
		return media.Restarted, nil
	case same == 0 && nextEnd < prevEnd:
		return media.Restarted, nil
	case nextEnd < prevEnd || nextEnd == prevEnd && shift < 0:
		return media.Stale, nil
	}
	return next.follows(prev, shift)
}

// follows checks what a playlist may not change as it goes on (§6.2.1).
func (m *Media) follows(prev *Media, shift int64) (media.Change, error) {
	fail := func(why string) (media.Change, error) { return media.Contradicts, m.err(-1, errors.New(why)) }
	grown := len(m.Segments)+int(shift) > len(prev.Segments)
	switch {
	case prev.EndList && (grown || !m.EndList):
		return fail("goes on after EXT-X-ENDLIST")
	case prev.Type == "VOD" && grown:
		return fail("a playlist of type VOD has got more segments")
	case prev.Type != "" && shift != 0:
		return fail("a playlist of type " + prev.Type + " has lost segments")
	}
	if prev.Partial == nil {
		return media.Continues, nil
	}
	i := int(int64(len(prev.Segments)) - shift) // where it has to be now
	now := m.Partial
	if i >= 0 && i < len(m.Segments) {
		now = &m.Segments[i]
	}
	if now == nil || now.Number != prev.Partial.Number || len(now.Parts) == 0 { // parts may leave before their segment
		return media.Continues, nil
	}
	if now == m.Partial && len(now.Parts) < len(prev.Partial.Parts) && sameParts(now.Parts, prev.Partial.Parts) {
		return media.Stale, nil
	}
	if !sameParts(prev.Partial.Parts, now.Parts) {
		return media.Contradicts, m.err(i, fmt.Errorf("segment %d: other parts than before", now.Number))
	}
	return media.Continues, nil
}

func (m *Media) err(i int, err error) error {
	e := &media.Error{Tag: "EXT-X-MEDIA-SEQUENCE", Err: err}
	if i >= 0 && i < len(m.notes) {
		e.Line, e.Tag = m.notes[i].line, ""
	}
	return fmt.Errorf("HLS playlist contradicts itself as it was: %w", e)
}

// differ says in what a segment of two loads is not the same, nil if it is.
func differ(prev, next *Media, i, j int) error {
	a, b := &prev.Segments[i], &next.Segments[j]
	switch {
	case a.URL != b.URL:
		return errors.New("another URL than before")
	case a.Range != b.Range:
		return errors.New("another byte range than before")
	case a.Encryption != b.Encryption:
		return errors.New("encrypted in another way than before")
	case a.Duration != b.Duration:
		return fmt.Errorf("lasts %v, and before it was %v", b.Duration, a.Duration)
	case prev.NumbersDiscontinuities && next.NumbersDiscontinuities && a.Discontinuity != b.Discontinuity:
		return fmt.Errorf("discontinuity sequence number %d, and before it was %d", b.Discontinuity, a.Discontinuity)
	case (a.Init == nil) != (b.Init == nil) || a.Init != nil && *a.Init != *b.Init:
		return errors.New("another initialization segment than before")
	case len(a.Parts) > 0 && len(b.Parts) > 0 && !sameParts(a.Parts, b.Parts):
		return errors.New("other parts than before")
	}
	// Dates may be corrected a little; those of another run of the encoder are
	// seconds away.
	if !a.ProgramTime.IsZero() && !b.ProgramTime.IsZero() {
		if d := b.ProgramTime.Sub(a.ProgramTime).Abs(); d > max(time.Second, a.Duration/2) {
			return fmt.Errorf("dated %v away from where it was", d)
		}
	}
	return nil
}

// sameParts says whether the second list begins with the first.
func sameParts(a, b []media.Part) bool {
	if len(b) < len(a) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
