package scenario

import (
	"math"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/wire"
)

func drawn1(t *testing.T, text string, seed uint64) sim.Config {
	t.Helper()
	return mustParse(t, text).Runs[0].Config(seed)
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within*math.Abs(want)) {
		t.Errorf("%s is %g, want %g within %g %%", what, got, want, within*100)
	}
}

func TestHosts(t *testing.T) {
	c := drawn1(t, `
hosts:
  count: 1000
  uploaders: 31%
  links:
    - {share: 25%, down: 8mbit, up: 1mbit, rtt: 40ms}
    - {share: 75%, down: 80mbit, up: 8mbit, rtt: 10ms}
  nat: {cone: 60%, symmetric: 28%}
  ases: {count: 20, zipf: 1}
  countries: {count: 4}
  conduct: {poisoners: 10%, liars: 5%}
`, 3)
	var slow, up, bad, cone, open int
	as, nets, country := map[uint32]int{}, map[string]int{}, map[uint32]string{}
	ips := map[string]bool{}
	for _, h := range c.Hosts {
		if h.Down == 1e6 {
			slow++
			if h.Up != 125e3 || h.Delay != 20*time.Millisecond {
				t.Fatalf("a link of two classes: %+v", h)
			}
		}
		if h.Uploads && h.Conduct == sim.Honest {
			up++
		}
		if h.Conduct != sim.Honest {
			bad++
			if !h.Uploads {
				t.Error("who does harm does not give")
			}
		}
		cone += map[bool]int{true: 1}[h.NAT == wire.NATCone]
		open += map[bool]int{true: 1}[h.NAT == wire.NATOpen]
		if h.TCP != (h.NAT == wire.NATOpen) {
			t.Errorf("NAT %q takes TCP: %v", h.NAT, h.TCP)
		}
		p := h.Place
		as[p.AS]++
		nets[p.Net.String()]++
		if ips[p.IP.String()] || p.IP.IsPrivate() || p.IP.IsLoopback() {
			t.Errorf("address %v", p.IP)
		}
		ips[p.IP.String()] = true
		if old, ok := country[p.AS]; ok && old != p.Country {
			t.Errorf("AS %d is in %s and %s", p.AS, old, p.Country)
		}
		country[p.AS] = p.Country
	}
	if slow != 250 || bad != 150 || cone != 600 || open != 120 {
		t.Errorf("slow %d, bad %d, cone %d, open %d", slow, bad, cone, open)
	}
	near(t, "honest uploaders", float64(up), 310*0.85, 0.1)
	// With exponent 1 the first of 20 has 1/H(20) = 28 %, twice the second.
	near(t, "largest AS", float64(as[1]), 278, 0.02)
	near(t, "second AS", float64(as[2]), 139, 0.02)
	for n, k := range nets {
		if k > hostsPerNet {
			t.Errorf("%d hosts in %s", k, n)
		}
	}
	found := map[string]bool{}
	for _, c := range country {
		found[c] = true
	}
	if len(found) != 4 {
		t.Errorf("countries %v", found)
	}
}

func TestRho(t *testing.T) {
	c := drawn1(t, "hosts:\n  count: 200\n  rho: 0.3\n  uploaders: 31%\n  links:\n    - {share: 50%, down: 8mbit, up: 1mbit}\n    - {share: 50%, down: 80mbit, up: 2mbit}\n", 1)
	var up, down float64
	for _, h := range c.Hosts {
		down += h.Down
		if h.Uploads {
			up += h.Up
		}
	}
	near(t, "rho", up/down, 0.3, 1e-9)
}

// TestPopularity compares how often objects are asked for with Zipf–Mandelbrot.
func TestPopularity(t *testing.T) {
	const n = 60_000
	c := drawn1(t, "objects: {count: 50, size: {lognormal: 1G, sigma: 0.7, max: 20G}, zipf: 0.9, shift: 2}\nhosts: {count: 60000}\narrivals: {pattern: poisson, over: 1h}\n", 1)
	counts := make([]float64, 50)
	for _, d := range c.Downloads {
		counts[d.Object]++
	}
	weights, sum := zipf(50, 0.9, 2), 0.0
	for _, w := range weights {
		sum += w
	}
	for _, i := range []int{0, 1, 9, 49} {
		near(t, "requests of a rank", counts[i], n*weights[i]/sum, 0.1)
	}
	if len(c.Downloads) != n {
		t.Errorf("%d downloads", len(c.Downloads))
	}
}

