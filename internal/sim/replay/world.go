package replay

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
	"github.com/tandem-cdn/tandem/internal/sim/study"
)

const (
	// base is what reports do not tell. An uplink is as much of a host's downlink
	// as in its class of links.
	base = `
title: A recorded trace, replayed
about: >
  Arrivals, sizes and downlinks are those of the recorded downloads; a downlink is the
  best rate its host was seen to reach. What reports do not tell is assumed, and stands
  among the parameters.
hosts:
  count: %d
  links: [{down: 20mbit, up: 5mbit, rtt: 30ms}]
downloads: {linger: 10m}
edges: [{rtt: 20ms}]
end: %s
runs:
`
	// slowest is the least downlink of a host, in bytes per second: a download of
	// a few bytes says nothing of the link.
	slowest = 128e3 / 8
)

// File is the trace as a scenario: replayed with the fields that sets change and,
// if these change the policy, with the present one as well.
func (t *Trace) File(sets []string) (*scenario.File, error) {
	world, policy := []string{}, ""
	for _, s := range sets {
		field, value, ok := strings.Cut(s, "=")
		if ok && strings.HasPrefix(field, "policy.") {
			policy += fmt.Sprintf("%s: %s, ", field, value)
			continue
		}
		world = append(world, s)
	}
	text := fmt.Sprintf(base, len(t.hosts()), t.length()) + "  - {name: replayed}\n"
	if policy != "" {
		text += "  - {name: replayed under another policy, set: {" + strings.TrimSuffix(policy, ", ") + "}}\n"
	}
	f, err := scenario.Parse("replay", []byte(text), world)
	if err != nil {
		return nil, err
	}
	for i := range f.Runs {
		s := &f.Runs[i].Scenario
		f.Runs[i].World = func(seed uint64) sim.Config { return t.world(s, seed) }
	}
	return f, nil
}

// length is the time from the first beginning to well after the last end.
func (t *Trace) length() time.Duration {
	first, last := t.Records[0].began(), t.Records[0].began()
	for _, r := range t.Records {
		if end := time.Unix(r.Received, 0); end.After(last) {
			last = end
		}
	}
	d := (last.Sub(first)*5/4 + 10*time.Minute).Round(time.Second)
	return min(d, 90*24*time.Hour)
}

// hosts numbers the installations, in the order of their first download.
func (t *Trace) hosts() map[string]int {
	list := map[string]int{}
	for _, r := range t.Records {
		if _, ok := list[r.Installation]; !ok {
			list[r.Installation] = len(list)
		}
	}
	return list
}

// world puts the recorded downloads into a drawn world.
func (t *Trace) world(s *scenario.Scenario, seed uint64) sim.Config {
	c := s.Config(seed)
	c.Objects, c.Downloads, c.Holdings = nil, nil, nil
	hosts, objects := t.hosts(), map[string]int{}
	best := make([]float64, len(hosts))
	start := t.Records[0].began()
	linger := time.Duration(s.Downloads.Linger.Mid)
	for _, r := range t.Records {
		h := hosts[r.Installation]
		o, ok := objects[r.Object]
		if !ok {
			o = len(c.Objects)
			objects[r.Object] = o
			c.Objects = append(c.Objects, sim.Object{Name: r.Object, Size: r.Size})
		}
		d := sim.Download{Host: h, Object: o, At: r.began().Sub(start)}
		if c.Hosts[h].Uploads {
			d.Linger = linger
		}
		if !r.Complete {
			d.Leave = d.At + max(time.Duration(r.Millis)*time.Millisecond, time.Millisecond)
		}
		c.Downloads = append(c.Downloads, d)
		if r.Millis > 0 {
			best[h] = max(best[h], float64(r.FromEdge+r.FromPeers)*1000/float64(r.Millis))
		}
		place := &c.Hosts[h].Place
		if r.AS != 0 {
			place.AS = r.AS
		}
		if r.Country != "" {
			place.Country = r.Country
		}
	}
	rates(c.Hosts, best, s.Hosts.Rho)
	return c
}

// rates gives hosts the downlinks that were seen.
func rates(hosts []sim.Host, best []float64, rho float64) {
	var up, down float64
	for i := range hosts {
		h := &hosts[i]
		share := h.Up / h.Down
		h.Down = max(best[i], slowest)
		h.Up = share * h.Down
		down += h.Down
		if h.Uploads && h.Conduct == sim.Honest {
			up += h.Up
		}
	}
	if rho <= 0 || up == 0 {
		return
	}
	for i := range hosts {
		hosts[i].Up *= rho * down / up
	}
}

// Compare puts what was recorded before the runs of a study.
func (t *Trace) Compare(st *study.Study) {
	var edge, peers, wasted float64
	var times []float64
	run := study.Run{Name: "recorded", Figures: map[string]study.Figure{}}
	for _, r := range t.Records {
		edge, peers, wasted = edge+float64(r.FromEdge), peers+float64(r.FromPeers), wasted+float64(r.Wasted)
		if r.Complete {
			times = append(times, float64(r.Millis)/1000)
		}
	}
	slices.Sort(times)
	run.Times = study.Curve(times)
	set := func(name string, v float64) { run.Figures[name] = study.Figure{Mean: v, Values: []float64{v}} }
	set("downloads", float64(len(t.Records)))
	set("edge-bytes", edge)
	set("peer-bytes", peers)
	if edge+peers > 0 {
		set("offload", peers/(edge+peers))
		set("waste", wasted/(edge+peers))
	}
	if n := len(run.Times); n > 0 {
		for name, q := range map[string]float64{"time-p50": 0.5, "time-p95": 0.95, "time-p99": 0.99} {
			set(name, run.Times[int(q*float64(n-1))])
		}
	}
	st.Runs = append([]study.Run{run}, st.Runs...)
}
