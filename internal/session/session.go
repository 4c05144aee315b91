package session

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// minPause and maxPause bound the wait before the next try to connect.
	minPause, maxPause = time.Second, time.Minute
	// loginWithin bounds connecting and logging in.
	loginWithin = 15 * time.Second
	writeWithin = 10 * time.Second
	pingEvery   = 30 * time.Second
	// maxQueue bounds the messages that wait to be written.
	maxQueue = 1024
)

// Config is what a Session needs.
type Config struct {
	URL                   string // ws(s) or http(s)
	HTTP                  *http.Client
	Installation, Session ed25519.PrivateKey
	Agent                 string
	Logger                *slog.Logger
	// OnWelcome is called after every login, in a goroutine of its own that Run
	// waits for; its context ends with the connection. local is this side's
	// address on it.
	OnWelcome func(ctx context.Context, w wire.Welcome, local netip.AddrPort)
	// OnPeers is called with candidates; it must not block.
	OnPeers func(wire.Peers)
	// Acked is called when a report is on control's disk.
	Acked func(id string)
}

// Session is the session with one control. Its methods never block.
type Session struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	wake    chan struct{}
	queue   []wire.Message // to be written once; lost with the connection
	update  *wire.Update
	joins   map[manifest.ObjectID]wire.Join
	reports map[string]wire.Report
	drained chan struct{} // closed and replaced when a report is acknowledged
	state   State
}

// State is what a session is doing.
type State struct {
	Connected bool
	Since     time.Time
	You       string // this side's address as control sees it
	Reports   int    // not acknowledged yet
	Error     string // of the last try to connect
}

// New returns a session that Run connects.
func New(cfg Config) *Session {
	return &Session{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), drained: make(chan struct{}),
		joins: map[manifest.ObjectID]wire.Join{}, reports: map[string]wire.Report{},
	}
}

// Run keeps the session up until ctx ends.
func (s *Session) Run(ctx context.Context) error {
	pause := minPause
	for {
		began := time.Now()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		s.setState(State{Since: time.Now(), Error: err.Error()})
		wait := minPause/4 + rand.N(pause) // full jitter: a restarted control is not stormed
		var refused *refusal
		if errors.As(err, &refused) {
			wait = max(wait, time.Duration(refused.said.Retry)*time.Second)
		}
		s.log.Info("control is away", "url", s.cfg.URL, "retry_in", wait.Round(time.Millisecond), "error", err)
		pause = min(2*pause, maxPause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// refusal is an Error message from control during login.
type refusal struct{ said wire.Error }

func (r *refusal) Error() string {
	return fmt.Sprintf("control refuses: %s: %s", r.said.Code, r.said.Message)
}

// connect runs one connection to its end.
func (s *Session) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lctx, stop := context.WithTimeout(ctx, loginWithin)
	defer stop()
	var local netip.AddrPort
	ws, err := s.dial(lctx, &local)
	if err != nil {
		return fmt.Errorf("connect to control: %w", err)
	}
	defer ws.CloseNow()
	ws.SetReadLimit(wire.MaxControlMessage)
	welcome, err := s.login(lctx, ws)
	if err != nil {
		return fmt.Errorf("log in to control: %w", err)
	}
	s.setState(State{Connected: true, Since: time.Now(), You: welcome.You})
	s.log.Debug("logged in to control", "url", s.cfg.URL, "session", welcome.Session, "you", welcome.You)
	s.replay()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if s.cfg.OnWelcome != nil {
		wg.Go(func() { s.cfg.OnWelcome(ctx, *welcome, local) })
	}
	wg.Go(func() { s.write(ctx, cancel, ws, welcome.Refresh) })
	return s.read(ctx, ws)
}

func (s *Session) dial(ctx context.Context, local *netip.AddrPort) (*websocket.Conn, error) {
	hc := s.client(func(c net.Conn) {
		if a, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
			*local = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		}
	})
	ws, resp, err := websocket.Dial(ctx, s.cfg.URL, &websocket.DialOptions{HTTPClient: hc})
	if resp != nil && resp.Body != nil {
		resp.Body.Close()
	}
	return ws, err
}

// client is the configured HTTP client with a hook that sees the connection.
func (s *Session) client(see func(net.Conn)) *http.Client {
	t, ok := s.cfg.HTTP.Transport.(*http.Transport)
	if !ok {
		return s.cfg.HTTP
	}
	t = t.Clone()
	t.DisableKeepAlives = true
	dial := t.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			see(c)
		}
		return c, err
	}
	return &http.Client{Transport: t}
}

