package agent

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
)

// nonAuthoritative makes 203 of 200.
type nonAuthoritative struct{ http.ResponseWriter }

func (w nonAuthoritative) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w nonAuthoritative) WriteHeader(code int) {
	if code == http.StatusOK {
		code = http.StatusNonAuthoritativeInfo
	}
	w.ResponseWriter.WriteHeader(code)
}

// A proxy that answers 203 sends the whole object, at once and when the rest was
// asked for.
func TestNonAuthoritative(t *testing.T) {
	for _, cut := range []int{0, 100_000} {
		s := newSite(t, 300_000)
		s.cut, s.whole = cut, true
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.ServeHTTP(nonAuthoritative{w}, r)
		}))
		t.Cleanup(proxy.Close)
		file := filepath.Join(t.TempDir(), "a")
		if _, err := fetchTo(t, newEngine(t), Request{URL: proxy.URL + "/object", File: file}); err != nil {
			t.Errorf("broken off at byte %d: %v", cut, err)
			continue
		}
		wantFile(t, file, s.data)
	}
}
