//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

const (
	ours = "tandem"
	// edgeRate is what the edge sends while a client gets the file from the other.
	edgeRate = 200 * lab.Mbit
	// torrentPiece is what libtorrent's pieces are, as large as ours of 4 GiB.
	torrentPiece = 4 << 20
)

// system is a way to move the file.
type system struct {
	name     string
	settings map[string]any // of libtorrent
}

func (s *site) systems() (all []system) {
	if s.what != "libtorrent" {
		all = append(all, system{name: ours})
	}
	if s.what == ours {
		return all
	}
	// By uTP it moves 8 MB/s here. Fast is its own preset for fast seeds, with what
	// fills one fast connection.
	fast := func(writes int) map[string]any {
		return map[string]any{
			"enable_outgoing_utp": false, "enable_incoming_utp": false,
			"max_out_request_queue": 1500, "max_queued_disk_bytes": 7 << 20, "max_peer_recv_buffer_size": 5 << 20,
			"send_buffer_low_watermark": 1 << 20, "send_buffer_watermark": 3 << 20, "send_buffer_watermark_factor": 150,
			"send_not_sent_low_watermark": 512 << 10, "suggest_mode": 0, "hashing_threads": 2, "disk_write_mode": writes,
		}
	}
	return append(all,
		system{"libtorrent", map[string]any{"enable_outgoing_utp": false, "enable_incoming_utp": false}},
		system{"libtorrent, fast", fast(2)},
		system{"libtorrent, fast, pwrite", fast(0)})
}

// site is the machine that both clients are on.
type site struct {
	options
	host      *lab.Host
	dir       string
	file, url string
	seeder    string // directory of the seeding tandem
	seederPID int
}

func (s *site) torrent() string { return filepath.Join(s.dir, "file.torrent") }

// prepare makes the file, and a tandem that has it and shares it from then on.
func (o options) prepare(ctx context.Context, l *lab.Lab, dir string) (*site, error) {
	edge, err := l.Server(ctx, lab.Link{})
	if err != nil {
		return nil, err
	}
	h, err := l.Client(ctx, lab.Link{}, lab.Open)
	if err != nil {
		return nil, err
	}
	s := &site{options: o, host: h, dir: dir, url: "http://" + edge.IP.String() + "/file", seeder: filepath.Join(dir, "seeder")}
	www := filepath.Join(dir, "www")
	s.file = filepath.Join(www, "file")
	if err := os.Mkdir(www, 0o755); err != nil {
		return nil, fmt.Errorf("file to move: %w", err)
	}
	if err := rig.RandomFile(o.mib << 20)(s.file); err != nil {
		return nil, fmt.Errorf("file to move: %w", err)
	}
	if o.what != ours {
		if err := rig.MakeTorrent(ctx, s.file, "", torrentPiece, s.torrent()); err != nil {
			return nil, err
		}
	}
	if o.what == "libtorrent" {
		return s, nil
	}
	if err := rig.Serve(ctx, edge, o.Binary, www, filepath.Join(dir, "edge")); err != nil {
		return nil, err
	}
	seed, err := rig.Get(ctx, h, o.Binary, s.url, s.seeder)
	if err != nil {
		return nil, err
	}
	if _, _, _, err := rig.Crowd(ctx, []*rig.Download{seed}); err != nil {
		return nil, fmt.Errorf("seeder: %w", err)
	}
	s.seederPID = seed.Cmd.Process.Pid
	return s, edge.Throttle(ctx, edgeRate)
}

// run moves the file once, from a disk that has done its work.
func (s *site) run(ctx context.Context, y system) (run, error) {
	dir := filepath.Join(s.dir, "getter")
	from := s.file
	if y.name == ours {
		from = filepath.Join(s.seeder, "file")
	}
	if err := errors.Join(rig.Discard(dir), rig.Uncache(from)); err != nil {
		return run{}, err
	}
	seed, get, stop, err := s.clients(ctx, y, dir)
	if err != nil {
		return run{}, err
	}
	defer stop()
	before, err := seed.CPU()
	if err != nil {
		return run{}, err
	}
	got, _, end, err := rig.Crowd(ctx, []*rig.Download{get})
	if err != nil {
		return run{}, err
	}
	defer end()
	r := run{Seconds: got[0].Seconds, FromPeers: 1}
	if y.name == ours {
		r.FromPeers = float64(got[0].FromPeers) / float64(got[0].FromPeers+got[0].FromEdge)
	}
	after, err := seed.CPU()
	if err != nil {
		return run{}, err
	}
	r.SeedCPU = after - before
	getter := rig.Group(get.Cmd.Process.Pid)
	var errs [3]error
	r.GetCPU, errs[0] = getter.CPU()
	_, r.GetRSS, errs[1] = getter.Memory()
	_, r.SeedRSS, errs[2] = seed.Memory()
	return r, errors.Join(append(errs[:], rig.SameFile(s.file, get.File))...)
}

// clients are one that has the file and is ready to share it until stop is called, and
// one that is to get it into dir.
func (s *site) clients(ctx context.Context, y system, dir string) (seed rig.Group, get *rig.Download, stop func(), err error) {
	if y.name == ours {
		get, err = rig.Get(ctx, s.host, s.Binary, s.url, dir, strings.Fields(s.flags)...)
		return rig.Group(s.seederPID), get, func() {}, err
	}
	const seedAt, getAt = "127.0.0.1:6881", "127.0.0.1:6882"
	has, err := rig.Torrent(ctx, s.host, s.torrent(), filepath.Dir(s.file), "file", y.settings, seedAt, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	has.Log = filepath.Join(s.dir, "seed.log")
	if _, _, stop, err = rig.Crowd(ctx, []*rig.Download{has}); err != nil {
		return 0, nil, nil, fmt.Errorf("seeder: %w", err)
	}
	get, err = rig.Torrent(ctx, s.host, s.torrent(), dir, "file", y.settings, getAt, []string{seedAt})
	if err != nil {
		stop()
	}
	return rig.Group(has.Cmd.Process.Pid), get, stop, err
}
