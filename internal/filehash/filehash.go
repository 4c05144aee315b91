// Package filehash makes the manifest and the chunk map of a file on disk, and tells
// whether a file is still the one that was hashed.
//
// The danger it guards against is a manifest that matches no version of the
// file, because the file was written to while it was read. A file is therefore
// known by a [Stamp], taken before and after; a file written to within the last
// moments is given time to settle first, because a second write within the
// resolution of the file system's clock would leave the stamp as it was.
package filehash

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// settle is how long a file must have been left alone before it is hashed:
	// well above the resolution of kernel time stamps (4 to 16 ms).
	settle = 100 * time.Millisecond
	// bufferSize is read at once; between reads the context is looked at.
	bufferSize = 256 << 10
)

// ErrChanged is wrapped by the errors about a file that was written to while it
// was read. Trying again later helps.
var ErrChanged = errors.New("the file is being written to")

// Stamp tells the versions of a file apart without reading it.
type Stamp struct {
	Size     int64 // bytes
	Modified int64 // time of the last write, Unix nanoseconds
	Changed  int64 // time of the last change of the inode, Unix nanoseconds; 0 where the system has none
}

// StampOf is the stamp of the file that fi describes.
func StampOf(fi fs.FileInfo) Stamp {
	return Stamp{Size: fi.Size(), Modified: fi.ModTime().UnixNano(), Changed: changed(fi)}
}

// ETag is a strong entity tag (RFC 9110 §8.8.3) for the version, quotes included.
func (s Stamp) ETag() string {
	b := make([]byte, 0, 24)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Modified))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Changed))
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// Summary is what reading a file from its beginning to its end has told.
type Summary struct {
	Manifest *manifest.Manifest
	Chunks   *chunkmap.Map // nil where the file is smaller than [chunkmap.MinObject]
	Stamp    Stamp         // of the version that these describe
}

// Sum reads f once. The errors wrap [ErrChanged] when the file was written to
// meanwhile.
func Sum(ctx context.Context, f *os.File) (Summary, error) {
	before, err := stampOfOpen(f)
	if err != nil {
		return Summary{}, err
	}
	if err := before.wait(ctx, time.Now()); err != nil {
		return Summary{}, fmt.Errorf("hash %s: %w", f.Name(), err)
	}
	b, err := newBuilder(before.Size)
	if err != nil {
		return Summary{}, fmt.Errorf("hash %s: %w", f.Name(), err)
	}
	// Only the reader's side is wrapped: io.CopyBuffer would otherwise hand the
	// whole file to a method that does not look at the context.
	src := contextReader{ctx, io.NewSectionReader(f, 0, before.Size)}
	if _, err := io.CopyBuffer(b, src, make([]byte, bufferSize)); err != nil {
		return Summary{}, fmt.Errorf("hash %s: %w", f.Name(), err)
	}
	after, err := stampOfOpen(f)
	if err != nil {
		return Summary{}, err
	}
	s, err := b.finish()
	if err != nil || after != before {
		return Summary{}, fmt.Errorf("hash %s: %w", f.Name(), ErrChanged)
	}
	s.Stamp = after
	return s, nil
}

// builder makes both of what is written to it, on two cores where there are.
type builder struct {
	manifest *manifest.Builder
	chunks   *chunkmap.Builder // nil for a small object
}

func newBuilder(size int64) (*builder, error) {
	m, err := manifest.NewBuilder(size)
	if err != nil || size < chunkmap.MinObject {
		return &builder{manifest: m}, err
	}
	return &builder{m, chunkmap.NewBuilder(size)}, nil
}

// Write implements [io.Writer].
func (b *builder) Write(p []byte) (int, error) {
	if b.chunks == nil {
		return b.manifest.Write(p)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = b.chunks.Write(p) // it does not fail
	}()
	n, err := b.manifest.Write(p)
	<-done
	return n, err
}

func (b *builder) finish() (s Summary, err error) {
	if s.Manifest, err = b.manifest.Finish(); err == nil && b.chunks != nil {
		s.Chunks = b.chunks.Finish(s.Manifest.ID())
	}
	return s, err
}

func stampOfOpen(f *os.File) (Stamp, error) {
	fi, err := f.Stat()
	if err != nil {
		return Stamp{}, fmt.Errorf("hash: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return Stamp{}, fmt.Errorf("hash %s: not a regular file", f.Name())
	}
	return StampOf(fi), nil
}

// wait returns once the stamp is old enough that any later write shows in it. A
// stamp from the future (a clock that was set back) cannot be waited for.
func (s Stamp) wait(ctx context.Context, now time.Time) error {
	age := now.Sub(time.Unix(0, max(s.Modified, s.Changed)))
	if age < 0 || age >= settle {
		return ctx.Err()
	}
	t := time.NewTimer(settle - age)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
