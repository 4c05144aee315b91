package store

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
)

// waiting begins to wait for the piece at off.
func waiting(t *testing.T, f *File, off int64) <-chan struct{} {
	t.Helper()
	n, wait, err := f.ReadOrWait(make([]byte, 1), off)
	if n != 0 || wait == nil || err != nil {
		t.Fatalf("read %d bytes at %d, wait %v, error %v, want to wait", n, off, wait, err)
	}
	return wait
}

func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestReadBeforeDisk reads a piece that is verified and nowhere on the disk.
func TestReadBeforeDisk(t *testing.T) {
	data, s := content(t, 3*piece, 40)
	f := create(t, filepath.Join(t.TempDir(), "a"), s)
	wait, other := waiting(t, f, piece), waiting(t, f, 2*piece)
	want := data[piece : 2*piece]
	f.arrivals.show(1, want)
	if !over(wait) || over(other) {
		t.Error("not only who waits for the piece is told")
	}
	if f.Has(1) {
		t.Error("the piece counts as stored")
	}
	got := make([]byte, 2*piece)
	n, again, err := f.ReadOrWait(got, piece+3)
	if again != nil || err != nil || !bytes.Equal(got[:n], want[3:]) {
		t.Errorf("read %d bytes, wait %v, error %v, want the rest of the piece", n, again, err)
	}
	f.arrivals.hide(1)
	waiting(t, f, piece)
}

func TestReceivePiece(t *testing.T) {
	data, s := content(t, 2*piece+100, 41)
	f := create(t, filepath.Join(t.TempDir(), "a"), s)
	buf := make([]byte, piece)
	wait := waiting(t, f, 0)
	bad := bytes.Clone(data[:piece])
	bad[5]++
	if err := f.ReceivePiece(0, buf, bytes.NewReader(bad)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong bytes: error %v, want %v", err, ErrCorrupt)
	}
	if err := f.ReceivePiece(0, buf, bytes.NewReader(data[:50])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too few bytes: error %v, want %v", err, io.ErrUnexpectedEOF)
	}
	if err := f.ReceivePiece(0, buf[:50], bytes.NewReader(data)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("too little memory: error %v, want %v", err, ErrCorrupt)
	}
	if over(wait) || f.Have().Count() > 0 {
		t.Error("a piece that did not come is there")
	}
	for i := range 3 {
		r := bytes.NewReader(data[i*piece:])
		if err := f.ReceivePiece(i, buf[:f.Manifest().PieceLen(i)], iotest.DataErrReader(iotest.HalfReader(r))); err != nil {
			t.Fatal(err)
		}
		clear(buf) // the memory is the caller's again
	}
	if !over(wait) {
		t.Error("who waited for piece 0 is not told")
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, piece)
	for _, off := range []int64{0, 2 * piece} {
		n, wait, err := f.ReadOrWait(got, off)
		if wait != nil || err != nil && !errors.Is(err, io.EOF) || n == 0 || !bytes.Equal(got[:n], data[off:off+int64(n)]) {
			t.Errorf("finished: read %d bytes at %d, wait %v, error %v", n, off, wait, err)
		}
	}
}

// TestReceive: the hash is that of all bytes, and a reader that ends early has not
// brought them, wherever it ends.
func TestReceive(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), (2*hashBuffer+160)/16)
	for _, c := range []struct {
		n   int
		err error
	}{{len(data), nil}, {len(data) - 1, io.ErrUnexpectedEOF}, {2 * hashBuffer, io.ErrUnexpectedEOF}, {hashBuffer, io.ErrUnexpectedEOF}, {1, io.ErrUnexpectedEOF}, {0, io.EOF}} {
		b := make([]byte, len(data))
		sum, err := receive(b, iotest.HalfReader(bytes.NewReader(data[:c.n])))
		if !errors.Is(err, c.err) || c.err == nil && (err != nil || sum != hashOf(data) || !bytes.Equal(b, data)) {
			t.Errorf("%d bytes: error %v, want %v; right bytes: %v, right hash: %v", c.n, err, c.err, bytes.Equal(b, data), sum == hashOf(data))
		}
	}
}

// TestReadWhileItArrives reads the object in small steps while its pieces come
// twice, in no order.
func TestReadWhileItArrives(t *testing.T) {
	data, s := content(t, 16*piece, 42)
	f := create(t, filepath.Join(t.TempDir(), "a"), s)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, step := range []int{5, 11} {
		wg.Go(func() {
			buf := make([]byte, piece)
			for k := range 16 {
				i := k * step % 16
				if err := f.ReceivePiece(i, buf, bytes.NewReader(data[i*piece:])); err != nil {
					t.Error(err)
				}
				clear(buf)
			}
		})
	}
	var got []byte
	for buf := make([]byte, 10_000); len(got) < len(data); {
		n, wait, err := f.ReadOrWait(buf, int64(len(got)))
		switch {
		case err != nil:
			t.Fatal(err)
		case wait != nil:
			<-wait
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.Equal(got, data) {
		t.Error("other bytes")
	}
	if _, _, err := f.ReadOrWait(make([]byte, 1), int64(len(data))); !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: error %v, want %v", err, io.EOF)
	}
}
