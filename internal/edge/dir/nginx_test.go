package dir

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/nginx"
)

// What nginx answers for a file is what people's tools expect.
func TestAnswersLikeNginx(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, map[string][]byte{"f.bin": random(1<<20 + 100), "empty.bin": nil, "d/x": nil})
	theirs := nginx.Serve(t, tmp)
	ours := serve(t, open(t, Config{Path: tmp}))
	date := func(a answer) string { return a.Header.Get("Last-Modified") }
	their, _ := get(t, "HEAD", theirs+"/f.bin")
	our, _ := get(t, "HEAD", ours+"/f.bin")
	if date(their) != date(our) {
		t.Fatalf("Last-Modified %q, nginx says %q", date(our), date(their))
	}
	old := time.Now().Add(-2 * time.Hour).UTC().Format(http.TimeFormat)
	// ETAG stands for the entity tag of either server.
	for _, fields := range [][]string{
		nil,
		{"Range: bytes=0-0"},
		{"Range: bytes=5-99"},
		{"Range: bytes=100-"},
		{"Range: bytes=-7"},
		{"Range: bytes=-99999999"},
		{"Range: bytes=0-99999999"},
		{"Range: bytes=99999999-"},
		{"Range: bytes=1048676-"},
		{"Range: bytes=1048675-"},
		{"Range: bytes=0-1,5-9"},
		{"Range: bytes=0-1,-5"},
		{"Range: bytes=0-1,99999999-"},
		{"Range: bytes=5-9", "If-Range: ETAG"},
		{"Range: bytes=5-9", `If-Range: "other"`},
		{"Range: bytes=5-9", "If-Range: " + date(their)},
		{"Range: bytes=5-9", "If-Range: " + old},
		{"If-None-Match: ETAG"},
		{`If-None-Match: "a", ETAG`},
		{"If-None-Match: W/ETAG"},
		{"If-None-Match: *"},
		{`If-None-Match: "other"`},
		{"If-Match: ETAG"},
		{`If-Match: "other"`},
		{"If-Modified-Since: " + date(their)},
		{"If-Modified-Since: " + old, `If-None-Match: "other"`},
		{"If-Unmodified-Since: " + old},
		{"If-Unmodified-Since: " + date(their)},
		{"If-None-Match: ETAG", "Range: bytes=0-1"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			name := fmt.Sprintf("%s %q", method, fields)
			want, wantBody := get(t, method, theirs+"/f.bin", with(fields, their)...)
			got, gotBody := get(t, method, ours+"/f.bin", with(fields, our)...)
			if got.StatusCode != want.StatusCode {
				t.Errorf("%s: status %d, nginx says %d", name, got.StatusCode, want.StatusCode)
				continue
			}
			if a, b := got.Header.Get("Content-Range"), want.Header.Get("Content-Range"); a != b {
				t.Errorf("%s: Content-Range %q, nginx says %q", name, a, b)
			}
			if want.StatusCode >= 400 {
				continue // the texts of errors differ
			}
			if !bytes.Equal(parts(t, got, gotBody), parts(t, want, wantBody)) {
				t.Errorf("%s: %d bytes, not those that nginx sends (%d)", name, len(gotBody), len(wantBody))
			}
		}
	}
	for _, path := range []string{"/empty.bin", "/none", "/d", "/f.bin/x", "/d/x"} {
		want, wantBody := get(t, "GET", theirs+path)
		got, gotBody := get(t, "GET", ours+path)
		if got.StatusCode != want.StatusCode {
			t.Errorf("%s: status %d, nginx says %d", path, got.StatusCode, want.StatusCode)
		}
		if want.StatusCode == 200 && !bytes.Equal(gotBody, wantBody) {
			t.Errorf("%s: %q, nginx says %q", path, gotBody, wantBody)
		}
	}
}

// with puts the server's own entity tag into the fields.
func with(fields []string, a answer) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = string(bytes.ReplaceAll([]byte(f), []byte("ETAG"), []byte(a.Header.Get("Etag"))))
	}
	return out
}

// parts is the body, of several ranges without the boundaries between them, which
// every server picks for itself.
func parts(t *testing.T, a answer, body []byte) []byte {
	t.Helper()
	kind, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || len(body) == 0 {
		return body
	}
	var out []byte
	for r := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF { //nolint:errorlint // the documented value
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, p.Header.Get("Content-Range")...), b...)
	}
}
