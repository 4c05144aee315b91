package publish

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// controlTimeout bounds the request for control's key.
	controlTimeout = 15 * time.Second
	// maxKey bounds control's answer, in bytes.
	maxKey = 4096

	sessionPath = "/v1/session"
	grantsPath  = "/v1/grants"
	keyPath     = "/v1/key"
)

// control is where a control is reached over HTTP and over WebSocket.
type control struct{ http, ws string }

// parseControl reads the URL of control in any of its forms.
func parseControl(text string) (control, error) {
	u, err := url.Parse(strings.TrimSuffix(text, sessionPath))
	if err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return control{}, fmt.Errorf("control %q: want a URL as in https://control.example", text)
	}
	h, w := *u, *u
	switch u.Scheme {
	case "http", "ws":
		h.Scheme, w.Scheme = "http", "ws"
	case "https", "wss":
		h.Scheme, w.Scheme = "https", "wss"
	default:
		return control{}, fmt.Errorf("control %q: scheme %q, want http or https", text, u.Scheme)
	}
	return control{strings.TrimSuffix(h.String(), "/"), strings.TrimSuffix(w.String(), "/")}, nil
}

// document makes the well-known document, for which it asks every control its key.
func (p *publisher) document(ctx context.Context) ([]byte, error) {
	keys := []ed25519.PublicKey{p.sum.PublicKey}
	doc := wire.WellKnown{
		Version:   1,
		Manifests: p.cfg.BasePath + "/" + manifestsDir + "{path}" + suffix,
		Chunks:    p.cfg.BasePath + "/" + manifestsDir + "{path}" + mapSuffix,
		Mirrors:   p.cfg.Mirrors,
		Gateway:   p.cfg.Gateway,
	}
	for i, text := range p.cfg.Control {
		c, err := parseControl(text)
		if err != nil {
			return nil, err
		}
		k, err := p.fetchKey(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("control %s: %w: is it running, and is this its address?", c.http, err)
		}
		keys = append(keys, k)
		doc.Control = append(doc.Control, c.ws+sessionPath)
		if i == 0 {
			doc.Grants = c.http + grantsPath
		}
	}
	doc.Keys = wire.NewJWKS(keys...)
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("well-known document: %w", err)
	}
	if len(b) > wire.MaxWellKnown {
		return nil, fmt.Errorf("well-known document of %d bytes, the limit is %d: name fewer mirrors", len(b), wire.MaxWellKnown)
	}
	return append(b, '\n'), nil
}

// fetchKey asks control for the key that signs its grants.
func (p *publisher) fetchKey(ctx context.Context, c control) (ed25519.PublicKey, error) {
	client := p.cfg.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.http+keyPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("key: answer %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxKey))
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return parseKey(b)
}

// parseKey reads a JWK.
func parseKey(b []byte) (ed25519.PublicKey, error) {
	var k wire.JWK
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	keys := wire.JWKS{Keys: []wire.JWK{k}}.Public()
	if len(keys) != 1 || k.X == (wire.Key{}) {
		return nil, errors.New("key: not an Ed25519 key")
	}
	return keys[0], nil
}
