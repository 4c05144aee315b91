package signedurl

import (
	"crypto/ed25519"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
}

func verifier(keys ...ed25519.PrivateKey) *Verifier {
	v := &Verifier{}
	for _, k := range keys {
		v.Keys = append(v.Keys, k.Public().(ed25519.PublicKey))
	}
	return v
}

func parseURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestSignedURL(t *testing.T) {
	for _, s := range []string{
		"https://cdn.example/a/b.iso", "http://127.0.0.1:8080/%C3%A4%20b?x=1&y=%26", "https://cdn.example/?", "https://cdn.example/a?x#frag",
	} {
		signed, err := Sign(parseURL(t, s), testKey(1), now.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		// What arrives at a server has been through one more parse.
		plain, err := verifier(testKey(0), testKey(1)).Verify(parseURL(t, signed.String()), now)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		want, _, _ := strings.Cut(s, "#")
		if plain.String() != strings.TrimSuffix(want, "?") {
			t.Errorf("%s: without its token it is %s", s, plain)
		}
		again, err := Sign(signed, testKey(1), now.Add(time.Hour))
		if err != nil || again.String() != signed.String() {
			t.Errorf("%s: signed twice: %v, %v", s, again, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	const base = "https://cdn.example/a?x=1"
	token := func(c jwt.MapClaims) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c).SignedString(testKey(1))
		if err != nil {
			t.Fatal(err)
		}
		return base + "&" + Param + "=" + s
	}
	exp := now.Add(time.Hour).Unix()
	uc := hashForm + hashOf(base)
	good := token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "cdniv": 1, "iss": "me", "jti": "x"})
	hs, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": exp, "cdniuc": uc}).SignedString([]byte(testKey(1).Public().(ed25519.PublicKey)))
	if err != nil {
		t.Fatal(err)
	}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"exp": exp, "cdniuc": uc}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	sep := "&" + Param + "="
	for name, c := range map[string]struct {
		url  string
		want error
	}{
		"good":           {good, nil},
		"unsigned":       {base, ErrUnsigned},
		"empty token":    {base + sep, ErrUnsigned},
		"two tokens":     {good + sep + "x", ErrUnsigned},
		"garbage":        {base + sep + "x.y.z", ErrMalformed},
		"cut":            {good[:len(good)-4], ErrMalformed},
		"other path":     {strings.Replace(good, "/a?", "/b?", 1), ErrOtherURL},
		"other query":    {strings.Replace(good, "x=1", "x=2", 1), ErrOtherURL},
		"more query":     {good + "&y=2", ErrOtherURL},
		"other host":     {strings.Replace(good, "cdn.", "evil.", 1), ErrOtherURL},
		"other scheme":   {strings.Replace(good, "https", "http", 1), ErrOtherURL},
		"expired":        {token(jwt.MapClaims{"exp": now.Add(-time.Minute).Unix(), "cdniuc": uc}), ErrExpired},
		"no expiry":      {token(jwt.MapClaims{"cdniuc": uc}), ErrMalformed},
		"not yet":        {token(jwt.MapClaims{"exp": exp, "nbf": now.Add(time.Minute).Unix(), "cdniuc": uc}), ErrNotYet},
		"already":        {token(jwt.MapClaims{"exp": exp, "nbf": now.Add(-time.Minute).Unix(), "cdniuc": uc}), nil},
		"no container":   {token(jwt.MapClaims{"exp": exp}), ErrMalformed},
		"odd container":  {token(jwt.MapClaims{"exp": exp, "cdniuc": "uri:" + base}), ErrMalformed},
		"client address": {token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "cdniip": "192.0.2.0/24"}), ErrMalformed},
		"renewal":        {token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "cdnistt": 1, "cdniets": 60}), ErrMalformed},
		"subject":        {token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "sub": "jwe"}), ErrMalformed},
		"version 2":      {token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "cdniv": 2}), ErrMalformed},
		"critical":       {token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "cdnicrit": "new"}), ErrMalformed},
		"audience":       {token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "aud": "edge-2"}), ErrOtherURL},
		"our audience":   {token(jwt.MapClaims{"exp": exp, "cdniuc": uc, "aud": []string{"edge-2", "edge-1"}}), nil},
		"HMAC by key":    {base + sep + hs, ErrMalformed},
		"no algorithm":   {base + sep + none, ErrMalformed},
	} {
		v := verifier(testKey(1))
		v.Audience = "edge-1"
		if _, err := v.Verify(parseURL(t, c.url), now); !errors.Is(err, c.want) {
			t.Errorf("%s: error is %v, want %v", name, err, c.want)
		}
	}
	if _, err := verifier(testKey(2)).Verify(parseURL(t, good), now); !errors.Is(err, ErrMalformed) {
		t.Errorf("another key: %v", err)
	}
	if _, err := (&Verifier{}).Verify(parseURL(t, good), now); !errors.Is(err, ErrMalformed) {
		t.Errorf("no key: %v", err)
	}
}

func TestPattern(t *testing.T) {
	token, err := SignPattern(`https?://cdn\.example/show/[a-z0-9]+\.m4s|https://cdn\.example/x`, testKey(1), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(testKey(1))
	for s, want := range map[string]error{
		"https://cdn.example/show/seg1.m4s":                      nil,
		"http://cdn.example/show/seg1.m4s":                       nil,
		"https://cdn.example/x":                                  nil,
		"https://cdn.example/xy":                                 ErrOtherURL,
		"https://cdn.example/show/seg1.m4s?q=1":                  ErrOtherURL,
		"https://evil.example/?u=https://cdn.example/show/a.m4s": ErrOtherURL,
	} {
		if _, err := v.Verify(Attach(parseURL(t, s), token), now); !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", s, err, want)
		}
	}
	for _, bad := range []string{"", "(", "a)|(.*", strings.Repeat("a", maxPattern+1)} {
		if _, err := SignPattern(bad, testKey(1), now); err == nil {
			t.Errorf("pattern %.20q: no error", bad)
		}
	}
}

func TestStrip(t *testing.T) {
	for query, want := range map[string][2]string{
		"":                                {"", ""},
		"a=1&b":                           {"a=1&b", ""},
		Param + "=t":                      {"", "t"},
		"a=1&" + Param + "=t&b=%20&&c":    {"a=1&b=%20&&c", "t"},
		Param + "=t&" + Param + "=u&x":    {"x", ""},
		"x" + Param + "=t":                {"x" + Param + "=t", ""},
		strings.ToLower(Param) + "=t&y=1": {strings.ToLower(Param) + "=t&y=1", ""},
	} {
		rest, token := Strip(query)
		if rest != want[0] || token != want[1] {
			t.Errorf("%q: %q, %q", query, rest, token)
		}
	}
}

func FuzzVerify(f *testing.F) {
	u, err := Sign(&url.URL{Scheme: "https", Host: "cdn.example", Path: "/a", RawQuery: "x=1"}, testKey(1), now.Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	token, err := SignPattern(".*", testKey(1), now.Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(u.String())
	f.Add("https://cdn.example/?" + Param + "=" + token)
	f.Add("https://cdn.example/?" + Param + "=a.b.c")
	f.Add("/relative?" + Param)
	_, genuine := Strip(u.RawQuery)
	v := verifier(testKey(1))
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		plain, err := v.Verify(u, now)
		if err != nil {
			return
		}
		if _, tok := Strip(u.RawQuery); tok != genuine && tok != token {
			t.Fatalf("forged token %q", tok)
		}
		if rest, tok := Strip(plain.RawQuery); tok != "" || rest != plain.RawQuery {
			t.Fatalf("token left in %s", plain)
		}
	})
}
