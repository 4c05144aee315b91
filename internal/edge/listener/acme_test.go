package listener

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/loopback"
)

// A real ACME authority (pebble, Debian's package of that name) checks the
// challenge over the network and gives the certificate.
func TestACME(t *testing.T) {
	for _, name := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed")
		}
	}
	authority := newAuthority(t)
	data := t.TempDir()
	s := listen(t, Config{
		Handler: http.HandlerFunc(echo), ACME: []string{"cdn.test"}, Data: data,
		ACMEDirectory: "https://" + authority.addr + "/dir", ACMERoots: authority.roots,
	})
	// What fails at the first try is tried again much later.
	authority.start(t, s.port())
	conf := &tls.Config{ServerName: "cdn.test", RootCAs: authority.root(t)}
	start(t, s)
	var state tls.ConnectionState
	await(t, func() bool {
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: conf}
		c, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
		if err != nil {
			return false
		}
		state = c.(*tls.Conn).ConnectionState()
		c.Close()
		return true
	})
	if got := state.PeerCertificates[0].DNSNames; len(got) != 1 || got[0] != "cdn.test" {
		t.Errorf("certificate for %v", got)
	}
	h2 := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	if body, _ := get(t, h2, "https://"+s.Addr().String()); body != "HTTP/2.0" {
		t.Errorf("over HTTP/2: %q", body)
	}
	if files, err := os.ReadDir(filepath.Join(data, "acme", "certificates")); err != nil || len(files) == 0 {
		t.Errorf("the certificate is not kept: %v", err)
	}
}

// authority is pebble with the name server that it asks.
type authority struct {
	addr, manage string
	roots        string // file with what to trust when talking to it
	dir          string
	client       *http.Client
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{addr: loopback.Addr(t), manage: loopback.Addr(t), dir: t.TempDir()}
	ca, err := newDevCA(Config{Data: a.dir, DevCA: []string{"localhost"}, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.get()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, filepath.Join(a.dir, "cert.pem"), filepath.Join(a.dir, "key.pem"), pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	})
	a.roots = filepath.Join(a.dir, DevCAFile)
	tr := &http.Transport{TLSClientConfig: trust(t, a.dir)}
	t.Cleanup(tr.CloseIdleConnections)
	a.client = &http.Client{Transport: tr}
	return a
}

// start runs the authority, which sends its challenges to port of this machine.
func (a *authority) start(t *testing.T, port int) {
	t.Helper()
	dns := loopback.Addr(t)
	spawn(t, exec.Command("pebble-challtestsrv", "-dns01", dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", loopback.Addr(t), "-defaultIPv6", ""))
	await(t, func() bool {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", dns)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": a.addr, "managementListenAddress": a.manage,
		"certificate": filepath.Join(a.dir, "cert.pem"), "privateKey": filepath.Join(a.dir, "key.pem"),
		"httpPort": 1, "tlsPort": port, "ocspResponderURL": "", "externalAccountBindingRequired": false,
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(a.dir, "pebble.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("pebble", "-config", file, "-dnsserver", dns)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	spawn(t, cmd)
}

// root is the certificate that the authority's certificates lead to.
func (a *authority) root(t *testing.T) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	await(t, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+a.manage+"/roots/0", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := a.client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && pool.AppendCertsFromPEM(b)
	})
	return pool
}

// spawn runs a program until the test ends, and shows what it said if that failed.
func spawn(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(out.Name())
			t.Logf("%s said:\n%s", cmd.Path, b)
		}
	})
}

// await polls until ok, for at most a minute.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen within a minute")
		}
	}
}
