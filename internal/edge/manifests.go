package edge

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
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
		Gateway: e.cfg.Gateway,
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

// serveVersion answers prefix + version + key with what describes an object, once
// wait has it. The version makes the URL name these bytes for ever.
func (e *Edge) serveVersion(w http.ResponseWriter, r *http.Request, prefix string,
	wait func(context.Context, string) (object, error), send func(http.ResponseWriter, *http.Request, object),
) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	e.allowOrigin(w.Header())
	name, key, ok := strings.Cut(strings.TrimPrefix(keyOf(r.URL), prefix), "/")
	if !ok {
		fail(w, http.StatusNotFound, "no such manifest")
		return
	}
	key = "/" + key
	o, stored := e.source.lookup(key)
	if stored && !e.named(name, o) || !stored && e.cfg.SignedURLs != nil {
		// With signed URLs only who knows the name of the present version, and so
		// was served it, makes the edge work.
		fail(w, http.StatusNotFound, "no manifest of this version: the object has changed or is no longer stored; get it again")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), manifestWait)
	defer cancel()
	o, err := wait(ctx, key)
	if err == nil && e.named(name, o) {
		send(w, r, o)
		return
	}
	e.denyManifest(w, key, err)
}

// denyManifest says why there is no manifest, or not yet.
func (e *Edge) denyManifest(w http.ResponseWriter, key string, err error) {
	later := func(text string) {
		w.Header().Set("Retry-After", manifestRetry)
		fail(w, http.StatusServiceUnavailable, text)
	}
	switch {
	case err == nil:
		fail(w, http.StatusNotFound, "no manifest of this version: the object has changed; get it again")
	case errors.Is(err, errNoManifest):
		fail(w, http.StatusNotFound, "no manifest: this edge does not store this object; download it without peers")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		later("the manifest is being made: ask again in a moment")
	case errors.Is(err, errMoving):
		later("the object is being written to: ask again when it stands still")
	default:
		e.log.Warn("no manifest", "key", key, "error", err)
		later("the manifest cannot be made now: ask again in a moment")
	}
}

func (e *Edge) named(name string, o object) bool {
	return subtle.ConstantTimeCompare([]byte(name), []byte(e.signer.name(o))) == 1
}

func (e *Edge) sendManifest(w http.ResponseWriter, r *http.Request, o object) {
	signed := e.signer.sign(o.manifest)
	h := w.Header()
	h.Set("Content-Type", wire.ManifestType)
	h.Set("Etag", `"`+signed.Object.String()+`"`)
	if o.size >= chunkmap.MinObject {
		h.Set("Link", fmt.Sprintf("<%s>; rel=%q; type=%q", linkTo(chunksPrefix+e.signer.name(o)+o.key), "describedby", wire.ChunksType))
	}
	sendForever(w, r, signed.Append(nil))
}

func (e *Edge) sendChunks(w http.ResponseWriter, r *http.Request, o object) {
	h := w.Header()
	h.Set("Content-Type", wire.ChunksType)
	h.Set("Etag", `"`+o.chunks.Object.String()+`.chunks"`)
	sendForever(w, r, e.signer.signChunks(o.chunks))
}

func sendForever(w http.ResponseWriter, r *http.Request, b []byte) {
	w.Header().Set("Cache-Control", forever)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}
