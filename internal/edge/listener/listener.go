// Package listener is the door of a server: one address on which a handler is
// reached over HTTP/1.1, HTTP/2 and, with a certificate, HTTP/3.
//
// Certificates come from files (read again when they change), from an ACME
// authority such as Let's Encrypt, or from a development authority that the
// package makes itself. Without any the door speaks plain HTTP.
//
// There is no limit to how long a response takes, because big files on slow
// lines take hours; a client that stops reading is what is limited.
package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sync/errgroup"
)

const (
	// headerTimeout bounds the time from a connection to the header of a request.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = 2 * time.Minute
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 64 << 10
	// defaultDrain is how long Run lets requests under way finish.
	defaultDrain = 5 * time.Second
	// portTries is how often a port is picked anew that is free for TCP and not UDP.
	portTries = 10
)

// Config says where to listen and who to be.
type Config struct {
	// Listen is the address, as host:port. Port 0 picks a free one.
	Listen  string
	Handler http.Handler
	// CertFile and KeyFile are PEM files, looked at again when they change.
	CertFile, KeyFile string
	// ACME are the names to get certificates for from an ACME authority, which
	// must reach this server at port 443 of each (TLS-ALPN-01, RFC 8737).
	ACME []string
	// ACMEDirectory is the authority's directory URL; empty is Let's Encrypt.
	ACMEDirectory string
	// ACMERoots is a PEM file with what to trust when talking to the authority;
	// empty is the system's roots.
	ACMERoots string
	// DevCA are the names to make certificates for with the development authority
	// in Data; "localhost" and the loopback addresses are always among them.
	DevCA []string
	// Data is the directory of what ACME and the development authority keep.
	Data string
	// NoHTTP3 leaves the UDP port alone.
	NoHTTP3 bool
	// Drain is how long requests under way may take when Run is told to end; 0 is 5 s.
	Drain time.Duration
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger

	stall time.Duration // stallTimeout, but in tests
}

// Server is a door that is open: clients can connect once Listen has returned.
type Server struct {
	cfg   Config
	log   *slog.Logger
	certs certificates // nil for plain HTTP
	tcp   net.Listener
	udp   net.PacketConn // nil without HTTP/3
	http  *http.Server
	http3 *http3.Server // nil without HTTP/3
}

// certificates is where the server's certificate comes from.
type certificates interface {
	// config is the TLS configuration that serves them.
	config() *tls.Config
	// start is called when connections are accepted.
	start(ctx context.Context) error
	close() error
}

// Listen binds the address and gets the certificates ready.
func Listen(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Drain == 0 {
		cfg.Drain = defaultDrain
	}
	if cfg.stall == 0 {
		cfg.stall = stallTimeout
	}
	s := &Server{cfg: cfg, log: cfg.Logger}
	if err := s.bind(); err != nil {
		return nil, err
	}
	var err error
	if s.certs, err = newCertificates(cfg, s.port()); err != nil {
		return nil, errors.Join(err, s.closeSockets())
	}
	s.build()
	return s, nil
}

// newCertificates picks the source that the configuration asks for.
func newCertificates(cfg Config, port int) (certificates, error) {
	asked := 0
	for _, is := range []bool{cfg.CertFile != "" || cfg.KeyFile != "", len(cfg.ACME) > 0, len(cfg.DevCA) > 0} {
		if is {
			asked++
		}
	}
	switch {
	case asked == 0:
		return nil, nil
	case asked > 1:
		return nil, errors.New("certificates: choose one of files, ACME and development authority")
	case len(cfg.ACME) > 0:
		return newACME(cfg, port)
	case len(cfg.DevCA) > 0:
		return newDevCA(cfg)
	default:
		return newFiles(cfg)
	}
}

func (c Config) secure() bool {
	return c.CertFile != "" || c.KeyFile != "" || len(c.ACME) > 0 || len(c.DevCA) > 0
}

