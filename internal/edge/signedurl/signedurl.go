// Package signedurl checks and makes signed URLs by RFC 9246 (URI Signing for
// CDNI): a JWT (RFC 7519) in the query parameter URISigningPackage says which
// URL may be fetched, and until when.
//
// Of the RFC it takes: the claims exp (which it requires), nbf, aud, cdniv,
// cdnicrit and cdniuc in both forms ("hash:" and "regex:"), signed with EdDSA.
// A token with a claim that would have to be enforced and is not (cdniip, sub:
// both encrypted; cdniets, cdnistt, cdnistd: renewal) is refused, as the RFC
// demands. A regular expression must match the whole URL, not a part of it.
package signedurl

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// Param is the query parameter that carries the token (RFC 9246 §3).
	Param = "URISigningPackage"
	// maxToken and maxURL bound what is looked at, in bytes.
	maxToken = 4096
	maxURL   = 16 << 10
	// maxPattern bounds a regular expression, in bytes; Go's run in linear time.
	maxPattern = 1024
	// Leeway is the clock difference between signer and edge that is tolerated.
	Leeway = 30 * time.Second

	hashForm  = "hash:"
	regexForm = "regex:"
	sha256Alg = "sha-256;"
)

// Errors of [Verifier.Verify]; the texts say what to do.
var (
	ErrUnsigned  = errors.New("this URL must be signed: ask the publisher for a signed one")
	ErrExpired   = errors.New("this signed URL has expired: ask the publisher for a new one")
	ErrNotYet    = errors.New("this signed URL is not valid yet: try again later")
	ErrOtherURL  = errors.New("this signature is for another URL: use the signed URL unchanged")
	ErrMalformed = errors.New("this URL's signature is not valid: use the signed URL unchanged")
)

// Verifier checks signed URLs. The zero value refuses every URL.
type Verifier struct {
	// Keys are the publisher's keys; a signature by any of them is good.
	Keys []ed25519.PublicKey
	// Audience is the name this edge goes by in the claim aud. A token with that
	// claim is refused unless it names the edge.
	Audience string
}

// claims are those of RFC 9246 §2.1. What is only looked at to be refused is any.
type claims struct {
	jwt.RegisteredClaims
	Version   *int   `json:"cdniv,omitempty"`
	Critical  string `json:"cdnicrit,omitempty"`
	ClientIP  any    `json:"cdniip,omitempty"`
	Container string `json:"cdniuc,omitempty"`
	Renewal   any    `json:"cdniets,omitempty"`
	Transport any    `json:"cdnistt,omitempty"`
	Depth     any    `json:"cdnistd,omitempty"`
}

// Strip removes the token from a query string, which stays otherwise as it was,
// and returns it. Only one token may be there: of several it returns none.
func Strip(rawQuery string) (rest, token string) {
	if !strings.Contains(rawQuery, Param) {
		return rawQuery, ""
	}
	kept := make([]string, 0, 8)
	found := 0
	for part := range strings.SplitSeq(rawQuery, "&") {
		name, value, _ := strings.Cut(part, "=")
		if name != Param {
			kept = append(kept, part)
			continue
		}
		found++
		token = value
	}
	if found != 1 {
		token = ""
	}
	return strings.Join(kept, "&"), token
}

// Verify checks the signature in an absolute URL at the time now. It returns the
// URL without its token. The error is one of the package's errors.
func (v *Verifier) Verify(u *url.URL, now time.Time) (*url.URL, error) {
	rest, token := Strip(u.RawQuery)
	if token == "" {
		return nil, ErrUnsigned
	}
	plain := *u
	plain.RawQuery, plain.Fragment, plain.RawFragment = rest, "", ""
	if rest == "" {
		plain.ForceQuery = false
	}
	text := plain.String()
	if len(token) > maxToken || len(text) > maxURL {
		return nil, ErrMalformed
	}
	c, err := v.parse(token, now)
	if err != nil {
		return nil, err
	}
	if err := c.covers(text); err != nil {
		return nil, err
	}
	return &plain, nil
}

