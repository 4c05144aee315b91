package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/tandem-cdn/tandem/internal/edge/cache"
)

func (e *Edge) openCache() error {
	origin, err := url.Parse(e.cfg.Origin)
	if err != nil || origin.Host == "" {
		return fmt.Errorf("edge: origin %q is not a URL", e.cfg.Origin)
	}
	if e.cfg.Data == "" {
		return errors.New("edge: an origin that is a URL needs a data directory for its cache")
	}
	var src cacheSource
	src.Cache, err = cache.New(cache.Config{
		Origin: origin, Transport: e.cfg.Transport, Dir: filepath.Join(e.cfg.Data, "cache"), MaxBytes: e.cfg.MaxCache,
		Decorate: func(h http.Header, v *cache.Version) { e.decorate(h, src.describe(v)) },
		Logger:   e.log, Now: e.cfg.Now,
	})
	if err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	e.source, e.closer = src, src
	return nil
}

// cacheSource adapts the cache of an origin.
type cacheSource struct{ *cache.Cache }

func ofCache(v *cache.Version) object {
	return object{key: v.Key, etag: v.ETag, size: v.Size, private: v.Authorized, manifest: v.Manifest()}
}

// describe describes a version that is being sent. What only some clients get is
// not shared: what needed credentials, and what was chosen by the request's
// fields where a plain request gets another.
func (c cacheSource) describe(v *cache.Version) object {
	o := ofCache(v)
	if plain, ok := c.Lookup(v.Key); ok && plain != v {
		o.private, o.coded = true, !v.Authorized && v.Coded()
	}
	return o
}

func (c cacheSource) lookup(key string) (object, bool) {
	v, ok := c.Lookup(key)
	if !ok || v.Authorized || v.Status != http.StatusOK {
		return object{}, false
	}
	return ofCache(v), true
}

func (c cacheSource) wait(ctx context.Context, key string) (object, error) {
	v, m, err := c.WaitManifest(ctx, key)
	o, err := described(v, key, err)
	o.manifest = m
	return o, err
}

func (c cacheSource) chunks(ctx context.Context, key string) (object, error) {
	v, m, err := c.Chunks(ctx, key)
	o, err := described(v, key, err)
	o.chunks = m
	return o, err
}

func (c cacheSource) read(ctx context.Context, key string, most int64) (object, []byte, error) {
	v, b, err := c.Read(ctx, key, most)
	o, err := described(v, key, err)
	if err == nil && v.Header().Get("Content-Encoding") != "" {
		err = fmt.Errorf("%s is encoded: %w", key, errNoManifest)
	}
	return o, b, err
}

// described is a version that somebody has waited for, or why there is none.
func described(v *cache.Version, key string, err error) (object, error) {
	var status *cache.StatusError
	switch {
	case errors.As(err, &status), errors.Is(err, cache.ErrNotCacheable), errors.Is(err, cache.ErrNoSpace), errors.Is(err, cache.ErrTooLarge):
		return object{}, fmt.Errorf("%w: %w", errNoManifest, err)
	case errors.Is(err, cache.ErrChanged):
		return object{}, fmt.Errorf("%w: %w", errMoving, err)
	case err != nil:
		return object{}, err
	case v.Authorized:
		return object{}, fmt.Errorf("%s needs credentials: %w", key, errNoManifest)
	}
	return ofCache(v), nil
}

func (c cacheSource) purge(pattern string) (int, error) { return c.Purge(pattern) }
