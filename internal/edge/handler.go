package edge

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Paths of the edge itself. No object of the origin is served under them.
const (
	grantsPath     = wire.WellKnownPath + "/grants"
	purgePath      = wire.WellKnownPath + "/purge"
	manifestPrefix = wire.WellKnownPath + "/manifest/"
	chunksPrefix   = wire.WellKnownPath + "/chunks/"
	healthPath     = "/healthz"

	// methodPurge is the method that caches before this one understood.
	methodPurge = "PURGE"
)

// serve tells the edge's own resources from the origin's. It does not use
// http.ServeMux, which redirects paths like "//a" that an origin may know.
func (e *Edge) serve(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case r.Method == methodPurge:
		e.servePurge(w, r)
	case path == healthPath:
		e.serveHealth(w, r)
	case path == wire.WellKnownPath:
		e.serveWellKnown(w, r)
	case path == grantsPath:
		e.serveGrant(w, r)
	case path == purgePath:
		e.servePurges(w, r)
	case strings.HasPrefix(path, manifestPrefix):
		e.serveVersion(w, r, manifestPrefix, e.source.wait, e.sendManifest)
	case strings.HasPrefix(path, chunksPrefix):
		e.serveVersion(w, r, chunksPrefix, e.source.chunks, e.sendChunks)
	case strings.HasPrefix(path, trackPrefix):
		e.serveTrack(w, r)
	case strings.HasPrefix(path, wire.WellKnownPath+"/"):
		http.NotFound(w, r)
	default:
		e.serveObject(w, r)
	}
}

// serveObject checks the signature of the URL, if the edge wants one, and lets
// the source answer.
func (e *Edge) serveObject(w http.ResponseWriter, r *http.Request) {
	if e.cfg.AllowOrigin != "" && r.Method == http.MethodOptions {
		e.preflight(w, "GET, HEAD", "Range, If-Range, If-None-Match")
		return
	}
	if e.cfg.SignedURLs == nil {
		e.serveAdmitted(w, r)
		return
	}
	plain, err := e.cfg.SignedURLs.Verify(e.absolute(r), e.cfg.Now())
	if err != nil {
		e.refuse(w, err)
		return
	}
	// The source sees neither the token nor that there was one.
	inner := *r
	u := *r.URL
	u.RawQuery, u.ForceQuery = plain.RawQuery, plain.ForceQuery
	inner.URL, inner.RequestURI = &u, u.RequestURI()
	e.serveAdmitted(w, &inner)
}

// absolute is the URL the client used.
func (e *Edge) absolute(r *http.Request) *url.URL {
	u := *r.URL
	u.Scheme, u.Host = "http", r.Host
	if r.TLS != nil {
		u.Scheme = "https"
	}
	if e.public != nil {
		u.Scheme, u.Host = e.public.Scheme, e.public.Host
	}
	return &u
}

// refuse answers a URL whose signature is not good.
func (e *Edge) refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, err.Error(), http.StatusForbidden)
}

// decorate adds to the header of a response what tells clients that, and how, the
// object is shared: Link (RFC 8288, RFC 6249) and Repr-Digest (RFC 9530).
func (e *Edge) decorate(h http.Header, o object) {
	if m := o.manifest; m != nil {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(m.Digest[:])+":")
	}
	own := e.trackLinks(h, o)
	if o.size >= MinShared && !o.private {
		own = append(e.objectLinks(o), own...)
	}
	e.addLinks(h, own)
	e.allowOrigin(h)
}

// allowOrigin lets the web pages read a response that the operator named.
func (e *Edge) allowOrigin(h http.Header) {
	if e.cfg.AllowOrigin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", e.cfg.AllowOrigin)
	h.Set("Access-Control-Expose-Headers", "Link, Repr-Digest, ETag, Content-Range, Content-Length, Accept-Ranges")
	if e.cfg.AllowOrigin != "*" {
		h.Add("Vary", "Origin")
	}
}

// preflight answers what a browser asks before a request that a page makes
// across origins.
func (e *Edge) preflight(w http.ResponseWriter, methods, fields string) {
	h := w.Header()
	e.allowOrigin(h)
	if e.cfg.AllowOrigin != "" {
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", fields)
		h.Set("Access-Control-Max-Age", "86400")
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *Edge) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if err := e.health(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// allow refuses methods other than those named.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	list := strings.Join(methods, ", ")
	w.Header().Set("Allow", list)
	http.Error(w, "only "+list+" work here", http.StatusMethodNotAllowed)
	return false
}

// fail answers with a status that no cache keeps.
func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
