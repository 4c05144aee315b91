package fetch

import "github.com/tandem-cdn/tandem/internal/wire"

// Action is something the driver must do: one of [AskPeer], [CancelPeer],
// [DropPeer], [AskEdge] and [TrimEdge].
type Action interface{ action() }

// AskPeer requests a whole piece of a peer.
type AskPeer struct {
	Peer    PeerID
	Piece   int
	Urgency wire.Urgency
}

// CancelPeer withdraws a request.
type CancelPeer struct {
	Peer  PeerID
	Piece int
}

// DropPeer ends the dealings with a peer. Reason is one of the reasons of
// [wire.Blame].
type DropPeer struct {
	Peer   PeerID
	Reason string
}

// AskEdge starts a request for Count contiguous pieces.
type AskEdge struct {
	Edge         EdgeID
	Req          int
	First, Count int
	// Fresh says that the connections in use seem dead.
	Fresh bool
}

// TrimEdge makes a running request end before piece End; if that lies at or
// before the piece in progress, it ends now.
type TrimEdge struct {
	Req int
	End int
}

// PaceEdge bounds the rate at which a running request is read, in bytes per second;
// +Inf: it is not.
type PaceEdge struct {
	Req  int
	Rate float64
}

func (PaceEdge) action()   {}
func (AskPeer) action()    {}
func (CancelPeer) action() {}
func (DropPeer) action()   {}
func (AskEdge) action()    {}
func (TrimEdge) action()   {}

// Reasons of [DropPeer].
const (
	DropCorrupt = "corrupt" // a piece did not verify
	DropLiar    = "liar"    // it announced pieces it does not have
	DropStall   = "stall"   // it took requests and sent nothing
)
