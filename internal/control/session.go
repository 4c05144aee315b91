package control

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// session is one client that has logged in. The goroutine of the HTTP handler
// reads and handles its messages; a second one writes, so that other sessions
// only ever put messages into its queue.
type session struct {
	c            *Control
	conn         messageConn
	log          *slog.Logger
	name         string
	addr         netip.AddrPort // as control sees it
	installation wire.Key
	peer         *directory.Peer
	pairs        pairs

	out    chan []byte
	wrote  chan struct{} // signalled when out got shorter
	cancel context.CancelCauseFunc
	ending chan struct{} // closed by end
	once   sync.Once
	code   closeCode
	reason string

	// Of the reading goroutine alone.
	swarms  map[manifest.ObjectID]membership
	blames  int
	linksAt time.Time // of the last outcomes that were taken
}

// membership is a swarm the session is in.
type membership struct {
	scope  directory.Scope
	policy wire.Policy
	total  int
	seed   bool
}

// serveSession is the life of a session.
func (c *Control) serveSession(w http.ResponseWriter, r *http.Request) {
	addr := c.clientAddr(r)
	leave, err := c.enter(addr.Addr())
	if err != nil {
		c.counters.refused.Add(1)
		w.Header().Set("Retry-After", "30")
		c.fail(w, http.StatusServiceUnavailable, wire.CodeOverload, err)
		return
	}
	defer leave()
	conn, err := accept(w, r, c.cfg.Now)
	if err != nil {
		c.log.Debug("session not accepted", "error", err)
		return
	}
	defer conn.Abort()
	s, refusal := c.login(r.Context(), conn, addr)
	if refusal != nil {
		c.counters.refused.Add(1)
		if b, err := json.Marshal(wire.Message{Type: wire.MsgError, Error: refusal}); err == nil {
			_ = conn.Write(r.Context(), b) // the connection ends in any case
		}
		conn.Close(closePolicy, refusal.Code)
		return
	}
	c.counters.logins.Add(1)
	s.run(r.Context())
}

// login exchanges challenge, login and welcome.
func (c *Control) login(ctx context.Context, conn messageConn, addr netip.AddrPort) (*session, *wire.Error) {
	ctx, cancel := context.WithTimeout(ctx, loginWithin)
	defer cancel()
	defer context.AfterFunc(c.stopping, cancel)()
	var nonce [32]byte
	rand.Read(nonce[:])
	challenge := wire.Challenge{Version: wire.ControlVersion, Nonce: base64.RawURLEncoding.EncodeToString(nonce[:])}
	m, err := ask(ctx, conn, wire.Message{Type: wire.MsgChallenge, Challenge: &challenge})
	if err != nil {
		return nil, &wire.Error{Code: wire.CodeBadMessage, Message: "no login: " + err.Error()}
	}
	if refusal := checkLogin(m, challenge.Nonce); refusal != nil {
		return nil, refusal
	}
	country, as := c.geo.Lookup(addr.Addr())
	s := &session{
		c: c, conn: conn, addr: addr, name: hex.EncodeToString(nonce[:6]),
		installation: m.Login.Installation,
		peer:         directory.NewPeer(m.Login.Session, directory.PlaceOf(addr.Addr(), as, country)),
		out:          make(chan []byte, sendQueue), wrote: make(chan struct{}, 1), ending: make(chan struct{}),
		swarms: map[manifest.ObjectID]membership{},
	}
	s.log = c.log.With("session", s.name)
	if c.blames.quarantined(s.installation, c.cfg.Now()) {
		s.peer.Blame(directory.Quarantine)
	}
	s.send(wire.Message{Type: wire.MsgWelcome, Welcome: &wire.Welcome{
		Session: s.name, You: addr.String(), STUN: c.stunAddrs, Refresh: int(c.cfg.Refresh / time.Second),
	}})
	return s, nil
}

func ask(ctx context.Context, conn messageConn, question wire.Message) (*wire.Message, error) {
	b, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	if err := conn.Write(ctx, b); err != nil {
		return nil, err
	}
	if b, err = conn.Read(ctx); err != nil {
		return nil, err
	}
	return wire.ParseMessage(b)
}

func checkLogin(m *wire.Message, nonce string) *wire.Error {
	if m.Type != wire.MsgLogin {
		return &wire.Error{Code: wire.CodeBadMessage, Message: "want login first"}
	}
	l := m.Login
	if l.Version != wire.ControlVersion {
		return &wire.Error{Code: wire.CodeVersion, Message: fmt.Sprintf("version %d, control knows %d", l.Version, wire.ControlVersion)}
	}
	signed := wire.LoginBytes(nonce, l.Installation, l.Session)
	if !ed25519.Verify(l.Installation.Public(), signed, l.InstallSig) || !ed25519.Verify(l.Session.Public(), signed, l.SessionSig) {
		return &wire.Error{Code: wire.CodeBadLogin, Message: "signature"}
	}
	return nil
}

