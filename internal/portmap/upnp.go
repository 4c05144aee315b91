package portmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

const (
	// httpWithin bounds one request to a gateway.
	httpWithin = 3 * time.Second
	// maxPortTries bounds the external ports that are asked for when others have them.
	maxPortTries = 4
	// description names mappings in the lists that gateways show.
	description = "Tandem"
)

// Error codes of WANIPConnection.
const (
	faultNoEntry       = "714" // NoSuchEntryInArray
	faultConflict      = "718" // ConflictInMappingEntry
	faultPermanentOnly = "725" // OnlyPermanentLeasesSupported
)

// fault is the error code that a gateway answered an action with.
type fault struct{ action, code string }

func (f *fault) Error() string { return fmt.Sprintf("%s: error %.20s", f.action, f.code) }

// igd is the service of a gateway that speaks UPnP-IGD. It is found at the first use,
// and looked for again when it no longer answers.
type igd struct {
	net  network
	http *http.Client
	find func(context.Context, network) (*url.URL, error) // discover

	at   *url.URL // of the service, nil while it is not known
	kind string
}

func newIGD(n network) *igd {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.local, 0))}
	return &igd{net: n, find: discover, http: &http.Client{
		Timeout:       httpWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// Neither a proxy nor a connection that is kept: gateways have few.
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			DialContext: dialer.DialContext,
		},
	}}
}

func (g *igd) add(ctx context.Context, m Mapping) (answer, error) {
	external, err := g.address(ctx)
	if err != nil {
		return answer{}, g.failed(err)
	}
	port := m.External.Port()
	for range maxPortTries {
		var free bool
		if free, err = g.free(ctx, m, port); err != nil {
			return answer{}, g.failed(err)
		}
		if free {
			err = g.call(ctx, "AddPortMapping", []argument{
				{"NewRemoteHost", ""},
				{"NewExternalPort", decimal(port)},
				{"NewProtocol", protocolName(m.Net)},
				{"NewInternalPort", decimal(m.Internal)},
				{"NewInternalClient", g.net.local.String()},
				{"NewEnabled", "1"},
				{"NewPortMappingDescription", description},
				{"NewLeaseDuration", strconv.Itoa(int(lifetime / time.Second))},
			}, nil)
			if err == nil {
				return answer{external: netip.AddrPortFrom(external, port), lifetime: lifetime}, nil
			}
			if !isFault(err, faultConflict) {
				return answer{}, g.failed(err)
			}
		}
		port = 1<<15 + uint16(rand.N(1<<15)) // somebody else's
	}
	return answer{}, refused(UPnP, "the external ports that were tried are taken")
}

// free reports whether an external port is nobody else's: some gateways give it to
// whoever asked last.
func (g *igd) free(ctx context.Context, m Mapping, port uint16) (bool, error) {
	values, err := g.entry(ctx, m.Net, port)
	if isFault(err, faultNoEntry) {
		return true, nil
	}
	var f *fault
	if errors.As(err, &f) {
		return true, nil // it does not tell
	}
	if err != nil {
		return false, err
	}
	return g.own(values, m.Internal), nil
}

// own reports whether the entry of a mapping leads to a port of this machine. Gateways may
// name machines instead (WANIPConnection:1): then the port has to do, for else
// every renewal would go to another one.
func (g *igd) own(values map[string]string, internal uint16) bool {
	client, err := netip.ParseAddr(values["NewInternalClient"])
	return (err != nil || client == g.net.local) && values["NewInternalPort"] == decimal(internal)
}

// entry asks for the mapping of an external port.
func (g *igd) entry(ctx context.Context, network string, port uint16) (values map[string]string, err error) {
	err = g.call(ctx, "GetSpecificPortMappingEntry", []argument{
		{"NewRemoteHost", ""},
		{"NewExternalPort", decimal(port)},
		{"NewProtocol", protocolName(network)},
	}, &values)
	return values, err
}

// check looks whether the gateway still has a mapping, and its address.
func (g *igd) check(ctx context.Context, m Mapping) (answer, error) {
	external, err := g.address(ctx)
	if err != nil {
		return answer{}, g.failed(err)
	}
	values, err := g.entry(ctx, m.Net, m.External.Port())
	if isFault(err, faultNoEntry) || err == nil && !g.own(values, m.Internal) {
		return answer{}, fmt.Errorf("%s: %w", UPnP, errLost)
	}
	var f *fault
	if err != nil && !errors.As(err, &f) {
		return answer{}, g.failed(err)
	}
	return answer{external: netip.AddrPortFrom(external, 0)}, nil
}

