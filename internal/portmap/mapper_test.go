package portmap

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	home     = network{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.7")}
	office   = network{netip.MustParseAddr("172.16.0.1"), netip.MustParseAddr("172.16.4.4")}
	external = netip.MustParseAddr("11.0.0.1")
	wanted   = []Port{{TCP, 4000}, {UDP, 4000}}
)

type key struct {
	net  string
	port uint16 // internal
}

// router is the gateway of a network, as far as mappings go.
type router struct {
	mu       sync.Mutex
	speaks   []Protocol
	external netip.Addr
	since    time.Time // of the epoch
	table    map[key]Mapping
	refuses  map[key]bool
	silent   bool
	adds     int
	tried    int
}

func newRouter(speaks ...Protocol) *router {
	return &router{speaks: speaks, external: external, since: time.Now(), table: map[key]Mapping{}, refuses: map[key]bool{}}
}

// restart loses what it knew.
func (r *router) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Now()
	clear(r.table)
}

// set changes something.
func (r *router) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// open are the internal ports that are mapped now.
func (r *router) open() (ports []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, m := range r.table {
		if time.Now().Before(m.Until) {
			ports = append(ports, k.net)
		}
	}
	slices.Sort(ports)
	return ports
}

// spoken is a router as seen by one protocol.
type spoken struct {
	*router
	p Protocol
}

// hears waits as long as the protocol would where nobody answers.
func (s spoken) hears(ctx context.Context) error {
	s.mu.Lock()
	s.tried++
	ok := !s.silent && slices.Contains(s.speaks, s.p)
	s.mu.Unlock()
	if ok {
		return nil
	}
	select {
	case <-time.After(1750 * time.Millisecond):
		return errSilent
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s spoken) add(ctx context.Context, m Mapping) (answer, error) {
	if err := s.hears(ctx); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adds++
	k := key{m.Net, m.Internal}
	if s.refuses[k] {
		return answer{}, refused(s.p, "not authorized")
	}
	m.External = netip.AddrPortFrom(s.external, m.External.Port())
	m.Until = time.Now().Add(lifetime)
	s.table[k] = m
	return s.said(answer{external: m.External, lifetime: lifetime}), nil
}

// said adds what every answer of the protocol tells.
func (s spoken) said(a answer) answer {
	if s.p != UPnP {
		a.epoch, a.hasEpoch = uint32(time.Since(s.since)/time.Second), true
	}
	return a
}

func (s spoken) check(ctx context.Context, m Mapping) (answer, error) {
	if err := s.hears(ctx); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.said(answer{})
	if s.p != PCP {
		a.external = netip.AddrPortFrom(s.external, 0)
	}
	if s.p == UPnP && s.table[key{m.Net, m.Internal}].External != m.External {
		return answer{}, errLost
	}
	return a, nil
}

func (s spoken) remove(ctx context.Context, m Mapping) error {
	if err := s.hears(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.table, key{m.Net, m.Internal})
	return nil
}

// machine is one that has a mapper and changes networks.
type machine struct {
	*Mapper
	mu      sync.Mutex
	at      network
	metered bool
	told    []Status
	stop    func()
}

func start(t *testing.T, routers map[netip.Addr]*router, at network) *machine {
	x := &machine{at: at}
	x.Mapper = New(Config{
		Ports:   func(netip.Addr) []Port { return wanted },
		Metered: func() bool { x.mu.Lock(); defer x.mu.Unlock(); return x.metered },
		OnChange: func(st Status) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.told = append(x.told, st)
		},
	})
	x.where = func() (network, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.at.gateway.IsValid() {
			return network{}, errNoGateway
		}
		return x.at, nil
	}
	x.speak = func(p Protocol, n network) service { return spoken{routers[n.gateway], p} }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); x.Run(ctx) }()
	x.stop = func() { cancel(); <-done }
	t.Cleanup(x.stop)
	return x
}

func (x *machine) set(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

var both = []string{TCP, UDP}

func (x *machine) check(t *testing.T, when string, r *router, want []string) {
	t.Helper()
	if d := cmp.Diff(want, r.open()); d != "" {
		t.Errorf("%s: mapped ports: %s", when, d)
	}
	var told []string
	for _, m := range x.Status().Mappings {
		told = append(told, m.Net)
	}
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("%s: status: %s", when, d)
	}
}

