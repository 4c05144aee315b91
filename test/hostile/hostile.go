// Package hostile is a peer that means harm. It gets a manifest and a grant like
// any client, joins the swarm through control, lets itself be linked, claims
// every piece, and then does what a [Behaviour] says. Tests run it against real
// clients.
package hostile

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Peer is one hostile peer.
type Peer struct {
	behave   Behaviour
	key      ed25519.PrivateKey
	object   manifest.ObjectID // what its channel is of: an object, or a track
	member   manifest.ObjectID // what its grant is for: the object, or the stream of the track
	pieces   pieces
	claims   int // pieces that it says it has
	grant    string
	endpoint *transport.Endpoint
	session  *session.Session

	cancel context.CancelFunc
	wg     sync.WaitGroup

	links atomic.Int64
}

// pieces are those of what a peer claims to have.
type pieces interface {
	NumPieces() int
	PieceLen(i int) int64
}

// Start lets a peer join the swarm of the object at rawURL, whose server must
// share it. The peer does harm until it is closed.
func Start(ctx context.Context, rawURL string, b Behaviour) (*Peer, error) {
	p, err := start(ctx, rawURL, b, (*Peer).findObject)
	if err != nil {
		return nil, fmt.Errorf("hostile peer: %w", err)
	}
	return p, nil
}

// StartStream lets a peer join the stream of the first track that the playlist at
// rawURL names, and open that track. It claims what there is of it and what is to come.
func StartStream(ctx context.Context, rawURL string, b Behaviour) (*Peer, error) {
	p, err := start(ctx, rawURL, b, (*Peer).findTrack)
	if err != nil {
		return nil, fmt.Errorf("hostile peer: %w", err)
	}
	return p, nil
}

func start(ctx context.Context, rawURL string, b Behaviour, find finder) (*Peer, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	p := &Peer{behave: b, key: key}
	control, err := p.invite(ctx, rawURL, find)
	if err != nil {
		return nil, err
	}
	if p.endpoint, err = transport.Listen(transport.Config{Key: key}); err != nil {
		return nil, err
	}
	ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.session = session.New(session.Config{
		URL: control, HTTP: http.DefaultClient, Installation: key, Session: key, Agent: "hostile",
		Logger: slog.New(slog.DiscardHandler), OnWelcome: p.welcome, Acked: func(string) {},
		OnPeers: func(m wire.Peers) { p.connect(ctx, m.Peers) },
	})
	p.wg.Go(func() { _ = p.session.Run(ctx) }) // it ends with ctx
	p.wg.Go(func() { p.accept(ctx) })
	p.session.Join(wire.Join{Object: p.member, Grant: p.grant, Have: p.claims, Total: p.claims, Want: wire.MaxCandidates})
	return p, nil
}

// Key is what its victims know it by.
func (p *Peer) Key() wire.Key { return wire.KeyOf(p.key.Public().(ed25519.PublicKey)) }

// Links is how many links it has had.
func (p *Peer) Links() int { return int(p.links.Load()) }

// Close ends the peer.
func (p *Peer) Close() error {
	p.cancel()
	err := p.endpoint.Close()
	p.wg.Wait()
	return err
}

// welcome tells control where the peer is to be found.
func (p *Peer) welcome(_ context.Context, _ wire.Welcome, local netip.AddrPort) {
	p.session.Update(wire.Update{
		Addrs: p.endpoint.Addrs(local.Addr()), NAT: wire.NATOpen, Uploads: true, Uplink: 1_000_000,
	})
}

func (p *Peer) connect(ctx context.Context, all []wire.Candidate) {
	for _, c := range all {
		p.wg.Go(func() {
			if conn, err := p.endpoint.Connect(ctx, c); err == nil {
				p.harm(ctx, conn)
			}
		})
	}
}

func (p *Peer) accept(ctx context.Context) {
	for {
		conn, err := p.endpoint.Accept(ctx)
		if err != nil {
			return
		}
		p.wg.Go(func() { p.harm(ctx, conn) })
	}
}

// harm enters the swarm on a link as a peer that has everything, then misbehaves
// until the victim has had enough.
func (p *Peer) harm(ctx context.Context, conn *transport.Conn) {
	p.links.Add(1)
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	bits := manifest.NewBitfield(p.claims)
	bits.SetAll()
	b := (&wire.Hello{Version: wire.Version, Agent: "hostile"}).Append(nil)
	b = (&wire.Open{Channel: channel, Object: p.object, Uploads: true, Uplink: 1_000_000, Grant: []byte(p.grant)}).Append(b)
	b = (&wire.Bitfield{Channel: channel, Bits: bits.Bytes()}).Append(b)
	if _, err := conn.Write(b); err != nil {
		return
	}
	_ = p.behave(ctx, p, conn) // the victim ends it, or the test
}

// channel is the number the peer gives the swarm on its links.
const channel = 1

// requestsOf calls f with every request of the victim until the link ends or f
// fails. A nil f only counts.
func (p *Peer) requestsOf(conn *transport.Conn, f func(*wire.Request) error) error {
	head := make([]byte, wire.HeaderSize)
	body := make([]byte, wire.MaxFrame)
	for {
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		t, n, err := wire.ParseHeader(head)
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, body[:n]); err != nil {
			return err
		}
		frame, err := wire.Parse(t, body[:n])
		if err != nil {
			return err
		}
		r, ok := frame.(*wire.Request)
		if !ok {
			continue
		}
		if f == nil {
			continue
		}
		if err := f(r); err != nil {
			return err
		}
	}
}

// pause waits, as long as ctx lasts.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
