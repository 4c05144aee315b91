package listener

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Names of the development authority's files in the data directory.
const (
	DevCAFile = "dev-ca.pem" // the certificate, for clients to trust
	devCAKey  = "dev-ca.key"
)

const (
	devCALife   = 5 * 365 * 24 * time.Hour
	devLeafLife = 30 * 24 * time.Hour
	// devBackdate allows for clients whose clocks are slow.
	devBackdate = time.Hour
)

// devCA makes certificates for this server's names with an authority of its own.
type devCA struct {
	names []string
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey
	log   *slog.Logger
	now   func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate
}

func newDevCA(cfg Config) (*devCA, error) {
	if cfg.Data == "" {
		return nil, errors.New("development certificates need a data directory")
	}
	d := &devCA{log: cfg.Logger, now: time.Now, names: append([]string{"localhost", "127.0.0.1", "::1"}, cfg.DevCA...)}
	slices.Sort(d.names)
	d.names = slices.Compact(d.names)
	file := filepath.Join(cfg.Data, DevCAFile)
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = d.create(file, filepath.Join(cfg.Data, devCAKey))
	} else if err == nil {
		err = d.load(file, filepath.Join(cfg.Data, devCAKey))
	}
	if err != nil {
		return nil, fmt.Errorf("development authority: %w", err)
	}
	if d.now().After(d.ca.NotAfter) {
		return nil, fmt.Errorf("development authority: %s expired on %s: remove it and %s", file, d.ca.NotAfter.Format(time.DateOnly), devCAKey)
	}
	d.log.Info("development certificates: give clients the authority's", "file", file, "names", d.names)
	_, err = d.get()
	return d, err
}

func (d *devCA) config() *tls.Config {
	c := baseConfig()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return d.get() }
	return c
}

func (d *devCA) start(context.Context) error { return nil }
func (d *devCA) close() error                { return nil }

// get returns the server's certificate, a new one when a third of the old one's
// life is left.
func (d *devCA) get() (*tls.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaf != nil && d.now().Before(d.leaf.Leaf.NotAfter.Add(-devLeafLife/3)) {
		return d.leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("development certificate: %w", err)
	}
	t := d.template("", devLeafLife)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	for _, n := range d.names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, d.ca, key.Public(), d.key)
	if err != nil {
		return nil, fmt.Errorf("development certificate for %v: %w", d.names, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("development certificate for %v: %w", d.names, err)
	}
	d.leaf = &tls.Certificate{Certificate: [][]byte{der, d.ca.Raw}, PrivateKey: key, Leaf: leaf}
	return d.leaf, nil
}

func (d *devCA) template(name string, life time.Duration) *x509.Certificate {
	// Random, so that authorities made again are told apart.
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	now := d.now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-devBackdate), NotAfter: now.Add(life),
		BasicConstraintsValid: true,
	}
}

// create makes the authority. The key is written first: a certificate without
// its key would stay unusable.
func (d *devCA) create(certFile, keyFile string) error {
	if err := os.MkdirAll(filepath.Dir(certFile), 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	t := d.template("Tandem development authority of "+host, devCALife)
	t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	err = os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	if err != nil {
		return err
	}
	err = os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	if err != nil {
		return err
	}
	return d.load(certFile, keyFile)
}

func (d *devCA) load(certFile, keyFile string) error {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("%s with %s: %w", certFile, keyFile, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("%s: key is a %T, want ECDSA", keyFile, pair.PrivateKey)
	}
	if pair.Leaf == nil || !pair.Leaf.IsCA {
		return fmt.Errorf("%s is no certificate of an authority", certFile)
	}
	d.ca, d.key = pair.Leaf, key
	return nil
}
