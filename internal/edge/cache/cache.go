package cache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/pack"
)

// Config is what a Cache needs; Origin and Dir are required.
type Config struct {
	// Origin is the base of all requests upstream: their path is appended to its
	// path, their query kept.
	Origin *url.URL
	// Transport makes the requests to the origin. Nil is HTTP/1.1 without
	// redirects, compression or unbounded headers.
	Transport http.RoundTripper
	// Dir holds the stored responses. It belongs to this cache alone.
	Dir string
	// MaxBytes bounds the bytes on disk; 0 is 10 GiB.
	MaxBytes int64
	// Name stands for this cache in Cache-Status and Via; empty is "tandem".
	Name string
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
	// Now is the clock of freshness; nil is time.Now.
	Now func() time.Time
	// Decorate is called just before the header of a 200, 206, 304 or of the
	// answer to a HEAD is sent, with a version of status 200 that is stored, or
	// would be (HEAD). It may set fields; it must not keep h.
	Decorate func(h http.Header, v *Version)

	// HeaderTimeout bounds connecting to the origin and waiting for its header;
	// 0 is 30 s. StallTimeout bounds every wait for bytes of a body; 0 is 30 s.
	HeaderTimeout, StallTimeout time.Duration
	// Linger is how long a fill goes on when nobody reads any more; 0 is 30 s.
	Linger time.Duration
}

const (
	defaultMaxBytes = 10 << 30
	defaultTimeout  = 30 * time.Second
	copyBuffer      = 128 << 10
	fillBuffer      = 1 << 20 // of a fill: large folios are cheap to write and to send
	maxLarge        = 32      // of fillBuffer bytes, in all fills together

	maxKeyBytes = 8 << 10 // longer URLs pass through
	maxVariants = 32      // of one URL
	maxVersions = 1 << 17 // with files of their own, whatever their size
	maxPacked   = 1 << 22 // without
	// maxHot bounds the memory of small versions that were used a moment ago, in
	// bytes; hotCost is what one takes beside its body.
	maxHot    = 32 << 20
	hotCost   = 4 << 10
	maxDirect = 4096 // URLs remembered as not cacheable
	directTTL = 30 * time.Second
)

// Cache is a shared HTTP cache. It is safe for concurrent use.
type Cache struct {
	cfg     Config
	log     *slog.Logger
	stop    context.CancelCauseFunc
	base    context.Context // ends with the cache
	maps    *maps
	work    sync.WaitGroup
	buffers sync.Pool     // of *[]byte, copyBuffer each
	large   sync.Pool     // of *[]byte, fillBuffer each
	lent    chan struct{} // one for each of these that is in use
	via     string        // of the field Via
	hit     string        // of the field Cache-Status

	pack      *pack.Store // of the small versions
	compacter atomic.Bool // one compacts

	// mu is taken last: nothing but the pack's own lock is taken while it is held.
	mu       sync.Mutex
	closed   bool
	entries  map[string]*entry
	lru      *list.List // of *Version with files, most recently used first
	hot      *list.List // of *Version without, likewise
	hotBytes int64
	live     map[pack.Ref]*Version // those of hot that are in the pack
	tick     uint64                // of the last use
	bytes    int64                 // of files on disk
	flights  map[string]*flight
	direct   map[string]time.Time // URLs not cacheable, until when
}

// entry holds the variants of one URL, newest first.
type entry struct {
	variants []*Version
	cold     bool // the pack has more
}

// New opens the cache in cfg.Dir, with what an earlier one left there.
func New(cfg Config) (*Cache, error) {
	if cfg.Origin == nil || cfg.Origin.Host == "" || (cfg.Origin.Scheme != "http" && cfg.Origin.Scheme != "https") {
		return nil, fmt.Errorf("cache: origin %v: want an http or https URL", cfg.Origin)
	}
	if cfg.Dir == "" {
		return nil, errors.New("cache: no directory given")
	}
	setDefaults(&cfg)
	base, stop := context.WithCancelCause(context.Background())
	c := &Cache{
		cfg: cfg, log: cfg.Logger, base: base, stop: stop,
		via: "1.1 " + cfg.Name, hit: status{hit: true}.member(cfg.Name),
		buffers: sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }},
		large:   sync.Pool{New: func() any { b := make([]byte, fillBuffer); return &b }}, lent: make(chan struct{}, maxLarge),
		entries: make(map[string]*entry), lru: list.New(), hot: list.New(), live: make(map[pack.Ref]*Version),
		flights: make(map[string]*flight), direct: make(map[string]time.Time), maps: newMaps(),
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

func setDefaults(cfg *Config) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Name == "" {
		cfg.Name = "tandem"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	for _, d := range []*time.Duration{&cfg.HeaderTimeout, &cfg.StallTimeout, &cfg.Linger} {
		if *d == 0 {
			*d = defaultTimeout
		}
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport(cfg.HeaderTimeout)
	}
}

// Close ends all fills, waits for them and writes down the order of use. What is
// complete stays on disk for the next New.
func (c *Cache) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.stop(ErrClosed)
	c.work.Wait()
	if t, ok := c.cfg.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	c.saveOrder()
	return c.pack.Close()
}

