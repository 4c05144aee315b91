package wire

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/url"
)

// Paths and names that clients and edges share.
const (
	// WellKnownPath is where a host tells how its objects are shared.
	WellKnownPath = "/.well-known/tandem"
	// ManifestType is the media type of a signed manifest.
	ManifestType = "application/vnd.tandem.manifest"
	// ChunksType is the media type of a signed chunk map.
	ChunksType = "application/vnd.tandem.chunks"
	// TrackType is the media type of the signed header of a track.
	TrackType = "application/vnd.tandem.track"
	// TrackPagesType is that of signed pages, each with its length as a u32 before it.
	TrackPagesType = "application/vnd.tandem.track-pages"
)

// WellKnown is the document at [WellKnownPath].
type WellKnown struct {
	Version int `json:"version"`
	// Control lists WebSocket URLs of control, absolute or relative to this document.
	Control []string `json:"control"`
	// Keys is a JWKS (RFC 7517): the Ed25519 keys (RFC 8037) that sign this
	// host's manifests and grants.
	Keys JWKS `json:"jwks"`
	// Grants is the URL to POST a [GrantRequest] to, absolute or relative.
	Grants string `json:"grants"`
	// Manifests is a template for servers that send no Link header: the URL of
	// the manifest of a path, "{path}" standing for the path of the object's
	// URL, encoded as there, with its leading slash.
	Manifests string `json:"manifests,omitempty"`
	// Chunks is the same for chunk maps.
	Chunks string `json:"chunks,omitempty"`
	// Mirrors are base URLs that serve the same paths.
	Mirrors []string `json:"mirrors,omitempty"`
	// Gateway lets the local gateways of agents get this host's URLs for any program
	// of their user, without the user having named the host.
	Gateway bool `json:"gateway,omitempty"`
}

// JWKS is the Ed25519 keys of a JSON Web Key Set. Keys of other kinds, which a
// host may have for other purposes, are skipped.
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// UnmarshalJSON reads the Ed25519 keys.
func (s *JWKS) UnmarshalJSON(b []byte) error {
	var set struct {
		Keys []struct{ Kty, Crv, X, Kid string }
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return err
	}
	s.Keys = nil
	for _, k := range set.Keys {
		if k.Kty != "OKP" || k.Crv != "Ed25519" {
			continue
		}
		key := JWK{Kty: k.Kty, Crv: k.Crv, Kid: k.Kid}
		if err := key.X.UnmarshalText([]byte(k.X)); err != nil {
			return err
		}
		s.Keys = append(s.Keys, key)
	}
	return nil
}

// JWK is an Ed25519 public key as a JSON Web Key.
type JWK struct {
	Kty string `json:"kty"` // "OKP"
	Crv string `json:"crv"` // "Ed25519"
	X   Key    `json:"x"`
	Kid string `json:"kid,omitempty"`
}

// NewJWKS lists keys.
func NewJWKS(keys ...ed25519.PublicKey) JWKS {
	var s JWKS
	for _, k := range keys {
		x := KeyOf(k)
		s.Keys = append(s.Keys, JWK{Kty: "OKP", Crv: "Ed25519", X: x, Kid: x.String()})
	}
	return s
}

// Public returns the keys.
func (s JWKS) Public() []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	for _, k := range s.Keys {
		keys = append(keys, k.X.Public())
	}
	return keys
}

// ParseWellKnown reads the document.
func ParseWellKnown(b []byte) (*WellKnown, error) {
	if len(b) > MaxWellKnown {
		return nil, fmt.Errorf("well-known document of %d bytes, the limit is %d", len(b), MaxWellKnown)
	}
	var w WellKnown
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("well-known document: %w", err)
	}
	if w.Version != 1 {
		return nil, fmt.Errorf("well-known document: version %d, this program knows 1", w.Version)
	}
	return &w, nil
}

// GrantRequest asks an edge, or the control of a published directory, for a grant.
type GrantRequest struct {
	// Object is hexadecimal.
	Object string `json:"object"`
	// Key is the session key the grant is bound to.
	Key Key `json:"key"`
	// URL is the URL the object was got from, signature included, so that the
	// edge can check that the client may have it.
	URL string `json:"url"`
	// Signer and Signature are those of the manifest: control, which has not
	// seen the content, gives grants for what a publisher signed.
	Signer    Key    `json:"signer"`
	Signature []byte `json:"signature"`
}

// GrantResponse answers a [GrantRequest].
type GrantResponse struct {
	Grant   string `json:"grant"`
	Expires int64  `json:"expires"` // Unix seconds
}

// CheckMirrors reports the first of mirrors that is not the base URL of a server.
func CheckMirrors(mirrors []string) error {
	for _, m := range mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("mirror %.200q: want an http or https URL", m)
		}
	}
	return nil
}
