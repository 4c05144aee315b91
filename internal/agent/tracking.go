package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/swarm"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// pageWait is how long the edge holds a request for pages that are not there yet, in
	// seconds.
	pageWait = 25
	// maxPages bounds what one answer has, in bytes.
	maxPages = 4<<20 + track.MaxPage
	// unusedAfter is how long a track is followed of which nothing is asked for.
	unusedAfter = 90 * time.Second
	// Pauses after pages could not be had.
	minPagePause, maxPagePause = 500 * time.Millisecond, 15 * time.Second
)

var (
	// errTrackGone: the edge does not know the track any more.
	errTrackGone = errors.New("the track is gone")
	// errStreamGone: nor the stream that it was of, or it is another edge now.
	errStreamGone = errors.New("the playlist is of another stream")
)

// small gets a small document, most bytes at most.
func small(ctx context.Context, web *http.Client, u *url.URL, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	resp, err := web.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return nil, nil
	case !isWhole(resp):
		return nil, fmt.Errorf("%s: %w", u.Redacted(), newStatusError(resp))
	}
	b, err := io.ReadAll(io.LimitReader(newBody(ctx, resp.Body, flow{}), most+1))
	if err != nil {
		return nil, classify(err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", u.Redacted(), ErrVerify, most)
	}
	return b, nil
}

// follow gets the pages of the track as they come, while somebody uses it. When it has
// ended or is gone, another may go on where it was.
func (t *tracking) follow(ctx context.Context) {
	defer t.settle()
	pause := minPagePause
	for wait := 0; ctx.Err() == nil; {
		n, err := t.pages(ctx, wait)
		_, ended := t.Next()
		switch {
		case ended, errors.Is(err, errTrackGone):
			t.doubt(t.s.live) // what is live ends so when the origin has begun anew
			t.settle()
			t.succeed(ctx)
			return
		case err != nil:
			t.s.e.log.Info("pages of a track", "track", t.ID.String()[:16], "error", err)
			t.settle()
			if !t.rest(ctx, pause) {
				return
			}
			pause = min(2*pause, maxPagePause)
			continue
		case n == 0:
			t.settle()
			wait = pageWait
		}
		pause = minPagePause
		if time.Since(time.Unix(0, t.last.Load())) > unusedAfter {
			select {
			case <-t.used:
			case <-ctx.Done():
			}
		}
	}
}

// settle notes that what there was of the track is here.
func (t *tracking) settle() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	select {
	case <-t.known:
	default:
		close(t.known)
	}
}

// rest waits for about as long, or until a player misses what the track may have by now: an
// edge that was away is back before long pauses are over, and meanwhile all would get
// everything from it. It reports whether to go on.
func (t *tracking) rest(ctx context.Context, pause time.Duration) bool {
	least, most := time.After(minPagePause), time.After(pause+rand.N(pause/2))
	for again := (<-chan struct{})(nil); ; {
		select {
		case <-ctx.Done():
			return false
		case <-least:
			again = t.again
		case <-again:
			return true
		case <-most:
			return true
		}
	}
}

// pages gets the pages behind those that are here, waiting for so many seconds where there
// are none yet, and returns how many it were.
func (t *tracking) pages(ctx context.Context, wait int) (n int, err error) {
	next, _ := t.Next()
	u := t.at.JoinPath("pages")
	u.RawQuery = url.Values{"from": {strconv.Itoa(next.Segment)}, "wait": {strconv.Itoa(wait)}}.Encode()
	b, err := small(ctx, t.s.web, u, maxPages)
	switch {
	case errors.Is(err, ErrNotFound):
		return 0, errTrackGone
	case err != nil:
		return 0, err
	}
	for len(b) > 0 {
		if len(b) < 4 || int64(len(b)-4) < int64(binary.BigEndian.Uint32(b)) {
			return n, fmt.Errorf("%s: %w: pages are cut off", u.Redacted(), ErrVerify)
		}
		size := binary.BigEndian.Uint32(b)
		page, err := track.ParsePage(b[4:4+size], t.s.doc.Keys.Public())
		if err == nil {
			err = t.s.d.Grow(t.id, page)
		}
		if err != nil {
			return n, fmt.Errorf("%s: %w", u.Redacted(), err)
		}
		b = b[4+size:]
		n++
	}
	if n > 0 {
		w := t.grew()
		t.join()
		if w != nil {
			w.Grown()
		}
		t.s.adopt()
	}
	return n, nil
}

// grew wakes those who wait for pages, and returns the swarm of the track, if there is one.
func (t *tracking) grew() *swarm.Swarm {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	close(t.s.grown)
	t.s.grown = make(chan struct{})
	return t.swarm
}

