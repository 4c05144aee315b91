package session

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// minPause and maxPause bound the wait before the next try to connect,
	// maxRetry the wait that control may ask for.
	minPause, maxPause = time.Second, time.Minute
	maxRetry           = 10 * time.Minute
	// loginWithin bounds connecting and logging in.
	loginWithin = 15 * time.Second
	writeWithin = 10 * time.Second
	pingEvery   = 30 * time.Second
	// pongWithin is long: control reads a client that has much to say at
	// messageRate, and the ping waits its turn.
	pongWithin = 30 * time.Second
	// messageRate and messageBurst keep below what control reads without delay.
	messageRate, messageBurst = 40, 150
	// maxQueue bounds the messages that wait to be written.
	maxQueue = 4096
	// minRefresh bounds what control may ask for.
	minRefresh = 5 * time.Second
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
	// OnError is called with what control refuses, such as a join whose grant has
	// run out; it must not block.
	OnError func(wire.Error)
	// Acked is called when control needs a report no more: it is on control's
	// disk, or refused for good.
	Acked func(id string)
}

// Session is the session with one control. Its methods never block.
type Session struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	wake    chan struct{}
	queue   []wire.Message // to be written on this connection
	behind  bool           // the queue overflowed: all is to be said again
	update  *wire.Update
	joins   map[manifest.ObjectID]wire.Join
	reports map[string]wire.Report
	later   map[string]time.Time // reports that control puts off
	drained chan struct{}        // closed and replaced when a report is acknowledged
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
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Session{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), drained: make(chan struct{}),
		joins: map[manifest.ObjectID]wire.Join{}, reports: map[string]wire.Report{}, later: map[string]time.Time{},
	}
}

// Run keeps the session up until ctx ends.
func (s *Session) Run(ctx context.Context) error {
	pause := minPause
	for {
		began := time.Now()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			s.setState(State{})
			return ctx.Err()
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		s.setState(State{Error: err.Error()})
		wait := waitFor(pause, err)
		s.log.Info("control is away", "url", s.cfg.URL, "retry_in", wait.Round(time.Millisecond), "error", err)
		pause = min(2*pause, maxPause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// waitFor is the pause after a connection that ended with err: any up to pause
// (full jitter: a control that restarts is not stormed), at least what control
// asked for, and a second so that nobody is hammered.
func waitFor(pause time.Duration, err error) time.Duration {
	wait := minPause/4 + rand.N(pause)
	var refused *refusal
	if errors.As(err, &refused) {
		asked := min(time.Duration(refused.said.Retry)*time.Second, maxRetry)
		wait = max(wait, asked+rand.N(pause))
	}
	return wait
}

// refusal is an Error message from control that the connection ended with.
type refusal struct{ said wire.Error }

func (r *refusal) Error() string {
	return fmt.Sprintf("control refuses: %s: %.200s", r.said.Code, r.said.Message)
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
	defer func() { _ = ws.CloseNow() }() // the connection is over
	ws.SetReadLimit(wire.MaxControlMessage)
	welcome, err := s.login(lctx, ws)
	if err != nil {
		return fmt.Errorf("log in to control: %w", err)
	}
	s.begin(welcome)
	s.log.Debug("logged in to control", "url", s.cfg.URL, "session", welcome.Session, "you", welcome.You)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if s.cfg.OnWelcome != nil {
		wg.Go(func() { s.cfg.OnWelcome(ctx, *welcome, local) })
	}
	wg.Go(func() { s.write(ctx, cancel, ws, time.Duration(welcome.Refresh)*time.Second) })
	return s.read(ctx, ws)
}

func (s *Session) dial(ctx context.Context, local *netip.AddrPort) (*websocket.Conn, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if a, err := netip.ParseAddrPort(i.Conn.LocalAddr().String()); err == nil {
			*local = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		}
	}})
	ws, resp, err := websocket.Dial(ctx, s.cfg.URL, &websocket.DialOptions{HTTPClient: s.cfg.HTTP})
	if err == nil || resp == nil {
		return ws, err
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
	if retry, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && retry > 0 {
		return nil, &refusal{said: wire.Error{Code: wire.CodeOverload, Message: resp.Status, Retry: retry}}
	}
	return nil, err
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

// write writes what is queued, at a pace that control reads, repeats the joins
// every refresh and pings.
func (s *Session) write(ctx context.Context, cancel context.CancelFunc, ws *websocket.Conn, refresh time.Duration) {
	var pings sync.WaitGroup
	defer pings.Wait()
	defer cancel()
	pace := rate.NewLimiter(messageRate, messageBurst)
	again := time.NewTicker(max(refresh, minRefresh))
	defer again.Stop()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	due := time.NewTicker(time.Second)
	defer due.Stop()
	for {
		for m, ok := s.next(); ok; m, ok = s.next() {
			err := pace.Wait(ctx)
			if err == nil {
				err = send(ctx, ws, m)
			}
			if err != nil {
				s.log.Debug("message to control lost", "type", m.Type, "error", err)
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-again.C:
			s.renew()
		case now := <-due.C:
			s.putDue(now)
		case <-ping.C:
			pings.Go(func() {
				pctx, done := context.WithTimeout(ctx, pongWithin)
				defer done()
				if err := ws.Ping(pctx); err != nil {
					s.log.Debug("control does not answer a ping", "error", err)
					cancel()
				}
			})
		}
	}
}

// read handles what control says until the connection ends.
func (s *Session) read(ctx context.Context, ws *websocket.Conn) error {
	var last *refusal // what control said before it closed the connection
	for {
		m, err := receive(ctx, ws)
		switch {
		case err != nil && last != nil:
			return fmt.Errorf("session ended: %w: %w", last, err)
		case err != nil:
			return fmt.Errorf("read from control: %w", err)
		}
		last = nil
		switch {
		case m.Peers != nil:
			if s.cfg.OnPeers != nil {
				s.cfg.OnPeers(*m.Peers)
			}
		case m.Ack != nil:
			s.acked(m.Ack.ID)
		case m.Error != nil:
			last = &refusal{said: *m.Error}
			s.log.Warn("control refuses a message", "code", m.Error.Code, "error", last)
			s.refused(m.Error)
		}
	}
}
