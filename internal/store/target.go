package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// What is put behind the final path for the files of an unfinished object.
const (
	PartSuffix  = ".tandem-part"
	StateSuffix = ".tandem-state"
)

// Target says where an object goes.
type Target struct {
	Path string
	// Overwrite lets Commit replace a file of that name.
	Overwrite bool
	// Sync flushes the data to the disk before they get their name, so that the
	// name survives a power cut only together with its content. It costs as long
	// as the disk needs for what the kernel has not written yet. Off, Commit is
	// as durable as what curl or a browser leaves behind.
	Sync bool
}

// Meta is what a download remembers about its source.
type Meta struct {
	URL string `json:"url"`
	// ETag and LastModified are the validators of the response, as sent, for
	// If-Range.
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

func (t Target) part() string  { return t.Path + PartSuffix }
func (t Target) state() string { return t.Path + StateSuffix }

// vacant reports whether the object may take its name.
func (t Target) vacant() error {
	fi, err := os.Lstat(t.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fail("create", t.Path, err)
	case !t.Overwrite:
		return fail("create", t.Path, ErrExists)
	case !fi.Mode().IsRegular() && fi.Mode()&fs.ModeSymlink == 0:
		return fmt.Errorf("create %s: %w and is no regular file", t.Path, ErrExists)
	}
	return nil
}

// pair is the two files of files behind an unfinished object. After publish it is
// one open file under its final name, and state is nil.
type pair struct {
	target Target
	data   *os.File
	state  *stateFile
	behind behind
}

// createPair makes an empty pair, replacing what an earlier download left.
func createPair(t Target, meta Meta) (*pair, error) {
	if err := t.vacant(); err != nil {
		return nil, err
	}
	st, err := lockState(t.state(), os.O_CREATE)
	if err != nil {
		return nil, err
	}
	p := &pair{target: t, state: st}
	if err := p.createData(); err != nil {
		return nil, errors.Join(err, p.discard())
	}
	if err := st.begin(meta); err != nil {
		return nil, errors.Join(err, p.discard())
	}
	return p, nil
}

// createData makes a new data file. Whatever has its name is removed first, and
// never followed: it may be a link that somebody put into a shared directory.
func (p *pair) createData() error {
	path := p.target.part()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail("replace", path, err)
	}
	f, err := openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fail("create", path, err)
	}
	p.data = f
	return nil
}

// openData opens the data file an earlier process left.
func (p *pair) openData() error {
	path := p.target.part()
	if fi, err := os.Lstat(path); err != nil {
		return fail("open", path, err)
	} else if !fi.Mode().IsRegular() {
		return fmt.Errorf("open %s: %w: no regular file", path, ErrDamaged)
	}
	f, err := openFile(path, os.O_RDWR, 0)
	if err != nil {
		return fail("open", path, err)
	}
	if err := ours(f); err != nil {
		return errors.Join(fail("open", path, err), f.Close())
	}
	p.data = f
	return nil
}

// ours refuses a file of another user in a directory where everybody can put
// files: its owner could change it after it was verified.
func ours(f *os.File) error {
	fi, err := f.Stat()
	if err != nil || ownedByUs(fi) {
		return err
	}
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err == nil && dir.Mode().Perm()&0o002 != 0 {
		err = fmt.Errorf("%w: it belongs to another user", ErrDamaged)
	}
	return err
}

func (p *pair) writeAt(b []byte, off int64) (int, error) {
	n, err := p.data.WriteAt(b, off)
	p.behind.wrote(p.data, n)
	return n, fail("write", p.target.part(), err)
}

func (p *pair) truncate(size int64) error {
	return fail("size", p.target.part(), p.data.Truncate(size))
}

// publish gives the data their final name and forgets the state.
func (p *pair) publish() error {
	if err := p.target.vacant(); err != nil {
		return err
	}
	if p.target.Sync {
		if err := p.data.Sync(); err != nil {
			return fail("flush", p.target.part(), err)
		}
	}
	move := renameNew
	if p.target.Overwrite {
		move = os.Rename
	}
	if err := move(p.target.part(), p.target.Path); err != nil {
		return fail("rename to", p.target.Path, err)
	}
	err := p.dropState()
	if p.target.Sync {
		err = errors.Join(err, fail("flush directory of", p.target.Path, syncDir(filepath.Dir(p.target.Path))))
	}
	return err
}

func (p *pair) dropState() error {
	err := p.state.remove()
	p.state = nil
	return err
}

// discard removes both files. After publish there is nothing to remove.
func (p *pair) discard() error {
	var err error
	if p.state != nil && p.data != nil {
		err = fail("remove", p.target.part(), os.Remove(p.target.part()))
	}
	if p.state != nil {
		err = errors.Join(err, p.dropState())
	}
	return errors.Join(err, p.close())
}

func (p *pair) close() error {
	var err error
	if p.state != nil {
		err = p.state.close()
		p.state = nil
	}
	if p.data != nil {
		err = errors.Join(err, fail("close", p.target.Path, p.data.Close()))
		p.data = nil
	}
	return err
}
