//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

const gateway = "127.0.0.1:7777"

// crowd has everybody watch the stream.
func (o options) crowd(ctx context.Context, peers bool) (*result, error) {
	r := &result{Case: o.name(), What: "edge", Live: o.live, Date: time.Now().UTC().Format(time.DateOnly)}
	if peers {
		r.What = "tandem"
	}
	err := rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		t, err := o.set(ctx, l, dir)
		if err != nil {
			return err
		}
		cc, err := t.edge.CongestionControl(ctx)
		if err != nil {
			return err
		}
		r.Machine = rig.ThisMachine(cc)
		before, err := t.edge.Counters(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		stop := r.sample(ctx, t.edge)
		r.Players, err = o.watch(ctx, t, peers)
		stop()
		if err != nil {
			return err
		}
		r.count(began)
		after, err := t.edge.Counters(ctx)
		r.Sent = after.Sent - before.Sent
		return errors.Join(err, o.compare(t, r))
	})
	return r, err
}

// sample looks at the edge's line every second until stop is called.
func (r *result) sample(ctx context.Context, edge *lab.Host) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		before, err := edge.Counters(ctx)
		for err == nil {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var now lab.Counters
			if now, err = edge.Counters(ctx); err == nil {
				r.Line = append(r.Line, 8*float64(now.Sent-before.Sent)/1e6)
				before = now
			}
		}
	}()
	return func() { cancel(); <-done }
}

// count adds up what players got in each second since began.
func (r *result) count(began time.Time) {
	r.Got = make([]float64, len(r.Line))
	for _, p := range r.Players {
		for _, a := range p.Arrived {
			if i := int(a.At - float64(began.UnixMilli())/1e3); i >= 0 && i < len(r.Got) {
				r.Got[i] += 8 * float64(a.Bytes) / 1e6
			}
		}
	}
}

// stage is where a crowd watches.
type stage struct {
	dir, www     string
	origin, edge *lab.Host
	url          string // of the edge
	visits       []visit
	homes        []*lab.Host // of each visit
}

// set sets the stage: origin and control on one host, the edge on another, players.
func (o options) set(ctx context.Context, l *lab.Lab, dir string) (*stage, error) {
	t := &stage{dir: dir, www: filepath.Join(dir, "www"), visits: o.visits()}
	if err := os.MkdirAll(t.www, 0o755); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	var err error
	if t.origin, err = l.Server(ctx, lab.Link{}); err != nil {
		return nil, err
	}
	if t.edge, err = l.Server(ctx, lab.Link{Up: o.link(o.edge)}); err != nil {
		return nil, err
	}
	if t.homes, err = l.Clients(ctx, len(t.visits), lab.Link{Up: o.link(o.up), Down: o.link(o.down)}, lab.Open); err != nil {
		return nil, err
	}
	if err := o.originate(ctx, t.origin, t.www, dir); err != nil {
		return nil, err
	}
	control, err := rig.Control(ctx, t.origin, o.Binary, filepath.Join(dir, "control"))
	if err != nil {
		return nil, err
	}
	t.url, err = rig.Edge(ctx, t.edge, o.Binary, "http://"+t.origin.IP.String(), control, filepath.Join(dir, "edge"))
	if err != nil || !o.live {
		return t, err
	}
	return t, rig.Sleep(ctx, time.Duration(8*o.segment)*time.Second) // until the playlist is full
}

// originate serves the stream from a host: by nginx, but for what needs an origin that
// holds requests.
func (o options) originate(ctx context.Context, h *lab.Host, www, dir string) error {
	if o.low {
		return o.publishLow(ctx, h, www, dir)
	}
	if err := o.publish(ctx, h, www, dir); err != nil {
		return err
	}
	conf := `types { application/vnd.apple.mpegurl m3u8; application/dash+xml mpd; video/mp2t ts; video/mp4 mp4 m4s; }`
	if o.live {
		conf += ` location ~ (m3u8|mpd)$ { add_header Cache-Control "max-age=1"; }`
	}
	return rig.Nginx(ctx, h, www, filepath.Join(dir, "nginx"), conf)
}

// watch has all visits happen.
func (o options) watch(ctx context.Context, t *stage, peers bool) ([]played, error) {
	all := make([]played, len(t.visits))
	var agents []*os.Process
	for _, h := range t.homes {
		if !peers {
			break
		}
		a, err := o.agent(ctx, t, h)
		if err != nil {
			return nil, err
		}
		agents = append(agents, a)
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, v := range t.visits {
		g.Go(func() error {
			if err := rig.Sleep(ctx, v.begins); err != nil {
				return err
			}
			var err error
			if all[i], err = o.visit(ctx, t, i, peers); err != nil {
				return fmt.Errorf("player %d: %w", i+1, err)
			}
			if v.killed && peers {
				return agents[i].Kill()
			}
			return nil
		})
	}
	return all, g.Wait()
}

// agent runs the agent of a player.
func (o options) agent(ctx context.Context, t *stage, h *lab.Host) (*os.Process, error) {
	return rig.Agent(ctx, h, o.Binary, filepath.Join(t.dir, h.Name), "--gateway", gateway,
		"--gateway-publisher", t.edge.IP.String()+":80", "--gateway-publisher", t.origin.IP.String()+":8090")
}

// visit runs a player to its end.
func (o options) visit(ctx context.Context, t *stage, i int, peers bool) (played, error) {
	self, err := os.Executable()
	if err != nil {
		return played{}, err
	}
	args := []string{playerArg, "-behind", o.behind.String(), "-low=" + strconv.FormatBool(o.low)}
	if v := t.visits[i]; v.ends > 0 {
		args = append(args, "-until", (v.ends - v.begins).String())
	}
	if peers {
		root := "/http/" + t.edge.IP.String() + "/"
		args = append(args, "-url", "http://"+gateway+root+o.index(), "-root", root)
	} else {
		args = append(args, "-url", t.url+"/"+o.index())
	}
	out, err := t.homes[i].Run(ctx, self, args...)
	if err != nil {
		return played{}, err
	}
	var told told
	err = json.Unmarshal(out, &told)
	told.Arrived, told.Given = told.Arrivals, told.Parts
	return told.played, err
}

// sum is the SHA-256 of what the origin has.
func (g given) sum(www string) (string, error) {
	b, err := os.ReadFile(filepath.Join(www, g.Path))
	if err != nil {
		return "", err
	}
	if end, ok := g.Range.End(); ok && end <= int64(len(b)) {
		b = b[g.Range.Offset:end]
	}
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:]), nil
}

// compare compares what players were given with what the origin has; of a live stream,
// with what the others were given where the origin has it no more.
func (o options) compare(t *stage, r *result) error {
	sums := map[given]string{}
	for _, p := range r.Players {
		for _, g := range p.Given {
			got := g.Sum
			g.Sum = ""
			if _, known := sums[g]; !known {
				want, err := g.sum(t.www)
				switch {
				case err == nil:
					sums[g] = want
				case o.live && errors.Is(err, os.ErrNotExist):
					sums[g] = got
				default:
					return fmt.Errorf("origin: %w", err)
				}
			}
			if got != sums[g] {
				return fmt.Errorf("%w: %s", errWrong, g.Path)
			}
		}
	}
	return nil
}
