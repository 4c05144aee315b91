// Package dir is the origin that is a directory on this machine: it serves the
// files over HTTP and makes their manifests.
//
// It shows what lies under the directory and nothing else: no path leads out of
// it, by ".." or by a symbolic link, and nothing whose name begins with a dot is
// there. Each version of a file is one object, known by its strong entity tag. A
// file that is written to while it is sent ends the response short of its length,
// and one that is written to while it is hashed gets no manifest.
package dir

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/filehash"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// maxHashing is how many files are hashed at once, the background's one included.
	maxHashing = 2
	// maxHints is how many files can wait to be hashed ahead of the background's.
	maxHints = 256
	// maxScan is the most files that are hashed ahead; those beyond are hashed
	// when they are asked for.
	maxScan = 1 << 20
)

// Config says what to serve.
type Config struct {
	// Path is the directory.
	Path string
	// Cache is where manifests are kept between runs, made when missing.
	// Empty: nowhere.
	Cache string
	// Ahead is the size in bytes from which a file is hashed before anyone asks.
	Ahead int64
	// Decorate may add fields to the header of a response that carries the object.
	Decorate func(http.Header, Version)
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Version is one version of one file.
type Version struct {
	Path string // path of the URL, decoded, with its leading slash
	ETag string // strong, quotes included
	Size int64  // bytes
	// Manifest is nil until it is known.
	Manifest *manifest.Manifest
}

// Dir serves a directory.
type Dir struct {
	cfg     Config
	root    *os.Root
	page    *template.Template // listing
	known   *memory
	disk    *disk // nil when manifests are not kept
	hashing chan struct{}
	hints   chan string

	// ctx ends with Close; the goroutines that hash files go by it.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	flights map[string]*flight // by name
}

// New opens the directory.
func New(cfg Config) (*Dir, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	page, err := template.ParseFS(files, "listing.html")
	if err != nil {
		return nil, fmt.Errorf("page of listings: %w", err)
	}
	root, err := os.OpenRoot(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("serve directory: %w", err)
	}
	d := &Dir{
		cfg:     cfg,
		root:    root,
		page:    page,
		known:   newMemory(maxMemory),
		hashing: make(chan struct{}, maxHashing),
		hints:   make(chan string, maxHints),
		flights: map[string]*flight{},
	}
	if cfg.Cache != "" {
		if d.disk, err = openDisk(cfg.Cache); err != nil {
			_ = root.Close() // nothing was written
			return nil, err
		}
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

// Close ends the hashing and waits for it. Responses under way go on.
func (d *Dir) Close() error {
	d.mu.Lock()
	d.cancel()
	d.mu.Unlock()
	d.wg.Wait()
	err := d.root.Close()
	if d.disk != nil {
		err = errors.Join(err, d.disk.close())
	}
	return err
}

// Check reports whether the directory can be read.
func (d *Dir) Check() error {
	if _, err := d.root.Stat("."); err != nil {
		return fmt.Errorf("serve directory: %w", err)
	}
	return nil
}

// Lookup returns the present version of the file at the path of a URL. It
// hashes nothing: the manifest is there if it is known. The error wraps
// [fs.ErrNotExist] when there is no such file.
func (d *Dir) Lookup(urlPath string) (Version, error) {
	name, stamp, err := d.find(urlPath)
	if err != nil {
		return Version{}, err
	}
	return d.version(name, stamp), nil
}

// find returns the name and the version of the file at the path of a URL.
func (d *Dir) find(urlPath string) (string, filehash.Stamp, error) {
	name, err := nameOf(urlPath)
	if err != nil {
		return "", filehash.Stamp{}, err
	}
	fi, err := d.root.Stat(name)
	if err != nil {
		return "", filehash.Stamp{}, fmt.Errorf("look up: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return "", filehash.Stamp{}, fmt.Errorf("look up %s: %w", urlPath, fs.ErrNotExist)
	}
	return name, filehash.StampOf(fi), nil
}

// version describes the version of a file that has the stamp.
func (d *Dir) version(name string, stamp filehash.Stamp) Version {
	v := Version{Path: "/" + name, ETag: stamp.ETag(), Size: stamp.Size}
	if e, ok := d.known.get(name, stamp); ok {
		v.Manifest = e.m
		return v
	}
	if d.disk == nil {
		return v
	}
	m, err := d.disk.load(name, stamp)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.cfg.Logger.Warn("kept manifest is not usable", "file", name, "error", err)
		}
		return v
	}
	d.known.put(name, stamp, m, nil)
	v.Manifest = m
	return v
}

// Purge forgets the manifests of a path, or of all paths that begin with what
// stands before a final "*", and returns how many there were.
func (d *Dir) Purge(pattern string) (int, error) {
	match, err := matcher(pattern)
	if err != nil {
		return 0, err
	}
	n := d.known.drop(match)
	if d.disk == nil {
		return n, nil
	}
	kept, err := d.disk.drop(d.ctx, match)
	return max(n, kept), err
}

// matcher understands the argument of Purge; the function it returns takes names.
func matcher(pattern string) (func(name string) bool, error) {
	if n := len(pattern); n > 0 && pattern[0] == '/' && pattern[n-1] == '*' {
		prefix := pattern[1 : n-1]
		return func(name string) bool { return len(name) >= len(prefix) && name[:len(prefix)] == prefix }, nil
	}
	want, err := nameOf(pattern)
	if err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	return func(name string) bool { return name == want }, nil
}

// nameOf turns the path of a URL into a name for os.Root. The errors wrap
// [fs.ErrNotExist]: to the asker, what may not be seen is not there.
func nameOf(urlPath string) (string, error) {
	if urlPath == "" || urlPath[0] != '/' {
		return "", fmt.Errorf("path %.200q: %w", urlPath, fs.ErrNotExist)
	}
	name := urlPath[1:]
	if name == "" {
		return ".", nil
	}
	// ValidPath wants elements that are neither empty nor "." or "..".
	if !fs.ValidPath(name) || hidden(name) {
		return "", fmt.Errorf("path %.200q: %w", urlPath, fs.ErrNotExist)
	}
	return name, nil
}

// hidden reports whether any element of the name may not be seen.
func hidden(name string) bool {
	for name != "." && name != "" {
		elem := path.Base(name)
		if elem[0] == '.' || hasSpecial(elem) {
			return true
		}
		name = path.Dir(name)
	}
	return false
}

// hasSpecial finds what never stands in a served name: bytes that mean something
// to some file system, and what Windows takes for another name of a file.
func hasSpecial(elem string) bool {
	for i := range len(elem) {
		if c := elem[i]; c == 0 || c == '\\' {
			return true
		}
	}
	return isAlias(elem)
}
