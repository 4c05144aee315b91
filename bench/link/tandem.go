//go:build linux

package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/swarm"
	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// keyOf makes the same key in every process.
func keyOf(name byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), name))
}

var publisher = keyOf('p')

// client is a node with its endpoint, as an engine has them.
type client struct {
	endpoint *transport.Endpoint
	node     *swarm.Node
	key      ed25519.PrivateKey
	stop     func()
}

func newClient(ctx context.Context, kind string, name byte) (*client, error) {
	cfg := transport.Config{Key: keyOf(name), ListenTCP: transport.Off, ListenUDP: transport.Off}
	if kind == "tcp" {
		cfg.ListenTCP = "127.0.0.1:0"
	} else {
		cfg.ListenUDP = "127.0.0.1:0"
	}
	e, err := transport.Listen(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &client{endpoint: e, key: cfg.Key}
	c.node = swarm.NewNode(ctx, swarm.Config{Key: cfg.Key, Connector: connector{e}, Agent: "bench", Logger: slog.New(slog.DiscardHandler)})
	ended := make(chan struct{})
	go func() {
		_ = c.node.Run() // it ends with ctx
		close(ended)
	}()
	c.stop = func() {
		cancel()
		_ = e.Close()
		<-ended
	}
	return c, nil
}

// connector shows an Endpoint to package swarm.
type connector struct{ *transport.Endpoint }

func (c connector) Connect(ctx context.Context, peer wire.Candidate) (swarm.Conn, error) {
	conn, err := c.Endpoint.Connect(ctx, peer)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (c connector) Accept(ctx context.Context) (swarm.Conn, error) {
	conn, err := c.Endpoint.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (c *client) join(o *object, src swarm.Source, h swarm.Handler) (*swarm.Swarm, error) {
	id := manifest.ObjectID{1}
	token, err := grant.Sign(grant.Claims{Object: id, Key: c.node.Key(), Expires: time.Now().Add(grant.TTL)}, publisher, time.Now())
	if err != nil {
		return nil, err
	}
	return c.node.Join(swarm.Membership{
		Object: id, Pieces: o.m, Source: src, Grant: func() string { return token },
		Trusted: []ed25519.PublicKey{publisher.Public().(ed25519.PublicKey)}, Uploads: true, Handler: h,
	})
}

func (c *client) candidate() wire.Candidate {
	return wire.Candidate{Key: c.node.Key(), Addrs: c.endpoint.Addrs(netip.MustParseAddr("127.0.0.1")), Uploads: true, Seed: true}
}

func send(ctx context.Context, kind string, o *object) (usage, error) {
	c, err := newClient(ctx, kind, 's')
	if err != nil {
		return usage{}, err
	}
	defer c.stop()
	if _, err := c.join(o, o, nil); err != nil {
		return usage{}, err
	}
	at, err := json.Marshal(c.candidate())
	if err != nil {
		return usage{}, err
	}
	before := used()
	fmt.Println(string(at))
	ending()
	return since(before), nil
}

func receive(ctx context.Context, kind string, o *object, at string) (usage, error) {
	var sender wire.Candidate
	if err := json.Unmarshal([]byte(at), &sender); err != nil {
		return usage{}, err
	}
	c, err := newClient(ctx, kind, 'r')
	if err != nil {
		return usage{}, err
	}
	defer c.stop()
	// This side's address tells the endpoint that loopback may be dialled.
	c.endpoint.Addrs(netip.MustParseAddr("127.0.0.1"))
	var r receiver
	s := &sink{m: o.m}
	r.d = fetch.NewDownload(fetch.Options{
		Store: s, Edge: full{}, Patience: time.Hour, Corrupt: errCorrupt, Logger: slog.New(slog.DiscardHandler),
		Announce: func(i int) { r.swarm.Announce(i) },
		Credit:   func(p fetch.Peer, n int) { r.swarm.Credit(p.(*swarm.Peer), n) },
	})
	if r.swarm, err = c.join(o, s, &r); err != nil {
		return usage{}, err
	}
	r.swarm.Connect([]wire.Candidate{sender})
	if err := r.d.Run(ctx); err != nil {
		return usage{}, err
	}
	u := since(r.before)
	u.Took = time.Since(r.began)
	return u, nil
}

// sink is a store that checks pieces and keeps none.
type sink struct{ m *manifest.Manifest }

var errCorrupt = errors.New("piece has another hash")

// Manifest implements [fetch.Store], as do the other methods.
func (s *sink) Manifest() *manifest.Manifest { return s.m }

// Have is empty: the sink gives nothing.
func (s *sink) Have() manifest.Bitfield { return manifest.NewBitfield(s.m.NumPieces()) }

// Has is always false.
func (*sink) Has(int) bool { return false }

// ReadAt finds nothing.
func (*sink) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// WritePiece checks a piece.
func (s *sink) WritePiece(i int, b []byte) error {
	if !s.m.Verify(i, b) {
		return errCorrupt
	}
	return nil
}

// ReceivePiece reads and checks a piece.
func (s *sink) ReceivePiece(i int, b []byte, r io.Reader) error {
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return s.WritePiece(i, b)
}

// receiver shows the swarm's only peer to a download, as an engine does.
type receiver struct {
	d      *fetch.Download
	swarm  *swarm.Swarm
	began  time.Time // when the peer was there
	before usage
}

// PeerOpen begins the transfer.
func (r *receiver) PeerOpen(p *swarm.Peer) {
	r.began, r.before = time.Now(), used()
	r.d.PeerOpen(p, 1)
}

// PeerHave and what follows implement [swarm.Handler].
func (r *receiver) PeerHave(p *swarm.Peer, pieces []int)  { r.d.PeerHave(p, pieces) }
func (r *receiver) PeerLost(*swarm.Peer, []int)           {}
func (r *receiver) PeerBytes(p *swarm.Peer, piece, n int) { r.d.PeerBytes(p, piece, n) }
func (r *receiver) PeerLate(_ *swarm.Peer, n int)         { r.d.PeerLate(n) }
func (r *receiver) PeerPiece(p *swarm.Peer, piece int, begin int64, data []byte) {
	r.d.PeerPiece(p, piece, begin, data)
}
func (r *receiver) PeerClose(p *swarm.Peer, _ error) { r.d.PeerClose(p) }
func (r *receiver) PeerReject(p *swarm.Peer, piece int, missing bool, retry time.Duration) {
	r.d.PeerReject(p, piece, missing, retry)
}

// full is an edge that never has room.
type full struct{}

type comeBack struct{}

func (comeBack) Error() string             { return "the edge is full" }
func (comeBack) RetryAfter() time.Duration { return time.Hour }

// Fetch implements [fetch.Edge].
func (full) Fetch(context.Context, int64, int64) (io.ReadCloser, error) { return nil, comeBack{} }
