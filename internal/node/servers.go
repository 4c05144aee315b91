package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/control"
	"github.com/tandem-cdn/tandem/internal/edge"
	"github.com/tandem-cdn/tandem/internal/edge/signedurl"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// ControlPath is where Serve mounts control.
const ControlPath = wire.WellKnownPath + "/control"

// Serve runs an edge in front of a directory, and control, behind one door.
func Serve(ctx context.Context, dir string, c config.Serve, env Env) (err error) {
	data, err := dataDir(c.Data, "serve")
	if err != nil {
		return err
	}
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return configError("%s: %w", dir, cmp.Or(err, errors.New("not a directory")))
	}
	d, err := openDoor(c.Listen, data, c.TLS, env.Logger)
	if err != nil {
		return err
	}
	ctl, err := newControl(filepath.Join(data, "control"), d.Addr().String(), c.Cell, env)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	e, err := newEdge(edge.Config{
		Origin: dir, Data: filepath.Join(data, "edge"), Control: []string{ControlPath + sessionPath},
	}, c.Policy, env)
	if err != nil {
		return errors.Join(err, ctl.Close(), d.Close())
	}
	err = runParts(ctx,
		part{"control", ctl.Run},
		part{"edge", e.Run},
		d.open(mount(ctl.Handler(), e.Handler()), env))
	return errors.Join(err, e.Close(), ctl.Close())
}

// mount puts control below the edge's well-known path. It does not use
// http.ServeMux, which redirects paths like "//a" that a directory may know.
func mount(control, edge http.Handler) http.Handler {
	control = http.StripPrefix(ControlPath, control)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, ControlPath+"/") {
			control.ServeHTTP(w, r)
			return
		}
		edge.ServeHTTP(w, r)
	})
}

// Edge runs an edge.
func Edge(ctx context.Context, c config.Edge, env Env) (err error) {
	if c.Origin == "" {
		return configError("no origin: which URL or directory is to be served?")
	}
	controls, err := sessionURLs(c.Control)
	if err != nil {
		return err
	}
	data, err := dataDir(c.Data, "edge")
	if err != nil {
		return err
	}
	d, err := openDoor(c.Listen, data, c.TLS, env.Logger)
	if err != nil {
		return err
	}
	e, err := newEdge(edge.Config{
		Origin: c.Origin, Data: data, Control: controls, MaxCache: int64(c.CacheSize),
	}, c.Policy, env)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	err = runParts(ctx, part{"edge", e.Run}, d.open(e.Handler(), env))
	return errors.Join(err, e.Close())
}

// Control runs a node of the control plane.
func Control(ctx context.Context, c config.Control, env Env) (err error) {
	data, err := dataDir(c.Data, "control")
	if err != nil {
		return err
	}
	d, err := openDoor(c.Listen, data, c.TLS, env.Logger)
	if err != nil {
		return err
	}
	ctl, err := newControl(data, d.Addr().String(), c.Cell, env)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	err = runParts(ctx, part{"control", ctl.Run}, d.open(ctl.Handler(), env))
	return errors.Join(err, ctl.Close())
}

func newEdge(ec edge.Config, p config.Policy, env Env) (*edge.Edge, error) {
	verifier, err := urlVerifier(p)
	if err != nil {
		return nil, err
	}
	token := []byte{}
	if p.AdminTokenFile != "" {
		if token, err = os.ReadFile(p.AdminTokenFile); err != nil {
			return nil, configError("admin token: %w", err)
		}
	}
	if err := os.MkdirAll(ec.Data, 0o700); err != nil {
		return nil, configError("data directory: %w", err)
	}
	if p.MaxRequests < 0 {
		return nil, configError("max-requests %d: want 0, for no limit, or more", p.MaxRequests)
	}
	if err := wire.CheckMirrors(p.Mirrors); err != nil {
		return nil, configError("mirrors: %w", err)
	}
	ec.MaxRequests, ec.Gateway, ec.NoStreams = p.MaxRequests, p.AllowGateways, p.Streams == "off"
	ec.Mirrors, ec.Policy = p.Mirrors, wire.Policy{P2P: wire.P2P(p.P2P)}
	ec.SignedURLs, ec.PublicURL, ec.AllowOrigin = verifier, p.PublicURL, p.AllowOrigin
	ec.AdminToken, ec.Logger = strings.TrimSpace(string(token)), env.Logger
	return edge.New(ec)
}

// urlVerifier is nil where URLs need no signature.
func urlVerifier(p config.Policy) (*signedurl.Verifier, error) {
	if len(p.URLKeys) == 0 {
		return nil, nil //nolint:nilnil // edge.Config has it so
	}
	v := &signedurl.Verifier{Audience: p.URLAudience}
	for _, path := range p.URLKeys {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, configError("keys of signed URLs: %w", err)
		}
		var set wire.JWKS
		if err := json.Unmarshal(b, &set); err != nil {
			return nil, configError("keys of signed URLs: %s: %w", path, err)
		}
		keys := set.Public()
		if len(keys) == 0 {
			return nil, configError("keys of signed URLs: %s has no Ed25519 key", path)
		}
		v.Keys = append(v.Keys, keys...)
	}
	return v, nil
}

func newControl(data, listen string, c config.Cell, env Env) (*control.Control, error) {
	cc := control.Config{
		Data: data, Listen: listen, STUN: c.STUN, AdvertiseSTUN: c.AdvertiseSTUN,
		CountryDB: c.CountryDB, ASNDB: c.ASNDB, MaxSessions: c.MaxSessions, Logger: env.Logger,
	}
	var err error
	if cc.TrustedProxies, err = prefixes("trusted-proxies", c.TrustedProxies); err != nil {
		return nil, err
	}
	if cc.Operators, err = prefixes("operators", c.Operators); err != nil {
		return nil, err
	}
	for _, s := range c.Publishers {
		var k wire.Key
		if err := k.UnmarshalText([]byte(s)); err != nil {
			return nil, configError("publishers: %w", err)
		}
		cc.Publishers = append(cc.Publishers, k.Public())
	}
	return control.New(cc)
}
