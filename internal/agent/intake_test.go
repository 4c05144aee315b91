package agent

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reads brings what is in it, one string a call.
type reads []string

func (r *reads) Read(p []byte) (int, error) {
	if len(*r) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*r)[0])
	*r = (*r)[1:]
	return n, nil
}

// What came last may still be hashed while more comes, also where a read brings nothing.
func TestIntakeKeepsWhatIsHashed(t *testing.T) {
	m := intake{halves: [2][]byte{make([]byte, 4), make([]byte, 4)}}
	r := &reads{"one", "", "", "two", "", "six"}
	last, kept := []byte(nil), ""
	for {
		b, err := m.read(r)
		if string(last) != kept {
			t.Fatalf("%q was overwritten by %q", kept, last)
		}
		if len(b) > 0 {
			last, kept = b, string(b)
		}
		if err != nil {
			break
		}
	}
	if kept != "six" {
		t.Errorf("read %q last", kept)
	}
}

// slowly takes its time before each read.
type slowly struct {
	r     io.Reader
	takes time.Duration
}

func (s slowly) Read(p []byte) (int, error) {
	<-time.After(s.takes)
	return s.r.Read(p)
}

// Full records that come at once are put together. What a slow line brings is not waited
// for, nor what may follow one that is not full.
func TestIntakeGathers(t *testing.T) {
	const full = fullRecord
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			takes time.Duration
			want  []int
		}{{0, []int{2 * full, full + 7, 5}}, {gatherFor, []int{full, full, full, 7, 5}}} {
			m := intake{[2][]byte{make([]byte, 4*full), make([]byte, 4*full)}, 2 * full}
			r := slowly{&reads{record(full), record(full), record(full), record(7), record(5)}, c.takes}
			for _, want := range append(c.want, 0) {
				b, err := m.read(r)
				if len(b) != want || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("reads that take %v: got %d bytes and error %v, want %d", c.takes, len(b), err, want)
				}
			}
		}
	})
}

func record(n int) string { return strings.Repeat("r", n) }
