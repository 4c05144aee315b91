package agentapi

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/gateway"
	"github.com/tandem-cdn/tandem/internal/keyfile"
	"github.com/tandem-cdn/tandem/internal/serving"
)

const (
	// discoveryFile tells commands where the agent listens.
	discoveryFile = "agent.json"
	// maxRequest bounds the body of a request, in bytes.
	maxRequest = 64 << 10
	// progressEvery is how often a download's progress is told.
	progressEvery = 200 * time.Millisecond
	// closeWithin is how long the answers under way may take at the end.
	closeWithin = 3 * time.Second
)

// ErrRunning says that the data directory has an agent already.
var ErrRunning = errors.New("an agent is running already")

// Config is what a Server needs.
type Config struct {
	// Data is the agent's data directory.
	Data string
	// Listen is a loopback address.
	Listen string
	// Engine does the work. The server does not close it.
	Engine *agent.Engine
	// Gateway is told of, and pairs web pages; nil where there is none.
	Gateway *gateway.Gateway
	// Info is what Status says of the agent's settings.
	Info Status
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

// Server is the running agent's side.
type Server struct {
	cfg      Config
	log      *slog.Logger
	ln       net.Listener
	token    string
	transfer *transfers
}

// discovery is the content of agent.json.
type discovery struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	PID   int    `json:"pid"`
}

// NewServer listens and shares again what earlier runs have fetched. It fails
// with ErrRunning when another agent uses the data directory.
func NewServer(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := config.Loopback(cfg.Listen); err != nil {
		return nil, errorf("%w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w: %w", agent.ErrDisk, err)
	}
	if c, err := Dial(ctx, cfg.Data); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", cfg.Data, ErrRunning)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, errorf("%w", err)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, ln: ln, token: rand.Text(),
		transfer: newTransfers(cfg.Engine, filepath.Join(cfg.Data, "seeds.json"), cfg.Logger),
	}
	if err := s.announce(); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return s, nil
}

func (s *Server) path() string { return filepath.Join(s.cfg.Data, discoveryFile) }

func (s *Server) announce() error {
	b, err := json.Marshal(discovery{URL: s.URL(), Token: s.token, PID: os.Getpid()})
	if err != nil {
		return errorf("%w", err)
	}
	return keyfile.Replace(s.path(), b)
}

// URL is where the API is.
func (s *Server) URL() string { return "http://" + s.ln.Addr().String() }

// Run shares and serves until ctx ends, then stops the downloads, which stay
// resumable, and the sharing.
func (s *Server) Run(ctx context.Context) error {
	defer os.Remove(s.path())
	s.transfer.life = ctx
	s.transfer.restore()
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	err := serving.Until(ctx, srv, s.ln, closeWithin)
	if err != nil {
		err = errorf("%w", err)
	}
	return errors.Join(err, s.transfer.close())
}

// Handler is the API behind its guards.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("POST /v1/downloads", s.download)
	mux.HandleFunc("/v1/pairings", s.pairings)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, why := s.refuse(r); status != 0 {
			http.Error(w, why, status)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// refuse finds what is wrong with a request that a web page may have caused.
func (s *Server) refuse(r *http.Request) (status int, why string) {
	host, port, err := net.SplitHostPort(r.Host)
	_, own, _ := net.SplitHostPort(s.ln.Addr().String())
	ip, ipErr := netip.ParseAddr(host)
	if err != nil || port != own || host != "localhost" && (ipErr != nil || !ip.IsLoopback()) {
		return http.StatusMisdirectedRequest, "unknown host"
	}
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return http.StatusForbidden, "not for web pages"
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
		return http.StatusUnauthorized, "the token is in " + discoveryFile + " of the agent's data directory"
	}
	return 0, ""
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	st := s.cfg.Info
	st.PID = os.Getpid()
	st.Month, st.Days, st.Shared = s.cfg.Engine.Shared()
	if st.Upload {
		st.Paused = s.cfg.Engine.Paused()
		st.Host = s.cfg.Engine.HostState()
	}
	st.PortMapping = s.cfg.Engine.PortMapping()
	st.Downloads, st.Seeds = s.transfer.list()
	for _, t := range st.Seeds {
		st.Uploaded += t.Uploaded
	}
	for _, t := range st.Downloads {
		st.Uploaded += t.Uploaded
	}
	if g := s.cfg.Gateway; g != nil {
		t := g.Traffic()
		st.Gateway = &t
	}
	answer(w, st)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client went away
}

// pairings makes codes for web pages, lists the pages that are paired and ends pairings.
func (s *Server) pairings(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Gateway == nil {
		http.Error(w, "this agent has no gateway: start it with --gateway 127.0.0.1:7777", http.StatusNotFound)
		return
	}
	p := s.cfg.Gateway.Pairings()
	switch r.Method {
	case http.MethodPost:
		code, until := p.NewCode(time.Now())
		answer(w, PairingCode{code, until, s.cfg.Gateway.Traffic().URL})
	case http.MethodGet:
		answer(w, p.List())
	case http.MethodDelete:
		origin := r.URL.Query().Get("origin")
		was, err := p.Revoke(origin)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case !was:
			http.Error(w, "not paired: "+strconv.Quote(origin), http.StatusNotFound)
		default:
			answer(w, p.List())
		}
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		http.Error(w, "GET, POST or DELETE", http.StatusMethodNotAllowed)
	}
}

func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	var req Request
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		http.Error(w, "request: "+err.Error(), http.StatusBadRequest)
		return
	}
	if !filepath.IsAbs(req.File) || slices.ContainsFunc(req.From, func(name string) bool { return !filepath.IsAbs(name) }) {
		http.Error(w, "request: files must be absolute paths", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	send := func(e Event) {
		// When the client is gone, the request's context ends the download.
		_ = enc.Encode(e)
		_ = flush.Flush()
	}
	result, err := s.transfer.run(r.Context(), req, func(t Transfer) { send(Event{Progress: &t}) })
	if err != nil {
		send(Event{Error: failure(err)})
		return
	}
	t := finished(result)
	send(Event{Result: &t})
}
