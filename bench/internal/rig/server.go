//go:build linux

package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/test/lab"
)

// readyWithin bounds the start of a server.
const readyWithin = 30 * time.Second

// Nginx serves directory www on port 80 of a host, with one worker, until ctx
// ends; it returns when the port answers. state is a directory for its files, and
// further are directives for the server.
func Nginx(ctx context.Context, h *lab.Host, www, state string, further ...string) error {
	if _, err := exec.LookPath("nginx"); err != nil {
		return errors.New("nginx is not installed (Debian: nginx-light)")
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 1; user root; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 4096; }
http {
  access_log off; sendfile on;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server { listen %[2]s:80; root %[3]s; %[4]s }
}
`, state, h.IP, www, strings.Join(further, " "))
	path := filepath.Join(state, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	if err := Background(h.Command(ctx, "nginx", "-e", state+"/error.log", "-c", path), filepath.Join(state, "log")); err != nil {
		return err
	}
	return answers(ctx, h, "http://"+h.IP.String()+"/")
}

// answers waits until something speaks HTTP at url, asking from the host itself.
func answers(ctx context.Context, h *lab.Host, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	_, err := h.Run(ctx, "curl", "-s", "-o", "/dev/null", "--retry", "60", "--retry-delay", "1", "--retry-connrefused", url)
	if err != nil {
		return fmt.Errorf("server on %s does not answer: %w", h.Name, err)
	}
	return nil
}

// Background starts cmd with its output in the file log, and reaps it when it
// ends.
func Background(cmd *exec.Cmd, log string) error {
	f, err := os.Create(log)
	if err != nil {
		return fmt.Errorf("log of %s: %w", cmd.Path, err)
	}
	cmd.Stderr = f
	if cmd.Stdout == nil {
		cmd.Stdout = f
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", strings.Join(cmd.Args, " "), err), f.Close())
	}
	go func() {
		_ = cmd.Wait() // it is killed at the end of the benchmark
		_ = f.Close()
	}()
	return nil
}

// Piped is [Background] for who reads what cmd prints, which ends when cmd does.
func Piped(cmd *exec.Cmd, log string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("output of %s: %w", cmd.Path, err)
	}
	cmd.Stdout = w
	if err := errors.Join(Background(cmd, log), w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Serve runs `tandem serve` of directory www on port 80 of a host until ctx
// ends; it returns when the server says it is ready. state is a directory for
// its data and log.
func Serve(ctx context.Context, h *lab.Host, bin, www, state string, flags ...string) error {
	_, err := Start(ctx, h, bin, www, state, flags...)
	return err
}

// Start is [Serve] for those who want to know the process. It is waited for.
func Start(ctx context.Context, h *lab.Host, bin, www, state string, flags ...string) (*os.Process, error) {
	return start(ctx, h, bin, state, append([]string{"serve", www, "--listen", h.IP.String() + ":80"}, flags...))
}

// Edge runs `tandem edge` in front of an origin on port 80 of a host until ctx ends,
// and returns its URL when it is ready.
func Edge(ctx context.Context, h *lab.Host, bin, origin, control, state string, flags ...string) (url string, err error) {
	addr := h.IP.String() + ":80"
	_, err = start(ctx, h, bin, state, append([]string{"edge", "--origin", origin, "--control", control, "--listen", addr}, flags...))
	return "http://" + addr, err
}

// Agent runs `tandem agent` on a host until ctx ends; it returns when it is ready.
func Agent(ctx context.Context, h *lab.Host, bin, state string, flags ...string) (*os.Process, error) {
	return start(ctx, h, bin, state, append([]string{"agent"}, flags...))
}

// Control runs `tandem control` on a host until ctx ends, and returns its URL when it
// is ready. state is a directory for its data and log.
func Control(ctx context.Context, h *lab.Host, bin, state string) (url string, err error) {
	addr := h.IP.String() + ":8090"
	_, err = start(ctx, h, bin, state, []string{"control", "--listen", addr})
	return "http://" + addr, err
}

// start runs a server of the program's.
func start(ctx context.Context, h *lab.Host, bin, state string, args []string) (*os.Process, error) {
	what := "tandem " + args[0]
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	cmd := h.Command(ctx, bin, append(args, "--data", filepath.Join(state, "data"))...)
	log := filepath.Join(state, "log")
	r, err := Piped(cmd, log)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", what, h.Name, err)
	}
	if err := awaitReady(r); err != nil {
		return nil, fmt.Errorf("%s on %s: %w\n%s", what, h.Name, errors.Join(err, r.Close()), Tail(log))
	}
	return cmd.Process, nil
}

// awaitReady reads lines up to "ready …", then lets the rest pass.
func awaitReady(r *os.File) error {
	_ = r.SetReadDeadline(time.Now().Add(readyWithin))
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready ") {
			_ = r.SetReadDeadline(time.Time{})
			go func() {
				for lines.Scan() { // a full pipe would stop the server
				}
				_ = r.Close()
			}()
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("no line \"ready …\" within %v: %w", readyWithin, err)
	}
	return errors.New("ended before it was ready")
}

// Tail is the end of a log, for error messages.
func Tail(log string) string {
	const room = 2000
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-room):])
}
