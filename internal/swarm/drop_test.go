package swarm

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// strict drops a peer at the first thing it has.
type strict struct {
	seed
	closed chan error
}

func (strict) PeerHave(p *Peer, _ []int)      { p.Drop("corrupt") }
func (s strict) PeerClose(_ *Peer, err error) { s.closed <- err }

// A peer that is dropped is told of once, with what it was dropped for.
func TestDropIsLoggedOnce(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		leech, seed := b.node(ctx, "leech", false), b.node(ctx, "seed", true)
		var log bytes.Buffer // the handler has a mutex of its own
		leech.log = slog.New(slog.NewTextHandler(&log, nil))
		h := strict{closed: make(chan error, 1)}
		b.join(seed, nil)
		b.join(leech, h)
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		if reason := Misconduct(<-h.closed); reason != "corrupt" {
			t.Errorf("misconduct %q, want corrupt", reason)
		}
		<-time.After(5 * time.Second)
		if n := strings.Count(log.String(), "peer dropped"); n != 1 || !strings.Contains(log.String(), "reason=corrupt") {
			t.Errorf("told of %d times, want once, as corrupt:\n%s", n, log.String())
		}
	})
}
