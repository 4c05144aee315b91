package agent

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/store"
)

// mapWithin bounds the wait for a chunk map.
const mapWithin = time.Minute

// update begins a download with what older versions have of the object: with what is
// here already nothing is asked for twice, not even the first bytes. It reports
// whether there is something to begin with; else it has left nothing behind.
func (d *Download) update(ctx context.Context) (began bool, err error) {
	files := d.older()
	if len(files) == 0 {
		return false, nil
	}
	var told *http.Response // by a server that is full; head closes it, as probe does
	full := func() bool {
		told, _ = d.head(ctx) //nolint:bodyclose // see above
		return told != nil
	}
	resp, err := d.patiently(ctx, func() (*http.Response, error) { return d.probe(ctx) }, full) //nolint:bodyclose // see above
	if told != nil {
		resp, err = told, nil
	}
	if err != nil {
		return false, ctx.Err() // whoever asks next hears it too
	}
	b := d.bootstrap(ctx, resp)
	if b.signed == nil {
		return false, ctx.Err()
	}
	basis := d.findBasis(ctx, b, files)
	if basis == nil {
		return false, ctx.Err()
	}
	src := d.sourceOf(resp)
	file, err := store.Create(d.target(), b.signed, src.meta(d.req.URL))
	d.mu.Lock()
	d.file, d.src, d.basis = file, src, basis
	d.mu.Unlock()
	if err == nil {
		err = d.adopt(ctx)
	}
	if err != nil {
		return true, err
	}
	return true, d.swarm(ctx, b, nil)
}

// reuse adds what older versions have to an object that is being resumed.
func (d *Download) reuse(ctx context.Context, resp *http.Response, b *bootstrapped) error {
	files := d.older()
	if len(files) == 0 {
		return nil
	}
	now := &bootstrapped{}
	if err := d.findManifest(ctx, resp, now); err != nil || now.signed.Object != b.signed.Object {
		return ctx.Err() // the download goes on without
	}
	basis := d.findBasis(ctx, now, files)
	if basis == nil {
		return ctx.Err()
	}
	d.mu.Lock()
	d.basis = basis
	d.mu.Unlock()
	return d.adopt(ctx)
}

// adopt copies the pieces that older versions have whole.
func (d *Download) adopt(ctx context.Context) error {
	n, err := d.file.Adopt(ctx, d.basis)
	d.mu.Lock()
	d.reused = n
	d.mu.Unlock()
	d.notify()
	d.e.log.Info("older version", "url", d.url.Redacted(), "found", d.basis.Found(), "pieces_of", n, "size", d.file.Manifest().Size)
	return err
}

// findBasis looks into files for what the object has in common with them; nil where
// there is nothing, or no chunk map.
func (d *Download) findBasis(ctx context.Context, b *bootstrapped, files []string) *store.Basis {
	d.note("looking for what has not changed")
	defer d.note("")
	chunks, err := d.fetchChunks(ctx, b)
	if err != nil {
		d.e.log.Info("older version not used", "url", d.url.Redacted(), "reason", err)
		return nil
	}
	basis, err := store.OpenBasis(ctx, b.signed.Manifest, chunks, files)
	if err != nil {
		return nil
	}
	if basis.Found() == 0 {
		d.logError("older version", basis.Close())
		return nil
	}
	return basis
}

// fetchChunks gets the chunk map of an object, if one of the host's keys has signed
// it.
func (d *Download) fetchChunks(ctx context.Context, b *bootstrapped) (*chunkmap.Map, error) {
	if b.chunks == nil {
		return nil, errPlain
	}
	ctx, cancel := context.WithTimeout(ctx, mapWithin)
	defer cancel()
	raw, _, err := d.describing(ctx, b.chunks, false, chunkmap.MaxEncoded(b.signed.Size))
	if err != nil {
		return nil, fmt.Errorf("chunk map: %w", err)
	}
	m, err := chunkmap.ParseSigned(raw, b.doc.Keys.Public())
	if err != nil {
		return nil, err
	}
	if m.Object != b.signed.Object || m.Size != b.signed.Size {
		return nil, fmt.Errorf("%w: it is of another object", chunkmap.ErrMalformed)
	}
	return m, nil
}

// older are the files that may hold an older version: those that the caller names,
// the one that is to be replaced, and what the URL gave before.
func (d *Download) older() []string {
	if d.req.Fresh || d.e.cfg.NoP2P { // there is no map without a manifest
		return nil
	}
	candidates := d.req.From
	if d.temp == "" {
		if d.req.Overwrite {
			candidates = append(candidates[:len(candidates):len(candidates)], d.req.File)
		}
		candidates = append(candidates[:len(candidates):len(candidates)], d.e.history.files(d.req.URL)...)
	}
	var files []string
	var seen []os.FileInfo
next:
	for _, path := range candidates {
		fi, err := os.Stat(path)
		if err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 {
			continue
		}
		for _, s := range seen {
			if os.SameFile(s, fi) {
				continue next
			}
		}
		files, seen = append(files, path), append(seen, fi)
	}
	return files
}

// forget lets go of the older versions.
func (d *Download) forget() {
	if d.basis != nil {
		d.logError("older version", d.basis.Close())
		d.basis = nil
	}
}
