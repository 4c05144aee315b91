package scenario

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// hostsPerNet is how many hosts of a simulation share an IPv4 /24: a sample of
	// a population is spread more thinly than the population.
	hostsPerNet  = 8
	maxCountries = 26 * 26
	// peakHour is when most downloads begin, in local time.
	peakHour = 20
)

func (w *world) hosts() {
	h := &w.s.Hosts
	n := w.s.hostCount()
	w.cfg.Hosts = make([]sim.Host, n)
	w.links(h.Links)
	w.nats(h.NAT)
	w.conduct()
	w.scale(h.Rho)
	w.places()
	if h.Online.Mid > 0 {
		rng := w.rng("sessions")
		for i := range w.cfg.Hosts {
			w.cfg.Hosts[i].Online = sessions(rng, h.Online.Draw, h.Offline.Draw, time.Duration(w.s.End))
		}
	}
}

func (w *world) links(links []Link) {
	shares := make([]float64, len(links))
	for i, l := range links {
		shares[i] = float64(l.Share)
	}
	for i, k := range deal(w.rng("links"), len(w.cfg.Hosts), shares) {
		l, h := links[k], &w.cfg.Hosts[i]
		h.Down, h.Up, h.Delay = float64(l.Down), float64(l.Up), time.Duration(l.RTT)/2
	}
}

func (w *world) nats(n NAT) {
	kinds := []wire.NAT{wire.NATOpen, wire.NATCone, wire.NATSymmetric, wire.NATBlocked, wire.NATUnknown}
	shares := []float64{float64(n.Open), float64(n.Cone), float64(n.Symmetric), float64(n.Blocked), float64(n.Unknown)}
	for i, k := range deal(w.rng("nat"), len(w.cfg.Hosts), shares) {
		w.cfg.Hosts[i].NAT = kinds[k]
		w.cfg.Hosts[i].TCP = kinds[k] == wire.NATOpen
	}
}

// conduct says who gives, and who gives what.
func (w *world) conduct() {
	h := &w.s.Hosts
	up := float64(h.Uploaders)
	for i, k := range deal(w.rng("uploaders"), len(w.cfg.Hosts), []float64{up, 1 - up}) {
		w.cfg.Hosts[i].Uploads = k == 0
	}
	c := h.Conduct
	bad := []float64{float64(c.Poisoners), float64(c.Liars), float64(c.Stallers)}
	kinds := []sim.Conduct{sim.Poisoner, sim.Liar, sim.Staller, sim.Honest}
	for i, k := range deal(w.rng("conduct"), len(w.cfg.Hosts), append(bad, 1-bad[0]-bad[1]-bad[2])) {
		host := &w.cfg.Hosts[i]
		host.Conduct = kinds[k]
		// Who does harm does it by giving.
		host.Uploads = host.Uploads || host.Conduct != sim.Honest
		if host.Uploads && host.Conduct == sim.Honest {
			w.honest = append(w.honest, i)
		}
	}
}

// scale makes the uplinks that give rho times all downlinks, or of a stream rho times what
// all take.
func (w *world) scale(rho float64) {
	if rho == 0 {
		return
	}
	var up, down float64
	for i := range w.cfg.Hosts {
		down += w.cfg.Hosts[i].Down
	}
	if w.s.streams() {
		down = float64(w.s.Stream.Rate) * float64(len(w.cfg.Hosts))
	}
	for _, i := range w.honest {
		up += w.cfg.Hosts[i].Up
	}
	if up == 0 {
		return
	}
	for i := range w.cfg.Hosts {
		w.cfg.Hosts[i].Up *= rho * down / up
	}
}

// places puts hosts into ASes, the largest first, and ASes into countries. AS n
// has the n-th share; addresses run through the ASes, each with nets of its own.
func (w *world) places() {
	h := &w.s.Hosts
	as := deal(w.rng("ases"), len(w.cfg.Hosts), zipf(h.ASes.Count, h.ASes.Zipf, 0))
	rng := w.rng("countries")
	choice := newPicker(zipf(h.Countries.Count, h.Countries.Zipf, 0))
	country, zone := make([]int, h.ASes.Count), make([]time.Duration, h.Countries.Count)
	for c := range zone {
		zone[c] = time.Duration(rng.IntN(24)) * time.Hour
	}
	for a := range country {
		country[a] = choice.next(rng)
		if a < h.Countries.Count {
			country[a] = a // none is empty
		}
	}
	members := make([][]int, h.ASes.Count)
	for i, a := range as {
		members[a] = append(members[a], i)
	}
	w.zone = make([]time.Duration, len(as))
	net := uint32(1 << 24 >> 8) // from 1.0.0.0 on
	for a, list := range members {
		for k, i := range list {
			if k%hostsPerNet == 0 {
				net++
			}
			w.cfg.Hosts[i].Place = place(net, k%hostsPerNet, a, country[a])
			w.zone[i] = zone[country[a]]
		}
	}
}

