package grant

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/manifest/vectortest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// start is when the grants of these tests are made.
var start = time.Unix(1_800_000_000, 0)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func keyOf(seed byte) wire.Key { return wire.KeyOf(public(key(seed))) }

func object(b byte) manifest.ObjectID {
	return manifest.ObjectID(bytes.Repeat([]byte{b}, manifest.HashSize))
}

func claims() Claims {
	return Claims{Object: object(0x0b), Key: keyOf(9), Policy: wire.Policy{P2P: wire.P2POn}, Expires: start.Add(TTL)}
}

func sign(t testing.TB, c Claims, k ed25519.PrivateKey) string {
	t.Helper()
	s, err := Sign(c, k, start)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := key(rapid.Byte().Draw(rt, "signer"))
		c := Claims{
			Object:  object(rapid.Byte().Draw(rt, "object")),
			Key:     keyOf(rapid.Byte().Draw(rt, "holder")),
			Policy:  wire.Policy{P2P: rapid.SampledFrom([]wire.P2P{"", wire.P2POn, wire.P2PLAN, wire.P2PSameCountry, wire.P2POff}).Draw(rt, "policy")},
			Expires: start.Add(time.Duration(rapid.IntRange(1, 7200).Draw(rt, "seconds")) * time.Second),
		}
		if rapid.Bool().Draw(rt, "for another publisher") {
			c.Publisher = keyOf(rapid.Byte().Draw(rt, "publisher"))
		}
		got, err := Parse(sign(t, c, k), start)
		if err != nil {
			rt.Fatal(err)
		}
		want := c
		want.Signer = wire.KeyOf(public(k))
		if want.Publisher == (wire.Key{}) {
			want.Publisher = want.Signer
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestTimes(t *testing.T) {
	token := sign(t, claims(), key(1))
	for _, c := range []struct {
		name string
		at   time.Duration // after start
		want error
	}{
		{"at once", 0, nil},
		{"by a clock that is behind", -time.Hour, nil},
		{"at its end", TTL, nil},
		{"within the leeway", TTL + Leeway - time.Second, nil},
		{"after the leeway", TTL + Leeway + time.Second, ErrExpired},
		{"long after", 1000 * TTL, ErrExpired},
	} {
		if _, err := Parse(token, start.Add(c.at)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	c, err := Parse(sign(t, claims(), key(1)), start)
	if err != nil {
		t.Fatal(err)
	}
	one, two := public(key(1)), public(key(2))
	for _, v := range []struct {
		name    string
		object  manifest.ObjectID
		holder  wire.Key
		trusted []ed25519.PublicKey
		want    error
	}{
		{"good", object(0x0b), keyOf(9), []ed25519.PublicKey{two, one}, nil},
		{"another object", object(0x0c), keyOf(9), []ed25519.PublicKey{one}, ErrMismatch},
		{"another holder", object(0x0b), keyOf(8), []ed25519.PublicKey{one}, ErrMismatch},
		{"another signer", object(0x0b), keyOf(9), []ed25519.PublicKey{two}, ErrUntrusted},
		{"nobody trusted", object(0x0b), keyOf(9), nil, ErrUntrusted},
	} {
		if err := c.Check(v.object, v.holder, v.trusted); !errors.Is(err, v.want) {
			t.Errorf("%s: %v, want %v", v.name, err, v.want)
		}
	}
}

// forge puts a token together from parts and signs it, which Sign would refuse
// to do or not think of.
func forge(header, payload map[string]any, k ed25519.PrivateKey) string {
	enc := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	s := enc(header) + "." + enc(payload)
	return s + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(k, []byte(s)))
}

func header(k ed25519.PrivateKey) map[string]any {
	return map[string]any{"alg": "EdDSA", "typ": "JWT", "jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": wire.KeyOf(public(k)).String()}}
}

func payload() map[string]any {
	return map[string]any{
		"obj": object(0x0b).String(), "sub": keyOf(9).String(), "pol": map[string]any{"p2p": "on"},
		"iat": start.Unix(), "exp": start.Add(TTL).Unix(),
	}
}

func with(m map[string]any, k string, v any) map[string]any {
	if v == nil {
		delete(m, k)
	} else {
		m[k] = v
	}
	return m
}

type badGrant struct {
	Name   string `json:"name"`
	Token  string `json:"token"`
	Reason string `json:"reason"`
}

func badGrants(t testing.TB) []badGrant {
	k := key(1)
	good := sign(t, claims(), k)
	parts := strings.Split(good, ".")
	other := strings.Split(sign(t, Claims{Object: object(0x0c), Key: keyOf(9), Expires: start.Add(TTL)}, k), ".")
	jwk := func(kty, crv, x string) map[string]any {
		return with(header(k), "jwk", map[string]any{"kty": kty, "crv": crv, "x": x})
	}
	x := wire.KeyOf(public(k)).String()
	return []badGrant{
		{"nothing", "", "a grant is a JWT in compact form"},
		{"one part", parts[0], "a JWT has three parts"},
		{"four parts", good + ".e30", "a JWT has three parts"},
		{"padded", good + "=", "base64url without padding"},
		{"line end", good + "\n", "base64url has no line ends"},
		{"over the limit", forge(header(k), with(payload(), "more", strings.Repeat("x", wire.MaxGrant)), k), "grants have at most 4096 bytes"},
		{"payload of another", parts[0] + "." + other[1] + "." + parts[2], "the signature is wrong"},
		{"signature cut", good[:len(good)-4], "the signature is wrong"},
		{"no signature", parts[0] + "." + parts[1] + ".", "the signature is missing"},
		{"signed by another key", forge(header(k), payload(), key(2)), "the signature is by the key in the header"},
		{"algorithm none", forge(with(header(k), "alg", "none"), payload(), k), "the algorithm is EdDSA"},
		{"algorithm HS256", forge(with(header(k), "alg", "HS256"), payload(), k), "the algorithm is EdDSA"},
		{"no algorithm", forge(with(header(k), "alg", nil), payload(), k), "the algorithm is EdDSA"},
		{"critical extension", forge(with(header(k), "crit", []string{"x"}), payload(), k), "extensions that are critical are not known"},
		{"no key", forge(with(header(k), "jwk", nil), payload(), k), "the header has the signer's key"},
		{"key of another kind", forge(jwk("EC", "Ed25519", x), payload(), k), "the key is kty OKP"},
		{"key on another curve", forge(jwk("OKP", "X25519", x), payload(), k), "the key is crv Ed25519"},
		{"key too short", forge(jwk("OKP", "Ed25519", x[:42]), payload(), k), "a key has 32 bytes"},
		{"key padded", forge(jwk("OKP", "Ed25519", x+"="), payload(), k), "base64url without padding"},
		{"no end", forge(header(k), with(payload(), "exp", nil), k), "exp is required"},
		{"end is text", forge(header(k), with(payload(), "exp", "tomorrow"), k), "exp is a number"},
		{"expired", forge(header(k), with(payload(), "exp", start.Add(-Leeway-time.Second).Unix()), k), "it has expired"},
		{"not yet", forge(header(k), with(payload(), "nbf", start.Add(Leeway+time.Minute).Unix()), k), "it is not valid yet"},
		{"no object", forge(header(k), with(payload(), "obj", nil), k), "obj is required"},
		{"object ID cut", forge(header(k), with(payload(), "obj", "0b0b"), k), "an Object ID has 64 hexadecimal digits"},
		{"no holder", forge(header(k), with(payload(), "sub", nil), k), "sub is required"},
		{"holder is no key", forge(header(k), with(payload(), "sub", "somebody"), k), "sub is a key in base64url"},
		{"publisher is no key", forge(header(k), with(payload(), "pub", "somebody"), k), "pub is a key in base64url"},
	}
}

type vector struct {
	Name      string      `json:"name"`
	Seed      string      `json:"seed"`
	Token     string      `json:"token"`
	Object    string      `json:"object"`
	Key       wire.Key    `json:"key"`
	Policy    wire.Policy `json:"policy"`
	Publisher wire.Key    `json:"publisher"`
	Signer    wire.Key    `json:"signer"`
	Expires   int64       `json:"expires"`
}

type file struct {
	About  string     `json:"about"`
	Now    int64      `json:"now"`
	Valid  []vector   `json:"valid"`
	Reject []badGrant `json:"reject"`
}

func valid(t testing.TB) []vector {
	forAnother := claims()
	forAnother.Publisher = keyOf(2)
	noPolicy := claims()
	noPolicy.Policy = wire.Policy{}
	out := []vector{
		{Name: "by the publisher", Token: sign(t, claims(), key(1))},
		{Name: "by control for a publisher", Token: sign(t, forAnother, key(1))},
		{Name: "without policy", Token: sign(t, noPolicy, key(1))},
		{Name: "with claims to come", Token: forge(header(key(1)), with(payload(), "more", 1), key(1))},
	}
	for i := range out {
		c, err := Parse(out[i].Token, start)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = vector{
			Name: out[i].Name, Token: out[i].Token, Seed: strings.Repeat("01", 32), Object: c.Object.String(), Key: c.Key,
			Policy: c.Policy, Publisher: c.Publisher, Signer: c.Signer, Expires: c.Expires.Unix(),
		}
	}
	return out
}

func TestVectors(t *testing.T) {
	got := vectortest.Check(t, "grant.json", file{
		About: "Grants, checked at the time now (Unix seconds). seed is the signer's private key (RFC 8032), in hexadecimal.",
		Now:   start.Unix(), Valid: valid(t), Reject: badGrants(t),
	})
	now := time.Unix(got.Now, 0)
	for _, v := range got.Valid {
		c, err := Parse(v.Token, now)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		back := vector{
			Name: v.Name, Seed: v.Seed, Token: v.Token, Object: c.Object.String(), Key: c.Key,
			Policy: c.Policy, Publisher: c.Publisher, Signer: c.Signer, Expires: c.Expires.Unix(),
		}
		if diff := cmp.Diff(v, back); diff != "" {
			t.Errorf("%s: %s", v.Name, diff)
		}
	}
	for _, v := range got.Reject {
		c, err := Parse(v.Token, now)
		if err == nil {
			t.Errorf("%s was read as %+v: %s", v.Name, c, v.Reason)
		} else if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrExpired) {
			t.Errorf("%s: %v has no kind", v.Name, err)
		}
	}
}

// The errors tell an expired grant, which is replaced, from a bad one.
func TestErrorKinds(t *testing.T) {
	for _, v := range badGrants(t) {
		_, err := Parse(v.Token, start)
		if got, want := errors.Is(err, ErrExpired), v.Name == "expired"; got != want {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	// One that is expired and forged is forged.
	forged := forge(header(key(1)), with(payload(), "exp", 1), key(2))
	if _, err := Parse(forged, start); errors.Is(err, ErrExpired) || !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func FuzzGrant(f *testing.F) {
	for _, v := range valid(f) {
		f.Add(v.Token)
	}
	for _, v := range badGrants(f) {
		f.Add(v.Token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := Parse(token, start)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrExpired) {
				t.Fatalf("%v has no kind", err)
			}
			return
		}
		// Only the holder of the key can have made it, and that is key(1).
		if c.Signer != keyOf(1) {
			t.Skip("somebody else's grant")
		}
		again := sign(t, *c, key(1))
		c2, err := Parse(again, start)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, c2); diff != "" {
			t.Fatal(diff)
		}
	})
}