func (s *Session) login(ctx context.Context, ws *websocket.Conn) (*wire.Welcome, error) {
	m, err := receive(ctx, ws)
	if err != nil {
		return nil, err
	}
	if m.Challenge == nil {
		return nil, fmt.Errorf("control begins with %q", m.Type)
	}
	inst, sess := publicOf(s.cfg.Installation), publicOf(s.cfg.Session)
	b := wire.LoginBytes(m.Challenge.Nonce, inst, sess)
	err = send(ctx, ws, wire.Message{Type: wire.MsgLogin, Login: &wire.Login{
		Version: wire.ControlVersion, Installation: inst, Session: sess,
		InstallSig: ed25519.Sign(s.cfg.Installation, b), SessionSig: ed25519.Sign(s.cfg.Session, b),
		Agent: s.cfg.Agent,
	}})
	if err != nil {
		return nil, err
	}
	if m, err = receive(ctx, ws); err != nil {
		return nil, err
	}
	switch {
	case m.Error != nil:
		return nil, &refusal{said: *m.Error}
	case m.Welcome == nil:
		return nil, fmt.Errorf("control answers the login with %q", m.Type)
	}
	return m.Welcome, nil
}

func publicOf(k ed25519.PrivateKey) wire.Key { return wire.KeyOf(k.Public().(ed25519.PublicKey)) }

func receive(ctx context.Context, ws *websocket.Conn) (*wire.Message, error) {
	_, b, err := ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	return wire.ParseMessage(b)
}

func send(ctx context.Context, ws *websocket.Conn, m wire.Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.Type, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return ws.Write(ctx, websocket.MessageText, b)
}

// replay queues what the session stands for, for a control that may know nothing.
func (s *Session) replay() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil
	if s.update != nil {
		s.put(wire.Message{Type: wire.MsgUpdate, Update: s.update})
	}
	s.putJoins()
	for _, r := range s.reports {
		s.put(wire.Message{Type: wire.MsgReport, Report: &r})
	}
}

func (s *Session) putJoins() {
	for _, j := range s.joins {
		s.put(wire.Message{Type: wire.MsgJoin, Join: &j})
	}
}

// put queues a message; the caller holds the mutex.
func (s *Session) put(m wire.Message) {
	if len(s.queue) >= maxQueue {
		s.queue = s.queue[1:]
	}
	s.queue = append(s.queue, m)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write writes what is queued, repeats the joins every refresh seconds and pings.
func (s *Session) write(ctx context.Context, cancel context.CancelFunc, ws *websocket.Conn, refresh int) {
	defer cancel()
	again := time.NewTicker(max(time.Duration(refresh)*time.Second, 5*time.Second))
	defer again.Stop()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		for m, ok := s.next(); ok; m, ok = s.next() {
			if err := send(ctx, ws, m); err != nil {
				s.log.Debug("message to control lost", "type", m.Type, "error", err)
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-again.C:
			s.mu.Lock()
			s.putJoins()
			s.mu.Unlock()
		case <-ping.C:
			pctx, done := context.WithTimeout(ctx, writeWithin)
			err := ws.Ping(pctx)
			done()
			if err != nil {
				s.log.Debug("control does not answer a ping", "error", err)
				return
			}
		}
	}
}

func (s *Session) next() (wire.Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return wire.Message{}, false
	}
	m := s.queue[0]
	s.queue = s.queue[1:]
	return m, true
}

func (s *Session) read(ctx context.Context, ws *websocket.Conn) error {
	for {
		m, err := receive(ctx, ws)
		if err != nil {
			return fmt.Errorf("read from control: %w", err)
		}
		switch {
		case m.Peers != nil:
			s.cfg.OnPeers(*m.Peers)
		case m.Ack != nil:
			s.acked(m.Ack.ID)
		case m.Error != nil:
			s.log.Warn("control refuses a message", "code", m.Error.Code, "message", m.Error.Message)
			s.refused(m.Error)
		}
	}
}