// parse checks the signature and every claim but the container.
func (v *Verifier) parse(token string, now time.Time) (*claims, error) {
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithLeeway(Leeway), jwt.WithTimeFunc(func() time.Time { return now }),
	}
	p := jwt.NewParser(opts...)
	var c claims
	_, err := p.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) {
		set := jwt.VerificationKeySet{}
		for _, k := range v.Keys {
			set.Keys = append(set.Keys, k)
		}
		return set, nil
	})
	switch {
	// A wrong signature is told first: the claims of a forged token say nothing.
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable), errors.Is(err, jwt.ErrTokenMalformed):
		return nil, ErrMalformed
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return nil, ErrNotYet
	case err != nil:
		return nil, ErrMalformed
	}
	return &c, c.check(v.Audience)
}

// check refuses what this package does not enforce.
func (c *claims) check(audience string) error {
	if c.Version != nil && *c.Version != 1 {
		return ErrMalformed
	}
	if c.ClientIP != nil || c.Renewal != nil || c.Transport != nil || c.Depth != nil || c.Subject != "" {
		return ErrMalformed
	}
	if c.Critical != "" {
		// A list of claims that must be understood; those known here are not
		// extensions, and no extension is known.
		return ErrMalformed
	}
	if len(c.Audience) == 0 {
		return nil
	}
	for _, a := range c.Audience {
		if audience != "" && a == audience {
			return nil
		}
	}
	return ErrOtherURL
}

// covers compares the claim cdniuc with a URL (RFC 9246 §2.1.15).
func (c *claims) covers(text string) error {
	if want, ok := strings.CutPrefix(c.Container, hashForm); ok {
		if subtle.ConstantTimeCompare([]byte(want), []byte(hashOf(text))) == 1 {
			return nil
		}
		return ErrOtherURL
	}
	pattern, ok := strings.CutPrefix(c.Container, regexForm)
	if !ok || pattern == "" || len(pattern) > maxPattern {
		return ErrMalformed
	}
	re, err := regexp.CompilePOSIX(pattern)
	if err != nil {
		return ErrMalformed
	}
	// POSIX finds the leftmost, longest match: the whole text if it matches at all.
	if at := re.FindStringIndex(text); at == nil || at[0] != 0 || at[1] != len(text) {
		return ErrOtherURL
	}
	return nil
}

// hashOf is the hash of a URL in the segment form of RFC 6920 §5.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return sha256Alg + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Sign returns the URL with a token that lets it, and it alone, be fetched until
// expires.
func Sign(u *url.URL, key ed25519.PrivateKey, expires time.Time) (*url.URL, error) {
	plain := *u
	plain.RawQuery, _ = Strip(u.RawQuery)
	plain.Fragment, plain.RawFragment = "", ""
	if plain.RawQuery == "" {
		plain.ForceQuery = false
	}
	token, err := sign(hashForm+hashOf(plain.String()), key, expires)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", u.Redacted(), err)
	}
	return attach(plain, token), nil
}

// SignPattern returns a token that lets every URL be fetched that a POSIX
// regular expression matches as a whole: see [Attach].
func SignPattern(pattern string, key ed25519.PrivateKey, expires time.Time) (string, error) {
	if _, err := regexp.CompilePOSIX(pattern); err != nil {
		return "", fmt.Errorf("sign pattern %.100q: %w", pattern, err)
	}
	if len(pattern) == 0 || len(pattern) > maxPattern {
		return "", fmt.Errorf("sign pattern %.100q: %d bytes, allowed are 1 to %d", pattern, len(pattern), maxPattern)
	}
	token, err := sign(regexForm+pattern, key, expires)
	if err != nil {
		return "", fmt.Errorf("sign pattern %.100q: %w", pattern, err)
	}
	return token, nil
}

// Attach returns the URL with the token, in place of one it had.
func Attach(u *url.URL, token string) *url.URL {
	plain := *u
	plain.RawQuery, _ = Strip(u.RawQuery)
	return attach(plain, token)
}

func attach(u url.URL, token string) *url.URL {
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += Param + "=" + token
	return &u
}

func sign(container string, key ed25519.PrivateKey, expires time.Time) (string, error) {
	c := claims{Container: container, RegisteredClaims: jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(expires)}}
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, c).SignedString(key)
}
