package session

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/wire"
)

func serve(t *testing.T, body string, status int) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestFetchWellKnown(t *testing.T) {
	srv := serve(t, `{"version":1,"control":["/c/v1/session","https://control.example/v1/session","wss://b.example/"],
		"grants":"grants","manifests":"/sidecar{path}.tdm","mirrors":["//m.example/","https://n.example"]}`, 200)
	w, err := FetchWellKnown(t.Context(), srv.Client(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(srv.URL, "http://")
	want := &wire.WellKnown{
		Version:   1,
		Control:   []string{"ws://" + host + "/c/v1/session", "wss://control.example/v1/session", "wss://b.example/"},
		Grants:    srv.URL + "/.well-known/grants",
		Manifests: srv.URL + "/sidecar{path}.tdm",
		Mirrors:   []string{"http://m.example/", "https://n.example"},
	}
	if d := cmp.Diff(want, w); d != "" {
		t.Error(d)
	}
}

func TestFetchWellKnownErrors(t *testing.T) {
	for name, x := range map[string]struct {
		body   string
		status int
	}{
		"absent":    {"not found", 404},
		"no JSON":   {"<html>", 200},
		"version":   {`{"version":7}`, 200},
		"huge":      {`{"version":1,"grants":"` + strings.Repeat("x", wire.MaxWellKnown) + `"}`, 200},
		"scheme":    {`{"version":1,"control":["javascript:alert(1)"]}`, 200},
		"file":      {`{"version":1,"grants":"file:///etc/passwd"}`, 200},
		"no host":   {`{"version":1,"mirrors":["http:opaque"]}`, 200},
		"no URL":    {`{"version":1,"manifests":"http://[::1"}`, 200},
		"templates": {`{"version":1,"manifests":"data:{path}"}`, 200},
	} {
		srv := serve(t, x.body, x.status)
		if w, err := FetchWellKnown(t.Context(), srv.Client(), srv.URL); err == nil {
			t.Errorf("%s: %+v", name, w)
		}
	}
	// Nobody is led from a secure host to a document anyone may have written.
	plain := serve(t, `{"version":1}`, 200)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	if _, err := FetchWellKnown(t.Context(), secure.Client(), secure.URL); err == nil || !strings.Contains(err.Error(), "not secure") {
		t.Errorf("downgrade: %v", err)
	}
}

func TestFetchGrant(t *testing.T) {
	req := wire.GrantRequest{Object: strings.Repeat("0", 64), URL: "https://host/file"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got wire.GrantRequest
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || cmp.Diff(req, got) != "" || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(400)
		}
		fmt.Fprint(w, `{"grant":"a.b.c","expires":7}`)
	}))
	defer srv.Close()
	g, err := FetchGrant(t.Context(), srv.Client(), srv.URL, req)
	if err != nil || g != (wire.GrantResponse{Grant: "a.b.c", Expires: 7}) {
		t.Errorf("%+v %v", g, err)
	}
	for name, x := range map[string]struct {
		body   string
		status int
	}{
		"refused": {`{"code":"bad-grant"}`, 403}, "empty": {"{}", 200}, "no JSON": {"x", 200},
		"huge grant": {`{"grant":"` + strings.Repeat("x", wire.MaxGrant+1) + `"}`, 200},
		"huge":       {strings.Repeat("x", 1<<20), 200},
	} {
		srv := serve(t, x.body, x.status)
		if g, err := FetchGrant(t.Context(), srv.Client(), srv.URL, req); err == nil {
			t.Errorf("%s: %+v", name, g)
		}
	}
}
