//go:build linux

// Command get measures what a download without peers costs: one file from nginx over
// loopback (cubic) to a file on the disk, in clear text and over TLS, by curl, aria2
// and `tandem get`, in turn. nginx has AES-128-GCM for all.
//
//	go run ./bench/get
//	go run ./bench/get -case tls -mb 1000 -runs 3 -dir /var/tmp
//
// Figures go to bench/results. It needs root, nginx, curl and aria2, and room on the
// disk for two files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	rig.Options
	cases string
	mb    int64
	dir   string
}

// way is one program getting the file from one server, on the server's host.
type way struct {
	name, server string
	args         func(url, out, state, ca string) []string
}

type figures struct {
	Name   string     `json:"name"`
	Server string     `json:"server"`
	Runs   []rig.Cost `json:"runs"`
	Time   float64    `json:"time_to_curl"` // medians, ÷ those of curl
	CPU    float64    `json:"cpu_to_curl"`
}

type result struct {
	Case    string      `json:"case"` // clear or tls
	Date    string      `json:"date"`
	MB      int64       `json:"mb"`
	Ways    []*figures  `json:"ways"` // the first is the reference
	Machine rig.Machine `json:"machine"`
}

const (
	nginx     = "nginx"
	published = "nginx, manifest beside it"
)

func main() { rig.Main(bench) }

func parse() options {
	var o options
	flag.StringVar(&o.cases, "case", "clear,tls", "what to measure")
	flag.Int64Var(&o.mb, "mb", 4000, "size of the file in MB")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "directory on the disk to write to")
	o.Parse(5, "runs of each; medians are reported")
	return o
}

func (o options) ways() []way {
	curl := func(url, out, _, ca string) []string {
		return []string{"curl", "-sS", "-f", "--cacert", ca, "-o", out, url}
	}
	hashed := func(url, out, _, ca string) []string {
		return []string{"sh", "-c", `curl -sS -f --cacert "$2" "$0" | tee "$1" | sha256sum`, url, out, ca}
	}
	// It would write zeros first where nothing else is said.
	aria := func(url, out, _, ca string) []string {
		return []string{
			"aria2c", "-q", "--no-conf", "--file-allocation=falloc", "--ca-certificate=" + ca,
			"-d", filepath.Dir(out), "-o", filepath.Base(out), url,
		}
	}
	get := func(url, out, state, ca string) []string {
		return []string{o.Binary, "get", url, "-o", out, "--quiet", "--alone", "--data", state, "--ca", ca}
	}
	return []way{
		{"curl", nginx, curl},
		{"curl, tee, sha256sum", nginx, hashed},
		{"aria2", nginx, aria},
		{"tandem", nginx, get},
		{"tandem", published, get},
	}
}

func bench(ctx context.Context) error {
	o := parse()
	if _, err := exec.LookPath("aria2c"); err != nil {
		return fmt.Errorf("aria2 is not installed (Debian: aria2): %w", err)
	}
	if err := os.Setenv("TMPDIR", o.dir); err != nil {
		return fmt.Errorf("directory of the runs: %w", err)
	}
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	schemes := map[string]string{"clear": "http://", "tls": "https://"}
	for name := range strings.SplitSeq(o.cases, ",") {
		scheme := schemes[name]
		if scheme == "" {
			return fmt.Errorf("case %q: want some of clear, tls", name)
		}
		r := result{Case: name, Date: time.Now().UTC().Format(time.DateOnly), MB: o.mb}
		err := rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
			return o.measure(ctx, l, dir, scheme, &r)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.compare()
		fmt.Print("\n", r.table(), "\n")
		if o.Save {
			if err := rig.WriteJSON("get-"+name, r); err != nil {
				return err
			}
		}
	}
	if !o.Save {
		return nil
	}
	return table()
}

// measure serves the file, and gets it in all ways in turn.
func (o options) measure(ctx context.Context, l *lab.Lab, dir, scheme string, r *result) error {
	s, err := o.serve(ctx, l, dir)
	if err != nil {
		return err
	}
	cc, err := s.hosts[nginx].CongestionControl(ctx)
	if err != nil {
		return err
	}
	r.Machine = rig.ThisMachine(cc)
	ways := o.ways()
	for _, w := range ways {
		r.Ways = append(r.Ways, &figures{Name: w.name, Server: w.server})
	}
	if _, err := s.get(ctx, ways[0], scheme); err != nil { // the memory of the first one may have to be found
		return err
	}
	for i := range o.Runs {
		for k := range ways {
			k = (k + i) % len(ways) // nobody is always behind the same one
			w := ways[k]
			cost, err := s.get(ctx, w, scheme)
			if err == nil && i == 0 {
				err = rig.SameFile(s.file, s.out)
			}
			if err != nil {
				return fmt.Errorf("%s from %s: %w", w.name, w.server, err)
			}
			fmt.Printf("%-20s from %-26s %6.2f s, CPU %5.2f s, %3.0f MB resident\n", w.name, w.server, cost.Seconds, cost.CPU, cost.RSS)
			r.Ways[k].Runs = append(r.Ways[k].Runs, cost)
		}
	}
	return nil
}

// site is where the file is served, on a host for each kind of server.
type site struct {
	hosts      map[string]*lab.Host
	certs      map[string]string // by server
	file       string
	out, state string // what a run writes
}

