//go:build linux

// Command versions measures what the next version of a file costs somebody who has
// the one before: the program against zsync and rsync, in turn, in the lab.
//
//	go run ./bench/versions
//	go run ./bench/versions -runs 3 -mb 1000 -rate 100
//
// Two new versions of a file of random bytes are fetched: "edits" has 100 edits of
// 100 KB at random places, a third each replacements, insertions, and insertions in
// place of half as much; "front" has 1 KB put in front. Bytes are those that crossed
// the client's link, both ways and with all headers. What the publisher prepares
// beforehand (manifest and chunk map, .zsync file) is not timed; rsync has nothing to
// prepare and reads the file at every request. Then a crowd that has the old version
// fetches "edits" of a smaller file at once, to see how often the edge sends what
// changed. Figures go to bench/results. It needs
// root, and zsync, rsync and nginx.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	rig.Options
	mb    int64
	rate  int64
	crowd int
}

func main() { rig.Main(bench) }

func bench(ctx context.Context) error {
	var o options
	flag.Int64Var(&o.mb, "mb", 1000, "size of the old version in MB (1,000,000 bytes)")
	flag.Int64Var(&o.rate, "rate", 100, "downlink of the client in Mbit/s, the uplink is a fifth; 0 is as fast as the machine can")
	flag.IntVar(&o.crowd, "crowd", 16, "clients that update at once; 0: none")
	o.Parse(1, "runs of each; medians are compared")
	for _, program := range []string{"zsync", "zsyncmake", "rsync", "nginx"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: on Debian, apt-get install zsync rsync nginx-light", program)
		}
	}
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	var r *result
	err = rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) (err error) {
		r, err = o.measure(ctx, l, dir)
		return err
	})
	if err != nil {
		return err
	}
	for run := 0; run < o.Runs && o.crowd > 0; run++ {
		c, err := o.measureCrowd(ctx, o.crowd)
		if err != nil {
			return fmt.Errorf("crowd, run %d: %w", run+1, err)
		}
		fmt.Printf("run %d crowd: %+v\n", run+1, c)
		r.Crowds = append(r.Crowds, c)
	}
	fmt.Print("\n", r.table())
	if !o.Save {
		return nil
	}
	if err := rig.WriteJSON("versions", r); err != nil {
		return err
	}
	return rig.WriteTable("versions", r.table())
}

// world is what the systems run in.
type world struct {
	o      options
	dir    string
	old    string // the old version
	www    string // the new ones
	tandem *lab.Host
	plain  *lab.Host // nginx and rsync
	client *lab.Host
}

func (o options) measure(ctx context.Context, l *lab.Lab, dir string) (*result, error) {
	w := &world{o: o, dir: dir, old: filepath.Join(dir, "old"), www: filepath.Join(dir, "www")}
	if err := w.prepare(ctx, l); err != nil {
		return nil, err
	}
	cc, err := w.client.CongestionControl(ctx)
	if err != nil {
		return nil, err
	}
	r := &result{Date: time.Now().UTC().Format(time.DateOnly), Rate: o.rate, Size: o.mb * 1e6, Machine: rig.ThisMachine(cc)}
	for run := range o.Runs {
		for _, version := range versions {
			for _, s := range systems() {
				m, err := w.run(ctx, s, version)
				if err != nil {
					return nil, fmt.Errorf("%s, %s, run %d: %w", s.name, version, run+1, err)
				}
				fmt.Printf("run %d %-5s %-6s: %.2f s, %d bytes (%.3f %%)\n", run+1, version, s.name, m.Seconds, m.Bytes, 100*float64(m.Bytes)/float64(r.Size))
				r.Runs = append(r.Runs, m)
			}
		}
	}
	return r, nil
}

// prepare makes the files and starts the servers.
func (w *world) prepare(ctx context.Context, l *lab.Lab) error {
	if err := os.Mkdir(w.www, 0o755); err != nil {
		return err
	}
	if err := makeVersions(w.old, w.www, w.o.mb*1e6); err != nil {
		return fmt.Errorf("make the versions: %w", err)
	}
	for _, v := range versions {
		cmd := exec.CommandContext(ctx, "zsyncmake", "-u", v, "-o", v+".zsync", v)
		cmd.Dir = w.www
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("zsyncmake: %w\n%s", err, out)
		}
	}
	for _, h := range []**lab.Host{&w.tandem, &w.plain} {
		host, err := l.Server(ctx, lab.Link{})
		if err != nil {
			return err
		}
		*h = host
	}
	rate := lab.Rate(w.o.rate) * lab.Mbit
	var err error
	if w.client, err = l.Client(ctx, lab.Link{Up: rate / 5, Down: rate}, lab.Open); err != nil {
		return err
	}
	if err := w.startRsync(ctx); err != nil {
		return err
	}
	state := filepath.Join(w.dir, "nginx")
	if err := os.Mkdir(state, 0o755); err != nil {
		return err
	}
	if err := rig.Nginx(ctx, w.plain, w.www, state); err != nil {
		return err
	}
	if state = filepath.Join(w.dir, "serve"); os.Mkdir(state, 0o755) != nil {
		return fmt.Errorf("directory %s", state)
	}
	if err := rig.Serve(ctx, w.tandem, w.o.Binary, w.www, state); err != nil {
		return err
	}
	return w.awaitManifests(ctx)
}

func (w *world) startRsync(ctx context.Context) error {
	conf := filepath.Join(w.dir, "rsyncd.conf")
	text := fmt.Sprintf("use chroot = no\nuid = root\ngid = root\n[www]\npath = %s\nread only = yes\n", w.www)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := w.plain.Command(ctx, "rsync", "--daemon", "--no-detach", "--config="+conf)
	return rig.Background(cmd, filepath.Join(w.dir, "rsyncd.log"))
}

// awaitManifests waits until the edge has hashed the files.
func (w *world) awaitManifests(ctx context.Context) error {
	for _, v := range versions {
		for {
			out, err := w.client.Run(ctx, "curl", "-sI", "http://"+w.tandem.IP.String()+"/"+v)
			if err != nil {
				return fmt.Errorf("ask the edge: %w", err)
			}
			if strings.Contains(strings.ToLower(string(out)), "repr-digest") {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return nil
}

// run fetches a version with a system into a fresh directory, and checks it.
func (w *world) run(ctx context.Context, s system, version string) (m measured, err error) {
	dir, err := os.MkdirTemp(w.dir, "run-")
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, "new")
	line, err := s.command(w, version, dir, out)
	if err != nil {
		return m, err
	}
	syscall.Sync() // what was written before is not to be paid for now
	before, err := w.client.Counters(ctx)
	if err != nil {
		return m, err
	}
	cmd := w.client.Command(ctx, line[0], line[1:]...)
	cmd.Dir = dir
	began := time.Now()
	if text, err := cmd.CombinedOutput(); err != nil {
		return m, fmt.Errorf("%s: %w\n%s", line[0], err, text)
	}
	m = measured{System: s.name, Version: version, Seconds: time.Since(began).Seconds()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.CPU = time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	after, err := w.client.Counters(ctx)
	if err != nil {
		return m, err
	}
	m.Bytes = after.Sent + after.Received - before.Sent - before.Received
	if same, err := exec.CommandContext(ctx, "cmp", out, filepath.Join(w.www, version)).CombinedOutput(); err != nil {
		return m, fmt.Errorf("the file is not the new version: %w\n%s", err, same)
	}
	return m, nil
}
