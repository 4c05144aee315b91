package fetch

import "math/bits"

// set is a set of pieces, 64 to the word so that sets can be walked together.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }
func (s set) put(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s set) drop(i int)     { s[i>>6] &^= 1 << (i & 63) }

// all calls f with every member of s that is in each of the others, from piece
// from on and around, until f returns false.
func (s set) all(with set, from int, f func(i int) bool) {
	words := len(s)
	w := from >> 6
	for k := 0; k <= words; k++ {
		x := s[w]
		if with != nil {
			x &= with[w]
		}
		switch low := uint64(1)<<(from&63) - 1; k {
		case 0:
			x &^= low
		case words:
			x &= low
		}
		for ; x != 0; x &= x - 1 {
			if !f(w<<6 + bits.TrailingZeros64(x)) {
				return
			}
		}
		if w++; w == words {
			w = 0
		}
	}
}
