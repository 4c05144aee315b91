// Package nginx runs the real nginx on a directory, as the web server that tests
// compare with or publish through.
package nginx

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/loopback"
)

const config = `daemon off;
%[1]s
pid %[2]s/pid;
error_log %[2]s/error.log;
worker_processes 1;
events { worker_connections 64; }
http {
  access_log off;
  default_type application/octet-stream;
  client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
  server { listen %[3]s; root %[4]s; }
}
`

// Serve starts nginx on dir until the test ends, and returns its base URL. It
// skips the test where nginx is not installed.
func Serve(t testing.TB, dir string) string {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed")
	}
	addr, tmp := loopback.Addr(t), t.TempDir()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // else its workers may not read the test's directories
	}
	conf := filepath.Join(tmp, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, config, user, tmp, addr, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-p", tmp, "-c", conf, "-e", filepath.Join(tmp, "error.log"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends its workers
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // "signal: interrupt" is how it should end
	})
	await(t, "http://"+addr, filepath.Join(tmp, "error.log"))
	return "http://" + addr
}

// await polls until the server answers, for at most ten seconds.
func await(t testing.TB, url, log string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			why, _ := os.ReadFile(log)
			t.Fatalf("nginx does not answer: %s", why)
		}
	}
}
