package cache

import "strings"

// reserve makes room for n more bytes of v, evicting the least recently used
// versions that nobody holds. It fails with [ErrNoSpace] when the rest is in
// use.
func (c *Cache) reserve(v *Version, n int64) error {
	if v.blob.mem != nil {
		return nil // it comes to the disk when it is whole
	}
	c.mu.Lock()
	files := c.evictLocked(n, 0)
	ok := c.storedLocked()+n <= c.cfg.MaxBytes
	if ok {
		c.bytes += n
		v.disk += n
	}
	c.mu.Unlock()
	c.remove(files...)
	if !ok {
		return ErrNoSpace
	}
	return nil
}

// unreserve gives back bytes that were not written.
func (c *Cache) unreserve(v *Version, n int64) {
	if v.blob.mem != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v.disk -= n
	if !v.gone {
		c.bytes -= n
	}
}

// evictLocked drops unused versions until n more bytes fit and count versions with
// files are gone, and returns those whose files are to be removed.
func (c *Cache) evictLocked(n int64, count int) (remove []*Version) {
	for c.storedLocked()+n > c.cfg.MaxBytes || count > 0 {
		v := c.oldestLocked()
		ref, packed := c.pack.Oldest(c.unusedLocked)
		if packed && count <= 0 && (v == nil || c.pack.Used(ref) < v.used) {
			c.dropPackedLocked(ref)
			continue
		}
		if v == nil {
			break
		}
		remove = append(remove, c.dropLocked([]*Version{v})...)
		count--
	}
	return remove
}

// storedLocked is the number of bytes on disk.
func (c *Cache) storedLocked() int64 {
	_, packed := c.pack.Live()
	return c.bytes + packed
}

// oldestLocked is the least recently used version with files that nobody holds.
func (c *Cache) oldestLocked() *Version {
	for e := c.lru.Back(); e != nil; e = e.Prev() {
		if v := e.Value.(*Version); v.refs == 0 {
			return v
		}
	}
	return nil
}

// Purge drops what is stored under a key, or under every key with a prefix when
// key ends in "*", and returns the number of versions dropped. Responses under
// way are finished from the old version; answers to requests that left before
// the purge are not stored.
func (c *Cache) Purge(key string) (n int, err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, ErrClosed
	}
	prefix, many := strings.CutSuffix(key, "*")
	hit := func(k string) bool { return k == key || many && strings.HasPrefix(k, prefix) }
	var victims []*Version
	for k, e := range c.entries {
		if hit(k) {
			victims = append(victims, e.variants...)
		}
	}
	for _, fl := range c.flights {
		fl.purged = fl.purged || hit(fl.key)
	}
	files := c.dropLocked(victims)
	c.mu.Unlock()
	c.remove(files...)
	return len(victims) + c.purgePack(key, many, hit), nil
}

// Usage returns the bytes on disk and the number of versions stored.
func (c *Cache) Usage() (bytes int64, versions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	packed, _ := c.pack.Live()
	return c.storedLocked(), c.lru.Len() + packed + c.hot.Len() - len(c.live)
}