func (g *igd) remove(ctx context.Context, m Mapping) error {
	err := g.call(ctx, "DeletePortMapping", []argument{
		{"NewRemoteHost", ""},
		{"NewExternalPort", decimal(m.External.Port())},
		{"NewProtocol", protocolName(m.Net)},
	}, nil)
	if err == nil || isFault(err, faultNoEntry) {
		return nil
	}
	return g.failed(err)
}

// address is the gateway's external address.
func (g *igd) address(ctx context.Context) (netip.Addr, error) {
	if err := g.locate(ctx); err != nil {
		return netip.Addr{}, err
	}
	var values map[string]string
	if err := g.call(ctx, "GetExternalIPAddress", nil, &values); err != nil {
		return netip.Addr{}, err
	}
	ip, err := netip.ParseAddr(values["NewExternalIPAddress"])
	if err != nil || !ip.Is4() || ip.IsUnspecified() {
		return netip.Addr{}, refused(UPnP, "the gateway has no external address")
	}
	return ip, nil
}

// locate finds the service that maps ports, unless it is known.
func (g *igd) locate(ctx context.Context) error {
	if g.at != nil {
		return nil
	}
	at, err := g.find(ctx, g.net)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return err
	}
	status, body, err := g.do(req, maxDescription)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return fmt.Errorf("description: %w", err)
	}
	base, services, err := parseDescription(body)
	if err != nil {
		return err
	}
	if len(services) == 0 {
		return refused(UPnP, "the gateway maps no ports")
	}
	if base != "" {
		if u, err := url.Parse(base); err == nil && u.IsAbs() {
			at = u
		}
	}
	control, err := at.Parse(services[0].control)
	if err != nil {
		return fmt.Errorf("%w: %w", errLocation, err)
	}
	if err := onGateway(control, g.net.gateway); err != nil {
		return err
	}
	g.at, g.kind = control, services[0].kind
	return nil
}

// call calls an action and, where values is not nil, keeps what it answered.
func (g *igd) call(ctx context.Context, action string, args []argument, values *map[string]string) error {
	if g.at == nil {
		return errSilent
	}
	body := appendSOAP(nil, g.kind, action, args)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.at.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	req.Header.Set("SOAPAction", `"`+g.kind+"#"+action+`"`)
	status, body, err := g.do(req, maxSOAP)
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	got, code, err := parseSOAP(body)
	switch {
	case code != "":
		return &fault{action, code}
	case status != http.StatusOK:
		return fmt.Errorf("%s: status %d", action, status)
	case err != nil:
		return fmt.Errorf("%s: %w", action, err)
	}
	if values != nil {
		*values = got
	}
	return nil
}

// do sends a request and reads a body of at most so many bytes.
func (g *igd) do(req *http.Request, most int) (status int, body []byte, err error) {
	if err := onGateway(req.URL, g.net.gateway); err != nil {
		return 0, nil, err
	}
	r, err := g.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer r.Body.Close()
	if r.StatusCode/100 == 3 {
		return 0, nil, fmt.Errorf("%w: a redirect", errLocation)
	}
	body, err = io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	if err == nil && len(body) > most {
		err = fmt.Errorf("%w: more than %d bytes", errXML, most)
	}
	return r.StatusCode, body, err
}

// failed is what an error means for the mapping. One that is not the gateway's own no
// has the service looked for again, but at the end, when mappings are yet to be removed.
func (g *igd) failed(err error) error {
	var f *fault
	switch {
	case isFault(err, faultPermanentOnly):
		return refused(UPnP, "the gateway knows permanent mappings only, which would outlive this program")
	case errors.As(err, &f):
		return refused(UPnP, f.Error())
	case errors.Is(err, errRefused):
		return err
	}
	if !errors.Is(err, context.Canceled) {
		g.at = nil
	}
	return fmt.Errorf("%s: %w", UPnP, err)
}

func isFault(err error, code string) bool {
	var f *fault
	return errors.As(err, &f) && f.code == code
}

func decimal(port uint16) string { return strconv.Itoa(int(port)) }

func protocolName(network string) string {
	if network == TCP {
		return "TCP"
	}
	return "UDP"
}
