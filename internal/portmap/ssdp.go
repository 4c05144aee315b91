package portmap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// ssdpGroup is where gateways hear searches (UPnP Device Architecture 1.1, section 1.3).
var ssdpGroup = netip.MustParseAddrPort("239.255.255.250:1900")

// searchFor are the devices searched for: a gateway of version 2 answers to both.
var searchFor = []string{
	"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
	"urn:schemas-upnp-org:device:InternetGatewayDevice:2",
}

const (
	// maxSearchAnswer bounds a datagram with an answer.
	maxSearchAnswer = 4 << 10
	// maxStrangers bounds the answers of other devices that are passed over.
	maxStrangers = 256
)

var errLocation = errors.New("not a location on the gateway")

func searchRequest(target string) []byte {
	return []byte("M-SEARCH * HTTP/1.1\r\nHOST: " + ssdpGroup.String() +
		"\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + target + "\r\n\r\n")
}

// discover finds where the gateway describes itself. The search goes to everybody, as
// some gateways want it, and to the gateway; only what the gateway itself answers
// counts.
func discover(ctx context.Context, n network) (*url.URL, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.local, 0)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, maxSearchAnswer+1)
	strangers := 0
	for _, wait := range waits {
		for _, target := range searchFor {
			for _, to := range []netip.AddrPort{ssdpGroup, netip.AddrPortFrom(n.gateway, ssdpGroup.Port())} {
				// Where there is no way for one of them the other may do.
				_, _ = conn.WriteToUDPAddrPort(searchRequest(target), to)
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return nil, err
		}
		if ctx.Err() != nil { // its own deadline may have been overwritten
			return nil, ctx.Err()
		}
		for strangers < maxStrangers {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if isTimeout(err) {
				break
			}
			if err != nil || from.Addr().Unmap() != n.gateway {
				strangers++
				continue
			}
			if at, err := parseSearchAnswer(buf[:size], n.gateway); err == nil {
				return at, nil
			}
			strangers++
		}
	}
	return nil, errSilent
}

// parseSearchAnswer reads the location in a gateway's answer to a search.
func parseSearchAnswer(b []byte, gateway netip.Addr) (*url.URL, error) {
	if len(b) > maxSearchAnswer {
		return nil, fmt.Errorf("%w: %d bytes", errLocation, len(b))
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocation, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %.80s", errLocation, r.Status)
	}
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocation, err)
	}
	return u, onGateway(u, gateway)
}

// onGateway refuses URLs that are not of plain HTTP on the gateway's own address: with
// another, it could have this machine talk to anybody.
func onGateway(u *url.URL, gateway netip.Addr) error {
	host, err := netip.ParseAddr(u.Hostname())
	if err != nil || host != gateway || u.Scheme != "http" || u.User != nil {
		return fmt.Errorf("%w: %.80q", errLocation, u.Redacted())
	}
	if u.Port() == "" {
		return nil
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return fmt.Errorf("%w: %.80q", errLocation, u.Redacted())
	}
	return nil
}
