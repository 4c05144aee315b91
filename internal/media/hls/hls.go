// Package hls reads and rewrites playlists of HTTP Live Streaming, as RFC 8216
// and its revision draft-pantos-hls-rfc8216bis define them: the sections named
// in comments are the revision's.
//
// [Parse] gives the model that the edge follows a stream by, [Compare] tells what
// became of a playlist between two loads, and [Rewrite] changes the URIs of a
// playlist and nothing else. A tag that nobody knows is skipped; one that
// contradicts itself or another is an error that names line and tag.
package hls

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Playlist is a multivariant or a media playlist: just one of the two is set.
type Playlist struct {
	Version             int
	IndependentSegments bool
	// Variables are those of EXT-X-DEFINE, which media playlists may import.
	Variables    map[string]string
	Multivariant *Multivariant
	Media        *Media
}

// Multivariant is a multivariant playlist (§4.4.6).
type Multivariant struct {
	Variants    []Variant // EXT-X-STREAM-INF and EXT-X-I-FRAME-STREAM-INF
	Renditions  []Rendition
	SessionKeys []Key
	SessionData []string // URLs; none is media
	Steering    *Steering
}

// Variant is one variant stream.
type Variant struct {
	URL              string
	IFrame           bool // of I-frames only, for trick play
	Bandwidth        uint64
	AverageBandwidth uint64 // 0: not said
	Score            float64
	Codecs           string
	Resolution       string // "1280x720"
	FrameRate        string
	VideoRange       string
	Audio            string // GROUP-ID of renditions, likewise the next ones
	Video            string
	Subtitles        string
	ClosedCaptions   string
	StableID         string
	Pathway          string // "." if not said
}

// Rendition is an alternative rendition, EXT-X-MEDIA.
type Rendition struct {
	Type     string // AUDIO, VIDEO, SUBTITLES or CLOSED-CAPTIONS
	URL      string // empty: it is in the variant's own segments
	Group    string
	Name     string
	Language string
	StableID string
	Default  bool
}

// Steering is EXT-X-CONTENT-STEERING.
type Steering struct {
	URL     string // of the steering manifest
	Pathway string // to begin with; empty: that of the first variant
}

// Media is a media playlist (§4.4.3).
type Media struct {
	TargetDuration        time.Duration
	PartTarget            time.Duration // 0: no partial segments
	MediaSequence         uint64
	DiscontinuitySequence uint64
	// NumbersDiscontinuities is whether the playlist says so itself. Without the
	// tag discontinuities are counted from what is listed, and the number of a
	// segment moves when one leaves the window.
	NumbersDiscontinuities bool
	Type                   string // EVENT, VOD or empty
	IFramesOnly            bool
	EndList                bool
	ServerControl          ServerControl
	Segments               []media.Segment
	// Partial is the segment that is being made: its parts are there, its URI is
	// not. Nil if there is none.
	Partial    *media.Segment
	Hints      []Hint
	Reports    []Report
	Keys       []Key // each once, in order
	DateRanges []DateRange
	// Skipped is how many of Segments come from the playlist before, by a delta
	// update.
	Skipped int

	notes []note // of Segments
}

// ServerControl is EXT-X-SERVER-CONTROL. Durations are 0 where nothing is said.
type ServerControl struct {
	CanSkipUntil      time.Duration
	CanSkipDateRanges bool
	HoldBack          time.Duration
	PartHoldBack      time.Duration
	CanBlockReload    bool
}

// Hint is EXT-X-PRELOAD-HINT: what will be asked for next.
type Hint struct {
	media.Resource
	Map bool // an initialization segment, not a part
}

// Report is EXT-X-RENDITION-REPORT: how far another rendition is.
type Report struct {
	URL      string
	LastMSN  uint64
	LastPart int64 // -1: not said
}

// Key is EXT-X-KEY or EXT-X-SESSION-KEY. What its URI gives is never media.
type Key struct {
	Method string
	URI    string // absolute if http or https, else as written
	Format string // "identity" if not said
}

// DateRange is EXT-X-DATERANGE, as far as it tells of advertisements.
type DateRange struct {
	ID, Class  string
	Start, End time.Time // zero End: open
	Ad         bool      // SCTE 35 splice, or a class with the word "ad"
	// Interstitial has the URLs of what is played in between (appendix D), which
	// may be this viewer's own.
	Interstitial []string
}

// Bounds of what a playlist can have besides segments.
const (
	maxLine       = 64 << 10 // SCTE 35 messages and data URLs get long
	maxAttributes = 128      // of a tag
	maxVariants   = 2000     // variants and renditions
	maxDateRanges = 10_000
	maxAssets     = 16 // of a date range
	maxVariables  = 1000
	maxDefined    = 64 << 10 // bytes of the names and values of variables
	maxReports    = 1000     // reports and hints
	maxKeyFormats = 16       // in effect at a time
	maxSequence   = 1 << 62
)
