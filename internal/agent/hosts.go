package agent

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// hosts remembers the well-known documents of hosts, also that there is none.
type hosts struct {
	mu    sync.Mutex
	known map[string]*host
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

func newHosts() *hosts { return &hosts{known: map[string]*host{}} }

// get returns the well-known document of the host of u, with absolute URLs; if it is
// not known, by way of client.
func (h *hosts) get(ctx context.Context, client *http.Client, u *url.URL) (*wire.WellKnown, error) {
	for {
		doc, err := h.try(ctx, client, u.Scheme+"://"+u.Host)
		if !errors.Is(err, errAsker) || ctx.Err() != nil {
			return doc, err
		}
	}
}

// peek is the well-known document of the host of u as far as it is known; nil: it is not.
func (h *hosts) peek(u *url.URL) *wire.WellKnown {
	h.mu.Lock()
	k := h.known[u.Scheme+"://"+u.Host]
	h.mu.Unlock()
	if k == nil {
		return nil
	}
	select {
	case <-k.ready:
		return k.doc
	default:
		return nil
	}
}

// forget makes the next get ask the host of u again.
func (h *hosts) forget(u *url.URL) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.known, u.Scheme+"://"+u.Host)
}

// errAsker: who asked for the document gave up; nothing is known of the host.
var errAsker = errors.New("no longer asked for")

func (h *hosts) try(ctx context.Context, client *http.Client, base string) (*wire.WellKnown, error) {
	h.mu.Lock()
	k := h.known[base]
	if k == nil || time.Now().After(k.until) {
		if len(h.known) >= maxHosts {
			clear(h.known)
		}
		k = &host{ready: make(chan struct{}), until: time.Now().Add(hostFresh)}
		h.known[base] = k
		h.mu.Unlock()
		k.doc, k.err = session.FetchWellKnown(ctx, client, base)
		if k.err != nil {
			h.mu.Lock()
			k.until = time.Now().Add(hostAbsent)
			if ctx.Err() != nil {
				delete(h.known, base)
				k.err = errors.Join(errAsker, k.err)
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
