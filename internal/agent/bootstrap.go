package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// MinSwarm is the size from which an object is worth a swarm, in bytes.
const MinSwarm = 1 << 20

// errPlain: the server says nothing of a manifest; the download is an ordinary
// one.
var errPlain = errors.New("the server offers no manifest")

// bootstrapped is what a download learns before it can join a swarm.
type bootstrapped struct {
	doc    *wire.WellKnown
	signed *manifest.Signed // nil without a manifest that is good
	chunks *url.URL         // of the chunk map; nil where there is none
	grant  wire.GrantResponse
	p2p    *p2p
	err    error // errPlain, or why the rest is missing
}

// ordinary reports whether the download can go on as any other. It cannot where
// there is a manifest: the publisher vouches for the bytes that it describes, and
// when it does not hold for none.
func (b *bootstrapped) ordinary() bool { return b.signed == nil && !errors.Is(b.err, ErrManifest) }

// bootstrap finds the manifest of the object that resp is about, checks it, and
// gets a grant.
func (d *Download) bootstrap(ctx context.Context, resp *http.Response) *bootstrapped {
	b := &bootstrapped{}
	if d.e.cfg.NoP2P || d.sourceOf(resp).size < MinSwarm {
		b.err = errPlain
		return b
	}
	if b.err = d.findManifest(ctx, resp, b); b.err == nil {
		b.err = d.findGrant(ctx, b)
	}
	return b
}

// findManifest gets the manifest that the host offers for resp, signed by one of
// the host's keys. A manifest that is there and does not hold is ErrManifest;
// after any other error the object is an ordinary one.
func (d *Download) findManifest(ctx context.Context, resp *http.Response, b *bootstrapped) error {
	at := resp.Request.URL
	link := describedBy(resp.Header, wire.ManifestType)
	var err error
	if b.doc, err = d.e.hosts.get(ctx, d.web, at); err != nil {
		if link == "" {
			return errPlain
		}
		return err
	}
	linked := link != ""
	if !linked {
		link = strings.ReplaceAll(b.doc.Manifests, "{path}", at.EscapedPath())
	}
	if link == "" {
		return errPlain
	}
	target, err := at.Parse(link)
	if err != nil {
		return fmt.Errorf("link to the manifest: %w", err)
	}
	if err := d.logIn(b); err != nil {
		return err
	}
	// A published manifest lies there; an edge tells the digest once it has made
	// its own.
	d.ready.Store(!linked || resp.Header.Get("Repr-Digest") != "")
	signed, chunks, err := d.fetchManifest(ctx, target, linked)
	if err == nil {
		err = d.vouch(ctx, at, b, signed)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, target.Redacted())
	}
	if size := d.sourceOf(resp).size; signed.Size != size {
		return fmt.Errorf("manifest of another version: the object has %d bytes", size)
	}
	b.signed = signed
	if chunks == "" && !linked {
		chunks = strings.ReplaceAll(b.doc.Chunks, "{path}", at.EscapedPath())
	}
	if u, err := target.Parse(chunks); err == nil && chunks != "" {
		b.chunks = u
	}
	return nil
}

// logIn gets what taking part in swarms needs. Where there is a control, the
// engine logs in meanwhile.
func (d *Download) logIn(b *bootstrapped) (err error) {
	if b.p2p, err = d.e.swarming(); err != nil {
		return err
	}
	if len(b.doc.Control) > 0 {
		d.e.control(b.doc.Control[0], b.p2p, d.req.Guarded)
	}
	return nil
}

// vouch checks that one of the host's keys has signed the manifest. The keys may
// be others than those remembered: before the manifest is refused, the document
// that names them is read again.
func (d *Download) vouch(ctx context.Context, at *url.URL, b *bootstrapped, s *manifest.Signed) error {
	if s.Verify(b.doc.Keys.Public()) == nil {
		return nil
	}
	d.e.hosts.forget(at)
	if doc, err := d.e.hosts.get(ctx, d.web, at); err == nil {
		b.doc = doc
	}
	if err := s.Verify(b.doc.Keys.Public()); err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return nil
}

// rejoin is bootstrap for an object whose manifest is known, if the host at a URL
// still names the key that signed it.
func (d *Download) rejoin(ctx context.Context, at *url.URL, s *manifest.Signed) (*bootstrapped, error) {
	doc, err := d.e.hosts.get(ctx, d.web, at)
	var unreachable *url.Error
	if errors.As(err, &unreachable) || ctx.Err() != nil {
		return nil, err
	}
	b := &bootstrapped{doc: doc, signed: s, err: errPlain}
	if err == nil {
		err = d.vouch(ctx, at, b, s)
	}
	if err != nil {
		return nil, changed("the host does not vouch for the partial file's manifest any more")
	}
	if d.e.cfg.NoP2P {
		return b, nil
	}
	if b.err = d.logIn(b); b.err == nil {
		b.err = d.findGrant(ctx, b)
	}
	return b, nil
}

