//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// childArg makes this program one that runs on the host of the lab.
const childArg = "-on-host"

// load is what a child is told to ask for.
type load struct {
	mode  string
	url   string
	conns int
	last  time.Duration
	n     int
	size  int64
}

// got is what it says in the end.
type got struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	SHA256  string  `json:"sha256,omitempty"`
}

func child(ctx context.Context) error {
	var l load
	f := flag.NewFlagSet(childArg, flag.ExitOnError)
	f.StringVar(&l.mode, "mode", "", "")
	f.StringVar(&l.url, "url", "", "")
	f.IntVar(&l.conns, "conns", 1, "")
	f.DurationVar(&l.last, "for", 0, "")
	f.IntVar(&l.n, "n", 0, "")
	f.Int64Var(&l.size, "size", 0, "")
	if err := f.Parse(os.Args[2:]); err != nil {
		return err
	}
	var g got
	var err error
	switch l.mode {
	case "origin":
		return origin(ctx, l)
	case "bulk":
		g, err = l.bulk(ctx)
	case "hash":
		g, err = l.hash(ctx)
	case "many":
		g, err = l.many(ctx)
	default:
		return fmt.Errorf("mode %q", l.mode)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(g)
}

// ask runs a child on the host.
func (s *site) ask(ctx context.Context, l load) (g got, err error) {
	self, err := os.Executable()
	if err != nil {
		return g, err
	}
	out, err := s.host.Run(ctx, self, childArg, "-mode", l.mode, "-url", l.url, "-conns", fmt.Sprint(max(1, l.conns)),
		"-for", l.last.String(), "-n", fmt.Sprint(l.n), "-size", fmt.Sprint(l.size))
	if err != nil {
		return g, err
	}
	return g, json.Unmarshal(out, &g)
}

// bulk asks for one object again and again on each connection, as long as told, or
// once.
func (l load) bulk(ctx context.Context) (g got, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for range l.conns {
		wg.Go(func() {
			n, e := l.receive(ctx, began)
			mu.Lock()
			defer mu.Unlock()
			g.Bytes += n
			err = errors.Join(err, e)
		})
	}
	wg.Wait()
	g.Seconds = time.Since(began).Seconds()
	return g, err
}

func (l load) receive(ctx context.Context, began time.Time) (n int64, err error) {
	u, err := url.Parse(l.url)
	if err != nil {
		return 0, err
	}
	var d net.Dialer
	plain, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return 0, err
	}
	defer plain.Close()
	c, discard := plain, truncate(plain.(*net.TCPConn))
	if u.Scheme == "https" {
		t := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) // the bench made the certificate a moment ago
		if err := t.HandshakeContext(ctx); err != nil {
			return 0, err
		}
		if id := t.ConnectionState().CipherSuite; id != tls.TLS_AES_128_GCM_SHA256 {
			return 0, fmt.Errorf("cipher %s", tls.CipherSuiteName(id))
		}
		c, discard = t, drain(t)
	}
	request := "GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\n\r\n"
	for {
		if _, err := io.WriteString(c, request); err != nil {
			return n, err
		}
		size, have, err := header(c)
		if err == nil {
			err = discard(size - have)
		}
		if err != nil {
			return n, err
		}
		if n += size; time.Since(began) >= l.last {
			return n, nil
		}
	}
}

// header reads the header of a response, and says how long the body is and how
// much of it came along.
func header(c net.Conn) (size, have int64, err error) {
	buf := make([]byte, 0, 8<<10)
	for {
		n, err := c.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return 0, 0, err
		}
		buf = buf[:len(buf)+n]
		end := bytes.Index(buf, []byte("\r\n\r\n"))
		if end < 0 {
			if len(buf) == cap(buf) {
				return 0, 0, errors.New("header too long")
			}
			continue
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(buf[:end+4])), nil)
		if err != nil {
			return 0, 0, err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ContentLength < 0 {
			return 0, 0, fmt.Errorf("%s, length %d", resp.Status, resp.ContentLength)
		}
		return resp.ContentLength, int64(len(buf) - end - 4), nil
	}
}

// truncate drops bytes in the kernel, so that the loader costs next to nothing
// (tcp(7), MSG_TRUNC).
func truncate(c *net.TCPConn) func(int64) error {
	return func(n int64) error {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		buf := make([]byte, 1<<20)
		for n > 0 {
			var m int
			var rerr error
			err := raw.Read(func(fd uintptr) bool {
				m, _, rerr = syscall.Recvfrom(int(fd), buf[:min(n, int64(len(buf)))], syscall.MSG_TRUNC)
				return !errors.Is(rerr, syscall.EAGAIN)
			})
			if err = errors.Join(err, rerr); err != nil {
				return err
			}
			if m == 0 {
				return io.ErrUnexpectedEOF
			}
			n -= int64(m)
		}
		return nil
	}
}

func drain(c net.Conn) func(int64) error {
	buf := make([]byte, 64<<10)
	return func(n int64) error {
		for n > 0 {
			m, err := c.Read(buf[:min(n, int64(len(buf)))])
			if n -= int64(m); err != nil && n > 0 {
				return err
			}
		}
		return nil
	}
}

func client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 64, DisableCompression: true,
	}}
}

func fetch(ctx context.Context, c *http.Client, link string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		err = fmt.Errorf("%s: %s", link, resp.Status)
	}
	return resp, err
}

// hash gets an object, and its manifest where the response names one.
func (l load) hash(ctx context.Context) (g got, err error) {
	began := time.Now()
	resp, err := fetch(ctx, client(), l.url)
	if err != nil {
		return g, err
	}
	defer resp.Body.Close()
	h := sha256.New()
	if g.Bytes, err = io.Copy(h, resp.Body); err != nil {
		return g, err
	}
	g.Seconds, g.SHA256 = time.Since(began).Seconds(), hex.EncodeToString(h.Sum(nil))
	return g, nil
}

// many asks once for each of n objects below the URL.
func (l load) many(ctx context.Context) (g got, err error) {
	c := client()
	next := make(chan int)
	began := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range l.conns {
		wg.Go(func() {
			for i := range next {
				n, e := one(ctx, c, fmt.Sprintf("%s%d", l.url, i))
				mu.Lock()
				g.Bytes += n
				if e != nil && err == nil {
					err = e
				}
				mu.Unlock()
			}
		})
	}
	for i := range l.n {
		next <- i
	}
	close(next)
	wg.Wait()
	g.Seconds = time.Since(began).Seconds()
	return g, err
}

func one(ctx context.Context, c *http.Client, link string) (int64, error) {
	resp, err := fetch(ctx, c, link)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

// origin serves any number of small objects, each of other bytes, until it is
// killed.
func origin(ctx context.Context, l load) error {
	block := strings.Repeat("0123456789abcdef", int(l.size/16)+1)
	u, err := url.Parse(l.url)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		sum := sha256.Sum256([]byte(r.URL.Path))
		name := hex.EncodeToString(sum[:8])
		h.Set("Etag", `"`+name+`"`)
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Cache-Control", "max-age=86400")
		h.Set("Last-Modified", "Mon, 01 Jun 2026 10:00:00 GMT")
		h.Set("Content-Length", fmt.Sprint(l.size))
		_, _ = io.WriteString(w, name+block[:l.size-int64(len(name))]) // it went away
	})}
	return srv.Serve(ln)
}