func TestKeeps(t *testing.T) {
	for _, p := range []Protocol{PCP, NATPMP, UPnP} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRouter(p)
				x := start(t, map[netip.Addr]*router{home.gateway: r}, home)
				for range 12 * 60 {
					pass(time.Minute)
					x.check(t, "hours", r, both)
				}
				st := x.Status()
				if st.Protocol != p || st.Gateway != home.gateway || st.Why != "" || st.Mappings[0].External != netip.AddrPortFrom(external, 4000) {
					t.Errorf("status %+v", st)
				}
				// Each of two is renewed twice an hour.
				if r.adds < 46 || r.adds > 50 || len(x.told) != 1 {
					t.Errorf("%d requests, %d changes", r.adds, len(x.told))
				}
				x.stop()
				x.check(t, "end", r, nil)
			})
		})
	}
}

func TestRestart(t *testing.T) {
	for _, p := range []Protocol{PCP, NATPMP, UPnP} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRouter(p)
				x := start(t, map[netip.Addr]*router{home.gateway: r}, home)
				pass(10 * time.Minute)
				r.restart()
				pass(checkEvery + time.Second)
				x.check(t, "restarted", r, both)

				// Away for longer, and then by another protocol.
				r.set(func() { r.silent = true })
				pass(5 * time.Minute)
				r.restart()
				r.set(func() { r.silent, r.speaks = false, []Protocol{NATPMP} })
				pass(10 * time.Minute)
				x.check(t, "back", r, both)
				if got := x.Status().Protocol; got != NATPMP {
					t.Errorf("protocol %s", got)
				}
			})
		})
	}
}

func TestExternalAddressChanges(t *testing.T) {
	for _, p := range []Protocol{NATPMP, UPnP} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRouter(p)
				x := start(t, map[netip.Addr]*router{home.gateway: r}, home)
				pass(10 * time.Minute)
				other := netip.MustParseAddr("11.0.0.2")
				r.set(func() { r.external = other })
				pass(checkEvery + time.Second)
				for _, m := range x.Status().Mappings {
					if m.External.Addr() != other {
						t.Errorf("mapping %+v", m)
					}
				}
			})
		})
	}
}

func TestMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRouter(PCP), newRouter(UPnP)
		x := start(t, map[netip.Addr]*router{home.gateway: a, office.gateway: b}, home)
		pass(time.Minute)
		x.set(func() { x.at = office })
		pass(time.Minute)
		x.check(t, "moved", b, both)
		x.set(func() { x.at = network{} })
		pass(time.Minute)
		if st := x.Status(); len(st.Mappings) > 0 || !strings.Contains(st.Why, errNoGateway.Error()) {
			t.Errorf("status %+v", st)
		}
		x.set(func() { x.at = home })
		pass(time.Minute)
		x.check(t, "home again", a, both)
	})
}

func TestMetered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter(PCP)
		x := start(t, map[netip.Addr]*router{home.gateway: r}, home)
		pass(time.Minute)
		x.check(t, "free", r, both)
		x.set(func() { x.metered = true })
		pass(time.Minute)
		x.check(t, "metered", r, nil)
		if why := x.Status().Why; why != "the network is metered" {
			t.Errorf("why %q", why)
		}
		before := r.tried
		pass(5 * time.Hour)
		if r.tried != before {
			t.Errorf("the gateway was asked %d times", r.tried-before)
		}
		x.set(func() { x.metered = false })
		pass(time.Minute)
		x.check(t, "free again", r, both)
	})
}

// A gateway that is itself behind a NAT maps ports that nobody can reach.
func TestBehindAnotherNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter(PCP)
		r.external = netip.MustParseAddr("100.64.3.4")
		x := start(t, map[netip.Addr]*router{home.gateway: r}, home)
		pass(time.Hour)
		x.check(t, "carrier", r, nil)
		if why := x.Status().Why; !strings.Contains(why, "100.64.3.4") || len(x.told) > 0 {
			t.Errorf("why %q, told %v", why, x.told)
		}
		r.set(func() { r.external = external })
		pass(refusedFor + time.Minute)
		x.check(t, "public", r, both)
	})
}

func TestNobodyMaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		x := start(t, map[netip.Addr]*router{home.gateway: r}, home)
		pass(24 * time.Hour)
		x.check(t, "none", r, nil)
		if why := x.Status().Why; !strings.Contains(why, errSilent.Error()) || r.tried > 100 {
			t.Errorf("why %q after %d tries", why, r.tried)
		}
		r.set(func() { r.speaks = []Protocol{UPnP} })
		pass(maxPause + time.Minute)
		x.check(t, "switched on", r, both)
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter(PCP)
		r.refuses[key{UDP, 4000}] = true
		x := start(t, map[netip.Addr]*router{home.gateway: r}, home)
		pass(time.Hour)
		x.check(t, "one refused", r, []string{TCP})
		if why := x.Status().Why; !strings.Contains(why, "not authorized") || r.adds > 10 {
			t.Errorf("why %q after %d requests", why, r.adds)
		}
		r.set(func() { clear(r.refuses) })
		pass(refusedFor)
		x.check(t, "allowed", r, both)
		if why := x.Status().Why; why != "" {
			t.Errorf("why %q", why)
		}
		// All of it: what another protocol says counts no more than the clear no.
		r.set(func() { r.refuses[key{UDP, 4000}], r.refuses[key{TCP, 4000}] = true, true })
		pass(lifetime + time.Minute)
		if why := x.Status().Why; !strings.Contains(why, "not authorized") || len(x.Status().Mappings) > 0 {
			t.Errorf("why %q", why)
		}
	})
}

// What was asked for when the end came is removed too.
func TestEndsWhileAsking(t *testing.T) {
	c := newCore()
	now := time.Now()
	s := situation{net: home, ports: wanted}
	step := c.next(now, s)
	if step.op != opAdd {
		t.Fatalf("step %+v", step)
	}
	c.record(now, step, answer{}, context.Canceled)
	s.why = "ended"
	if step = c.next(now, s); step.op != opRemove || step.mapping.Internal != 4000 {
		t.Errorf("step %+v", step)
	}
	c.record(now, step, answer{}, errors.New("away"))
	if step = c.next(now, s); step.op != opWait {
		t.Errorf("step %+v", step)
	}
}

// A gateway whose epochs are nonsense is not asked without a pause.
func TestWildEpochs(t *testing.T) {
	c := newCore()
	now := time.Now()
	s := situation{net: home, ports: wanted}
	for i := range uint32(10) {
		step := c.next(now, s)
		if step.op == opWait {
			if !step.until.After(now) {
				t.Errorf("wait until %v, now %v", step.until, now)
			}
			return
		}
		a := answer{external: netip.AddrPortFrom(external, 4000), lifetime: lifetime, epoch: i % 2 * 1000, hasEpoch: true}
		c.record(now, step, a, nil)
	}
	t.Error("ten requests at once")
}

func TestLifetimes(t *testing.T) {
	for _, tt := range []struct {
		told, after time.Duration
	}{
		{time.Second, minRenew},
		{2 * time.Hour, time.Hour},
		{1 << 20 * time.Hour, maxLifetime / 2},
	} {
		c := newCore()
		now := time.Now()
		s := situation{net: home, ports: wanted[:1]}
		c.record(now, c.next(now, s), answer{external: netip.AddrPortFrom(external, 1), lifetime: tt.told}, nil)
		if got := c.slots[0].due.Sub(now); got != tt.after {
			t.Errorf("lifetime %v: renewed after %v, want %v", tt.told, got, tt.after)
		}
	}
}

func TestEpoch(t *testing.T) {
	t0 := time.Now()
	for _, tt := range []struct {
		name         string
		after        time.Duration
		first, then  uint32
		wantRestarts bool
	}{
		{"in step", time.Hour, 100, 3700, false},
		{"a second back, reordered", 0, 100, 99, false},
		{"zero again", time.Minute, 100, 0, true},
		{"began anew and is ahead", time.Hour, 100, 500, true},
		{"a little slow", 1000 * time.Second, 100, 1045, false},
		{"slow", 1000 * time.Second, 100, 1000, true},
		{"fast", 1000 * time.Second, 100, 1300, true},
		{"full turn", time.Second, 1<<32 - 1, 0, true},
	} {
		var e epoch
		if e.restarted(t0, answer{epoch: tt.first, hasEpoch: true}) || e.restarted(t0, answer{}) {
			t.Errorf("%s: the first answer is a restart", tt.name)
		}
		if got := e.restarted(t0.Add(tt.after), answer{epoch: tt.then, hasEpoch: true}); got != tt.wantRestarts {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestPublic(t *testing.T) {
	for s, want := range map[string]bool{
		"11.0.0.1": true, "8.8.8.8": true, "100.63.0.1": true, "100.128.0.1": true,
		"10.0.0.1": false, "192.168.1.1": false, "172.20.0.1": false, "100.64.0.1": false, "100.127.255.255": false,
		"169.254.1.1": false, "127.0.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false,
		"240.0.0.1": false, "203.0.113.9": false, "198.18.0.1": false, "::": false, "fe80::1": false,
	} {
		if got := Public(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}
