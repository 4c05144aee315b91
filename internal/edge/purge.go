package edge

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// purgeRequest is the body of a POST to purgePath.
type purgeRequest struct {
	// Paths are paths of this edge with their queries, encoded as in URLs. One that
	// ends in "*" stands for all that begin so.
	Paths []string `json:"paths"`
}

type purgeResponse struct {
	Purged int `json:"purged"`
}

// servePurge answers the method PURGE on the URL that is to be forgotten.
func (e *Edge) servePurge(w http.ResponseWriter, r *http.Request) {
	if !e.admin(w, r) {
		return
	}
	e.purge(w, []string{keyOf(r.URL)})
}

// servePurges answers a POST with a list.
func (e *Edge) servePurges(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodPost) || !e.admin(w, r) {
		return
	}
	var req purgeRequest
	if !readJSON(w, r, &req) {
		return
	}
	if len(req.Paths) == 0 {
		fail(w, http.StatusBadRequest, `name what to purge: {"paths": ["/file", "/folder/*"]}`)
		return
	}
	e.purge(w, req.Paths)
}

func (e *Edge) purge(w http.ResponseWriter, patterns []string) {
	var resp purgeResponse
	for _, p := range patterns {
		if !strings.HasPrefix(p, "/") {
			fail(w, http.StatusBadRequest, "paths begin with a slash")
			return
		}
		n, err := e.source.purge(p)
		resp.Purged += n
		if err != nil {
			e.log.Warn("purge", "path", p, "error", err)
			fail(w, http.StatusInternalServerError, "not everything was purged: "+err.Error())
			return
		}
		e.log.Info("purged", "path", p, "objects", n)
	}
	sendJSON(w, resp)
}

// admin lets those pass who know the token.
func (e *Edge) admin(w http.ResponseWriter, r *http.Request) bool {
	if e.cfg.AdminToken == "" {
		fail(w, http.StatusForbidden, "purging is off: start the edge with an admin token")
		return false
	}
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	// Hashes have one length, so that the comparison tells nothing of the token's.
	have, want := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(e.cfg.AdminToken))
	if !ok || subtle.ConstantTimeCompare(have[:], want[:]) != 1 {
		w.Header().Set("WWW-Authenticate", `Bearer realm="tandem edge"`)
		fail(w, http.StatusUnauthorized, "purging needs the header Authorization: Bearer TOKEN with the edge's admin token")
		return false
	}
	return true
}
