package dir

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/tandem-cdn/tandem/internal/filehash"
)

// Read returns the present version of the file at the path of a URL and its bytes,
// of which there may be most. The errors wrap [fs.ErrNotExist] or
// [filehash.ErrChanged] where that is the cause.
func (d *Dir) Read(urlPath string, most int64) (Version, []byte, error) {
	name, stamp, err := d.find(urlPath)
	if err != nil {
		return Version{}, nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return Version{}, nil, fmt.Errorf("read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return Version{}, nil, fmt.Errorf("read: %w", err)
	}
	if int64(len(b)) > most {
		return Version{}, nil, fmt.Errorf("read %s: more than %d bytes: %w", urlPath, most, fs.ErrInvalid)
	}
	fi, err := f.Stat()
	if err != nil {
		return Version{}, nil, fmt.Errorf("read: %w", err)
	}
	if filehash.StampOf(fi) != stamp || int64(len(b)) != stamp.Size {
		return Version{}, nil, fmt.Errorf("read %s: %w", urlPath, filehash.ErrChanged)
	}
	return Version{Path: "/" + name, ETag: stamp.ETag(), Size: stamp.Size}, b, nil
}
