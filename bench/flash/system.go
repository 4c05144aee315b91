//go:build linux

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
		return rig.Tandem{Binary: o.binary, Flags: strings.Fields(o.flags)}
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

//go:embed torrent.py
var libtorrentScript []byte

const python = "/usr/bin/python3" // Debian's, which python3-libtorrent belongs to

func (torrent) script(s rig.Site) string  { return filepath.Join(s.Dir, "torrent.py") }
func (torrent) torrent(s rig.Site) string { return filepath.Join(s.Dir, "file.torrent") }

func (t torrent) Serve(ctx context.Context, s rig.Site) error {
	if err := exec.CommandContext(ctx, python, "-c", "import libtorrent").Run(); err != nil {
		return errors.Join(errors.New("libtorrent is not installed (Debian: python3-libtorrent)"), err)
	}
	if err := os.WriteFile(t.script(s), libtorrentScript, 0o644); err != nil {
		return fmt.Errorf("libtorrent: %w", err)
	}
	make := exec.CommandContext(ctx, python, t.script(s), "make", s.File, s.URL, strconv.Itoa(t.pieceSize), t.torrent(s))
	if out, err := make.CombinedOutput(); err != nil {
		return fmt.Errorf("libtorrent: make the torrent: %w\n%s", err, out)
	}
	return rig.Plain{}.Serve(ctx, s)
}

func (t torrent) Client(ctx context.Context, s rig.Site, h *lab.Host, dir string) (*rig.Download, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("libtorrent: %w", err)
	}
	transport := "tcp"
	if t.utp {
		transport = "utp"
	}
	args := []string{t.script(s), "get", t.torrent(s), dir, transport, h.IP.String()}
	for _, p := range s.Clients {
		if p != h {
			args = append(args, p.IP.String())
		}
	}
	return &rig.Download{
		Cmd:  h.Command(ctx, python, args...),
		File: filepath.Join(dir, filepath.Base(s.File)),
		Log:  filepath.Join(dir, "log"),
	}, nil
}
