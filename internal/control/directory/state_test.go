package directory

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A swarm goes from cold to swarm by what its members that upload have.
func TestStates(t *testing.T) {
	mute := uploader
	mute.Uploads = false
	tests := map[string]struct {
		members []who
		want    Summary
	}{
		"one begins":         {[]who{{facts: uploader}}, Summary{State: Cold, Members: 1, Uploaders: 1}},
		"two begin":          {[]who{{facts: uploader}, {facts: uploader, have: 100}}, Summary{State: Cold, Members: 2, Uploaders: 2, Copies: 0.1}},
		"one and a seed":     {[]who{{facts: uploader}, {facts: uploader, have: total}}, Summary{State: Seeding, Members: 2, Uploaders: 2, Seeds: 1, Copies: 1}},
		"a crowd begins":     {[]who{{facts: uploader}, {facts: uploader}, {facts: mute}}, Summary{State: Seeding, Members: 3, Uploaders: 2}},
		"two copies":         {[]who{{facts: uploader, have: total}, {facts: uploader, have: 500}, {facts: uploader, have: 500}}, Summary{State: Swarming, Members: 3, Uploaders: 3, Seeds: 1, Copies: 2}},
		"who does not share": {[]who{{facts: mute, have: total}, {facts: mute, have: total}, {facts: mute}}, Summary{State: Seeding, Members: 3, Seeds: 2}},
	}
	for name, tt := range tests {
		d := New(1)
		for i, w := range tt.members {
			w.n, w.ip = i, "20.0.0.1"
			d.Join(Scope{}, w.peer(), w.membership(), Query{Now: start})
		}
		got, states := d.Largest(10)
		if diff := cmp.Diff([]Summary{tt.want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if states[tt.want.State] != 1 {
			t.Errorf("%s: counted %v", name, states)
		}
	}
}

// saturate fills a directory with a crowd that had a tenth from its peers.
func saturate(n, reports int) *Directory {
	d := New(1)
	for i := range n {
		w := who{n: i, ip: "20.0.0.1", facts: uploader, have: total / 2}
		w.ip = []string{"20.0.0.1", "30.0.0.1", "40.0.0.1", "50.0.0.1"}[i%4]
		d.Join(Scope{}, w.peer(), w.membership(), Query{Now: start})
	}
	for range reports {
		d.Report(Scope{}, 900, 100, start)
	}
	return d
}

func state(d *Directory) State {
	all, _ := d.Largest(1)
	return all[0].State
}

// Where peers bring next to nothing, more of them bring no more.
func TestSaturated(t *testing.T) {
	newcomer := who{n: 1000, ip: "60.0.0.1", facts: uploader}
	seed := who{n: 1001, ip: "60.0.0.2", facts: uploader, have: total}
	count := func(d *Directory, w who) int {
		return len(d.Join(Scope{}, w.peer(), w.membership(), Query{Want: 40, Now: start}))
	}
	d := saturate(200, 3)
	if s := state(d); s != Saturated {
		t.Fatalf("state %s", s)
	}
	if n := count(d, newcomer); n != saturatedWant {
		t.Errorf("%d candidates in a saturated swarm, want %d", n, saturatedWant)
	}
	if n := count(d, seed); n <= saturatedWant {
		t.Errorf("%d candidates for a seed, which is what is lacking", n)
	}
	for name, d := range map[string]*Directory{"too few reports": saturate(200, 2), "a small swarm": saturate(SmallSwarm, 30)} {
		if s := state(d); s != Swarming {
			t.Errorf("%s: state %s", name, s)
		}
	}
	d.Report(Scope{}, 0, 5000, start.Add(shareHalf))
	if s := state(d); s != Swarming {
		t.Errorf("state %s after a download from peers", s)
	}
	d = saturate(200, 3)
	d.Report(Scope{}, 1, 0, start.Add(24*time.Hour))
	if s := state(d); s != Swarming {
		t.Errorf("state %s a day after", s)
	}
}

func TestLargest(t *testing.T) {
	d := New(1)
	for o := range 5 {
		for i := range o + 1 {
			w := who{n: i, ip: "20.0.0.1", facts: uploader}
			s := Scope{}
			s.Object[0] = byte(o)
			d.Join(s, w.peer(), w.membership(), Query{Now: start})
		}
	}
	got, states := d.Largest(2)
	if len(got) != 2 || got[0].Members != 5 || got[1].Members != 4 {
		t.Errorf("largest %+v", got)
	}
	if states[Cold] != 2 || states[Seeding] != 3 {
		t.Errorf("states %v", states)
	}
}
