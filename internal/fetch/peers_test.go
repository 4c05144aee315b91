package fetch

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// TestUnprovenPeer: whoever has sent nothing that verified is asked for one piece
// at a time, however small they are and however fast it sends, and is asked for
// nothing more once a piece does not verify.
func TestUnprovenPeer(t *testing.T) {
	const piece, pieces = 64 << 10, 256
	for _, good := range []bool{true, false} {
		p := NewPlan(Config{
			Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1,
			Rand: rand.New(rand.NewPCG(1, 2)),
		})
		p.AddPeer(0, 0, PeerInfo{Seed: 2, Uploads: true, RTT: 20 * time.Millisecond})
		for i := range pieces {
			p.PeerHas(0, i)
		}
		first := asked(p.Tick(0))
		if len(first) != 1 {
			t.Fatalf("%d pieces were asked of somebody unknown", len(first))
		}
		p.PeerBytes(10*time.Millisecond, 0, first[0], piece-1)
		if more := asked(p.Tick(10 * time.Millisecond)); len(more) != 0 {
			t.Errorf("%d more before the first was seen to be right", len(more))
		}
		p.PeerBytes(20*time.Millisecond, 0, first[0], 1)
		p.PeerPiece(0, first[0], good)
		if more := asked(p.Tick(20 * time.Millisecond)); good != (len(more) > 1) {
			t.Errorf("%d more after a piece whose verification was %v", len(more), good)
		}
	}
}

func asked(actions []Action) (pieces []int) {
	for _, a := range actions {
		if a, ok := a.(AskPeer); ok {
			pieces = append(pieces, a.Piece)
		}
	}
	return pieces
}
