package scenario

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/scenarios"
)

func mustParse(t *testing.T, text string, sets ...string) *File {
	t.Helper()
	f, err := Parse("test", []byte(text), sets)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestShipped reads every scenario that comes with the program, draws a world of
// every run, and sees that it is the same again.
func TestShipped(t *testing.T) {
	for _, name := range scenarios.Names() {
		t.Run(name, func(t *testing.T) {
			b, err := scenarios.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			f := mustParse(t, string(b))
			if f.Scenario.Title == "" || f.Scenario.About == "" || len(f.Scenario.Expect) == 0 {
				t.Error("a shipped scenario has a title, says what it is about, and expects something")
			}
			small, err := Parse(name, b, []string{"hosts.count=120", "hosts.ases.count=9", "hosts.countries.count=3", "arrivals.count=60"})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range small.Runs {
				a, b := r.Scenario.Config(7), r.Scenario.Config(7)
				if !reflect.DeepEqual(a, b) {
					t.Errorf("run %q: one seed, two worlds", r.Name)
				}
				if len(a.Downloads) == 0 {
					t.Errorf("run %q: nobody wants anything", r.Name)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"unknown at the top", "hosts: {count: 1}\nobjcts: {count: 1}\n", `line 2, column 1: objcts: no such field, did you mean "objects"?`},
		{"unknown inside", "hosts:\n  count: 1\n  cuont: 2\n", `line 3, column 3: hosts.cuont: no such field, did you mean "count"?`},
		{"unknown in a list", "hosts:\n  count: 1\n  links:\n    - {down: 1mbit, upp: 2mbit}\n", `line 4, column 21: hosts.links.0.upp: no such field, did you mean "up"?`},
		{"nothing near", "hosts: {count: 1}\nzzzzzz: 1\n", `line 2, column 1: zzzzzz: no such field; there are title, `},
		{"out of range", "hosts: {count: 0}\n", `line 1, column 16: hosts.count: 0 is not from 1 to 2000000`},
		{"no number", "hosts:\n  count: many\n", `line 2, column 10: hosts.count: "many" is no whole number`},
		{"fraction", "hosts: {count: 1.5}\n", `"1.5" is no whole number`},
		{"not a number", "hosts: {count: 1, rho: .nan}\n", `hosts.rho: want one value`},
		{"share", "hosts: {count: 1, uploaders: 110%}\n", `hosts.uploaders: "110%" is no share`},
		{"rate", "hosts: {count: 1}\nedges: [{rate: 5Mb}]\n", `line 2, column 16: edges.0.rate: rate "5Mb"`},
		{"rate too small", "hosts: {count: 1}\nedges: [{rate: 1bit}]\n", `edges.0.rate: 1bit is not from 8kbit to`},
		{"duration", "hosts: {count: 1}\nend: soon\n", `line 2, column 6: end: "soon" is no time`},
		{"duration too long", "hosts: {count: 1}\nend: 400d\n", `end: 400d is not from 1s to 90d`},
		{"negative duration", "hosts: {count: 1}\nend: -5s\n", `end: "-5s" is no time`},
		{"word", "hosts: {count: 1}\narrivals: {pattern: poison, over: 1m}\n", `line 2, column 21: arrivals.pattern: "poison" is none of at-once, even, poisson, release, did you mean "poisson"?`},
		{"truth", "hosts: {count: 1}\npolicy: {alone: yes}\n", `policy.alone: "yes" is neither true nor false`},
		{"ablation", "hosts: {count: 1}\npolicy: {ablate: [inorder]}\n", `policy.ablate.0: "inorder" is none of in-order, seed-duty, give-way, locality, rotation, stealing, did you mean "in-order"?`},
		{"list wanted", "hosts: {count: 1}\nedges: {rate: 1mbit}\n", `line 2, column 8: edges: want a list`},
		{"fields wanted", "hosts: 5\n", `line 1, column 8: hosts: want fields`},
		{"value wanted", "hosts: {count: [1]}\n", `hosts.count: want one value`},
		{"no value", "hosts:\n  count:\n", `line 2, column 3: hosts.count: no value`},
		{"no hosts", "end: 1m\n", `hosts.count: say how many hosts there are`},
		{"links do not add up", "hosts:\n  count: 9\n  links:\n    - {share: 50%, down: 1mbit}\n    - {share: 40%, down: 1mbit}\n", `line 4, column 5: hosts.links: the shares make 90%, not 100%`},
		{"nat", "hosts: {count: 1, nat: {cone: 70%, symmetric: 50%}}\n", `hosts.nat: the shares make 120%`},
		{"linking", "hosts:\n  count: 1\n  linking: certainly\n", `line 3, column 12: hosts.linking: "certainly" is none of by-chance, certain, did you mean "certain"?`},
		{"certain of the unknown", "hosts:\n  count: 1\n  nat: {unknown: 5%}\n  linking: certain\n", `line 4, column 12: hosts.linking: links of hosts whose NAT is unknown are not certain`},
		{"conduct", "hosts: {count: 1, conduct: {liars: 70%, stallers: 50%}}\n", `hosts.conduct: the shares make 120%`},
		{"link without rate", "hosts: {count: 1, links: [{share: 1}]}\n", `hosts.links.0: no down rate`},
		{"more groups than hosts", "hosts: {count: 3, ases: {count: 9}}\n", `hosts.ases.count: 9 groups of 3 hosts`},
		{"arrivals without time", "hosts: {count: 3}\narrivals: {pattern: even}\n", `line 2, column 21: arrivals.pattern: even arrivals need a time: over`},
		{"arrivals after the end", "hosts: {count: 3}\nend: 1m\narrivals: {pattern: even, over: 2m}\n", `arrivals.over: 2m is after the end, 1m`},
		{"finish-by", "hosts: {count: 3}\ndownloads: {finish-by: 1h}\n", `downloads.finish-by: only background downloads have one`},
		{"fault", "hosts: {count: 3}\nedges: [{faults: [{from: 5s, to: 5s}]}]\n", `edges.0.faults.0: ends at 5s, before it begins at 5s`},
		{"outage", "hosts: {count: 3}\ncontrol: {outages: [{from: 5s}]}\n", `control.outages.0: ends at 0s`},
		{"wipes", "hosts: {count: 3}\ncontrol: {wipes: [9s, 5s]}\n", `control.wipes: not in order`},
		{"no edges", "hosts: {count: 3}\nedges: []\n", `edges: at least one edge is needed`},
		{"copies", "hosts: {count: 3}\nseeders: {copies: 4}\n", `seeders.copies: 4 copies on 3 hosts`},
		{"retention", "hosts: {count: 3}\nseeders: {retention: 7d}\n", `seeders.retention: needs arrivals over a time`},
		{"online alone", "hosts: {count: 3, online: 1h}\n", `hosts.online: online and offline belong together`},
		{"sessions", "hosts: {count: 2000000, online: 1s, offline: 1s}\nend: 7d\n", `hosts.online: more than 20000000 sessions`},
		{"piece", "hosts: {count: 3}\nobjects: {piece: 100K}\n", `objects.piece: 100K is no power of two`},
		{"pieces", "hosts: {count: 3}\nobjects: {size: 1000G, piece: 16K}\n", `objects.piece: 16K makes more than`},
		{"distribution", "hosts: {count: 3}\nobjects: {size: {pareto: 1G}}\n", `objects.size.pareto: no such field`},
		{"no distribution", "hosts: {count: 3}\nobjects: {size: {max: 1G}}\n", `objects.size: want a value or one of lognormal, exponential, weibull`},
		{"open-ended sizes", "hosts: {count: 3}\nobjects: {size: {lognormal: 1G, sigma: 1}}\n", `objects.size: a distribution of sizes needs a max`},
		{"shape", "hosts: {count: 3}\ndownloads: {linger: {weibull: 5m}}\n", `downloads.linger: want a shape of 0.1 to 20`},
		{"two distributions", "hosts: {count: 3}\ndownloads: {linger: {weibull: 5m, exponential: 1m}}\n", `a second distribution`},
		{"figure", "hosts: {count: 3}\nexpect: [{figure: makespan-ration, max: 2}]\n", `line 2, column 19: expect.0.figure: "makespan-ration" is no figure, did you mean "makespan-ratio"?`},
		{"no bound", "hosts: {count: 3}\nexpect: [{figure: makespan}]\n", `expect.0: want a min or a max`},
		{"bound", "hosts: {count: 3}\nexpect: [{figure: makespan, max: low}]\n", `expect.0.max: "low" is no bound`},
		{"unpaired", "hosts: {count: 3}\nexpect: [{figure: ratio-p99, max: 1}]\n", `expect.0.figure: ratio-p99 needs "against: edge-only"`},
		{"run of an expectation", "hosts: {count: 3}\nruns: [{name: a}, {name: b}]\nexpect: [{figure: makespan, run: c, max: 1}]\n", `expect.0.run: no run is named "c"; there are "a", "b"`},
		{"nameless run", "hosts: {count: 3}\nruns: [{set: {end: 1m}}]\n", `runs.0: a run needs a name`},
		{"twice", "hosts: {count: 3}\nruns: [{name: a}, {name: a}]\n", `runs.1: a run needs a name of its own`},
		{"bad value of a run", "hosts: {count: 3}\nruns:\n  - name: a\n    set: {hosts.rho: x}\n", `line 4, column 22: hosts.rho: "x" is no number`},
		{"bad field of a sweep", "hosts: {count: 3}\nsweep:\n  hosts.cout: [1]\n", `line 3, column 16: hosts.cout: no such field, did you mean "count"?`},
		{"sweep of no list", "hosts: {count: 3}\nsweep: {hosts.count: 5}\n", `sweep.hosts.count: want a list of values`},
		{"sweep of what is fixed", "hosts: {count: 3}\nsweep: {title: [a]}\n", `title is the same in all runs`},
		{"sweep too wide", "hosts: {count: 3}\nsweep: {seed: [" + strings.Repeat("1, ", 64) + "1]}\n", `sweep: more than 64 runs`},
		{"index", "hosts: {count: 3}\nsweep: {edges.1.rate: [1mbit]}\n", `edges.1: there are 1 of them`},
		{"into a number", "hosts: {count: 3}\nsweep: {end.x: [1]}\n", `end has no fields`},
		{"no kind of stream", "hosts: {count: 3}\nstream: {length: 1m}\n", `line 2, column 9: stream.kind: say whether it is live or vod`},
		{"kind of stream", "hosts: {count: 3}\nstream: {kind: film}\n", `line 2, column 16: stream.kind: "film" is none of live, vod`},
		{"endless film", "hosts: {count: 3}\nstream: {kind: vod}\n", `stream.length: say how long the film is`},
		{"short film", "hosts: {count: 3}\nstream: {kind: vod, length: 3s}\n", `line 2, column 29: stream.length: 3s is shorter than a segment, 4s`},
		{"small buffer", "hosts: {count: 3}\nstream: {kind: live, buffer: 2s}\n", `stream.buffer: 2s is shorter than a segment, 4s`},
		{"ahead of its time", "hosts: {count: 3}\nstream: {kind: live, behind: 3s}\n", `stream.behind: 3s is less than a segment, 4s`},
		{"film behind", "hosts: {count: 3}\nstream: {kind: vod, length: 1m, behind: 5s}\n", `stream.behind: only live streams have one`},
		{"pieces of a stream", "hosts: {count: 3}\nstream: {kind: live, piece: 100K}\n", `stream.piece: 100K is no power of two`},
		{"long stream", "hosts: {count: 3}\nend: 30d\nstream: {kind: live, segment: 100ms, piece: 16K, rate: 1gbit}\n", `are more than`},
		{"too much to simulate", "hosts: {count: 1000000}\nend: 1h\nstream: {kind: live}\n", `for 1000000 viewers are more than can be simulated`},
		{"viewers without hosts", "hosts: {count: 3}\narrivals: {count: 4}\nstream: {kind: live}\n", `line 2, column 19: arrivals.count: more viewers than hosts (3)`},
		{"stream of files", "hosts: {count: 3}\nstream: {kind: live}\nobjects: {size: 1M}\n", `line 3, column 10: objects: a stream has none`},
		{"stream ablated", "hosts: {count: 3}\nstream: {kind: live}\npolicy: {ablate: [give-way]}\n", `policy.ablate: give-way is of downloads`},
		{"liars", "hosts: {count: 3, conduct: {liars: 5%}}\nstream: {kind: live}\n", `hosts.conduct.liars: there are none in streams`},
		{"figure of downloads", "hosts: {count: 3}\nstream: {kind: live}\nexpect: [{figure: copies, max: 2}]\n", `expect.0.figure: copies is of downloads`},
		{"figure of streams", "hosts: {count: 3}\nexpect: [{figure: stalled, max: 0}]\n", `expect.0.figure: stalled is of streams`},
		{"fact", "hosts: {count: 3}\nfacts: [{figure: a, value: b, known: guessed}]\n", `facts.0.known: "guessed" is none of read, recalled, inferred`},
		{"half a fact", "hosts: {count: 3}\nfacts: [{figure: a}]\n", `facts.0: a fact has`},
		{"anchor", "hosts: &a {count: 3}\n", `anchors, aliases and tags are not taken here`},
		{"alias", "hosts: {count: 3}\ncontrol: *a\n", `not taken here`},
		{"duplicate", "hosts: {count: 3}\nhosts: {count: 4}\n", `line 2, column 1: `},
		{"syntax", "hosts: {count: 3\n", `line 1, `},
		{"documents", "hosts: {count: 3}\n---\nhosts: {count: 3}\n", `more than one document`},
		{"no mapping", "- a\n", `line 1, `},
		{"deep", "a: " + strings.Repeat("[", 17), `nested deeper than 16`},
		{"long", "# " + strings.Repeat("x", 64<<10), `over 65536 bytes`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("test", []byte(c.in), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\n want %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
		})
	}
}

func TestSets(t *testing.T) {
	const text = "hosts:\n  count: 10\n  links:\n    - {share: 50%, down: 1mbit}\n    - {share: 50%, down: 2mbit}\n"
	f := mustParse(t, text, "hosts.count=20", "hosts.links.down=9mbit", "hosts.links.1.up=3mbit", "policy.ablate=[locality, rotation]", "downloads.linger={exponential: 5m}")
	s := f.Scenario
	if s.Hosts.Count != 20 || s.Hosts.Links[0].Down != mbit(9) || s.Hosts.Links[1].Down != mbit(9) || s.Hosts.Links[0].Up != 0 || s.Hosts.Links[1].Up != mbit(3) {
		t.Errorf("hosts: %+v", s.Hosts)
	}
	if len(s.Policy.Ablate) != 2 || s.Downloads.Linger.Kind != "exponential" {
		t.Errorf("policy %+v, downloads %+v", s.Policy, s.Downloads)
	}
	for set, want := range map[string]string{
		"hosts.count=none": `hosts.count: "none" is no whole number`,
		"host.count=3":     `host: no such field, did you mean "hosts"?`,
		"hosts.count":      `"hosts.count" sets nothing; want field=value`,
		"hosts.count=":     `sets nothing`,
		"hosts.rho=1e9":    `hosts.rho: 1e9 is not from 0 to 100`,
	} {
		if _, err := Parse("test", []byte(text), []string{set}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "line") {
			t.Errorf("%s: %v, want %s", set, err, want)
		}
	}
}

func TestRuns(t *testing.T) {
	f := mustParse(t, `
hosts: {count: 10}
runs:
  - {name: a}
  - {name: b, set: {policy.ablate: [in-order], hosts.uploaders: 31%}}
sweep:
  hosts.count: [10, 20]
  hosts.rho: [0.5]
expect:
  - {figure: offload, run: b, over: a, max: 1}
  - {figure: offload, run: b hosts.count=20 hosts.rho=0.5, min: 10%}
`)
	var names []string
	for _, r := range f.Runs {
		names = append(names, r.Name)
	}
	want := []string{"a hosts.count=10 hosts.rho=0.5", "a hosts.count=20 hosts.rho=0.5", "b hosts.count=10 hosts.rho=0.5", "b hosts.count=20 hosts.rho=0.5"}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("runs %q, want %q", names, want)
	}
	last := f.Runs[3]
	if s := last.Scenario; s.Hosts.Count != 20 || s.Hosts.Rho != 0.5 || s.Hosts.Uploaders != 0.31 || len(s.Policy.Ablate) != 1 {
		t.Errorf("last run: %+v", s.Hosts)
	}
	if len(f.Runs[0].Scenario.Policy.Ablate) != 0 || f.Scenario.Hosts.Count != 10 {
		t.Error("what one run changes is seen by another")
	}
	if want := [2]string{"policy.ablate", "[in-order]"}; last.Set[0] != want {
		t.Errorf("set %q, want %q", last.Set[0], want)
	}
}

func TestFields(t *testing.T) {
	f := mustParse(t, "hosts: {count: 10}\nobjects: {size: {lognormal: 1G, sigma: 0.7, max: 8G}}\ndownloads: {linger: forever}\nend: 90m\n")
	got := map[string]string{}
	for _, kv := range f.Scenario.Fields() {
		got[kv[0]] = kv[1]
	}
	for k, want := range map[string]string{
		"hosts.count": "10", "objects.size": "lognormal 1G (0.7), at most 8G", "downloads.linger": "forever",
		"end": "1h30m", "hosts.links.0.down": "20mbit", "hosts.uploaders": "100%",
	} {
		if got[k] != want {
			t.Errorf("%s is %q, want %q", k, got[k], want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range scenarios.Names() {
		if b, err := scenarios.Read(name); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("hosts: {count: 2, nat: {cone: 1}}\nsweep: {edges.0.rate: [1mbit]}\n"))
	f.Add([]byte("hosts: &a {count: 1}\nx: *a\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<12 {
			return
		}
		file, err := Parse("fuzz", b, nil)
		if err != nil {
			return
		}
		s := &file.Runs[0].Scenario
		if s.hostCount() > 200 || s.wantCount()*s.Objects.Count > 2000 || s.Seeders != (Seeders{}) || s.Hosts.Online.Mid > 0 || s.Hosts.ASes.Count > 200 || s.streams() && s.Stream.segments() > 1e5 {
			return
		}
		if c := s.Config(1); len(c.Hosts) != s.hostCount() {
			t.Fatalf("%d hosts, want %d", len(c.Hosts), s.hostCount())
		}
	})
}