// background runs fn until the cache closes; it reports false when it has.
func (c *Cache) background(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(fn)
	return true
}

// Lookup returns the current version of a URL key (path and query as in a
// request line) for a request without selecting fields.
func (c *Cache) Lookup(key string) (*Version, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, _ := c.searchLocked(key, nil)
	return v, v != nil
}

// searchLocked is findLocked that takes variants out of the pack first, giving up
// mu meanwhile. known says that the URL has variants.
func (c *Cache) searchLocked(key string, h http.Header) (v *Version, known bool) {
	if e := c.entries[key]; e == nil || e.cold {
		c.mu.Unlock()
		c.thaw(key)
		c.mu.Lock()
	}
	return c.findLocked(key, h), c.entries[key] != nil
}

func (c *Cache) findLocked(key string, h http.Header) *Version {
	e := c.entries[key]
	if e == nil {
		return nil
	}
	for _, v := range e.variants {
		if v.matches(h) {
			return v
		}
	}
	return nil
}

// match finds and holds the stored response for a request. known says that the
// URL has other variants.
func (c *Cache) match(key string, h http.Header) (v *Version, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, known = c.searchLocked(key, h); v != nil {
		v.refs++
		c.touchLocked(v)
	}
	return v, known
}

// touchLocked makes v the most recently used version.
func (c *Cache) touchLocked(v *Version) {
	c.tick++
	if v.blob.mem == nil {
		v.used = c.tick
		c.lru.MoveToFront(v.elem)
		return
	}
	c.hot.MoveToFront(v.elem)
	c.pack.Touch(v.ref, c.tick)
}

// hold keeps v and its files until the matching release. It fails when v's files
// are gone already.
func (c *Cache) hold(v *Version) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.gone {
		return false
	}
	v.refs++
	return true
}

func (c *Cache) release(v *Version) {
	c.mu.Lock()
	v.refs--
	last := v.refs == 0
	remove := last && v.elem == nil && !v.gone
	if remove {
		v.gone = true
		c.bytes -= v.disk
	}
	c.mu.Unlock()
	if last && v.blob.mem == nil {
		v.blob.takeTail(-1).close()
	}
	if remove {
		c.remove(v)
	}
}

// insert makes v, which the caller holds, the current response for requests like
// the one with header h, unless its flight was purged. Those it replaces are dropped.
func (c *Cache) insert(v *Version, h http.Header, fl *flight) bool {
	c.mu.Lock()
	c.searchLocked(v.Key, h)
	if fl.purged { // looked at last: searching gives up mu
		c.mu.Unlock()
		return false
	}
	e := c.entries[v.Key]
	if e == nil {
		e = &entry{}
		c.entries[v.Key] = e
	}
	var dropped []*Version
	for _, old := range e.variants {
		if old.matches(h) {
			dropped = append(dropped, old)
		}
	}
	if len(e.variants)-len(dropped) >= maxVariants {
		dropped = append(dropped, e.variants[len(e.variants)-1])
	}
	e.variants = append([]*Version{v}, e.variants...)
	c.listLocked(v)
	delete(c.direct, v.Key)
	files := c.dropLocked(dropped)
	if over := c.lru.Len() - maxVersions; over > 0 {
		files = append(files, c.evictLocked(0, over)...)
	}
	c.chillLocked()
	c.mu.Unlock()
	c.remove(files...)
	return true
}

// listLocked puts v in front of the list it belongs to.
func (c *Cache) listLocked(v *Version) {
	c.tick++
	if v.blob.mem != nil {
		v.elem = c.hot.PushFront(v)
		c.hotBytes += v.heat()
		return
	}
	v.used = c.tick
	v.elem = c.lru.PushFront(v)
	c.bytes += v.disk
}

// unlistLocked takes v out of its list.
func (c *Cache) unlistLocked(v *Version) {
	if v.blob.mem != nil {
		c.hot.Remove(v.elem)
		c.hotBytes -= v.heat()
	} else {
		c.lru.Remove(v.elem)
	}
	v.elem = nil
}

// drop takes v out of the index; its files go when nobody holds it.
func (c *Cache) drop(v *Version) {
	c.mu.Lock()
	files := c.dropLocked([]*Version{v})
	c.mu.Unlock()
	c.remove(files...)
}

// dropLocked takes versions out of the index and returns those whose files are
// to be removed now.
func (c *Cache) dropLocked(vs []*Version) (remove []*Version) {
	for _, v := range vs {
		if v.elem == nil {
			continue
		}
		c.unlistLocked(v)
		c.unpackLocked(v)
		e := c.entries[v.Key]
		for i, x := range e.variants {
			if x == v {
				e.variants = append(e.variants[:i:i], e.variants[i+1:]...)
				break
			}
		}
		if len(e.variants) == 0 {
			delete(c.entries, v.Key)
		}
		if v.refs == 0 && !v.gone {
			v.gone = true
			c.bytes -= v.disk
			remove = append(remove, v)
		}
	}
	return remove
}

// remove deletes what is on disk of versions that were dropped.
func (c *Cache) remove(vs ...*Version) {
	for _, v := range vs {
		if v.blob.mem == nil {
			v.remove()
		}
	}
	c.tidy()
}
