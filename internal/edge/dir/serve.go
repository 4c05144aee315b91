package dir

import (
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/filehash"
)

const (
	indexFile = "index.html"
	// datable is the age from which a time of last write names one version: the
	// field Last-Modified counts seconds (RFC 9110 §8.8.2.2).
	datable = 2 * time.Second
)

// ServeHTTP answers GET and HEAD for a file or a listing.
func (d *Dir) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD work here", http.StatusMethodNotAllowed)
		return
	}
	urlPath := r.URL.Path
	asFolder := strings.HasSuffix(urlPath, "/")
	if asFolder && urlPath != "/" {
		urlPath = strings.TrimSuffix(urlPath, "/")
	}
	name, err := nameOf(urlPath)
	if err != nil {
		fail(w, err)
		return
	}
	// Stat comes before Open, because opening a pipe would wait for its writer.
	fi, err := d.root.Stat(name)
	switch {
	case err != nil:
		fail(w, err)
	case fi.IsDir() && asFolder:
		d.serveFolder(w, r, name)
	case fi.IsDir():
		redirect(w, r)
	case !fi.Mode().IsRegular() || asFolder:
		fail(w, fs.ErrNotExist)
	default:
		d.serveFile(w, r, name)
	}
}

// redirect sends the client to the same path with a slash at its end.
func redirect(w http.ResponseWriter, r *http.Request) {
	to := path.Base(r.URL.EscapedPath()) + "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	// "./" keeps a first element with a colon from being read as a scheme.
	w.Header().Set("Location", "./"+to)
	w.WriteHeader(http.StatusMovedPermanently)
}

// serveFile sends a file by the rules of RFC 9110: conditions, ranges, If-Range.
func (d *Dir) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	f, err := d.root.Open(name)
	if err != nil {
		fail(w, err)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		fail(w, errors.Join(err, fs.ErrNotExist))
		return
	}
	stamp := filehash.StampOf(fi)
	v := d.version(name, stamp)
	if v.Manifest == nil && v.Size >= d.cfg.Ahead {
		d.hint(name)
	}
	h := w.Header()
	h.Set("Etag", v.ETag)
	h.Set("Content-Type", contentType(name))
	h.Set("X-Content-Type-Options", "nosniff")
	if d.cfg.Decorate != nil {
		d.cfg.Decorate(h, v)
	}
	modified := fi.ModTime()
	if d.cfg.Now().Sub(modified) < datable {
		modified = time.Time{}
	}
	guard := &guardedWriter{ResponseWriter: w, file: f, stamp: stamp}
	http.ServeContent(guard, r, "", modified, f)
	if guard.changed {
		d.cfg.Logger.Warn("file changed while it was sent; the response was cut", "file", name)
		panic(http.ErrAbortHandler) //nolint:forbidigo // how a handler cuts a response on every version of HTTP
	}
}

// fail answers with the status of an error. It does not tell what is hidden
// from what is not there.
func fail(w http.ResponseWriter, err error) {
	for _, field := range []string{"Etag", "Content-Type", "Last-Modified"} {
		w.Header().Del(field)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		http.Error(w, "the server may not read this file", http.StatusForbidden)
	case errors.Is(err, os.ErrClosed):
		http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
	default:
		http.Error(w, "no such file", http.StatusNotFound)
	}
}

// contentType goes by the extension. What is not known is bytes, never guessed
// from the content.
func contentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	switch ext {
	case ".m3u8":
		return "application/vnd.apple.mpegurl"
	case ".mpd":
		return "application/dash+xml"
	case ".ts", ".m2ts":
		return "video/mp2t"
	case ".m4s", ".cmfv":
		return "video/iso.segment"
	case ".mp4", ".m4v":
		return "video/mp4"
	case ".zst":
		return "application/zstd"
	case ".gz", ".tgz":
		return "application/gzip"
	case ".xz":
		return "application/x-xz"
	case ".iso", ".img", ".bin":
		return "application/octet-stream"
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}
