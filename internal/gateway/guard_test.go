package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const page = "https://page.example"

// post sends a code as a page does.
func post(t *testing.T, d *door, origin, code string) (head, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.Addr()+pairPath, strings.NewReader(code))
	if err != nil {
		t.Fatal(err)
	}
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return head{resp.Status, resp.StatusCode, resp.Header, resp.ContentLength}, string(b)
}

// A web page must not use the gateway: not from its own origin, not by a name that it
// rebinds to this machine, not with somebody else's token.
func TestRefusesWebPages(t *testing.T) {
	s := newSite(t, map[string][]byte{"x": []byte("content")})
	d := open(t, Config{}, s.host())
	_, port, _ := net.SplitHostPort(d.Addr())
	code, _ := d.Pairings().NewCode(time.Now())
	resp, body := post(t, d, page, code)
	var paired struct{ Token string }
	if err := json.Unmarshal([]byte(body), &paired); err != nil || resp.StatusCode != 200 || paired.Token == "" || resp.Header.Get("Access-Control-Allow-Origin") != page {
		t.Fatalf("pairing: %s %s %v", resp.Status, body, err)
	}
	path := "/http/" + s.host() + "/x"
	of := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	for _, c := range []struct {
		name   string
		path   string
		header http.Header
		want   int
	}{
		{"program", path, nil, 200},
		{"localhost", path, of("Host", "localhost:"+port), 200},
		{"IPv6", path, of("Host", "[::1]:"+port), 200},
		{"address bar", path, of("Sec-Fetch-Site", "none"), 200},
		{"rebound name", path, of("Host", "attacker.example:"+port), 421},
		{"name like an address", path, of("Host", "127.0.0.1.attacker.example:"+port), 421},
		{"name like localhost", path, of("Host", "localhost.attacker.example:"+port), 421},
		{"another machine's address", path, of("Host", "192.168.1.1:"+port), 421},
		{"any address", path, of("Host", "0.0.0.0:"+port), 421},
		{"another port", path, of("Host", "127.0.0.1:1"), 421},
		{"no port", path, of("Host", "127.0.0.1"), 421},
		{"page", path, of("Origin", "https://attacker.example"), 403},
		{"gateway's own page", path, of("Origin", "http://"+d.Addr()), 403},
		{"null origin", path, of("Origin", "null"), 403},
		{"image tag", path, of("Sec-Fetch-Site", "cross-site"), 403},
		{"image tag of the same site", path, of("Sec-Fetch-Site", "same-site"), 403},
		{"publisher's page on the gateway", path, of("Sec-Fetch-Site", "same-origin"), 403},
		{"paired page", path, of("Origin", page, tokenField, paired.Token, "Sec-Fetch-Site", "cross-site"), 200},
		{"paired page, token in the path", "/~" + paired.Token + path, of("Origin", page), 200},
		{"paired page without token", path, of("Origin", page), 403},
		{"paired page, wrong token", path, of("Origin", page, tokenField, "x"), 403},
		{"empty token in the path", "/~" + path, of("Origin", page), 403},
		{"token of another page", path, of("Origin", "https://attacker.example", tokenField, paired.Token), 403},
		{"origin like the page's", path, of("Origin", page+":8443", tokenField, paired.Token), 403},
		{"image tag with the token", "/~" + paired.Token + path, of("Sec-Fetch-Site", "cross-site"), 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				resp, body := do(t, method, "http://"+d.Addr()+c.path, c.header)
				if resp.StatusCode != c.want {
					t.Errorf("%s: %s %s, want %d", method, resp.Status, body, c.want)
				}
				allowed := resp.Header.Get("Access-Control-Allow-Origin")
				if want := c.header.Get("Origin"); c.want == 200 && allowed != want || c.want != 200 && allowed != "" {
					t.Errorf("%s: pages of %q may read it", method, allowed)
				}
				// Nothing that a publisher sends acts as the gateway's page, or is taken in by others.
				if h := resp.Header; h.Get("Content-Security-Policy") != "sandbox" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
					t.Errorf("%s: not protected: %v", method, h)
				}
			}
		})
	}
	if was, err := d.Pairings().Revoke(page); !was || err != nil {
		t.Errorf("revoke: %v, %v", was, err)
	}
	if resp, _ := do(t, http.MethodGet, "http://"+d.Addr()+path, of("Origin", page, tokenField, paired.Token)); resp.StatusCode != 403 {
		t.Errorf("after the pairing has ended: %s", resp.Status)
	}
}

