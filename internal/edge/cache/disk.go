package cache

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/pack"
	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// On disk a version of more than 64 KiB is two files in one of 256 folders: ID.data,
// see [blob], and ID.json, a record. A version without its record, or of unknown
// size, does not survive the process. The file "order" lists IDs and when they were
// used, by c.tick. Smaller versions are in the pack, see packed.go.

// record is what is kept of a version besides its bytes.
type record struct {
	Format     int         `json:"format"`
	ID         string      `json:"id,omitempty"` // of a small version; others have it in the name
	Key        string      `json:"key"`
	ETag       string      `json:"etag"`
	OriginTag  string      `json:"origin_etag,omitempty"`
	Status     int         `json:"status"`
	Size       int64       `json:"size"`
	Authorized bool        `json:"authorized,omitempty"`
	Names      []string    `json:"vary,omitempty"`
	Selection  string      `json:"selection,omitempty"`
	Selecting  http.Header `json:"selecting,omitempty"`
	Header     http.Header `json:"header"`
	Requested  time.Time   `json:"requested"`
	Received   time.Time   `json:"received"`
	Invalid    bool        `json:"invalid,omitempty"`
	Digest     []byte      `json:"digest,omitempty"` // SHA-256 of the whole, once known
}

const (
	recordFormat   = 1
	maxRecordBytes = 1 << 20
	orderFile      = "order"
)

func (c *Cache) folder(id string) string   { return filepath.Join(c.cfg.Dir, id[:2]) }
func (c *Cache) dataPath(id string) string { return filepath.Join(c.folder(id), id+".data") }
func (c *Cache) metaPath(id string) string { return filepath.Join(c.folder(id), id+".json") }

// save writes the record of v. A version that cannot be recorded is only lost at
// the next start.
func (c *Cache) save(v *Version) {
	v.saving.Lock() // so that what was known last is what stays
	defer v.saving.Unlock()
	var err error
	switch {
	case v.Size < 0:
	case v.blob.mem != nil:
		err = c.freeze(v)
	default:
		err = c.writeRecord(v, v.record())
	}
	if err != nil {
		c.log.Warn("version is not recorded", "url", v.Key, "error", err)
	}
}

func (v *Version) record() record {
	m := v.meta.Load()
	r := record{
		Format: recordFormat, Key: v.Key, ETag: v.ETag, OriginTag: v.originTag,
		Status: v.Status, Size: v.Size, Authorized: v.Authorized,
		Names: v.names, Selection: v.selection, Selecting: v.selecting,
		Header: m.resp.Header, Requested: m.resp.Requested, Received: m.resp.Received,
		Invalid: m.invalid,
	}
	if made := v.Manifest(); made != nil {
		r.Digest = made.Digest[:]
	}
	return r
}

func (c *Cache) writeRecord(v *Version, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(c.folder(v.ID), v.ID+".*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Close())
	if err == nil && !c.recordable(v) {
		err = errors.New("version is gone")
	}
	if err == nil {
		err = os.Rename(tmp.Name(), c.metaPath(v.ID))
	}
	if err != nil {
		os.Remove(tmp.Name())
		return err
	}
	if !c.recordable(v) { // dropped in between: leave nothing behind
		os.Remove(c.metaPath(v.ID))
	}
	return nil
}

func (c *Cache) recordable(v *Version) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return v.elem != nil
}

// load takes up what an earlier process left and removes what belongs to nothing.
func (c *Cache) load() error {
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	var err error
	if c.pack, err = pack.Open(pack.Config{Dir: filepath.Join(c.cfg.Dir, packFolder), Logger: c.log}); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	found := make(map[string]*Version)
	for i := range 256 {
		dir := filepath.Join(c.cfg.Dir, fmt.Sprintf("%02x", i))
		if err := c.loadFolder(dir, found); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(fmt.Errorf("cache: %w", err), c.pack.Close())
		}
	}
	c.tick = c.pack.LastUse()
	c.mu.Lock()
	for _, v := range slices.Backward(c.inOrder(found)) {
		e := c.entries[v.Key]
		if e == nil {
			e = &entry{cold: true}
			c.entries[v.Key] = e
		}
		e.variants = append(e.variants, v)
		v.elem = c.lru.PushFront(v)
		c.bytes += v.disk
		c.tick = max(c.tick, v.used)
	}
	for _, e := range c.entries {
		e.sort()
	}
	files := c.evictLocked(0, c.lru.Len()-maxVersions)
	c.mu.Unlock()
	c.remove(files...)
	return nil
}

// sort puts the newest variant first.
func (e *entry) sort() {
	slices.SortStableFunc(e.variants, func(a, b *Version) int {
		return b.meta.Load().resp.Received.Compare(a.meta.Load().resp.Received)
	})
}

