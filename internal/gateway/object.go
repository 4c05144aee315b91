package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/keyfile"
)

const (
	objectFile = "object"
	noteFile   = "object.json"
	// maxRestored is how many objects are shared again after a start.
	maxRestored = 200
	maxNote     = 64 << 10
)

// object is one version of a URL. Its fields are guarded by objects.mu, but for those
// that never change.
type object struct {
	s    *objects
	key  string // its URL
	dir  string
	dl   *agent.Download
	size int64

	header   http.Header // of the answer that it came with
	modified time.Time
	until    time.Time // until then it is given without asking
	checked  time.Time // when the server was asked last
	used     time.Time
	refs     int
	linger   *time.Timer
	whole    bool // on the disk
	restored bool // of an earlier run, and about to be shared again
	former   bool // the URL has another version
	broken   bool
}

// note is what is kept beside an object for the next start.
type note struct {
	URL  string    `json:"url"`
	Used time.Time `json:"used"`
}

func (o *object) host() string {
	u, err := url.Parse(o.key)
	if err != nil {
		return ""
	}
	return u.Host
}

// describe takes the header of an answer for the object's.
func (o *object) describe(h http.Header) {
	o.header = h.Clone()
	o.modified, _ = http.ParseTime(h.Get("Last-Modified"))
	o.checked = time.Now()
	o.until = o.checked.Add(freshFor(h, o.checked))
}

// condition asks for what is not this version.
func (o *object) condition(h http.Header) {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if tag := o.header.Get("ETag"); tag != "" {
		h.Set("If-None-Match", tag)
		return
	}
	h.Set("If-Modified-Since", o.header.Get("Last-Modified"))
}

// renew notes that the server still has this version. objects.mu is held.
func (o *object) renew(h http.Header) {
	next := o.header.Clone()
	for _, k := range []string{"Age", "Cache-Control", "Date", "Expires", "Pragma"} {
		next.Del(k)
	}
	for k, v := range h { // RFC 9111 §3.2
		if !strings.HasPrefix(k, "Content-") && k != "Etag" {
			next[k] = slices.Clone(v)
		}
	}
	o.describe(next)
}

// take keeps the object until release. objects.mu is held.
func (o *object) take() {
	o.refs++
	o.used = time.Now()
	if o.linger != nil {
		o.linger.Stop()
		o.linger = nil
	}
}

// release ends the use of the object.
func (o *object) release() {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	o.refs--
	o.used = time.Now()
	if o.refs > 0 || o.whole || o.former || o.broken || o.s.closed {
		o.s.tidy(o)
		return
	}
	var own *time.Timer
	own = time.AfterFunc(lingerFor, func() {
		o.s.mu.Lock()
		defer o.s.mu.Unlock()
		if o.linger == own {
			o.linger = nil
			o.s.tidy(o)
		}
	})
	o.linger = own
}

// save notes a whole object for the next start.
func (o *object) save() error {
	b, err := json.Marshal(note{o.key, o.used})
	if err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	return keyfile.Replace(filepath.Join(o.dir, noteFile), b)
}

// serve answers a request from the object, ranges and conditions included.
func (o *object) serve(x *exchange) {
	h := x.w.Header()
	o.s.mu.Lock()
	pass(h, o.header)
	modified, whole := o.modified, o.whole
	o.s.mu.Unlock()
	x.allowPage(h)
	for _, k := range []string{"Age", "Content-Length", "Content-Range"} {
		h.Del(k)
	}
	body := &reader{ctx: x.r.Context(), dl: o.dl, size: o.size}
	http.ServeContent(x.w, x.r, "", modified, body)
	if whole {
		x.g.traffic.cached.Add(body.read)
	}
	if body.err != nil && x.r.Context().Err() == nil {
		x.g.log.Warn("gateway: broken off", "host", x.url.Host, "error", body.err)
	}
}

// reader reads an object as it comes.
type reader struct {
	ctx  context.Context
	dl   *agent.Download
	size int64
	off  int64
	read int64
	err  error
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if r.off >= r.size {
		return 0, io.EOF
	}
	n, err := r.dl.ReadAt(r.ctx, p, r.off)
	r.off += int64(n)
	r.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// Seek implements [io.Seeker].
func (r *reader) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += r.off
	case io.SeekEnd:
		off += r.size
	}
	if off < 0 {
		return 0, fmt.Errorf("seek: position %d", off)
	}
	r.off = off
	return off, nil
}

