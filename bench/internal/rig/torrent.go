//go:build linux

package rig

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/tandem-cdn/tandem/test/lab"
)

//go:embed torrent.py
var torrentScript string

const python = "/usr/bin/python3" // Debian's, which python3-libtorrent belongs to

// MakeTorrent has libtorrent make a torrent of file, with the web seed url unless that
// is empty.
func MakeTorrent(ctx context.Context, file, url string, pieceSize int, torrent string) error {
	if err := exec.CommandContext(ctx, python, "-c", "import libtorrent").Run(); err != nil {
		return errors.Join(errors.New("libtorrent is not installed (Debian: python3-libtorrent)"), err)
	}
	if url == "" {
		url = "-"
	}
	cmd := exec.CommandContext(ctx, python, "-c", torrentScript, "make", file, url, strconv.Itoa(pieceSize), torrent)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("libtorrent: make the torrent: %w\n%s", err, out)
	}
	return nil
}

// Torrent is a libtorrent client on a host that has a torrent's file, named name, in
// dir or gets it there, and shares it until it is killed. Settings are libtorrent's
// own, listen and peers addresses with ports.
func Torrent(ctx context.Context, h *lab.Host, torrent, dir, name string, settings map[string]any, listen string, peers []string) (*Download, error) {
	b, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("libtorrent: settings: %w", err)
	}
	args := append([]string{"-c", torrentScript, "get", torrent, dir, string(b), listen}, peers...)
	d := &Download{Cmd: h.Command(ctx, python, args...), File: filepath.Join(dir, name), Log: filepath.Join(dir, "log")}
	return d, mkdir(dir)
}
