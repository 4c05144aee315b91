//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/dash"
	"github.com/tandem-cdn/tandem/internal/media/hls"
)

// guide tells what there is of a stream.
type guide interface {
	// encodings are what a player chooses among, by bandwidth.
	encodings() []encoding
	// list loads what there is of an encoding by now.
	list(ctx context.Context, encoding int) (*list, error)
}

// encoding is a variant of HLS or a representation of DASH.
type encoding struct {
	id, name  string // id: URL of the media playlist, or ID of the representation
	bandwidth uint64 // bit/s
}

// list is what there is of an encoding. The numbers of its segments tell them apart in
// all encodings.
type list struct {
	segments []media.Segment
	whole    bool      // it begins at its beginning
	ended    bool      // nothing will be added
	again    time.Time // when there may be more
}

// getter gets a resource.
type getter func(context.Context, media.Resource) ([]byte, error)

// open loads a stream by the URL of its playlist or MPD.
func open(ctx context.Context, link string, get getter) (guide, error) {
	b, err := get(ctx, media.Resource{URL: link})
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(link)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(b, []byte("<MPD")) {
		return openDASH(b, base, get)
	}
	return openHLS(b, base, get)
}

func sortEncodings(all []encoding) {
	slices.SortFunc(all, func(a, b encoding) int { return cmp.Compare(a.bandwidth, b.bandwidth) })
}

// hlsGuide is a guide by HLS playlists.
type hlsGuide struct {
	get      getter
	variants []encoding
	before   map[int]*hls.Media
}

func openHLS(b []byte, at *url.URL, get getter) (*hlsGuide, error) {
	top, err := hls.Parse(b, hls.Context{Base: at})
	if err != nil {
		return nil, err
	}
	g := &hlsGuide{get: get, before: map[int]*hls.Media{}}
	if top.Multivariant == nil {
		g.variants = []encoding{{id: at.String()}}
		return g, nil
	}
	for _, v := range top.Multivariant.Variants {
		if !v.IFrame {
			g.variants = append(g.variants, encoding{v.URL, v.Resolution, v.Bandwidth})
		}
	}
	sortEncodings(g.variants)
	return g, nil
}

func (g *hlsGuide) encodings() []encoding { return g.variants }

func (g *hlsGuide) list(ctx context.Context, i int) (*list, error) {
	base, err := url.Parse(g.variants[i].id)
	if err != nil {
		return nil, err
	}
	m, err := loadHLS(ctx, g.get, base, g.before[i])
	if err != nil {
		return nil, err
	}
	g.before[i] = m
	return &list{m.Segments, m.EndList || m.Type == "EVENT", m.EndList, time.Now().Add(m.TargetDuration / 4)}, nil
}

// loadHLS loads a media playlist, which was before as it was loaded last.
func loadHLS(ctx context.Context, get getter, at *url.URL, before *hls.Media) (*hls.Media, error) {
	b, err := get(ctx, media.Resource{URL: at.String()})
	if err != nil {
		return nil, err
	}
	p, err := hls.Parse(b, hls.Context{Base: at, Previous: before})
	if err == nil && p.Media == nil {
		err = errors.New("a variant without media")
	}
	if err != nil {
		return nil, err
	}
	return p.Media, nil
}

// dashGuide is a guide by an MPD.
type dashGuide struct {
	get    getter
	at     *url.URL
	mpd    *dash.MPD
	loaded time.Time
	video  []encoding
}

func openDASH(b []byte, at *url.URL, get getter) (*dashGuide, error) {
	m, err := dash.Parse(b, at)
	if err != nil {
		return nil, err
	}
	g := &dashGuide{get: get, at: at, mpd: m, loaded: time.Now()}
	for i := range m.Representations { // of all periods
		r := &m.Representations[i]
		if r.Type == "video" && !slices.ContainsFunc(g.video, func(e encoding) bool { return e.id == r.ID }) {
			g.video = append(g.video, encoding{r.ID, "representation " + r.ID, r.Bandwidth})
		}
	}
	if len(g.video) == 0 {
		return nil, errors.New("an MPD without video")
	}
	sortEncodings(g.video)
	return g, nil
}

func (g *dashGuide) encodings() []encoding { return g.video }

// list lists all periods. An MPD that changes is loaded when it says so; in between there
// may be more by the clock.
func (g *dashGuide) list(ctx context.Context, i int) (*list, error) {
	if g.mpd.Updates && time.Since(g.loaded) >= g.mpd.MinimumUpdatePeriod {
		b, err := g.get(ctx, media.Resource{URL: g.at.String()})
		if err != nil {
			return nil, err
		}
		if g.mpd, err = dash.Parse(b, g.at); err != nil {
			return nil, err
		}
		g.loaded = time.Now()
	}
	now := time.Now()
	l := &list{whole: !g.mpd.Dynamic, ended: !g.mpd.Dynamic, again: now.Add(time.Second)}
	for r := range g.mpd.Representations {
		if g.mpd.Representations[r].ID != g.video[i].id {
			continue
		}
		of, err := g.mpd.List(r, now, "")
		if err != nil {
			return nil, err
		}
		for _, s := range of.Segments {
			s.Number = uint64(s.Start.Milliseconds()) // every period counts anew
			l.segments = append(l.segments, s)
		}
		if !of.Next.IsZero() && of.Next.Before(l.again) {
			l.again = of.Next
		}
	}
	return l, nil
}
