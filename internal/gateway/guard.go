package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	// tokenField is the request field in which a paired page shows its token. Players
	// that cannot send fields have it in the path instead: /~TOKEN/https/…
	tokenField = "Tandem-Token"
	tokenPath  = "/~"
	// pairPath is where a page posts its code, for its token.
	pairPath = "/.tandem/pair"
	maxCode  = 100
	// preflightAge is how long a browser may remember a preflight, in seconds.
	preflightAge = "600"
)

// caller is who sent a request, past the guards.
type caller struct {
	origin string // of a paired page; "" for programs
	prefix string // of its paths: "" or "/~TOKEN"
	page   bool   // a browser sent it: what it adds by itself, cookies above all, is not meant for the publisher
}

// refusal is an answer that ends a request.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

// admit finds what is wrong with a request that a web page may have caused: anything on
// loopback is reachable from any page. target is what is asked for, without a token.
func (g *Gateway) admit(r *http.Request) (c caller, target string, err error) {
	if !g.ours(r.Host) {
		return c, "", &refusal{http.StatusMisdirectedRequest, "unknown host: this is the gateway of the agent on this machine, reached as http://" + g.Addr() + "/"}
	}
	target = r.RequestURI
	if !strings.HasPrefix(target, "/") {
		return c, "", &refusal{http.StatusBadRequest, "this is not a proxy: " + errForm.Error()}
	}
	token := r.Header.Get(tokenField)
	if rest, ok := strings.CutPrefix(target, tokenPath); ok {
		inPath, path, _ := strings.Cut(rest, "/")
		token, target, c.prefix = inPath, "/"+path, tokenPath+inPath
	}
	c.origin = r.Header.Get("Origin")
	site := r.Header.Get("Sec-Fetch-Site")
	c.page = c.origin != "" || site != ""
	switch {
	case c.origin == "" && (site == "" || site == "none"): // a program, or the user's own address bar
		c.prefix = ""
		return c, target, nil
	case c.origin == "" || !isOrigin(c.origin):
		return c, "", &refusal{http.StatusForbidden, "not for web pages, unless paired (tandem pair) and asking with CORS"}
	case r.Method == http.MethodPost && r.URL.Path == pairPath:
		return c, target, nil
	case r.Method == http.MethodOptions && (g.pairings.known(c.origin) || r.URL.Path == pairPath && g.pairings.awaits(time.Now())):
		return c, target, nil // a preflight shows no token
	case !g.pairings.allows(c.origin, token):
		return c, "", &refusal{http.StatusForbidden, "not for this web page: pair it first, with a code from: tandem pair"}
	}
	return c, target, nil
}

// ours reports whether the Host of a request is a loopback name or address, with the
// port of this gateway. A name that was rebound to this machine is not.
func (g *Gateway) ours(hostport string) bool {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || port != g.port {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// allowPage lets a paired page read the answer.
func (c caller) allowPage(h http.Header) {
	if c.origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", c.origin)
	h.Set("Access-Control-Expose-Headers", "Content-Length, Content-Range, Accept-Ranges, ETag, Last-Modified, Date, Age")
	h.Add("Vary", "Origin")
}

// preflight answers what a browser asks before a request of a paired page (Fetch
// §4.8), also that it is meant for this machine (Private Network Access).
func (g *Gateway) preflight(w http.ResponseWriter, r *http.Request, c caller) {
	h := w.Header()
	c.allowPage(h)
	if c.origin == "" {
		g.fail(w, &refusal{http.StatusMethodNotAllowed, "only GET and HEAD"})
		return
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
	h.Set("Access-Control-Allow-Headers", "Range, If-Range, If-None-Match, If-Modified-Since, Cache-Control, Pragma, Content-Type, "+tokenField)
	h.Set("Access-Control-Max-Age", preflightAge)
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	w.WriteHeader(http.StatusNoContent)
}

// pair answers a page that shows its code with its token.
func (g *Gateway) pair(w http.ResponseWriter, r *http.Request, c caller) {
	if c.origin == "" {
		g.fail(w, &refusal{http.StatusForbidden, "pairing is for web pages"})
		return
	}
	code, err := io.ReadAll(io.LimitReader(r.Body, maxCode))
	if err != nil {
		g.fail(w, &refusal{http.StatusBadRequest, "the code cannot be read"})
		return
	}
	token, err := g.pairings.pair(c.origin, string(code), time.Now())
	if errors.Is(err, ErrPairing) {
		g.fail(w, &refusal{http.StatusForbidden, err.Error()})
		return
	}
	if err != nil {
		g.fail(w, &refusal{http.StatusInternalServerError, err.Error()})
		return
	}
	g.log.Info("a web page was paired", "origin", c.origin)
	c.allowPage(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token}) // the page went away
}
