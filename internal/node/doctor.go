package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Diagnosis is what [Diagnose] found out about this machine's network.
type Diagnosis struct {
	NAT    wire.NAT `json:"nat"`
	Mapped []string `json:"mapped,omitempty"` // addresses of the UDP socket as seen from outside
	Checks []Check  `json:"checks"`
}

// Check is one thing that was looked at, in plain words.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// OK reports whether all is well.
func (d *Diagnosis) OK() bool {
	for _, c := range d.Checks {
		if !c.OK {
			return false
		}
	}
	return true
}

func (d *Diagnosis) add(name string, ok bool, text, advice string) {
	d.Checks = append(d.Checks, Check{Name: name, OK: ok, Text: text, Advice: advice})
}

// controlWithin bounds connecting to control and asking STUN.
const controlWithin = 15 * time.Second

// Diagnose looks at the network between this machine and the edge that serves
// rawURL, and at the edge's control. Without a URL it looks at this machine
// alone.
func Diagnose(ctx context.Context, rawURL string, hc *http.Client, env Env) *Diagnosis {
	d := &Diagnosis{}
	d.interfaces()
	endpoint, err := newEndpoint(env)
	if err != nil {
		d.add("sockets", false, err.Error(), "another program may forbid listening; look at the firewall of this machine")
		return d
	}
	defer func() { _ = endpoint.Close() }() // it was for looking only
	if rawURL == "" {
		d.add("edge", true, "not looked at; name a URL to look at its edge, its control and the NAT in between", "")
		return d
	}
	controls := d.edge(ctx, rawURL, hc)
	for _, c := range controls {
		if d.control(ctx, c, hc, endpoint, env) {
			break
		}
	}
	return d
}

func newEndpoint(env Env) (*transport.Endpoint, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	return transport.Listen(transport.Config{Key: key, Logger: env.Logger})
}

// interfaces looks at this machine's own addresses.
func (d *Diagnosis) interfaces() {
	list, err := nat.Interfaces()
	if err != nil || len(list) == 0 {
		d.add("interfaces", false, "no network interface has an address that others could reach", "is this machine online?")
		return
	}
	var public, private []string
	for _, p := range list {
		if ip := p.Addr(); ip.IsPrivate() || !ip.IsGlobalUnicast() {
			private = append(private, ip.String())
		} else {
			public = append(public, ip.String())
		}
	}
	switch {
	case len(public) > 0:
		d.add("interfaces", true, "public addresses: "+strings.Join(public, ", "), "")
	default:
		d.add("interfaces", true, "private addresses only: "+strings.Join(private, ", ")+"; others come through a NAT", "")
	}
}

// edge looks at the edge and returns its controls.
func (d *Diagnosis) edge(ctx context.Context, rawURL string, hc *http.Client) []string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		d.add("edge", false, fmt.Sprintf("%q is not a URL", rawURL), "name one that begins with http:// or https://")
		return nil
	}
	began := time.Now()
	doc, err := session.FetchWellKnown(ctx, hc, u.Scheme+"://"+u.Host)
	switch {
	case err != nil:
		d.add("edge", false, err.Error(), "a host without the document "+wire.WellKnownPath+" is an ordinary web server: downloads work, sharing does not")
		return nil
	case len(doc.Control) == 0:
		d.add("edge", true, "the edge answers, but names no control: there is no sharing", "its operator can add --control")
		return nil
	}
	took := time.Since(began).Round(time.Millisecond)
	d.add("edge", true, fmt.Sprintf("%s answers in %s, with %d signing key(s) and %d control(s)", u.Host, took, len(doc.Keys.Public()), len(doc.Control)), "")
	return doc.Control
}

// control logs in and asks STUN; it reports whether control was reached.
func (d *Diagnosis) control(ctx context.Context, control string, hc *http.Client, endpoint *transport.Endpoint, env Env) bool {
	_, installation, err := ed25519.GenerateKey(nil)
	if err != nil {
		d.add("control", false, err.Error(), "")
		return false
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		d.add("control", false, err.Error(), "")
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, controlWithin)
	defer cancel()
	welcomed := make(chan wire.Welcome, 1)
	s := session.New(session.Config{
		URL: control, HTTP: hc, Installation: installation, Session: key, Agent: env.Version, Logger: env.Logger,
		OnPeers: func(wire.Peers) {}, Acked: func(string) {},
		OnWelcome: func(_ context.Context, w wire.Welcome, _ netip.AddrPort) {
			select {
			case welcomed <- w:
			default:
			}
		},
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx) // it ends with ctx
	}()
	defer func() { cancel(); <-ended }()
	select {
	case w := <-welcomed:
		d.add("control", true, fmt.Sprintf("%s answers and sees this machine as %s", control, w.You), "")
		d.nat(ctx, withHost(w.STUN, control), endpoint)
		return true
	case <-ctx.Done():
		d.add("control", false, fmt.Sprintf("%s does not answer", control), "downloads work from the edge alone; a proxy or firewall may block WebSockets")
		return false
	}
}

// withHost gives STUN services that are on the host of control its name.
func withHost(stun []string, control string) []string {
	u, err := url.Parse(control)
	if err != nil {
		return stun
	}
	var full []string
	for _, s := range stun {
		if host, port, err := net.SplitHostPort(s); err == nil && host == "" {
			s = net.JoinHostPort(u.Hostname(), port)
		}
		full = append(full, s)
	}
	return full
}

// nat finds the kind of NAT and says what it means.
func (d *Diagnosis) nat(ctx context.Context, stun []string, endpoint *transport.Endpoint) {
	mapped, kind, err := endpoint.Gather(ctx, stun)
	for _, a := range mapped {
		d.Mapped = append(d.Mapped, a.Addr)
	}
	d.NAT = kind
	as := ""
	if len(d.Mapped) > 0 {
		as = ", seen from outside as " + strings.Join(d.Mapped, ", ")
	}
	switch kind {
	case wire.NATOpen:
		d.add("nat", true, "no NAT"+as+": every peer can link with this machine, as far as its firewall lets UDP and TCP in", "")
	case wire.NATCone:
		d.add("nat", true, "a cone NAT"+as+": peers link over TCP or UDP, both sides knocking at once", "")
	case wire.NATSymmetric:
		d.add("nat", true, "a symmetric NAT"+as+": links work with peers that have no NAT, hardly with others", "let the router map ports (PCP, NAT-PMP or UPnP), which tandem agent asks it for, or forward one (--link-tcp, --link-udp)")
	case wire.NATBlocked:
		d.add("nat", false, "no answer over UDP: links are possible over TCP only, with peers that have no symmetric NAT", "let UDP out in the firewall, at least to "+strings.Join(stun, ", "))
	case wire.NATUnknown:
		text := "the kind of NAT is not known" + as
		if err != nil && !errors.Is(err, nat.ErrServer) {
			text += ": " + err.Error()
		}
		d.add("nat", true, text, "")
	}
}
