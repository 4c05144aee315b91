package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/test/loopback"
)

// need skips a test where a program is missing.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}

// output runs a program of the system and returns what it printed.
func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return out
}

// Ordinary clients see an ordinary server: in front of a directory and in front
// of an origin, before and after it is in the cache.
func TestEdgeServesOrdinaryClients(t *testing.T) {
	path := file(t, "a.bin", 3*mib+17)
	want := read(t, path)
	origin := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	t.Cleanup(origin.Close)
	for name, at := range map[string]string{"directory": filepath.Dir(path), "origin": origin.URL} {
		t.Run(name, func(t *testing.T) {
			base, _, _ := cell(t, at)
			for _, state := range []string{"cold", "warm"} {
				t.Run(state, func(t *testing.T) { ordinary(t, base+"/a.bin", want) })
			}
			if link := request(t, http.MethodHead, base+"/a.bin", nil).Header.Get("Link"); !strings.Contains(link, "describedby") {
				t.Errorf("Link %q names no manifest", link)
			}
		})
	}
}

func ordinary(t *testing.T, url string, want []byte) {
	t.Run("curl", func(t *testing.T) {
		need(t, "curl")
		same(t, "whole", output(t, "curl", "-sf", url), want)
		same(t, "range", output(t, "curl", "-sf", "-r", "1000000-1999999", url), want[1000000:2000000])
		same(t, "end", output(t, "curl", "-sf", "-r", "-5", url), want[len(want)-5:])
		part := filepath.Join(t.TempDir(), "part")
		if err := os.WriteFile(part, want[:mib], 0o644); err != nil {
			t.Fatal(err)
		}
		output(t, "curl", "-sf", "-C", "-", "-o", part, url)
		same(t, "continued", read(t, part), want)
		status := output(t, "curl", "-s", "-o", filepath.Join(t.TempDir(), "x"), "-w", "%{http_code}", "-r", "999999999-", url)
		same(t, "status of a range past the end", status, []byte("416"))
	})
	t.Run("wget", func(t *testing.T) {
		need(t, "wget")
		same(t, "whole", output(t, "wget", "-q", "-O", "-", url), want)
	})
	t.Run("validators", func(t *testing.T) { validators(t, url) })
	t.Run("ranges", func(t *testing.T) { manyRanges(t, url, want) })
}

// validators checks that what the edge says of a version is answered with 304.
func validators(t *testing.T, url string) {
	first := request(t, http.MethodHead, url, nil)
	tag, modified := first.Header.Get("ETag"), first.Header.Get("Last-Modified")
	if tag == "" || strings.HasPrefix(tag, "W/") {
		t.Fatalf("ETag %q is not strong", tag)
	}
	conditions := map[string]http.Header{
		"If-None-Match": {"If-None-Match": {tag}},
		"any tag":       {"If-None-Match": {`"other", ` + tag}},
	}
	if modified != "" { // a file that may still change within its second has none
		conditions["If-Modified-Since"] = http.Header{"If-Modified-Since": {modified}}
	}
	for name, h := range conditions {
		if r := request(t, http.MethodGet, url, h); r.StatusCode != http.StatusNotModified || r.Header.Get("ETag") != tag {
			t.Errorf("%s: status %d, ETag %q", name, r.StatusCode, r.Header.Get("ETag"))
		}
	}
	if r := request(t, http.MethodGet, url, http.Header{"Range": {"bytes=0-9"}, "If-Range": {`"other"`}}); r.StatusCode != http.StatusOK {
		t.Errorf("If-Range of another version: status %d", r.StatusCode)
	}
	if r := request(t, http.MethodGet, url, http.Header{"If-Match": {`"other"`}}); r.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("If-Match of another version: status %d", r.StatusCode)
	}
}

func manyRanges(t *testing.T, url string, want []byte) {
	r := request(t, http.MethodGet, url, http.Header{"Range": {"bytes=0-9,70000-70009"}})
	if r.StatusCode != http.StatusPartialContent || !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/byteranges") {
		t.Fatalf("status %d, type %q", r.StatusCode, r.Header.Get("Content-Type"))
	}
	for _, part := range [][]byte{want[:10], want[70000:70010]} {
		if !bytes.Contains(r.body, part) {
			t.Errorf("a part is missing in %q", r.body)
		}
	}
}

type response struct {
	*http.Response
	body []byte
}

func request(t *testing.T, method, url string, h http.Header) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	return response{r, b.Bytes()}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, want %d, first difference at %d", what, len(got), len(want), difference(got, want))
	}
}

// nginx that serves a directory with sidecar manifests is an edge: clients find
// each other through control and check what they get.
func TestPublishedDirectoryBehindNginx(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	const size = 12 * mib
	path := file(t, "a b.bin", size)
	want := read(t, path)
	www := filepath.Dir(path)
	control := tandem(t, "control", "--listen", "127.0.0.1:0", "--data", t.TempDir()).ready(t)
	key := filepath.Join(t.TempDir(), "key")
	if code := tandem(t, "publish", www, "--key", key, "--control", control).wait(t); code != 0 {
		t.Fatalf("publish: exit code %d", code)
	}
	base := nginx(t, www)
	u := base + "/" + url.PathEscape("a b.bin")
	o := seed(t, u, want)
	if o.Object == "" {
		t.Fatal("the client found no manifest")
	}
	if o := get(t, u, "--limit-rate", "4M").done(t, want); o.FromPeers < size/4 {
		t.Errorf("from_peers %d of %d", o.FromPeers, size)
	}

	// A change that was not published is noticed, not spread.
	forged := bytes.Clone(want)
	forged[len(forged)/2] ^= 1
	if err := os.WriteFile(path, forged, 0o644); err != nil {
		t.Fatal(err)
	}
	d := get(t, u, "--no-p2p")
	if code := d.wait(t); code == 0 {
		if got := read(t, d.file); !bytes.Equal(got, forged) && !bytes.Equal(got, want) {
			t.Error("the file is a mix of versions")
		}
	}
}

// nginx serves a directory on a free port and returns its URL.
func nginx(t *testing.T, www string) string {
	t.Helper()
	state := t.TempDir()
	addr := loopback.Addr(t)
	conf := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server { listen %[2]s; root "%[3]s"; }
}
`, state, addr, www)
	if os.Geteuid() == 0 {
		conf = "user root; " + conf
	}
	path := filepath.Join(state, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, exec.Command("nginx", "-e", "stderr", "-c", path))
	base := "http://" + addr
	until(t, "nginx", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("nginx ended: %s", p.stderr)
		default:
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, base, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = r.Body.Close()
		}
		return err == nil
	})
	return base
}
