package lowlatency

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxBox bounds a box of the stream, in bytes.
const maxBox = 64 << 20

// fragment is a moof box with its mdat and what comes before them.
type fragment struct {
	bytes       []byte
	duration    time.Duration
	independent bool // it begins with a sync sample
}

// fragments reads the fragmented MP4 (ISO/IEC 14496-12) of one video track.
type fragments struct {
	r         io.Reader
	timescale uint32
	init      []byte // ftyp and moov
	// Of trex, where fragments do not say otherwise.
	sampleDuration, sampleFlags uint32
}

// next returns the next fragment; io.EOF at the end.
func (f *fragments) next() (*fragment, error) {
	var out fragment
	for {
		kind, b, err := readBox(f.r)
		if err != nil {
			return nil, err
		}
		switch kind {
		case "ftyp":
			f.init = append(f.init, b...)
			continue
		case "moov":
			f.init = append(f.init, b...)
			if err := f.movie(b[8:]); err != nil {
				return nil, fmt.Errorf("moov: %w", err)
			}
			continue
		case "mfra": // an index at the end
			continue
		}
		out.bytes = append(out.bytes, b...)
		switch kind {
		case "moof":
			if err := f.describe(&out, b[8:]); err != nil {
				return nil, fmt.Errorf("moof: %w", err)
			}
		case "mdat":
			if out.duration == 0 {
				return nil, errors.New("mdat without moof")
			}
			return &out, nil
		}
	}
}

// readBox reads a whole box.
func readBox(r io.Reader) (kind string, b []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 8 || n > maxBox {
		return "", nil, fmt.Errorf("box %q of %d bytes", head[4:], n)
	}
	b = make([]byte, n)
	copy(b, head[:])
	if _, err := io.ReadFull(r, b[8:]); err != nil {
		return "", nil, fmt.Errorf("box %q: %w", head[4:], err)
	}
	return string(head[4:]), b, nil
}

var errShort = errors.New("it is cut off")

// find returns what is in the first box at a path of nested boxes.
func find(b []byte, path ...string) ([]byte, error) {
	for len(b) >= 8 {
		n := binary.BigEndian.Uint32(b)
		if n < 8 || int64(n) > int64(len(b)) {
			return nil, errShort
		}
		if string(b[4:8]) == path[0] {
			if len(path) == 1 {
				return b[8:n], nil
			}
			return find(b[8:n], path[1:]...)
		}
		b = b[n:]
	}
	return nil, fmt.Errorf("no %s", path[0])
}

func (f *fragments) movie(b []byte) error {
	mdhd, err := find(b, "trak", "mdia", "mdhd")
	if err != nil {
		return err
	}
	at := 12 // behind version, flags, creation and modification
	if len(mdhd) > 0 && mdhd[0] == 1 {
		at = 20
	}
	trex, err := find(b, "mvex", "trex")
	if err != nil {
		return err
	}
	if len(mdhd) < at+4 || len(trex) < 24 {
		return errShort
	}
	f.timescale = binary.BigEndian.Uint32(mdhd[at:])
	f.sampleDuration, f.sampleFlags = binary.BigEndian.Uint32(trex[12:]), binary.BigEndian.Uint32(trex[20:])
	if f.timescale == 0 {
		return errors.New("no timescale")
	}
	return nil
}

// Flags of tfhd and trun (ISO/IEC 14496-12 §8.8.7, §8.8.8), and of a sample.
const (
	tfhdOffset, tfhdIndex, tfhdDuration, tfhdSize, tfhdFlags                         = 0x1, 0x2, 0x8, 0x10, 0x20
	trunOffset, trunFirst, trunDuration, trunSize, trunFlags, trunComposition        = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
	nonSync                                                                   uint32 = 0x10000
)

// describe finds how long a fragment is and what it begins with.
func (f *fragments) describe(out *fragment, b []byte) error {
	tfhd, err := find(b, "traf", "tfhd")
	if err != nil {
		return err
	}
	duration, flags := f.sampleDuration, f.sampleFlags
	h := fields{b: tfhd}
	set := h.next() & 0xffffff
	h.next() // track
	h.skip(set, tfhdOffset, 8)
	h.skip(set, tfhdIndex, 4)
	h.read(set, tfhdDuration, &duration)
	h.skip(set, tfhdSize, 4)
	h.read(set, tfhdFlags, &flags)
	trun, err := find(b, "traf", "trun")
	if err != nil {
		return err
	}
	u := fields{b: trun}
	set = u.next() & 0xffffff
	n := u.next()
	u.skip(set, trunOffset, 4)
	first := flags
	u.read(set, trunFirst, &first)
	var sum uint64
	for i := range n {
		d, s := duration, flags
		u.read(set, trunDuration, &d)
		u.skip(set, trunSize, 4)
		u.read(set, trunFlags, &s)
		u.skip(set, trunComposition, 4)
		if i == 0 && set&trunFlags != 0 {
			first = s
		}
		if sum += uint64(d); u.short {
			break
		}
	}
	if h.short || u.short || f.timescale == 0 || sum == 0 {
		return errShort
	}
	out.duration = time.Duration(sum * uint64(time.Second) / uint64(f.timescale))
	out.independent = first&nonSync == 0
	return nil
}

// fields reads the numbers of a box one after the other.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) next() uint32 {
	if len(f.b) < 4 {
		f.short = true
		return 0
	}
	v := binary.BigEndian.Uint32(f.b)
	f.b = f.b[4:]
	return v
}

// read reads a number that is there if the flag is set.
func (f *fields) read(set, flag uint32, to *uint32) {
	if set&flag != 0 {
		*to = f.next()
	}
}

// skip leaves out n bytes that are there if the flag is set.
func (f *fields) skip(set, flag uint32, n int) {
	for ; set&flag != 0 && n > 0; n -= 4 {
		f.next()
	}
}
