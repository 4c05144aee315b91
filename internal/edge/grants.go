package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// maxRequest bounds the JSON body of a request to the edge, in bytes.
const maxRequest = 32 << 10

// serveGrant answers a wire.GrantRequest.
func (e *Edge) serveGrant(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		e.preflight(w, "POST", "Content-Type")
		return
	}
	if !allow(w, r, http.MethodPost) {
		return
	}
	e.allowOrigin(w.Header())
	var req wire.GrantRequest
	if !readJSON(w, r, &req) {
		return
	}
	resp, status, err := e.grant(req)
	if err != nil {
		fail(w, status, err.Error())
		return
	}
	sendJSON(w, resp)
}

// grant decides on a request. An error comes with the status to answer.
func (e *Edge) grant(req wire.GrantRequest) (*wire.GrantResponse, int, error) {
	if e.cfg.Policy.P2P == wire.P2POff {
		return nil, http.StatusForbidden, errors.New("sharing is off for this object: download it from the edge alone")
	}
	id, err := manifest.ParseObjectID(req.Object)
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	if req.Key == (wire.Key{}) {
		return nil, http.StatusBadRequest, errors.New("the request names no key to bind the grant to")
	}
	key, status, err := e.keyIn(req.URL)
	if err != nil {
		return nil, status, err
	}
	if !e.serves(key, id) {
		return nil, http.StatusNotFound, errors.New("this edge does not serve this object at this URL now: get its manifest again")
	}
	now := e.cfg.Now()
	expires := now.Add(grant.TTL)
	token, err := grant.Sign(grant.Claims{Object: id, Key: req.Key, Policy: e.cfg.Policy, Expires: expires}, e.signer.key, now)
	if err != nil {
		e.log.Error("no grant", "error", err)
		return nil, http.StatusInternalServerError, errors.New("the grant cannot be signed")
	}
	return &wire.GrantResponse{Grant: token, Expires: expires.Unix()}, 0, nil
}

// serves says whether a key names the object, or a playlist of the stream.
func (e *Edge) serves(key string, id manifest.ObjectID) bool {
	if e.streams != nil {
		if s, ok := e.streams.Stream(key); ok && s == id {
			return true
		}
	}
	o, ok := e.source.lookup(key)
	return ok && o.manifest != nil && e.signer.sign(o.manifest).Object == id
}

// keyIn is the key of the object at an absolute URL, whose signature it checks
// when the edge wants one. Which host the URL names does not matter: an edge may
// have many names. An error comes with the status to answer.
func (e *Edge) keyIn(text string) (key string, status int, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", http.StatusBadRequest, fmt.Errorf("URL %.200q: want the absolute URL of the object", text)
	}
	if e.cfg.SignedURLs != nil {
		if u, err = e.cfg.SignedURLs.Verify(u, e.cfg.Now()); err != nil {
			return "", http.StatusForbidden, err
		}
	}
	return keyOf(u), 0, nil
}

// readJSON reads a JSON body of bounded size into v, or answers why not. It wants
// the content type to be JSON, which no form of a foreign web page can send
// without the browser asking first.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "the body must be application/json")
		return false
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(v)
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have %d bytes", maxRequest))
		return false
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "the body is not the JSON that is wanted: "+err.Error())
		return false
	}
	return true
}

func sendJSON(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	// What is sent is made of strings and numbers, which always encode; what is
	// left to go wrong is the client's connection.
	_ = json.NewEncoder(w).Encode(v)
}
