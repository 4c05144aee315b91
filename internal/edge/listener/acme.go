package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// acme gets certificates from an authority and renews them.
type acme struct {
	names []string
	magic *certmagic.Config
	cache *certmagic.Cache
}

func newACME(cfg Config, port int) (*acme, error) {
	if cfg.Data == "" {
		return nil, errors.New("certificates by ACME need a data directory")
	}
	var roots *x509.CertPool // nil is the system's
	if cfg.ACMERoots != "" {
		b, err := os.ReadFile(cfg.ACMERoots)
		if err != nil {
			return nil, fmt.Errorf("certificates by ACME: roots: %w", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("certificates by ACME: no certificate in %s", cfg.ACMERoots)
		}
	}
	log := zap.New(slogCore{cfg.Logger})
	a := &acme{names: cfg.ACME}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		Logger:           log,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(cfg.Data, "acme")}, Logger: log,
	})
	directory := cfg.ACMEDirectory
	if directory == "" {
		directory = certmagic.LetsEncryptProductionCA
	}
	a.magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.magic, certmagic.ACMEIssuer{
		CA: directory, Agreed: true, TrustedRoots: roots, Logger: log,
		// The challenge is answered on this very port, by the handshake.
		DisableHTTPChallenge: true, AltTLSALPNPort: port,
	})}
	return a, nil
}

func (a *acme) config() *tls.Config {
	c := a.magic.TLSConfig()
	c.NextProtos = append([]string{"h2", "http/1.1"}, c.NextProtos...)
	return c
}

// start gets the certificates in the background, again and again until it works:
// a name that is not yet pointed here is no reason to serve nobody.
func (a *acme) start(ctx context.Context) error {
	if err := a.magic.ManageAsync(ctx, a.names); err != nil {
		return fmt.Errorf("certificates by ACME for %v: %w", a.names, err)
	}
	return nil
}

func (a *acme) close() error {
	a.cache.Stop()
	return nil
}

// slogCore hands the log of certmagic to ours.
type slogCore struct{ log *slog.Logger }

// level lowers what is news to certmagic only.
func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

func (c slogCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), level(l))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attrs(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	args := append([]any{slog.String("acme", e.Message)}, attrs(fields)...)
	c.log.Log(context.Background(), level(e.Level), "certificates", args...)
	return nil
}

func (c slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	var out []any
	for _, f := range fields {
		f.AddTo(enc)
	}
	for k, v := range enc.Fields {
		out = append(out, slog.Any(k, v))
	}
	return out
}
