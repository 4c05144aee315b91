package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/loopback"
)

// door is an agent with a gateway.
type door struct {
	base, data string
	agent      *process
}

// gateway runs an agent whose gateway serves the publisher at a URL.
func gateway(t *testing.T, publisher string, flags ...string) *door {
	t.Helper()
	addr, data := loopback.Addr(t), t.TempDir()
	p := tandem(t, append([]string{
		"agent", "--data", data, "--gateway", addr, "--gateway-publisher", strings.TrimPrefix(publisher, "http://"), "--port-mapping", "off",
	}, flags...)...)
	p.ready(t)
	return &door{"http://" + addr + "/http/" + strings.TrimPrefix(publisher, "http://"), data, p}
}

// traffic is what the agent says of its gateway.
type traffic struct {
	Requests  int64 `json:"requests"`
	FromPeers int64 `json:"from_peers"`
	FromEdge  int64 `json:"from_edge"`
	FromCache int64 `json:"from_cache"`
	Kept      int64 `json:"kept"`
}

func (d *door) traffic(t *testing.T) traffic {
	t.Helper()
	var st struct{ Gateway traffic }
	if err := json.Unmarshal(output(t, "tandem", "status", "--data", d.data, "--json"), &st); err != nil {
		t.Fatal(err)
	}
	return st.Gateway
}

// shared waits until an edge tells of the manifest of an object.
func shared(t *testing.T, url string) {
	t.Helper()
	until(t, "the manifest of "+url, func() bool {
		return request(t, http.MethodHead, url, nil).Header.Get("Repr-Digest") != ""
	})
}

// curl gets what it gets from any server, and from peers as well.
func TestGatewayServesCurl(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	const size = 12 * mib
	path := file(t, "a.bin", size)
	want := read(t, path)
	base, _ := serve(t, filepath.Dir(path))
	shared(t, base+"/a.bin")
	seed(t, base+"/a.bin", want)
	d := gateway(t, base, "--limit-rate", "2M")
	ordinary(t, d.base+"/a.bin", want)
	tr := d.traffic(t)
	if tr.FromPeers < size/10 || tr.FromCache < size || tr.Kept != size {
		t.Errorf("%+v for an object of %d bytes", tr, size)
	}
	line := string(output(t, "tandem", "status", "--data", d.data))
	if !strings.Contains(line, "MiB from peers") || !strings.Contains(line, "gateway http://127.0.0.1:") {
		t.Errorf("status:\n%s", line)
	}
	// Killed and started again, it has what it had.
	d.agent.kill()
	again := tandem(t, d.agent.cmd.Args[1:]...)
	again.ready(t)
	until(t, "what was kept", func() bool { return d.traffic(t).Kept == size })
	same(t, "after a restart", output(t, "curl", "-sf", d.base+"/a.bin"), want)
	if tr := d.traffic(t); tr.FromEdge+tr.FromPeers != 0 {
		t.Errorf("after a restart: %+v", tr)
	}
	elsewhere := d.base[:strings.Index(d.base, "/http/")] + "/http/127.0.0.1:1/a.bin"
	if code := string(output(t, "curl", "-s", "-o", os.DevNull, "-w", "%{http_code}", elsewhere)); code != "403" {
		t.Errorf("another host: %s", code)
	}
}

