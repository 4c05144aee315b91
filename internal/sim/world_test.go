package sim

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// busy is a world with some of everything: several objects, late and early
// leavers, hosts that sleep, kinds of NAT and of conduct, seeds, faults.
func busy(n int) Config {
	c := crowd(n, 8<<20, 10, 40, float64(n)*3)
	c.Efficiency, c.Until = 0.95, 10*time.Minute
	c.Objects = append(c.Objects, Object{Name: "p", Size: 3<<20 + 12345})
	c.Edges[0].Faults = []Fault{{From: 5 * time.Second, To: 7 * time.Second}}
	c.Control.Wipes = []time.Duration{8 * time.Second}
	c.Control.Refresh = 10 * time.Second
	nats := []wire.NAT{wire.NATOpen, wire.NATCone, wire.NATSymmetric}
	for i := range c.Hosts {
		h, d := &c.Hosts[i], &c.Downloads[i]
		h.NAT, h.TCP, h.Delay = nats[i%3], i%3 == 0, time.Duration(1+i%30)*time.Millisecond
		d.At, d.Object = time.Duration(i)*20*time.Second/time.Duration(n), i%3/2
		switch i % 10 {
		case 3:
			h.Conduct = kindOf(i)
		case 4:
			d.Leave = d.At + 3*time.Second
		case 5:
			h.Online = []Span{{0, 6 * time.Second}, {9 * time.Second, time.Hour}}
		case 6, 7:
			d.Linger = 10 * time.Second
		case 8:
			h.Uploads = false
		}
	}
	c.Holdings = []Holding{{Host: 0, Object: 1}, {Host: 1, Object: 1, Until: 4 * time.Second}}
	return c
}

// kindOf is one conduct after the other.
func kindOf(i int) Conduct { return Conduct(i / 10 % 4) }

// TestSameSeedSameResult runs a world of several shards with one worker and with
// many.
func TestSameSeedSameResult(t *testing.T) {
	c := busy(2*leastHosts + 50)
	c.Tick = 50 * time.Millisecond
	c.Until = 25 * time.Second
	var results [3]*Result
	for i, workers := range []int{1, 2, 5} {
		c.Workers = workers
		results[i] = mustRun(t, c)
		results[i].Wall = 0
	}
	for i := 1; i < 3; i++ {
		if d := cmp.Diff(results[0], results[i]); d != "" {
			t.Fatalf("other workers, other result:\n%s", d)
		}
	}
	c.Seed++
	if r := mustRun(t, c); r.Transfers == results[0].Transfers {
		t.Errorf("another seed gives the same %d transfers", r.Transfers)
	}
}

// TestBytesAreKept: what is received is what was sent, to the byte, in a world
// where everything happens that can.
func TestBytesAreKept(t *testing.T) {
	r := mustRun(t, busy(60))
	var sent, received int64
	for _, n := range r.Edges {
		sent += n
	}
	for _, row := range r.Matrix.Bytes {
		for _, n := range row {
			sent += n
		}
	}
	done := 0
	for i, o := range r.Outcomes {
		received += o.FromEdge + o.FromPeers + o.Wasted + o.Corrupt
		if o.Wasted < 0 || o.SameAS > o.FromPeers {
			t.Errorf("download %d: %+v", i, o)
		}
		if o.Done {
			done++
		}
	}
	var sampled int64
	for _, s := range r.Series {
		sampled += s.Edge + s.Peers
	}
	if sent != received || sent != sampled {
		t.Errorf("%d bytes sent, %d received, %d in samples", sent, received, sampled)
	}
	if done < 50 || r.Polluted != 0 {
		t.Errorf("%d of 60 downloads done, %d bytes polluted", done, r.Polluted)
	}
}

// TestLinksAreNotOverfull checks every quantum of a busy world.
func TestLinksAreNotOverfull(t *testing.T) {
	c, err := withDefaults(busy(60))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(c)
	full := 0
	for w.pending > 0 && w.now < c.Until {
		w.happen()
		w.each(w.decide)
		w.admit()
		w.each(w.take)
		w.share()
		full += checkLinks(t, w)
		w.each(w.send)
		w.each(w.receive)
		w.settle()
		w.q++
		w.now = time.Duration(w.q) * w.dt
	}
	if full == 0 {
		t.Error("no link was ever full")
	}
}

// checkLinks fails when flows go beyond a link, and counts the links that are full.
func checkLinks(t *testing.T, w *world) (full int) {
	t.Helper()
	up, down := make([]float64, len(w.hosts)), make([]float64, len(w.hosts))
	edge := 0.0
	for i := range w.shards {
		s := &w.shards[i]
		for _, sd := range s.senders {
			for _, f := range s.flows[sd.from:sd.to] {
				rate := min(f.cap, w.upLevel[sd.host], w.downLevel[f.dst])
				up[sd.host] += rate
				down[f.dst] += rate
			}
		}
		for _, f := range s.fromCDN {
			rate := min(f.cap, w.edges[f.edge].level, w.downLevel[f.dst])
			down[f.dst] += rate
			edge += rate
		}
	}
	const slack = 1 + 1e-5
	for i := range w.hosts {
		h := &w.hosts[i]
		if up[i] > slack*(h.up+h.out.spare/w.sec) || down[i] > slack*(w.down[i]+w.downSpare[i]/w.sec) {
			t.Fatalf("%v: host %d sends %.0f of %.0f and gets %.0f of %.0f", w.now, i, up[i], h.up, down[i], w.down[i])
		}
		if up[i] > 0.99*h.up {
			full++
		}
	}
	if e := &w.edges[0]; edge > slack*(e.rate+e.spare/w.sec) {
		t.Fatalf("%v: the edge sends %.0f of %.0f", w.now, edge, e.rate)
	}
	return full
}

// TestEnds: a world in which nothing can finish ends when it is to.
func TestEnds(t *testing.T) {
	c := crowd(3, 1<<20, 10, 10, 10)
	c.Until = 90 * time.Second
	c.Edges[0].Faults = []Fault{{To: time.Hour}}
	r := mustRun(t, c)
	if !r.Complete || r.Simulated != c.Until || r.Outcomes[0].Done || !r.Outcomes[0].Started {
		t.Errorf("complete %v after %v, %+v", r.Complete, r.Simulated, r.Outcomes[0])
	}
}

// countdown is a context that ends after it was asked some times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestCancelled(t *testing.T) {
	r, err := Run(&countdown{t.Context(), 500}, crowd(5, 32<<20, 20, 20, 20))
	if err != nil {
		t.Fatal(err)
	}
	if r.Complete || r.Simulated != 5*time.Second || r.Outcomes[0].FromEdge == 0 || len(r.Series) == 0 {
		t.Errorf("complete %v after %v with %d samples, %+v", r.Complete, r.Simulated, len(r.Series), r.Outcomes[0])
	}
}

func TestRefusesNonsense(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no end":          func(c *Config) { c.Until = 0 },
		"no edge":         func(c *Config) { c.Edges = nil },
		"no object":       func(c *Config) { c.Downloads[0].Object = 1 },
		"no such host":    func(c *Config) { c.Holdings = []Holding{{Host: 7}} },
		"empty object":    func(c *Config) { c.Objects[0].Size = 0 },
		"no downlink":     func(c *Config) { c.Hosts[0].Down = 0 },
		"not in order":    func(c *Config) { c.Downloads[0].At = time.Second },
		"too many pieces": func(c *Config) { c.Objects[0].Size, c.Objects[0].Piece = 1<<40, 1 },
	} {
		c := crowd(2, 1<<20, 10, 10, 10)
		spoil(&c)
		if _, err := Run(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
