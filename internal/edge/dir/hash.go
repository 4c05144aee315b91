package dir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/filehash"
)

// flight is one file being hashed, for all who wait for its manifest.
type flight struct {
	done   chan struct{} // closed when the rest is set
	v      Version
	chunks *chunkmap.Map // nil for a small file
	err    error
}

var errClosed = errors.New("the directory is closed")

// Manifest returns the present version of the file at the path of a URL with
// its manifest, which it makes if need be. The hashing goes on when ctx ends
// before it, so that asking again finds it farther. The errors wrap
// [fs.ErrNotExist] or [filehash.ErrChanged] where that is the cause.
func (d *Dir) Manifest(ctx context.Context, urlPath string) (Version, error) {
	v, err := d.Lookup(urlPath)
	if err != nil || v.Manifest != nil {
		return v, err
	}
	name, err := nameOf(urlPath)
	if err != nil {
		return Version{}, err
	}
	f, err := d.await(ctx, name)
	return f.v, err
}

// Chunks returns the present version of the file at the path of a URL with its
// chunk map. Where that is not kept the file is read once more. The errors are those
// of [Dir.Manifest]; a file that is too small for a map is [fs.ErrNotExist].
func (d *Dir) Chunks(ctx context.Context, urlPath string) (Version, *chunkmap.Map, error) {
	name, stamp, err := d.find(urlPath)
	if err != nil {
		return Version{}, nil, err
	}
	if stamp.Size < chunkmap.MinObject {
		return Version{}, nil, fmt.Errorf("chunk map of %s: %d bytes: %w", urlPath, stamp.Size, fs.ErrNotExist)
	}
	if v := d.version(name, stamp); v.Manifest != nil {
		if c := d.kept(name, stamp); c != nil {
			return v, c, nil
		}
	}
	f, err := d.await(ctx, name)
	if err == nil && f.chunks == nil { // it has become smaller meanwhile
		err = fmt.Errorf("chunk map of %s: %d bytes: %w", urlPath, f.v.Size, fs.ErrNotExist)
	}
	return f.v, f.chunks, err
}

// kept returns the map of that version of a file, nil where none is kept.
func (d *Dir) kept(name string, stamp filehash.Stamp) *chunkmap.Map {
	if d.disk == nil {
		if e, ok := d.known.get(name, stamp); ok {
			return e.chunks
		}
		return nil
	}
	c, err := d.disk.loadChunks(name, stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.cfg.Logger.Warn("kept chunk map is not usable", "file", name, "error", err)
	}
	return c
}

// await waits for a file to be hashed.
func (d *Dir) await(ctx context.Context, name string) (flight, error) {
	f, err := d.board(name)
	if err != nil {
		return flight{}, err
	}
	select {
	case <-f.done:
		return *f, f.err
	case <-ctx.Done():
		return flight{}, fmt.Errorf("hash %s: %w", name, ctx.Err())
	}
}

// board joins the flight of a file, or starts it.
func (d *Dir) board(name string) (*flight, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.flights[name]; ok {
		return f, nil
	}
	if d.ctx.Err() != nil {
		return nil, errClosed
	}
	f := &flight{done: make(chan struct{})}
	d.flights[name] = f
	d.wg.Go(func() {
		f.v, f.chunks, f.err = d.hash(name)
		d.mu.Lock()
		delete(d.flights, name)
		d.mu.Unlock()
		close(f.done)
	})
	return f, nil
}

// hash makes manifest and map of a file when its turn comes, and keeps them.
func (d *Dir) hash(name string) (Version, *chunkmap.Map, error) {
	select {
	case d.hashing <- struct{}{}:
		defer func() { <-d.hashing }()
	case <-d.ctx.Done():
		return Version{}, nil, errClosed
	}
	f, err := d.root.Open(name)
	if err != nil {
		return Version{}, nil, fmt.Errorf("manifest: %w", err)
	}
	defer f.Close()
	start := d.cfg.Now()
	s, err := filehash.Sum(d.ctx, f)
	if err != nil {
		return Version{}, nil, fmt.Errorf("manifest: %w", err)
	}
	d.keep(name, s)
	d.cfg.Logger.Debug("manifest made", "file", name, "bytes", s.Manifest.Size, "pieces", s.Manifest.NumPieces(),
		"took", d.cfg.Now().Sub(start).Round(time.Millisecond))
	return Version{Path: "/" + name, ETag: s.Stamp.ETag(), Size: s.Stamp.Size, Manifest: s.Manifest}, s.Chunks, nil
}

// keep remembers what hashing a file has told, the map on disk alone if there is one.
func (d *Dir) keep(name string, s filehash.Summary) {
	if d.disk == nil {
		d.known.put(name, s.Stamp, s.Manifest, s.Chunks)
		return
	}
	d.known.put(name, s.Stamp, s.Manifest, nil)
	if err := d.disk.save(name, s); err != nil {
		d.cfg.Logger.Warn("manifest is not kept for the next start", "file", name, "error", err)
	}
}

// hint asks the background to hash a file soon, because someone began to fetch it.
func (d *Dir) hint(name string) {
	select {
	case d.hints <- name:
	default: // plenty to do already; asking for the manifest hashes it anyway
	}
}

// Run hashes the files of the directory in the background, one at a time, the
// biggest last and those that are being fetched first, and drops the manifests
// of files that are gone. It returns nil when ctx ends.
func (d *Dir) Run(ctx context.Context) error {
	names := d.scan(ctx)
	if d.disk != nil && ctx.Err() == nil {
		gone := func(name string) bool {
			_, err := d.root.Lstat(name)
			return errors.Is(err, fs.ErrNotExist)
		}
		if _, err := d.disk.drop(ctx, gone); err != nil && ctx.Err() == nil {
			d.cfg.Logger.Warn("manifests of removed files are still kept", "error", err)
		}
	}
	for {
		name, ok := d.next(ctx, &names)
		if !ok {
			return nil
		}
		_, err := d.Manifest(ctx, "/"+name)
		if err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) {
			d.cfg.Logger.Info("no manifest yet", "file", name, "error", err)
		}
	}
}

// next picks what to hash: a hint, else one of names, else the hint to come.
func (d *Dir) next(ctx context.Context, names *[]string) (string, bool) {
	select {
	case <-ctx.Done():
		return "", false
	case name := <-d.hints:
		return name, true
	default:
	}
	if q := *names; len(q) > 0 {
		*names = q[1:]
		return q[0], true
	}
	select {
	case <-ctx.Done():
		return "", false
	case name := <-d.hints:
		return name, true
	}
}

// scan lists the files worth hashing ahead, the smallest first.
func (d *Dir) scan(ctx context.Context) []string {
	type file struct {
		name string
		size int64
	}
	var files []file
	err := fs.WalkDir(d.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil || len(files) == maxScan {
			return fs.SkipAll
		}
		if err != nil {
			d.cfg.Logger.Warn("directory is not readable", "name", name, "error", err)
			return nil
		}
		if name != "." && hidden(name) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			return nil
		}
		fi, err := d.root.Stat(name) // follows links that stay inside
		if err == nil && fi.Mode().IsRegular() && fi.Size() >= d.cfg.Ahead {
			files = append(files, file{name, fi.Size()})
		}
		return nil
	})
	if err != nil {
		d.cfg.Logger.Warn("directory is not hashed ahead", "error", err)
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.size, b.size) })
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.name
	}
	return names
}
