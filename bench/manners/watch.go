//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// figures are what one run has shown.
type figures struct {
	Used float64 `json:"uplink_used"` // share of the narrow way while nobody else uses it
	// Of a ping, in seconds.
	Base       float64 `json:"ping_base,omitempty"`
	AddedP50   float64 `json:"added_p50"`
	AddedP95   float64 `json:"added_p95"`
	Foreground float64 `json:"foreground_alone,omitempty"` // bit per second
	Beside     float64 `json:"foreground_beside,omitempty"`
	Kept       float64 `json:"foreground_kept,omitempty"`
}

func (f figures) String() string {
	s := fmt.Sprintf("used %.1f %%, ping base %.0f ms, added p50 %.0f ms, p95 %.0f ms", 100*f.Used, 1000*f.Base, 1000*f.AddedP50, 1000*f.AddedP95)
	if f.Foreground > 0 {
		s += fmt.Sprintf(", foreground alone %.2f Mbit/s, beside %.2f: kept %.1f %%", f.Foreground/1e6, f.Beside/1e6, 100*f.Kept)
	}
	return s
}

const (
	// warm is how long sharing goes on before it is watched: behind the throttled edge the
	// last peers are told of home after ten seconds or more.
	warm = 25 * time.Second
	// yield is how long a foreground transfer has been going on when its rate begins
	// to count.
	yield    = 2 * time.Second
	pingEach = 50 * time.Millisecond
	port     = "7000"
)

func (s *site) watch(ctx context.Context, c situation, mode string) (f figures, err error) {
	base, err := s.ping(ctx, 3*time.Second)
	if err != nil {
		return f, err
	}
	f.Base = rig.Quantile(base, 0)
	foreground, err := s.foreground(ctx, c)
	if err != nil {
		return f, err
	}
	if c.name != idle {
		if f.Foreground, err = foreground(); err != nil {
			return f, err
		}
		if err := rig.Sleep(ctx, 2*s.o.buffer); err != nil { // the queue runs empty
			return f, err
		}
	}
	if c.name == down {
		err = s.receive(ctx, mode)
	} else {
		err = s.share(ctx, c, mode)
	}
	if err != nil {
		return f, err
	}
	if err := rig.Sleep(ctx, warm); err != nil {
		return f, err
	}
	if err := s.alone(ctx, c, &f); err != nil {
		return f, err
	}
	if c.name != idle {
		if f.Beside, err = foreground(); err != nil {
			return f, err
		}
		f.Kept = f.Beside / f.Foreground
	}
	return f, nil
}

// foreground returns a transfer over TCP by the narrow way, which tells the rate at which
// it arrived, in bit per second.
func (s *site) foreground(ctx context.Context, c situation) (func() (float64, error), error) {
	if c.name == down {
		far, err := s.helper(ctx, "source")
		if err != nil {
			return nil, err
		}
		return func() (float64, error) { return s.take(ctx) }, far.ready()
	}
	sink, err := s.helper(ctx, "sink")
	if err != nil {
		return nil, err
	}
	return func() (float64, error) { return s.send(ctx, sink.Decoder) }, sink.ready()
}

// alone watches sharing while nobody else uses the uplink.
func (s *site) alone(ctx context.Context, c situation, f *figures) error {
	before, err := s.home.Counters(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	pings, err := s.ping(ctx, s.o.watched)
	if err != nil {
		return err
	}
	after, err := s.home.Counters(ctx)
	if err != nil {
		return err
	}
	bytes := after.Sent - before.Sent
	if c.name == down {
		bytes = after.Received - before.Received
	}
	f.Used = float64(bytes) * 8 / (s.o.mbit * 1e6 * time.Since(began).Seconds())
	f.AddedP50, f.AddedP95 = rig.Quantile(pings, 0.5)-f.Base, rig.Quantile(pings, 0.95)-f.Base
	return nil
}

var pingTime = regexp.MustCompile(`time=([\d.]+) ms`)

// ping returns the round trips from home, in seconds.
func (s *site) ping(ctx context.Context, d time.Duration) ([]float64, error) {
	out, err := s.home.Run(ctx, "ping", "-i", fmt.Sprint(pingEach.Seconds()), "-c", strconv.Itoa(int(d/pingEach)), "-W", "5", s.far.IP.String())
	if err != nil && len(out) == 0 {
		return nil, err
	}
	var trips []float64
	for _, m := range pingTime.FindAllSubmatch(out, -1) {
		ms, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("ping: %w", err)
		}
		trips = append(trips, ms/1000)
	}
	if len(trips) == 0 {
		return nil, fmt.Errorf("ping: no answer: %.200s", out)
	}
	return trips, nil
}

