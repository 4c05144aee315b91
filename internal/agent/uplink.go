package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/swarm"
)

const (
	// measureEvery is how often a node looks at what its uplink carries.
	measureEvery = 30 * time.Second
	// loadStep is the change of load, in percent, that control is told of.
	loadStep = 25
)

// tellUplink tells every control of node's uplink and load when they have changed,
// until the engine ends.
func (e *Engine) tellUplink(node *swarm.Node) {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
		uplink, load := node.Measure()
		e.mu.Lock()
		controls := slices.Collect(maps.Values(e.controls))
		e.mu.Unlock()
		for _, c := range controls {
			c.tell(uplink, load)
		}
	}
}

// tell repeats the update with another uplink or load, unless control knows them.
func (c *control) tell(uplink uint32, load int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := load - c.reach.Load
	if !c.known || uplink == c.reach.Uplink && d < loadStep && d > -loadStep {
		return
	}
	c.reach.Uplink, c.reach.Load = uplink, load
	c.s.Update(c.reach)
}
