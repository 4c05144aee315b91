// Package edge is the HTTP server that publishers put in front of their content:
// it serves an origin's objects, makes and signs their manifests, and gives
// grants to the clients that may share them.
//
// An origin is a directory (package dir below this one) or another HTTP server
// (package cache). What the edge adds to a plain server are a few header fields
// and five resources under /.well-known/tandem; every other URL is the origin's.
package edge

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/dir"
	"github.com/tandem-cdn/tandem/internal/edge/signedurl"
	"github.com/tandem-cdn/tandem/internal/edge/streams"
	"github.com/tandem-cdn/tandem/internal/keyfile"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// MinShared is the size in bytes from which responses carry a link to the
	// manifest: sharing smaller objects costs more than it saves. Their manifests
	// are there all the same.
	MinShared = 1 << 20
	// KeyFile is the name of the signing key in the data directory.
	KeyFile = "edge.key"
)

// Config is what an Edge needs; only Origin is required, and Data when Origin is
// a URL or Key is not given.
type Config struct {
	// Origin is a directory, or the http or https URL below which the content lies.
	Origin string
	// Data is the directory of the edge's own state: key, manifests, cache.
	Data string
	// Key signs manifests and grants. Edges that serve the same content need the
	// same key, or their clients form separate swarms. Nil: the key in Data, made
	// when missing.
	Key ed25519.PrivateKey
	// Control lists the WebSocket URLs of control, absolute or relative to this
	// edge. Empty: clients find no peers.
	Control []string
	// Mirrors are base URLs of servers that serve the same paths.
	Mirrors []string
	// MaxRequests bounds the responses with objects that run at once; 0 is no bound.
	MaxRequests int
	// MaxCache bounds the cache of a URL origin, in bytes; 0 is the cache's default.
	MaxCache int64
	// Policy says who may share the objects.
	Policy wire.Policy
	// SignedURLs, if set, makes the edge refuse URLs that the verifier refuses.
	SignedURLs *signedurl.Verifier
	// PublicURL is the scheme and host in signed URLs, where these differ from
	// what requests show because a proxy stands in front. Empty: those of the request.
	PublicURL string
	// Gateway is that of the well-known document.
	Gateway bool
	// AllowOrigin is the value of Access-Control-Allow-Origin for objects,
	// manifests and grants; "*" lets every web page read them. Empty: none.
	AllowOrigin string
	// AdminToken is the bearer token for purging. Empty: nobody may.
	AdminToken string
	// NoStreams leaves the playlists of HLS and DASH alone.
	NoStreams bool
	// Transport makes the requests to a URL origin; nil is the cache's default.
	Transport http.RoundTripper
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Edge serves an origin. It is an http.Handler, safe for concurrent use.
type Edge struct {
	cfg       Config
	log       *slog.Logger
	source    source
	closer    io.Closer                   // of the source
	work      func(context.Context) error // of the source, nil when it has none
	health    func() error                // of the source
	public    *url.URL                    // from PublicURL, nil when not given
	signer    *signer
	wellKnown []byte
	admission *admission       // nil without a bound
	streams   *streams.Streams // nil where playlists are not followed
}

// New opens the origin and loads or makes the key.
func New(cfg Config) (*Edge, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	e := &Edge{cfg: cfg, log: cfg.Logger, health: func() error { return nil }}
	if cfg.MaxRequests > 0 {
		e.admission = newAdmission(cfg.MaxRequests, cfg.Now)
	}
	if err := e.setPublic(); err != nil {
		return nil, err
	}
	key, err := e.key()
	if err != nil {
		return nil, err
	}
	e.signer = newSigner(key)
	if e.wellKnown, err = e.document(); err != nil {
		return nil, err
	}
	open := e.openDir
	if isURL(cfg.Origin) {
		open = e.openCache
	}
	if err := open(); err != nil {
		return nil, err
	}
	if err := e.followStreams(); err != nil {
		return nil, errors.Join(err, e.closer.Close())
	}
	return e, nil
}

func isURL(origin string) bool {
	return strings.HasPrefix(origin, "http://") || strings.HasPrefix(origin, "https://")
}

func (e *Edge) setPublic() error {
	if e.cfg.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(e.cfg.PublicURL)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("edge: public URL %q: want scheme and host, as in https://cdn.example", e.cfg.PublicURL)
	}
	e.public = u
	return nil
}

func (e *Edge) key() (ed25519.PrivateKey, error) {
	if e.cfg.Key != nil {
		return e.cfg.Key, nil
	}
	if e.cfg.Data == "" {
		return nil, errors.New("edge: neither a key nor a data directory is given")
	}
	path := filepath.Join(e.cfg.Data, KeyFile)
	key, created, err := keyfile.LoadOrCreate(path)
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if created {
		e.log.Info("signing key made; keep a copy, clients trust it", "file", path)
	}
	return key, nil
}

func (e *Edge) openDir() error {
	kept := ""
	if e.cfg.Data != "" {
		kept = filepath.Join(e.cfg.Data, "manifests")
	}
	d, err := dir.New(dir.Config{
		Path: e.cfg.Origin, Cache: kept, Ahead: MinShared,
		Decorate: func(h http.Header, v dir.Version) { e.decorate(h, ofDir(v)) },
		Logger:   e.log, Now: e.cfg.Now,
	})
	if err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	e.source, e.closer, e.work, e.health = dirSource{d}, d, d.Run, d.Check
	return nil
}

// Handler returns the edge's face to clients.
func (e *Edge) Handler() http.Handler { return http.HandlerFunc(e.serve) }

// PublicKey is the key that clients trust.
func (e *Edge) PublicKey() ed25519.PublicKey { return e.signer.public() }

// Run does the work that no request waits for, such as making manifests ahead,
// until ctx ends. It then returns nil, and no request waits for news any more. It
// may be called once.
func (e *Edge) Run(ctx context.Context) error {
	if e.streams != nil {
		defer e.streams.Release()
	}
	if e.work == nil {
		<-ctx.Done()
		return nil
	}
	return e.work(ctx)
}

// Close ends the work under way. No request may come after it.
func (e *Edge) Close() error {
	var err error
	if e.streams != nil {
		err = e.streams.Close()
	}
	if err = errors.Join(err, e.closer.Close()); err != nil {
		return fmt.Errorf("edge: close: %w", err)
	}
	return nil
}
