package wire

import "time"

// Version is the version of the peer protocol this program speaks.
//
//	1  2026-11  first
const Version = 1

// ControlVersion is the version of the control messages.
const ControlVersion = 1

// ALPN is the TLS application protocol of a link between peers.
const ALPN = "tandem/1"

// Limits that every implementation keeps. A frame or message beyond them ends
// the link or session that carried it.
const (
	// MaxFrame bounds type and body of a frame: the largest bitfield (MaxPieces
	// of the manifest / 8) and some room.
	MaxFrame = 1<<17 + 64
	// MaxData is the largest run of object bytes in one PIECE frame. A HAVE or CANCEL
	// waits behind it, so senders with slow uplinks put less into one.
	MaxData = 128 << 10
	// MaxGrant bounds an encoded grant, in bytes.
	MaxGrant = 4096
	// MaxAgent bounds the name a peer gives its software, in bytes.
	MaxAgent = 64
	// MaxHaves is the most pieces one HAVE frame announces.
	MaxHaves = 1024
	// MaxReason bounds the text of BYE, in bytes.
	MaxReason = 255
	// MaxChannels is the most swarms one peer opens on one link.
	MaxChannels = 256
	// MaxRequests is the most requests one peer may have outstanding on a link.
	MaxRequests = 512

	// MaxControlMessage bounds one JSON control message, in bytes.
	MaxControlMessage = 64 << 10
	// MaxCandidates is the most peers control hands out at once.
	MaxCandidates = 40
	// MaxOutcomes is the most candidates that one LINKS message tells of.
	MaxOutcomes = 64
	// MaxAddrs is the most addresses a peer announces.
	MaxAddrs = 16
	// MaxReceipts is the most receipts one report carries.
	MaxReceipts = 200
	// MaxWellKnown bounds the well-known document, in bytes.
	MaxWellKnown = 64 << 10
)

// Times both ends count on.
const (
	// PingAfter is the silence after which a peer sends PING.
	PingAfter = 20 * time.Second
	// DeadAfter is the silence after which a peer gives a link up.
	DeadAfter = 60 * time.Second
	// HelloWithin bounds the handshake of a link, from connection to HELLO.
	HelloWithin = 10 * time.Second
)
