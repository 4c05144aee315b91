package pack

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir, SegmentSize: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// world is a store and what should be in it.
type world struct {
	t    *testing.T
	dir  string
	s    *Store
	rnd  *rand.Rand
	want map[string][]Ref
	data map[uint64]Record
	gone map[uint64]bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, dir: t.TempDir(), rnd: rand.New(rand.NewPCG(seed, 1)),
		want: map[string][]Ref{}, data: map[uint64]Record{}, gone: map[uint64]bool{},
	}
	w.s = open(t, w.dir)
	return w
}

func (w *world) put() {
	r := Record{
		Key:  fmt.Sprintf("/k%d", w.rnd.IntN(60)),
		Meta: bytes.Repeat([]byte{byte(w.rnd.Uint32())}, w.rnd.IntN(200)),
		Body: make([]byte, w.rnd.IntN(1500)),
	}
	for i := range r.Body {
		r.Body[i] = byte(w.rnd.Uint32())
	}
	ref, err := w.s.Put(r, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.want[r.Key] = append(w.want[r.Key], ref)
	w.data[ref.seq] = r
}

func (w *world) drop() {
	keys := slices.Sorted(maps.Keys(w.want))
	if len(keys) == 0 {
		return
	}
	k := keys[w.rnd.IntN(len(keys))]
	i := w.rnd.IntN(len(w.want[k]))
	ref := w.want[k][i]
	w.s.Drop(ref)
	w.gone[ref.seq] = true
	w.want[k] = slices.Delete(w.want[k], i, i+1)
	if len(w.want[k]) == 0 {
		delete(w.want, k)
	}
}

// found reads everything that the store has under the keys.
func (w *world) found() map[uint64]Record {
	w.t.Helper()
	got := map[uint64]Record{}
	for i := range 60 {
		key := fmt.Sprintf("/k%d", i)
		for _, ref := range w.s.Refs(key) {
			r, err := w.s.Read(ref)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					w.t.Errorf("read: %v", err)
				}
				continue
			}
			if r.Key != key {
				w.t.Errorf("%q under %q", r.Key, key)
			}
			got[ref.seq] = r
		}
	}
	return got
}

// check compares the store with what should be in it.
func (w *world) check() {
	w.t.Helper()
	got := w.found()
	n := 0
	for _, refs := range w.want {
		for _, ref := range refs {
			n++
			if r, ok := got[ref.seq]; !ok || !same(r, w.data[ref.seq]) {
				w.t.Errorf("record %d: there %v", ref.seq, ok)
			}
		}
	}
	if count, _ := w.s.Live(); count != n || len(got) != n {
		w.t.Errorf("%d records counted, %d read, want %d", count, len(got), n)
	}
}

func same(a, b Record) bool {
	return a.Key == b.Key && bytes.Equal(a.Meta, b.Meta) && bytes.Equal(a.Body, b.Body)
}

