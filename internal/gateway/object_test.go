package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Programs get of an object what RFC 9110 promises, bit-exact, from the server and
// then from what was kept.
func TestObject(t *testing.T) {
	data := random(2, 5<<20)
	s := newSite(t, map[string][]byte{"f.bin": data})
	s.warm(t, "f.bin")
	d := open(t, Config{}, s.host())
	at := d.at(s.URL + "/f.bin")
	direct, _ := do(t, http.MethodHead, s.URL+"/f.bin", nil)
	tag, date := direct.Header.Get("ETag"), direct.Header.Get("Last-Modified")
	size := len(data)
	for _, c := range []struct {
		name   string
		method string
		header http.Header
		status int
		want   []byte
		part   string
	}{
		{"whole", "GET", nil, 200, data, ""},
		{"head", "HEAD", nil, 200, nil, ""},
		{"first", "GET", header("Range", "bytes=0-0"), 206, data[:1], fmt.Sprintf("bytes 0-0/%d", size)},
		{"middle", "GET", header("Range", "bytes=1000000-2999999"), 206, data[1000000:3000000], fmt.Sprintf("bytes 1000000-2999999/%d", size)},
		{"rest", "GET", header("Range", "bytes=5000000-"), 206, data[5000000:], fmt.Sprintf("bytes 5000000-%d/%d", size-1, size)},
		{"last", "GET", header("Range", "bytes=-5"), 206, data[size-5:], fmt.Sprintf("bytes %d-%d/%d", size-5, size-1, size)},
		{"beyond", "GET", header("Range", fmt.Sprintf("bytes=%d-", size)), 416, nil, fmt.Sprintf("bytes */%d", size)},
		{"range of the version", "GET", header("Range", "bytes=1-9", "If-Range", tag), 206, data[1:10], fmt.Sprintf("bytes 1-9/%d", size)},
		{"range of another version", "GET", header("Range", "bytes=1-9", "If-Range", `"other"`), 200, data, ""},
		{"has it", "GET", header("If-None-Match", tag), 304, nil, ""},
		{"has another", "GET", header("If-None-Match", `"other"`), 200, data, ""},
		{"not since", "GET", header("If-Modified-Since", date), 304, nil, ""},
		{"only another", "GET", header("If-Match", `"other"`), 412, nil, ""},
		{"head of what it has", "HEAD", header("If-None-Match", tag), 304, nil, ""},
		{"anew", "GET", header("Cache-Control", "no-cache"), 200, data, ""},
	} {
		resp, body := do(t, c.method, at, c.header)
		if resp.StatusCode != c.status || c.status < 300 && !bytes.Equal(body, c.want) || resp.Header.Get("Content-Range") != c.part {
			t.Errorf("%s: %s, %q, %d bytes", c.name, resp.Status, resp.Header.Get("Content-Range"), len(body))
		}
		h := resp.Header
		if c.status < 400 && (h.Get("ETag") != tag || c.status != 304 && (h.Get("Last-Modified") != date || h.Get("Content-Type") != direct.Header.Get("Content-Type") || h.Get("Accept-Ranges") != "bytes")) {
			t.Errorf("%s: %v, from the server %v", c.name, h, direct.Header)
		}
		if c.status == 200 && resp.ContentLength != int64(size) {
			t.Errorf("%s: %d bytes are announced", c.name, resp.ContentLength)
		}
	}
	several, body := do(t, http.MethodGet, at, header("Range", "bytes=0-4,-5"))
	if _, params, err := mime.ParseMediaType(several.Header.Get("Content-Type")); err != nil || several.StatusCode != 206 {
		t.Errorf("two ranges: %s, %v", several.Status, err)
	} else {
		mr := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for _, want := range [][]byte{data[:5], data[size-5:]} {
			p, err := mr.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(p); !bytes.Equal(got, want) {
				t.Errorf("two ranges: %x, want %x", got, want)
			}
		}
	}
	poll(t, "the answers to be counted", func() bool { return d.Traffic().Active == 0 })
	if tr := d.Traffic(); tr.FromEdge < int64(size) || tr.FromEdge > int64(size)+2<<20 || tr.FromCache == 0 || tr.Kept != int64(size) {
		t.Errorf("traffic %+v for %d bytes", tr, size)
	}
}

