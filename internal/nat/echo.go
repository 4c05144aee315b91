package nat

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"
)

// AttrTime asks a STUN server of ours when a request reached it. The value is eight
// bytes, of the request zero, of the answer microseconds of a clock that never jumps,
// counted from any moment. The number is of those that a server which does not know
// it passes over (RFC 8489, section 18.3).
const AttrTime = 0xC0A7

// TimeValue is the value of [AttrTime] for a moment of the server's clock.
func TimeValue(at time.Duration) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(at.Microseconds()))
}

const (
	// maxEchoes is how many answers are waited for at once; those of further requests
	// are passed over.
	maxEchoes = 64
	// echoWithin is how old an answer may be.
	echoWithin = 5 * time.Second
)

// Echo is an answer of a server.
type Echo struct {
	Sent time.Time
	// Out is how long the request was under way, beside the difference of the two
	// clocks, which is the same for all echoes of one [Echoer]; 0 where the server
	// does not tell.
	Out time.Duration
	RTT time.Duration
}

// Echoer measures the way to a STUN server again and again. Its socket is its own.
type Echoer struct {
	conn  *net.UDPConn
	start time.Time
	heard func(Echo)

	mu   sync.Mutex
	sent map[Transaction]time.Time
}

// NewEchoer looks up a STUN server (host:port). heard is told of echoes, by Run.
func NewEchoer(ctx context.Context, server string, heard func(Echo)) (*Echoer, error) {
	targets, err := resolve(ctx, []string{server})
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(targets[0]))
	if err != nil {
		return nil, fmt.Errorf("echo of STUN server %.80q: %w", server, err)
	}
	return &Echoer{conn: conn, start: time.Now(), heard: heard, sent: map[Transaction]time.Time{}}, nil
}

// Send sends a request. What is lost is lost.
func (e *Echoer) Send() {
	id := newTransaction()
	b := appendHeader(make([]byte, 0, stunHeader+12), typeRequest, 12, id)
	b = binary.BigEndian.AppendUint16(b, AttrTime)
	b = binary.BigEndian.AppendUint16(b, 8)
	b = append(b, TimeValue(0)...)
	now := time.Now()
	e.mu.Lock()
	maps.DeleteFunc(e.sent, func(_ Transaction, at time.Time) bool { return now.Sub(at) > echoWithin })
	if len(e.sent) < maxEchoes {
		e.sent[id] = now
	}
	e.mu.Unlock()
	_, _ = e.conn.Write(b) // a network that is away says the same as a lost packet
}

// Run hears answers until ctx ends, then closes the socket.
func (e *Echoer) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = e.conn.Close() })
	defer stop()
	buf := make([]byte, stunMax+1)
	for ctx.Err() == nil {
		n, err := e.conn.Read(buf)
		if err != nil {
			// Nobody listens there at the moment, or ctx has ended.
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if echo, ok := e.answer(buf[:n], time.Now()); ok {
			e.heard(echo)
		}
	}
}

// answer reads an answer that came at now.
func (e *Echoer) answer(b []byte, now time.Time) (Echo, bool) {
	id, reached, err := parseEcho(b)
	if err != nil {
		return Echo{}, false
	}
	e.mu.Lock()
	sent, ok := e.sent[id]
	delete(e.sent, id)
	e.mu.Unlock()
	if !ok || now.Sub(sent) > echoWithin {
		return Echo{}, false
	}
	echo := Echo{Sent: sent, RTT: now.Sub(sent)}
	if reached > 0 {
		echo.Out = reached - sent.Sub(e.start)
	}
	return echo, true
}

// parseEcho reads a Binding success response and returns the server's time in it, 0
// where there is none.
func parseEcho(b []byte) (id Transaction, reached time.Duration, err error) {
	id, mapped, err := parseResponse(b)
	if err != nil || mapped == (netip.AddrPort{}) {
		return id, 0, err
	}
	const most = 1 << 50 // microseconds, 35 years
	for rest := b[stunHeader:]; len(rest) >= 4; {
		attr, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (n + 3) &^ 3
		if rest = rest[4:]; padded > len(rest) {
			return id, 0, fmt.Errorf("%w: attribute beyond the end", errSTUN)
		}
		if attr == AttrTime && n == 8 {
			us := binary.BigEndian.Uint64(rest)
			if us > most {
				return id, 0, fmt.Errorf("%w: time %d", errSTUN, us)
			}
			return id, time.Duration(us) * time.Microsecond, nil
		}
		rest = rest[padded:]
	}
	return id, 0, nil
}

// Attached reports whether an address is of a network that this machine is attached
// to: what is sent there takes nobody's way to the Internet. Tunnels do not count.
func Attached(addr netip.Addr) bool {
	ifs, err := net.Interfaces()
	if err != nil {
		return false
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagPointToPoint != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, ok := prefixOf(a); ok && p.Contains(addr.Unmap()) {
				return true
			}
		}
	}
	return false
}
