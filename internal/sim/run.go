package sim

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Run simulates the world of c until its end, until every download has ended,
// or until ctx does: then the result is that of the time until then, with
// Complete false. It fails on a Config that makes no sense.
func Run(ctx context.Context, c Config) (*Result, error) {
	began := time.Now()
	c, err := withDefaults(c)
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	w := newWorld(c)
	complete := w.run(ctx)
	r := w.result(complete)
	r.Wall = time.Since(began)
	return r, nil
}

// quantum is the step of time for a world of n hosts.
func quantum(n int) time.Duration {
	switch {
	case n <= 500:
		return 10 * time.Millisecond
	case n <= 5000:
		return 20 * time.Millisecond
	case n <= 20000:
		return 50 * time.Millisecond
	case n <= 50000:
		return 100 * time.Millisecond
	}
	return 200 * time.Millisecond
}

func withDefaults(c Config) (Config, error) {
	if c.Tick == 0 {
		c.Tick = quantum(len(c.Hosts))
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Efficiency == 0 {
		c.Efficiency = 0.95
	}
	if c.Control.Refresh == 0 {
		c.Control.Refresh = 5 * time.Minute
	}
	return c, check(&c)
}

// check refuses what cannot be simulated.
func check(c *Config) error {
	switch {
	case c.Until <= 0 || c.Tick <= 0 || int64(c.Until/c.Tick) > math.MaxInt32/2:
		return fmt.Errorf("until %v in steps of %v", c.Until, c.Tick)
	case c.Efficiency < 0 || c.Efficiency > 1:
		return fmt.Errorf("efficiency %v", c.Efficiency)
	case len(c.Edges) == 0:
		return fmt.Errorf("no edge")
	case c.Candidates < 0:
		return fmt.Errorf("%d candidates", c.Candidates)
	}
	for i, o := range c.Objects {
		if o.Size <= 0 || o.Piece < 0 || o.Piece > 0 && o.Size/o.Piece > maxPieces {
			return fmt.Errorf("object %d: %d bytes in pieces of %d", i, o.Size, o.Piece)
		}
		if s := o.Stream; s != nil {
			if err := s.check(); err != nil {
				return fmt.Errorf("object %d: %w", i, err)
			}
			if n := int64(s.Segments); o.Size%n != 0 || newObject(o, c.Seed, i).n > maxPieces {
				return fmt.Errorf("object %d: %d bytes in %d segments", i, o.Size, n)
			}
		}
	}
	for i, h := range c.Hosts {
		if !(h.Down > 0) || !(h.Up >= 0) || h.Delay < 0 {
			return fmt.Errorf("host %d: %v up, %v down, delay %v", i, h.Up, h.Down, h.Delay)
		}
		if c.CertainLinks && h.NAT == wire.NATUnknown {
			return fmt.Errorf("host %d: its NAT is not known, so its links are not certain", i)
		}
	}
	known := func(host, object int) bool {
		return host >= 0 && host < len(c.Hosts) && object >= 0 && object < len(c.Objects)
	}
	for i, d := range c.Downloads {
		if !known(d.Host, d.Object) || d.At < 0 || i > 0 && d.At < c.Downloads[i-1].At {
			return fmt.Errorf("download %d: host %d, object %d at %v", i, d.Host, d.Object, d.At)
		}
	}
	for i, h := range c.Holdings {
		if !known(h.Host, h.Object) || c.Objects[h.Object].Stream != nil {
			return fmt.Errorf("holding %d: host %d, object %d", i, h.Host, h.Object)
		}
	}
	return nil
}

// maxPieces bounds the pieces of an object: those of the largest manifest.
const maxPieces = 1 << 20

// run lets time go by; it reports whether it came to an end of its own.
func (w *world) run(ctx context.Context) bool {
	for w.now < w.cfg.Until {
		if ctx.Err() != nil {
			return false
		}
		w.happen()
		if w.pending == 0 {
			return true
		}
		if w.active == 0 && !w.skip() {
			return true
		}
		if w.active > 0 {
			w.step()
		}
		w.q++
		w.now = time.Duration(w.q) * w.dt
		w.tally.advance(w)
	}
	return true
}

// skip goes to the quantum before the next event, since nothing flows until then.
func (w *world) skip() bool {
	at, ok := w.cal.next()
	if !ok {
		return false
	}
	to := min(at, w.cfg.Until)
	q := int32((to + w.dt - 1) / w.dt)
	for w.q+1 < q {
		w.q++
		w.now = time.Duration(w.q) * w.dt
		w.tally.advance(w)
	}
	return true
}

// happen lets everything happen that is due.
func (w *world) happen() {
	for e, ok := w.cal.due(w.now); ok; e, ok = w.cal.due(w.now) {
		w.handle(e)
	}
}

// step moves the world through one quantum.
func (w *world) step() {
	w.each(w.decide)
	w.admit()
	w.each(w.take)
	w.share()
	w.each(w.send)
	w.each(w.receive)
	w.settle()
}