// Programs that ask for the same at once share one download, also at many places of it.
func TestTogether(t *testing.T) {
	data := random(3, 6<<20)
	s := newSite(t, map[string][]byte{"f.bin": data})
	s.warm(t, "f.bin")
	d := open(t, Config{}, s.host())
	at := d.at(s.URL + "/f.bin")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			h, want := http.Header(nil), data
			if i%2 == 1 {
				h, want = header("Range", fmt.Sprintf("bytes=%d-", i<<19)), data[i<<19:]
			}
			if resp, body := do(t, http.MethodGet, at, h); !bytes.Equal(body, want) {
				t.Errorf("%d: %s, %d bytes", i, resp.Status, len(body))
			}
		})
	}
	wg.Wait()
	if tr := d.Traffic(); tr.FromEdge > int64(len(data))+2<<20 {
		t.Errorf("%d bytes from the edge for an object of %d", tr.FromEdge, len(data))
	}
}

// The first who comes to an edge that has not made the manifest yet does not wait for it,
// and what came is shared from then on.
func TestBeforeTheManifest(t *testing.T) {
	data := random(7, 3<<20)
	s := newSite(t, map[string][]byte{"f.bin": data})
	s.warm(t, "f.bin")
	header, _ := do(t, http.MethodHead, s.URL+"/f.bin", nil)
	made := make(chan struct{})
	s.mux["/f.bin"] = func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for _, k := range []string{"ETag", "Link", "Last-Modified"} {
			h.Set(k, header.Header.Get(k))
		}
		select {
		case <-made:
			h.Set("Repr-Digest", header.Header.Get("Repr-Digest"))
		default:
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
	d := open(t, Config{}, s.host())
	if _, body := do(t, http.MethodGet, d.at(s.URL+"/f.bin"), nil); !bytes.Equal(body, data) {
		t.Fatalf("%d bytes", len(body))
	}
	close(made)
	poll(t, "it to be kept", func() bool { return d.Traffic().Kept == int64(len(data)) && d.Traffic().Active == 0 })
	before := d.Traffic()
	if _, body := do(t, http.MethodGet, d.at(s.URL+"/f.bin"), nil); !bytes.Equal(body, data) {
		t.Errorf("%d bytes", len(body))
	}
	poll(t, "it to come from what was kept", func() bool { return d.Traffic().FromCache == int64(len(data)) })
	if after := d.Traffic(); after.FromEdge != before.FromEdge {
		t.Errorf("%+v, then %+v", before, after)
	}
	// One that is broken off is not kept.
	s.mux["/g.bin"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Link", header.Header.Get("Link"))
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:1<<20])
	}
	if resp, err := http.Get(d.at(s.URL + "/g.bin")); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	poll(t, "the rest to go", func() bool {
		dirs, err := os.ReadDir(d.objects.dir)
		return err == nil && len(dirs) == 1 && d.Traffic().Active == 0
	})
}

// A new version is a new object; a server that is asked says so at once.
func TestNextVersion(t *testing.T) {
	one, two := random(4, 2<<20), random(5, 3<<20)
	s := newSite(t, map[string][]byte{"f.bin": one})
	s.warm(t, "f.bin")
	d := open(t, Config{}, s.host())
	at := d.at(s.URL + "/f.bin")
	if _, body := do(t, http.MethodGet, at, nil); !bytes.Equal(body, one) {
		t.Fatalf("%d bytes", len(body))
	}
	s.write(t, "f.bin", two, time.Minute)
	s.warm(t, "f.bin")
	for range 2 {
		if resp, body := do(t, http.MethodGet, at, nil); !bytes.Equal(body, two) {
			t.Fatalf("%s, %d bytes", resp.Status, len(body))
		}
	}
	poll(t, "the former version to go", func() bool { return d.Traffic().Kept == int64(len(two)) })
}

