package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/tandem-cdn/tandem/internal/transport"
)

const (
	// headStart is what an address has before the next one is tried beside it
	// (RFC 8305 §5).
	headStart = 250 * time.Millisecond
	// maxAddresses bounds how many addresses of a name are tried.
	maxAddresses = 16
)

// dialer connects to whichever address of a name answers first, so that one that
// is dead costs a moment and not a time-out.
type dialer struct {
	net.Dialer
	// lookup returns the addresses of a name, the preferred ones first.
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// guard is [Config.Guard]; nil lets everything pass.
	guard func(hostport string, to netip.AddrPort) error
}

func newDialer() *dialer {
	return &dialer{Dialer: net.Dialer{Timeout: dialWithin}, lookup: lookup}
}

func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// DialContext is that of http.Transport.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return d.connect(ctx, network, address, address)
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil || len(addrs) < 2 {
		return d.connect(ctx, network, address, address) // which tells what is wrong
	}
	return d.race(ctx, network, host, port, alternate(addrs))
}

// pinned is a DialContext that takes a name to have one address. Other names, to
// which redirects may lead, are dialled as ever.
func (d *dialer) pinned(host string, to netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if h, port, err := net.SplitHostPort(address); err == nil && h == host {
			return d.connect(ctx, network, address, net.JoinHostPort(to.String(), port))
		}
		return d.DialContext(ctx, network, address)
	}
}

// sessionHTTP is a client for sessions with control: they come from the port that takes
// links, so that control sees how a NAT maps it, and keep that mapping alive. The way from
// there may be barred, by a connection that ended a moment ago, or because that port is of
// an address from which control is not reached.
func (e *Engine) sessionHTTP(endpoint *transport.Endpoint, door *sessionGuard) *http.Client {
	ordinary, ok := e.http.Transport.(*http.Transport)
	if !ok || e.dialer == nil {
		return e.http
	}
	anyPort := &dialer{Dialer: e.dialer.Dialer, lookup: e.dialer.lookup, guard: door.allow}
	d := anyPort
	if from, ok := endpoint.FromListener(e.dialer.Dialer); ok {
		d = &dialer{Dialer: from, lookup: e.dialer.lookup, guard: door.allow}
	}
	t := ordinary.Clone()
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if door.active() || ordinary.Proxy == nil {
			return nil, nil //nolint:nilnil // no proxy
		}
		return ordinary.Proxy(r)
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err != nil && d != anyPort && ctx.Err() == nil {
			return anyPort.DialContext(ctx, network, address)
		}
		return conn, err
	}
	context.AfterFunc(e.ctx, t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: e.http.CheckRedirect}
}

// alternate has the families take turns (RFC 8305 §4), each address once.
func alternate(addrs []netip.Addr) []netip.Addr {
	var byFamily [2][]netip.Addr
	seen := map[netip.Addr]bool{}
	for _, a := range addrs {
		a = a.Unmap()
		if seen[a] {
			continue
		}
		seen[a] = true
		family := 0
		if a.Is4() != addrs[0].Unmap().Is4() {
			family = 1
		}
		byFamily[family] = append(byFamily[family], a)
	}
	var out []netip.Addr
	for i := 0; len(out) < min(len(seen), maxAddresses); i++ {
		for _, f := range byFamily {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}

// race tries the addresses in turn, the next one when one has failed or had its
// head start, and returns the first connection.
func (d *dialer) race(ctx context.Context, network, host, port string, addrs []netip.Addr) (net.Conn, error) {
	type outcome struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan outcome, len(addrs))
	next, running := 0, 0
	begin := func() {
		address := net.JoinHostPort(addrs[next].String(), port)
		next++
		running++
		go func() {
			conn, err := d.connect(ctx, network, net.JoinHostPort(host, port), address)
			results <- outcome{conn, err}
		}()
	}
	defer func() { // the losers end with ctx
		cancel()
		for ; running > 0; running-- {
			if o := <-results; o.conn != nil {
				_ = o.conn.Close() // nothing was said on it
			}
		}
	}()
	var errs []error
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	for begin(); running > 0 || next < len(addrs); {
		select {
		case o := <-results:
			running--
			if o.err == nil {
				return o.conn, nil
			}
			errs = append(errs, o.err)
		case <-timer.C:
		}
		if next < len(addrs) {
			begin()
			timer.Reset(headStart)
		}
	}
	return nil, errors.Join(errs...)
}
