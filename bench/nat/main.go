//go:build linux

// Command nat is the matrix of NAT kinds: for every pair of kinds one client
// gets a file and keeps sharing it, then the other gets it too, from an edge that
// has become slow. It reports which pairs linked and how, counted by the kernel on
// the second client, against what can be linked; what share came from the peer; and
// the time from the moment at which control named the peer to its first byte.
//
//	go run ./bench/nat
//	go run ./bench/nat -rtt 200ms -runs 3
//
// Figures go to bench/results. It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// sameLAN is the pair of two hosts behind one NAT.
const sameLAN = "same LAN"

type options struct {
	rig.Options
	mb      int64
	rate    float64
	edge    float64
	rtt     time.Duration
	flags   string
	timeout time.Duration
}

// pair is one cell of the matrix, of one run.
type pair struct {
	Seed      string  `json:"seed"`   // NAT of the client that has the file
	Client    string  `json:"client"` // NAT of the client that gets it
	TCP       int64   `json:"tcp"`    // bytes from the peer over TCP
	UDP       int64   `json:"udp"`    // bytes from the peer over UDP
	FromPeers float64 `json:"from_peers"`
	Seconds   float64 `json:"seconds"`
	First     float64 `json:"first_byte_seconds"` // 0: none came
}

type result struct {
	Date     string      `json:"date"`
	Bytes    int64       `json:"bytes"`
	Mbit     float64     `json:"client_mbit_per_second"`
	EdgeMbit float64     `json:"edge_mbit_per_second"`
	RTT      float64     `json:"rtt_ms"` // between any two hosts
	Pairs    []pair      `json:"pairs"`
	Machine  rig.Machine `json:"machine"`
}

func main() { rig.Main(bench) }

func bench(ctx context.Context) error {
	var o options
	flag.Int64Var(&o.mb, "mb", 16, "size of the file in MB")
	flag.Float64Var(&o.rate, "mbit", 50, "of each client, up and down, in Mbit/s")
	flag.Float64Var(&o.edge, "edge-mbit", 20, "of the edge once the first client has the file, in Mbit/s")
	flag.DurationVar(&o.rtt, "rtt", 40*time.Millisecond, "round trip between any two hosts")
	flag.StringVar(&o.flags, "flags", "", "further flags of tandem get")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "of one pair")
	o.Parse(1, "runs of every pair")
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	r := result{
		Date: time.Now().UTC().Format(time.DateOnly), Bytes: o.mb * 1e6, Mbit: o.rate, EdgeMbit: o.edge,
		RTT: float64(o.rtt) / float64(time.Millisecond),
	}
	for _, p := range pairs() {
		for range o.Runs {
			if r.Machine, err = o.measure(ctx, &p); err != nil {
				return fmt.Errorf("%s – %s: %w", p.Seed, p.Client, err)
			}
			fmt.Printf("%-10s – %-10s %s\n", p.Seed, p.Client, p)
			r.Pairs = append(r.Pairs, p)
		}
	}
	fmt.Print("\n", r.table(), "\n")
	if !o.Save {
		return nil
	}
	if err := rig.WriteJSON("nat", r); err != nil {
		return err
	}
	return rig.WriteTable("nat", "# NAT matrix\n\nMade by `go run ./bench/nat`.\n\n"+
		r.table()+"\n"+rig.List([]string{r.Date + ": " + r.Machine.String()}))
}

// pairs are all ordered pairs of kinds, and two hosts of one network.
func pairs() []pair {
	kinds := []lab.NAT{lab.Open, lab.Cone, lab.Renumbered, lab.Symmetric, lab.Firewalled}
	all := []pair{{Seed: sameLAN, Client: sameLAN}}
	for _, a := range kinds {
		for _, b := range kinds {
			all = append(all, pair{Seed: string(a), Client: string(b)})
		}
	}
	return all
}

// possible says whether a pair can be linked: one side takes what comes, or both let
// in whom they have sent to, at a port that the other can know. A symmetric NAT has a
// new port for everybody.
func (p pair) possible() bool {
	open := func(kind string) bool { return kind == string(lab.Open) || kind == sameLAN }
	fixed := func(kind string) bool { return kind != string(lab.Symmetric) }
	return open(p.Seed) || open(p.Client) || fixed(p.Seed) && fixed(p.Client)
}

func (o options) measure(ctx context.Context, p *pair) (m rig.Machine, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err = rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		s, err := o.build(ctx, l, dir, *p)
		if err != nil {
			return err
		}
		cc, err := s.Edge.CongestionControl(ctx)
		if err != nil {
			return err
		}
		m = rig.ThisMachine(cc)
		if err := (rig.Tandem{Binary: o.Binary}).Serve(ctx, s); err != nil {
			return err
		}
		return o.download(ctx, s, p)
	})
	return m, err
}