// bind opens the TCP port, and the UDP port of the same number for HTTP/3.
func (s *Server) bind() error {
	withUDP := s.cfg.secure() && !s.cfg.NoHTTP3
	var err error
	for range portTries {
		var lc net.ListenConfig
		if s.tcp, err = lc.Listen(context.Background(), "tcp", s.cfg.Listen); err != nil {
			return fmt.Errorf("listen on %s: %w", s.cfg.Listen, err)
		}
		if !withUDP {
			return nil
		}
		host, port, _ := net.SplitHostPort(s.cfg.Listen)
		s.udp, err = lc.ListenPacket(context.Background(), "udp", net.JoinHostPort(host, strconv.Itoa(s.port())))
		if err == nil {
			return nil
		}
		_ = s.tcp.Close() // nobody has connected yet
		if port != "0" {
			break
		}
	}
	return fmt.Errorf("listen on %s for HTTP/3: %w", s.cfg.Listen, err)
}

func (s *Server) build() {
	handler := guardStalls(s.cfg.Handler, s.cfg.stall)
	errorLog := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	s.http = &http.Server{
		Handler: handler, ErrorLog: errorLog,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	if s.certs == nil {
		return
	}
	s.http.TLSConfig = s.certs.config()
	if s.udp == nil {
		return
	}
	s.http3 = &http3.Server{
		Handler: handler, Logger: s.log, Port: s.port(),
		TLSConfig:      http3.ConfigureTLSConfig(s.http.TLSConfig),
		QUICConfig:     &quic.Config{MaxIdleTimeout: idleTimeout},
		MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout,
	}
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// RFC 7838: what tells clients of the other port. It fails only before the
		// server of HTTP/3 runs, when there is nothing to tell.
		_ = s.http3.SetQUICHeaders(w.Header())
		handler.ServeHTTP(w, r)
	})
}

func (s *Server) port() int { return s.tcp.Addr().(*net.TCPAddr).Port }

// Addr is the address that is listened on, with the port that was picked.
func (s *Server) Addr() net.Addr { return s.tcp.Addr() }

// URL is a URL by which this machine reaches the server.
func (s *Server) URL() string {
	u := url.URL{Scheme: "http"}
	addr := s.tcp.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	if s.certs != nil {
		u.Scheme = "https"
		if names := slices.Concat(s.cfg.ACME, s.cfg.DevCA); len(names) > 0 {
			host = names[0]
		}
	}
	u.Host = net.JoinHostPort(host, strconv.Itoa(addr.Port))
	return u.String()
}

// Run serves until ctx ends. Then it takes no more requests, waits for those under
// way for at most Config.Drain, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	g, serving := errgroup.WithContext(ctx)
	g.Go(func() error {
		if s.certs == nil {
			return s.ended("HTTP", s.http.Serve(s.tcp))
		}
		return s.ended("HTTPS", s.http.ServeTLS(s.tcp, "", ""))
	})
	if s.http3 != nil {
		g.Go(func() error { return s.ended("HTTP/3", s.http3.Serve(s.udp)) })
	}
	if s.certs != nil {
		g.Go(func() error { return s.certs.start(serving) })
	}
	g.Go(func() error {
		<-serving.Done()
		s.drain()
		return nil
	})
	return errors.Join(g.Wait(), s.Close())
}

func (s *Server) ended(what string, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", what, err)
}

// drain lets the requests under way finish, then cuts those that are left.
func (s *Server) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error { return s.http.Shutdown(ctx) })
	if s.http3 != nil {
		g.Go(func() error { return s.http3.Shutdown(ctx) })
	}
	if err := g.Wait(); err != nil {
		s.log.Info("requests under way were cut", "after", s.cfg.Drain)
		_ = s.http.Close() // the sockets are closed below, too
	}
}

// Close closes the door at once. It is for a server that does not Run, and does
// nothing after Run.
func (s *Server) Close() error {
	var err error
	if s.certs != nil {
		err = s.certs.close()
	}
	return errors.Join(err, s.closeSockets())
}

func (s *Server) closeSockets() error {
	err := ignoreClosed(s.tcp.Close())
	if s.udp != nil {
		err = errors.Join(err, ignoreClosed(s.udp.Close()))
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
