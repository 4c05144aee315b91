package cache

import (
	"container/list"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/pack"
	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Version is one immutable version of what a URL answers: the bytes never
// change, only what is known about their freshness. Its exported fields are
// read-only.
type Version struct {
	// ID names the version in this cache; it is unique and survives restarts.
	ID string
	// Key is the path and query of the URL.
	Key string
	// ETag is the entity tag clients get: the origin's, or one of this cache's
	// making where the origin has none.
	ETag string
	// LastModified is the origin's, or zero.
	LastModified time.Time
	// Status is the status code; only versions of status 200 are objects.
	Status int
	// Size is in bytes; -1 while a response without Content-Length is being
	// stored. When its end is seen, a new Version with the size takes its place.
	Size int64
	// Authorized says that the request that brought it had credentials.
	Authorized bool

	c    *Cache
	blob *blob
	meta atomic.Pointer[meta]

	names     []string    // of the request fields that select this variant
	selection string      // what they were, normalised
	selecting http.Header // what they were, to be sent again
	originTag string

	saving sync.Mutex // one record at a time is written

	// Guarded by c.mu.
	refs int           // who holds the files
	elem *list.Element // in the LRU list; nil once dropped from the index
	gone bool          // the files are removed
	disk int64         // bytes accounted
	used uint64        // when, by c.tick; of a small version the pack knows
	ref  pack.Ref      // where a small version is in the pack, zero if it is not

	packing sync.Mutex // one writes it to the pack
}

// meta is what is known about the freshness of a version; it is replaced as a
// whole when the origin confirms the version.
type meta struct {
	resp    policy.Response
	facts   policy.Facts
	invalid bool // must be validated before it is used again
}

func newMeta(r policy.Response, invalid bool) *meta {
	return &meta{resp: r, facts: policy.FactsOf(r), invalid: invalid}
}

func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newVersion describes the response to a request for key with header req. Its
// file is not made yet.
func (c *Cache) newVersion(key string, req http.Header, r policy.Response, size int64) *Version {
	names, _ := policy.VaryNames(r.Header)
	// The codings asked for decide the bytes even where Vary does not say so:
	// later requests for parts must repeat them.
	sent := append([]string{"Accept-Encoding"}, names...)
	v := &Version{
		ID: newID(), Key: key, Status: r.Status, Size: size,
		Authorized: req.Get("Authorization") != "",
		names:      names, selection: policy.Selection(names, req), selecting: policy.Selecting(sent, req),
		c: c,
	}
	v.describe(r)
	v.blob = newBlob(c.dataPath(v.ID), size)
	return v
}

// describe sets what follows from the header.
func (v *Version) describe(r policy.Response) {
	m := newMeta(r, false)
	v.meta.Store(m)
	val := policy.ValidatorsOf(r.Header, m.facts.Date)
	v.originTag, v.ETag, v.LastModified = val.ETag, val.ETag, val.LastModified
	if v.ETag == "" {
		v.ETag = `"` + v.ID + `"`
	}
}

func (v *Version) matches(h http.Header) bool {
	return len(v.names) == 0 || policy.Selection(v.names, h) == v.selection
}

// Coded says whether the request's Accept-Encoding alone selected the version among
// those of its URL, if any field did: all get the same content then.
func (v *Version) Coded() bool {
	return !slices.ContainsFunc(v.names, func(name string) bool { return !strings.EqualFold(name, "Accept-Encoding") })
}

// Manifest is the manifest of the whole object, or nil until all its bytes were
// seen.
func (v *Version) Manifest() *manifest.Manifest {
	v.blob.mu.Lock()
	defer v.blob.mu.Unlock()
	return v.blob.made
}

// Complete says whether all bytes are stored.
func (v *Version) Complete() bool {
	v.blob.mu.Lock()
	defer v.blob.mu.Unlock()
	return v.blob.complete()
}

// Header is a copy of the stored header.
func (v *Version) Header() http.Header { return v.meta.Load().resp.Header.Clone() }

// validators are those that clients see.
func (v *Version) validators() policy.Validators {
	return policy.Validators{ETag: v.ETag, LastModified: v.LastModified, Date: v.meta.Load().facts.Date}
}

// pin is the strong validator that ties requests for parts to this version, or
// empty: then all bytes must come in one response.
func (v *Version) pin() string {
	switch {
	case v.Status != http.StatusOK || v.Size < 0:
		return ""
	case policy.StrongTag(v.originTag):
		return v.originTag
	case v.originTag == "" && policy.StrongDate(v.validators()):
		return v.LastModified.UTC().Format(http.TimeFormat)
	}
	return ""
}

// sameAs says whether a response header describes the same bytes as v: equal
// strong validators and equal length.
func (v *Version) sameAs(h http.Header, size int64) bool {
	if size >= 0 && v.Size >= 0 && size != v.Size {
		return false
	}
	if tag := h.Get("ETag"); tag != "" || v.originTag != "" {
		return policy.StrongMatch(tag, v.originTag)
	}
	lm := policy.ValidatorsOf(h, time.Time{}).LastModified
	return !lm.IsZero() && lm.Equal(v.LastModified) && policy.StrongDate(v.validators())
}

// freshen takes over the header of a response that confirmed the version.
func (v *Version) freshen(r policy.Response) {
	old := v.meta.Load()
	r.Status = old.resp.Status
	r.Header = policy.Freshened(old.resp.Header, r.Header)
	v.meta.Store(newMeta(r, false))
}

// invalidate makes the next use ask the origin first.
func (v *Version) invalidate() {
	v.meta.Store(&meta{resp: v.meta.Load().resp, facts: v.meta.Load().facts, invalid: true})
}

// remove deletes the files.
func (v *Version) remove() {
	os.Remove(v.blob.path)
	os.Remove(v.c.metaPath(v.ID))
}
