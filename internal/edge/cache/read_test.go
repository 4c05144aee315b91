package cache

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Read gives what a plain request would, asks once for all, and is bounded.
func TestRead(t *testing.T) {
	big := strings.Repeat("x", 200_000)
	asked := map[string]int{}
	l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		switch r.URL.Path {
		case "/small", "/big", "/chunked":
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("ETag", `"1"`)
			body := big
			if r.URL.Path == "/small" {
				body = "bytes"
			}
			if r.URL.Path == "/chunked" {
				w.(http.Flusher).Flush()
			} else {
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			}
			fmt.Fprint(w, body)
		case "/private":
			w.Header().Set("Cache-Control", "private")
		default:
			http.NotFound(w, r)
		}
	}, nil)
	for range 2 {
		for path, want := range map[string]string{"/small": "bytes", "/big": big, "/chunked": big} {
			v, b, err := l.cache.Read(t.Context(), path, int64(len(big)))
			if err != nil || string(b) != want || v.ETag != `"1"` {
				t.Errorf("%s: %d bytes, %v", path, len(b), err)
			}
		}
	}
	for _, path := range []string{"/small", "/big", "/chunked"} {
		if asked[path] != 1 {
			t.Errorf("%s was asked for %d times", path, asked[path])
		}
	}
	for _, path := range []string{"/big", "/chunked"} {
		if _, _, err := l.cache.Read(t.Context(), path, int64(len(big))-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := l.cache.Read(t.Context(), "/private", 10); !errors.Is(err, ErrNotCacheable) {
		t.Errorf("private: %v", err)
	}
	var status *StatusError
	if _, _, err := l.cache.Read(t.Context(), "/none", 10); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("none: %v", err)
	}
}