func TestArrivals(t *testing.T) {
	at := func(rest string) []time.Duration {
		var list []time.Duration
		for i, d := range drawn1(t, "hosts: {count: 20000, countries: {count: 1}}\nend: 25h\n"+rest, 5).Downloads {
			if i > 0 && d.At < list[i-1] {
				t.Fatal("not in order of time")
			}
			list = append(list, d.At)
		}
		return list
	}
	within := func(list []time.Duration, from, to time.Duration) float64 {
		n := 0
		for _, a := range list {
			if a >= from && a < to {
				n++
			}
		}
		return float64(n) / float64(len(list))
	}
	if list := at("arrivals: {pattern: at-once}\n"); list[0] != 0 || list[len(list)-1] != 0 {
		t.Error("at once is not at once")
	}
	even := at("arrivals: {pattern: even, over: 10h}\n")
	near(t, "even", even[10_000].Hours(), 5, 1e-9)
	poisson := at("arrivals: {pattern: poisson, over: 10h}\n")
	near(t, "first tenth", within(poisson, 0, time.Hour), 0.1, 0.05)
	// The distances of a Poisson process are exponential: their mean and their
	// deviation are the same.
	var squares float64
	mean := 10.0 / 20_000
	for i := 1; i < len(poisson); i++ {
		d := (poisson[i] - poisson[i-1]).Hours() - mean
		squares += d * d
	}
	near(t, "deviation", math.Sqrt(squares/20_000), mean, 0.05)
	// ∫ (t+h)^-0.7 from 0 to x, over that to 1, with h = 0.001.
	release := at("arrivals: {pattern: release, over: 24h, decay: 0.7}\n")
	part := func(x float64) float64 {
		f := func(x float64) float64 { return math.Pow(x+0.001, 0.3) - math.Pow(0.001, 0.3) }
		return f(x) / f(1)
	}
	near(t, "first hour after a release", within(release, 0, time.Hour), part(1.0/24), 0.05)
	near(t, "first half", within(release, 0, 12*time.Hour), part(0.5), 0.02)
	// Over a day, the busiest hour has as many times the quietest one as said.
	daily := at("arrivals: {pattern: poisson, over: 24h, diurnal: 2.5}\n")
	low, high := 1.0, 0.0
	for h := range 24 {
		p := within(daily, time.Duration(h)*time.Hour, time.Duration(h+1)*time.Hour)
		low, high = min(low, p), max(high, p)
	}
	near(t, "peak over trough", high/low, 2.5, 0.12)
}

func TestSessions(t *testing.T) {
	c := drawn1(t, "hosts: {count: 3000, online: {exponential: 1h}, offline: {exponential: 2h}}\nend: 48h\narrivals: {pattern: poisson, over: 40h}\ndownloads: {linger: 1h, leave: {weibull: 10m, shape: 0.5}}\n", 1)
	var on time.Duration
	for _, h := range c.Hosts {
		if h.Online == nil {
			t.Fatal("always on")
		}
		last := time.Duration(-1)
		for _, sp := range h.Online {
			if sp.From <= last || sp.To <= sp.From || sp.To > 48*time.Hour {
				t.Fatalf("sessions %v", h.Online)
			}
			last = sp.To
			on += sp.To - sp.From
		}
	}
	near(t, "share of time online", on.Hours()/(3000*48), 1.0/3, 0.03)
	var leave float64
	for _, d := range c.Downloads {
		here := false
		for _, sp := range c.Hosts[d.Host].Online {
			here = here || sp.From <= d.At && d.At < sp.To
		}
		if !here {
			t.Fatalf("a download begins at %v on a host that is off: %v", d.At, c.Hosts[d.Host].Online)
		}
		leave += (d.Leave - d.At).Minutes() / float64(len(c.Downloads))
	}
	near(t, "mean of a Weibull with shape 0.5 and scale 10", leave, 20, 0.15) // 10·Γ(3)
}

