package agent

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/ledger"
	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// downlinkModel is a line with a deep buffer in front of it, on which a background
// download and a foreground flow meet.
type downlinkModel struct {
	p         *polite
	rate      float64 // bytes per second
	base      time.Duration
	mine, all float64 // bytes in the queue
	echoed    time.Duration
	delays    []time.Duration // of echoes
}

const modelStep = 5 * time.Millisecond

// run lets time pass. A foreground flow keeps the queue at 300 ms, as one that fills a
// deep buffer does. It returns the parts of the line that the two had.
func (m *downlinkModel) run(d time.Duration, foreground bool) (mine, others float64) {
	var got, theirs float64
	for at := time.Duration(0); at < d; at += modelStep {
		<-time.After(modelStep)
		for n := m.p.step(wire.MaxData); m.p.take(n) == 0; {
			m.mine, m.all = m.mine+float64(n)*(1+overhead), m.all+float64(n)*(1+overhead)
		}
		if deep := 0.3 * m.rate; foreground && m.all < deep {
			m.all = deep
		}
		if out := min(m.all, m.rate*modelStep.Seconds()); out > 0 {
			part := out * m.mine / m.all
			m.mine, m.all = m.mine-part, m.all-out
			got, theirs = got+part, theirs+out-part
		}
		if m.echoed += modelStep; m.echoed >= echoOften {
			m.echoed = 0
			queue := time.Duration(m.all / m.rate * float64(time.Second))
			m.delays = append(m.delays, queue)
			now := time.Now()
			rtt := 2*m.base + queue
			m.p.heard(nat.Echo{Sent: now.Add(-rtt), Out: 7*time.Hour + m.base, RTT: rtt}) // clocks differ
		}
		m.p.update(time.Now())
	}
	line := m.rate * d.Seconds()
	return got / line, theirs / line
}

func TestPolite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &downlinkModel{p: newPolite(), rate: 10e6 / 8, base: 10 * time.Millisecond}
		m.run(5*time.Second, false)
		m.delays = nil
		if mine, _ := m.run(30*time.Second, false); mine < 0.9 {
			t.Errorf("alone it had %.2f of the line", mine)
		}
		slices.Sort(m.delays)
		if p95 := m.delays[len(m.delays)*95/100]; p95 > 80*time.Millisecond {
			t.Errorf("alone it made a queue of %v", p95)
		}
		m.run(2*time.Second, true)
		if mine, others := m.run(20*time.Second, true); others < 0.9 {
			t.Errorf("beside a foreground flow it had %.2f of the line, that %.2f", mine, others)
		}
		m.run(5*time.Second, false)
		if mine, _ := m.run(20*time.Second, false); mine < 0.85 {
			t.Errorf("alone again it had %.2f of the line", mine)
		}
	})
}

// Where nothing tells of the delay, a background download is held back for a moment only.
func TestPoliteWithoutEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolite()
		began := time.Now()
		for range 100 {
			if err := p.WaitN(t.Context(), 1<<20, func() bool { return true }); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// Whoever waits for a download that begins now does not wait for what links owe.
func TestPoliteEndsForUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := ledger.Open(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		d := newDownlink(Config{}, l)
		d.polite.take(1 << 30) // hours
		d.polite.heard(nat.Echo{Sent: time.Now(), RTT: time.Millisecond})
		waited := make(chan error)
		began := time.Now()
		go func() { waited <- d.links().Wait(t.Context(), politeRead, false) }()
		synctest.Wait()
		_, end := d.during(t.Context(), fetch.Normal)
		defer end()
		if err, took := <-waited, time.Since(began); err != nil || took > paceEvery {
			t.Errorf("a link gave way for %v while somebody waited, %v", took, err)
		}
	})
}

// Sources that share what is left of a busy line all bring something now and then: one
// that is silent for seconds would be given up.
func TestPoliteSourcesAreNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolite()
		p.bucket.SetRate(0, 32e3)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var sources sync.WaitGroup
		for i := range 8 {
			sources.Go(func() {
				for last := time.Now(); ; last = time.Now() {
					p.heard(nat.Echo{Sent: last, RTT: time.Millisecond})
					if p.WaitN(ctx, p.step(wire.MaxData), func() bool { return true }) != nil {
						return
					}
					if silent := time.Since(last); silent > time.Second {
						t.Errorf("source %d brought nothing for %v", i, silent)
					}
				}
			})
		}
		sources.Wait()
	})
}
