package dir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/filehash"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// disk keeps manifests and chunk maps between runs, a file of each for each file
// served, named by the hash of its name. Integers are big-endian:
//
//	offset  size  field
//	0       4     magic "TDKM"
//	4       8     size of the file in bytes
//	12      8     its time of last write, Unix nanoseconds
//	20      8     its time of last change, Unix nanoseconds
//	28      2     n, the length of the name
//	30      n     name
//	30+n    …     manifest or chunk map, unsigned
//	end-32  32    SHA-256 of everything before
//
// The hash at the end finds files that a power failure cut short: a wrong
// manifest would make every client refuse right bytes.
type disk struct {
	root *os.Root
}

const (
	diskMagic  = "TDKM"
	diskHeader = 30
	diskSuffix = ".tdm"
	mapSuffix  = ".tdc"
	tempSuffix = ".tmp"
)

var errDamaged = errors.New("damaged")

func openDisk(path string) (*disk, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("kept manifests: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("kept manifests: %w", err)
	}
	return &disk{root: root}, nil
}

func (k *disk) close() error { return k.root.Close() }

// file is where what is kept of name lies, in one of 256 folders.
func (k *disk) file(name, suffix string) string {
	sum := sha256.Sum256([]byte(name))
	h := hex.EncodeToString(sum[:])
	return h[:2] + "/" + h[2:] + suffix
}

// load returns the manifest of that version of the file. The error wraps
// [fs.ErrNotExist] when there is none.
func (k *disk) load(name string, stamp filehash.Stamp) (*manifest.Manifest, error) {
	body, err := k.read(name, diskSuffix, stamp, manifest.MaxEncoded)
	if err != nil {
		return nil, err
	}
	m, n, err := manifest.Parse(body)
	if err != nil || n != len(body) || m.Size != stamp.Size {
		return nil, errDamaged
	}
	return m, nil
}

// loadChunks returns the chunk map of that version of the file. The error wraps
// [fs.ErrNotExist] when there is none.
func (k *disk) loadChunks(name string, stamp filehash.Stamp) (*chunkmap.Map, error) {
	body, err := k.read(name, mapSuffix, stamp, chunkmap.MaxEncoded(stamp.Size))
	if err != nil {
		return nil, err
	}
	m, err := chunkmap.Parse(body)
	if err != nil || m.Size != stamp.Size {
		return nil, errDamaged
	}
	return m, nil
}

// read returns the body of a file of at most so many bytes.
func (k *disk) read(name, suffix string, stamp filehash.Stamp, most int64) ([]byte, error) {
	f, err := k.root.Open(k.file(name, suffix))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Most misses show in the first bytes, before the hashes are read.
	head := appendHeader(nil, name, stamp)
	got := make([]byte, len(head))
	if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, head) {
		return nil, fmt.Errorf("version: %w", fs.ErrNotExist)
	}
	rest, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, err
	}
	if len(rest) < sha256.Size {
		return nil, errDamaged
	}
	body, sum := rest[:len(rest)-sha256.Size], rest[len(rest)-sha256.Size:]
	if want := sha256.Sum256(append(got, body...)); !bytes.Equal(want[:], sum) {
		return nil, errDamaged
	}
	return body, nil
}

func appendHeader(b []byte, name string, stamp filehash.Stamp) []byte {
	b = append(b, diskMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(stamp.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(stamp.Modified))
	b = binary.BigEndian.AppendUint64(b, uint64(stamp.Changed))
	b = binary.BigEndian.AppendUint16(b, uint16(min(len(name), 1<<16-1)))
	return append(b, name...)
}

// save keeps what hashing a file has told. Two at once for one file cannot be: flights
// are one a file.
func (k *disk) save(name string, s filehash.Summary) error {
	if s.Chunks != nil {
		if err := k.write(name, mapSuffix, s.Stamp, s.Chunks.Append); err != nil {
			return err
		}
	}
	return k.write(name, diskSuffix, s.Stamp, s.Manifest.Append)
}

func (k *disk) write(name, suffix string, stamp filehash.Stamp, body func([]byte) []byte) error {
	b := body(appendHeader(nil, name, stamp))
	sum := sha256.Sum256(b)
	file := k.file(name, suffix)
	if err := k.root.MkdirAll(file[:2], 0o700); err != nil {
		return err
	}
	tmp := file + tempSuffix
	if err := k.root.WriteFile(tmp, append(b, sum[:]...), 0o600); err != nil {
		return err
	}
	return k.root.Rename(tmp, file)
}

// drop removes what is kept of names that match and returns how many manifests there
// were.
func (k *disk) drop(ctx context.Context, match func(name string) bool) (int, error) {
	n := 0
	err := fs.WalkDir(k.root.FS(), ".", func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		isMap := strings.HasSuffix(file, mapSuffix)
		if !e.Type().IsRegular() || !isMap && !strings.HasSuffix(file, diskSuffix) {
			return ctx.Err()
		}
		name, err := k.nameIn(file)
		if err == nil && !match(name) {
			return ctx.Err()
		}
		if !isMap {
			n++
		}
		return k.root.Remove(file)
	})
	if err != nil {
		return n, fmt.Errorf("kept manifests: %w", err)
	}
	return n, nil
}

// nameIn reads whose manifest a file holds.
func (k *disk) nameIn(file string) (string, error) {
	f, err := k.root.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, diskHeader)
	if _, err := io.ReadFull(f, head); err != nil || string(head[:4]) != diskMagic {
		return "", errDamaged
	}
	name := make([]byte, binary.BigEndian.Uint16(head[28:]))
	if _, err := io.ReadFull(f, name); err != nil {
		return "", errDamaged
	}
	return string(name), nil
}
