package dir

import (
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/tandem-cdn/tandem/internal/filehash"
)

const (
	// guardEvery is how many bytes are sent between two looks at the file. It is
	// large, so that the kernel can copy them from file to socket by itself.
	guardEvery = 16 << 20
	// guardTail is held back until a last look at the file says that everything
	// before it, and it, are of one version.
	guardTail = 32 << 10
)

var errFileChanged = errors.New("the file changed while it was sent")

// guardedWriter sends a file while its stamp stays what it was, and otherwise
// stops before the last byte, so that no complete response mixes two versions.
// (What the kernel has taken but not yet sent can still change under it; the
// manifest is what finds that.)
type guardedWriter struct {
	http.ResponseWriter
	file    *os.File
	stamp   filehash.Stamp
	changed bool
}

// Unwrap gives http.ResponseController its way to the connection.
func (g *guardedWriter) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// ReadFrom is what io.Copy in http.ServeContent calls.
func (g *guardedWriter) ReadFrom(src io.Reader) (int64, error) {
	lim, ok := src.(*io.LimitedReader)
	if !ok {
		return 0, errors.New("send file: body of unknown length")
	}
	var sent int64
	for lim.N > guardTail {
		// The source is passed on as it is: net/http recognises an *os.File
		// inside one LimitedReader and uses sendfile.
		n, err := io.CopyN(g.ResponseWriter, lim.R, min(guardEvery, lim.N-guardTail))
		sent += n
		lim.N -= n
		if err == nil {
			err = g.look()
		}
		if err != nil {
			return sent, g.note(err)
		}
	}
	tail := make([]byte, lim.N)
	if _, err := io.ReadFull(lim.R, tail); err != nil {
		return sent, g.note(err)
	}
	if err := g.look(); err != nil {
		return sent, g.note(err)
	}
	n, err := g.ResponseWriter.Write(tail)
	return sent + int64(n), err
}

// look compares the file with what it was. The change of the inode alone does
// not count: a file that was renamed or replaced under its name keeps its bytes.
func (g *guardedWriter) look() error {
	fi, err := g.file.Stat()
	if err != nil {
		return err
	}
	if now := filehash.StampOf(fi); now.Size != g.stamp.Size || now.Modified != g.stamp.Modified {
		return errFileChanged
	}
	return nil
}

// note remembers that the response must be cut: the file changed, or shrank
// under the read.
func (g *guardedWriter) note(err error) error {
	if errors.Is(err, errFileChanged) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		g.changed = true
	}
	return err
}
