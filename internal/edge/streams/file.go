package streams

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

// A track is kept in a file of records, each of which is the length of its bytes
// (u32), their CRC-32C (u32) and the bytes: first the unsigned header, then unsigned
// pages. A record that is not whole is the last one and was never published.
const (
	recordHead = 8
	suffix     = ".track"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// file is where a track is kept. Its owner alone uses it.
type file struct {
	f    *os.File
	path string
}

// createFile makes the file of a track.
func createFile(dir string, h *track.Header) (*file, error) {
	path := filepath.Join(dir, h.ID().String()+suffix)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	k := &file{f: f, path: path}
	if err := k.append(h.Append(nil)); err != nil {
		k.remove()
		return nil, err
	}
	return k, nil
}

// append writes a record, and returns when it is on disk.
func (k *file) append(b []byte) error {
	head := binary.BigEndian.AppendUint32(make([]byte, 0, recordHead+len(b)), uint32(len(b)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(b, castagnoli))
	if _, err := k.f.Write(append(head, b...)); err != nil {
		return err
	}
	return k.f.Sync()
}

func (k *file) close() error { return k.f.Close() }

func (k *file) remove() {
	k.f.Close()
	os.Remove(k.path)
}

var errRecord = errors.New("broken record")

// openFile reads a track that was kept, cuts off what is not whole, and opens the
// file to go on.
func openFile(path string) (*stream.Track, *file, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	t, size, err := readFile(bufio.NewReaderSize(f, 256<<10))
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("kept track %s: %w", filepath.Base(path), err)
	}
	return t, &file{f: f, path: path}, nil
}

// readFile reads records up to the first that is not whole, and returns where
// that begins.
func readFile(r io.Reader) (*stream.Track, int64, error) {
	b, err := readRecord(r, track.MaxHeader)
	if err != nil {
		return nil, 0, err
	}
	h, err := track.DecodeHeader(b)
	if err != nil {
		return nil, 0, err
	}
	t := stream.NewTrack(*h)
	size := int64(recordHead + len(b))
	for {
		b, err := readRecord(r, track.MaxPage)
		if err != nil {
			return t, size, nil //nolint:nilerr // it ends here
		}
		p, err := track.DecodePage(b)
		if err == nil {
			err = t.Add(p)
		}
		if err != nil {
			return nil, 0, err
		}
		size += int64(recordHead + len(b))
	}
}

func readRecord(r io.Reader, most int) ([]byte, error) {
	var head [recordHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if int64(n) > int64(most) {
		return nil, errRecord
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return nil, errRecord
	}
	return b, nil
}
