package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Guarded is a client for servers all of whose connections pass [Config.Guard], also
// behind redirects. It waits for the header of an answer as long as its caller does,
// and takes no proxy, for that would connect on its behalf. Without a guard it is nil.
func (e *Engine) Guarded() *http.Client {
	if e.guarded == nil {
		return nil
	}
	t, ok := e.guarded.Transport.(*http.Transport)
	if !ok {
		return nil
	}
	t = t.Clone()
	t.ResponseHeaderTimeout = 0
	context.AfterFunc(e.ctx, t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: e.guarded.CheckRedirect}
}

// WellKnown is the well-known document of the host of u, read past [Config.Guard] or
// remembered; that there is none is remembered, too, for a shorter time.
func (e *Engine) WellKnown(ctx context.Context, u *url.URL) (*wire.WellKnown, error) {
	if e.guarded == nil {
		return nil, errUnguarded
	}
	return e.hosts.get(ctx, e.guarded, u)
}

var errUnguarded = errors.New("the engine has no guard")

// newGuarded is the client of guarded downloads.
func newGuarded(cfg Config) (*http.Client, error) {
	d := newDialer()
	d.guard = cfg.Guard
	c, err := newHTTPClient(cfg, d)
	if err != nil {
		return nil, err
	}
	c.Transport.(*http.Transport).Proxy = nil //nolint:forcetypeassert // made a line above
	return c, nil
}

// connect dials an address of asked, a host and port. The guard sees the address that
// is connected to, whatever a name has been resolved to by then.
func (d *dialer) connect(ctx context.Context, network, asked, address string) (net.Conn, error) {
	nd := d.Dialer
	if d.guard != nil {
		control := nd.Control
		nd.Control = func(network, to string, c syscall.RawConn) error {
			at, err := netip.ParseAddrPort(to)
			if err == nil {
				err = d.guard(asked, at)
			}
			if err != nil || control == nil {
				return err
			}
			return control(network, to, c)
		}
	}
	return nd.DialContext(ctx, network, address)
}

// sessionGuard guards a session that guarded downloads alone have asked for: whoever
// names a control in a well-known document must not have the agent knock at a private
// address. One that the user's own downloads use, too, is free.
type sessionGuard struct {
	guard func(hostport string, to netip.AddrPort) error
	free  atomic.Bool
}

// active reports whether the guard has a say. Then no proxy is used, which would
// connect on the client's behalf.
func (g *sessionGuard) active() bool { return g.guard != nil && !g.free.Load() }

func (g *sessionGuard) allow(hostport string, to netip.AddrPort) error {
	if !g.active() {
		return nil
	}
	return g.guard(hostport, to)
}

// Metered is the body of an answer that belongs to no download, as one counts: what is
// read of it is limited by DownloadLimit and DownloadMonthly, and downloads in the
// background give way to it.
func (e *Engine) Metered(ctx context.Context, rc io.ReadCloser) io.ReadCloser {
	m := &metered{ReadCloser: rc, down: e.down.flow(Request{}, time.Now())}
	m.ctx, m.end = e.down.during(ctx, fetch.Interactive)
	return m
}

type metered struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // of the one answer
	end  func()
	down flow
}

// Read implements [io.Reader].
func (m *metered) Read(p []byte) (int, error) {
	if cause := context.Cause(m.ctx); errors.Is(cause, ErrMonthly) {
		return 0, cause
	}
	n, err := m.ReadCloser.Read(p[:m.down.Step(len(p), false)])
	if n > 0 {
		if werr := m.down.Wait(m.ctx, n, false); werr != nil && err == nil {
			err = cmp.Or(context.Cause(m.ctx), werr)
		}
	}
	return n, err
}

// Close implements [io.Closer].
func (m *metered) Close() error {
	m.end()
	return m.ReadCloser.Close()
}

// LinksManifest reports whether an answer tells of a manifest, be it still being made.
func LinksManifest(h http.Header) bool { return describedBy(h, wire.ManifestType) != "" }

// HasManifest reports whether an answer tells of a manifest that is there already, as
// an edge's does once it has made it (docs/PROTOCOL.md).
func HasManifest(h http.Header) bool {
	return LinksManifest(h) && h.Get("Repr-Digest") != ""
}
