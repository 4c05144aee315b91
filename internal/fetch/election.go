package fetch

import "math/bits"

// election holds who is responsible for which stripe of pieces: who fetches it
// from the edge so that nobody else needs to.
//
// Control numbers the uploading members of a swarm; a member that has been told
// its number owns the stripes that consistent hashing (Lamping and Veach 2014)
// gives to that number, without knowing any other member. Beside that, or while
// control is away, neighbours elect owners among themselves without a message:
// rendezvous hashing (Thaler and Ravishankar 1998) over this client and the
// neighbours that upload and still download, which two that see the same
// neighbours agree about.
type election struct {
	stripe int // pieces per stripe
	step   int // from a stripe to the one that is due next
	back   int // inverse of step
	self   uint64
	// ranks has this client's place among its neighbours, and the highest scores of
	// the others, by stripe.
	ranks []standing
	seeds []uint64 // of the neighbours that stand
	duty  Duty
	mine  []int32 // stripes this client owns, in the order in which they are due
}

// standing is this client's place in one stripe.
type standing struct {
	own           uint32
	first, second uint32 // of the others
	who           uint32 // of the seeds, has the first
	counted       uint32 // of the seeds, who are reckoned with
}

// Duty is the share of the pieces that control gives a member to fetch from the
// edge: numbers Index to Index+Width−1 of those below Of. The zero Duty is none.
type Duty struct {
	Index, Width, Of uint32
}

// Ranks of this client in a stripe; anything later is rankOther.
const (
	rankOwner  = 0
	rankBackup = 1
	rankOther  = 2
)

// stripePieces is how many pieces are owned together: enough to make a request
// to the edge worth its overhead, few enough to spread.
func stripePieces(size, pieceSize int64) int {
	const least, most, stripes = 128 << 10, 1 << 20, 256
	return max(1, int(min(max(size/stripes, least), most)/pieceSize))
}

func newElection(pieces, stripe int, self uint64) *election {
	n := (pieces + stripe - 1) / stripe
	step := stride(n)
	e := &election{stripe: stripe, step: step, back: inverse(step, max(n, 1)), self: self, ranks: make([]standing, n)}
	for s := range e.ranks {
		e.ranks[s].own = score(self, s)
	}
	return e
}

// clear forgets the other candidates.
func (e *election) clear() {
	e.seeds = e.seeds[:0]
	for s := range e.ranks {
		e.ranks[s] = standing{own: e.ranks[s].own}
	}
}

// add has another neighbour stand. Its scores are reckoned when a stripe is asked
// about: who has a share from control asks about few.
func (e *election) add(seed uint64) { e.seeds = append(e.seeds, seed) }

// standing is this client's place in stripe s among all who stand.
func (e *election) standing(s int) *standing {
	r := &e.ranks[s]
	for ; int(r.counted) < len(e.seeds); r.counted++ {
		switch sc := score(e.seeds[r.counted], s); {
		case sc > r.first:
			r.first, r.second, r.who = sc, r.first, r.counted
		case sc > r.second:
			r.second = sc
		}
	}
	return r
}

// settle lists what this client owns now. A client that does not upload owns
// nothing.
func (e *election) settle(uploads bool) {
	e.mine = e.mine[:0]
	if !uploads {
		return
	}
	s, n := 0, len(e.ranks)
	for range n {
		if e.owns(s) {
			e.mine = append(e.mine, int32(s))
		}
		s = (s + e.step) % n
	}
}

// rank is this client's place in stripe s.
func (e *election) rank(s int) uint8 {
	if e.owns(s) {
		return rankOwner
	}
	r := e.standing(s)
	if e.duty.Of > 0 && r.own >= r.first || e.duty.Of == 0 && r.own >= r.second {
		return rankBackup
	}
	return rankOther
}

// owns reports whether stripe s is this client's, by what control says if it does.
func (e *election) owns(s int) bool {
	if e.duty.Of > 0 {
		return jump(mix(uint64(s)), e.duty.Of)-e.duty.Index < e.duty.Width
	}
	r := e.standing(s)
	return r.own >= r.first
}

// of returns this client's rank for a piece, and how sure its owner among the
// neighbours is of it.
func (e *election) of(piece int) (rank uint8, owner uint32) {
	s := piece / e.stripe
	r := e.standing(s)
	return e.rank(s), max(r.first, r.own)
}

// place is how many stripes are due before stripe s.
func (e *election) place(s int) int { return s * e.back % len(e.ranks) }

// score is a candidate's chance at a stripe: the highest owns it.
func score(seed uint64, stripe int) uint32 {
	return uint32(mix(seed^bits.RotateLeft64(uint64(stripe)*0x9e3779b97f4a7c15, 17)) >> 32)
}

// Score is a candidate's chance at a stripe; the candidate with the highest of all owns it.
func Score(seed uint64, stripe int) uint32 { return score(seed, stripe) }

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// jump is jump consistent hashing: a bucket below n for key, which changes for
// one key in n when n grows by one.
func jump(key uint64, n uint32) uint32 {
	b, j := int64(-1), int64(0)
	for j < int64(n) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(1<<31) / float64(key>>33+1)))
	}
	return uint32(b)
}

// stride is the step by which the stripes are due, one after the other around the
// object: near the golden section of n, where any run of steps is spread evenly,
// and prime to n, so that it comes by every stripe.
func stride(n int) int {
	s := max(1, int(float64(n)*0.618))
	for gcd(s, n) != 1 {
		s++
	}
	return s
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// inverse is the x below n with a·x = 1 (mod n), for a prime to n.
func inverse(a, n int) int {
	x, y, b := 1, 0, n
	for b != 0 {
		q := a / b
		a, b = b, a%b
		x, y = y, x-q*y
	}
	return (x%n + n) % n
}
