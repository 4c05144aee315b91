package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// lingerFor is how long an unfinished object that nobody reads is kept: players that
	// seek hang up and come back.
	lingerFor = 10 * time.Second
	// documentWithin bounds the wait for a host to tell whether it shares; one that is
	// slow to do so is taken for one that does not, this time.
	documentWithin = time.Second
	// plainFor is how long a URL is taken to be of no object once its answer was none,
	// maxPlain bounds how many are remembered.
	plainFor = 10 * time.Second
	maxPlain = 4096
)

// objects are what came through the engine: the versions of URLs that are being
// fetched and those that are kept, the least used of which go first when room is needed.
type objects struct {
	g     *Gateway
	dir   string
	quota int64

	mu      sync.Mutex
	closed  bool
	byURL   map[string]*object // the last version
	all     map[*object]bool   // also former versions that are being read
	opening map[string]chan struct{}
	plain   map[string]time.Time // URLs whose last answer was no object, and until when that counts
	edge    int64                // bytes that objects had which are gone
	peers   int64
	waiting sync.WaitGroup
}

func openObjects(g *Gateway, dir string, quota int64) (*objects, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	return &objects{
		g: g, dir: dir, quota: quota, byURL: map[string]*object{}, all: map[*object]bool{},
		opening: map[string]chan struct{}{}, plain: map[string]time.Time{},
	}, nil
}

// get returns the object that the request is for, to be released when it has been
// served, or else the answer of the server to a GET without range and condition; or
// neither, when there is no point in asking so.
func (s *objects) get(ctx context.Context, x *exchange) (*object, *http.Response, error) {
	key, began := x.url.String(), time.Now()
	if x.own != nil { // never anybody else's object
		if x.r.Method == http.MethodHead || len(x.r.Header["Range"]) > 0 || conditional(x.r.Header) || !s.shares(ctx, x.url) {
			return nil, nil, nil
		}
		return s.open(ctx, x, nil)
	}
	for {
		s.mu.Lock()
		o := s.byURL[key]
		if o != nil && (o.checked.After(began) || time.Now().Before(o.until) && !asksAnew(x.r.Header)) {
			o.take()
			s.mu.Unlock()
			return o, nil, nil
		}
		if o == nil && (x.r.Method == http.MethodHead || time.Now().Before(s.plain[key]) || conditional(x.r.Header)) {
			s.mu.Unlock()
			return nil, nil, nil
		}
		other := s.opening[key]
		if other == nil {
			done := make(chan struct{})
			s.opening[key] = done
			if o != nil {
				o.take()
			}
			s.mu.Unlock()
			return s.lead(ctx, x, key, o, done)
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// lead is get for the request that asks the server, while others of the same URL wait.
// o is what is there, taken, if anything is.
func (s *objects) lead(ctx context.Context, x *exchange, key string, o *object, done chan struct{}) (got *object, resp *http.Response, err error) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.opening, key)
		close(done)
		if err == nil && got == nil {
			if len(s.plain) >= maxPlain {
				clear(s.plain)
			}
			s.plain[key] = time.Now().Add(plainFor)
		}
	}()
	if o == nil && !s.shares(ctx, x.url) {
		return nil, nil, nil
	}
	return s.open(ctx, x, o)
}

// shares reports whether the host of u shares objects at all.
func (s *objects) shares(ctx context.Context, u *url.URL) bool {
	ctx, cancel := context.WithTimeout(ctx, documentWithin)
	defer cancel()
	return s.document(ctx, u) != nil
}

// document is the well-known document of the host of u, nil without one. The request
// for it outlives ctx: somebody else will want it.
func (s *objects) document(ctx context.Context, u *url.URL) *wire.WellKnown {
	got := make(chan *wire.WellKnown, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wellKnownWithin)
		defer cancel()
		doc, err := s.g.docs.WellKnown(ctx, u)
		if err != nil {
			doc = nil
		}
		got <- doc
	}()
	select {
	case doc := <-got:
		return doc
	case <-ctx.Done():
		return nil
	}
}

// open asks the server, for the version after o if there is one, and begins an object
// with its answer if that is one. It releases o unless it returns it.
func (s *objects) open(ctx context.Context, x *exchange, o *object) (*object, *http.Response, error) {
	h := x.header.Clone()
	for k := range h {
		if k == "Range" || strings.HasPrefix(k, "If-") {
			h.Del(k)
		}
	}
	if o != nil {
		o.condition(h)
	}
	// The answer goes on when this client has gone, if it is an object's.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	resp, err := x.ask(own, http.MethodGet, h)
	switch {
	case err != nil:
	case o != nil && resp.StatusCode == http.StatusNotModified:
		resp.Body.Close()
		cancel()
		s.mu.Lock()
		o.renew(resp.Header)
		s.mu.Unlock()
		return o, nil, nil
	case s.isObject(ctx, x, resp):
		if o != nil {
			o.release()
		}
		if !stop() {
			resp.Body.Close()
			return nil, nil, ctx.Err()
		}
		got, err := s.begin(ctx, x, resp)
		if err != nil || got == nil {
			cancel()
		}
		return got, nil, err
	}
	if o != nil {
		o.release()
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	resp.Body = &ending{resp.Body, cancel}
	if s.mayBecomeObject(x, resp) {
		resp.Body = &keeper{ReadCloser: resp.Body, s: s, ctx: own, key: x.url.String(), size: resp.ContentLength}
	}
	return nil, resp, nil
}

// mayBecomeObject reports whether an answer is of an object whose manifest the edge has
// yet to make. It is passed on as it comes, for nobody is to wait for the manifest, and
// kept beside.
func (s *objects) mayBecomeObject(x *exchange, resp *http.Response) bool {
	return x.own == nil && s.mayKeep(x, resp) && agent.LinksManifest(resp.Header)
}

func (s *objects) mayKeep(x *exchange, resp *http.Response) bool {
	return resp.ContentLength >= agent.MinSwarm && resp.ContentLength <= s.quota && storable(resp, x.own != nil)
}

// isObject reports whether an answer is of an object that is shared, whose manifest is
// there: an edge says so by its digest, and a published directory by its document.
func (s *objects) isObject(ctx context.Context, x *exchange, resp *http.Response) bool {
	if !s.mayKeep(x, resp) {
		return false
	}
	if agent.HasManifest(resp.Header) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, documentWithin)
	defer cancel()
	doc := s.document(ctx, x.url)
	return doc != nil && doc.Manifests != ""
}

