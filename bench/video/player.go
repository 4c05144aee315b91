//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/internal/media"
)

// What a player does as hls.js does unless told otherwise.
const (
	// bufferTime is how much it keeps ahead of what it shows.
	bufferTime = 30 * time.Second
	// A rendition is chosen that needs at most this part of the rate that segments come
	// at, a mean in which the newest counts a third.
	safety = 0.7
	newest = 1.0 / 3
	// patience is how long it tries to get a segment, or waits for a playlist to go on.
	patience = 120 * time.Second
)

// played is what a player tells of a stream. Durations are in seconds.
type played struct {
	Startup float64            `json:"startup"`
	Stalls  int                `json:"stalls"`
	Stalled float64            `json:"stalled"`
	Media   float64            `json:"media"` // what was shown or is to be
	Bytes   int64              `json:"bytes"`
	Rate    float64            `json:"bits_per_second"` // of the renditions, mean
	Latency float64            `json:"latency"`         // behind the source, the median of its segments
	Arrived []arrival          `json:"-"`
	Given   []given            `json:"-"`
	Tops    map[string]float64 `json:"renditions"` // media of each
}

// arrival is a segment that has come.
type arrival struct {
	At    float64 `json:"at"` // seconds since 1970
	Bytes int     `json:"bytes"`
}

// given is a file of the origin, or a range of one, that has come.
type given struct {
	Path  string      `json:"path"`
	Range media.Range `json:"range"`
	Sum   string      `json:"sum"` // SHA-256
}

// told is what a player's process tells.
type told struct {
	played
	Arrivals []arrival `json:"arrivals"`
	Parts    []given   `json:"given"`
}

// player plays one stream.
type player struct {
	url    string        // of the MPD, the multivariant playlist, or the only media playlist
	root   string        // what precedes the paths of the server's files
	behind time.Duration // the source of a live stream, where it begins
	until  time.Duration // it stops, 0: at the end

	client  *http.Client
	began   time.Time
	buffer  buffer
	rate    float64 // bit/s
	guide   guide
	now     int           // encoding
	skip    time.Duration // of the next segment, which is not shown
	behinds []float64     // the source, at each segment, in seconds
	lists   map[int]*list // of encodings, as they were loaded last
	inits   map[media.Resource]bool
	out     played
}

// playerArg makes this program a player on a host of the lab.
const playerArg = "-player"

func playerMain(ctx context.Context) error {
	p := &player{
		client: &http.Client{}, lists: map[int]*list{}, inits: map[media.Resource]bool{},
		out: played{Tops: map[string]float64{}},
	}
	f := flag.NewFlagSet(playerArg, flag.ExitOnError)
	f.StringVar(&p.url, "url", "", "of the playlist")
	f.StringVar(&p.root, "root", "/", "what precedes the paths of files in URLs")
	f.DurationVar(&p.behind, "behind", 0, "how far behind its source to begin in a live stream")
	low := f.Bool("low", false, "play by parts")
	f.DurationVar(&p.until, "until", 0, "when to stop")
	if err := f.Parse(os.Args[2:]); err != nil {
		return err
	}
	how := p.segments
	if *low {
		how = p.low
	}
	if err := p.play(ctx, how); err != nil {
		return fmt.Errorf("play %s: %w", p.url, err)
	}
	return json.NewEncoder(os.Stdout).Encode(told{p.out, p.out.Arrived, p.out.Given})
}

func (p *player) since() time.Duration { return time.Since(p.began) }

// play plays the stream, of which how loads the media.
func (p *player) play(ctx context.Context, how func(context.Context) error) error {
	p.began = time.Now()
	var err error
	if p.guide, err = open(ctx, p.url, p.get); err != nil {
		return err
	}
	if err := how(ctx); err != nil {
		return err
	}
	p.buffer.end(p.since())
	p.out.Startup, p.out.Stalls, p.out.Stalled = p.buffer.startup.Seconds(), p.buffer.stalls, p.buffer.stalled.Seconds()
	if p.out.Media > 0 {
		p.out.Rate /= p.out.Media
	}
	if len(p.behinds) > 0 {
		p.out.Latency = rig.Median(p.behinds)
	}
	return nil
}

// segments plays one segment after the other.
func (p *player) segments(ctx context.Context) error {
	var number uint64 // of the next segment
	chosen := false
	for p.until == 0 || p.since() < p.until {
		l, err := p.load(ctx, number)
		if err != nil {
			return err
		}
		if !chosen {
			chosen = true
			number, p.skip = p.first(l, time.Now())
		}
		i := slices.IndexFunc(l.segments, func(s media.Segment) bool { return s.Number >= number })
		if i < 0 && l.ended {
			return nil
		}
		if i < 0 {
			return errors.New("the segment that was waited for did not come")
		}
		s := l.segments[i]
		if err := p.segment(ctx, s, l.ended); err != nil {
			return err
		}
		number = s.Number + 1
		p.choose()
	}
	return nil
}