// keeper is a body that is written down as it is read, and shared from there when it is
// whole: every piece is checked before it is given to anyone, once there is a manifest.
type keeper struct {
	io.ReadCloser
	s    *objects
	ctx  context.Context //nolint:containedctx // of the one answer
	key  string
	size int64
	dir  string
	file *os.File
	n    int64
	err  error // of keeping it
}

// Read implements [io.Reader].
func (k *keeper) Read(p []byte) (int, error) {
	if k.file == nil && k.err == nil {
		k.err = k.begin()
	}
	n, err := k.ReadCloser.Read(p)
	if k.err == nil {
		_, k.err = k.file.Write(p[:n])
		k.n += int64(n)
	}
	return n, err
}

func (k *keeper) begin() (err error) {
	if k.dir, err = os.MkdirTemp(k.s.dir, "o-"); err == nil {
		k.file, err = os.OpenFile(filepath.Join(k.dir, objectFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	}
	return err
}

// Close implements [io.Closer].
func (k *keeper) Close() error {
	ctx := context.WithoutCancel(k.ctx)
	err := k.ReadCloser.Close()
	if k.file != nil {
		k.err = errors.Join(k.err, k.file.Close())
	}
	switch {
	case k.dir == "":
	case k.err == nil && k.n == k.size && k.s.room(k.size):
		k.s.again(ctx, k.key, k.dir, k.size, time.Now())
	default:
		k.s.remove(k.dir)
	}
	k.dir, k.file = "", nil
	return err
}

// ending ends the request of a body when that is closed.
type ending struct {
	io.ReadCloser
	end context.CancelFunc
}

// Close implements [io.Closer].
func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

// restore shares again what earlier runs have left whole, the last used first, and
// removes the rest.
func (s *objects) restore(ctx context.Context) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.g.log.Warn("gateway: objects not read", "error", err)
		return
	}
	type found struct {
		note
		dir  string
		size int64
	}
	var list []found
	for _, e := range entries {
		f := found{dir: filepath.Join(s.dir, e.Name())}
		b, err := os.ReadFile(filepath.Join(f.dir, noteFile))
		fi, err2 := os.Stat(filepath.Join(f.dir, objectFile))
		if err = errors.Join(err, err2); err == nil && len(b) < maxNote {
			err = json.Unmarshal(b, &f.note)
		}
		if err == nil {
			f.size = fi.Size()
			list = append(list, f)
			continue
		}
		s.remove(f.dir)
	}
	slices.SortFunc(list, func(a, b found) int { return b.Used.Compare(a.Used) })
	var sum int64
	for i, f := range list {
		u, err := url.Parse(f.URL)
		if sum += f.size; err != nil || i >= maxRestored || sum > s.quota || s.g.check(ctx, u) != nil {
			s.remove(f.dir)
			continue
		}
		s.again(ctx, f.URL, f.dir, f.size, f.Used)
	}
}

func (s *objects) remove(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		s.g.log.Warn("gateway: object not removed", "dir", dir, "error", err)
	}
}

// again shares an object that is whole from where it lies, such as one of an earlier run.
// It is given to clients once the server has confirmed that it still has this version.
func (s *objects) again(ctx context.Context, key, dir string, size int64, used time.Time) {
	dl, err := s.g.engine.Seed(ctx, agent.Request{URL: key, File: filepath.Join(dir, objectFile), Guarded: true, NoRedirects: true})
	if err != nil {
		s.remove(dir)
		return
	}
	o := &object{s: s, key: key, dir: dir, dl: dl, size: size, used: used, restored: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[o] = true
	if s.closed {
		s.drop(o)
		return
	}
	s.waiting.Go(func() {
		_, err := dl.Wait(context.WithoutCancel(ctx))
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case !s.all[o] || errors.Is(err, agent.ErrInterrupted):
		case err != nil || s.byURL[key] != nil:
			s.drop(o)
		default:
			o.whole, o.restored = true, false
			o.describe(dl.Header())
			s.byURL[key] = o
			if err := o.save(); err != nil {
				s.g.log.Warn("gateway: object not noted", "host", o.host(), "error", err)
			}
		}
	})
}
