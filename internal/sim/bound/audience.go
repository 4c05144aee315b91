package bound

import "slices"

// Audience is the share of the bytes of a stream that peers can give to those who watch it:
// min(1 − once, rho). once is the share that edges have to send, every byte that anybody
// watches a first time: of n who all watch the same it is 1/n. rho is what the uplinks can
// send while there is company ([Company]) over all that is watched. It follows from
// counting bytes, and goes to [Offload] without slack for n who come and go together.
func Audience(once, rho float64) float64 { return max(0, min(1-once, rho)) }

// Company is what those who are there can send while they are not alone, in bytes.
func Company(there []Copy) float64 {
	changes := make([]change, 0, 2*len(there))
	for _, c := range there {
		changes = append(changes, change{at: c.From, up: c.Up, holds: 1}, change{at: c.To, up: -c.Up, holds: -1})
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmpFloat(a.at, b.at) })
	var sum, now, up float64
	n := 0
	for _, c := range changes {
		if n > 1 {
			sum += up * (c.at - now)
		}
		now, up, n = c.at, up+c.up, n+c.holds
	}
	return sum
}