// apt-get updates from a repository on the gateway, and gets packages.
func TestGatewayServesApt(t *testing.T) {
	t.Parallel()
	need(t, "apt-get")
	need(t, "dpkg-deb")
	repo, root := t.TempDir(), t.TempDir()
	debs := map[string][]byte{}
	var packages bytes.Buffer
	for name, size := range map[string]int{"tandem-small": 10 << 10, "tandem-large": 5 * mib} {
		tree := filepath.Join(t.TempDir(), name)
		for _, dir := range []string{"DEBIAN", "usr/share"} {
			if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		control := fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: test\n", name)
		write(t, filepath.Join(tree, "DEBIAN/control"), []byte(control))
		write(t, filepath.Join(tree, "usr/share", name), random(size))
		deb := filepath.Join(repo, name+"_1.0_all.deb")
		output(t, "dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, deb)
		debs[name] = read(t, deb)
		fmt.Fprintf(&packages, "%sFilename: ./%s\nSize: %d\nSHA256: %x\n\n", control, filepath.Base(deb), len(debs[name]), sha256.Sum256(debs[name]))
	}
	write(t, filepath.Join(repo, "Packages"), packages.Bytes())
	write(t, filepath.Join(repo, "Release"), fmt.Appendf(nil, "Suite: test\nDate: %s\nSHA256:\n %x %d Packages\n",
		time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), sha256.Sum256(packages.Bytes()), packages.Len()))
	base, _, _ := cell(t, repo)
	shared(t, base+"/tandem-large_1.0_all.deb")
	d := gateway(t, base)
	for _, dir := range []string{"etc/none", "etc/preferences.d", "state/lists/partial", "cache/archives/partial", "log", "out"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "status"), nil)
	write(t, filepath.Join(root, "etc/sources.list"), []byte("deb [trusted=yes] "+d.base+" ./\n"))
	// Nothing of the system's own settings and state is read or changed.
	conf := filepath.Join(root, "apt.conf")
	write(t, conf, fmt.Appendf(nil, `Dir %[1]q; Dir::Etc "etc"; Dir::Etc::Main "none"; Dir::Etc::Parts "none"; Dir::Etc::SourceParts "none";
Dir::State "state"; Dir::State::status "%[1]s/status"; Dir::Cache "cache"; Dir::Log "log";
APT::Sandbox::User ""; Acquire::Languages "none"; Acquire::http::Proxy "DIRECT"; Acquire::Retries "0";
`, root))
	apt := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "apt-get", append([]string{"-q"}, args...)...)
		cmd.Dir = filepath.Join(root, "out")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root, "LC_ALL=C", "APT_CONFIG=" + conf}
		if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("W: ")) {
			t.Fatalf("apt-get %v: %v\n%s", args, err, out)
		}
	}
	apt("update")
	apt("download", "tandem-small", "tandem-large")
	for name, want := range debs {
		same(t, name, read(t, filepath.Join(root, "out", name+"_1.0_all.deb")), want)
	}
	apt("update") // what has not changed
	large := int64(len(debs["tandem-large"]))
	if tr := d.traffic(t); tr.Kept != large {
		t.Errorf("%+v, want %d bytes kept", tr, large)
	}
}

