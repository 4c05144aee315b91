package edge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/edge/dir"
	"github.com/tandem-cdn/tandem/internal/filehash"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// source is where objects come from. A key is the path and query of an object's
// URL, encoded as in a request line.
type source interface {
	http.Handler
	// lookup returns the present version without waiting for anything.
	lookup(key string) (object, bool)
	// wait returns the present version with its manifest, once that is made. Its
	// errors wrap errNoManifest or errMoving where that is the cause.
	wait(ctx context.Context, key string) (object, error)
	// read returns the present version with its bytes, of which there may be most.
	// Its errors are those of wait.
	read(ctx context.Context, key string, most int64) (object, []byte, error)
	// chunks is wait for the chunk map.
	chunks(ctx context.Context, key string) (object, error)
	// purge forgets what is stored of a key, or of all keys that begin with what
	// stands before a final "*".
	purge(pattern string) (int, error)
}

// Errors of source.wait and source.read.
var (
	errNoManifest = errors.New("there is no manifest")
	errMoving     = errors.New("the object is being changed")
)

// object is one version of the content of one URL.
type object struct {
	key      string
	etag     string
	size     int64              // bytes, -1 while not known
	private  bool               // not to be shared
	coded    bool               // it is only because it is coded otherwise than what is
	manifest *manifest.Manifest // nil until known
	chunks   *chunkmap.Map      // set by source.chunks alone
}

// dirSource adapts a directory, whose keys are decoded paths.
type dirSource struct{ *dir.Dir }

func ofDir(v dir.Version) object {
	u := url.URL{Path: v.Path}
	return object{key: u.EscapedPath(), etag: v.ETag, size: v.Size, manifest: v.Manifest}
}

// decoded is the path in a key; a directory knows no queries.
func decoded(key string) (string, error) {
	path, _, _ := strings.Cut(key, "?")
	path, err := url.PathUnescape(path)
	if err != nil {
		return "", fmt.Errorf("path %.200q: %w", key, errNoManifest)
	}
	return path, nil
}

func (d dirSource) lookup(key string) (object, bool) {
	path, err := decoded(key)
	if err != nil {
		return object{}, false
	}
	v, err := d.Lookup(path)
	return ofDir(v), err == nil
}

func (d dirSource) wait(ctx context.Context, key string) (object, error) {
	path, err := decoded(key)
	if err != nil {
		return object{}, err
	}
	v, err := d.Manifest(ctx, path)
	return ofDir(v), cause(err)
}

func (d dirSource) chunks(ctx context.Context, key string) (object, error) {
	path, err := decoded(key)
	if err != nil {
		return object{}, err
	}
	v, chunks, err := d.Chunks(ctx, path)
	o := ofDir(v)
	o.chunks = chunks
	return o, cause(err)
}

func (d dirSource) read(_ context.Context, key string, most int64) (object, []byte, error) {
	path, err := decoded(key)
	if err != nil {
		return object{}, nil, err
	}
	v, b, err := d.Read(path, most)
	return ofDir(v), b, cause(err)
}

// cause gives an error of a directory the cause that source promises.
func cause(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", errNoManifest, err)
	case errors.Is(err, filehash.ErrChanged):
		return fmt.Errorf("%w: %w", errMoving, err)
	}
	return err
}

func (d dirSource) purge(pattern string) (int, error) {
	path, err := decoded(pattern)
	if err != nil {
		return 0, err
	}
	return d.Purge(path)
}

// keyOf is the key of an object's URL.
func keyOf(u *url.URL) string {
	key := u.EscapedPath()
	if key == "" {
		key = "/"
	}
	if u.RawQuery != "" || u.ForceQuery {
		key += "?" + u.RawQuery
	}
	return key
}
