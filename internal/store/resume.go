package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Resumed is what an earlier process left of an object.
type Resumed struct {
	Meta Meta
	// Either File or Plain is set. The manifest of File was not checked against
	// any trusted key: see [manifest.Signed.Verify].
	File  *File
	Plain *Plain
	// Pieces and Bytes count what was kept: all of it was hashed again. Pieces is
	// 0 for a Plain.
	Pieces int
	Bytes  int64
	// Dropped counts pieces that were claimed and are not right.
	Dropped int
}

// Resume reopens what an earlier process left at the target, however it ended.
// Every claimed piece is hashed again before it is believed. Fields of want that
// are not empty must agree with what the state file says, else the error is
// ErrStale. It is fs.ErrNotExist when there is nothing, ErrDamaged when the
// state makes no sense, ErrLocked when another process is at it, ErrExists when
// the name is taken. After ErrStale and ErrDamaged, [Create] begins anew.
func Resume(ctx context.Context, t Target, want Meta) (*Resumed, error) {
	sf, err := lockState(t.state(), 0)
	if err != nil {
		return nil, err
	}
	p := &pair{target: t, state: sf}
	r, err := resume(ctx, p, want)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return r, nil
}

func resume(ctx context.Context, p *pair, want Meta) (*Resumed, error) {
	st, err := p.state.load()
	if err != nil {
		return nil, err
	}
	if err := st.meta.matches(want); err != nil {
		return nil, fail("resume", p.target.Path, err)
	}
	err = p.openData()
	if errors.Is(err, fs.ErrNotExist) && st.signed != nil {
		if r, err := resumeFinished(ctx, p, st); r != nil || err != nil {
			return r, err
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = p.createData()
	}
	if err != nil {
		return nil, err
	}
	if err := p.target.vacant(); err != nil {
		return nil, err
	}
	if st.signed != nil {
		return resumeFile(ctx, p, st)
	}
	return resumePlain(ctx, p, st)
}

func (m Meta) matches(want Meta) error {
	for _, f := range []struct{ name, have, want string }{
		{"URL", m.URL, want.URL},
		{"ETag", m.ETag, want.ETag},
		{"Last-Modified", m.LastModified, want.LastModified},
	} {
		if f.want != "" && f.have != f.want {
			return fmt.Errorf("%w: %s is %.200q, not %.200q", ErrStale, f.name, f.have, f.want)
		}
	}
	return nil
}

// resumeFinished completes a Commit that was killed between giving the data
// their name and removing the state. It returns nothing if that is not what
// happened.
func resumeFinished(ctx context.Context, p *pair, st *state) (*Resumed, error) {
	data, err := openShared(p.target.Path)
	if err != nil {
		return nil, nil //nolint:nilerr // then it was not finished
	}
	all := manifest.NewBitfield(st.signed.NumPieces())
	all.SetAll()
	good, err := goodPieces(ctx, data, st.signed.Manifest, all)
	if fi, e := data.Stat(); err != nil || e != nil || !good.Full() || fi.Size() != st.signed.Size {
		return nil, errors.Join(err, data.Close())
	}
	p.data = data
	if err := p.dropState(); err != nil {
		return nil, err
	}
	f := &File{m: st.signed.Manifest, signed: st.signed, pair: p}
	if err := f.finished(); err != nil {
		return nil, err
	}
	return &Resumed{Meta: st.meta, File: f, Pieces: good.Count(), Bytes: st.signed.Size}, nil
}

func resumeFile(ctx context.Context, p *pair, st *state) (*Resumed, error) {
	m := st.signed.Manifest
	said := manifest.NewBitfield(m.NumPieces())
	for i, c := range st.claims {
		if c == claimed {
			said.Set(i)
		}
	}
	good, err := goodPieces(ctx, p.data, m, said)
	if err != nil {
		return nil, fail("resume", p.target.Path, err)
	}
	if err := p.state.reclaim(good); err != nil {
		return nil, err
	}
	if err := p.truncate(m.Size); err != nil {
		return nil, err
	}
	p.behind.expect(m.Size)
	r := &Resumed{Meta: st.meta, Pieces: good.Count(), Dropped: said.Count() - good.Count()}
	for i := range m.NumPieces() {
		if good.Has(i) {
			r.Bytes += m.PieceLen(i)
		}
	}
	r.File = &File{m: m, signed: st.signed, pair: p, have: good}
	return r, nil
}

func resumePlain(ctx context.Context, p *pair, st *state) (*Resumed, error) {
	sum, kept, err := goodPrefix(ctx, p.data, st.marks)
	if err != nil {
		return nil, fail("resume", p.target.Path, err)
	}
	size := int64(0)
	if kept > 0 {
		size = st.marks[kept-1].Length
	}
	if err := p.truncate(size); err != nil {
		return nil, err
	}
	if err := p.state.rewind(st.end - int64(len(st.marks)-kept)*markSize); err != nil {
		return nil, err
	}
	plain := &Plain{pair: p, meta: st.meta, sum: sum, size: size, marked: size}
	return &Resumed{Meta: st.meta, Plain: plain, Bytes: size}, nil
}

// goodPrefix counts the marks that data bear out, and returns the hash of the
// bytes up to the last of these.
func goodPrefix(ctx context.Context, data *os.File, marks []mark) (hash.Hash, int, error) {
	running := sha256.New()
	good, at := hash.Cloner(nil), int64(0)
	buf := make([]byte, hashBuffer)
	for i, m := range marks {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		n, err := io.CopyBuffer(running, io.NewSectionReader(data, at, m.Length-at), buf)
		if err != nil || n < m.Length-at || manifest.Hash(running.Sum(nil)) != m.Sum {
			return orNew(good), i, nil //nolint:nilerr // bytes that cannot be read are not kept
		}
		if good, err = running.(hash.Cloner).Clone(); err != nil {
			return nil, 0, err
		}
		at = m.Length
	}
	return orNew(good), len(marks), nil
}

func orNew(h hash.Cloner) hash.Hash {
	if h == nil {
		return sha256.New()
	}
	return h
}
