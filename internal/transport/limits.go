package transport

import "time"

// Limits and times of links. Control tells both sides of a pair at the same
// moment, so the times cover two messages that take different ways.
const (
	// raceWithin bounds Connect as a whole, and every dial of it.
	raceWithin = 5 * time.Second
	// tcpDialWithin bounds TCP's own handshake on one address.
	tcpDialWithin = 3 * time.Second
	// handshakeWithin bounds TLS on an inbound connection, and with QUIC the
	// opening of the stream.
	handshakeWithin = 5 * time.Second
	// selectWithin is how long the controlled side waits to be chosen.
	selectWithin = 10 * time.Second
	// writeSelection bounds the writing of the selection byte.
	writeSelection = 2 * time.Second
	// settleFor is how long after the selection other connections of the same
	// peer are leftovers of the race. Later ones mean that it lost the link.
	settleFor = 10 * time.Second

	// minGrace, and one and a half times what the handshake of QUIC took, but no more
	// than maxGrace, is how long TCP may come in behind QUIC and still be chosen: it costs
	// a quarter of the CPU for the same bytes, and gets more of a path that loses packets.
	minGrace = 30 * time.Millisecond
	maxGrace = 600 * time.Millisecond

	// stagger is the pause between dials to addresses of the same sort, so that
	// one that answers at once spares the others.
	stagger = 20 * time.Millisecond
	// afterTCP is how long QUIC to an interface address waits for TCP to the same.
	afterTCP = 30 * time.Millisecond
	// secondSide is how long the controlled side leaves TCP to the other.
	secondSide = 15 * time.Millisecond

	// maxHandshakes and maxHandshakesPerIP bound inbound connections that are not
	// links yet, for TCP and QUIC each; loopback has no limit per address.
	maxHandshakes      = 64
	maxHandshakesPerIP = 8
	// maxUnaccepted bounds the links that wait for Accept.
	maxUnaccepted = 64

	// closeWithin is how long a closed QUIC link stays to deliver what was written.
	closeWithin = time.Second
	// keepAlive keeps NAT mappings: RFC 4787 wants two minutes of a UDP mapping,
	// home routers give thirty seconds.
	keepAlive = 15 * time.Second
	// idleTimeout ends a QUIC connection without any packet.
	idleTimeout = 60 * time.Second
	// tcpUnsent is how many bytes the kernel holds that it could not send yet.
	// What lies there can no longer be cancelled or overtaken.
	tcpUnsent = 128 << 10

	// Windows of QUIC: 100 Mbit/s over a round trip of 200 ms is 2.5 MB.
	initialWindow = 512 << 10
	maxWindow     = 3 << 20
)

// The bytes of a connection before it is a link.
const (
	// preamble is written first by the side that dialled a QUIC connection: a
	// stream is not there for the other before something is written on it.
	preamble = 0x00
	// selection is written by the controlling side on the connection it picked.
	selection = 0x54
)