// get is one run, which finds a disk that has done its work.
func (s *site) get(ctx context.Context, w way, scheme string) (rig.Cost, error) {
	if err := rig.Discard(s.out, s.state); err != nil {
		return rig.Cost{}, err
	}
	h := s.hosts[w.server]
	args := w.args(scheme+h.IP.String()+"/file.bin", s.out, s.state, s.certs[w.server])
	return rig.Measure(h.Command(ctx, args[0], args[1:]...))
}

func (o options) serve(ctx context.Context, l *lab.Lab, dir string) (*site, error) {
	s := &site{
		hosts: map[string]*lab.Host{}, certs: map[string]string{},
		out: filepath.Join(dir, "out"), state: filepath.Join(dir, "state"),
	}
	for _, server := range []string{nginx, published} {
		if err := o.start(ctx, l, s, server, dir); err != nil {
			return nil, err
		}
	}
	return s, rig.Sleep(ctx, 2*time.Second) // nothing of the start falls into the first run
}

// start starts a server of the file that all have.
func (o options) start(ctx context.Context, l *lab.Lab, s *site, server, dir string) error {
	h, err := l.Server(ctx, lab.Link{})
	if err != nil {
		return err
	}
	s.hosts[server] = h
	state, www := filepath.Join(dir, h.Name), filepath.Join(dir, h.Name, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return fmt.Errorf("file to deliver: %w", err)
	}
	path := filepath.Join(www, "file.bin")
	if s.file == "" {
		s.file = path
		err = rig.RandomFile(o.mb * 1e6)(path)
	} else {
		err = rig.Copy(s.file, path)
	}
	if err != nil {
		return fmt.Errorf("file to deliver: %w", err)
	}
	if server == published {
		control, err := rig.Control(ctx, h, o.Binary, filepath.Join(dir, "control"))
		if err != nil {
			return err
		}
		out, err := h.Run(ctx, o.Binary, "publish", www, "--key", filepath.Join(dir, "key"), "--control", control)
		if err != nil {
			return fmt.Errorf("publish: %w\n%s", err, out)
		}
	}
	cert, key, err := rig.Certify(state, h.IP.AsSlice())
	if err != nil {
		return err
	}
	s.certs[server] = cert
	return rig.Nginx(ctx, h, www, state, fmt.Sprintf("listen %s:443 ssl; ssl_certificate %s; ssl_certificate_key %s;", h.IP, cert, key),
		"ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;")
}

func (f *figures) median(of func(rig.Cost) float64) float64 { return rig.MedianOf(f.Runs, of) }

func (f *figures) seconds() float64 { return f.median(func(c rig.Cost) float64 { return c.Seconds }) }

func (f *figures) cpu() float64 { return f.median(func(c rig.Cost) float64 { return c.CPU }) }

// most is the largest of all runs.
func (f *figures) most() (mb float64) {
	for _, c := range f.Runs {
		mb = max(mb, c.RSS)
	}
	return mb
}

// compare divides by curl.
func (r *result) compare() {
	for _, f := range r.Ways {
		f.Time, f.CPU = f.seconds()/r.Ways[0].seconds(), f.cpu()/r.Ways[0].cpu()
	}
}

func (r *result) table() string {
	var b strings.Builder
	what := map[string]string{"clear": "in clear text", "tls": "over TLS 1.3 (AES-128-GCM)"}[r.Case]
	fmt.Fprintf(&b, "**%d MB %s**\n\n", r.MB, what)
	b.WriteString("| program | server | seconds (range) | MB/s | CPU-s | RSS MB, at most | time ÷ curl | CPU ÷ curl | runs |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range r.Ways {
		var all []float64
		for _, c := range f.Runs {
			all = append(all, c.Seconds)
		}
		fmt.Fprintf(&b, "| %s | %s | %.2f (%.2f–%.2f) | %.0f | %.2f | %.0f | **%.2f** | **%.2f** | %d |\n", f.Name, f.Server, f.seconds(),
			rig.Quantile(all, 0), rig.Quantile(all, 1), float64(r.MB)/f.seconds(), f.cpu(), f.most(), f.Time, f.CPU, len(f.Runs))
	}
	return b.String()
}

// table joins both cases, of this and of earlier runs.
func table() error {
	all, err := rig.ReadAll[*result]("get-")
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("no results yet")
	}
	var b strings.Builder
	b.WriteString("# Download without peers\n\nMade by `go run ./bench/get`: from the page cache of nginx, over loopback, to a file on the same machine; medians. " +
		"The programs take turns, and before each the file of the last one is removed and the disk left to finish (`sync`), after one run that does not count. " +
		"`tandem` ends with the SHA-256 of the whole, or of every piece where there is a manifest; curl and aria2 check nothing, but for the curl that `sha256sum` listens to. " +
		"A program is done when all is written to the page cache: nobody waits for the disk on purpose. CPU is that of the program, not of nginx.\n")
	var notes []string
	for _, r := range all {
		b.WriteString("\n" + r.table())
		notes = append(notes, r.Date+": "+r.Machine.String())
	}
	return rig.WriteTable("get", b.String()+"\n"+rig.List(notes))
}