// succeed looks for a track that goes on where this one has ended: the edge has begun
// another when the origin contradicted itself. A presentation that is over has none.
func (t *tracking) succeed(ctx context.Context) {
	for pause := minPagePause; ctx.Err() == nil; pause = min(2*pause, maxPagePause) {
		next, over, err := t.s.e.successor(ctx, t)
		switch {
		case over:
			t.doubt(false)
			return
		case errors.Is(err, errStreamGone):
			t.s.e.log.Info("stream is another one now", "stream", t.s.id.String()[:16], "url", t.s.url)
			t.s.gone.Store(true)
			return
		case err == nil && next != nil:
			t.s.d.Disown(t.id)
			t.last.Store(0)
			next.last.Store(time.Now().UnixNano()) // what is missed is of that
			return
		}
		if !t.rest(ctx, pause) {
			return
		}
		if time.Since(time.Unix(0, t.last.Load())) > unusedAfter {
			select {
			case <-t.used:
			case <-ctx.Done():
			}
		}
	}
}

// successor asks for the playlist of a track again, and takes part in the track that it
// names now. over says that the playlist is complete and still names the old one.
func (e *Engine) successor(ctx context.Context, t *tracking) (next *tracking, over bool, err error) {
	u, err := t.s.base.Parse(t.Header.Name)
	if err != nil {
		return nil, true, err
	}
	u.Fragment = ""
	now := &Stream{e: e, web: t.s.web}
	links, err := now.load(ctx, u)
	if err != nil {
		return nil, false, err
	}
	for _, link := range links {
		h, err := trackHeader(ctx, t.s.web, link, t.s.doc)
		switch {
		case errors.Is(err, manifest.ErrSignature), err == nil && h.Stream != t.s.id:
			return nil, false, errStreamGone
		case err != nil || h.Name != t.Header.Name:
			continue
		case h.ID() == t.ID:
			return nil, !live(now.playlist), nil
		}
		t.s.given.forget(t.playlist())
		next, err := t.s.add(h, link)
		return next, false, err
	}
	return nil, false, nil
}

// join opens the swarm of the track, once there is a grant and a piece.
func (t *tracking) join() {
	s := t.s
	token := s.grant.Load()
	if token == nil || t.NumPieces() == 0 {
		return
	}
	s.mu.Lock()
	if t.swarm != nil || s.left {
		s.mu.Unlock()
		return
	}
	w, err := s.p2p.node.Join(swarm.Membership{
		Object: t.ID, Pieces: t.Track, Grows: true, Grants: s.id, Source: s.d.Source(t.id),
		Grant: func() string { return *s.grant.Load() }, Trusted: s.doc.Keys.Public(),
		Uploads: s.e.cfg.Upload, Handler: trackHandler{t},
	})
	if err != nil {
		s.mu.Unlock()
		s.e.log.Info("track without peers", "track", t.ID.String()[:16], "error", err)
		return
	}
	t.swarm = w
	peers := make([]wire.Candidate, 0, len(s.peers))
	for _, c := range s.peers {
		peers = append(peers, c)
	}
	s.mu.Unlock()
	w.Connect(peers) // on the links there are
}

// trackHandler passes what peers do to the stream.
type trackHandler struct{ t *tracking }

func (h trackHandler) PeerOpen(p *swarm.Peer) { h.t.s.d.PeerOpen(h.t.id, p) }

func (h trackHandler) PeerHave(p *swarm.Peer, pieces []int) { h.t.s.d.PeerHave(h.t.id, p, pieces) }

func (h trackHandler) PeerLost(p *swarm.Peer, pieces []int) { h.t.s.d.PeerLost(h.t.id, p, pieces) }

func (h trackHandler) PeerBytes(p *swarm.Peer, piece, n int) {
	h.t.s.d.PeerBytes(h.t.id, p, piece, n)
}

func (h trackHandler) PeerLate(_ *swarm.Peer, n int) { h.t.s.d.PeerLate(n) }

func (h trackHandler) PeerPiece(p *swarm.Peer, piece int, _ int64, data []byte) {
	h.t.s.d.PeerPiece(h.t.id, p, piece, data)
}

func (h trackHandler) PeerReject(p *swarm.Peer, piece int, missing bool, retry time.Duration) {
	h.t.s.d.PeerReject(h.t.id, p, piece, missing, retry)
}

// PeerClose has control hear of a peer that did wrong.
func (h trackHandler) PeerClose(p *swarm.Peer, err error) {
	s := h.t.s
	s.d.PeerClose(h.t.id, p)
	s.mu.Lock()
	c := s.control
	s.mu.Unlock()
	if reason := swarm.Misconduct(err); blamable(reason) && c != nil {
		c.s.Blame(wire.Blame{Object: s.id, Peer: p.Key(), Reason: reason})
	}
}

// grantFor asks for a grant that peers will accept.
func (e *Engine) grantFor(ctx context.Context, web *http.Client, doc *wire.WellKnown, p *p2p, object manifest.ObjectID, r wire.GrantRequest) (wire.GrantResponse, error) {
	r.Object, r.Key = object.String(), p.node.Key()
	g, err := session.FetchGrant(ctx, web, doc.Grants, r)
	if err != nil {
		return g, err
	}
	claims, err := grant.Parse(g.Grant, time.Now())
	if err == nil {
		err = claims.Check(object, r.Key, doc.Keys.Public())
	}
	if err != nil {
		return wire.GrantResponse{}, fmt.Errorf("grant from %s: %w", doc.Grants, err)
	}
	return g, nil
}
