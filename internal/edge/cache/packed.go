package cache

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/edge/cache/pack"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// A version of 64 KiB or less has no file. While it is filled it is in memory; when
// it is whole it is frozen: written to the pack, as record and bytes. Those used a
// moment ago stay in memory (c.hot), ready to be sent; the others are in the pack
// alone and thaw, all variants of a URL together, when somebody asks for it.

const (
	// maxSmall is the size in bytes up to which a version is small: one slice.
	maxSmall   = pack.MaxBody
	packFolder = "pack"
)

// heat is what a small version takes in memory, in bytes.
func (v *Version) heat() int64 { return int64(len(v.blob.mem)) + hotCost }

// freeze writes v to the pack, in place of what the pack has of it.
func (c *Cache) freeze(v *Version) error {
	v.packing.Lock()
	defer v.packing.Unlock()
	if !c.recordable(v) || !v.Complete() {
		return nil
	}
	r := v.record()
	r.ID = v.ID
	meta, err := json.Marshal(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	size := int64(len(v.Key) + len(meta) + len(v.blob.mem))
	files := c.evictLocked(size, 0)
	fits := c.storedLocked()+size <= c.cfg.MaxBytes
	c.tick++
	used := c.tick
	c.mu.Unlock()
	c.remove(files...)
	if !fits {
		return ErrNoSpace
	}
	ref, err := c.pack.Put(pack.Record{Key: v.Key, Meta: meta, Body: v.blob.mem}, used)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.unpackLocked(v)
	if v.elem != nil {
		v.ref, c.live[ref] = ref, v
	} else {
		c.pack.Drop(ref) // v was dropped meanwhile
	}
	if n, _ := c.pack.Live(); n > maxPacked {
		if old, ok := c.pack.Oldest(c.unusedLocked); ok {
			c.dropPackedLocked(old)
		}
	}
	c.mu.Unlock()
	c.tidy()
	return nil
}

// saveLater saves v in the background, and keeps it until that is done.
func (c *Cache) saveLater(v *Version) {
	if !c.hold(v) {
		return
	}
	if !c.background(func() { c.save(v); c.release(v) }) {
		c.release(v)
	}
}

// unpackLocked takes what the pack has of v out of it.
func (c *Cache) unpackLocked(v *Version) {
	if v.ref != (pack.Ref{}) {
		delete(c.live, v.ref)
		c.pack.Drop(v.ref)
		v.ref = pack.Ref{}
	}
}

// unusedLocked says that nobody holds the version of a record.
func (c *Cache) unusedLocked(ref pack.Ref) bool {
	v := c.live[ref]
	return v == nil || v.refs == 0
}

// dropPackedLocked drops the version of a record, which nobody holds.
func (c *Cache) dropPackedLocked(ref pack.Ref) {
	if v := c.live[ref]; v != nil {
		c.dropLocked([]*Version{v}) // it has no files
		return
	}
	c.pack.Drop(ref)
}

// chillLocked lets go of small versions that were not used for longest until the
// others have room in memory.
func (c *Cache) chillLocked() {
	for e := c.hot.Back(); e != nil && c.hotBytes > maxHot; {
		v := e.Value.(*Version)
		e = e.Prev()
		if v.elem == nil || v.refs > 0 {
			continue
		}
		if v.ref == (pack.Ref{}) {
			c.dropLocked([]*Version{v}) // never frozen: its fill broke off
			e = c.hot.Back()
			continue
		}
		if c.chillEntryLocked(v.Key) {
			e = c.hot.Back()
		}
	}
}

// chillEntryLocked leaves the small variants of a URL to the pack, if nobody holds
// one and all are in it.
func (c *Cache) chillEntryLocked(key string) bool {
	e := c.entries[key]
	var stay []*Version
	for _, v := range e.variants {
		switch {
		case v.blob.mem == nil:
			stay = append(stay, v)
		case v.refs > 0 || v.ref == (pack.Ref{}):
			return false
		}
	}
	for _, v := range e.variants {
		if v.blob.mem != nil {
			c.unlistLocked(v)
			delete(c.live, v.ref)
			v.gone = true
		}
	}
	e.variants, e.cold = stay, true
	if len(stay) == 0 {
		delete(c.entries, key)
	}
	return true
}

// thaw takes the variants of a URL out of the pack into memory.
func (c *Cache) thaw(key string) {
	var found []*Version
	for _, ref := range c.pack.Refs(key) {
		c.mu.Lock()
		known := c.live[ref] != nil
		c.mu.Unlock()
		if known {
			continue
		}
		r, err := c.pack.Read(ref)
		if errors.Is(err, pack.ErrGone) || err == nil && r.Key != key {
			continue
		}
		var v *Version
		if err == nil {
			v, err = c.thawed(r)
		}
		if err != nil {
			c.log.Warn("stored version is not usable", "url", key, "error", err)
			c.pack.Drop(ref)
			continue
		}
		v.ref = ref
		found = append(found, v)
	}
	c.adopt(key, found)
}

// thawed is the version of a record that verifies.
func (c *Cache) thawed(p pack.Record) (*Version, error) {
	var r record
	if err := json.Unmarshal(p.Meta, &r); err != nil {
		return nil, err
	}
	if len(r.ID) != 32 || r.Key != p.Key || r.Size != int64(len(p.Body)) {
		return nil, fmt.Errorf("record of %.60q does not fit its bytes", r.Key)
	}
	v, err := c.revive(r.ID, r)
	if err != nil {
		return nil, err
	}
	m := &manifest.Manifest{Size: r.Size, PieceSize: v.blob.slice, Digest: p.Sum}
	if r.Size > 0 {
		m.Pieces = []manifest.Hash{p.Sum}
	}
	v.blob.mem = p.Body
	v.blob.fromManifest(m)
	return v, nil
}

// adopt makes thawed versions findable, but for those that were dropped or found by
// somebody else meanwhile.
func (c *Cache) adopt(key string, found []*Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	for _, v := range found {
		if c.live[v.ref] != nil || !c.pack.Has(v.ref) {
			continue
		}
		if e == nil {
			e = &entry{}
			c.entries[key] = e
		}
		e.variants = append(e.variants, v)
		c.listLocked(v)
		c.live[v.ref] = v
	}
	if e != nil {
		e.cold = false
		e.sort()
		c.chillLocked()
	}
}

// purgePack drops the versions that are in the pack alone and whose keys are hit.
func (c *Cache) purgePack(key string, many bool, hit func(string) bool) (n int) {
	drop := func(ref pack.Ref, k string) {
		if !hit(k) {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if v := c.live[ref]; v != nil {
			c.dropLocked([]*Version{v})
			n++
			return
		}
		if c.pack.Has(ref) {
			c.pack.Drop(ref)
			n++
		}
	}
	if many {
		c.pack.Walk(drop)
	} else {
		for _, ref := range c.pack.Refs(key) {
			if r, err := c.pack.Read(ref); err == nil {
				drop(ref, r.Key)
			}
		}
	}
	c.tidy()
	return n
}

// tidy writes down what was dropped, and compacts the pack when that pays.
func (c *Cache) tidy() {
	if err := c.pack.Flush(); err != nil {
		c.log.Warn("what was dropped may come back after a restart", "error", err)
	}
	if !c.pack.Wasteful() || !c.compacter.CompareAndSwap(false, true) {
		return
	}
	ok := c.background(func() {
		defer c.compacter.Store(false)
		if err := c.pack.Compact(c.base); err != nil && c.base.Err() == nil {
			c.log.Warn("pack is not compacted", "error", err)
		}
	})
	if !ok {
		c.compacter.Store(false)
	}
}
