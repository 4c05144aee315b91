//go:build linux

package main

import (
	"cmp"
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
	"github.com/tandem-cdn/tandem/internal/media/hls"
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
	Startup  float64            `json:"startup"`
	Stalls   int                `json:"stalls"`
	Stalled  float64            `json:"stalled"`
	Media    float64            `json:"media"` // what was shown or is to be
	Bytes    int64              `json:"bytes"`
	Rate     float64            `json:"bits_per_second"` // of the renditions, mean
	Latency  float64            `json:"latency"`         // behind the source, the median of its segments
	Arrived  []arrival          `json:"-"`
	Segments map[string]string  `json:"-"`          // path → SHA-256
	Tops     map[string]float64 `json:"renditions"` // media of each
}

// arrival is a segment that has come.
type arrival struct {
	At    float64 `json:"at"` // seconds since 1970
	Bytes int     `json:"bytes"`
}

// told is what a player's process tells.
type told struct {
	played
	Arrivals []arrival         `json:"arrivals"`
	Sums     map[string]string `json:"sums"`
}

// player plays one stream.
type player struct {
	url    string        // of the multivariant playlist, or the only media playlist
	root   string        // what precedes the paths of the server's files
	behind time.Duration // the source of a live stream, where it begins
	until  time.Duration // it stops, 0: at the end

	client   *http.Client
	began    time.Time
	buffer   buffer
	rate     float64 // bit/s
	variants []hls.Variant
	now      int           // variant
	skip     time.Duration // of the next segment, which is not shown
	behinds  []float64     // the source, at each segment, in seconds
	lists    map[string]*list
	inits    map[string]bool
	out      played
}

// list is a media playlist as it was loaded last.
type list struct {
	media *hls.Media
	at    time.Time
}

// playerArg makes this program a player on a host of the lab.
const playerArg = "-player"

func playerMain(ctx context.Context) error {
	p := &player{
		client: &http.Client{}, lists: map[string]*list{}, inits: map[string]bool{},
		out: played{Segments: map[string]string{}, Tops: map[string]float64{}},
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
	return json.NewEncoder(os.Stdout).Encode(told{p.out, p.out.Arrived, p.out.Segments})
}

func (p *player) since() time.Duration { return time.Since(p.began) }

// play plays the stream, of which how loads the media.
func (p *player) play(ctx context.Context, how func(context.Context) error) error {
	p.began = time.Now()
	top, err := p.playlist(ctx, p.url, nil)
	if err != nil {
		return err
	}
	p.variants = []hls.Variant{{URL: p.url}}
	if top.Multivariant != nil {
		p.variants = slices.DeleteFunc(top.Multivariant.Variants, func(v hls.Variant) bool { return v.IFrame })
		slices.SortFunc(p.variants, func(a, b hls.Variant) int { return cmp.Compare(a.Bandwidth, b.Bandwidth) })
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
		l, err := p.load(ctx, p.variants[p.now].URL, number)
		if err != nil {
			return err
		}
		if !chosen {
			chosen = true
			number, p.skip = p.first(l.media, time.Now())
		}
		i := slices.IndexFunc(l.media.Segments, func(s media.Segment) bool { return s.Number >= number })
		if i < 0 && l.media.EndList {
			return nil
		}
		if i < 0 {
			return errors.New("the segment that was waited for did not come")
		}
		s := l.media.Segments[i]
		if err := p.segment(ctx, s, l.media.EndList); err != nil {
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
func (p *player) first(m *hls.Media, now time.Time) (number uint64, skip time.Duration) {
	if m.EndList || m.Type == "EVENT" || len(m.Segments) == 0 {
		return m.MediaSequence, 0
	}
	at := now.Add(-p.behind)
	for _, s := range m.Segments {
		if left := s.ProgramTime.Add(s.Duration).Sub(at); left >= s.Duration/8 {
			return s.Number, max(0, s.Duration-left)
		}
	}
	return last(m).Number, 0
}

// load returns the media playlist of a variant, which has segment number, or has ended.
func (p *player) load(ctx context.Context, link string, number uint64) (*list, error) {
	l := p.lists[link]
	for began := time.Now(); ; {
		if l != nil && (l.media.EndList || len(l.media.Segments) > 0 && last(l.media).Number >= number) {
			return l, nil
		}
		if time.Since(began) > patience {
			return nil, errors.New("the playlist does not go on")
		}
		if l != nil {
			if err := sleep(ctx, time.Until(l.at.Add(l.media.TargetDuration/4))); err != nil {
				return nil, err
			}
		}
		var before *hls.Media
		if l != nil {
			before = l.media
		}
		got, err := p.playlist(ctx, link, before)
		if err != nil {
			return nil, err
		}
		if got.Media == nil {
			return nil, errors.New("a variant without media")
		}
		l = &list{got.Media, time.Now()}
		p.lists[link] = l
	}
}

func last(m *hls.Media) media.Segment { return m.Segments[len(m.Segments)-1] }

func (p *player) playlist(ctx context.Context, link string, before *hls.Media) (*hls.Playlist, error) {
	b, err := p.get(ctx, link)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(link)
	if err != nil {
		return nil, err
	}
	return hls.Parse(b, hls.Context{Base: base, Previous: before})
}

// segment fetches a segment when there is room and puts it into the buffer.
func (p *player) segment(ctx context.Context, s media.Segment, vod bool) error {
	p.buffer.advance(p.since())
	if err := sleep(ctx, p.buffer.room(s.Duration, bufferTime)); err != nil {
		return err
	}
	if s.Init != nil && !p.inits[s.Init.URL] {
		p.inits[s.Init.URL] = true
		if _, err := p.keep(ctx, s.Init.URL); err != nil {
			return err
		}
	}
	began := time.Now()
	n, err := p.keep(ctx, s.URL)
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
	p.out.Rate += float64(p.variants[p.now].Bandwidth) * shown.Seconds()
	p.out.Tops[p.variants[p.now].Resolution] += shown.Seconds()
	if !vod && !s.ProgramTime.IsZero() {
		p.behinds = append(p.behinds, (time.Since(s.ProgramTime.Add(s.Duration)) + p.buffer.ahead).Seconds())
	}
	return nil
}

// choose takes the best rendition that the rate allows, or the least of all.
func (p *player) choose() {
	p.now = 0
	for i, v := range p.variants {
		if float64(v.Bandwidth) <= safety*p.rate {
			p.now = i
		}
	}
}

// keep gets a segment and remembers its hash.
func (p *player) keep(ctx context.Context, link string) (int, error) {
	b, err := p.get(ctx, link)
	if err != nil {
		return 0, err
	}
	u, err := url.Parse(link)
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256(b)
	p.out.Segments[strings.TrimPrefix(u.Path, p.root)] = hex.EncodeToString(sum[:])
	p.out.Bytes += int64(len(b))
	p.out.Arrived = append(p.out.Arrived, arrival{float64(time.Now().UnixMilli()) / 1e3, len(b)})
	return len(b), nil
}

// get gets a resource, again while that fails.
func (p *player) get(ctx context.Context, link string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	for {
		var b []byte
		if b, err = p.once(ctx, link); err == nil {
			return b, nil
		}
		if sleep(ctx, 500*time.Millisecond) != nil {
			return nil, err
		}
	}
}

func (p *player) once(ctx context.Context, link string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", link, resp.Status)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", link, err)
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
