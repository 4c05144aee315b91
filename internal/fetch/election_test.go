package fetch

import (
	"testing"

	"pgregory.net/rapid"
)

// Every stripe has exactly one owner, whether control has given out duties or
// neighbours agree among themselves.
func TestOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces, stripe := rapid.IntRange(1, 500).Draw(t, "pieces"), rapid.IntRange(1, 4).Draw(t, "stripe")
		n := rapid.IntRange(1, 30).Draw(t, "members")
		byControl := rapid.Bool().Draw(t, "duties")
		owners := make([]int, (pieces+stripe-1)/stripe)
		for i := range n {
			e := newElection(pieces, stripe, mix(uint64(i)))
			for o := range n {
				if o != i && !byControl {
					e.add(mix(uint64(o)))
				}
			}
			if byControl {
				e.duty = Duty{Index: uint32(2 * i), Width: 2, Of: uint32(2 * n)}
			}
			e.settle(true)
			for _, s := range e.mine {
				owners[s]++
			}
		}
		for s, k := range owners {
			if k != 1 {
				t.Fatalf("stripe %d has %d owners", s, k)
			}
		}
	})
}

// The order of stripes comes by each of them once, and place is its inverse.
func TestOrderOfStripes(t *testing.T) {
	for n := 1; n < 300; n++ {
		e := newElection(n, 1, 1)
		e.settle(true) // owns all
		if len(e.mine) != n {
			t.Fatalf("%d of %d stripes", len(e.mine), n)
		}
		for k, s := range e.mine {
			if e.place(int(s)) != k {
				t.Fatalf("n=%d: stripe %d is due as number %d, its place is %d", n, s, k, e.place(int(s)))
			}
		}
	}
}

// With one number more, few stripes change hands: those that the newcomer gets.
func TestDutiesMoveLittle(t *testing.T) {
	const n, stripes = 100, 10_000
	moved := 0
	for s := range stripes {
		if a, b := jump(mix(uint64(s)), n), jump(mix(uint64(s)), n+1); a != b {
			moved++
			if b != n {
				t.Fatalf("stripe %d went from %d to %d", s, a, b)
			}
		}
	}
	if moved < stripes/n/2 || moved > 2*stripes/n {
		t.Errorf("%d of %d stripes went to number %d", moved, stripes, n)
	}
}
