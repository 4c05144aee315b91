package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// minSwarm is the size from which an object is worth a swarm, in bytes.
const minSwarm = 1 << 20

// errPlain: the server says nothing of a manifest; the download is an ordinary
// one.
var errPlain = errors.New("the server offers no manifest")

// bootstrapped is what a download learns before it can join a swarm.
type bootstrapped struct {
	doc    *wire.WellKnown
	signed *manifest.Signed
	grant  wire.GrantResponse
	p2p    *p2p
	err    error // errPlain, or why the rest is missing
}

// bootstrap finds the manifest of the object that resp is about, checks it, and
// gets a grant.
func (d *Download) bootstrap(ctx context.Context, resp *http.Response) *bootstrapped {
	b := &bootstrapped{}
	if d.e.cfg.NoP2P || d.sourceOf(resp).size < minSwarm {
		b.err = errPlain
		return b
	}
	if b.err = d.findManifest(ctx, resp, b); b.err == nil {
		b.err = d.findGrant(ctx, b)
	}
	return b
}

// findManifest gets the manifest that the host offers for resp, signed by one of
// the host's keys. Where there is a control, the engine logs in meanwhile.
func (d *Download) findManifest(ctx context.Context, resp *http.Response, b *bootstrapped) error {
	at := resp.Request.URL
	link := manifestLink(resp.Header)
	var err error
	if b.doc, err = d.e.hosts.get(ctx, at); err != nil {
		if link == "" {
			return errPlain
		}
		return err
	}
	if link == "" && b.doc.Manifests != "" {
		link = strings.ReplaceAll(b.doc.Manifests, "{path}", at.EscapedPath())
	}
	if link == "" {
		return errPlain
	}
	target, err := at.Parse(link)
	if err != nil {
		return fmt.Errorf("link to the manifest: %w", err)
	}
	if !d.e.cfg.NoP2P {
		if b.p2p, err = d.e.swarming(); err != nil {
			return err
		}
		if len(b.doc.Control) > 0 {
			d.e.control(b.doc.Control[0], b.p2p)
		}
	}
	if b.signed, err = d.fetchManifest(ctx, target, b.doc.Keys.Public()); err != nil {
		return err
	}
	if size := d.sourceOf(resp).size; b.signed.Size != size {
		b.signed = nil
		return fmt.Errorf("manifest of another version: the object has %d bytes", size)
	}
	return nil
}

func (d *Download) findGrant(ctx context.Context, b *bootstrapped) (err error) {
	b.grant, err = d.fetchGrant(ctx, b)
	return err
}

func (d *Download) fetchGrant(ctx context.Context, b *bootstrapped) (wire.GrantResponse, error) {
	return session.FetchGrant(ctx, d.e.http, b.doc.Grants, wire.GrantRequest{
		Object: b.signed.Object.String(), Key: wire.KeyOf(b.p2p.key.Public().(ed25519.PublicKey)), URL: d.req.URL,
		Signer: wire.KeyOf(b.signed.Key), Signature: b.signed.Signature,
	})
}

// maxManifestTries is how often an edge is asked that is still making the
// manifest.
const maxManifestTries = 20

func (d *Download) fetchManifest(ctx context.Context, u *url.URL, trusted []ed25519.PublicKey) (*manifest.Signed, error) {
	for try := 1; ; try++ {
		raw, retry, err := d.getManifest(ctx, u)
		if err == nil {
			s, err := manifest.ParseSigned(raw, trusted)
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w: %w", u.Redacted(), ErrVerify, err)
			}
			return s, nil
		}
		if retry == 0 || try == maxManifestTries {
			return nil, fmt.Errorf("manifest %s: %w", u.Redacted(), err)
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (d *Download) getManifest(ctx context.Context, u *url.URL) (raw []byte, retry time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := d.e.http.Do(req)
	if err != nil {
		return nil, 0, classify(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		e := newStatusError(resp)
		if resp.StatusCode == http.StatusServiceUnavailable {
			retry = max(e.retry, time.Second)
		}
		return nil, retry, e
	}
	raw, err = io.ReadAll(io.LimitReader(resp.Body, manifest.MaxEncoded+1))
	return raw, 0, err
}

// manifestLink returns the target of the Link header field (RFC 8288) with
// rel="describedby" and the media type of manifests, or "".
func manifestLink(h http.Header) string {
	for _, field := range h.Values("Link") {
		for field != "" {
			_, rest, ok := strings.Cut(field, "<")
			target, params, ok2 := strings.Cut(rest, ">")
			if !ok || !ok2 {
				break
			}
			end := strings.Index(params, "<")
			mine := params
			if end >= 0 {
				mine = params[:end]
			}
			if hasParam(mine, "rel", "describedby") && hasParam(mine, "type", wire.ManifestType) {
				return target
			}
			field = params
		}
	}
	return ""
}

func hasParam(params, name, value string) bool {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		v = strings.Trim(strings.TrimRight(strings.TrimSpace(v), ","), `" `)
		if strings.EqualFold(strings.TrimSpace(k), name) && strings.EqualFold(v, value) {
			return true
		}
	}
	return false
}
