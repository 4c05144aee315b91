package portmap

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// lookEvery is how often it is looked where the machine is.
	lookEvery = 15 * time.Second
	// removeWithin bounds the removing of mappings at the end.
	removeWithin = 2 * time.Second
)

// Config is what a Mapper needs.
type Config struct {
	// Ports are those to be reached, by a machine whose address towards the gateway
	// is local. It is asked anew on every network.
	Ports func(local netip.Addr) []Port
	// Metered reports whether what the network carries is paid for: then there is no
	// mapping. Nil is never.
	Metered func() bool
	// OnChange is called by Run when the external addresses are others. It must not
	// block.
	OnChange func(Status)
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

// Mapper keeps ports mapped.
type Mapper struct {
	cfg   Config
	log   *slog.Logger
	core  *core // of Run's goroutine
	where func() (network, error)
	speak func(Protocol, network) service

	services map[Protocol]service // with the gateway of the network
	at       network

	mu     sync.Mutex
	status Status
}

// New returns a mapper that does nothing before Run.
func New(cfg Config) *Mapper {
	m := &Mapper{cfg: cfg, log: cfg.Logger, core: newCore(), where: whereabouts, speak: speak}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.status = m.core.status(time.Now())
	return m
}

// speak is the protocol with the gateway of a network.
func speak(p Protocol, n network) service {
	switch p {
	case PCP:
		return newPCP(n.gateway)
	case NATPMP:
		return newPMP(n.gateway)
	default:
		return newIGD(n)
	}
}

// Status is what there is at the moment.
func (m *Mapper) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.status
	st.Mappings = slices.Clone(st.Mappings)
	return st
}

// Run keeps the mappings until ctx ends, then removes them.
func (m *Mapper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s := m.core.next(time.Now(), m.look())
		if s.op != opWait {
			m.do(ctx, s)
			continue
		}
		m.publish()
		wait := lookEvery
		if !s.until.IsZero() {
			wait = min(wait, time.Until(s.until))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	defer cancel()
	for {
		s := m.core.next(time.Now(), situation{net: m.core.net, why: "ended"})
		if s.op != opRemove {
			break
		}
		m.do(last, s)
	}
	m.publish()
}

// look finds out where the machine is and whether it may have mappings there.
func (m *Mapper) look() situation {
	n, err := m.where()
	if err != nil {
		return situation{why: err.Error()}
	}
	s := situation{net: n, ports: m.cfg.Ports(n.local)}
	switch {
	case m.cfg.Metered != nil && m.cfg.Metered():
		s.why = "the network is metered"
	case len(s.ports) == 0:
		s.why = "no port listens for links from outside"
	}
	return s
}

// do carries a step out.
func (m *Mapper) do(ctx context.Context, s step) {
	var a answer
	var err error
	peer := m.with(s.protocol)
	switch s.op {
	case opAdd:
		a, err = peer.add(ctx, s.mapping)
	case opCheck:
		a, err = peer.check(ctx, s.mapping)
	case opRemove:
		err = peer.remove(ctx, s.mapping)
	case opWait:
	}
	if err != nil {
		m.log.Debug("port mapping", "protocol", s.protocol, "port", s.mapping.Internal, "error", err)
	}
	m.core.record(time.Now(), s, a, err)
}

// with is the service of a protocol.
func (m *Mapper) with(p Protocol) service {
	if m.services == nil || m.at != m.core.net {
		m.services, m.at = map[Protocol]service{}, m.core.net
	}
	if m.services[p] == nil {
		m.services[p] = m.speak(p, m.at)
	}
	return m.services[p]
}

// publish tells what has changed.
func (m *Mapper) publish() {
	st := m.core.status(time.Now())
	m.mu.Lock()
	before := m.status
	m.status = st
	m.mu.Unlock()
	same := slices.EqualFunc(before.Mappings, st.Mappings, func(a, b Mapping) bool {
		return a.Net == b.Net && a.Internal == b.Internal && a.External == b.External
	})
	if same {
		return
	}
	m.log.Info("port mapping", "protocol", st.Protocol, "gateway", st.Gateway, "mappings", len(st.Mappings), "why", st.Why)
	if m.cfg.OnChange != nil {
		m.cfg.OnChange(st)
	}
}
