package fetch

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// EdgeStats are counters of one edge.
type EdgeStats struct {
	Name     string // its String method, if it has one
	Bytes    int64  // verified
	Requests int
	Failures int           // requests that ended badly
	RTT      time.Duration // from a request to the first byte; 0 is not known
	Rate     int64         // bytes per second when last busy; 0 is not known
	Dropped  bool          // it had another object, or none
}

// AddEdge makes e, which has the same object, one more edge to choose from: a
// mirror, or another address of a server. It is dropped as soon as it sends
// anything else. More than eight edges are ignored.
func (d *Download) AddEdge(e Edge) {
	d.in.Post(func(now time.Duration) {
		if len(d.sources) < maxServers {
			d.plan.AddEdge(now, d.admit(e), EdgeInfo{})
			d.due = true
		}
	})
}

// admit gives an edge its number.
func (d *Download) admit(e Edge) EdgeID {
	st := EdgeStats{}
	if s, ok := e.(fmt.Stringer); ok {
		st.Name = s.String()
	}
	d.sources = append(d.sources, e)
	d.corrupt = append(d.corrupt, 0)
	d.mu.Lock()
	d.stats.Edges = append(d.stats.Edges, st)
	d.mu.Unlock()
	return EdgeID(len(d.sources) - 1)
}

// count changes the counters of an edge.
func (d *Download) count(id EdgeID, f func(*EdgeStats)) {
	d.mu.Lock()
	f(&d.stats.Edges[id])
	d.mu.Unlock()
}

// measured copies what the plan knows of the edges. d.mu is held.
func (d *Download) measured() {
	for i := range d.stats.Edges {
		rtt, rate := d.plan.EdgeRTT(EdgeID(i))
		d.stats.Edges[i].RTT, d.stats.Edges[i].Rate = rtt, int64(rate)
	}
}

// Stats returns the counters.
func (d *Download) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.stats
	st.Edges = slices.Clone(st.Edges)
	return st
}

// ended tells the plan, and decides whether the error ends the download: it does
// only when it is of the edge that the download began with, or of the last. An
// edge that says when to come back has not failed, but must be waited for. One that was
// trimmed has only what came before to answer for.
func (d *Download) ended(now time.Duration, e *edgeRun, err error, trimmed bool) {
	if err == nil || trimmed && !errors.Is(err, d.o.Corrupt) {
		d.plan.EdgeEnds(now, e.req, true, 0)
		return
	}
	var retry time.Duration
	var wait interface{ RetryAfter() time.Duration }
	if errors.As(err, &wait) {
		retry = wait.RetryAfter()
	}
	if retry > 0 {
		d.told = now
	}
	d.plan.EdgeEnds(now, e.req, false, retry)
	d.lastErr = err
	d.count(e.edge, func(st *EdgeStats) { st.Failures++ })
	d.o.Logger.Debug("edge request ended early", "edge", int(e.edge), "error", err)
	var lasting interface{ Permanent() bool }
	switch {
	case errors.Is(err, d.o.Corrupt):
		d.corrupt[e.edge]++
		if (e.edge > 0 || d.corrupt[e.edge] >= maxCorruptEdge) && !d.drop(e.edge, err) {
			d.err = ErrCorruptEdge
		}
	case errors.As(err, &lasting) && lasting.Permanent():
		if e.edge == 0 || !d.drop(e.edge, err) {
			d.err = err
		}
	}
}

// drop stops using an edge, and reports whether there are others.
func (d *Download) drop(id EdgeID, why error) bool {
	d.count(id, func(st *EdgeStats) { st.Dropped = true })
	d.o.Logger.Info("edge not used any more", "edge", d.Stats().Edges[id].Name, "reason", why)
	return d.plan.DropEdge(id)
}

// waiting reports whether an edge has lately said when to come back, and patience
// has not run out.
func (d *Download) waiting(now, silent time.Duration) bool {
	return d.told > 0 && now-d.told < 2*longestRest && silent < d.o.Patience
}

// refresh makes an edge forget its idle connections, if it can: they may be as
// dead as those that fell silent.
func refresh(e Edge) {
	if f, ok := e.(interface{ Refresh() }); ok {
		f.Refresh()
	}
}
