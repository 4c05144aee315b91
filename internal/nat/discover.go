package nat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Times of [Discover].
const (
	// firstWait is the time after which a request is repeated; it doubles with
	// each repetition (RFC 8489 §6.2.1).
	firstWait = 500 * time.Millisecond
	// discoverWithin bounds the whole.
	discoverWithin = 3 * time.Second
	// maxServers is the most addresses that are asked.
	maxServers = 8
)

// ErrBlocked means that no STUN server answered: UDP does not get out, or the
// servers are down.
var ErrBlocked = errors.New("no answer over UDP")

// ErrServer means that no STUN server was named in a way that could be used.
var ErrServer = errors.New("no STUN server to ask")

// Socket is the UDP socket whose mapping is looked for.
type Socket interface {
	WriteTo(b []byte, to netip.AddrPort) error
	// ReadFrom waits for a packet that may be STUN.
	ReadFrom(ctx context.Context, b []byte) (int, netip.AddrPort, error)
}

// Result is what [Discover] found.
type Result struct {
	// Mapped are the socket's addresses as the servers saw them, IPv4 first. Of
	// a symmetric NAT it is the mapping towards one of the servers.
	Mapped []netip.AddrPort
	Kind   wire.NAT
}

// Discover asks STUN servers (host:port) for the mapping of a socket bound to
// local addresses. Two answers from different servers or ports tell the kind of
// NAT (RFC 5780 §4.3); it returns as soon as they do, and after three seconds at
// the latest. With one answer the kind may stay unknown; with none it returns
// kind "blocked" and [ErrBlocked].
func Discover(ctx context.Context, s Socket, servers []string, local []netip.AddrPort) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, discoverWithin)
	defer cancel()
	targets, err := resolve(ctx, servers)
	if err != nil {
		return Result{}, err
	}
	d := newDiscovery(targets, local)
	received := make(chan answer)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		receive(ctx, s, received)
	}()
	defer func() { cancel(); <-reading }()

	wait := firstWait
	for !d.done() {
		for id, to := range d.pending {
			// An address of a family this machine does not have: no answer, like
			// a server that is down.
			_ = s.WriteTo(request(id), to)
		}
		timer := time.NewTimer(wait)
		err = d.collect(ctx, received, timer.C)
		timer.Stop()
		if err != nil {
			break
		}
		wait *= 2
	}
	return d.result(err)
}

// newTransaction makes a transaction nobody can guess: whoever does not see the
// request cannot forge an answer.
func newTransaction() Transaction {
	var id Transaction
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// resolve looks the servers up: for each, one address of each family.
func resolve(ctx context.Context, servers []string) ([]netip.AddrPort, error) {
	var targets []netip.AddrPort
	var errs []error
	for _, s := range servers {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("STUN server %.80q: %w", s, err))
			continue
		}
		n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
		if err != nil {
			errs = append(errs, fmt.Errorf("STUN server %.80q: %w", s, err))
			continue
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			errs = append(errs, fmt.Errorf("STUN server %.80q: %w", s, err))
			continue
		}
		for _, is4 := range []bool{true, false} {
			i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Unmap().Is4() == is4 })
			if i < 0 || len(targets) == maxServers {
				continue
			}
			// Asked twice, one server would make any NAT look like a cone.
			if t := netip.AddrPortFrom(addrs[i].Unmap(), uint16(n)); !slices.Contains(targets, t) {
				targets = append(targets, t)
			}
		}
	}
	if len(targets) == 0 {
		return nil, errors.Join(append([]error{ErrServer}, errs...)...)
	}
	return targets, nil
}

// answer is what one server said.
type answer struct {
	id     Transaction
	from   netip.AddrPort
	mapped netip.AddrPort
}

// receive hands over the answers that come in until ctx is done.
func receive(ctx context.Context, s Socket, to chan<- answer) {
	buf := make([]byte, stunMax+1)
	for {
		n, from, err := s.ReadFrom(ctx, buf)
		if err != nil {
			return
		}
		id, mapped, err := parseResponse(buf[:n])
		if err != nil {
			continue
		}
		select {
		case to <- answer{id: id, from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), mapped: mapped}:
		case <-ctx.Done():
			return
		}
	}
}

// discovery collects answers until they tell enough.
type discovery struct {
	local    []netip.AddrPort
	pending  map[Transaction]netip.AddrPort // requests without an answer
	expected int
	has4     bool             // a server was asked over IPv4
	mapped   []netip.AddrPort // of each answer
}

func newDiscovery(targets, local []netip.AddrPort) *discovery {
	d := &discovery{local: local, pending: make(map[Transaction]netip.AddrPort), expected: len(targets)}
	for _, t := range targets {
		d.pending[newTransaction()] = t
		d.has4 = d.has4 || t.Addr().Is4()
	}
	return d
}

// collect takes answers until enough is known, it is time to ask again (no
// error), or ctx ends.
func (d *discovery) collect(ctx context.Context, received <-chan answer, again <-chan time.Time) error {
	for !d.done() {
		select {
		case a := <-received:
			if d.pending[a.id] == a.from {
				delete(d.pending, a.id)
				d.mapped = append(d.mapped, a.mapped)
			}
		case <-again:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// done says whether more answers would change nothing. IPv4 decides where there
// is any: IPv6 is not translated in practice.
func (d *discovery) done() bool {
	return len(d.pending) == 0 || d.kindOf(d.has4) != wire.NATUnknown
}

func (d *discovery) kind() wire.NAT {
	if kind := d.kindOf(true); kind != wire.NATUnknown {
		return kind
	}
	return d.kindOf(false)
}

// kindOf is the kind of NAT as far as the answers over one family tell.
func (d *discovery) kindOf(is4 bool) wire.NAT {
	var seen []netip.AddrPort
	for _, m := range d.mapped {
		if m.Addr().Is4() == is4 {
			seen = append(seen, m)
		}
	}
	switch {
	case len(seen) > 0 && slices.Contains(d.local, seen[0]):
		return wire.NATOpen
	case len(seen) < 2:
		return wire.NATUnknown
	case seen[0] == seen[1]:
		return wire.NATCone
	}
	return wire.NATSymmetric
}

func (d *discovery) result(err error) (Result, error) {
	if len(d.mapped) == 0 {
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return Result{}, fmt.Errorf("ask STUN servers: %w", err)
		}
		return Result{Kind: wire.NATBlocked}, fmt.Errorf("ask %d STUN servers: %w", d.expected, ErrBlocked)
	}
	r := Result{Kind: d.kind()}
	for _, is4 := range []bool{true, false} {
		i := slices.IndexFunc(d.mapped, func(m netip.AddrPort) bool { return m.Addr().Is4() == is4 })
		if i >= 0 {
			r.Mapped = append(r.Mapped, d.mapped[i])
		}
	}
	return r, nil
}
