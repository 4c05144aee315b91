package edge

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/filehash"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// manifestWait is how long a request waits for a manifest that is being made,
	// below the time-outs of common proxies.
	manifestWait = 25 * time.Second
	// manifestRetry is when a client should ask again after that, in seconds.
	manifestRetry = "5"
	// wellKnownAge is how long the well-known document may be kept: short, because
	// it is how clients learn of a new key or a moved control.
	wellKnownAge = "public, max-age=60"
	forever      = "public, max-age=31536000, immutable"
)

// document is the well-known document of this edge.
func (e *Edge) document() ([]byte, error) {
	control := e.cfg.Control
	if control == nil {
		control = []string{}
	}
	b, err := json.MarshalIndent(wire.WellKnown{
		Version: 1,
		Control: control,
		Keys:    wire.NewJWKS(e.signer.public()),
		Grants:  grantsPath,
		Mirrors: e.cfg.Mirrors,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("edge: well-known document: %w", err)
	}
	if len(b) > wire.MaxWellKnown {
		return nil, fmt.Errorf("edge: well-known document of %d bytes, the limit is %d: name fewer mirrors", len(b), wire.MaxWellKnown)
	}
	return append(b, '\n'), nil
}

func (e *Edge) serveWellKnown(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", wellKnownAge)
	// It holds public keys and addresses only, so that any page may read it.
	h.Set("Access-Control-Allow-Origin", "*")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(e.wellKnown))
}

// serveManifest answers manifestPrefix + version + key. The version makes the URL
// name these bytes for ever.
func (e *Edge) serveManifest(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	e.allowOrigin(w.Header())
	name, key, ok := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), manifestPrefix), "/")
	if !ok {
		fail(w, http.StatusNotFound, "no such manifest")
		return
	}
	key = "/" + key
	if r.URL.RawQuery != "" {
		key += "?" + r.URL.RawQuery
	}
	// Only who knows the name of the present version makes the edge work for it.
	if o, ok := e.source.lookup(key); !ok || !e.named(name, o) {
		fail(w, http.StatusNotFound, "no manifest of this version: the object has changed or is no longer stored; get it again")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), manifestWait)
	defer cancel()
	o, err := e.source.wait(ctx, key)
	switch {
	case err == nil && e.named(name, o):
		e.sendManifest(w, r, o)
	case err == nil || errors.Is(err, fs.ErrNotExist):
		fail(w, http.StatusNotFound, "no manifest of this version: the object has changed; get it again")
	case errors.Is(err, context.DeadlineExceeded):
		w.Header().Set("Retry-After", manifestRetry)
		fail(w, http.StatusServiceUnavailable, "the manifest is being made: ask again in a moment")
	case errors.Is(err, filehash.ErrChanged):
		w.Header().Set("Retry-After", manifestRetry)
		fail(w, http.StatusServiceUnavailable, "the file is being written to: ask again when it stands still")
	default:
		e.log.Warn("no manifest", "key", key, "error", err)
		w.Header().Set("Retry-After", manifestRetry)
		fail(w, http.StatusServiceUnavailable, "the manifest cannot be made now: ask again in a moment")
	}
}

func (e *Edge) named(name string, o object) bool {
	return subtle.ConstantTimeCompare([]byte(name), []byte(e.signer.name(o))) == 1
}

func (e *Edge) sendManifest(w http.ResponseWriter, r *http.Request, o object) {
	signed := e.signer.sign(o.manifest)
	h := w.Header()
	h.Set("Content-Type", wire.ManifestType)
	h.Set("Cache-Control", forever)
	h.Set("Etag", `"`+signed.Object.String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(signed.Append(nil)))
}
