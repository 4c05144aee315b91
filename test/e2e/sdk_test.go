package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	sdk "github.com/tandem-cdn/tandem"
)

// Seeking into the middle of a big object costs little more than asking the
// server for the piece that is there.
//
// No byte is shown before its piece is verified, so what it compares with is a
// range request for the whole piece, received whole. Both sides have a
// connection: Open has asked for the manifest, and the client of the range
// request has asked for something as small.
func TestSDKSeeks(t *testing.T) {
	const (
		tries = 3
		most  = 1.2
		slack = 2 * time.Millisecond // for what the machine does besides
	)
	s := newSeeks(t)
	for try := 1; ; try++ {
		m := s.measure(t)
		t.Logf("first byte after Open and Seek: %v; range request of the piece: %v (%.2f times), of one byte: %v; after another Seek: %v",
			m.first, m.piece, m.first.Seconds()/m.piece.Seconds(), m.single, m.again)
		if m.first.Seconds() <= most*m.piece.Seconds()+slack.Seconds() {
			return
		}
		if try == tries {
			t.Fatalf("first byte %v after a seek; a range request takes %v", m.first, m.piece)
		}
	}
}

// seeks is an edge with a big object, and what is known of two of its pieces.
type seeks struct {
	url         string
	client      *sdk.Client
	mark, other []byte
}

const (
	seekSize  = 1 << 30
	seekPiece = mib
	seekTo    = seekSize / 2
	seekOther = seekSize / 4 * 3
)

func newSeeks(t *testing.T) *seeks {
	t.Helper()
	const gigabit = 1e9 / 8 // bytes per second
	s := &seeks{mark: random(seekPiece), other: random(seekPiece)}
	path := filepath.Join(t.TempDir(), "big.bin")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for off, b := range map[int64][]byte{seekTo: s.mark, seekOther: s.other} {
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(seekSize); err != nil {
		t.Fatal(err)
	}
	base, _ := serve(t, filepath.Dir(path))
	s.url = link(t, base, gigabit) + "/big.bin"
	if s.client, err = sdk.New(sdk.Config{Data: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.client.Close() })
	return s
}

// seekTimes are medians.
type seekTimes struct{ first, again, piece, single time.Duration }

// measure takes the times in turns, so that what else the machine does falls on
// all of them.
func (s *seeks) measure(t *testing.T) seekTimes {
	t.Helper()
	var first, again, piece, single []time.Duration
	for range 9 {
		single = append(single, s.ask(t, 1))
		piece = append(piece, s.ask(t, seekPiece))
		f, a := s.seek(t)
		first, again = append(first, f), append(again, a)
	}
	return seekTimes{first: median(first), again: median(again), piece: median(piece), single: median(single)}
}

// ask returns how long a range request of n bytes takes on a connection that is
// open.
func (s *seeks) ask(t *testing.T, n int) time.Duration {
	t.Helper()
	request(t, http.MethodHead, s.url, nil)
	begin := time.Now()
	r := request(t, http.MethodGet, s.url, http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", seekTo, seekTo+n-1)}})
	took := time.Since(begin)
	same(t, "range", r.body, s.mark[:n])
	return took
}

// seek opens the object and returns how long the first byte took after a seek,
// and after another.
func (s *seeks) seek(t *testing.T) (first, again time.Duration) {
	t.Helper()
	o, err := s.client.Open(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	return firstByte(t, o, seekTo, s.mark), firstByte(t, o, seekOther, s.other)
}

func firstByte(t *testing.T, o *sdk.Object, off int64, want []byte) time.Duration {
	t.Helper()
	begin := time.Now()
	if _, err := o.Seek(off, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(o, got[:1]); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	if _, err := io.ReadFull(o, got[1:]); err != nil {
		t.Fatal(err)
	}
	same(t, "bytes after the seek", got, want)
	return took
}

// link is a line to a server, all connections together on it, that carries a
// number of bytes per second towards the client. It returns the URL of its near
// end.
func link(t *testing.T, server string, bytesPerSecond float64) string {
	t.Helper()
	near, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(func() {
		_ = near.Close()
		conns.Wait()
	})
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), 64*kib)
	conns.Go(func() {
		for {
			c, err := near.Accept()
			if err != nil {
				return // closed
			}
			conns.Go(func() { carry(t, c, strings.TrimPrefix(server, "http://"), limit) })
		}
	})
	return "http://" + near.Addr().String()
}

// carry connects c with a server until one of the two, or the test, ends it.
func carry(t *testing.T, c net.Conn, server string, limit *rate.Limiter) {
	defer func() { _ = c.Close() }()
	s, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server)
	if err != nil {
		return // the client sees it
	}
	defer func() { _ = s.Close() }()
	end := context.AfterFunc(t.Context(), func() { _ = errors.Join(c.Close(), s.Close()) })
	defer end()
	var up sync.WaitGroup
	defer up.Wait()
	up.Go(func() {
		_, _ = io.Copy(s, c) // ends when either is closed
		_ = s.Close()
	})
	buf := make([]byte, 64*kib)
	for {
		n, err := s.Read(buf)
		if err == nil {
			err = limit.WaitN(t.Context(), n)
		}
		if err == nil {
			_, err = c.Write(buf[:n])
		}
		if err != nil {
			_ = c.Close()
			return
		}
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