// What is kept stays within its quota, least used first, and outlives the process.
func TestQuotaAndRestart(t *testing.T) {
	s := newSite(t, nil)
	data := map[string][]byte{}
	for i := range 4 {
		name := fmt.Sprintf("f%d", i)
		data[name] = random(byteSeed(i), 2<<20)
		s.write(t, name, data[name], time.Hour)
		s.warm(t, name)
	}
	s.write(t, "large", random(9, 8<<20), time.Hour)
	s.warm(t, "large")
	dir := t.TempDir()
	d := open(t, Config{Data: dir, Quota: 6 << 20}, s.host())
	get := func(d *door, name string) {
		t.Helper()
		if resp, body := do(t, http.MethodGet, d.at(s.URL+"/"+name), nil); data[name] != nil && !bytes.Equal(body, data[name]) {
			t.Errorf("%s: %s, %d bytes", name, resp.Status, len(body))
		}
	}
	for _, name := range []string{"f0", "f1", "f2", "f0", "f3", "large"} { // f1 is the one that goes
		get(d, name)
		poll(t, name+" to be noted", func() bool { d.objects.mu.Lock(); defer d.objects.mu.Unlock(); return allWhole(d.objects) })
	}
	if kept := d.Traffic().Kept; kept != 6<<20 {
		t.Errorf("%d bytes are kept", kept)
	}
	d.stop()
	again := open(t, Config{Data: dir, Quota: 6 << 20}, s.host())
	poll(t, "what was kept", func() bool {
		again.objects.mu.Lock()
		defer again.objects.mu.Unlock()
		return len(again.objects.byURL) == 3
	})
	for _, name := range []string{"f0", "f2", "f3"} {
		get(again, name)
	}
	poll(t, "all to come from what was kept", func() bool { return again.Traffic().FromCache == 6<<20 })
	if tr := again.Traffic(); tr.FromEdge != 0 {
		t.Errorf("after a restart: %+v", tr)
	}
	get(again, "f1")
	poll(t, "what had gone to come from the edge", func() bool { return again.Traffic().FromEdge >= 2<<20 })
}

func byteSeed(i int) uint64 { return uint64(20 + i) } //nolint:gosec // small

// allWhole reports whether all objects are whole, and their requests answered.
func allWhole(s *objects) bool {
	for o := range s.all {
		if !o.whole || o.refs > 0 {
			return false
		}
	}
	return true
}

// What is given with credentials goes to who gave them alone, and never from or into
// what is kept.
func TestCredentials(t *testing.T) {
	data := random(6, 2<<20)
	s := newSite(t, map[string][]byte{"f.bin": data})
	s.warm(t, "f.bin")
	var saw http.Header
	s.mux["/mine"] = func(w http.ResponseWriter, r *http.Request) {
		saw = r.Header.Clone()
		w.Header().Set("ETag", `"`+r.Header.Get("Authorization")+`"`)
		w.Header().Set("Set-Cookie", "session=1")
		fmt.Fprintf(w, "for %s %s", r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	}
	d := open(t, Config{}, s.host())
	for _, who := range []string{"Basic a", "Basic b"} {
		resp, body := do(t, http.MethodGet, d.at(s.URL+"/mine"), header("Authorization", who, "Cookie", "x=1", "Range", "bytes=0-"))
		if string(body) != "for "+who+" x=1" || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s %v", who, body, resp.Header)
		}
	}
	if saw.Get("Range") == "" || saw.Get("Origin") != "" {
		t.Errorf("went out: %v", saw)
	}
	if _, body := do(t, http.MethodGet, d.at(s.URL+"/mine"), nil); string(body) != "for  " {
		t.Errorf("without: %s", body)
	}
	if _, body := do(t, http.MethodGet, d.at(s.URL+"/f.bin"), header("Authorization", "Basic a")); !bytes.Equal(body, data) {
		t.Errorf("%d bytes", len(body))
	}
	if kept := d.Traffic().Kept; kept != 0 {
		t.Errorf("%d bytes that were given with credentials are kept", kept)
	}
	s.write(t, "g.bin", data, time.Hour)
	s.warm(t, "g.bin")
	do(t, http.MethodGet, d.at(s.URL+"/g.bin"), nil)
	poll(t, "what was kept", func() bool { return d.Traffic().Kept == int64(len(data)) && d.Traffic().Active == 0 })
	before := d.Traffic()
	if _, body := do(t, http.MethodGet, d.at(s.URL+"/g.bin"), header("Authorization", "Basic a")); !bytes.Equal(body, data) {
		t.Errorf("%d bytes", len(body))
	}
	poll(t, "the answer to be counted", func() bool { return d.Traffic().Active == 0 })
	if after := d.Traffic(); after.FromCache != before.FromCache || after.FromEdge != before.FromEdge+int64(len(data)) {
		t.Errorf("credentials are answered with what was kept: %+v, then %+v", before, after)
	}
}

