package control

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Handler serves control under the root of its URL space; mount it elsewhere
// with [http.StripPrefix].
//
//	GET  /v1/session  the WebSocket of a session
//	GET  /v1/key      the key that signs this control's grants, a JWK
//	POST /v1/grants   a grant for an object that a publisher has signed
//	GET  /v1/status   counters, for operators
//	GET  /healthz     204 while sessions are admitted
func (c *Control) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/session", c.serveSession)
	mux.HandleFunc("GET /v1/key", c.serveKey)
	mux.HandleFunc("POST /v1/grants", c.serveGrant)
	mux.HandleFunc("OPTIONS /v1/grants", c.preflight)
	mux.HandleFunc("GET /v1/status", c.serveStatus)
	mux.HandleFunc("GET /healthz", c.serveHealth)
	return mux
}

func (c *Control) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if c.stopping.Err() != nil {
		http.Error(w, errStopping.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *Control) serveKey(w http.ResponseWriter, _ *http.Request) {
	forPages(w)
	w.Header().Set("Cache-Control", "max-age=300")
	c.reply(w, http.StatusOK, wire.NewJWKS(c.key.public.Public()).Keys[0])
}

// preflight lets web pages of any origin ask for grants (Fetch standard, CORS).
func (c *Control) preflight(w http.ResponseWriter, _ *http.Request) {
	forPages(w)
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", "Content-Type")
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}

// serveGrant gives a grant for what a publisher has signed. Control has not seen
// the object: whoever can show the publisher's signature has the manifest, and
// that is the publisher's leave to share it.
func (c *Control) serveGrant(w http.ResponseWriter, r *http.Request) {
	forPages(w)
	now := c.cfg.Now()
	if !c.sites.mayGrant(c.clientAddr(r).Addr(), now) {
		w.Header().Set("Retry-After", "10")
		c.fail(w, http.StatusTooManyRequests, wire.CodeOverload, errors.New("too many grants for this address"))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxGrantRequest))
	var req wire.GrantRequest
	if err == nil {
		err = json.Unmarshal(body, &req)
	}
	if err != nil {
		c.fail(w, http.StatusBadRequest, wire.CodeBadMessage, err)
		return
	}
	claims, err := c.claimsFor(&req)
	if err != nil {
		c.counters.grantsRefused.Add(1)
		c.fail(w, http.StatusForbidden, wire.CodeBadGrant, err)
		return
	}
	claims.Expires = now.Add(grant.TTL)
	token, err := grant.Sign(claims, c.key.private, now)
	if err != nil {
		c.log.Error("grant not signed", "error", err)
		c.fail(w, http.StatusInternalServerError, wire.CodeOverload, errors.New("grant not signed"))
		return
	}
	c.counters.grants.Add(1)
	w.Header().Set("Cache-Control", "no-store")
	c.reply(w, http.StatusOK, wire.GrantResponse{Grant: token, Expires: claims.Expires.Unix()})
}

func (c *Control) claimsFor(req *wire.GrantRequest) (grant.Claims, error) {
	object, err := manifest.ParseObjectID(req.Object)
	switch {
	case err != nil:
		return grant.Claims{}, err
	case req.Key == wire.Key{}:
		return grant.Claims{}, errors.New("no key")
	case !c.cfg.serves(req.Signer):
		return grant.Claims{}, errors.New("this publisher is not served here")
	case !ed25519.Verify(req.Signer.Public(), manifest.SignedBytes(object), req.Signature):
		return grant.Claims{}, manifest.ErrSignature
	}
	return grant.Claims{Object: object, Key: req.Key, Policy: wire.Policy{P2P: wire.P2POn}, Publisher: req.Signer}, nil
}

// forPages lets web pages of any origin read an answer.
func forPages(w http.ResponseWriter) { w.Header().Set("Access-Control-Allow-Origin", "*") }

// reply answers with JSON.
func (c *Control) reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.log.Error("answer not encoded", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

func (c *Control) fail(w http.ResponseWriter, status int, code string, err error) {
	c.reply(w, status, wire.Error{Code: code, Message: err.Error()})
}

// clientAddr is where a request comes from: the peer of the connection, or,
// behind a trusted proxy, the last hop of X-Forwarded-For that is not one.
func (c *Control) clientAddr(r *http.Request) netip.AddrPort {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && contains(c.cfg.TrustedProxies, addr.Addr()); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = netip.AddrPortFrom(hop.Unmap().WithZone(""), 0)
	}
	return addr
}
