package swarm

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/upload"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// slope is a [Pacer] that lets a frame out every second, and from the third second on
// one every millisecond.
type slope struct {
	start, next time.Time
	taken       int
}

func (s *slope) Take(n int, _ bool) (int, time.Duration) {
	now := time.Now()
	if wait := s.next.Sub(now); wait > 0 {
		return 0, wait
	}
	s.next = now.Add(time.Second)
	if now.Sub(s.start) >= 3*time.Second {
		s.next = now.Add(time.Millisecond)
	}
	s.taken++
	return n, 0
}

func (*slope) Rate() float64 { return 0 }

// Links that wait together do not go on waiting as long as at the rate that was.
func TestHeldLinksFollowTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slope{start: time.Now()}
		u := newUploads(p, 1<<20)
		stop := make(chan struct{})
		for k := range 2 {
			l := &link{wake: make(chan struct{}, 1), data: 1000}
			l.asks.Owner = l
			if _, ok, _ := u.ask(l, upload.Request{Request: wire.Request{ID: uint32(k + 1), Length: 300_000}}); !ok {
				t.Fatal("refused")
			}
			go func() {
				for {
					if q, n := u.turn(l); n > 0 {
						u.sent(l, q.ID, n)
						continue
					}
					select {
					case <-l.wake:
					case <-stop:
						return
					}
				}
			}()
		}
		<-time.After(4500 * time.Millisecond)
		synctest.Wait()
		u.mu.Lock()
		taken := p.taken
		u.mu.Unlock()
		if taken < 100 {
			t.Errorf("%d frames went out in 4.5 s", taken)
		}
		close(stop)
		synctest.Wait()
	})
}
