package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// FetchWellKnown gets the well-known document of a host, whose scheme, name and
// port base names, with its URLs made absolute.
func FetchWellKnown(ctx context.Context, hc *http.Client, base string) (*wire.WellKnown, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+wire.WellKnownPath, nil)
	if err != nil {
		return nil, fmt.Errorf("well-known document of %s: %w", base, err)
	}
	b, at, err := do(hc, req, wire.MaxWellKnown)
	if err == nil && req.URL.Scheme == "https" && at.Scheme != "https" {
		// It names the keys that everything else is checked with.
		err = fmt.Errorf("redirected to %s, which is not secure", at.Redacted())
	}
	if err != nil {
		return nil, fmt.Errorf("well-known document of %s: %w", base, err)
	}
	w, err := wire.ParseWellKnown(b)
	if err == nil {
		err = absolute(w, at)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	return w, nil
}

// pathPlace stands for the path in the template of manifests, whose braces a URL
// would escape.
const pathPlace, pathToken = "{path}", "-tandem-path-"

// absolute resolves the URLs of a document that came from at.
func absolute(w *wire.WellKnown, at *url.URL) (err error) {
	for i, c := range w.Control {
		if w.Control[i], err = resolve(at, c, "ws"); err != nil {
			return fmt.Errorf("control: %w", err)
		}
	}
	for i, m := range w.Mirrors {
		if w.Mirrors[i], err = resolve(at, m, "http"); err != nil {
			return fmt.Errorf("mirror: %w", err)
		}
	}
	if w.Grants != "" {
		if w.Grants, err = resolve(at, w.Grants, "http"); err != nil {
			return fmt.Errorf("grants: %w", err)
		}
	}
	if w.Manifests != "" {
		m, err := resolve(at, strings.Replace(w.Manifests, pathPlace, pathToken, 1), "http")
		if err != nil {
			return fmt.Errorf("manifests: %w", err)
		}
		w.Manifests = strings.Replace(m, pathToken, pathPlace, 1)
	}
	return nil
}

// resolve makes ref absolute, with the scheme http or ws, or its secure form.
func resolve(at *url.URL, ref, scheme string) (string, error) {
	u, err := at.Parse(ref)
	if err != nil {
		return "", err
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = scheme
	case "https", "wss":
		u.Scheme = scheme + "s"
	default:
		return "", fmt.Errorf("%s: want a URL of HTTP or WebSocket", u.Redacted())
	}
	if u.Host == "" {
		return "", fmt.Errorf("%s: no host", u.Redacted())
	}
	return u.String(), nil
}

// FetchGrant asks an edge or control for a grant.
func FetchGrant(ctx context.Context, hc *http.Client, to string, r wire.GrantRequest) (wire.GrantResponse, error) {
	var g wire.GrantResponse
	body, err := json.Marshal(r)
	if err != nil {
		return g, fmt.Errorf("grant from %s: %w", to, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return g, fmt.Errorf("grant from %s: %w", to, err)
	}
	req.Header.Set("Content-Type", "application/json")
	b, _, err := do(hc, req, 2*wire.MaxGrant)
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err == nil && (g.Grant == "" || len(g.Grant) > wire.MaxGrant) {
		err = fmt.Errorf("answer of %d bytes", len(g.Grant))
	}
	if err != nil {
		return wire.GrantResponse{}, fmt.Errorf("grant from %s: %w", to, err)
	}
	return g, nil
}

// do sends a request and returns the body, of at most limit bytes, with the URL
// that answered.
func do(hc *http.Client, req *http.Request, limit int64) ([]byte, *url.URL, error) {
	resp, err := hc.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%s: %.200s", resp.Status, bytes.TrimSpace(b))
	case int64(len(b)) > limit:
		return nil, nil, fmt.Errorf("answer of more than %d bytes", limit)
	}
	return b, resp.Request.URL, nil
}
