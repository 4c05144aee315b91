package sim

import (
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// sums adds up where the bytes of all downloads came from.
func sums(r *Result) (edge, peers, wasted int64) {
	for _, o := range r.Outcomes {
		edge += o.FromEdge
		peers += o.FromPeers
		wasted += o.Wasted
	}
	return edge, peers, wasted
}

// TestBadPeers: with every tenth host of a kind that does harm, nothing wrong is
// ever stored or passed on, and nobody is held up much.
func TestBadPeers(t *testing.T) {
	good := last(t, mustRun(t, crowd(36, 16<<20, 10, 40, 100)))
	for name, conduct := range map[string]Conduct{"poisoner": Poisoner, "liar": Liar, "staller": Staller} {
		t.Run(name, func(t *testing.T) {
			c := crowd(40, 16<<20, 10, 40, 100)
			for i := 3; i < 40; i += 10 {
				c.Hosts[i].Conduct = conduct
			}
			r := mustRun(t, c)
			took, corrupt := time.Duration(0), int64(0)
			for i, o := range r.Outcomes {
				if c.Hosts[i].Conduct == Honest {
					took = max(took, o.Took)
				}
				corrupt += o.Corrupt
				if o.Corrupt > 4*(64<<10) {
					t.Errorf("%d bytes of four poisoners: more than a piece of each", o.Corrupt)
				}
			}
			_, peers, wasted := sums(r)
			t.Logf("%v against %v, %d bytes wasted and %d corrupt beside %d from peers", took, good, wasted, corrupt, peers)
			if r.Polluted != 0 {
				t.Errorf("%d bytes polluted", r.Polluted)
			}
			if took > good*3/2 {
				t.Errorf("the last took %v, without bad peers %v", took, good)
			}
			if (conduct == Poisoner) != (corrupt > 0) {
				t.Errorf("%d bytes were corrupt", corrupt)
			}
		})
	}
}

// TestPollutionWouldShow: pieces that are not checked are counted and carry on to
// others, so that a count of 0 means something.
func TestPollutionWouldShow(t *testing.T) {
	c, err := withDefaults(crowd(1, 1<<20, 10, 10, 10))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(c)
	w.happen()
	m, s := &w.members[0], &w.shards[0]
	w.store(s, m, 0, 2, arrival{corrupt: true})
	if r := w.result(true); r.Polluted != 64<<10 || !m.bad.Has(2) {
		t.Errorf("%d bytes polluted, known as bad: %v", r.Polluted, m.bad.Has(2))
	}
}

func TestControlAway(t *testing.T) {
	c := crowd(10, 8<<20, 10, 40, 0)
	c.Control.Outages = []Span{{0, time.Hour}}
	r := mustRun(t, c)
	last(t, r)
	if _, peers, _ := sums(r); peers != 0 {
		t.Errorf("%d bytes from peers that nobody has named", peers)
	}
	// Links that exist go on: the swarm is together after a second.
	c.Control.Outages[0].From = time.Second
	c.Edges[0].Rate = 20 * mbit
	r = mustRun(t, c)
	last(t, r)
	if edge, peers, _ := sums(r); peers < 2*edge {
		t.Errorf("%d bytes from peers, %d from the edge", peers, edge)
	}
}

// TestWipe: who comes after the directory was lost meets those who were there
// before, once they have announced themselves again.
func TestWipe(t *testing.T) {
	c := crowd(2, 16<<20, 20, 20, 20)
	c.Downloads[0].Linger = time.Hour
	c.Downloads[1].At = 3 * time.Minute
	c.Control.Refresh = 30 * time.Second
	c.Control.Wipes = []time.Duration{2 * time.Minute}
	r := mustRun(t, c)
	last(t, r)
	if o := r.Outcomes[1]; o.FromPeers < 4<<20 {
		t.Errorf("%d bytes from the seed", o.FromPeers)
	}
}

// TestNATs: two symmetric NATs never link.
func TestNATs(t *testing.T) {
	c := crowd(2, 8<<20, 20, 20, 20)
	for i := range c.Hosts {
		c.Hosts[i].NAT, c.Hosts[i].TCP = wire.NATSymmetric, false
	}
	r := mustRun(t, c)
	last(t, r)
	if _, peers, _ := sums(r); peers != 0 || r.Outcomes[0].Peers != 0 {
		t.Errorf("%d bytes from peers out of reach", peers)
	}
}

// TestOffline: a host that goes to sleep goes on where it was, and shares again
// what it had.
func TestOffline(t *testing.T) {
	c := crowd(2, 16<<20, 20, 20, 20)
	c.Hosts[0].Online = []Span{{0, 3 * time.Second}, {time.Minute, 2 * time.Minute}}
	c.Downloads[0].Linger = time.Hour
	c.Downloads[1].At = 80 * time.Second
	c.Edges[0].Rate = 10 * mbit
	r := mustRun(t, c)
	last(t, r)
	a, b := r.Outcomes[0], r.Outcomes[1]
	if a.Took < time.Minute || a.Took > 72*time.Second || a.FromEdge != 16<<20 || a.Wasted > 256<<10 {
		t.Errorf("the sleeper: %+v", a)
	}
	if b.FromPeers == 0 {
		t.Errorf("the seed gave nothing: %+v", b)
	}
}

// TestLeaves: who gives up is not waited for, and is not done.
func TestLeaves(t *testing.T) {
	c := crowd(2, 16<<20, 20, 20, 10)
	c.Downloads[0].Leave = 2 * time.Second
	r := mustRun(t, c)
	if o := r.Outcomes[0]; o.Done || !o.Started || o.FromEdge+o.FromPeers == 0 {
		t.Errorf("the one who left: %+v", o)
	}
	if o := r.Outcomes[1]; !o.Done || o.FromEdge+o.FromPeers != 16<<20 {
		t.Errorf("the one who stayed: %+v", o)
	}
}

// TestTwoObjects: what a host downloads at once shares its links.
func TestTwoObjects(t *testing.T) {
	c := crowd(1, 10e6, 20, 20, 0)
	c.Alone = true
	c.Objects = append(c.Objects, Object{Name: "p", Size: 10e6})
	c.Downloads = append(c.Downloads, Download{Host: 0, Object: 1})
	r := mustRun(t, c)
	for _, o := range r.Outcomes {
		within(t, "took", o.Took.Seconds(), 20e6/(20*mbit), 0.01)
	}
}

// TestAdmission: an edge that is full refuses, and everybody is served in the end.
func TestAdmission(t *testing.T) {
	c := crowd(40, 8<<20, 10, 40, 100)
	c.Edges[0].Admits = 10
	r := mustRun(t, c)
	t.Logf("the last took %v, %.2f copies", last(t, r), r.Copies[0])
	c.Alone = true
	alone := mustRun(t, c)
	within(t, "alone", last(t, alone).Seconds(), 40*(8<<20)/(100*mbit), 0.35)
}

// TestLocality: peers are sought near by, unless that is switched off.
func TestLocality(t *testing.T) {
	c := crowd(120, 8<<20, 20, 40, 40)
	for i := range c.Hosts {
		c.Hosts[i].Place.AS = uint32(1 + i/40)
	}
	near := func(r *Result) float64 {
		var same int64
		for _, o := range r.Outcomes {
			same += o.SameAS
		}
		_, peers, _ := sums(r)
		return float64(same) / float64(peers)
	}
	with := near(mustRun(t, c))
	c.Ablate.Locality = true
	without := near(mustRun(t, c))
	t.Logf("%.2f of what peers give stays in the network, %.2f without locality", with, without)
	if with < without+0.1 {
		t.Errorf("locality makes %.2f of %.2f", with, without)
	}
}

// TestAblations: without seed duty a crowd on a slow edge takes longer, and where
// everybody asks the edge in file order, it sends everything to everybody.
func TestAblations(t *testing.T) {
	c := crowd(16, 8<<20, 20, 20, 20)
	with := mustRun(t, c)
	c.Ablate.SeedDuty = true
	took, without := last(t, with), last(t, mustRun(t, c))
	t.Logf("%v, without seed duty %v", took, without)
	if without < took*5/4 {
		t.Errorf("%v with and %v without seed duty", took, without)
	}
	c = crowd(16, 8<<20, 20, 20, 400)
	c.Ablate = Ablation{SeedDuty: true, InOrder: true}
	if copies := mustRun(t, c).Copies[0]; copies < 12 {
		t.Errorf("%.2f copies although all ask for the same", copies)
	}
}

// TestGiveWay: an edge that never gives way has a share of a downlink that peers fill.
func TestGiveWay(t *testing.T) {
	c := crowd(4, 512<<20, 20, 20, 400)
	c.Downloads = []Download{{Host: 0}}
	c.Holdings = []Holding{{Host: 1}, {Host: 2}, {Host: 3}}
	with, _, _ := sums(mustRun(t, c))
	c.Ablate.GiveWay = true
	without, _, _ := sums(mustRun(t, c))
	t.Logf("%.1f MiB from the edge, %.1f MiB where it does not give way", float64(with)/(1<<20), float64(without)/(1<<20))
	if without < 2*with || without < 64<<20/5 {
		t.Errorf("%d bytes from the edge, %d where it does not give way", with, without)
	}
}

// TestClasses: the class of a download and its time reach its plan. Who must be
// done by a time is, if it can be, and is counted if not.
func TestClasses(t *testing.T) {
	c := crowd(2, 8<<20, 0.1, 40, 100)
	c.Downloads[0].Linger = time.Hour
	c.Downloads[1] = Download{Host: 1, At: 10 * time.Second, Class: Background, FinishBy: 40 * time.Second}
	r := mustRun(t, c)
	if o := r.Outcomes[1]; !o.Done || o.Took > 30*time.Second || r.Violations != 0 {
		t.Errorf("%d violations, %+v", r.Violations, o)
	}
	c.Downloads[1].FinishBy = 11 * time.Second
	if r := mustRun(t, c); r.Violations != 1 {
		t.Errorf("%d violations of what cannot be", r.Violations)
	}
}

// TestBackground: a download that has time takes what a peer gives, though the edge
// would be five times as fast.
func TestBackground(t *testing.T) {
	c := crowd(2, 32<<20, 20, 100, 0)
	c.Downloads[0].Linger = time.Hour
	c.Downloads[1] = Download{Host: 1, At: time.Minute, Class: Background}
	o := mustRun(t, c).Outcomes[1]
	if !o.Done || o.FromEdge > 32<<20/8 {
		t.Errorf("%+v", o)
	}
}
