package cache

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// maxMaps bounds the chunk maps in memory, in chunks of 12 bytes.
	maxMaps = 4 << 20
	// maxMapping is how many objects are read at once for their maps.
	maxMapping = 2
	// maxMapsAsked is how many maps may be on their way, and objects held for them.
	maxMapsAsked = 256
)

// maps makes the chunk maps of objects when they are asked for, which is when there
// are newer versions: few of all objects. They are not kept on disk; what was asked
// for last is kept in memory.
type maps struct {
	slots chan struct{}

	mu     sync.Mutex
	byUse  *list.List // of *mapping, the last used in front
	known  map[manifest.ObjectID]*list.Element
	chunks int
	asked  int // not made yet
}

// mapping is a map that is made or was. The rest is set when done is closed.
type mapping struct {
	id   manifest.ObjectID
	done chan struct{}
	m    *chunkmap.Map
	err  error
}

func newMaps() *maps {
	return &maps{slots: make(chan struct{}, maxMapping), byUse: list.New(), known: map[manifest.ObjectID]*list.Element{}}
}

// Chunks returns the current version of key, with manifest and chunk map. It does what
// [Cache.WaitManifest] does, and reads the object once more. The making goes on when
// ctx ends first. Its errors are the same; an object too small for a map is
// [ErrNotCacheable], and [ErrBusy] says that too many maps are being made.
func (c *Cache) Chunks(ctx context.Context, key string) (*Version, *chunkmap.Map, error) {
	v, m, err := c.WaitManifest(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	if m.Size < chunkmap.MinObject {
		return nil, nil, fmt.Errorf("chunk map of %s: %w: %d bytes have none", key, ErrNotCacheable, m.Size)
	}
	w, err := c.mapOf(v, m)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-w.done:
		return v, w.m, w.err
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("chunk map of %s: %w", key, context.Cause(ctx))
	}
}

// mapOf returns the map of a version, which it has made if need be.
func (c *Cache) mapOf(v *Version, m *manifest.Manifest) (*mapping, error) {
	id := m.ID()
	k := c.maps
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.known[id]; ok {
		k.byUse.MoveToFront(e)
		return e.Value.(*mapping), nil
	}
	if k.asked >= maxMapsAsked {
		return nil, fmt.Errorf("chunk map of %s: %w", v.Key, ErrBusy)
	}
	if !c.hold(v) {
		return nil, fmt.Errorf("chunk map of %s: %w", v.Key, ErrChanged)
	}
	w := &mapping{id: id, done: make(chan struct{})}
	e := k.byUse.PushFront(w)
	k.known[id] = e
	k.asked++
	ok := c.background(func() {
		defer c.release(v)
		made, err := c.makeMap(v, m, id)
		k.made(e, made, err)
	})
	if !ok {
		k.asked--
		k.forget(e)
		c.release(v)
		return nil, ErrClosed
	}
	return w, nil
}

func (c *Cache) makeMap(v *Version, m *manifest.Manifest, id manifest.ObjectID) (*chunkmap.Map, error) {
	select {
	case c.maps.slots <- struct{}{}:
		defer func() { <-c.maps.slots }()
	case <-c.base.Done():
		return nil, ErrClosed
	}
	b := chunkmap.NewBuilder(m.Size)
	if err := readBlob(c.base, v.blob.path, m.Size, b); err != nil {
		return nil, &diskError{err}
	}
	return b.Finish(id), nil
}

// made tells those who wait of a map and counts it, or forgets one that could not be
// made, and what was used least.
func (k *maps) made(e *list.Element, m *chunkmap.Map, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked--
	w := e.Value.(*mapping)
	w.m, w.err = m, err
	defer close(w.done)
	if w.err != nil {
		k.forget(e)
		return
	}
	k.chunks += len(w.m.Chunks)
	for old := k.byUse.Back(); k.chunks > maxMaps && old != nil; {
		before := old.Prev()
		if o := old.Value.(*mapping); o.m != nil && old != e {
			k.chunks -= len(o.m.Chunks)
			k.forget(old)
		}
		old = before
	}
}

// forget takes an element off. The caller holds mu.
func (k *maps) forget(e *list.Element) {
	k.byUse.Remove(e)
	delete(k.known, e.Value.(*mapping).id)
}
