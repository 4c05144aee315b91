package agent

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// An object that is whole before its manifest is made is shared all the same.
func TestLateManifest(t *testing.T) {
	base, _ := realEdge(t, map[string][]byte{"a.bin": bytes.Repeat([]byte("tandem"), 1<<19)})
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan struct{})
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Header.Del("Repr-Digest") // not known yet
		return nil
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifest/") {
			select {
			case <-made:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	e, err := New(Config{Data: t.TempDir(), Upload: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	d, err := e.Download(t.Context(), Request{URL: s.URL + "/a.bin", File: filepath.Join(t.TempDir(), "a.bin")})
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Object != (manifest.ObjectID{}) || r.Size != 6<<19 {
		t.Errorf("result %+v before there was a manifest", r)
	}
	close(made)
	until(t, "sharing", func() bool { return d.Progress().Object != manifest.ObjectID{} })
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
