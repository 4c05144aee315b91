package portmap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// waits are those for an answer before a request is sent again, and at last given up.
// RFC 6886 goes on for a minute; a gateway that speaks the protocol at all answers in
// milliseconds.
var waits = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// errVersion means that somebody is there who speaks the other of the two protocols.
var errVersion = errors.New("the gateway does not speak this version")

// exchange sends a request until accept takes an answer. The socket is connected, so
// that nobody else's datagrams reach it.
func exchange(ctx context.Context, conn net.Conn, request []byte, accept func([]byte) error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, maxDatagram+1)
	for _, wait := range waits {
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := conn.Write(request); err != nil {
			return fmt.Errorf("%w: %w", errSilent, err)
		}
		for {
			n, err := conn.Read(buf)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("%w: %w", errSilent, err) // nobody listens there
			}
			if refusesVersion(buf[:n]) {
				return fmt.Errorf("%w: %w", errSilent, errVersion)
			}
			// What cannot be read, or belongs to something else, is passed over.
			if accept(buf[:n]) == nil {
				return nil
			}
		}
	}
	return errSilent
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// dial connects a socket with the gateway.
func dial(ctx context.Context, at netip.AddrPort) (net.Conn, netip.Addr, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp4", at.String())
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("%w: %w", errSilent, err)
	}
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// pcp is the service of a gateway that speaks PCP.
type pcp struct {
	at    netip.AddrPort
	nonce nonce // of all mappings: they have different ports
}

func newPCP(gateway netip.Addr) *pcp {
	p := &pcp{at: netip.AddrPortFrom(gateway, gatewayPort)}
	_, _ = rand.Read(p.nonce[:]) // never fails
	return p
}

func (p *pcp) add(ctx context.Context, m Mapping) (answer, error) { return p.request(ctx, m, lifetime) }

func (p *pcp) remove(ctx context.Context, m Mapping) error {
	_, err := p.request(ctx, m, 0)
	return err
}

// request asks for a mapping, or with a lifetime of 0 for its end.
func (p *pcp) request(ctx context.Context, m Mapping, life time.Duration) (answer, error) {
	conn, local, err := dial(ctx, p.at)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", PCP, err)
	}
	defer conn.Close()
	var got pcpAnswer
	err = exchange(ctx, conn, pcpMapRequest(m, p.nonce, life, local), func(b []byte) error {
		a, err := parsePCP(b, opMap)
		if err != nil {
			return err
		}
		if a.nonce != p.nonce || a.protocol != protocolNumber(m.Net) || a.internal != m.Internal {
			return errPCP
		}
		got = a
		return nil
	})
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("%s: %w", PCP, err)
	case got.result != 0:
		return answer{}, refused(PCP, pcpResult(got.result))
	}
	return answer{external: got.external, lifetime: got.lifetime, epoch: got.epoch, hasEpoch: true}, nil
}

// check asks for the epoch by ANNOUNCE (RFC 6887, section 14.1).
func (p *pcp) check(ctx context.Context, _ Mapping) (answer, error) {
	conn, local, err := dial(ctx, p.at)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", PCP, err)
	}
	defer conn.Close()
	var got pcpAnswer
	err = exchange(ctx, conn, pcpRequest(opAnnounce, 0, local), func(b []byte) (err error) {
		got, err = parsePCP(b, opAnnounce)
		return err
	})
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", PCP, err)
	}
	return answer{epoch: got.epoch, hasEpoch: true}, nil
}

// pmp is the service of a gateway that speaks NAT-PMP.
type pmp struct{ at netip.AddrPort }

func newPMP(gateway netip.Addr) *pmp { return &pmp{netip.AddrPortFrom(gateway, gatewayPort)} }

func (p *pmp) add(ctx context.Context, m Mapping) (answer, error) {
	self, err := p.check(ctx, m)
	if err != nil {
		return answer{}, err
	}
	got, err := p.ask(ctx, pmpMapRequest(m, lifetime), pmpOpcode(m.Net), m.Internal)
	if err != nil {
		return answer{}, err
	}
	return answer{
		external: netip.AddrPortFrom(self.external.Addr(), got.external),
		lifetime: got.lifetime, epoch: got.epoch, hasEpoch: true,
	}, nil
}

// check asks for the external address, which comes with the epoch.
func (p *pmp) check(ctx context.Context, _ Mapping) (answer, error) {
	got, err := p.ask(ctx, []byte{pmpVersion, pmpAddress}, pmpAddress, 0)
	if err != nil {
		return answer{}, err
	}
	return answer{external: netip.AddrPortFrom(got.address, 0), epoch: got.epoch, hasEpoch: true}, nil
}

func (p *pmp) remove(ctx context.Context, m Mapping) error {
	_, err := p.ask(ctx, pmpMapRequest(m, 0), pmpOpcode(m.Net), m.Internal)
	return err
}

// ask sends a request and returns the answer to it.
func (p *pmp) ask(ctx context.Context, request []byte, opcode uint8, internal uint16) (pmpAnswer, error) {
	conn, _, err := dial(ctx, p.at)
	if err != nil {
		return pmpAnswer{}, fmt.Errorf("%s: %w", NATPMP, err)
	}
	defer conn.Close()
	var got pmpAnswer
	err = exchange(ctx, conn, request, func(b []byte) error {
		a, err := parsePMP(b, opcode)
		if err != nil {
			return err
		}
		if a.result == 0 && a.internal != internal {
			return errPMP
		}
		got = a
		return nil
	})
	switch {
	case err != nil:
		return pmpAnswer{}, fmt.Errorf("%s: %w", NATPMP, err)
	case got.result != 0:
		return pmpAnswer{}, refused(NATPMP, pmpResult(got.result))
	}
	return got, nil
}
