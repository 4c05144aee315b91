// Package publish makes any web server the edge of a directory: it writes the
// signed manifests and chunk maps of the files beside them, and the well-known
// document that tells clients where these, control and keys are.
//
//	DIR/.well-known/tandem                     the document
//	DIR/.tandem/manifests/<path of URL>.tdm    the manifest of DIR/<path>
//	DIR/.tandem/manifests/<path of URL>.tdc    its chunk map, from 1 MiB on
//
// Running it again after the directory changed does only what changed: a
// manifest carries the time of last write of its file.
package publish

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/internal/keyfile"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// manifestsDir and suffix make the place of a manifest in the directory, with
	// mapSuffix that of a chunk map.
	manifestsDir = ".tandem/manifests"
	suffix       = ".tdm"
	mapSuffix    = ".tdc"
	tempSuffix   = ".tmp"
	// maxHashing is how many files are hashed at once, at most.
	maxHashing = 4
)

// Config says what to publish.
type Config struct {
	// Dir is the directory that a web server serves.
	Dir string
	// Key is the file with the publisher's key, made when missing. It must not lie
	// in Dir, where everybody could fetch it.
	Key string
	// Control lists the http(s) or ws(s) URLs of control; the first gives grants.
	Control []string
	// Mirrors are base URLs of servers with the same content.
	Mirrors []string
	// Gateway is that of the well-known document.
	Gateway bool
	// BasePath is the path under which the server shows Dir, as in /downloads;
	// empty is the root. The document must still be at the root of the host.
	BasePath string
	// HTTP fetches control's keys; nil is a client with a time-out.
	HTTP *http.Client
	// OnFile, if set, is called after each file, by several goroutines at once.
	OnFile func(name string, bytes int64)
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

// Summary is what a run did.
type Summary struct {
	Files   int   // that have a manifest now
	Made    int   // manifests written, because they were missing or wrong
	Removed int   // manifests of files that are gone
	Hashed  int64 // bytes read
	// Document says that the well-known document was written anew.
	Document bool
	// KeyCreated says that the key was made: keep a copy of its file.
	KeyCreated bool
	PublicKey  ed25519.PublicKey
	// Problems are the files that have no manifest, each with the reason.
	Problems []Problem
}

// Problem is a file that could not be published.
type Problem struct {
	Name string // below the directory, with slashes
	Err  error
}

// ErrProblems is wrapped by the error of [Run] when the rest was published.
var ErrProblems = errors.New("not every file was published")

// publisher is one run.
type publisher struct {
	cfg  Config
	log  *slog.Logger
	root *os.Root
	key  ed25519.PrivateKey

	mu  sync.Mutex
	sum Summary
	// want are the manifests that belong here, by their names.
	want map[string]bool
}

// Run publishes the directory. An error that wraps [ErrProblems] comes with a
// Summary of what was done.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	p, err := start(cfg)
	if err != nil {
		return Summary{}, fmt.Errorf("publish: %w", err)
	}
	defer p.root.Close() //nolint:errcheck // it was read; writers check theirs
	// Control is asked first: without it the hours of hashing would be for nothing.
	doc, err := p.document(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("publish: %w", err)
	}
	if err := p.files(ctx); err != nil {
		return p.sum, fmt.Errorf("publish %s: %w", cfg.Dir, err)
	}
	if p.sum.Removed, err = p.prune(); err != nil {
		return p.sum, fmt.Errorf("publish %s: %w", cfg.Dir, err)
	}
	// The document comes last: who reads it finds the manifests it names.
	if p.sum.Document, err = p.writeIfNew(strings.TrimPrefix(wire.WellKnownPath, "/"), doc); err != nil {
		return p.sum, fmt.Errorf("publish %s: %w", cfg.Dir, err)
	}
	if n := len(p.sum.Problems); n > 0 {
		first := p.sum.Problems[0]
		return p.sum, fmt.Errorf("publish %s: %w: %d left out, the first is %s: %w", cfg.Dir, ErrProblems, n, first.Name, first.Err)
	}
	return p.sum, nil
}

// start checks the configuration and opens what it names.
func start(cfg Config) (*publisher, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Control) == 0 {
		return nil, errors.New("no control is given: clients would find no peers")
	}
	if b := cfg.BasePath; b != "" && (b[0] != '/' || path.Clean(b) != b) {
		return nil, fmt.Errorf("base path %q: want a path as in /downloads", b)
	}
	if cfg.BasePath == "/" {
		cfg.BasePath = ""
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	p := &publisher{cfg: cfg, log: cfg.Logger, root: root, want: map[string]bool{}}
	if err := keyOutside(cfg.Key, cfg.Dir); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if p.key, p.sum.KeyCreated, err = keyfile.LoadOrCreate(cfg.Key); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	p.sum.PublicKey = p.key.Public().(ed25519.PublicKey)
	return p, nil
}

// keyOutside refuses a key file that the web server would serve.
func keyOutside(key, dir string) error {
	if key == "" {
		return errors.New("no key file is given")
	}
	parent, err := filepath.Abs(filepath.Dir(key))
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if real, err := filepath.EvalSymlinks(parent); err == nil {
		parent = real
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, parent)
	if err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("key file %s lies in the directory that is published: everybody could fetch it; keep it elsewhere", key)
	}
	return nil
}

// files brings the manifest of every file up to date.
func (p *publisher) files(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(maxHashing, runtime.GOMAXPROCS(0)))
	walked := p.walk(ctx, func(name string) {
		g.Go(func() error { return p.file(ctx, name) })
	})
	return errors.Join(g.Wait(), walked)
}