// refuse ends a download whose manifest does not hold. What has come stays
// resumable and is shown to nobody.
func (d *Download) refuse(why error, body *opening) error {
	body.end() // nobody reads it
	d.mu.Lock()
	plain := d.plain
	d.plain = nil
	d.mu.Unlock()
	return errors.Join(why, plain.Close())
}

// findGrant asks for a grant. Without one there are no peers, which the user is
// told unless the network is to blame.
func (d *Download) findGrant(ctx context.Context, b *bootstrapped) (err error) {
	if b.doc.Grants == "" {
		return errors.New("the host gives no grants")
	}
	b.grant, err = d.fetchGrant(ctx, b)
	var unreachable *url.Error
	if err != nil && ctx.Err() == nil && !errors.As(err, &unreachable) {
		d.warn(fmt.Sprintf("%s: all from the edge, without peers: %v; check this machine's clock, or tell the server's operator", d.url.Redacted(), err))
	}
	return err
}

// fetchGrant gets a grant that peers will accept.
func (d *Download) fetchGrant(ctx context.Context, b *bootstrapped) (wire.GrantResponse, error) {
	return d.e.grantFor(ctx, d.web, b.doc, b.p2p, b.signed.Object, wire.GrantRequest{
		URL: d.req.URL, Signer: wire.KeyOf(b.signed.Key), Signature: b.signed.Signature,
	})
}

// maxManifestTries is how often an edge is asked that is still making the
// manifest.
const maxManifestTries = 20

// fetchManifest gets a manifest, and believes nothing that it says. linked says
// that the response for the object names it. With it comes the link to the chunk map,
// if there is one.
func (d *Download) fetchManifest(ctx context.Context, u *url.URL, linked bool) (s *manifest.Signed, chunks string, err error) {
	raw, h, err := d.describing(ctx, u, linked, manifest.MaxEncoded)
	if err != nil {
		return nil, "", err
	}
	if len(raw) > manifest.MaxEncoded {
		return nil, "", fmt.Errorf("%w: more than the %d bytes that a manifest can have", ErrManifest, manifest.MaxEncoded)
	}
	if s, err = manifest.DecodeSigned(raw); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return s, describedBy(h, wire.ChunksType), nil
}

// describing gets what describes an object, most bytes and one at most. It asks again
// while that is being made.
func (d *Download) describing(ctx context.Context, u *url.URL, linked bool, most int64) ([]byte, http.Header, error) {
	for try := 1; ; try++ {
		raw, h, retry, err := d.getDescribing(ctx, u, linked, most)
		if err == nil {
			return raw, h, nil
		}
		if retry == 0 || try == maxManifestTries {
			return nil, nil, err
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (d *Download) getDescribing(ctx context.Context, u *url.URL, linked bool, most int64) (raw []byte, h http.Header, retry time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, 0, err
	}
	resp, err := d.web.Do(req)
	if err != nil {
		return nil, nil, 0, classify(err)
	}
	defer resp.Body.Close()
	if !isWhole(resp) {
		e := newStatusError(resp)
		if resp.StatusCode == http.StatusServiceUnavailable {
			retry = max(e.retry, time.Second)
		}
		return nil, nil, retry, e
	}
	if !linked && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return nil, nil, 0, errPlain // what some servers have for all that they have not
	}
	raw, err = io.ReadAll(io.LimitReader(newBody(ctx, resp.Body, flow{}), most+1))
	return raw, resp.Header, 0, err
}

// describedBy returns the target of the Link header field (RFC 8288) with
// rel="describedby" and a media type, or "".
func describedBy(h http.Header, media string) string {
	found := ""
	eachLink(h, func(target, params string) bool {
		if hasParam(params, "rel", "describedby") && hasParam(params, "type", media) {
			found = target
		}
		return found == ""
	})
	return found
}

// eachLink calls f with the target and the parameters of every link in the Link
// fields, until it returns false.
func eachLink(h http.Header, f func(target, params string) bool) {
	for _, field := range h.Values("Link") {
		for field != "" {
			_, rest, ok := strings.Cut(field, "<")
			target, params, ok2 := strings.Cut(rest, ">")
			if !ok || !ok2 {
				break
			}
			mine, _, _ := strings.Cut(params, "<")
			if !f(target, mine) {
				return
			}
			field = params
		}
	}
}

func hasParam(params, name, value string) bool {
	return strings.EqualFold(param(params, name), value)
}

// param is the value of a link's parameter, or "".
func param(params, name string) string {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.Trim(strings.TrimRight(strings.TrimSpace(v), ", "), `" `)
		}
	}
	return ""
}
