package cache

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"

	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Of a version that is over all that was written may be read, also a slice whose hash
// could not be recorded before the next was written.
func TestKeptBehindUnsettledSlice(t *testing.T) {
	b := newBlob("", 4*slice)
	b.state[0] = slicePresent
	b.kept = 2*slice + 100
	for off, want := range map[int64]int64{0: b.kept, slice + 7: slice + 93, b.kept: 0, 3 * slice: 0} {
		if n := b.available(off, b.size); n != want {
			t.Errorf("at %d: %d bytes may be read, want %d", off, n, want)
		}
	}
	if n := b.available(0, slice+9); n != slice+9 {
		t.Errorf("up to an end: %d bytes", n)
	}
}

// fullTable is a file that takes everything but the hash of one slice.
type fullTable struct {
	sink
	at int64
}

func (f fullTable) WriteAt(p []byte, off int64) (int, error) {
	if off == f.at {
		return 0, syscall.ENOSPC
	}
	return f.sink.WriteAt(p, off)
}

// Where a hash cannot be recorded while the next slice is written already, readers of
// what can only be had whole get all of it nevertheless, and the room is given back.
func TestHashThatCannotBeRecorded(t *testing.T) {
	l := newLab(t, nil, nil)
	data := content(5*slice+1, 37)
	v := l.cache.newVersion("/o", http.Header{}, policy.Response{Status: 200, Header: http.Header{}}, int64(len(data)))
	b := v.blob
	if err := b.create(); err != nil {
		t.Fatal(err)
	}
	file, err := b.sink()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := &fill{v: v, cur: -1, last: -1, end: b.size, sole: true, hashes: hashAside(l.cache.giveBack)}
	defer f.hashes.end()
	b.fills = []*fill{f}
	b.claim(f, 0)
	body := io.NopCloser(bytes.NewReader(data))
	err = f.pourSlices(fullTable{file, b.size + manifest.HashSize}, body)
	if !isDiskError(err) {
		t.Errorf("error %v, want one of the disk", err)
	}
	f.finish(err)
	if v.disk != slice {
		t.Errorf("room for %d bytes is taken, want that of one slice", v.disk)
	}
	r := &reader{c: l.cache, v: v, ctx: t.Context()}
	if r.file, err = os.Open(b.path); err != nil {
		t.Fatal(err)
	}
	defer r.file.Close()
	got := httptest.NewRecorder()
	if err := r.send(got, 0, b.size); err != nil || got.Body.String() != string(data) {
		t.Errorf("%d of %d bytes: %v", got.Body.Len(), len(data), err)
	}
}

// A slice that is fetched once more takes no more of the disk than before.
func TestRefetchedSliceCountsOnce(t *testing.T) {
	data := content(5*slice+1, 35)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	l.get("/o")
	checkManifest(t, l, "/o", data)
	for i := range 2 {
		l.damage("/o", 3*slice+77)
		l.reopen()
		if a := l.get("/o"); a.body != string(data) {
			t.Error("wrong bytes")
		}
		checkManifest(t, l, "/o", data)
		if n, _ := l.cache.Usage(); n != int64(len(data)) {
			t.Errorf("refetch %d: %d bytes on disk are counted, want %d", i+1, n, len(data))
		}
	}
}

// Who looks for a version just before it is there, and asks just after its answer has
// come, is given that instead of another answer of the origin.
func TestJoinAfterLanding(t *testing.T) {
	l := newLab(t, nil, nil)
	l.setHandler(l.object(content(3*slice, 36), `"v"`, "Cache-Control", "max-age=60"))
	l.get("/o")
	fl, leader := l.cache.join("/o", http.Header{}, nil, false)
	if err := fl.wait(t.Context()); err != nil || leader || fl.v == nil {
		t.Errorf("leader %t, version %v: %v", leader, fl.v, err)
	}
	if n := len(l.requests()); n != 1 {
		t.Errorf("origin was asked %d times", n)
	}
}

// However many fills there are, they have no more large buffers than are to be had.
func TestLargeBuffersAreFew(t *testing.T) {
	l := newLab(t, nil, nil)
	c, big := l.cache, int64(manifest.MaxPieceSize)
	var all []*[]byte
	sum := 0
	for range 2 * maxLarge {
		buf := c.borrow(big)
		sum += len(*buf)
		all = append(all, buf)
	}
	if want := maxLarge * (fillBuffer + copyBuffer); sum != want {
		t.Errorf("%d bytes are lent, want %d", sum, want)
	}
	for _, buf := range all {
		c.giveBack(buf)
	}
	if n := len(*c.borrow(big)); n != fillBuffer {
		t.Errorf("then a buffer has %d bytes", n)
	}
	if n := len(*c.borrow(copyBuffer)); n != copyBuffer {
		t.Errorf("for small slices it has %d", n)
	}
}
