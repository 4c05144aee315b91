package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Both ends of one TCP connection may think that they have dialled it, or one of them
// may have accepted it: either way it becomes a connection of two that know each other.
func TestMeeting(t *testing.T) {
	small, large := ordered()
	smaller, larger := endpointOf(t, small), endpointOf(t, large)
	dials := func(e *Endpoint, peer wire.Key) func(context.Context, net.Conn) (*Conn, error) {
		return func(ctx context.Context, raw net.Conn) (*Conn, error) {
			return e.meet(ctx, peer, addrPort(raw.RemoteAddr()), raw)
		}
	}
	accepts := func(e *Endpoint) func(context.Context, net.Conn) (*Conn, error) {
		return func(_ context.Context, raw net.Conn) (*Conn, error) {
			return e.serveTCP(raw, e.identity.config(nil), addrPort(raw.RemoteAddr()))
		}
	}
	for name, c := range map[string]struct {
		smaller, larger func(context.Context, net.Conn) (*Conn, error)
	}{
		"both dial":               {dials(smaller, larger.Key()), dials(larger, smaller.Key())},
		"the larger key accepts":  {dials(smaller, larger.Key()), accepts(larger)},
		"the smaller key accepts": {accepts(smaller), dials(larger, smaller.Key())},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := connected(t)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var left, right *Conn
			var g errgroup.Group
			g.Go(func() (err error) { left, err = c.smaller(ctx, a); return err })
			g.Go(func() (err error) { right, err = c.larger(ctx, b); return err })
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			if left.Peer() != larger.Key() || right.Peer() != smaller.Key() {
				t.Errorf("met %v and %v", left.Peer(), right.Peer())
			}
			says(t, left, right)
			says(t, right, left)
		})
	}
}

// Who cannot dial from the port that takes links dials a mapped address from another: the
// peer's router may pass it on.
func TestMeetsFromAnotherPort(t *testing.T) {
	small, large := ordered()
	if !slices.ContainsFunc(interfaces(t), func(p netip.Prefix) bool { return p.Addr() == netip.IPv6Loopback() }) {
		t.Skip("no loopback address of IPv6")
	}
	a, b := listen(t, Config{Key: small}), listen(t, Config{Key: large, ListenTCP: "[::1]:0"})
	peer := wire.Candidate{Key: b.Key(), Addrs: []wire.Addr{{Net: netTCP, Kind: addrMapped, Addr: b.tcp.Addr().String()}}}
	if _, err := a.Connect(testContext(t), peer); err != nil {
		t.Error(err)
	}
}

func interfaces(t *testing.T) []netip.Prefix {
	t.Helper()
	own, err := nat.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	return own
}

func says(t *testing.T, from, to *Conn) {
	t.Helper()
	if _, err := from.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(to, b); err != nil || string(b) != "hello" {
		t.Fatalf("heard %q: %v", b, err)
	}
}

func endpointOf(t *testing.T, key []byte) *Endpoint {
	t.Helper()
	e, err := Listen(Config{Key: key, ListenTCP: Off, ListenUDP: Off})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// connected are the two ends of a TCP connection.
func connected(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err == nil {
		b, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// FuzzMeeting: whatever comes first, it is read as it is, or without one whole record
// that begins with a ClientHello.
func FuzzMeeting(f *testing.F) {
	f.Add([]byte{22, 3, 1, 0, 3, 1, 'a', 'b', 'c'}, true)
	f.Add([]byte{22, 3, 1, 0, 3, 1, 'a', 'b', 'c'}, false)
	f.Add([]byte{22, 3, 3, 0, 2, 2, 0, 9, 9, 9}, true)
	f.Add([]byte{22, 3, 1, 0, 0, 1, 1, 1}, true)
	f.Add([]byte{22, 3, 1, 0xff, 0xff, 1}, true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, in []byte, controls bool) {
		m := &meeting{Conn: heard{Reader: bytes.NewReader(in)}, controls: controls}
		got, err := io.ReadAll(m)
		met := errors.Is(err, errMet)
		if met {
			got, err = io.ReadAll(m)
		}
		hello := len(in) > recordHeader && in[0] == recordHandshake && in[recordHeader] == clientHello && in[3]|in[4] != 0
		want := in
		if hello && controls {
			want = in[min(len(in), recordHeader+int(in[3])<<8+int(in[4])):]
		}
		if met != (hello && !controls) {
			t.Errorf("met: %v", met)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("read %x of %x, want %x", got, in, want)
		}
	})
}

// heard is a connection that has been read.
type heard struct {
	net.Conn
	io.Reader
}

func (h heard) Read(b []byte) (int, error) { return h.Reader.Read(b) }

// The port is shared with connections that are dialled, not with a second listener.
func TestPortHasOneListener(t *testing.T) {
	small, large := ordered()
	first := listen(t, Config{Key: small, ListenTCP: "127.0.0.1:0", ListenUDP: Off})
	second, err := Listen(Config{Key: large, ListenTCP: first.tcp.Addr().String(), ListenUDP: Off})
	if err == nil {
		_ = second.Close()
		t.Fatal("two endpoints listen on one port")
	}
	d, ok := first.FromListener(net.Dialer{})
	if !ok {
		t.Skip("ports are not shared on this system")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := c.LocalAddr().String(), first.tcp.Addr().String(); got != want {
		t.Errorf("dialled from %s, want %s", got, want)
	}
}
