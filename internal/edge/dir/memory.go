package dir

import (
	"container/list"
	"sync"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/filehash"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// maxMemory bounds the manifests held in memory, in bytes.
	maxMemory = 64 << 20
	// chunkSize is what a chunk of a map takes.
	chunkSize = 12
	// entryOverhead is what an entry takes beside its piece hashes, about, in bytes.
	entryOverhead = 512
)

// memory holds the manifests that were used last.
type memory struct {
	mu    sync.Mutex
	limit int
	used  int
	byUse *list.List // of *entry, the last used in front
	names map[string]*list.Element
}

type entry struct {
	name  string
	stamp filehash.Stamp
	m     *manifest.Manifest
	// chunks is nil for small files, and where maps are kept on disk: who asks for
	// them is one of many.
	chunks *chunkmap.Map
}

func (e *entry) size() int {
	n := entryOverhead + len(e.name) + len(e.m.Pieces)*manifest.HashSize
	if e.chunks != nil {
		n += len(e.chunks.Chunks) * chunkSize
	}
	return n
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, byUse: list.New(), names: map[string]*list.Element{}}
}

// get returns what is known of that version of the file.
func (c *memory) get(name string, stamp filehash.Stamp) (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.names[name]
	if !ok {
		return nil, false
	}
	e := el.Value.(*entry)
	if e.stamp != stamp {
		return nil, false
	}
	c.byUse.MoveToFront(el)
	return e, true
}

// put remembers a manifest, in place of that of another version of the file.
func (c *memory) put(name string, stamp filehash.Stamp, m *manifest.Manifest, chunks *chunkmap.Map) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.names[name]; ok {
		c.remove(el)
	}
	e := &entry{name: name, stamp: stamp, m: m, chunks: chunks}
	c.names[name] = c.byUse.PushFront(e)
	c.used += e.size()
	for c.used > c.limit && c.byUse.Len() > 1 {
		c.remove(c.byUse.Back())
	}
}

// drop forgets the names that match and returns how many there were.
func (c *memory) drop(match func(string) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for name, el := range c.names {
		if match(name) {
			c.remove(el)
			n++
		}
	}
	return n
}

func (c *memory) remove(el *list.Element) {
	e := c.byUse.Remove(el).(*entry)
	delete(c.names, e.name)
	c.used -= e.size()
}
