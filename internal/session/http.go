package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

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
	if err != nil {
		return nil, fmt.Errorf("well-known document of %s: %w", base, err)
	}
	w, err := wire.ParseWellKnown(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	for i, c := range w.Control {
		if w.Control[i], err = resolve(at, c, true); err != nil {
			return nil, fmt.Errorf("%s: control: %w", base, err)
		}
	}
	if w.Grants, err = resolve(at, w.Grants, false); err != nil {
		return nil, fmt.Errorf("%s: grants: %w", base, err)
	}
	return w, nil
}

// resolve makes ref absolute, and a WebSocket URL where wanted.
func resolve(at *url.URL, ref string, ws bool) (string, error) {
	u, err := at.Parse(ref)
	if err != nil {
		return "", err
	}
	if ws {
		switch u.Scheme {
		case "http":
			u.Scheme = "ws"
		case "https":
			u.Scheme = "wss"
		}
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
