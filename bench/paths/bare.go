//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// The bench is its own bare sender and receiver on hosts: "end send KIND ADDR" sends
// zeros to whoever connects, "end receive KIND ADDR …" reads from all of them at once.

const barePort = "7000"

func (s *site) startBare(ctx context.Context, c situation, v string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	kind := map[string]string{bareTCP: "tcp", bareQUIC: "quic"}[v]
	receive := []string{"end", "receive", kind}
	for _, h := range s.peers {
		at := net.JoinHostPort(h.IP.String(), barePort)
		if err := s.ready(ctx, h, self, "end", "send", kind, at); err != nil {
			return err
		}
		receive = append(receive, at)
	}
	if err := s.spoil(ctx, c); err != nil {
		return err
	}
	return rig.Background(s.client.Command(ctx, self, receive...), filepath.Join(s.dir, "receiver"))
}

// ready starts a command and waits for the first byte that it prints.
func (s *site) ready(ctx context.Context, h *lab.Host, name string, args ...string) error {
	log := filepath.Join(s.dir, h.Name+".log")
	r, err := rig.Piped(h.Command(ctx, name, args...), log)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it prints nothing more
	if _, err := r.Read(make([]byte, 16)); err != nil {
		return fmt.Errorf("bare sender: %w\n%s", err, rig.Tail(log))
	}
	return nil
}

func end(ctx context.Context, args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("end: %q", args)
	}
	role, kind, addrs := args[0], args[1], args[2:]
	config, err := rig.BareTLS()
	if err != nil {
		return err
	}
	if role == "send" {
		return bareSend(ctx, kind, config, addrs[0])
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, at := range addrs {
		g.Go(func() error {
			r, err := bareDial(ctx, kind, config, at)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			return err
		})
	}
	return g.Wait()
}

// bareSend sends to the first that connects, until it is gone.
func bareSend(ctx context.Context, kind string, config *tls.Config, at string) error {
	w, err := bareAccept(ctx, kind, config, at)
	if err != nil {
		return err
	}
	buf := make([]byte, 128<<10)
	for err == nil {
		_, err = w.Write(buf)
	}
	return err
}

func bareAccept(ctx context.Context, kind string, config *tls.Config, at string) (io.Writer, error) {
	if kind == "tcp" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
		if err != nil {
			return nil, err
		}
		fmt.Println("ready")
		return l.Accept()
	}
	l, err := quic.ListenAddr(at, config, nil)
	if err != nil {
		return nil, err
	}
	fmt.Println("ready")
	c, err := l.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return c.AcceptStream(ctx)
}

func bareDial(ctx context.Context, kind string, config *tls.Config, at string) (io.Reader, error) {
	if kind == "tcp" {
		return (&net.Dialer{}).DialContext(ctx, "tcp", at)
	}
	c, err := quic.DialAddr(ctx, at, config, nil)
	if err != nil {
		return nil, err
	}
	s, err := c.OpenStreamSync(ctx)
	if err == nil {
		_, err = s.Write([]byte{0}) // a stream is not there for the other before
	}
	return s, err
}
