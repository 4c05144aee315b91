package agent

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// hosts remembers the well-known documents of hosts, also that there is none.
type hosts struct {
	client *http.Client
	mu     sync.Mutex
	known  map[string]*host
}

type host struct {
	ready chan struct{}
	until time.Time
	doc   *wire.WellKnown
	err   error
}

const (
	hostFresh  = 10 * time.Minute
	hostAbsent = time.Minute
	maxHosts   = 1024
)

func newHosts(c *http.Client) *hosts { return &hosts{client: c, known: map[string]*host{}} }

// get returns the well-known document of the host of u, with absolute URLs.
func (h *hosts) get(ctx context.Context, u *url.URL) (*wire.WellKnown, error) {
	base := u.Scheme + "://" + u.Host
	h.mu.Lock()
	k := h.known[base]
	if k == nil || time.Now().After(k.until) {
		if len(h.known) >= maxHosts {
			clear(h.known)
		}
		k = &host{ready: make(chan struct{}), until: time.Now().Add(hostFresh)}
		h.known[base] = k
		h.mu.Unlock()
		k.doc, k.err = session.FetchWellKnown(ctx, h.client, base)
		if k.err != nil {
			h.mu.Lock()
			k.until = time.Now().Add(hostAbsent)
			if ctx.Err() != nil {
				delete(h.known, base)
			}
			h.mu.Unlock()
		}
		close(k.ready)
		return k.doc, k.err
	}
	h.mu.Unlock()
	select {
	case <-k.ready:
		return k.doc, k.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
