package transport

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Errors of the handshake.
var (
	errKey  = errors.New("the peer has another key")
	errSelf = errors.New("the address leads back here")
	errALPN = errors.New("the peer does not speak " + wire.ALPN)
)

// identity is a key with the certificate that carries it.
type identity struct {
	key  wire.Key
	cert tls.Certificate
}

// newIdentity makes a self-signed certificate. Nothing in it but the key means
// anything: TLS proves that the peer holds it.
func newIdentity(key ed25519.PrivateKey) (*identity, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("session key of %d bytes", len(key))
	}
	public := key.Public().(ed25519.PublicKey)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 §4.1.2.5: none
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("make session certificate: %w", err)
	}
	return &identity{
		key:  wire.KeyOf(public),
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}, nil
}

// config is the TLS configuration of both sides. With a key in want, only that
// peer is let in, else any but ourselves.
func (id *identity) config(want *wire.Key) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{id.cert},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{wire.ALPN},
		ClientAuth:   tls.RequireAnyClientCert,
		// There are no names and no authorities between peers; VerifyConnection
		// checks the key instead.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		// Without the post-quantum share the ClientHello fits one packet, which a
		// hole punch wants.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		VerifyConnection: func(cs tls.ConnectionState) error {
			got, err := peerKey(cs)
			switch {
			case err != nil:
				return err
			case got == id.key:
				return errSelf
			case want != nil && got != *want:
				return fmt.Errorf("%w: %s", errKey, got.Short())
			}
			return nil
		},
	}
}

// peerKey is the key that the other side of a handshake has proved to hold.
func peerKey(cs tls.ConnectionState) (wire.Key, error) {
	if cs.NegotiatedProtocol != wire.ALPN {
		return wire.Key{}, errALPN
	}
	if len(cs.PeerCertificates) == 0 {
		return wire.Key{}, errors.New("the peer shows no certificate")
	}
	public, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return wire.Key{}, fmt.Errorf("the peer's certificate has a key of type %T", cs.PeerCertificates[0].PublicKey)
	}
	return wire.KeyOf(public), nil
}

// controls says whether the side with key a controls the link to b.
func controls(a, b wire.Key) bool { return bytes.Compare(a[:], b[:]) < 0 }
