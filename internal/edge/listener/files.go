package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// filesLook is how often the files are looked at, at most.
const filesLook = 5 * time.Second

// baseConfig is what every source of certificates shares.
func baseConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// files serves a certificate from PEM files and notices when they are replaced,
// as tools that renew certificates do.
type files struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]fileStamp
	looked  time.Time
}

type fileStamp struct {
	modified time.Time
	size     int64
}

func newFiles(cfg Config) (*files, error) {
	if cfg.CertFile == "" || cfg.KeyFile == "" {
		return nil, errors.New("certificate: give both files, the certificate's and the key's")
	}
	f := &files{cert: cfg.CertFile, key: cfg.KeyFile, log: cfg.Logger, now: time.Now}
	return f, f.load()
}

func (f *files) config() *tls.Config {
	c := baseConfig()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get(), nil }
	return c
}

func (f *files) start(context.Context) error { return nil }
func (f *files) close() error                { return nil }

// get returns the certificate, read again if the files changed. While the new
// ones cannot be used the old one stays.
func (f *files) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if now.Sub(f.looked) < filesLook {
		return f.current
	}
	f.looked = now
	stamp, err := f.stamps()
	if err == nil && stamp == f.stamp {
		return f.current
	}
	if err == nil {
		err = f.load()
	}
	if err != nil {
		f.log.Warn("new certificate is not usable; the old one stays", "error", err)
		return f.current
	}
	f.log.Info("certificate read again", "file", f.cert)
	return f.current
}

// load reads the files. The stamps are taken before, so that a change in between
// is seen at the next look.
func (f *files) load() error {
	stamp, err := f.stamps()
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", f.cert, f.key, err)
	}
	f.current, f.stamp = &c, stamp
	return nil
}

func (f *files) stamps() (s [2]fileStamp, err error) {
	for i, name := range []string{f.cert, f.key} {
		fi, err := os.Stat(name)
		if err != nil {
			return s, err
		}
		s[i] = fileStamp{fi.ModTime(), fi.Size()}
	}
	return s, nil
}
