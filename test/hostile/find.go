package hostile

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// ahead is how many pieces of a track a peer claims that nobody has made yet.
const ahead = 1024

// finder makes what is at a URL what the peer claims to have, and returns what it needs a
// grant for.
type finder func(p *Peer, ctx context.Context, u *url.URL, doc *wire.WellKnown) (wire.GrantRequest, error)

// findTrack makes the track of the playlist at u what the peer claims to have.
func (p *Peer) findTrack(ctx context.Context, u *url.URL, doc *wire.WellKnown) (wire.GrantRequest, error) {
	at, err := linkOf(ctx, u)
	if err != nil {
		return wire.GrantRequest{}, err
	}
	raw, err := get(ctx, at, track.MaxHeader)
	if err != nil {
		return wire.GrantRequest{}, err
	}
	h, err := track.ParseHeader(raw, doc.Keys.Public())
	if err != nil {
		return wire.GrantRequest{}, err
	}
	pages := at.JoinPath("pages")
	pages.RawQuery = "from=0"
	raw, err = get(ctx, pages, 4<<20+track.MaxPage)
	if err != nil {
		return wire.GrantRequest{}, err
	}
	t := stream.NewTrack(*h)
	for len(raw) > 0 {
		size := binary.BigEndian.Uint32(raw) // of an edge of the test's own
		page, err := track.ParsePage(raw[4:4+size], doc.Keys.Public())
		if err == nil {
			err = t.Add(page)
		}
		if err != nil {
			return wire.GrantRequest{}, err
		}
		raw = raw[4+size:]
	}
	p.object, p.member, p.pieces, p.claims = t.ID, h.Stream, t, t.NumPieces()+ahead
	return wire.GrantRequest{Object: h.Stream.String(), URL: u.String()}, nil
}

// findObject makes the object at u what the peer claims to have.
func (p *Peer) findObject(ctx context.Context, u *url.URL, doc *wire.WellKnown) (wire.GrantRequest, error) {
	at, err := linkOf(ctx, u)
	if err != nil {
		return wire.GrantRequest{}, err
	}
	raw, err := get(ctx, at, manifest.MaxEncoded)
	if err != nil {
		return wire.GrantRequest{}, err
	}
	m, err := manifest.ParseSigned(raw, doc.Keys.Public())
	if err != nil {
		return wire.GrantRequest{}, err
	}
	p.object, p.member, p.pieces, p.claims = m.Object, m.Object, m, m.NumPieces()
	return wire.GrantRequest{Object: m.Object.String(), URL: u.String(), Signer: wire.KeyOf(m.Key), Signature: m.Signature}, nil
}

func get(ctx context.Context, u *url.URL, most int64) ([]byte, error) {
	resp, err := do(ctx, http.MethodGet, u)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", u, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, most))
}

// invite gets a grant for what find finds, and returns the URL of control.
func (p *Peer) invite(ctx context.Context, rawURL string, find finder) (control string, err error) {
	at, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	doc, err := session.FetchWellKnown(ctx, http.DefaultClient, at.Scheme+"://"+at.Host)
	if err != nil {
		return "", err
	}
	r, err := find(p, ctx, at, doc)
	if err != nil {
		return "", err
	}
	r.Key = p.Key()
	g, err := session.FetchGrant(ctx, http.DefaultClient, doc.Grants, r)
	if err != nil {
		return "", err
	}
	p.grant = g.Grant
	if len(doc.Control) == 0 {
		return "", fmt.Errorf("%s names no control", at.Host)
	}
	return doc.Control[0], nil
}

// linkOf is what the first Link of the answer to u leads to. An edge that has just got
// another version names none until it has read that.
func linkOf(ctx context.Context, u *url.URL) (*url.URL, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		head, err := do(ctx, http.MethodHead, u)
		if err != nil {
			return nil, err
		}
		_ = head.Body.Close()
		_, rest, _ := strings.Cut(head.Header.Get("Link"), "<")
		if link, _, ok := strings.Cut(rest, ">"); ok {
			return u.Parse(link)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("%s is not shared", u)
}

func do(ctx context.Context, method string, u *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}