// begin has the engine go on with an answer. It returns nothing where there turns out
// to be no manifest, or no room.
func (s *objects) begin(ctx context.Context, x *exchange, resp *http.Response) (*object, error) {
	if !s.room(resp.ContentLength) {
		resp.Body.Close()
		return nil, nil //nolint:nilnil // see above
	}
	dir, err := os.MkdirTemp(s.dir, "o-")
	if err != nil {
		resp.Body.Close()
		return nil, fmt.Errorf("objects: %w", err)
	}
	key := x.url.String()
	dl, err := s.g.engine.Download(ctx, agent.Request{
		URL: key, File: filepath.Join(dir, objectFile), Header: x.own, Begun: resp,
		Class: fetch.Interactive, Fresh: true, Guarded: true, NoRedirects: true, Sequential: true,
	})
	if err != nil {
		resp.Body.Close()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	o := &object{s: s, key: key, dir: dir, dl: dl, size: resp.ContentLength}
	o.describe(resp.Header)
	ordinary, err := dl.Ordinary(ctx)
	if err != nil || ordinary {
		return nil, errors.Join(err, dl.Close(), os.RemoveAll(dir))
	}
	o.refs = 1
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errors.Join(agent.ErrInterrupted, dl.Close(), os.RemoveAll(dir))
	}
	s.add(o)
	s.waiting.Go(func() { s.watch(o) })
	s.mu.Unlock()
	return o, nil
}

// add makes o the version of its URL. s.mu is held.
func (s *objects) add(o *object) {
	if before := s.byURL[o.key]; before != nil {
		before.former = true
		s.tidy(before)
	}
	s.byURL[o.key] = o
	s.all[o] = true
	o.used = time.Now()
}

// watch waits for an object to be whole, and notes that for the next start.
func (s *objects) watch(o *object) {
	_, err := o.dl.Wait(context.Background()) // it ends with the engine at the latest
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.all[o] {
		return // it has been dropped
	}
	if err == nil {
		o.whole = true
		err = o.save()
	}
	if err != nil {
		o.broken = true
		if !errors.Is(err, agent.ErrInterrupted) {
			s.g.log.Warn("gateway: object not kept", "host", o.host(), "error", err)
		}
	}
	s.tidy(o)
}

// room makes place for n bytes, and reports whether there is.
func (s *objects) room(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sum()+n > s.quota {
		var oldest *object
		for o := range s.all {
			if o.refs == 0 && (oldest == nil || o.used.Before(oldest.used)) {
				oldest = o
			}
		}
		if oldest == nil {
			return false
		}
		s.drop(oldest)
	}
	return true
}

// sum is how many bytes the objects have, or will have. s.mu is held.
func (s *objects) sum() (n int64) {
	for o := range s.all {
		n += o.size
	}
	return n
}

// tidy drops an object that nobody reads and nobody will. s.mu is held.
func (s *objects) tidy(o *object) {
	if !s.all[o] || o.refs > 0 || o.linger != nil {
		return
	}
	if o.former || o.broken || !o.whole && !o.restored {
		s.drop(o)
	}
}

// drop lets go of an object and removes it from the disk. s.mu is held.
func (s *objects) drop(o *object) {
	delete(s.all, o)
	if s.byURL[o.key] == o {
		delete(s.byURL, o.key)
	}
	p := o.dl.Progress()
	s.edge += p.FromEdge
	s.peers += p.FromPeers
	s.waiting.Go(func() {
		if err := errors.Join(o.dl.Close(), os.RemoveAll(o.dir)); err != nil {
			s.g.log.Warn("gateway: object not removed", "dir", o.dir, "error", err)
		}
	})
}

// sums are bytes: what came from edges and from peers, what is kept and may be.
func (s *objects) sums() (edge, peers, kept, quota int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edge, peers = s.edge, s.peers
	for o := range s.all {
		p := o.dl.Progress()
		edge += p.FromEdge
		peers += p.FromPeers
		kept += p.Done
	}
	return edge, peers, kept, s.quota
}

// close lets go of everything and keeps what is whole on the disk.
func (s *objects) close() error {
	s.mu.Lock()
	s.closed = true
	all := s.all
	s.all, s.byURL = map[*object]bool{}, map[string]*object{}
	s.mu.Unlock()
	var errs []error
	for o := range all {
		errs = append(errs, o.dl.Close())
		if !o.whole && !o.restored {
			errs = append(errs, os.RemoveAll(o.dir))
		}
	}
	s.waiting.Wait()
	return errors.Join(errs...)
}
