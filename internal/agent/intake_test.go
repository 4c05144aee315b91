package agent

import (
	"errors"
	"io"
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

// What comes at once is put together, what a slow line brings is not waited for.
func TestIntakeGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			takes time.Duration
			want  []string
		}{{0, []string{"abcde", "fg"}}, {gatherFor, []string{"ab", "cde", "f", "g"}}} {
			m := intake{[2][]byte{make([]byte, 8), make([]byte, 8)}, 4}
			r := slowly{&reads{"ab", "cde", "f", "g"}, c.takes}
			for _, want := range append(c.want, "") {
				b, err := m.read(r)
				if string(b) != want || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("reads that take %v: got %q and error %v, want %q", c.takes, b, err, want)
				}
			}
		}
	})
}