func place(net uint32, k, as, country int) directory.Place {
	ip := netip.AddrFrom4([4]byte{byte(net >> 16), byte(net >> 8), byte(net), byte(k + 1)})
	return directory.PlaceOf(ip, uint32(as+1), string([]byte{'A' + byte(country/26), 'A' + byte(country%26)}))
}

// sessions draws when a host is on, from a random moment of its life.
func sessions(rng *rand.Rand, on, off Draw, end time.Duration) []sim.Span {
	const shortest = 10 * time.Second
	a, b := max(time.Duration(on.next(rng)), shortest), max(time.Duration(off.next(rng)), shortest)
	at := -time.Duration(rng.Float64() * float64(a+b))
	var spans []sim.Span
	for at < end {
		if to := at + a; to > 0 {
			spans = append(spans, sim.Span{From: max(at, 0), To: min(to, end)})
		}
		at += a + b
		a, b = max(time.Duration(on.next(rng)), shortest), max(time.Duration(off.next(rng)), shortest)
	}
	if spans == nil {
		// Never on is not the same as always on.
		spans = []sim.Span{}
	}
	return spans
}

// arrival draws when the i-th download begins.
func (w *world) arrival(rng *rand.Rand, i, host int) time.Duration {
	a := &w.s.Arrivals
	over := float64(a.Over)
	swing := (a.Diurnal - 1) / (a.Diurnal + 1)
	for {
		var t float64
		switch a.Pattern {
		case "at-once":
			return 0
		case "even":
			return time.Duration(over * float64(i) / float64(len(w.askers)))
		case "release":
			t = released(rng.Float64(), a.Decay) * over
		default: // Poisson arrivals, given their number, are that many uniform moments
			t = rng.Float64() * over
		}
		local := time.Duration(t) + w.zone[host]
		rate := 1 + swing*math.Cos(2*math.Pi*(local.Hours()-peakHour)/24)
		if rng.Float64()*(1+swing) <= rate {
			return time.Duration(t)
		}
	}
}

// released maps a uniform number to the time of a request after a release, as a
// share of the time in question: the rate falls as (t + 1/1000)^−decay.
func released(u, decay float64) float64 {
	const head = 0.001
	if math.Abs(decay-1) < 1e-6 {
		return head*math.Pow((1+head)/head, u) - head
	}
	lo, hi := math.Pow(head, 1-decay), math.Pow(1+head, 1-decay)
	return math.Pow(lo+u*(hi-lo), 1/(1-decay)) - head
}

// zipf are the weights 1/(rank+shift)^exponent (Zipf–Mandelbrot).
func zipf(n int, exponent, shift float64) []float64 {
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = math.Pow(float64(i+1)+shift, -exponent)
	}
	return weights
}

// deal gives each of n one of the kinds, in numbers as near to their weights as
// whole numbers can be, in random order.
func deal(rng *rand.Rand, n int, weights []float64) []int {
	var total, sum float64
	for _, x := range weights {
		total += max(x, 0)
	}
	kinds := make([]int, 0, n)
	for k, x := range weights {
		sum += max(x, 0)
		for upTo := int(math.Round(sum / total * float64(n))); len(kinds) < upTo; {
			kinds = append(kinds, k)
		}
	}
	rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	return kinds
}

// picker draws indexes by weight.
type picker struct{ sums []float64 }

func newPicker(weights []float64) picker {
	p := picker{sums: slices.Clone(weights)}
	for i := 1; i < len(p.sums); i++ {
		p.sums[i] += p.sums[i-1]
	}
	return p
}

func (p picker) next(rng *rand.Rand) int {
	i, _ := slices.BinarySearch(p.sums, rng.Float64()*p.sums[len(p.sums)-1])
	return min(i, len(p.sums)-1)
}
