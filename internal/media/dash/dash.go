// Package dash reads and rewrites media presentation descriptions (MPD) of
// MPEG-DASH, ISO/IEC 23009-1: the clauses named in comments are those of its
// fifth edition.
//
// [Parse] gives the model that the edge follows a stream by, and [MPD.List] the
// segments of one representation at a time that is an argument; [Compare] tells
// what became of an MPD between two loads, and [Rewrite] changes the URLs of an
// MPD and nothing else. Elements that nobody needs are skipped, events among
// them. There are no entities but those of XML itself: a DTD is an error.
package dash

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// MPD is a media presentation description. Durations are 0 where nothing is said.
type MPD struct {
	Dynamic bool
	// AvailabilityStart is what the timeline of a dynamic MPD begins at.
	AvailabilityStart    time.Time
	AvailabilityEnd      time.Time
	PublishTime          time.Time
	Duration             time.Duration // @mediaPresentationDuration
	TimeShiftBufferDepth time.Duration // 0: everything since the start
	SuggestedDelay       time.Duration // @suggestedPresentationDelay
	MaxSegmentDuration   time.Duration
	MinimumUpdatePeriod  time.Duration
	Updates              bool     // there is a @minimumUpdatePeriod, which may be 0
	Locations            []string // where to load the MPD from next time, instead
	PatchLocations       []string // where patches are (5.15), which need not be used
	UTCTimings           []UTCTiming
	Steering             *Steering
	Periods              []Period
	Representations      []Representation // of all periods, in order
	ServiceLocations     []string         // of BaseURL, each once, in order
	base                 string           // URL of the MPD
}

// UTCTiming says where to get the time from (5.8.4.11).
type UTCTiming struct{ Scheme, Value string }

// Steering is ContentSteering (ETSI TS 103 998).
type Steering struct {
	URL              string   // of the steering manifest, by way of the proxy if there is one
	Default          []string // service locations to begin with
	QueryBeforeStart bool
}

// Period is a period (5.3.2).
type Period struct {
	ID string
	// Start is since the beginning of the presentation. A period that is announced
	// without one has Early set, and nothing of it can be listed.
	Start    time.Duration
	Duration time.Duration // 0: not known yet
	Early    bool
	// Remote is the URL of an MPD fragment that stands in for the period (xlink):
	// what it gives may be this viewer's own.
	Remote string
}

// Base is a base URL with what it says of availability.
type Base struct {
	URL             string
	ServiceLocation string
	offset          time.Duration // @availabilityTimeOffset
}

// Representation is one encoding of one component in one period (5.3.5).
type Representation struct {
	ID        string
	Period    int    // place in Periods
	Type      string // "video", "audio", "text", …; empty if not said
	Codecs    string
	Language  string
	Bandwidth uint64 // bit/s
	// Encryption is the scheme of ContentProtection, "cenc" where none is named.
	Encryption string
	// Bases are its base URLs: the same content at different places.
	Bases []Base

	line    int
	address addressing
}

// Listing is what of a representation there is to fetch.
type Listing struct {
	Segments []media.Segment
	// Index is the segment index of a representation that is one resource with
	// one segment listed; nil elsewhere.
	Index *media.Resource
	// Next is when the first segment after those listed becomes available; zero
	// if there is none, or if only a new MPD will tell.
	Next time.Time
}

// Bounds of what an MPD can have besides segments.
const (
	maxDepth           = 32
	maxElements        = 1_000_000
	maxAttributes      = 64       // of an element
	maxText            = 64 << 10 // bytes of an attribute or of text that is used
	maxPeriods         = 2000
	maxRepresentations = 10_000
	maxBases           = 16 // that one representation may have
	maxLocations       = 64 // of each kind
	maxWidth           = 20 // digits of a template
	// maxWindow is how many segments of a live stream without end or beginning are
	// listed: the newest. It clamps what follows from the clock, not what is
	// written.
	maxWindow = 10_000
	// maxPresentation bounds times, so that sums of a few fit.
	maxPresentation = 100 * 365 * 24 * time.Hour
	maxTimescale    = 1<<32 - 1
	maxTicks        = 1 << 62
)
