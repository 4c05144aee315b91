//go:build linux

// Command nat is the matrix of NAT kinds: for every pair of kinds one client
// gets a file and keeps sharing it, then the other gets it too. It reports which
// pairs linked and how, counted by the kernel on the second client, what share
// came from the peer, and the time against a download from the edge alone.
//
//	go run ./bench/nat
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
	mb      int64
	rate    float64
	binary  string
	flags   string
	timeout time.Duration
	save    bool
}

// pair is one cell of the matrix.
type pair struct {
	Seed      string  `json:"seed"`   // NAT of the client that has the file
	Client    string  `json:"client"` // NAT of the client that gets it
	TCP       int64   `json:"tcp"`    // bytes from the peer over TCP
	UDP       int64   `json:"udp"`    // bytes from the peer over UDP
	FromPeers float64 `json:"from_peers"`
	Seconds   float64 `json:"seconds"`
	EdgeOnly  float64 `json:"edge_only_seconds"`
}

type result struct {
	Date    string      `json:"date"`
	Bytes   int64       `json:"bytes"`
	Mbit    float64     `json:"client_mbit_per_second"`
	Pairs   []pair      `json:"pairs"`
	Machine rig.Machine `json:"machine"`
}

func main() { rig.Main(bench) }

func bench(ctx context.Context) error {
	var o options
	flag.Int64Var(&o.mb, "mb", 64, "size of the file in MB")
	flag.Float64Var(&o.rate, "mbit", 50, "of each client, up and down, in Mbit/s")
	flag.StringVar(&o.binary, "binary", "", "tandem program to run (default: built from ./cmd/tandem)")
	flag.StringVar(&o.flags, "flags", "", "further flags of tandem get")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "of one pair")
	flag.BoolVar(&o.save, "save", true, "keep figures in bench/results")
	flag.Parse()
	_, remove, err := rig.Tools(ctx, &o.binary)
	if err != nil {
		return err
	}
	defer remove()
	r := result{Date: time.Now().UTC().Format(time.DateOnly), Bytes: o.mb * 1e6, Mbit: o.rate}
	for _, p := range pairs() {
		if r.Machine, err = o.measure(ctx, &p); err != nil {
			return fmt.Errorf("%s – %s: %w", p.Seed, p.Client, err)
		}
		fmt.Printf("%-10s – %-10s %s\n", p.Seed, p.Client, p)
		r.Pairs = append(r.Pairs, p)
	}
	fmt.Print("\n", r.table(), "\n")
	if !o.save {
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
	kinds := []lab.NAT{lab.Open, lab.Cone, lab.Symmetric, lab.Firewalled}
	all := []pair{{Seed: sameLAN, Client: sameLAN}}
	for _, a := range kinds {
		for _, b := range kinds {
			all = append(all, pair{Seed: string(a), Client: string(b)})
		}
	}
	return all
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
		if err := (rig.Tandem{Binary: o.binary}).Serve(ctx, s); err != nil {
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
	if s.Edge, err = l.Server(ctx, lab.Link{}); err != nil {
		return s, err
	}
	s.URL = "http://" + s.Edge.IP.String() + "/file.bin"
	link := lab.Link{Up: lab.Rate(o.rate * float64(lab.Mbit)), Down: lab.Rate(o.rate * float64(lab.Mbit))}
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

// download measures the client from the edge alone, then lets the seed get the
// file, then measures the client with the seed there.
func (o options) download(ctx context.Context, s rig.Site, p *pair) error {
	seed, client := s.Clients[0], s.Clients[1]
	alone, stop, err := o.get(ctx, s, client, "alone", "--no-p2p")
	if err != nil {
		return err
	}
	stop()
	_, stopSeed, err := o.get(ctx, s, seed, "seed")
	if err != nil {
		return err
	}
	defer stopSeed()
	if err := watch(ctx, client); err != nil {
		return err
	}
	got, stop, err := o.get(ctx, s, client, "client")
	if err != nil {
		return err
	}
	defer stop()
	p.Seconds, p.EdgeOnly = got.Seconds, alone.Seconds
	if all := got.FromEdge + got.FromPeers; all > 0 {
		p.FromPeers = float64(got.FromPeers) / float64(all)
	}
	p.TCP, p.UDP, err = watched(ctx, client)
	return err
}

func (o options) get(ctx context.Context, s rig.Site, h *lab.Host, name string, flags ...string) (rig.Outcome, func(), error) {
	flags = append(flags, strings.Fields(o.flags)...)
	d, err := rig.Get(ctx, h, o.binary, s.URL, filepath.Join(s.Dir, name), flags...)
	if err != nil {
		return rig.Outcome{}, nil, err
	}
	all := []*rig.Download{d}
	got, _, stop, err := rig.Crowd(ctx, all)
	if err != nil {
		return rig.Outcome{}, nil, fmt.Errorf("%s: %w", name, err)
	}
	return got[0], stop, rig.Same(s.File, all)
}

// linked is the least number of bytes that counts as a link in use.
const linked = 1 << 20

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
	return "edge"
}

func (p pair) String() string {
	return fmt.Sprintf("%-8s %3.0f %% from the peer, %.2f s, edge alone %.2f s (%.2f ×)",
		p.how(), 100*p.FromPeers, p.Seconds, p.EdgeOnly, p.Seconds/p.EdgeOnly)
}

func (r result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f MB, clients %g Mbit/s each way, edge without limits.\n\n", float64(r.Bytes)/1e6, r.Mbit)
	b.WriteString("| who has it | who gets it | link | from the peer | time | time ÷ edge alone |\n|---|---|---|---|---|---|\n")
	for _, p := range r.Pairs {
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f %% | %.2f s | %.2f |\n",
			p.Seed, p.Client, p.how(), 100*p.FromPeers, p.Seconds, p.Seconds/p.EdgeOnly)
	}
	return b.String()
}