// first is the number of the segment to begin with, and how much of it is not shown: a live
// stream is played at a distance from its source, as dash.js does it. With little left of
// a segment it begins with the next.
func (p *player) first(l *list, now time.Time) (number uint64, skip time.Duration) {
	if len(l.segments) == 0 {
		return 0, 0
	}
	if l.whole {
		return l.segments[0].Number, 0
	}
	at := now.Add(-p.behind)
	for _, s := range l.segments {
		if left := s.ProgramTime.Add(s.Duration).Sub(at); left >= s.Duration/8 {
			return s.Number, max(0, s.Duration-left)
		}
	}
	return l.segments[len(l.segments)-1].Number, 0
}

// load returns the list of the present encoding, which has segment number, or has ended.
func (p *player) load(ctx context.Context, number uint64) (*list, error) {
	l := p.lists[p.now]
	for began := time.Now(); ; {
		if l != nil && (l.ended || len(l.segments) > 0 && l.segments[len(l.segments)-1].Number >= number) {
			return l, nil
		}
		if time.Since(began) > patience {
			return nil, errors.New("the playlist does not go on")
		}
		if l != nil {
			if err := sleep(ctx, time.Until(l.again)); err != nil {
				return nil, err
			}
		}
		var err error
		if l, err = p.guide.list(ctx, p.now); err != nil {
			return nil, err
		}
		p.lists[p.now] = l
	}
}

// segment fetches a segment when there is room and puts it into the buffer.
func (p *player) segment(ctx context.Context, s media.Segment, vod bool) error {
	p.buffer.advance(p.since())
	if err := sleep(ctx, p.buffer.room(s.Duration, bufferTime)); err != nil {
		return err
	}
	if s.Init != nil && !p.inits[*s.Init] {
		p.inits[*s.Init] = true
		if _, err := p.keep(ctx, *s.Init); err != nil {
			return err
		}
	}
	began := time.Now()
	n, err := p.keep(ctx, s.Resource)
	if err != nil {
		return err
	}
	rate := 8 * float64(n) / time.Since(began).Seconds()
	if p.rate == 0 {
		p.rate = rate
	}
	p.rate += newest * (rate - p.rate)
	shown := s.Duration - p.skip
	p.skip = 0
	p.buffer.add(p.since(), shown, shown)
	p.out.Media += shown.Seconds()
	e := p.guide.encodings()[p.now]
	p.out.Rate += float64(e.bandwidth) * shown.Seconds()
	p.out.Tops[e.name] += shown.Seconds()
	if !vod && !s.ProgramTime.IsZero() {
		p.behinds = append(p.behinds, (time.Since(s.ProgramTime.Add(s.Duration)) + p.buffer.ahead).Seconds())
	}
	return nil
}

// choose takes the best rendition that the rate allows, or the least of all.
func (p *player) choose() {
	p.now = 0
	for i, e := range p.guide.encodings() {
		if float64(e.bandwidth) <= safety*p.rate {
			p.now = i
		}
	}
}

// keep gets a segment and remembers its hash.
func (p *player) keep(ctx context.Context, r media.Resource) (int, error) {
	b, err := p.get(ctx, r)
	if err != nil {
		return 0, err
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256(b)
	p.out.Given = append(p.out.Given, given{strings.TrimPrefix(u.Path, p.root), r.Range, hex.EncodeToString(sum[:])})
	p.out.Bytes += int64(len(b))
	p.out.Arrived = append(p.out.Arrived, arrival{float64(time.Now().UnixMilli()) / 1e3, len(b)})
	return len(b), nil
}

// get gets a resource, again while that fails.
func (p *player) get(ctx context.Context, r media.Resource) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		b, err := p.once(ctx, r)
		if err == nil {
			return b, nil
		}
		if sleep(ctx, 500*time.Millisecond) != nil {
			return nil, err
		}
	}
}

func (p *player) once(ctx context.Context, r media.Resource) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, err
	}
	want := http.StatusOK
	if end, ok := r.Range.End(); ok {
		want = http.StatusPartialContent
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.Range.Offset, end-1))
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return nil, fmt.Errorf("get %s: %s", r.URL, resp.Status)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", r.URL, err)
	}
	return b, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
