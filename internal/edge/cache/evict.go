package cache

import "strings"

// reserve makes room for n more bytes of v, evicting the least recently used
// versions that nobody holds. It fails with [ErrNoSpace] when the rest is in
// use.
func (c *Cache) reserve(v *Version, n int64) error {
	c.mu.Lock()
	files := c.evictLocked(n, 0)
	ok := c.bytes+n <= c.cfg.MaxBytes
	if ok {
		c.bytes += n
		v.disk += n
	}
	c.mu.Unlock()
	removeAll(files)
	if !ok {
		return ErrNoSpace
	}
	return nil
}

// unreserve gives back bytes that were not written.
func (c *Cache) unreserve(v *Version, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.disk -= n
	if !v.gone {
		c.bytes -= n
	}
}

// evictLocked drops unused versions until n more bytes fit and count versions
// are gone, and returns those whose files are to be removed.
func (c *Cache) evictLocked(n int64, count int) (remove []*Version) {
	for e := c.lru.Back(); e != nil && (c.bytes+n > c.cfg.MaxBytes || count > 0); {
		v := e.Value.(*Version)
		e = e.Prev()
		if v.refs > 0 {
			continue
		}
		remove = append(remove, c.dropLocked([]*Version{v})...)
		count--
	}
	return remove
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
	removeAll(files)
	return len(victims), nil
}

// Usage returns the bytes on disk and the number of versions stored.
func (c *Cache) Usage() (bytes int64, versions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes, c.lru.Len()
}
