package fetch

import "time"

// answers is how long peers are silent before they answer a request, kept as RFC 6298
// keeps round trips: a mean, and the mean deviation from it.
type answers struct {
	mean, dev time.Duration
	any       bool
}

func (a *answers) add(took time.Duration) {
	took = min(took, minSilence) // one that hangs says nothing of the others
	if !a.any {
		a.mean, a.dev, a.any = took, took/2, true
		return
	}
	a.dev += ((took - a.mean).Abs() - a.dev) / 4
	a.mean += (took - a.mean) / 8
}

// limit is when an answer is overdue: four deviations behind the mean, or six for who
// is to be careful.
func (a *answers) limit(careful bool) time.Duration {
	if careful {
		return a.mean + 6*a.dev
	}
	return a.mean + 4*a.dev
}

// late is when an answer comes later than most: the last requests are moved then.
func (a *answers) late() time.Duration { return a.mean + a.dev }
