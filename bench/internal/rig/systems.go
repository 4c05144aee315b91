//go:build linux

package rig

import (
	"context"
	"path/filepath"

	"github.com/tandem-cdn/tandem/test/lab"
)

// Tandem is this project: `tandem serve` and `tandem get`.
type Tandem struct {
	Binary string
	Flags  []string // further ones of tandem get
	Server []string // further ones of tandem serve
}

// Serve implements [System].
func (t Tandem) Serve(ctx context.Context, s Site) error {
	return Serve(ctx, s.Edge, t.Binary, s.WWW, filepath.Join(s.Dir, "serve"), t.Server...)
}

// Client implements [System].
func (t Tandem) Client(ctx context.Context, s Site, h *lab.Host, dir string) (*Download, error) {
	return Get(ctx, h, t.Binary, s.URL, dir, t.Flags...)
}

// Plain is curl from nginx, or from `tandem serve` where Binary is set.
type Plain struct{ Binary string }

// Serve implements [System].
func (p Plain) Serve(ctx context.Context, s Site) error {
	if p.Binary != "" {
		return Tandem{Binary: p.Binary}.Serve(ctx, s)
	}
	return Nginx(ctx, s.Edge, s.WWW, filepath.Join(s.Dir, "nginx"))
}

// Client implements [System].
func (Plain) Client(ctx context.Context, s Site, h *lab.Host, dir string) (*Download, error) {
	return Curl(ctx, h, s.URL, dir)
}
