package nat

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// echoServer answers on loopback as a server does whose clock shows clock more than
// the time since it was started; 0: it does not tell the time.
func echoServer(t *testing.T, clock time.Duration) string {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	start := time.Now()
	go func() {
		buf := make([]byte, stunMax)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			at := clock + time.Since(start)
			req := &stun.Message{Raw: bytes.Clone(buf[:n])}
			if req.Decode() != nil {
				continue
			}
			set := []stun.Setter{
				stun.NewTransactionIDSetter(req.TransactionID), stun.BindingSuccess,
				&stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1), Port: 7},
			}
			if v, err := req.Get(AttrTime); err == nil && len(v) == 8 && clock > 0 {
				set = append(set, stun.RawAttribute{Type: AttrTime, Value: TimeValue(at)})
			}
			if res, err := stun.Build(set...); err == nil {
				_, _ = pc.WriteTo(res.Raw, from)
			}
		}
	}()
	return pc.LocalAddr().String()
}

func TestEcho(t *testing.T) {
	for _, clock := range []time.Duration{0, time.Hour} {
		ctx, cancel := context.WithCancel(t.Context())
		heard := make(chan Echo, 2)
		e, err := NewEchoer(ctx, echoServer(t, clock), func(e Echo) { heard <- e })
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { e.Run(ctx); close(ended) }()
		var first Echo
		for i := range 2 {
			e.Send()
			select {
			case echo := <-heard:
				if echo.RTT <= 0 || echo.RTT > 2*time.Second || (echo.Out == 0) != (clock == 0) {
					t.Fatalf("clock %v: echo %+v", clock, echo)
				}
				if i == 1 && (echo.Out-first.Out).Abs() > time.Second {
					t.Errorf("the difference of the clocks changes: %v, then %v", first.Out, echo.Out)
				}
				first = echo
			case <-time.After(10 * time.Second):
				t.Fatal("no answer over loopback")
			}
		}
		cancel()
		<-ended
	}
}

// What was not asked for, or tells nonsense, is no echo.
func TestBadEchoes(t *testing.T) {
	e := &Echoer{sent: map[Transaction]time.Time{}, start: time.Now()}
	now := time.Now()
	answer := func(id Transaction, time []byte) []byte {
		b := Answer(request(id), netip.MustParseAddrPort("192.0.2.1:7"))
		if time == nil {
			return b
		}
		res := append(appendHeader(nil, typeResponse, uint16(len(b)-stunHeader+4+len(time)), id), b[stunHeader:]...)
		return append(append(res, AttrTime>>8, AttrTime&0xFF, 0, byte(len(time))), time...)
	}
	if _, ok := e.answer(answer(Transaction{1}, nil), now); ok {
		t.Error("an answer to nothing was taken")
	}
	e.sent[Transaction{2}] = now.Add(-time.Minute)
	if _, ok := e.answer(answer(Transaction{2}, TimeValue(1)), now); ok {
		t.Error("an answer that is a minute late was taken")
	}
	e.sent[Transaction{3}] = now
	if _, ok := e.answer(answer(Transaction{3}, bytes.Repeat([]byte{0xFF}, 8)), now); ok {
		t.Error("a time beyond all clocks was taken")
	}
	e.sent[Transaction{4}] = now
	if echo, ok := e.answer(answer(Transaction{4}, TimeValue(time.Hour)), now); !ok || echo.Out == 0 {
		t.Errorf("a good answer: %+v, %v", echo, ok)
	}
	if _, ok := e.answer(answer(Transaction{4}, TimeValue(time.Hour)), now); ok {
		t.Error("the same answer was taken twice")
	}
}

func FuzzParseEcho(f *testing.F) {
	f.Add(Answer(request(Transaction{1}), netip.MustParseAddrPort("192.0.2.1:7")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, at, err := parseEcho(b); err == nil && at < 0 {
			t.Errorf("time %v", at)
		}
	})
}
