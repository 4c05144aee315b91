package fetch

import (
	"math"
	"math/bits"
)

// election holds who owns which stripe of pieces: weighted rendezvous hashing
// (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005)
// over this client and the neighbours that upload and still download. Every
// client computes it from what it sees, so that two that see the same
// neighbours agree without a message.
type election struct {
	stripe int // pieces per stripe
	rank   []uint8
	// own is this client's score in each stripe, first the winner's.
	own, first []float32
}

// Ranks of this client in a stripe; anything later is rankOther.
const (
	rankOwner  = 0
	rankBackup = 1
	rankOther  = 2
)

type elector struct {
	seed   uint64
	weight float64
}

// stripePieces is how many pieces are owned together: enough to make a request
// to the edge worth its overhead, few enough to spread.
func stripePieces(size, pieceSize int64) int {
	const least, most, stripes = 128 << 10, 1 << 20, 256
	return max(1, int(min(max(size/stripes, least), most)/pieceSize))
}

// elect computes this client's rank in every stripe among others. A client that
// does not upload owns nothing.
func elect(pieces, stripe int, self elector, uploads bool, others []elector) *election {
	n := (pieces + stripe - 1) / stripe
	e := &election{stripe: stripe, rank: make([]uint8, n), own: make([]float32, n), first: make([]float32, n)}
	for s := range n {
		own := score(self, uint64(s))
		rank, first := uint8(0), own
		if !uploads {
			rank, first = rankOther, math.Inf(-1)
		}
		for _, o := range others {
			sc := score(o, uint64(s))
			if sc > own && rank < rankOther {
				rank++
			}
			first = max(first, sc)
		}
		e.rank[s], e.own[s], e.first[s] = rank, float32(own), float32(first)
	}
	return e
}

// score is −w/ln(h): the highest wins with probability proportional to w.
func score(p elector, stripe uint64) float64 {
	h := mix(p.seed ^ bits.RotateLeft64(stripe*0x9e3779b97f4a7c15, 17))
	u := (float64(h>>11) + 0.5) / (1 << 53)
	return -p.weight / math.Log(u)
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// of returns this client's rank for a piece, and its owner's score.
func (e *election) of(piece int) (rank uint8, owner float32) {
	s := piece / e.stripe
	return e.rank[s], e.first[s]
}