// Reasons for the end of a session that are not the connection's.
var (
	errSlow   = errors.New("client does not read")
	errSilent = errors.New("client does not answer")
)

// run reads until the session ends, and waits for its writer.
func (s *session) run(ctx context.Context) {
	ctx, s.cancel = context.WithCancelCause(ctx)
	defer context.AfterFunc(s.c.stopping, func() { s.end(closeRestart, "control restarts") })()
	s.c.register(s)
	s.log.Debug("session began", "installation", s.installation.Short())
	var writer sync.WaitGroup
	writer.Go(func() { s.write(ctx) })
	err := s.read(ctx)
	s.c.unregister(s)
	for _, m := range s.swarms {
		s.c.dir.Leave(m.scope, s.peer)
	}
	select {
	case <-s.ending: // the writer has last words to send
	default:
		s.cancel(err)
	}
	writer.Wait()
	s.cancel(err)
	s.log.Debug("session ended", "cause", context.Cause(ctx))
}

// read handles messages until the connection or the session ends. A client that
// sends too many is read no faster than it may send.
func (s *session) read(ctx context.Context) error {
	limit := rate.NewLimiter(messageRate, messageBurst)
	for {
		b, err := s.conn.Read(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(limit.Wait(ctx), s.room(ctx)); err != nil {
			return err
		}
		s.c.counters.messages.Add(1)
		m, err := wire.ParseMessage(b)
		if err == nil {
			err = s.handle(m)
		}
		if err != nil {
			s.c.counters.bad.Add(1)
			s.fail(wire.Error{Code: wire.CodeBadMessage, Message: err.Error()})
			s.end(closePolicy, wire.CodeBadMessage)
			return err
		}
	}
}

// room waits while the queue is half full: a client that asks faster than it
// reads the answers is not dropped for it, only what others have to tell it may
// fill the rest.
func (s *session) room(ctx context.Context) error {
	for len(s.out) > sendQueue/2 {
		select {
		case <-s.wrote:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// write sends what is queued, and ends the connection when the session ends.
func (s *session) write(ctx context.Context) {
	var pings sync.WaitGroup
	defer pings.Wait()
	defer s.conn.Abort()
	tick := time.NewTicker(idlePing)
	defer tick.Stop()
	for {
		select {
		case b := <-s.out:
			if err := s.conn.Write(ctx, b); err != nil {
				s.cancel(fmt.Errorf("%w: %w", errSlow, err))
				return
			}
			select {
			case s.wrote <- struct{}{}:
			default:
			}
		case <-tick.C:
			if s.c.cfg.Now().Sub(s.conn.Heard()) < idlePing {
				continue
			}
			pings.Go(func() {
				if err := s.conn.Ping(ctx); err != nil {
					s.cancel(fmt.Errorf("%w: %w", errSilent, err))
				}
			})
		case <-s.ending:
			s.goodbye()
			s.cancel(errors.New(s.reason))
			return
		case <-ctx.Done():
			return
		}
	}
}

// goodbye sends what is still queued and closes cleanly.
func (s *session) goodbye() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	// Close waits for the client's goodbye; the end of the reader ends the wait.
	defer time.AfterFunc(closeWithin, func() { s.cancel(errSilent) }).Stop()
	for {
		select {
		case b := <-s.out:
			if s.conn.Write(ctx, b) != nil {
				return
			}
		default:
			s.conn.Close(s.code, s.reason)
			return
		}
	}
}

// end has the writer close the connection. The first reason counts.
func (s *session) end(code closeCode, reason string) {
	s.once.Do(func() {
		s.code, s.reason = code, reason
		close(s.ending)
	})
}

// send queues a message. It never waits: a client that lets the queue fill up is
// dropped, and finds its place again when it reconnects.
func (s *session) send(m wire.Message) {
	b, err := json.Marshal(m)
	if err != nil {
		s.log.Error("message not encoded", "type", m.Type, "error", err)
		return
	}
	select {
	case s.out <- b:
	default:
		s.c.counters.slow.Add(1)
		s.cancel(errSlow)
	}
}

func (s *session) fail(e wire.Error) {
	s.send(wire.Message{Type: wire.MsgError, Error: &e})
}
