package e2e

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A real browser sees what every HTTP client sees: of an edge by each version of
// HTTP, and of a published directory behind nginx.
func TestBrowser(t *testing.T) {
	program := chromium(t)
	dir, want := website(t)
	t.Run("directory", func(t *testing.T) {
		base, _ := serve(t, dir)
		browse(t, program, base).sees(t, base, "http/1.1", want)
	})
	t.Run("origin", func(t *testing.T) {
		origin := httptest.NewServer(http.FileServer(http.Dir(dir)))
		t.Cleanup(origin.Close)
		base, _, _ := cell(t, origin.URL)
		browse(t, program, base).sees(t, base, "http/1.1", want)
	})
	t.Run("HTTP 2", func(t *testing.T) {
		base, _, _ := cell(t, dir, "--dev-ca", "127.0.0.1")
		browse(t, program, base, trusting(t, base)).sees(t, base, "h2", want)
	})
	t.Run("HTTP 3", func(t *testing.T) {
		base, _, _ := cell(t, dir, "--dev-ca", "127.0.0.1")
		quic := "--origin-to-force-quic-on=" + strings.TrimPrefix(base, "https://")
		browse(t, program, base, trusting(t, base), quic).sees(t, base, "h3", want)
	})
	t.Run("page elsewhere", func(t *testing.T) {
		base, _, _ := cell(t, dir, "--allow-origin", "*")
		browse(t, program, "").sees(t, base, "", want) // such a page is not told the protocol
	})
	t.Run("nginx", func(t *testing.T) {
		need(t, "nginx")
		www, want := website(t)
		control := tandem(t, "control", "--listen", "127.0.0.1:0", "--data", t.TempDir()).ready(t)
		key := filepath.Join(t.TempDir(), "key")
		if code := tandem(t, "publish", www, "--key", key, "--control", control).wait(t); code != 0 {
			t.Fatalf("publish: exit code %d", code)
		}
		base := nginx(t, www)
		browse(t, program, base).sees(t, base, "http/1.1", want)
	})
}

// chromium finds a browser that understands Chromium's flags.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("chromium is not installed")
	return ""
}

const (
	tuneSeconds = 100
	tuneSilence = 95 // seconds before the sound
	tuneRate    = 48000
)

