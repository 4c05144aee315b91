package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// maxMirrors bounds the servers that a download uses beside its URL's: with it
// they are the eight that a plan takes.
const maxMirrors = 7

// mirrors are further servers of one download.
type mirrors struct {
	stop    context.CancelFunc
	seeking sync.WaitGroup
	clients []*http.Client // of one address each
}

// seekMirrors gives the download the mirrors of its object: those that the
// response links to, those that the host names, and the other addresses of the
// host. What they send is verified like everything, so that none needs trust. The
// caller closes the result.
func (d *Download) seekMirrors(ctx context.Context, f *fetch.Download, b *bootstrapped, src *source) *mirrors {
	m := &mirrors{}
	ctx, m.stop = context.WithCancel(ctx)
	urls := mirrorURLs(src, b.doc.Mirrors)
	for _, u := range urls[:min(len(urls), maxMirrors)] {
		f.AddEdge(src.mirror(u, b.signed.Digest))
	}
	if free := maxMirrors - len(urls); free > 0 {
		m.seeking.Go(func() { m.addAddresses(ctx, d, f, src, free) })
	}
	return m
}

// close ends the search and forgets connections that nobody else uses.
func (m *mirrors) close() {
	m.stop()
	m.seeking.Wait()
	for _, c := range m.clients {
		c.CloseIdleConnections()
	}
}

// mirrorURLs lists the mirrors, the preferred first, each once. What was asked for
// in secret is not asked for in the clear.
func mirrorURLs(src *source, bases []string) []*url.URL {
	if src.at == nil {
		return nil
	}
	candidates := duplicates(src.answered)
	for _, base := range bases {
		rest := src.at.EscapedPath()
		if src.at.RawQuery != "" {
			rest += "?" + src.at.RawQuery
		}
		candidates = append(candidates, strings.TrimSuffix(base, "/")+rest)
	}
	seen := map[string]bool{src.url: true, src.at.String(): true}
	var out []*url.URL
	for _, c := range candidates {
		u, err := src.at.Parse(c)
		if err != nil || u.Host == "" || u.User != nil || seen[u.String()] {
			continue
		}
		if u.Scheme != "https" && (u.Scheme != "http" || src.at.Scheme == "https") {
			continue
		}
		seen[u.String()] = true
		out = append(out, u)
	}
	return out
}

// duplicates are the targets of Link fields with rel="duplicate" (RFC 6249 §2) by
// rising pri (§3.1); those without one come last. Where a server stands (geo) says
// less than how fast it turns out to be.
func duplicates(h http.Header) []string {
	type mirror struct {
		target string
		pri    int
	}
	const least = 999_999
	var found []mirror
	eachLink(h, func(target, params string) bool {
		if hasParam(params, "rel", "duplicate") {
			m := mirror{target, least + 1}
			if n, err := strconv.Atoi(param(params, "pri")); err == nil && n > 0 && n <= least {
				m.pri = n
			}
			found = append(found, m)
		}
		return len(found) < 4*maxMirrors
	})
	slices.SortStableFunc(found, func(a, b mirror) int { return cmp.Compare(a.pri, b.pri) })
	out := make([]string, len(found))
	for i, m := range found {
		out[i] = m.target
	}
	return out
}

// mirror is the object at another server. Headers that were meant for the URL's own
// host stay there, and entity tags differ from host to host.
func (s *source) mirror(u *url.URL, digest manifest.Hash) *source {
	return &source{client: s.client, url: u.String(), header: http.Header{}, size: s.size, down: s.down, name: u.Redacted(), digest: &digest}
}

// addAddresses adds the addresses of the host but the one that the download began
// with.
func (m *mirrors) addAddresses(ctx context.Context, d *Download, f *fetch.Download, src *source, most int) {
	t, ok := src.client.Transport.(*http.Transport)
	u, err := url.Parse(src.url)
	if !ok || d.e.dialer == nil || err != nil {
		return // a client that is not ours
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return
	}
	if req, err := src.request(ctx, http.MethodGet); err != nil || t.Proxy == nil {
		return
	} else if via, err := t.Proxy(req); err != nil || via != nil {
		return // the proxy finds the address
	}
	addrs, err := d.e.dialer.lookup(ctx, u.Hostname())
	if err != nil || len(addrs) < 2 {
		return
	}
	for _, a := range alternate(addrs) {
		if a == src.remote || most == 0 {
			continue
		}
		most--
		pinned := t.Clone()
		pinned.DialContext = d.e.dialer.pinned(u.Hostname(), a)
		other := *src
		other.client = &http.Client{Transport: pinned, CheckRedirect: src.client.CheckRedirect}
		other.name = fmt.Sprintf("%s (%s)", u.Redacted(), a)
		m.clients = append(m.clients, other.client)
		f.AddEdge(&other)
	}
}

// remoteKey is the key of the address in the context of a traced request.
type remoteKey struct{}

// traced is a context whose requests note the address that they reach.
func traced(ctx context.Context) context.Context {
	var at atomic.Value // of netip.Addr
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if a, err := netip.ParseAddrPort(c.Conn.RemoteAddr().String()); err == nil {
			at.Store(a.Addr().Unmap())
		}
	}}
	return httptrace.WithClientTrace(context.WithValue(ctx, remoteKey{}, &at), trace)
}

// remoteOf is the address that answered a traced request, or none.
func remoteOf(resp *http.Response) netip.Addr {
	if at, ok := resp.Request.Context().Value(remoteKey{}).(*atomic.Value); ok {
		if a, ok := at.Load().(netip.Addr); ok {
			return a
		}
	}
	return netip.Addr{}
}
