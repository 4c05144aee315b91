package scenario

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/sim"
)

// Stream is what is played, instead of a catalogue of files.
type Stream struct {
	Kind    string   `yaml:"kind" oneof:"live vod"`
	Length  Duration `yaml:"length" check:"1s..30d"`
	Segment Duration `yaml:"segment" check:"100ms..1m"`
	Rate    Rate     `yaml:"rate" check:"8kbit..1gbit"`
	Piece   Bytes    `yaml:"piece" check:"16K..64M"`
	Behind  Duration `yaml:"behind" check:"100ms..1h"`
	Buffer  Duration `yaml:"buffer" check:"100ms..1h"`
	Watch   Span     `yaml:"watch"`
	Linger  Span     `yaml:"linger"`
}

const (
	live = "live"
	// maxCells bounds the pieces of a stream times its viewers: each plan has a few dozen
	// bytes for every one.
	maxCells = 200_000_000
)

// streams reports whether the scenario plays one.
func (s *Scenario) streams() bool { return s.Stream.Kind != "" }

// segments is how many the stream has: of a live one those before the beginning, too.
func (s *Stream) segments() int {
	n := int(s.Length / s.Segment)
	if s.Kind == live {
		n += int((s.Behind + s.Segment - 1) / s.Segment)
	}
	return max(n, 1)
}

// segmentSize is in bytes.
func (s *Stream) segmentSize() int64 { return max(1, int64(float64(s.Rate)*s.Segment.seconds())) }

// pieces is how many a segment has.
func (s *Stream) pieces() int {
	size := s.segmentSize()
	return manifest.PieceCount(size, cmp.Or(int64(s.Piece), manifest.PieceSizeFor(size)))
}

// fill sets what is not said.
func (s *Stream) fill(end Duration) {
	s.Segment = cmp.Or(s.Segment, Duration(4*time.Second))
	s.Rate = cmp.Or(s.Rate, mbit(3))
	s.Buffer = cmp.Or(s.Buffer, max(Duration(30*time.Second), s.Segment))
	if s.Kind == live {
		s.Behind = cmp.Or(s.Behind, 3*s.Segment)
		s.Length = cmp.Or(s.Length, end)
	}
}

func (d *decoder) checkStream(s *Scenario) error {
	t, std := &s.Stream, standard()
	if !s.streams() {
		if *t != (Stream{}) {
			return d.fail("stream.kind", nil, "say whether it is live or vod")
		}
		return nil
	}
	t.fill(s.End)
	if err := d.checkSegments(s); err != nil {
		return err
	}
	if s.Arrivals.Count > s.hostCount() {
		return d.fail("arrivals.count", nil, "more viewers than hosts (%d): each plays once", s.hostCount())
	}
	for _, a := range s.Policy.Ablate {
		if a == "in-order" || a == "give-way" {
			return d.fail("policy.ablate", nil, "%s is of downloads, not of streams", a)
		}
	}
	if s.Hosts.Conduct.Liars > 0 {
		return d.fail("hosts.conduct.liars", nil, "there are none in streams: nobody can claim what is yet to be published")
	}
	for path, same := range map[string]bool{
		"objects":   s.Objects == std.Objects,
		"seeders":   s.Seeders == std.Seeders,
		"downloads": s.Downloads == std.Downloads,
	} {
		if !same {
			return d.fail(path, nil, "a stream has none; see stream.rate, stream.watch and stream.linger")
		}
	}
	return nil
}

func (d *decoder) checkSegments(s *Scenario) error {
	t := &s.Stream
	switch {
	case t.Length == 0:
		return d.fail("stream.length", nil, "say how long the film is")
	case t.Length < t.Segment:
		return d.fail("stream.length", nil, "%s is shorter than a segment, %s", t.Length, t.Segment)
	case t.Buffer < t.Segment:
		return d.fail("stream.buffer", nil, "%s is shorter than a segment, %s", t.Buffer, t.Segment)
	case t.Kind != live && t.Behind > 0:
		return d.fail("stream.behind", nil, "only live streams have one")
	case t.Kind == live && t.Behind < t.Segment:
		return d.fail("stream.behind", nil, "%s is less than a segment, %s", t.Behind, t.Segment)
	case t.Piece&(t.Piece-1) != 0:
		return d.fail("stream.piece", nil, "%s is no power of two", t.Piece)
	case t.segments()*t.pieces() > maxPieces:
		return d.fail("stream.length", nil, "%d segments of %d pieces are more than %d pieces", t.segments(), t.pieces(), maxPieces)
	case t.segments()*t.pieces()*s.wantCount() > maxCells:
		return d.fail("stream.length", nil, "%d pieces for %d viewers are more than can be simulated", t.segments()*t.pieces(), s.wantCount())
	}
	return nil
}

// stream makes the one object that is played.
func (w *world) stream() {
	t := &w.s.Stream
	n := t.segments()
	w.cfg.Objects = []sim.Object{{
		Size: int64(n) * t.segmentSize(), Piece: int64(t.Piece),
		Stream: &sim.Stream{
			Live: t.Kind == live, Segments: n, Duration: time.Duration(t.Segment),
			Behind: time.Duration(t.Behind), Buffer: time.Duration(t.Buffer),
		},
	}}
}

// view has a host play the stream from at on.
func (w *world) view(host int, at time.Duration, stay *rand.Rand) {
	d := sim.Download{Host: host, At: at}
	linger, watch := time.Duration(w.s.Stream.Linger.next(stay)), time.Duration(w.s.Stream.Watch.next(stay))
	if watch > 0 {
		d.Leave = at + watch
	}
	if w.cfg.Hosts[host].Uploads {
		d.Linger = linger
	}
	w.cfg.Downloads = append(w.cfg.Downloads, d)
}
