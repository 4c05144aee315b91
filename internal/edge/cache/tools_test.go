package cache

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool runs a program that users have, or skips the test.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "http_proxy=", "HTTP_PROXY=", "no_proxy=*")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, errs.String())
	}
	return out.String()
}

func toolLab(t *testing.T) (l *lab, data []byte, link string) {
	data = content(20*slice+17, 50)
	l = newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60", "Last-Modified", monday))
	return l, data, l.edge.URL + "/file.bin"
}

func TestCurl(t *testing.T) {
	l, data, link := toolLab(t)
	dir := t.TempDir()
	file, tag := filepath.Join(dir, "f"), filepath.Join(dir, "etag")
	same := func(what string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(b, data) {
			t.Errorf("%s: %d bytes, %v", what, len(b), err)
		}
	}
	tool(t, "curl", "-sSf", "--etag-save", tag, "-o", file, link)
	same("download")
	if code := tool(t, "curl", "-sS", "--etag-compare", tag, "-o", os.DevNull, "-w", "%{http_code}", link); code != "304" {
		t.Errorf("with its ETag: %s", code)
	}
	if code := tool(t, "curl", "-sS", "-z", file, "-o", os.DevNull, "-w", "%{http_code}", link); code != "304" {
		t.Errorf("with its date: %s", code)
	}
	if out := tool(t, "curl", "-sSf", "-r", "70000-70009", link); out != string(data[70000:70010]) {
		t.Error("range")
	}
	if out := tool(t, "curl", "-sSf", "-r", "-10", link); out != string(data[len(data)-10:]) {
		t.Error("suffix range")
	}
	if out := tool(t, "curl", "-sSf", "-r", "0-9,70000-70009", link); !strings.Contains(out, "Content-Range: bytes 70000-70009/") {
		t.Error("two ranges")
	}
	if err := os.Truncate(file, 3*slice+5); err != nil {
		t.Fatal(err)
	}
	tool(t, "curl", "-sSf", "-C", "-", "-o", file, link)
	same("resume")
	if n := len(l.requests()); n != 1 {
		t.Errorf("origin was asked %d times", n)
	}
}

func TestWget(t *testing.T) {
	_, data, link := toolLab(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file.bin")
	tool(t, "wget", "-q", "-P", dir, link)
	if err := os.Truncate(file, 3*slice+5); err != nil {
		t.Fatal(err)
	}
	tool(t, "wget", "-q", "-c", "-P", dir, link)
	b, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(b, data) {
		t.Errorf("resume: %d bytes, %v", len(b), err)
	}
	tool(t, "wget", "-q", "-N", "-P", dir, link) // asks with If-Modified-Since
}

// The same over HTTP/2, where no file goes to the kernel.
func TestHTTP2(t *testing.T) {
	l, data, _ := toolLab(t)
	srv := httptest.NewUnstartedServer(l.cache)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	client := srv.Client()
	for _, field := range []string{"", "bytes=70000-140000", "bytes=-1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/file.bin", nil)
		if err != nil {
			t.Fatal(err)
		}
		want := data
		switch field {
		case "bytes=70000-140000":
			want = data[70000:140001]
		case "bytes=-1":
			want = data[len(data)-1:]
		}
		if field != "" {
			req.Header.Set("Range", field)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || !bytes.Equal(b, want) {
			t.Errorf("%q: %s, %d bytes, %v", field, resp.Proto, len(b), err)
		}
	}
}

// BenchmarkHit serves a cached object over loopback.
func BenchmarkHit(b *testing.B) {
	const size = 64 << 20
	data := content(size, 51)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v"`)
		w.Header().Set("Cache-Control", "max-age=600")
		w.Write(data)
	}))
	defer origin.Close()
	u, err := url.Parse(origin.URL)
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(Config{Origin: u, Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	edge := httptest.NewServer(c)
	defer edge.Close()
	get := func() {
		resp, err := http.Get(edge.URL + "/o")
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
			b.Fatal(n, err)
		}
	}
	get()
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		get()
	}
}