// website makes a directory with the page that does what a test asks, two files
// of random bytes, which are returned, and a long sound that is silent but at
// its end.
func website(t *testing.T) (dir string, want []byte) {
	t.Helper()
	dir, want = t.TempDir(), random(3*mib+17)
	tune := []byte("RIFF\x00\x00\x00\x00WAVEfmt ") // 8 bits, one channel
	tune = binary.LittleEndian.AppendUint32(tune, 16)
	for _, v := range []uint16{1, 1, tuneRate, 0, tuneRate, 0, 1, 8} {
		tune = binary.LittleEndian.AppendUint16(tune, v)
	}
	tune = binary.LittleEndian.AppendUint32(append(tune, "data"...), tuneRate*tuneSeconds)
	binary.LittleEndian.PutUint32(tune[4:], uint32(len(tune)-8+tuneRate*tuneSeconds))
	tune = append(tune, bytes.Repeat([]byte{128}, tuneRate*tuneSilence)...)
	tune = append(tune, bytes.Repeat([]byte("\x40\x40\x40\x40\xc0\xc0\xc0\xc0"), tuneRate*(tuneSeconds-tuneSilence)/8)...)
	for name, b := range map[string][]byte{
		"page.html": read(t, "testdata/page.html"), "a.bin": want, "b.bin": want, "tune.wav": tune,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, want
}

// trusting is the flag that makes a browser trust the key of a server, as it
// would with the server's development CA among its own.
func trusting(t *testing.T, base string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(base, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	key := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return "--ignore-certificate-errors-spki-list=" + base64.StdEncoding.EncodeToString(key[:])
}

// page is a page in a browser that does what it is asked, one task at a time.
type page struct {
	browser   *process
	downloads string // directory
	tasks     chan task
	answers   chan seen
}

// task is what a page is asked: to fetch, to download, or to listen to a sound
// at a time.
type task struct {
	Verb    string            `json:"verb"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	Cache   string            `json:"cache,omitempty"` // mode of fetch()
	At      float64           `json:"at,omitempty"`    // seconds
	Method  string            `json:"method,omitempty"`
	Body    string            `json:"body,omitempty"`
}

// seen is what a page was shown.
type seen struct {
	Error       string
	Status      int
	Header      map[string]string // by names in lower case
	Protocol    string            // ALPN, if it came from the network
	Transferred int               // bytes of the body that came from the network, plus 300
	Duration    float64           // seconds
	Loudest     float64
	body        []byte
}

// browse opens page.html of the server at base, or of one that is nobody else's,
// in a browser that ends with the test.
func browse(t *testing.T, program, base string, flags ...string) *page {
	t.Helper()
	p := &page{downloads: t.TempDir(), tasks: make(chan task), answers: make(chan seen)}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	if base == "" {
		base = s.URL
	}
	profile := t.TempDir()
	preferences, err := json.Marshal(map[string]any{"download": map[string]string{"default_directory": p.downloads}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(profile, "Default"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profile, "Default", "Preferences"), preferences, 0o600); err != nil {
		t.Fatal(err)
	}
	flags = append(
		flags, "--headless", "--user-data-dir="+profile, "--no-first-run", "--disable-gpu",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--autoplay-policy=no-user-gesture-required", "--enable-logging=stderr",
	)
	if os.Geteuid() == 0 {
		flags = append(flags, "--no-sandbox") // which root cannot have
	}
	p.browser = start(t, exec.Command(program, append(flags, base+"/page.html#"+s.URL)...))
	return p
}

// ServeHTTP gives the page itself, its tasks, and takes what it saw.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	switch r.URL.Path {
	case "/page.html":
		http.ServeFile(w, r, "testdata/page.html")
	case "/task":
		select {
		case t := <-p.tasks:
			_ = json.NewEncoder(w).Encode(t) // if the page is gone, nothing answers
		case <-r.Context().Done():
		}
	case "/seen":
		var s seen
		query, err := url.QueryUnescape(r.URL.RawQuery)
		if err == nil {
			err = json.Unmarshal([]byte(query), &s)
		}
		if err == nil {
			s.body, err = io.ReadAll(r.Body)
		}
		if err != nil {
			s = seen{Error: err.Error()}
		}
		select {
		case p.answers <- s:
		case <-r.Context().Done():
		}
	default:
		http.NotFound(w, r)
	}
}

// do asks the page and waits for what it saw.
func (p *page) do(t *testing.T, ask task) seen {
	t.Helper()
	s := p.try(t, ask)
	if s.Error != "" {
		t.Fatalf("%+v: %s", ask, s.Error)
	}
	return s
}

// try is do that may fail.
func (p *page) try(t *testing.T, ask task) seen {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tasks := p.tasks
	for {
		select {
		case tasks <- ask:
			tasks = nil
		case s := <-p.answers:
			return s
		case <-p.browser.ended:
			t.Fatalf("%+v: the browser ended: %v", ask, p.browser.err)
		case <-end.C:
			t.Fatalf("%+v: no answer within %v", ask, patience)
		}
	}
}

// fetch asks for a URL with pairs of header fields.
func (p *page) fetch(t *testing.T, url, cache string, fields ...string) seen {
	t.Helper()
	h := map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		h[fields[i]] = fields[i+1]
	}
	return p.do(t, task{Verb: "fetch", URL: url, Cache: cache, Headers: h})
}

// sees checks all that a page can see of the website at base; protocol is empty
// for a page that is not told how it got it.
func (p *page) sees(t *testing.T, base, protocol string, want []byte) {
	whole := p.fetch(t, base+"/a.bin", "no-store")
	same(t, "whole", whole.body, want)
	if whole.Status != http.StatusOK || whole.Protocol != protocol {
		t.Errorf("whole: status %d, protocol %q, want %q", whole.Status, whole.Protocol, protocol)
	}
	p.seesRanges(t, base+"/a.bin", want)
	p.seesVersions(t, base+"/a.bin", want, protocol != "")

	tune := p.do(t, task{Verb: "listen", URL: base + "/tune.wav", At: tuneSilence + 2})
	if tune.Duration != tuneSeconds || tune.Loudest < 0.4 {
		t.Errorf("the end of %g seconds is as loud as %g", tune.Duration, tune.Loudest)
	}

	p.do(t, task{Verb: "download", URL: base + "/b.bin"})
	file := filepath.Join(p.downloads, "b.bin")
	until(t, "download", func() bool {
		fi, err := os.Stat(file)
		return err == nil && fi.Size() > 0 // the browser makes it empty, and renames another to it
	})
	same(t, "download", read(t, file), want)
}

func (p *page) seesRanges(t *testing.T, url string, want []byte) {
	t.Helper()
	for _, r := range []struct{ asked, got, says string }{
		{"bytes=1000000-1999999", string(want[1000000:2000000]), "bytes 1000000-1999999/3145745"},
		{"bytes=3145000-", string(want[3145000:]), "bytes 3145000-3145744/3145745"},
	} {
		part := p.fetch(t, url, "no-store", "Range", r.asked)
		same(t, r.asked, part.body, []byte(r.got))
		if part.Status != http.StatusPartialContent || part.Header["content-range"] != r.says {
			t.Errorf("%s: status %d, Content-Range %q", r.asked, part.Status, part.Header["content-range"])
		}
	}
	if past := p.fetch(t, url, "no-store", "Range", "bytes=99999999-"); past.Status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("range past the end: status %d", past.Status)
	}

	several := p.fetch(t, url, "no-store", "Range", "bytes=0-9,70000-70009")
	kind, params, err := mime.ParseMediaType(several.Header["content-type"])
	if err != nil || kind != "multipart/byteranges" || several.Status != http.StatusPartialContent {
		t.Fatalf("several ranges: status %d, type %q, %v", several.Status, kind, err)
	}
	parts := multipart.NewReader(bytes.NewReader(several.body), params["boundary"])
	for _, wanted := range [][]byte{want[:10], want[70000:70010]} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		same(t, part.Header.Get("Content-Range"), got, wanted)
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("after the ranges asked for: %v", err)
	}
}

// seesVersions checks what browser and page ask about a version they have;
// told says whether the page is told what came from the network.
func (p *page) seesVersions(t *testing.T, url string, want []byte, told bool) {
	t.Helper()
	first := p.fetch(t, url, "reload") // into the browser's cache
	again := p.fetch(t, url, "no-cache")
	same(t, "revalidated", again.body, want)
	const nothing = 300 // W3C Resource Timing: what a header counts
	if told && (first.Transferred != nothing+len(want) || again.Transferred != nothing) {
		t.Errorf("%d bytes came from the network, %d when revalidated", first.Transferred-nothing, again.Transferred-nothing)
	}
	part := p.fetch(t, url, "no-cache", "Range", "bytes=10-19")
	same(t, "range of a version in the browser's cache", part.body, want[10:20])

	tag := first.Header["etag"]
	if same := p.fetch(t, url, "default", "If-None-Match", tag); same.Status != http.StatusNotModified || len(same.body) != 0 {
		t.Errorf("If-None-Match %s: status %d, %d bytes", tag, same.Status, len(same.body))
	}
	if other := p.fetch(t, url, "default", "If-None-Match", `"other"`); other.Status != http.StatusOK {
		t.Errorf("If-None-Match of another version: status %d", other.Status)
	}
}
