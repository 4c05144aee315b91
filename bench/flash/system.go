//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// torrentSettings are transport and piece size in KiB.
func torrentSettings() []string {
	return []string{"libtorrent-tcp-64", "libtorrent-tcp-256", "libtorrent-utp-64", "libtorrent-utp-256"}
}

// expand turns a name on the command line into names of systems.
func expand(name string) ([]string, error) {
	switch {
	case name == "tandem", name == "http", slices.Contains(torrentSettings(), name):
		return []string{name}, nil
	case name == "libtorrent":
		return torrentSettings(), nil
	case name == "all":
		return append([]string{"tandem", "http"}, torrentSettings()...), nil
	}
	return nil, fmt.Errorf("no system %q: there are tandem, http, %s, libtorrent and all", name, strings.Join(torrentSettings(), ", "))
}

func systemOf(name string, o options) rig.System {
	switch name {
	case "tandem":
		return rig.Tandem{Binary: o.Binary, Flags: strings.Fields(o.flags)}
	case "http":
		return rig.Plain{}
	}
	parts := strings.Split(name, "-")
	kib, _ := strconv.Atoi(parts[2]) // one of torrentSettings
	return torrent{utp: parts[1] == "utp", pieceSize: kib << 10}
}

// torrent is libtorrent with nginx as its web seed; every client knows every
// other.
type torrent struct {
	utp       bool
	pieceSize int
}

func (torrent) path(s rig.Site) string { return filepath.Join(s.Dir, "file.torrent") }

func (t torrent) Serve(ctx context.Context, s rig.Site) error {
	if err := rig.MakeTorrent(ctx, s.File, s.URL, t.pieceSize, t.path(s)); err != nil {
		return err
	}
	return rig.Plain{}.Serve(ctx, s)
}

func (t torrent) Client(ctx context.Context, s rig.Site, h *lab.Host, dir string) (*rig.Download, error) {
	addr := func(h *lab.Host) string { return h.IP.String() + ":6881" }
	var peers []string
	for _, p := range s.Clients {
		if p != h {
			peers = append(peers, addr(p))
		}
	}
	settings := map[string]any{"enable_outgoing_utp": t.utp, "enable_incoming_utp": t.utp}
	return rig.Torrent(ctx, h, t.path(s), dir, filepath.Base(s.File), settings, addr(h), peers)
}
