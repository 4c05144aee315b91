package edge

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// lineTime is how long a request for a part of an object waits for its turn.
	lineTime = time.Second
	// longestRetry bounds what a full edge says in Retry-After, in seconds.
	longestRetry = 30
)

// admission bounds the responses with objects that run at once. As many requests
// again wait in line, so that no turn is lost; whoever finds no place there is
// told to come back. What clients need to begin with each other (the well-known
// document, manifests, grants, HEAD) is never refused.
type admission struct {
	most  int
	turns chan struct{} // held while a response runs
	line  chan struct{} // held while a request waits
	now   func() time.Time

	mu      sync.Mutex
	second  int64 // in which refused was counted
	refused int
}

func newAdmission(most int, now func() time.Time) *admission {
	return &admission{most: most, turns: make(chan struct{}, most), line: make(chan struct{}, most), now: now}
}

// enter waits for a turn, in line if patient. When it reports true, leave must be
// called in the end.
func (a *admission) enter(ctx context.Context, patient bool) bool {
	select {
	case a.turns <- struct{}{}:
		return true
	default:
	}
	if !patient {
		return false
	}
	select {
	case a.line <- struct{}{}:
		defer func() { <-a.line }()
	default:
		return false
	}
	timer := time.NewTimer(lineTime)
	defer timer.Stop()
	select {
	case a.turns <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (a *admission) leave() { <-a.turns }

// retry is when a refused client should come back, in seconds: later the more are
// refused, and not all at once.
func (a *admission) retry() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.now().Unix(); s != a.second {
		a.second, a.refused = s, 0
	}
	a.refused++
	return 1 + rand.IntN(1+min(a.refused/(8*a.most), longestRetry-1))
}

// begun reports whether who asks has begun, and waits for that part of the object.
// Others can begin elsewhere at once: those who ask for everything, or for the first
// bytes of whatever version there is.
func begun(h http.Header) bool {
	ranges := h.Get("Range")
	end, first := strings.CutPrefix(ranges, "bytes=0-")
	return ranges != "" && (h.Get("If-Range") != "" || !first || end == "" || end == "0")
}

// serveAdmitted has the source answer, or says when to come back, with links to
// the manifest and the mirrors by which a client can begin without this edge.
func (e *Edge) serveAdmitted(w http.ResponseWriter, r *http.Request) {
	if e.admission == nil || r.Method == http.MethodHead {
		e.source.ServeHTTP(w, r)
		return
	}
	o, known := e.source.lookup(keyOf(r.URL))
	shared := known && o.size >= MinShared && !o.private
	if e.admission.enter(r.Context(), !shared || begun(r.Header)) {
		defer e.admission.leave()
		e.source.ServeHTTP(w, r)
		return
	}
	if shared {
		e.addLinks(w.Header(), e.objectLinks(o))
	}
	e.allowOrigin(w.Header())
	w.Header().Set("Retry-After", strconv.Itoa(e.admission.retry()))
	fail(w, http.StatusServiceUnavailable, "this server is full: ask again in a moment")
}
