//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// rest is how long memory is idle where that matters.
const rest = 5 * time.Second

// fills times the first download of a big object through a cold cache; of the edge
// until its manifest is there. Where the host of a virtual machine takes memory away
// that is not used, the first write to each page costs ten times as much: so both
// states are measured.
func (o options) fills(ctx context.Context, s *site) (results []*result, err error) {
	if err := os.MkdirAll(s.files(), 0o755); err != nil {
		return nil, err
	}
	if err := rig.RandomFile(o.fill)(filepath.Join(s.files(), "fill.bin")); err != nil {
		return nil, err
	}
	if err := s.certify(); err != nil {
		return nil, err
	}
	origin, err := s.nginxFiles(ctx, "origin", 8100, false)
	if err != nil {
		return nil, err
	}
	for _, state := range []struct {
		what  string
		reach func(context.Context) error
	}{
		{"into memory that was in use a moment before", s.warm},
		{"into memory that was idle for " + rest.String(), func(ctx context.Context) error { return rig.Sleep(ctx, rest) }},
	} {
		rows, err := s.fillCase(ctx, origin, state.reach)
		if err != nil {
			return nil, err
		}
		results = append(results, &result{
			What: fmt.Sprintf("Fill of %d MB from another nginx on the machine, %s", o.fill/1e6, state.what), Unit: "seconds", Rows: rows,
		})
	}
	return results, nil
}

// fillCase has nginx and the edge filled in turn, each time in the state that ready
// brings about.
func (s *site) fillCase(ctx context.Context, origin *server, ready func(context.Context) error) ([]*row, error) {
	nginx, edge := &row{Server: "nginx proxy_cache"}, &row{Server: "edge, with manifest"}
	for i := range s.Runs {
		if err := ready(ctx); err != nil {
			return nil, err
		}
		err := s.fillOnce(ctx, nginx, func(name string) (*server, error) {
			return s.nginxCache(ctx, name, 8101, false, origin.base)
		}, fmt.Sprintf("nginx-%d", i))
		if err == nil {
			err = ready(ctx)
		}
		if err != nil {
			return nil, err
		}
		err = s.fillOnce(ctx, edge, func(name string) (*server, error) {
			return s.edge(ctx, name, 8102, false, origin.base)
		}, fmt.Sprintf("edge-%d", i))
		if err != nil {
			return nil, err
		}
	}
	return []*row{nginx, edge}, nil
}

func (s *site) fillOnce(ctx context.Context, r *row, start func(name string) (*server, error), name string) error {
	v, err := start(name)
	if err != nil {
		return err
	}
	began := time.Now()
	g, err := s.ask(ctx, load{mode: "bulk", url: v.base + "/fill.bin"})
	if err != nil || g.Bytes != s.fill {
		return fmt.Errorf("%s: %d bytes: %w", name, g.Bytes, errors.Join(err, errors.New("not everything came")))
	}
	if strings.HasPrefix(name, "edge") {
		if err := s.manifest(ctx, v); err != nil {
			return err
		}
	}
	r.Values = append(r.Values, time.Since(began).Seconds())
	cpu, err := v.group().CPU()
	if err != nil {
		return err
	}
	r.CPU = append(r.CPU, cpu/(float64(s.fill)/1e9))
	fmt.Printf("%s: %.2f s (%.2f s for the bytes), %.2f CPU-s\n", name, r.Values[len(r.Values)-1], g.Seconds, cpu)
	if err := v.stop(ctx); err != nil {
		return err
	}
	// What one fill leaves for the disk to do must not slow the next.
	if err := os.RemoveAll(s.state(name)); err != nil {
		return err
	}
	return exec.CommandContext(ctx, "sync").Run()
}

// warm uses as much memory as a fill needs, and frees it.
func (s *site) warm(context.Context) error {
	name := filepath.Join(s.dir, "warm")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for n := int64(0); err == nil && n < s.fill+s.fill/4; n += int64(len(block)) {
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close(), os.Remove(name))
}

// manifest waits for the manifest that the response names.
func (s *site) manifest(ctx context.Context, v *server) error {
	out, err := s.host.Run(ctx, "curl", "-sI", v.base+"/fill.bin")
	if err != nil {
		return err
	}
	link := regexp.MustCompile(`(?i)link: <([^>]+)>`).FindSubmatch(out)
	if link == nil {
		return fmt.Errorf("no manifest is named: %s", out)
	}
	_, err = s.host.Run(ctx, "curl", "-sf", "--retry", "20", "-o", "/dev/null", v.base+string(link[1]))
	return err
}