// Preflights are answered for paired pages, and for one that is about to be.
func TestPreflight(t *testing.T) {
	d := open(t, Config{}, "h")
	ask := func(path, origin string) head {
		t.Helper()
		resp, _ := do(t, http.MethodOptions, "http://"+d.Addr()+path, http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Private-Network": {"true"},
		})
		if h := resp.Header; (resp.StatusCode == 204) != (h.Get("Access-Control-Allow-Private-Network") == "true") || (resp.StatusCode == 204) != (h.Get("Access-Control-Allow-Origin") == origin) {
			t.Errorf("%s for %s: %s, %v", path, origin, resp.Status, h)
		}
		return resp
	}
	if resp := ask("/http/h/x", page); resp.StatusCode != 403 {
		t.Errorf("a stranger: %s", resp.Status)
	}
	if resp := ask(pairPath, page); resp.StatusCode != 403 {
		t.Errorf("pairing while no code is out: %s", resp.Status)
	}
	code, _ := d.Pairings().NewCode(time.Now())
	if resp := ask(pairPath, page); resp.StatusCode != 204 {
		t.Errorf("pairing: %s", resp.Status)
	}
	if resp := ask("/http/h/x", page); resp.StatusCode != 403 {
		t.Errorf("a stranger while a code is out: %s", resp.Status)
	}
	if resp, body := post(t, d, page, code); resp.StatusCode != 200 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	if resp := ask("/http/h/x", page); resp.StatusCode != 204 || !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Range") {
		t.Errorf("a paired page: %s", resp.Status)
	}
	if resp := ask("/http/h/x", "https://attacker.example"); resp.StatusCode != 403 {
		t.Errorf("another page: %s", resp.Status)
	}
}

// A code is good for one page, once, for a while and a few tries.
func TestPairing(t *testing.T) {
	d := open(t, Config{}, "h")
	refused := func(origin, code string) {
		t.Helper()
		if resp, body := post(t, d, origin, code); resp.StatusCode != 403 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q with %q: %s %s", origin, code, resp.Status, body)
		}
	}
	refused(page, "")
	refused(page, "AAAA-AAAA-AAAA")
	code, _ := d.Pairings().NewCode(time.Now())
	for _, origin := range []string{"", "null", "file://", "https://", "page.example", page + "/", page + "/x", "https://u@page.example", "ftp://page.example"} {
		refused(origin, code)
	}
	if resp, body := post(t, d, page, " "+strings.ToLower(code)+"\n"); resp.StatusCode != 200 {
		t.Errorf("%s %s", resp.Status, body)
	}
	refused(page, code) // once
	code, _ = d.Pairings().NewCode(time.Now())
	for range codeTries {
		refused(page, "AAAA-AAAA-AAAA")
	}
	refused(page, code)
	first, _ := d.Pairings().NewCode(time.Now())
	d.Pairings().NewCode(time.Now())
	refused(page, first)
}

func TestPairingsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "paired.json")
	synctest.Test(t, func(t *testing.T) {
		p, err := OpenPairings(path)
		if err != nil {
			t.Fatal(err)
		}
		code, until := p.NewCode(time.Now())
		<-time.After(time.Until(until))
		if _, err := p.pair(page, code, time.Now()); !errors.Is(err, ErrPairing) || p.awaits(time.Now()) {
			t.Errorf("after its time: %v", err)
		}
		code, _ = p.NewCode(time.Now())
		token, err := p.pair(page, code, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		again, err := OpenPairings(path)
		if err != nil || !again.allows(page, token) || again.allows(page, token+"x") || again.allows("https://else.example", token) || len(again.List()) != 1 {
			t.Errorf("read again: %v, %v", again.List(), err)
		}
		if strings.Contains(again.List()[0].Token, token) {
			t.Error("the token itself is kept")
		}
		// A page that pairs itself once more has a new token.
		code, _ = again.NewCode(time.Now())
		next, err := again.pair(page, code, time.Now())
		if err != nil || again.allows(page, token) || !again.allows(page, next) || len(again.List()) != 1 {
			t.Errorf("paired again: %v, %v", again.List(), err)
		}
		if was, err := again.Revoke("https://else.example"); was || err != nil {
			t.Errorf("revoke: %v, %v", was, err)
		}
	})
}
