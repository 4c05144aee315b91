package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/transport/memnet"
)

// both runs Connect on both hosts at once.
func both(t *testing.T, a, b *memnet.Host) (atA, atB *memnet.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	var errA, errB error
	wg.Go(func() { atA, errA = a.Connect(t.Context(), b.Candidate()) })
	wg.Go(func() { atB, errB = b.Connect(t.Context(), a.Candidate()) })
	wg.Wait()
	if errA != nil || errB != nil {
		t.Fatalf("connect: %v, %v", errA, errB)
	}
	return atA, atB
}

func send(t *testing.T, c *memnet.Conn, n int) {
	if _, err := c.Write(make([]byte, n)); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func receive(t *testing.T, c *memnet.Conn, n int) {
	if got, err := io.Copy(io.Discard, c); err != nil || got != int64(n) {
		t.Errorf("%d bytes of %d, %v", got, n, err)
	}
	c.Close()
}

func TestSwitchConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memnet.NewSwitch(memnet.Options{Latency: 10 * time.Millisecond})
		a, b := s.Host("a", 0, 0), s.Host("b", 0, 0)
		start := time.Now()
		atA, atB := both(t, a, b)
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Errorf("connecting took %v", d)
		}
		if atA.Peer() != b.Key() || atB.Peer() != a.Key() || atA.Controlling() == atB.Controlling() {
			t.Error("the sides are mixed up")
		}
		if _, err := a.Connect(t.Context(), b.Candidate()); !errors.Is(err, transport.ErrLinked) {
			t.Errorf("second connect: %v", err)
		}
		go send(t, atA, 1000)
		receive(t, atB, 1000)

		// One side only; the other gets it from Accept.
		atA, err := a.Connect(t.Context(), b.Candidate())
		if err != nil {
			t.Fatal(err)
		}
		atB, err = b.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		atA.Cut()
		if _, err := atB.Read(make([]byte, 1)); !errors.Is(err, memnet.ErrReset) {
			t.Errorf("read from a cut link: %v", err)
		}
		atB.Close()
		a.Close()
		if _, err := a.Accept(t.Context()); err == nil {
			t.Error("a closed host accepts")
		}
	})
}

func TestSwitchBlockAndBlackhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memnet.NewSwitch(memnet.Options{Latency: 10 * time.Millisecond})
		a, b, c := s.Host("a", 0, 0), s.Host("b", 0, 0), s.Host("c", 0, 0)
		s.Block(a, b)
		start := time.Now()
		if _, err := b.Connect(t.Context(), a.Candidate()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connect to a blocked host: %v", err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("gave up after %v", d)
		}
		atA, atC := both(t, a, c)
		c.Blackhole(true)
		if _, err := atC.Write([]byte("unheard")); err != nil {
			t.Fatal(err)
		}
		atA.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := atA.Read(make([]byte, 1)); err == nil {
			t.Error("something came out of a black hole")
		}
		if _, err := b.Connect(t.Context(), c.Candidate()); err == nil {
			t.Error("linked with a black hole")
		}
		c.Blackhole(false)
		atA.SetReadDeadline(time.Time{})
		if n, err := atA.Read(make([]byte, 10)); n != 7 || err != nil {
			t.Errorf("%d bytes after the cable is back, %v", n, err)
		}
		if _, err := b.Connect(t.Context(), c.Candidate()); err != nil {
			t.Error(err)
		}
	})
}

// The uplink of one host and the downlinks of the others bound the whole.
func TestSwitchSharesUplinkAndDownlink(t *testing.T) {
	const size, rate = 1 << 20, 1 << 20
	run := func(t *testing.T, flows func(s *memnet.Switch) [][2]*memnet.Host) time.Duration {
		var took time.Duration
		synctest.Test(t, func(t *testing.T) {
			s := memnet.NewSwitch(memnet.Options{Latency: time.Millisecond})
			var wg sync.WaitGroup
			start := time.Now()
			for _, f := range flows(s) {
				wg.Go(func() {
					from, to := both(t, f[0], f[1])
					wg.Go(func() { send(t, from, size) })
					receive(t, to, size)
				})
			}
			wg.Wait()
			took = time.Since(start)
		})
		return took
	}
	cases := map[string]struct {
		flows func(s *memnet.Switch) [][2]*memnet.Host
		want  time.Duration
	}{
		"one uplink to four": {func(s *memnet.Switch) (fs [][2]*memnet.Host) {
			a := s.Host("a", rate, rate)
			for _, n := range []string{"1", "2", "3", "4"} {
				fs = append(fs, [2]*memnet.Host{a, s.Host(n, rate, rate)})
			}
			return fs
		}, 4 * time.Second},
		"four uplinks to one": {func(s *memnet.Switch) (fs [][2]*memnet.Host) {
			a := s.Host("a", rate, rate)
			for _, n := range []string{"1", "2", "3", "4"} {
				fs = append(fs, [2]*memnet.Host{s.Host(n, rate, rate), a})
			}
			return fs
		}, 4 * time.Second},
		"pairs do not disturb one another": {func(s *memnet.Switch) (fs [][2]*memnet.Host) {
			for _, n := range []string{"1", "2", "3", "4"} {
				fs = append(fs, [2]*memnet.Host{s.Host("u"+n, rate, 0), s.Host("d"+n, 0, rate)})
			}
			return fs
		}, time.Second},
		"a full uplink does not slow the downlink": {func(s *memnet.Switch) (fs [][2]*memnet.Host) {
			a, b := s.Host("a", rate, rate), s.Host("b", rate, rate)
			return [][2]*memnet.Host{{a, s.Host("c", 0, 0)}, {b, a}}
		}, time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := run(t, c.flows)
			if got < c.want || got > c.want+c.want/10 {
				t.Errorf("took %v of virtual time, want %v", got, c.want)
			}
		})
	}
}

func TestSwitchCarriesHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memnet.NewSwitch(memnet.Options{Latency: 10 * time.Millisecond})
		client, server := s.Host("client", 0, 0), s.Host("edge", 1<<20, 0)
		body := bytes.Repeat([]byte("x"), 1<<20)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })}
		l := server.Listen()
		var wg sync.WaitGroup
		wg.Go(func() { _ = srv.Serve(l) })
		hc := &http.Client{Transport: &http.Transport{DialContext: client.Dial}}
		start := time.Now()
		resp, err := hc.Get("http://edge/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if d := time.Since(start); d < time.Second || d > 1100*time.Millisecond {
			t.Errorf("took %v of virtual time", d)
		}
		if _, err := client.Dial(t.Context(), "tcp", "nowhere:80"); err == nil {
			t.Error("dialled a host that is not there")
		}
		hc.CloseIdleConnections()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}
