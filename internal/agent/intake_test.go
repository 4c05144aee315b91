package agent

import (
	"io"
	"testing"
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
	m := intake{make([]byte, 4), make([]byte, 4)}
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
