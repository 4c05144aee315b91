// Package media has the words that playlists of streams have in common: what
// [hls] and [dash] read out of a playlist is lists of segments, which are ranges
// of resources. It also reads what steers players between places, which is the
// same for both.
//
// Everything comes from a server that nobody has vetted. The parsers are pure
// and bounded; what they refuse they refuse with an [Error] that names the line
// and the tag. URLs are absolute, http or https, and have no fragment.
//
// [hls]: https://datatracker.ietf.org/doc/draft-pantos-hls-rfc8216bis/
// [dash]: https://www.iso.org/standard/83314.html (ISO/IEC 23009-1)
package media

import (
	"fmt"
	"time"
)

// Bounds that the formats share. Durations beyond MaxDuration, and negative
// ones, are errors, never clamped: a clamped duration moves every later segment.
const (
	MaxPlaylist = 8 << 20        // bytes of a playlist
	MaxSegments = 100_000        // segments and parts of a playlist
	MaxURL      = 8 << 10        // bytes of a URL
	MaxURLs     = 64 << 20       // bytes of all URLs of a playlist, which a long base URL multiplies
	MaxDuration = 24 * time.Hour // of one segment
)

// Range is a part of a resource, in bytes. Length 0 is everything from Offset
// on, so that the zero Range is the whole resource.
type Range struct{ Offset, Length int64 }

// End is where the range ends, and false if that is the end of the resource.
func (r Range) End() (int64, bool) { return r.Offset + r.Length, r.Length > 0 }

// Resource is something to fetch that carries media. Keys are none.
type Resource struct {
	URL   string
	Range Range
	// Encryption is how the bytes are encrypted: METHOD of EXT-X-KEY, or
	// value of the MPD's ContentProtection ("cenc", "cbcs"). Empty: not at all.
	Encryption string
}

// Part is a partial segment of low-latency HLS.
type Part struct {
	Resource
	Duration    time.Duration
	Independent bool // begins with an independent frame
	Gap         bool // is not there: do not ask for it
}

// Segment is a media segment.
type Segment struct {
	Resource
	// Number is the media sequence number (HLS), or the segment number (DASH).
	Number uint64
	// Start is the presentation time: since the beginning of the playlist (HLS),
	// since that of the presentation (DASH).
	Start    time.Duration
	Duration time.Duration
	// ProgramTime is the wall-clock time of the first sample, zero if unknown.
	ProgramTime time.Time
	// Discontinuity is the discontinuity sequence number. In DASH it counts the
	// periods of the MPD.
	Discontinuity uint64
	Init          *Resource // initialization segment; shared by segments, nil if none
	Gap           bool      // is not there: do not ask for it
	Ad            bool      // marked as advertisement, which may be this viewer's own
	Parts         []Part
}

// Error is what is wrong with a playlist, and where.
type Error struct {
	Line int    // counted from 1
	Tag  string // or element of the MPD; empty for a line that is neither
	Err  error
}

func (e *Error) Error() string {
	if e.Tag == "" {
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	}
	return fmt.Sprintf("line %d: %s: %v", e.Line, e.Tag, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
