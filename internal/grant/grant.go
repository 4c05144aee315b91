// Package grant makes and checks grants: short-lived signed tokens that let the
// holder of one session key join the swarm of one object.
//
// A grant is a JWT (RFC 7519) signed with EdDSA (RFC 8037). Its header carries
// the signer's public key (RFC 7515 §4.1.3), so that control, which serves any
// publisher, can check it without knowing the publisher; peers accept it only
// when that key is in the JWKS of the host they got the object from. Control
// never shows a swarm of one publisher to grants of another: see
// [Claims.Publisher].
//
// The package reads no clock: the time is an argument.
package grant

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// TTL is how long a grant is valid. Clients ask for a new one at half of it.
const TTL = time.Hour

// Leeway is the clock difference between signer and verifier that is tolerated.
const Leeway = 2 * time.Minute

// Errors of [Parse].
var (
	ErrMalformed = errors.New("malformed grant")
	ErrExpired   = errors.New("grant expired")
	ErrUntrusted = errors.New("grant is not signed by a trusted key")
	ErrMismatch  = errors.New("grant is for another key or object")
)

// Claims are what a grant says.
type Claims struct {
	Object  manifest.ObjectID
	Key     wire.Key // session key of the holder
	Policy  wire.Policy
	Expires time.Time
	// Publisher is whose content it is: the signer's own key, or the key of the
	// manifest's signer where control grants on behalf of a publisher.
	Publisher wire.Key
	// Signer is the key that signed the grant.
	Signer wire.Key
}

type jwtClaims struct {
	Object    string      `json:"obj"`
	Policy    wire.Policy `json:"pol"`
	Publisher *wire.Key   `json:"pub,omitempty"`
	jwt.RegisteredClaims
}

// Sign makes a grant. Signer and, when it is zero, Publisher are set from key.
func Sign(c Claims, key ed25519.PrivateKey, now time.Time) (string, error) {
	signer := wire.KeyOf(key.Public().(ed25519.PublicKey))
	jc := jwtClaims{
		Object: c.Object.String(),
		Policy: c.Policy,
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   c.Key.String(),
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(c.Expires),
		},
	}
	if c.Publisher != (wire.Key{}) && c.Publisher != signer {
		jc.Publisher = &c.Publisher
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jc)
	t.Header["kid"] = signer.String()
	t.Header["jwk"] = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": signer.String()}
	s, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("grant for object %s: sign: %w", c.Object, err)
	}
	return s, nil
}

// Parse checks the signature, which must be by the key in the header, and the
// times, and returns the claims. It does not say whether the key is to be
// trusted: see [Claims.Check].
func Parse(token string, now time.Time) (*Claims, error) {
	if len(token) > wire.MaxGrant {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrMalformed, len(token), wire.MaxGrant)
	}
	if strings.ContainsAny(token, "\r\n") { // the decoder skips them
		return nil, fmt.Errorf("%w: line ends", ErrMalformed)
	}
	var signer wire.Key
	var jc jwtClaims
	p := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithLeeway(Leeway), jwt.WithTimeFunc(func() time.Time { return now }))
	_, err := p.ParseWithClaims(token, &jc, func(t *jwt.Token) (any, error) {
		k, err := headerKey(t.Header)
		signer = k
		return k.Public(), err
	})
	if errors.Is(err, jwt.ErrTokenExpired) {
		return nil, ErrExpired
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return jc.claims(signer)
}

func (jc *jwtClaims) claims(signer wire.Key) (*Claims, error) {
	c := &Claims{Policy: jc.Policy, Publisher: signer, Signer: signer, Expires: jc.ExpiresAt.Time}
	var err error
	if c.Object, err = manifest.ParseObjectID(jc.Object); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := c.Key.UnmarshalText([]byte(jc.Subject)); err != nil {
		return nil, fmt.Errorf("%w: subject: %w", ErrMalformed, err)
	}
	if jc.Publisher != nil {
		c.Publisher = *jc.Publisher
	}
	return c, nil
}

func headerKey(h map[string]any) (wire.Key, error) {
	var k wire.Key
	if _, there := h["crit"]; there {
		return k, errors.New("header has critical extensions") // RFC 7515 §4.1.11
	}
	jwk, _ := h["jwk"].(map[string]any)
	x, _ := jwk["x"].(string)
	if jwk["kty"] != "OKP" || jwk["crv"] != "Ed25519" {
		return k, errors.New("header has no Ed25519 key")
	}
	return k, k.UnmarshalText([]byte(x))
}

// Check reports whether the grant lets the holder of key join object, going by
// the trusted signers.
func (c *Claims) Check(object manifest.ObjectID, key wire.Key, trusted []ed25519.PublicKey) error {
	if c.Object != object || c.Key != key {
		return ErrMismatch
	}
	for _, t := range trusted {
		if t.Equal(c.Signer.Public()) {
			return nil
		}
	}
	return ErrUntrusted
}
