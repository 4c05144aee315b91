package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/keyfile"
)

const (
	// codeValid is how long a pairing code may be used, codeTries how often it may be
	// missed before it is void.
	codeValid = 5 * time.Minute
	codeTries = 5
	// maxPairings bounds the list, maxOrigin the length of an origin.
	maxPairings = 100
	maxOrigin   = 300
)

// ErrPairing says that a page's code is not the one that was given out.
var ErrPairing = errors.New("no such pairing code, or it has been used or has expired; get a new one with: tandem pair")

// Pairing is a web page's origin that may use the gateway.
type Pairing struct {
	Origin string    `json:"origin"`
	Since  time.Time `json:"since"`
	Token  string    `json:"token_sha256"` // hexadecimal, of the token: the page alone has that
}

// Pairings are the origins (RFC 6454) whose pages may use the gateway, kept in a file,
// and the code with which the next one is let in.
type Pairings struct {
	path string

	mu    sync.Mutex
	list  []Pairing
	code  string // "": none is out
	until time.Time
	tries int
}

// OpenPairings reads the file, which need not be there yet.
func OpenPairings(path string) (*Pairings, error) {
	p := &Pairings{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p.list)
	}
	if err != nil {
		return nil, fmt.Errorf("paired pages in %s: %w", path, err)
	}
	return p, nil
}

// NewCode makes the code for one page, and voids the one before.
func (p *Pairings) NewCode(now time.Time) (code string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := rand.Text()
	p.code, p.until, p.tries = text[:4]+"-"+text[4:8]+"-"+text[8:12], now.Add(codeValid), codeTries
	return p.code, p.until
}

// awaits reports whether a code is out.
func (p *Pairings) awaits(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.code != "" && now.Before(p.until)
}

// pair gives the pages of an origin the token by which they are known from now on.
func (p *Pairings) pair(origin, code string, now time.Time) (token string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.code == "" || !now.Before(p.until) {
		return "", ErrPairing
	}
	if subtle.ConstantTimeCompare([]byte(strings.ToUpper(strings.TrimSpace(code))), []byte(p.code)) != 1 {
		if p.tries--; p.tries == 0 {
			p.code = ""
		}
		return "", ErrPairing
	}
	p.code = ""
	token = rand.Text()
	list := slices.DeleteFunc(slices.Clone(p.list), func(q Pairing) bool { return q.Origin == origin })
	if len(list) >= maxPairings {
		return "", fmt.Errorf("%d pages are paired, which is the limit: remove one with: tandem pair --revoke ORIGIN", len(list))
	}
	return token, p.save(append(list, Pairing{Origin: origin, Since: now, Token: hash(token)}))
}

// save makes list the list. p.mu is held.
func (p *Pairings) save(list []Pairing) error {
	b, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = keyfile.Replace(p.path, b)
	}
	if err != nil {
		return fmt.Errorf("paired pages: %w", err)
	}
	p.list = list
	return nil
}

// List returns who is paired.
func (p *Pairings) List() []Pairing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// Revoke ends a pairing; it reports whether there was one.
func (p *Pairings) Revoke(origin string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(p.list), func(q Pairing) bool { return q.Origin == origin })
	if len(list) == len(p.list) {
		return false, nil
	}
	return true, p.save(list)
}

// known reports whether an origin is paired.
func (p *Pairings) known(origin string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.list, func(q Pairing) bool { return q.Origin == origin })
}

// allows reports whether a page of an origin has shown its token.
func (p *Pairings) allows(origin, token string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := hash(token)
	return slices.ContainsFunc(p.list, func(q Pairing) bool {
		return q.Origin == origin && subtle.ConstantTimeCompare([]byte(q.Token), []byte(want)) == 1
	})
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// isOrigin reports whether s is the origin of a web page as browsers write it. That of
// sandboxed pages and of files, "null", is everybody's and can be nobody's.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxOrigin && (u.Scheme == "https" || u.Scheme == "http") &&
		u.Host != "" && s == u.Scheme+"://"+u.Host
}
