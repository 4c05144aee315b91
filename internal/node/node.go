// Package node is the composition root: it makes the parts that a configuration
// asks for, wires them, runs them as one group and stops them in order, first
// the doors, then what stands behind them.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/edge/listener"
)

// Env is what a node has of the process it runs in.
type Env struct {
	Logger *slog.Logger
	// Ready is called once, with the URL of the node, when clients can connect.
	Ready func(url string)
	// Version is the program's, as "tandem/1.2".
	Version string
}

// ErrConfig marks errors that are in the configuration.
var ErrConfig = errors.New("configuration")

func configError(format string, args ...any) error { return &wrong{fmt.Errorf(format, args...)} }

// wrong is an ErrConfig that does not say so.
type wrong struct{ err error }

func (w *wrong) Error() string   { return w.err.Error() }
func (w *wrong) Unwrap() []error { return []error{ErrConfig, w.err} }

// part is something that runs until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// runParts runs the parts until ctx ends or one of them fails, then stops them
// from the last to the first, each when the one after it has returned.
func runParts(ctx context.Context, parts ...part) error {
	g, failed := errgroup.WithContext(ctx)
	stop := make([]func(), len(parts))
	for i, p := range parts {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		stop[i] = func() { cancel(); <-ended }
		g.Go(func() error {
			defer close(ended)
			err := p.run(own)
			if err == nil && own.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			return nil
		})
	}
	<-failed.Done()
	for i := len(parts) - 1; i >= 0; i-- {
		stop[i]()
	}
	return g.Wait()
}

// door is a listener whose handler is known later: what stands behind a door may
// need to know its address.
type door struct {
	*listener.Server
	handler http.Handler
}

func openDoor(listen, data string, t config.TLS, log *slog.Logger) (*door, error) {
	d := &door{}
	var err error
	d.Server, err = listener.Listen(listener.Config{
		Listen: listen, Data: data, CertFile: t.TLSCert, KeyFile: t.TLSKey, ACME: t.ACME, DevCA: t.DevCA, Logger: log,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }),
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// open serves h from now on.
func (d *door) open(h http.Handler, env Env) part {
	d.handler = h
	return part{"http", func(ctx context.Context) error {
		env.Ready(d.URL())
		return d.Run(ctx)
	}}
}

// dataDir is the directory that is configured, or the usual one, made.
func dataDir(configured, command string) (string, error) {
	dir := configured
	if dir == "" {
		dir = config.DataDir(command)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return abs, nil
}

const sessionPath = "/v1/session"

// SessionURL is the WebSocket URL of a control that is given by any URL of it:
// http://control.example or wss://control.example/v1/session, for instance.
func SessionURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", configError("control: %w", err)
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return "", configError("control %.100q: want a URL like https://control.example", s)
	}
	if u.Host == "" {
		return "", configError("control %.100q: it names no host", s)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(u.Path, sessionPath) {
		u.Path += sessionPath
	}
	return u.String(), nil
}

func sessionURLs(list []string) ([]string, error) {
	var urls []string
	for _, s := range list {
		u, err := SessionURL(s)
		if err != nil {
			return nil, err
		}
		urls = append(urls, u)
	}
	return urls, nil
}

// prefixes parses networks; an address alone is a network of one.
func prefixes(what string, list []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for _, s := range list {
		if ip, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, configError("%s %.100q: want an address or a network like 10.0.0.0/8", what, s)
		}
		nets = append(nets, p)
	}
	return nets, nil
}
