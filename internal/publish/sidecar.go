package publish

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/filehash"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// walk calls fn with the name of every file that a web server would serve:
// regular, or a link to one inside the directory, and not hidden.
func (p *publisher) walk(ctx context.Context, fn func(name string)) error {
	return fs.WalkDir(p.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			p.problem(name, err)
			return nil
		case name != "." && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		}
		fi, err := p.root.Stat(name)
		switch {
		case e.Type()&fs.ModeSymlink != 0 && (err != nil || fi.IsDir()):
			// What it leads to may be served, without peers.
			p.log.Info("link not followed: it leads out, nowhere or to a folder", "name", name)
		case err != nil:
			p.problem(name, err)
		case fi.Mode().IsRegular():
			fn(name)
		}
		return nil
	})
}

func (p *publisher) problem(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum.Problems = append(p.sum.Problems, Problem{name, err})
}

// sidecar is where the manifest of a file lies, or with mapSuffix its chunk map.
func (p *publisher) sidecar(name, suffix string) string {
	return manifestsDir + p.cfg.BasePath + "/" + name + suffix
}

// file brings the manifest of one file up to date. It returns an error only when
// the run should end.
func (p *publisher) file(ctx context.Context, name string) error {
	made, hasMap, hashed, err := p.describe(ctx, name)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.problem(name, err)
		return nil
	}
	p.mu.Lock()
	p.want[p.sidecar(name, suffix)], p.want[p.sidecar(name, mapSuffix)] = true, hasMap
	p.sum.Files++
	p.sum.Hashed += hashed
	if made {
		p.sum.Made++
	}
	p.mu.Unlock()
	if p.cfg.OnFile != nil {
		p.cfg.OnFile(name, hashed)
	}
	return nil
}

// describe writes manifest and chunk map of a file unless good ones are there. It
// reports whether it did, whether the file has a map, and how many bytes it hashed.
func (p *publisher) describe(ctx context.Context, name string) (made, hasMap bool, hashed int64, err error) {
	f, err := p.root.Open(name)
	if err != nil {
		return false, false, 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return false, false, 0, err
	}
	old := p.existing(name, fi)
	trusted := []ed25519.PublicKey{p.sum.PublicKey}
	hasMap = fi.Size() >= chunkmap.MinObject
	if old.manifest != nil && old.manifest.Verify(trusted) == nil && (!hasMap || old.chunks != nil) {
		return false, hasMap, 0, nil
	}
	sum := filehash.Summary{Stamp: filehash.StampOf(fi)}
	if old.manifest != nil && !hasMap {
		sum.Manifest = old.manifest.Manifest // right, but signed with another key
	} else {
		if sum, err = filehash.Sum(ctx, f); err != nil {
			return false, false, 0, err
		}
		hashed, hasMap = sum.Stamp.Size, sum.Chunks != nil
	}
	modified := time.Unix(0, sum.Stamp.Modified)
	if sum.Chunks != nil { // first: who finds the manifest looks for it
		if err := p.put(p.sidecar(name, mapSuffix), sum.Chunks.Sign(p.key), modified); err != nil {
			return false, hasMap, hashed, err
		}
	}
	b := manifest.Sign(sum.Manifest, p.key).Append(nil)
	made = !bytes.Equal(b, old.encoded)
	return made, hasMap, hashed, p.put(p.sidecar(name, suffix), b, modified)
}

// put writes a sidecar, which carries the time of its file.
func (p *publisher) put(side string, b []byte, modified time.Time) error {
	if err := p.write(side, b); err != nil {
		return err
	}
	return p.root.Chtimes(side, modified, modified)
}

// described is what an earlier run has left of a file.
type described struct {
	manifest *manifest.Signed // nil where it is not of the file as it is now
	chunks   *chunkmap.Map    // likewise; signed with our key
	encoded  []byte           // the manifest's bytes in any case
}

// existing returns what is there if it is of the file as it is now; the manifest
// whoever signed it.
func (p *publisher) existing(name string, fi fs.FileInfo) (d described) {
	var fresh bool
	d.encoded, fresh = p.sidecarOf(fi, p.sidecar(name, suffix), manifest.MaxEncoded)
	if s, err := manifest.DecodeSigned(d.encoded); err == nil && fresh && s.Size == fi.Size() {
		d.manifest = s
	}
	b, fresh := p.sidecarOf(fi, p.sidecar(name, mapSuffix), chunkmap.MaxEncoded(fi.Size()))
	m, err := chunkmap.ParseSigned(b, []ed25519.PublicKey{p.sum.PublicKey})
	if err == nil && fresh && d.manifest != nil && m.Object == d.manifest.Object {
		d.chunks = m
	}
	return d
}

// sidecarOf returns the bytes of a sidecar, and whether it is as young as its file
// asks for.
func (p *publisher) sidecarOf(fi fs.FileInfo, side string, most int64) (b []byte, fresh bool) {
	have, err := p.root.Stat(side)
	if err != nil || !have.Mode().IsRegular() || have.Size() > most {
		return nil, false
	}
	if b, err = p.root.ReadFile(side); err != nil {
		return nil, false
	}
	// A file put in place of another with its size and time of last write still
	// has a younger inode than the sidecar, or as young a one by a coarse clock.
	c := filehash.StampOf(fi).Changed
	return b, have.ModTime().Equal(fi.ModTime()) && (c == 0 || c < filehash.StampOf(have).Changed)
}

// write puts a file in place at once and whole. Web servers, which run as
// another user, must be able to read it.
func (p *publisher) write(name string, b []byte) error {
	if err := p.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := name + tempSuffix
	f, err := p.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = p.root.Rename(tmp, name)
	}
	if err != nil {
		_ = p.root.Remove(tmp) // the error that counts is err
	}
	return err
}

// writeIfNew writes a file that has other bytes, and reports whether it had.
func (p *publisher) writeIfNew(name string, b []byte) (bool, error) {
	if f, err := p.root.Open(name); err == nil {
		have, err := io.ReadAll(io.LimitReader(f, int64(len(b))+1))
		f.Close()
		if err == nil && bytes.Equal(have, b) {
			return false, nil
		}
	}
	return true, p.write(name, b)
}

// prune removes the manifests of files that are gone, folders left empty, and
// what an interrupted run left. It returns the number of manifests removed.
func (p *publisher) prune() (int, error) {
	var remove, folders []string
	n := 0
	err := fs.WalkDir(p.root.FS(), manifestsDir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.IsDir():
			folders = append(folders, name)
		case strings.HasSuffix(name, suffix+tempSuffix), strings.HasSuffix(name, mapSuffix+tempSuffix):
			remove = append(remove, name)
		case strings.HasSuffix(name, mapSuffix) && !p.want[name]:
			remove = append(remove, name)
		case strings.HasSuffix(name, suffix) && !p.want[name]:
			remove = append(remove, name)
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("remove old manifests: %w", err)
	}
	for _, name := range remove {
		if err := p.root.Remove(name); err != nil {
			return n, fmt.Errorf("remove old manifests: %w", err)
		}
	}
	for i := len(folders) - 1; i > 0; i-- {
		_ = p.root.Remove(folders[i]) // those that are not empty stay
	}
	return n, nil
}