func (w *world) step() {
	switch w.rnd.IntN(12) {
	case 0, 1, 2, 3, 4, 5:
		w.put()
	case 6, 7, 8, 9:
		w.drop()
	case 10:
		if err := w.s.Compact(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	case 11:
		if err := w.s.Flush(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// reopen opens the directory anew, after Close or as a killed process leaves it.
// Slots are numbered anew.
func (w *world) reopen(kill bool) {
	w.t.Helper()
	if kill {
		if err := errors.Join(w.s.Flush(), w.s.closeFiles()); err != nil {
			w.t.Fatal(err)
		}
	} else if err := w.s.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.s = open(w.t, w.dir)
	for _, refs := range w.want {
		for i, ref := range refs {
			refs[i].slot = w.s.findLocked(w.s.hash(w.data[ref.seq].Key), ref.seq)
		}
	}
}

// What a store holds is what was put and not dropped, through compactions and
// restarts, and it does not take much more disk than that.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		for i := range 600 {
			w.step()
			if i%97 == 96 {
				w.check()
				w.reopen(seed%2 == 0)
				w.check()
			}
		}
		if err := errors.Join(w.s.Flush(), w.s.Compact(t.Context())); err != nil {
			t.Fatal(err)
		}
		w.check()
		_, live := w.s.Live()
		if disk := w.s.Disk(); disk > 2*live+4*w.s.cfg.SegmentSize {
			t.Errorf("%d bytes on disk for %d", disk, live)
		}
		if err := w.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that is killed at any point, a disk that loses ends of files or flips
// bits: nothing is read that was not written, and nothing that was dropped and
// flushed comes back.
func TestDamage(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, seed)
		for range 150 {
			w.step()
		}
		if err := errors.Join(w.s.Flush(), w.s.closeFiles()); err != nil {
			t.Fatal(err)
		}
		cut := w.damage()
		w.s = open(t, w.dir)
		for seq, r := range w.found() {
			if !same(r, w.data[seq]) {
				t.Fatalf("seed %d: record %d is not what was put", seed, seq)
			}
			if w.gone[seq] && !cut {
				t.Fatalf("seed %d: record %d was dropped", seed, seq)
			}
		}
		for range 50 { // and it goes on working
			w.put()
		}
		for _, r := range w.found() {
			if r.Key == "" {
				t.Fatal("no key")
			}
		}
		if err := w.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// damage truncates or changes one file. It reports whether tombstones may be lost
// by it.
func (w *world) damage() bool {
	files, err := filepath.Glob(filepath.Join(w.dir, "*.*"))
	if err != nil || len(files) == 0 {
		w.t.Fatal("no files", err)
	}
	path := files[w.rnd.IntN(len(files))]
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(b) == 0 {
		return false
	}
	list := filepath.Ext(path) == ".list"
	if w.rnd.IntN(2) == 0 {
		b = b[:w.rnd.IntN(len(b))]
	} else {
		for range 1 + w.rnd.IntN(3) {
			b[w.rnd.IntN(len(b))] ^= 1 << w.rnd.IntN(8)
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return !list
}

// A walk sees every record, however often they are copied meanwhile.
func TestWalkWhileCompacting(t *testing.T) {
	w := newWorld(t, 1)
	for range 200 {
		w.put()
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			w.s.mu.Lock()
			for _, seg := range w.s.segments {
				seg.stale = seg != w.s.active
			}
			w.s.mu.Unlock()
			if err := w.s.Compact(t.Context()); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 300 {
		n := 0
		w.s.Walk(func(Ref, string) { n++ })
		if n != 200 {
			t.Errorf("%d records of 200", n)
			break
		}
	}
	close(stop)
	if err := errors.Join(<-done, w.s.Close()); err != nil {
		t.Error(err)
	}
}

// A segment goes on being used when it was sealed and the next could not be made: what
// follows must not go with a kill.
func TestSealedInVain(t *testing.T) {
	w := newWorld(t, 1)
	for range 3 {
		w.put()
	}
	w.s.wmu.Lock()
	err := w.s.writeList(w.s.active)
	w.s.wmu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	w.drop()
	w.put()
	if err := errors.Join(w.s.Flush(), w.s.closeFiles()); err != nil {
		t.Fatal(err)
	}
	w.s = open(t, w.dir)
	w.check()
	if err := w.s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a compaction that failed has copied must not go before what it was copied from:
// the tombstones of the copies are no longer kept then.
func TestFailedCompactionGoesFirst(t *testing.T) {
	w := newWorld(t, 1)
	for len(w.s.segments) < 8 {
		w.put()
	}
	for i, key := range slices.Sorted(maps.Keys(w.want)) {
		if i%6 > 0 {
			for _, ref := range w.want[key] {
				w.s.Drop(ref)
			}
		}
	}
	if err := w.s.Flush(); err != nil {
		t.Fatal(err)
	}
	for w.s.active.end > 4<<10 {
		w.put()
	}
	if err := w.s.active.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.s.Compact(t.Context()); err == nil {
		t.Fatal("no error of a file that cannot be written")
	}
	stale := 0
	for _, seg := range w.s.segments {
		if seg.stale {
			stale++
		}
	}
	if stale != 1 {
		t.Errorf("%d segments are to go first, want 1", stale)
	}
	for _, seg := range w.s.segments {
		_ = seg.file.Close() // one is closed
	}
}

// However many are dropped, no tombstone is left out and no write is huge.
func TestDropMany(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, SegmentSize: maxTombs * headerSize})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2*maxTombs + 10 {
		if _, err := s.Put(Record{Key: fmt.Sprint(i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	s.Walk(func(ref Ref, _ string) { s.Drop(ref) })
	if err := errors.Join(s.Flush(), s.closeFiles()); err != nil {
		t.Fatal(err)
	}
	for _, seg := range s.segments {
		if seg.end > s.cfg.SegmentSize {
			t.Errorf("segment of %d bytes", seg.end)
		}
	}
	if s, err = Open(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Live(); n != 0 {
		t.Errorf("%d records came back", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOrderOfUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var refs []Ref
	for i := range 5 {
		ref, err := s.Put(Record{Key: fmt.Sprint(i)}, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	s.Touch(refs[0], 6)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if s.LastUse() != 6 || s.Used(Ref{}) != 0 {
		t.Errorf("last used at %d", s.LastUse())
	}
	var order []string
	for {
		ref, ok := s.Oldest(func(Ref) bool { return true })
		if !ok {
			break
		}
		r, err := s.Read(ref)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, r.Key)
		s.Drop(ref)
	}
	if want := []string{"1", "2", "3", "4", "0"}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	s.Walk(func(Ref, string) { t.Error("a dropped record is walked over") })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLimits(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Put(Record{Key: "k", Body: make([]byte, MaxBody+1)}, 1); err == nil {
		t.Error("a body too large is taken")
	}
	ref, err := s.Put(Record{Key: "k", Meta: make([]byte, MaxMeta), Body: make([]byte, MaxBody)}, 1) // larger than a segment
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(ref); err != nil {
		t.Error(err)
	}
	s.Drop(ref)
	if _, err := s.Read(ref); !errors.Is(err, ErrGone) {
		t.Errorf("dropped: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzRecord(f *testing.F) {
	e := entry{kind: kindRecord, hash: 1, seq: 2}
	f.Add(appendRecord(nil, e, Record{Key: "/a?b", Meta: []byte("{}"), Body: []byte("body")}))
	f.Add(appendRecord(nil, entry{kind: kindTombstone, at: 7, hash: 3, seq: 4}, Record{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, end := scan(bytes.NewReader(b), int64(len(b)))
		if end > int64(len(b)) || len(entries) > len(b)/headerSize {
			t.Fatalf("%d entries in %d of %d bytes", len(entries), end, len(b))
		}
		h, r, err := parseRecord(b)
		if err != nil {
			return
		}
		if again := appendRecord(nil, h.entry, r); !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
	})
}

func FuzzList(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir)
	for i := range 40 {
		if _, err := s.Put(Record{Key: fmt.Sprint(i), Body: make([]byte, 500)}, 1); err != nil {
			f.Fatal(err)
		}
	}
	b, err := os.ReadFile(s.path(1, "list"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, end, err := parseList(b)
		if err == nil && (end > maxSegment || len(entries) > len(b)/listEntry) {
			t.Fatalf("%d entries, end %d", len(entries), end)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 200_000 {
		if _, err := s.Put(Record{Key: fmt.Sprintf("/some/object/%d", i), Meta: make([]byte, 600), Body: make([]byte, 100)}, 1); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if s, err = Open(Config{Dir: dir}); err != nil {
			b.Fatal(err)
		}
	}
}
