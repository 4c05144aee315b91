//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

const (
	perSecond = "requests/s"
	gbps      = "GB/s"
	distinct  = 1000 // small objects asked for in turn
)

func (o options) clear(ctx context.Context, s *site) ([]*result, error) {
	return s.bulkCase(ctx, false)
}

func (o options) tls(ctx context.Context, s *site) ([]*result, error) { return s.bulkCase(ctx, true) }

// servers starts nginx with files, nginx with a cache and the edge, with a cache
// and in front of the directory.
func (s *site) servers(ctx context.Context, tls bool) (all []*server, err error) {
	if err := s.certify(); err != nil {
		return nil, err
	}
	origin, err := s.nginxFiles(ctx, "origin", 8100, false)
	if err != nil {
		return nil, err
	}
	for i, start := range []func(port int) (*server, error){
		func(port int) (*server, error) { return s.nginxFiles(ctx, "nginx", port, tls) },
		func(port int) (*server, error) { return s.nginxCache(ctx, "nginx proxy_cache", port, tls, origin.base) },
		func(port int) (*server, error) { return s.edge(ctx, "edge, cache", port, tls, origin.base) },
		func(port int) (*server, error) { return s.edge(ctx, "edge, directory", port, tls, s.files()) },
	} {
		v, err := start(8101 + i)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func rows(all []*server) (rows []*row) {
	for _, v := range all {
		rows = append(rows, v.row)
	}
	return rows
}

func (s *site) bulkCase(ctx context.Context, tls bool) ([]*result, error) {
	if err := os.MkdirAll(s.files(), 0o755); err != nil {
		return nil, err
	}
	if err := rig.RandomFile(s.bulk)(filepath.Join(s.files(), "bulk.bin")); err != nil {
		return nil, err
	}
	all, err := s.servers(ctx, tls)
	if err != nil {
		return nil, err
	}
	if err := s.same(ctx, all, "/bulk.bin"); err != nil {
		return nil, err
	}
	how := "clear text"
	if tls {
		how = "TLS 1.3, AES-128-GCM"
	}
	var results []*result
	for _, conns := range []int{1, 4} {
		for _, v := range all {
			v.row = &row{Server: v.name}
		}
		for range s.Runs {
			for _, v := range all {
				if err := s.bulkRun(ctx, v, conns); err != nil {
					return nil, err
				}
			}
		}
		results = append(results, &result{
			What: fmt.Sprintf("%d MB, %s, %d at a time", s.bulk/1e6, how, conns), Unit: gbps, Rows: rows(all),
		})
	}
	return results, nil
}

// same makes sure that all servers give the same bytes, and has them cached.
func (s *site) same(ctx context.Context, all []*server, path string) error {
	want := ""
	for range 2 {
		for _, v := range all {
			g, err := s.ask(ctx, load{mode: "hash", url: v.base + path})
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			if want == "" {
				want = g.SHA256
			}
			if g.SHA256 != want {
				return fmt.Errorf("%s gives other bytes", v.name)
			}
		}
	}
	return nil
}

func (s *site) bulkRun(ctx context.Context, v *server, conns int) error {
	before, err := v.group().CPU()
	if err != nil {
		return err
	}
	g, err := s.ask(ctx, load{mode: "bulk", url: v.base + "/bulk.bin", conns: conns, last: s.last})
	if err != nil {
		return fmt.Errorf("%s: %w", v.name, err)
	}
	after, err := v.group().CPU()
	if err != nil {
		return err
	}
	v.row.Values = append(v.row.Values, float64(g.Bytes)/1e9/g.Seconds)
	v.row.CPU = append(v.row.CPU, (after-before)/(float64(g.Bytes)/1e9))
	return nil
}

// smallObjects has wrk ask for a thousand small objects in turn, in clear text and
// over TLS.
func (o options) smallObjects(ctx context.Context, s *site) ([]*result, error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return nil, errors.New("wrk is not installed (Debian: wrk)")
	}
	dir := filepath.Join(s.files(), "small")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for i := range distinct {
		if err := rig.RandomFile(o.small)(filepath.Join(dir, strconv.Itoa(i))); err != nil {
			return nil, err
		}
	}
	script := filepath.Join(s.dir, "small.lua")
	if err := os.WriteFile(script, fmt.Appendf(nil, `local r, n = {}, 0
init = function() for i = 0, %[1]d do r[i] = wrk.format("GET", "/small/" .. i) end end
request = function() n = n + 1; if n > %[1]d then n = 0 end; return r[n] end
`, distinct-1), 0o644); err != nil {
		return nil, err
	}
	var results []*result
	for _, tls := range []bool{false, true} {
		r, err := s.smallCase(ctx, tls, script)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func (s *site) smallCase(ctx context.Context, tls bool, script string) (r *result, err error) {
	how := "clear text"
	if tls {
		how = "TLS 1.3"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all, err := s.servers(ctx, tls)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, v := range all {
			err = errors.Join(err, v.stop(context.WithoutCancel(ctx)))
		}
	}()
	for _, v := range all {
		g, err := s.ask(ctx, load{mode: "many", url: v.base + "/small/", conns: 8, n: distinct})
		if err != nil || g.Bytes != s.small*distinct {
			return nil, fmt.Errorf("%s: %d bytes: %w", v.name, g.Bytes, errors.Join(err, errors.New("not all small objects came")))
		}
	}
	for range s.Runs {
		for _, v := range all {
			if err := s.wrk(ctx, v, script); err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
		}
	}
	return &result{What: fmt.Sprintf("%d objects of %d KB, %s, 32 connections", distinct, s.small/1e3, how), Unit: perSecond, Rows: rows(all)}, nil
}

func (s *site) wrk(ctx context.Context, v *server, script string) error {
	before, err := v.group().CPU()
	if err != nil {
		return err
	}
	out, err := s.host.Run(ctx, "wrk", "-t1", "-c32", fmt.Sprintf("-d%ds", int(s.last.Seconds())), "-s", script, v.base)
	if err != nil {
		return err
	}
	after, err := v.group().CPU()
	if err != nil {
		return err
	}
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return fmt.Errorf("wrk: %s", out)
	}
	n := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
	rate := regexp.MustCompile(`Requests/sec:\s+([\d.]+)`).FindSubmatch(out)
	if n == nil || rate == nil {
		return fmt.Errorf("wrk said: %s", out)
	}
	count, _ := strconv.ParseFloat(string(n[1]), 64)
	each, _ := strconv.ParseFloat(string(rate[1]), 64)
	v.row.Values = append(v.row.Values, each)
	v.row.CPU = append(v.row.CPU, (after-before)/count*1e5)
	return nil
}

// memory fills an edge with small objects and looks at what it holds: when all are
// there, after all were asked for once more, and after a restart.
func (o options) memory(ctx context.Context, s *site) ([]*result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const origin = "http://127.0.0.1:8100"
	cmd := s.host.Command(ctx, self, childArg, "-mode", "origin", "-url", origin, "-size", fmt.Sprint(o.small))
	if err := rig.Background(cmd, filepath.Join(s.dir, "origin.log")); err != nil {
		return nil, err
	}
	if err := s.answers(ctx, &server{name: "origin", base: origin}); err != nil {
		return nil, err
	}
	r := &result{What: fmt.Sprintf("Memory with %d objects of %d KB", o.objects, o.small/1e3), Unit: "MB resident"}
	ask := func(v *server, what string) error {
		g, err := s.ask(ctx, load{mode: "many", url: v.base + "/o/", conns: 16, n: o.objects})
		if err != nil || g.Bytes != o.small*int64(o.objects) {
			return fmt.Errorf("%s: %d bytes: %w", what, g.Bytes, errors.Join(err, errors.New("not everything came")))
		}
		now, most, err := v.group().Memory()
		if err != nil {
			return err
		}
		fmt.Printf("%s: %.0f MB, %.0f MB at most, %.0f requests/s\n", what, now, most, float64(o.objects)/g.Seconds)
		r.Rows = append(r.Rows, &row{Server: what, Values: []float64{now}}, &row{Server: what + ", at most so far", Values: []float64{most}})
		return nil
	}
	v, err := s.edge(ctx, "edge", 8101, false, origin, "--cache-size", "40G")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(ask(v, "filled"), ask(v, "all asked for once more")); err != nil {
		return nil, err
	}
	if err := v.stop(ctx); err != nil { // by SIGKILL
		return nil, err
	}
	began := time.Now()
	if v, err = s.edge(ctx, "edge", 8101, false, origin, "--cache-size", "40G"); err != nil {
		return nil, err
	}
	fmt.Printf("started again in %.1f s\n", time.Since(began).Seconds())
	if err := ask(v, "after kill −9 and a restart, all asked for"); err != nil {
		return nil, err
	}
	files := 0
	err = filepath.WalkDir(filepath.Join(s.dir, "edge"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	})
	r.Rows = append(r.Rows, &row{Server: "files on disk (number)", Values: []float64{float64(files)}})
	return []*result{r}, err
}
