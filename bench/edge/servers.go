//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// site is the host of one case and the directory of its files.
type site struct {
	options
	host *lab.Host
	dir  string
}

// server is one that is measured.
type server struct {
	name string
	base string
	cmd  *exec.Cmd
	row  *row
}

// nginx that serves files, and nginx that caches what the first serves.
const nginxConf = `daemon off; worker_processes auto; user root; pid %[1]s/pid; error_log %[1]s/error.log;
worker_rlimit_nofile 10000;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; keepalive_timeout 300;
  default_type application/octet-stream;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  ssl_certificate %[2]s/cert.pem; ssl_certificate_key %[2]s/key.pem;
  ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  proxy_cache_path %[1]s/cache levels=1:2 keys_zone=c:256m max_size=50g inactive=10d use_temp_path=off;
  server { listen 127.0.0.1:%[3]d%[4]s; %[5]s }
}
`

// files is the directory that everything is served from in the end.
func (s *site) files() string { return filepath.Join(s.dir, "www") }

func (s *site) nginxFiles(ctx context.Context, name string, port int, tls bool) (*server, error) {
	return s.nginx(ctx, name, port, tls, fmt.Sprintf("root %s; add_header Cache-Control max-age=86400;", s.files()))
}

// state is the directory of a server's own files.
func (s *site) state(name string) string {
	return filepath.Join(s.dir, strings.Map(func(r rune) rune {
		if r == ' ' || r == ',' {
			return '-'
		}
		return r
	}, name))
}

// nginxCache has buffers that let the cache keep up with loopback; nginx's own are
// for slow clients.
func (s *site) nginxCache(ctx context.Context, name string, port int, tls bool, origin string) (*server, error) {
	return s.nginx(ctx, name, port, tls, fmt.Sprintf(`location / {
    proxy_pass %s; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache c; proxy_cache_valid 200 1d;
    proxy_buffer_size 64k; proxy_buffers 16 256k; proxy_busy_buffers_size 1m; proxy_temp_file_write_size 1m; }`, origin))
}

func (s *site) nginx(ctx context.Context, name string, port int, tls bool, location string) (*server, error) {
	state := s.state(name)
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, err
	}
	scheme, ssl := "http", ""
	if tls {
		scheme, ssl = "https", " ssl"
	}
	conf := filepath.Join(state, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, state, s.dir, port, ssl, location), 0o644); err != nil {
		return nil, err
	}
	cmd := s.host.Command(ctx, "nginx", "-e", state+"/error.log", "-c", conf)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := rig.Background(cmd, filepath.Join(state, "log")); err != nil {
		return nil, fmt.Errorf("%w (Debian: nginx-light)", err)
	}
	return s.started(ctx, name, scheme, port, cmd)
}

// edge is `tandem edge` in front of an origin: a URL, or a directory.
func (s *site) edge(ctx context.Context, name string, port int, tls bool, origin string, flags ...string) (*server, error) {
	scheme := "http"
	args := append([]string{"edge", "--origin", origin, "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--data", filepath.Join(s.state(name), "data")}, flags...)
	if tls {
		scheme = "https"
		args = append(args, "--tls-cert", filepath.Join(s.dir, "cert.pem"), "--tls-key", filepath.Join(s.dir, "key.pem"))
	}
	if err := os.MkdirAll(s.state(name), 0o755); err != nil {
		return nil, err
	}
	cmd := s.host.Command(ctx, s.Binary, args...)
	if err := rig.Background(cmd, filepath.Join(s.state(name), "log")); err != nil {
		return nil, err
	}
	return s.started(ctx, name, scheme, port, cmd)
}

func (s *site) started(ctx context.Context, name, scheme string, port int, cmd *exec.Cmd) (*server, error) {
	v := &server{name: name, base: fmt.Sprintf("%s://127.0.0.1:%d", scheme, port), cmd: cmd, row: &row{Server: name}}
	if err := s.answers(ctx, v); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, rig.Tail(filepath.Join(s.state(name), "log")))
	}
	return v, nil
}

// answers waits until a server speaks.
func (s *site) answers(ctx context.Context, v *server) error {
	_, err := s.host.Run(ctx, "curl", "-sk", "-o", "/dev/null", "--retry", "20", "--retry-delay", "1", "--retry-connrefused", v.base+"/")
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", v.name, err)
	}
	return nil
}

// stop ends a server and waits until its processes are gone.
func (v *server) stop(ctx context.Context) error {
	_ = syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
	for {
		pids, err := v.group().Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		if err := rig.Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// group are the program and, of nginx, its workers.
func (v *server) group() rig.Group { return rig.Group(v.cmd.Process.Pid) }

// certify makes the certificate that all servers have.
func (s *site) certify() error {
	_, _, err := rig.Certify(s.dir, net.IPv4(127, 0, 0, 1))
	return err
}
