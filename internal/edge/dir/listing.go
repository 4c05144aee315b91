package dir

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// maxListed bounds a listing; a folder with more entries says so.
const maxListed = 10000

//go:embed listing.html
var files embed.FS

// listing is what the page shows.
type listing struct {
	Path    string
	Up      bool
	Base    string // URL of the folder, for the command that is shown
	Example string // escaped name of a file to fetch, empty when there is none
	Entries []listed
	More    bool
}

type listed struct {
	Name, Link string
	Folder     bool
	Size       string
	Time       string
}

// serveFolder answers with index.html if there is one, else with a listing.
func (d *Dir) serveFolder(w http.ResponseWriter, r *http.Request, name string) {
	index := path.Join(name, indexFile)
	if fi, err := d.root.Stat(index); err == nil && fi.Mode().IsRegular() {
		d.serveFile(w, r, index)
		return
	}
	l, err := d.list(name)
	if err != nil {
		fail(w, err)
		return
	}
	l.Path, l.Up = r.URL.Path, name != "."
	l.Base = base(r)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if r.Method == http.MethodHead {
		return
	}
	if err := d.page.Execute(w, l); err != nil {
		d.cfg.Logger.Debug("listing not sent", "name", name, "error", err)
	}
}

// base is the URL the client used for the folder, as far as the server can tell.
func base(r *http.Request) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// list reads a folder: folders first, then files, by name.
func (d *Dir) list(name string) (*listing, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(maxListed + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	l := &listing{More: len(entries) > maxListed}
	for _, e := range entries[:min(len(entries), maxListed)] {
		if hidden(e.Name()) {
			continue
		}
		fi, err := d.root.Stat(path.Join(name, e.Name()))
		if err != nil || !fi.IsDir() && !fi.Mode().IsRegular() {
			continue // leads outside, or is nothing to fetch
		}
		l.Entries = append(l.Entries, entryOf(e.Name(), fi))
	}
	slices.SortFunc(l.Entries, func(a, b listed) int {
		switch {
		case a.Folder == b.Folder:
			return strings.Compare(a.Name, b.Name)
		case a.Folder:
			return -1
		default:
			return 1
		}
	})
	for _, e := range l.Entries {
		if !e.Folder {
			l.Example = strings.TrimPrefix(e.Link, "./")
			break
		}
	}
	return l, nil
}

func entryOf(name string, fi fs.FileInfo) listed {
	link := "./" + url.PathEscape(name)
	e := listed{Name: name, Link: link, Time: fi.ModTime().UTC().Format(time.DateTime)}
	if fi.IsDir() {
		e.Name, e.Link, e.Folder = name+"/", link+"/", true
		return e
	}
	e.Size = size(fi.Size())
	return e
}

// size writes bytes for people.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1023.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
