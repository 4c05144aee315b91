package memnet_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/transport/memnet"
)

func TestPipeCarriesBytesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe(memnet.Options{Rate: 1 << 20, Latency: 20 * time.Millisecond})
		want := make([]byte, 1<<20)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range want {
			want[i] = byte(r.Uint32())
		}
		var wg sync.WaitGroup
		for _, c := range []*memnet.Conn{a, b} {
			wg.Go(func() {
				if _, err := c.Write(want); err != nil {
					t.Error(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				got, err := io.ReadAll(c)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		// One second for the bytes on the sender's side, one quantum more on the
		// receiver's, and the latency.
		if d := time.Since(start); d < 1020*time.Millisecond || d > 1100*time.Millisecond {
			t.Errorf("took %v of virtual time", d)
		}
		if a.Controlling() == b.Controlling() || a.Peer() == b.Peer() {
			t.Error("the two sides are not told apart")
		}
		if a.RTT() != 40*time.Millisecond {
			t.Errorf("RTT %v", a.RTT())
		}
	})
}

func TestPipeWriterWaitsForReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe(memnet.Options{Buffer: 1000, Window: 1000})
		if err := a.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := a.Write(make([]byte, 100_000))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < 1000 || n > 4000 {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b)
		if err != nil || len(got) != n {
			t.Errorf("read %d of %d bytes after the close: %v", len(got), n, err)
		}
	})
}

func TestPipeCloseCutStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe(memnet.Options{})
		a.Stall(true)
		if _, err := a.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		b.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := b.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read from a stalled link: %v", err)
		}
		b.SetReadDeadline(time.Time{})
		a.Stall(false)
		if n, err := b.Read(buf); string(buf[:n]) != "late" {
			t.Errorf("read %q, %v", buf[:n], err)
		}

		done := make(chan error)
		go func() { _, err := b.Read(buf); done <- err }()
		synctest.Wait()
		a.Cut()
		if err := <-done; !errors.Is(err, memnet.ErrReset) {
			t.Errorf("read from a cut link: %v", err)
		}

		a, b = memnet.Pipe(memnet.Options{})
		go func() { _, err := a.Read(buf); done <- err }()
		synctest.Wait()
		a.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read from a closed side: %v", err)
		}
		if _, err := a.Write(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed side: %v", err)
		}
		if _, err := b.Read(buf); !errors.Is(err, io.EOF) {
			t.Errorf("read at the end: %v", err)
		}
	})
}