func (o options) build(ctx context.Context, l *lab.Lab, dir string, p pair) (rig.Site, error) {
	s := rig.Site{Dir: dir, WWW: filepath.Join(dir, "www")}
	s.File = filepath.Join(s.WWW, "file.bin")
	if err := os.MkdirAll(s.WWW, 0o755); err != nil {
		return s, fmt.Errorf("file of the matrix: %w", err)
	}
	if err := rig.RandomFile(o.mb * 1e6)(s.File); err != nil {
		return s, fmt.Errorf("file of the matrix: %w", err)
	}
	var err error
	if s.Edge, err = l.Server(ctx, lab.Link{Delay: o.rtt / 4}); err != nil {
		return s, err
	}
	s.URL = "http://" + s.Edge.IP.String() + "/file.bin"
	link := lab.Link{Up: lab.Rate(o.rate * float64(lab.Mbit)), Down: lab.Rate(o.rate * float64(lab.Mbit)), Delay: o.rtt / 4}
	if p.Seed == sameLAN {
		s.Clients, err = l.LAN(ctx, link, 2)
		return s, err
	}
	for _, kind := range []string{p.Seed, p.Client} {
		h, err := l.Client(ctx, link, lab.NAT(kind))
		if err != nil {
			return s, err
		}
		s.Clients = append(s.Clients, h)
	}
	return s, nil
}

// download lets the seed get the file, then measures the client with the seed there.
func (o options) download(ctx context.Context, s rig.Site, p *pair) error {
	seed, client := s.Clients[0], s.Clients[1]
	_, _, stopSeed, err := o.get(ctx, s, seed, "seed")
	if err != nil {
		return err
	}
	defer stopSeed()
	if err := s.Edge.Throttle(ctx, lab.Rate(o.edge*float64(lab.Mbit))); err != nil {
		return err
	}
	if err := watch(ctx, client); err != nil {
		return err
	}
	got, log, stop, err := o.get(ctx, s, client, "client", "--log-level", "debug")
	if err != nil {
		return err
	}
	defer stop()
	p.Seconds = got.Seconds
	if all := got.FromEdge + got.FromPeers; all > 0 {
		p.FromPeers = float64(got.FromPeers) / float64(all)
	}
	if p.First, err = firstByte(log); err != nil {
		return err
	}
	p.TCP, p.UDP, err = watched(ctx, client)
	return err
}

// get downloads the file on a host that goes on sharing until stop, and returns the
// name of its log beside the outcome.
func (o options) get(ctx context.Context, s rig.Site, h *lab.Host, name string, flags ...string) (rig.Outcome, string, func(), error) {
	flags = append(flags, strings.Fields(o.flags)...)
	d, err := rig.Get(ctx, h, o.Binary, s.URL, filepath.Join(s.Dir, name), flags...)
	if err != nil {
		return rig.Outcome{}, "", nil, err
	}
	all := []*rig.Download{d}
	got, _, stop, err := rig.Crowd(ctx, all)
	if err != nil {
		return rig.Outcome{}, "", nil, fmt.Errorf("%s: %w", name, err)
	}
	return got[0], d.Log, stop, rig.Same(s.File, all)
}

// linked is the least number of bytes that counts as a link in use.
const linked = 1 << 20

// none stands for the transport of a pair that has not linked.
const none = "none"

// how names the transport that carried the link, if there was one.
func (p pair) how() string {
	switch {
	case p.TCP > linked && p.UDP > linked:
		return "TLS/TCP and QUIC"
	case p.TCP > linked:
		return "TLS/TCP"
	case p.UDP > linked:
		return "QUIC"
	}
	return none
}

func (p pair) String() string {
	return fmt.Sprintf("%-8s %3.0f %% from the peer, first byte after %s, %.2f s", p.how(), 100*p.FromPeers, p.first(), p.Seconds)
}

// first is the time to the first byte for people.
func (p pair) first() string {
	if p.First == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f s", p.First)
}

func (r result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f MB, clients %g Mbit/s each way, edge %g Mbit/s, round trips of %g ms. First byte: from when control has named the peer.\n\n",
		float64(r.Bytes)/1e6, r.Mbit, r.EdgeMbit, r.RTT)
	b.WriteString("| who has it | who gets it | can be linked | link | from the peer | first byte | time |\n|---|---|---|---|---|---|---|\n")
	var firsts []float64
	linked, possible := 0, 0
	for _, p := range r.Pairs {
		can := "no"
		if p.possible() {
			can = "yes"
			possible++
			if p.how() != none {
				linked++
				firsts = append(firsts, p.First)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.0f %% | %s | %.2f s |\n",
			p.Seed, p.Client, can, p.how(), 100*p.FromPeers, p.first(), p.Seconds)
	}
	fmt.Fprintf(&b, "\nLinked: %d of %d that can be. Time to the first byte: median %.2f s, p95 %.2f s.\n",
		linked, possible, rig.Median(firsts), rig.Quantile(firsts, 0.95))
	return b.String()
}