func TestSeeders(t *testing.T) {
	c := drawn1(t, "objects: {count: 3}\nhosts: {count: 100, uploaders: 50%}\narrivals: {count: 20}\nseeders: {copies: 5}\n", 1)
	asks := map[int]bool{}
	for _, d := range c.Downloads {
		asks[d.Host] = true
	}
	for _, h := range c.Holdings {
		if !c.Hosts[h.Host].Uploads || asks[h.Host] || h.Until != 0 {
			t.Errorf("holding %+v", h)
		}
	}
	if n := len(c.Holdings); n < 12 || n > 15 {
		t.Errorf("%d holdings, want 15 or a few less", n)
	}
	// 1000 downloads in an hour, kept for three: 3000 copies before, of which 31 %
	// are given, with 1.5 hours to live on the average.
	c = drawn1(t, "objects: {count: 50}\nhosts: {count: 20000, uploaders: 31%}\narrivals: {count: 1000, pattern: poisson, over: 1h}\nseeders: {retention: 3h}\nend: 2h\n", 1)
	near(t, "copies", float64(len(c.Holdings)), 930, 0.1)
	var left float64
	for _, h := range c.Holdings {
		left += h.Until.Hours() / float64(len(c.Holdings))
	}
	near(t, "time left", left, 1.5, 0.05)
}

func TestStream(t *testing.T) {
	c := drawn1(t, "end: 1m\nstream: {kind: live, segment: 2s, rate: 4mbit, behind: 5s, watch: 20s, linger: 9s}\nhosts: {count: 40, uploaders: 50%, rho: 0.5}\narrivals: {pattern: even, over: 40s}\n", 1)
	o := c.Objects[0]
	if s := *o.Stream; len(c.Objects) != 1 || s.Segments != 33 || o.Size != 33*1e6 || !s.Live || s.Duration != 2*time.Second || s.Behind != 5*time.Second || s.Buffer != 30*time.Second {
		t.Errorf("%d bytes, %+v", o.Size, s)
	}
	var up float64
	for i, d := range c.Downloads {
		h := c.Hosts[d.Host]
		if d.At != time.Duration(i)*time.Second || d.Leave != d.At+20*time.Second || d.Linger != map[bool]time.Duration{true: 9 * time.Second}[h.Uploads] {
			t.Errorf("viewer %d: %+v", i, d)
		}
		if h.Uploads {
			up += h.Up
		}
	}
	near(t, "uplinks ÷ what all watch", up/(40*4e6/8), 0.5, 0.001)
	if film := drawn1(t, "stream: {kind: vod, length: 62s}\nhosts: {count: 3}\n", 1).Objects[0]; film.Stream.Segments != 15 || film.Stream.Live || film.Stream.Behind != 0 {
		t.Errorf("%+v", film.Stream)
	}
}

// TestAspectsAreApart sees that a change of one thing leaves the rest as it was,
// so that runs can be compared.
func TestAspectsAreApart(t *testing.T) {
	a := drawn1(t, "hosts: {count: 100, uploaders: 50%, ases: {count: 5}}\narrivals: {pattern: poisson, over: 1m}\n", 1)
	b := drawn1(t, "hosts: {count: 100, uploaders: 50%, ases: {count: 5}, conduct: {liars: 10%}}\narrivals: {pattern: poisson, over: 1m}\n", 1)
	for i := range a.Downloads {
		if a.Downloads[i] != b.Downloads[i] {
			t.Fatalf("download %d: %+v and %+v", i, a.Downloads[i], b.Downloads[i])
		}
	}
	for i := range a.Hosts {
		if a.Hosts[i].Place != b.Hosts[i].Place {
			t.Fatalf("host %d has moved", i)
		}
	}
}
