//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// The bare variants say one byte, and the pieces follow one after the other.

// bareStream is a listener's only stream, or a dialler's.
type bareStream struct {
	io.ReadWriter
	close func()
}

func sendBare(ctx context.Context, kind string, o *object) (usage, error) {
	config, err := rig.BareTLS()
	if err != nil {
		return usage{}, err
	}
	accept := acceptTLS
	if kind == "quic" {
		accept = acceptQUIC
	}
	s, err := accept(ctx, config)
	if err != nil {
		return usage{}, err
	}
	before := used()
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		return usage{}, err
	}
	for i := range o.m.NumPieces() {
		if _, err := s.Write(o.piece(i)); err != nil {
			return usage{}, err
		}
	}
	ending()
	s.close()
	return since(before), nil
}

func acceptTLS(_ context.Context, config *tls.Config) (*bareStream, error) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return nil, err
	}
	fmt.Println(l.Addr())
	c, err := l.Accept()
	if err != nil {
		return nil, err
	}
	return &bareStream{c, func() { _, _ = c.Close(), l.Close() }}, nil
}

func acceptQUIC(ctx context.Context, config *tls.Config) (*bareStream, error) {
	l, err := quic.ListenAddr("127.0.0.1:0", config, nil)
	if err != nil {
		return nil, err
	}
	fmt.Println(l.Addr())
	c, err := l.Accept(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return &bareStream{s, func() { _, _ = c.CloseWithError(0, ""), l.Close() }}, nil
}

func receiveBare(ctx context.Context, kind string, o *object, at string) (usage, error) {
	config, err := rig.BareTLS()
	if err != nil {
		return usage{}, err
	}
	dial := dialTLS
	if kind == "quic" {
		dial = dialQUIC
	}
	s, err := dial(ctx, config, at)
	if err != nil {
		return usage{}, err
	}
	defer s.close()
	before, began := used(), time.Now()
	if _, err := s.Write([]byte{1}); err != nil {
		return usage{}, err
	}
	buf := make([]byte, o.m.PieceSize)
	for i := range o.m.NumPieces() {
		b := buf[:o.m.PieceLen(i)]
		if _, err := io.ReadFull(s, b); err != nil {
			return usage{}, err
		}
		if manifest.Hash(sha256.Sum256(b)) != o.m.Pieces[i] {
			return usage{}, fmt.Errorf("piece %d has another hash", i)
		}
	}
	u := since(before)
	u.Took = time.Since(began)
	return u, nil
}

func dialTLS(ctx context.Context, config *tls.Config, at string) (*bareStream, error) {
	c, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: config}).DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	return &bareStream{c, func() { _ = c.Close() }}, nil
}

func dialQUIC(ctx context.Context, config *tls.Config, at string) (*bareStream, error) {
	c, err := quic.DialAddr(ctx, at, config, nil)
	if err != nil {
		return nil, err
	}
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return &bareStream{s, func() { _ = c.CloseWithError(0, "") }}, nil
}