// The bench is its own helper on hosts: "sink ADDR" takes in what comes and prints how
// much, "send ADDR SECONDS" sends; "source ADDR" sends to whoever comes, "take ADDR
// SECONDS" takes in and prints how much.

// helper is the far end of the foreground transfer, and what it prints.
type helper struct{ *json.Decoder }

func (h helper) ready() error {
	var zero float64
	if err := h.Decode(&zero); err != nil {
		return fmt.Errorf("far end: %w", err)
	}
	return nil
}

// helper starts the far end.
func (s *site) helper(ctx context.Context, part string) (helper, error) {
	self, err := os.Executable()
	if err != nil {
		return helper{}, err
	}
	cmd := s.far.Command(ctx, self, part, net.JoinHostPort(s.far.IP.String(), port))
	r, err := rig.Piped(cmd, s.dir+"/far")
	return helper{json.NewDecoder(r)}, err
}

// take has home receive in the foreground.
func (s *site) take(ctx context.Context) (rate float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := s.home.Run(ctx, self, "take", net.JoinHostPort(s.far.IP.String(), port), fmt.Sprint((s.o.watched + yield).Seconds()))
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(out, &rate); err != nil {
		return 0, fmt.Errorf("foreground: %w", err)
	}
	return rate, nil
}

// send has home send in the foreground and returns the rate at which it arrived, in
// bit per second.
func (s *site) send(ctx context.Context, sink *json.Decoder) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	var rate float64
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		_, err := s.home.Run(ctx, self, "send", net.JoinHostPort(s.far.IP.String(), port), fmt.Sprint((s.o.watched + yield).Seconds()))
		return err
	})
	g.Go(func() error { return sink.Decode(&rate) })
	return rate, g.Wait()
}

// run plays a part on a host and says whether the arguments asked for one.
func run(ctx context.Context, args []string) (part bool, err error) {
	switch {
	case len(args) == 2 && args[0] == "sink":
		return true, takeIn(ctx, args[1])
	case len(args) == 3 && args[0] == "send":
		return true, sendTo(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "source":
		return true, giveOut(ctx, args[1])
	case len(args) == 3 && args[0] == "take":
		return true, takeFrom(ctx, args[1], args[2])
	}
	return false, nil
}

// takeIn prints the rate of everything that arrives.
func takeIn(ctx context.Context, addr string) error {
	return accept(ctx, addr, func(c net.Conn) error {
		rate, err := arrival(c)
		if err == nil {
			fmt.Println(rate)
		}
		return err
	})
}

// giveOut sends to whoever connects, until that side goes.
func giveOut(ctx context.Context, addr string) error {
	return accept(ctx, addr, func(c net.Conn) (err error) {
		for buf := make([]byte, 1<<16); err == nil; {
			_, err = c.Write(buf)
		}
		_ = c.Close() // the error is that
		return nil
	})
}

// accept serves connections one after the other.
func accept(ctx context.Context, addr string, serve func(net.Conn) error) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	fmt.Println(0)
	for {
		c, err := l.Accept()
		if err == nil {
			err = serve(c)
		}
		if err != nil {
			return err
		}
	}
}

func takeFrom(ctx context.Context, addr, seconds string) error {
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Duration(s * float64(time.Second)))); err != nil {
		return err
	}
	rate, err := arrival(c)
	fmt.Println(rate)
	return err
}

// arrival reads to the end and returns the rate of what came later than yield.
func arrival(c net.Conn) (float64, error) {
	defer func() { _ = c.Close() }()
	var began time.Time
	sum, buf := 0, make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		now := time.Now()
		if began.IsZero() {
			began = now
		}
		if now.Sub(began) > yield && n > 0 {
			sum += n
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
			return float64(sum) * 8 / max(now.Sub(began)-yield, time.Millisecond).Seconds(), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func sendTo(ctx context.Context, addr, seconds string) error {
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(time.Duration(s * float64(time.Second))); time.Now().Before(end); {
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
	return nil
}
