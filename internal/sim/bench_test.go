package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// flash is a crowd with links and networks as they are: n hosts, pieces pieces.
func flash(n, pieces int, tick time.Duration) Config {
	size := int64(pieces) << 20
	c := crowd(n, size, 10, 40, float64(n)*2)
	c.Objects[0].Piece = 1 << 20
	c.Tick, c.Efficiency = tick, 0.95
	c.Edges[0].RTT = 20 * time.Millisecond
	nats := []wire.NAT{wire.NATOpen, wire.NATCone, wire.NATCone, wire.NATSymmetric}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.Delay = time.Duration(2+i%20) * time.Millisecond
		h.NAT, h.TCP = nats[i%4], i%4 == 0
	}
	return c
}

func BenchmarkFlashCrowd(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				r := mustRun(b, flash(n, 64, 0))
				b.ReportMetric(float64(r.Transfers)/r.Wall.Seconds(), "pieces/s")
				b.ReportMetric(float64(r.Events)/r.Wall.Seconds(), "ticks/s")
				b.ReportMetric(r.Simulated.Seconds(), "simulated-s")
				b.ReportMetric(r.Copies[0], "copies")
			}
		})
	}
}