// What is no object streams through: as it comes, without end if need be, and the server
// hears when the client hangs up.
func TestThrough(t *testing.T) {
	s := newSite(t, nil)
	gone := make(chan struct{})
	s.mux["/live"] = func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	}
	s.mux["/held.m3u8"] = func(w http.ResponseWriter, r *http.Request) { // LL-HLS: blocks until there is something new
		<-r.Context().Done()
	}
	s.mux["/short"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
	}
	s.mux["/gone"] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no more", http.StatusGone) }
	d := open(t, Config{}, s.host())
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.at(s.URL+"/live"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "first\n" {
		t.Errorf("%q, %v", line, err)
	}
	if d.Traffic().Active != 1 {
		t.Errorf("%+v", d.Traffic())
	}
	hangUp()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the server does not hear that the client has hung up")
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	req, err = http.NewRequestWithContext(short, http.MethodGet, d.at(s.URL+"/held.m3u8?_HLS_msn=5"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		if err == nil {
			resp.Body.Close()
		}
		t.Errorf("a playlist that is held back: %v", err)
	}
	if resp, err := http.Get(d.at(s.URL + "/short")); err == nil {
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("half of it passes for the whole: %q", b)
		}
		resp.Body.Close()
	}
	if resp, body := do(t, http.MethodGet, d.at(s.URL+"/gone"), nil); resp.StatusCode != 410 || string(body) != "no more\n" {
		t.Errorf("%s %s", resp.Status, body)
	}
	s.Close()
	if resp, body := do(t, http.MethodGet, d.at(s.URL+"/gone?secret"), nil); resp.StatusCode != 502 || strings.Contains(string(body), "secret") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// References of playlists to publishers stay on the gateway, others are left alone.
func TestPlaylists(t *testing.T) {
	s, other := newSite(t, nil), newSite(t, nil)
	d := open(t, Config{}, s.host(), other.host())
	d.docs = nobody{}
	list := strings.Join([]string{
		"#EXTM3U", "#EXT-X-TARGETDURATION:4", `#EXT-X-MAP:URI="` + other.URL + `/init.mp4"`, "#EXTINF:4,", "a.ts", "#EXTINF:4,", "/root/b.ts?x=1",
		"#EXTINF:4,", other.URL + "/c.ts", "#EXTINF:4,", "https://elsewhere.example/d.ts", "",
	}, "\n")
	here := "http://" + d.Addr() + "/http/"
	want := strings.NewReplacer(
		other.URL, here+other.host(), "\na.ts", "\n"+here+s.host()+"/v/a.ts", "/root/b.ts", here+s.host()+"/root/b.ts",
	).Replace(list)
	serve := func(media, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
		}
	}
	s.mux["/v/p.m3u8"] = serve("application/vnd.apple.mpegurl", list)
	s.mux["/v/p"] = serve("Audio/MpegURL; charset=utf-8", list)
	s.mux["/v/bad.m3u8"] = serve("application/vnd.apple.mpegurl", "#EXTM3U\n#EXT-X-MAP:URI=\"unclosed\n"+other.URL)
	s.mux["/v/page.m3u8"] = serve("text/html", "<html>"+other.URL)
	mpd := `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>` + other.URL + `/m/</BaseURL><Period><AdaptationSet><SegmentTemplate media="$RepresentationID$/$Number%05d$.m4s"/><Representation id="a"/><Representation id="b"><BaseURL>https://elsewhere.example/</BaseURL></Representation></AdaptationSet></Period></MPD>`
	wantMPD := strings.Replace(mpd, other.URL, here+other.host(), 1)
	s.mux["/v/m.mpd"] = serve("application/dash+xml", mpd)
	s.mux["/v/list.txt"] = serve("text/plain", list)
	for path, text := range map[string]string{
		"/v/p.m3u8": want, "/v/p": want, "/v/m.mpd": wantMPD, "/v/page.m3u8": "<html>" + other.URL, "/v/list.txt": list,
		"/v/bad.m3u8": "#EXTM3U\n#EXT-X-MAP:URI=\"unclosed\n" + other.URL,
	} {
		resp, body := do(t, http.MethodGet, d.at(s.URL+path), nil)
		if string(body) != text || resp.ContentLength != int64(len(text)) {
			t.Errorf("%s: %s, %d\n%s\nwant\n%s", path, resp.Status, resp.ContentLength, body, text)
		}
		if tag := resp.Header.Get("ETag"); (tag == `W/"1"`) != (text == want || text == wantMPD) {
			t.Errorf("%s: ETag %s", path, tag)
		}
	}
	for _, path := range []string{"/v/p.m3u8", "/v/p"} {
		if resp, body := do(t, http.MethodGet, d.at(s.URL+path), header("Range", "bytes=0-")); resp.StatusCode != 200 || string(body) != want {
			t.Errorf("%s from its first byte on: %s\n%s", path, resp.Status, body)
		}
	}
	if resp, _ := do(t, http.MethodGet, d.at(s.URL+"/v/p.m3u8"), header("If-None-Match", `W/"1"`)); resp.StatusCode != 304 {
		t.Errorf("a playlist that has not changed: %s", resp.Status)
	}
}