// ffmpeg and mpv play an HLS stream and a DASH one from the gateway as from the origin,
// frame for frame: with relative and absolute references, in segments and as ranges.
func TestGatewayServesPlayers(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"ffmpeg", "mpv", "nginx"} {
		need(t, program)
	}
	www := t.TempDir()
	for _, dir := range []string{"ts", "one", "dash"} {
		if err := os.Mkdir(filepath.Join(www, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := []string{
		"-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=6", "-f", "lavfi", "-i", "sine=d=6",
		"-c:v", "mpeg2video", "-b:v", "4M", "-minrate", "4M", "-maxrate", "4M", "-bufsize", "2M", "-g", "25", "-bf", "0", "-c:a", "mp2",
	}
	output(t, "ffmpeg", append(source, "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", filepath.Join(www, "ts/list.m3u8"))...)
	output(t, "ffmpeg", append(source, "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_flags", "single_file", filepath.Join(www, "one/list.m3u8"))...)
	output(t, "ffmpeg", append(append(source[:10:10], "-c:v", "mpeg4", "-g", "25", "-c:a", "aac"), "-f", "dash", "-seg_duration", "2", filepath.Join(www, "dash/list.mpd"))...)
	origin := nginx(t, www)
	base, _, _ := cell(t, origin)
	list := string(read(t, filepath.Join(www, "ts/list.m3u8")))
	write(t, filepath.Join(www, "absolute.m3u8"), []byte(strings.ReplaceAll(list, "list", base+"/ts/list")))
	write(t, filepath.Join(www, "rooted.m3u8"), []byte(strings.ReplaceAll(list, "list", "/ts/list")))
	request(t, http.MethodGet, base+"/one/list.ts", nil)
	shared(t, base+"/one/list.ts")
	d := gateway(t, base)
	frames := func(program, url string) []byte {
		t.Helper()
		if program == "mpv" {
			out := filepath.Join(t.TempDir(), "out.framemd5")
			output(t, "mpv", "--no-config", "--msg-level=all=error", "--ytdl=no", "--o="+out, "--of=framemd5", "--ovc=rawvideo", "--oac=pcm_s16le", url)
			return byKind(t, read(t, out))
		}
		return byKind(t, output(t, "ffmpeg", "-v", "error", "-i", url, "-f", "framemd5", "-"))
	}
	for _, path := range []string{"/ts/list.m3u8", "/absolute.m3u8", "/rooted.m3u8", "/one/list.m3u8", "/dash/list.mpd"} {
		for _, program := range []string{"ffmpeg", "mpv"} {
			before := d.traffic(t)
			want := frames(program, origin+path)
			same(t, program+" "+path, frames(program, d.base+path), want)
			if n := bytes.Count(want, []byte("\n")); n < 150 {
				t.Errorf("%s %s: %d lines", program, path, n)
			}
			if n := d.traffic(t).Requests - before.Requests; n < 4 {
				t.Errorf("%s %s: %d requests came to the gateway: the rest went past it", program, path, n)
			}
		}
	}
	if tr := d.traffic(t); tr.Kept == 0 || tr.FromCache == 0 {
		t.Errorf("the stream in one file was not shared: %+v", tr)
	}
}

// ofStream is a line of framemd5 that is about a stream, which it names by number.
var ofStream = regexp.MustCompile(`^(#\w+ )?(\d+)[:,].*\n`)

// byKind has what framemd5 tells of video before what it tells of sound, and of both without
// the streams' numbers: mpv numbers them in the order in which it could decode something.
func byKind(t *testing.T, told []byte) []byte {
	t.Helper()
	kind := regexp.MustCompile(`(?m)^#media_type (\d+): (\w+)$`)
	var out []byte
	for _, want := range []string{"video", "audio"} {
		for _, m := range kind.FindAllSubmatch(told, -1) {
			if string(m[2]) != want {
				continue
			}
			for line := range bytes.Lines(told) {
				if of := ofStream.FindSubmatchIndex(line); of != nil && bytes.Equal(line[of[4]:of[5]], m[1]) {
					out = append(append(out, line[:of[4]]...), line[of[5]:]...)
				}
			}
		}
	}
	if bytes.Count(out, []byte("media_type")) != 2 {
		t.Fatalf("not one stream of video and one of sound:\n%.1000s", told)
	}
	return out
}

// A real browser lets a page use the gateway once its user has paired it, and no other
// page, nor this one without its token.
func TestGatewayAndWebPages(t *testing.T) {
	t.Parallel()
	program := chromium(t)
	dir, want := website(t)
	base, _ := serve(t, dir)
	shared(t, base+"/tune.wav")
	d := gateway(t, base)
	at := d.base + "/a.bin"
	gate, path := d.base[:strings.Index(d.base, "/http/")], d.base[strings.Index(d.base, "/http/"):]
	p, stranger := browse(t, program, ""), browse(t, program, "")
	refused := func(p *page, what string, ask task) {
		t.Helper()
		if s := p.try(t, ask); s.Error == "" {
			t.Errorf("%s: status %d, %d bytes", what, s.Status, len(s.body))
		}
	}
	refused(p, "not paired", task{Verb: "fetch", URL: at})
	refused(p, "not paired, sound", task{Verb: "listen", URL: d.base + "/tune.wav"})
	refused(p, "a code that was not given", task{Verb: "fetch", URL: gate + "/.tandem/pair", Method: "POST", Body: "AAAA-AAAA-AAAA"})
	var code struct{ Code string }
	if err := json.Unmarshal(output(t, "tandem", "pair", "--data", d.data, "--json"), &code); err != nil {
		t.Fatal(err)
	}
	var paired struct{ Token string }
	if err := json.Unmarshal(p.do(t, task{Verb: "fetch", URL: gate + "/.tandem/pair", Method: "POST", Body: code.Code}).body, &paired); err != nil {
		t.Fatal(err)
	}
	same(t, "paired", p.fetch(t, at, "no-store", "Tandem-Token", paired.Token).body, want)
	p.seesRanges(t, gate+"/~"+paired.Token+path+"/a.bin", want)
	if tune := p.do(t, task{Verb: "listen", URL: gate + "/~" + paired.Token + path + "/tune.wav", At: tuneSilence + 2}); tune.Duration != tuneSeconds || tune.Loudest < 0.4 {
		t.Errorf("the end of %g seconds is as loud as %g", tune.Duration, tune.Loudest)
	}
	refused(p, "without the token", task{Verb: "fetch", URL: at})
	refused(stranger, "another page with the token", task{Verb: "fetch", URL: at, Headers: map[string]string{"Tandem-Token": paired.Token}})
	refused(stranger, "another page with the token in the path", task{Verb: "listen", URL: gate + "/~" + paired.Token + path + "/tune.wav"})
	list := strings.Fields(string(output(t, "tandem", "pair", "--data", d.data, "--list")))
	if len(list) == 0 {
		t.Fatal("no page is listed")
	}
	output(t, "tandem", "pair", "--data", d.data, "--revoke", list[0])
	refused(p, "after the pairing has ended", task{Verb: "fetch", URL: at, Headers: map[string]string{"Tandem-Token": paired.Token}})
}