func (c *Cache) loadFolder(dir string, found map[string]*Version) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		id, isRecord := strings.CutSuffix(n.Name(), ".json")
		if !isRecord || len(id) != 32 {
			continue
		}
		v, err := c.loadVersion(id)
		if err != nil {
			c.log.Warn("stored version is not usable", "id", id, "error", err)
			continue
		}
		found[id] = v
	}
	for _, n := range names {
		id, kind, _ := strings.Cut(n.Name(), ".")
		if found[id] == nil || kind != "data" && kind != "json" {
			os.Remove(filepath.Join(dir, n.Name()))
		}
	}
	return nil
}

func (c *Cache) loadVersion(id string) (*Version, error) {
	st, err := os.Stat(c.metaPath(id))
	if err != nil {
		return nil, err
	}
	if st.Size() > maxRecordBytes {
		return nil, fmt.Errorf("record of %d bytes", st.Size())
	}
	data, err := os.ReadFile(c.metaPath(id))
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.Size <= maxSmall {
		return nil, errors.New("small versions have no files of their own")
	}
	v, err := c.revive(id, r)
	if err != nil {
		return nil, err
	}
	return v, v.loadBytes(r.Digest)
}

// revive is the version that a record describes, without its bytes.
func (c *Cache) revive(id string, r record) (*Version, error) {
	if r.Format != recordFormat || r.Key == "" || r.Header == nil || r.Size < 0 || r.Size > manifest.MaxSize {
		return nil, errors.New("record is not of this format")
	}
	v := &Version{
		ID: id, Key: r.Key, ETag: r.ETag, Status: r.Status, Size: r.Size, Authorized: r.Authorized,
		c: c, blob: newBlob(c.dataPath(id), r.Size),
		names: r.Names, selection: r.Selection, selecting: r.Selecting, originTag: r.OriginTag,
	}
	if v.selecting == nil {
		v.selecting = make(http.Header)
	}
	m := newMeta(policy.Response{Status: r.Status, Header: r.Header, Requested: r.Requested, Received: r.Received}, r.Invalid)
	v.meta.Store(m)
	v.LastModified = policy.ValidatorsOf(r.Header, m.facts.Date).LastModified
	return v, nil
}

// loadBytes opens the blob. A version that can only be had whole must be whole.
func (v *Version) loadBytes(digest []byte) error {
	b := v.blob
	if err := b.open(); err != nil {
		return err
	}
	if !b.complete() && v.pin() == "" {
		return errors.New("incomplete, and its origin cannot complete it")
	}
	if b.complete() && len(digest) == manifest.HashSize {
		b.setManifest(manifest.Hash(digest))
	}
	v.disk = b.bytesPresent()
	return nil
}

// inOrder returns versions, most recently used first: as the order file has
// them, then by age.
func (c *Cache) inOrder(found map[string]*Version) []*Version {
	if data, err := os.ReadFile(filepath.Join(c.cfg.Dir, orderFile)); err == nil {
		for line := range strings.Lines(string(data)) {
			id, used, _ := strings.Cut(strings.TrimSpace(line), " ")
			if v := found[id]; v != nil {
				v.used, _ = strconv.ParseUint(used, 10, 64) // 0 is before all others
			}
		}
	}
	vs := make([]*Version, 0, len(found))
	for _, v := range found {
		vs = append(vs, v)
	}
	slices.SortFunc(vs, func(a, b *Version) int {
		if a.used != b.used {
			return cmp.Compare(b.used, a.used)
		}
		return b.meta.Load().resp.Received.Compare(a.meta.Load().resp.Received)
	})
	return vs
}

// saveOrder writes down the order of use. Without it the next process evicts by
// age.
func (c *Cache) saveOrder() {
	c.mu.Lock()
	var b strings.Builder
	for e := c.lru.Front(); e != nil; e = e.Next() {
		v := e.Value.(*Version)
		fmt.Fprintf(&b, "%s %d\n", v.ID, v.used)
	}
	c.mu.Unlock()
	if err := os.WriteFile(filepath.Join(c.cfg.Dir, orderFile), []byte(b.String()), 0o600); err != nil {
		c.log.Warn("order of use is not saved", "error", err)
	}
}

// makeRoom evicts a little when the disk itself is full, so that the next fill
// fares better.
func (c *Cache) makeRoom() {
	const slack = 64 << 20
	c.mu.Lock()
	goal := c.bytes - slack
	var files []*Version
	for e := c.lru.Back(); e != nil && c.bytes > goal; {
		v := e.Value.(*Version)
		e = e.Prev()
		if v.refs == 0 {
			files = append(files, c.dropLocked([]*Version{v})...)
		}
	}
	c.mu.Unlock()
	c.remove(files...)
}
