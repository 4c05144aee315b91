package hoststate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/tandem-cdn/tandem/internal/hoststate/hosttest"
)

// within bounds what a test waits for, by the clock: sockets and processes are real.
const within = 20 * time.Second

// watch runs a watcher until the test ends, and then waits for it.
func watch(t *testing.T) *Watcher {
	t.Helper()
	w := New(slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

// until waits until what is known is as wanted. The route of this machine is not the
// test's, so VPN counts only where it is asked for.
func until(t *testing.T, w *Watcher, want State) {
	t.Helper()
	limit := time.After(within)
	for {
		got := w.State()
		if want.VPN == Unknown {
			got.VPN = Unknown
		}
		if got == want {
			return
		}
		select {
		case <-w.Changed():
		case <-limit:
			t.Fatalf("known is %+v, want %+v", w.State(), want)
		}
	}
}

func TestSignals(t *testing.T) {
	m := hosttest.NewBus(t).NewMachine()
	w := watch(t)
	until(t, w, State{Battery: No, Metered: No, Idle: No})
	m.Battery(true)
	until(t, w, State{Battery: Yes, Metered: No, Idle: No})
	m.Metered(1)
	until(t, w, State{Battery: Yes, Metered: Yes, Idle: No})
	m.Idle(true)
	until(t, w, State{Battery: Yes, Metered: Yes, Idle: Yes})
	m.Battery(false)
	m.Metered(3) // guessed
	until(t, w, State{Battery: No, Metered: Yes, Idle: Yes})
	m.Metered(0)
	until(t, w, State{Battery: No, Idle: Yes})
	m.Connect("vpn", true, true)
	until(t, w, State{Battery: No, VPN: Yes, Idle: Yes})
	if throughTunnel(t.Context()) == Yes {
		return // this machine is behind a VPN itself
	}
	m.Connect("wireguard", false, false) // for a network of its own
	until(t, w, State{Battery: No, VPN: No, Idle: Yes})
	m.Connect("wireguard", false, true)
	until(t, w, State{Battery: No, VPN: Yes, Idle: Yes})
	m.Connect("802-3-ethernet", false, true)
	until(t, w, State{Battery: No, VPN: No, Idle: Yes})
}

// A service that goes is not known any more, and one that comes is asked; the same with
// the bus.
func TestRestarts(t *testing.T) {
	b := hosttest.NewBus(t)
	w := watch(t)
	kernel := State{Battery: onBattery(powerSupplies)}
	until(t, w, kernel)
	m := b.NewMachine()
	m.Idle(true)
	until(t, w, State{Battery: No, Metered: No, Idle: Yes})
	m.Leave()
	until(t, w, kernel)
	b.NewMachine()
	until(t, w, State{Battery: No, Metered: No, Idle: No})
	for range 2 {
		b.Stop()
		until(t, w, kernel)
		b.Start()
		b.NewMachine().Battery(true)
		until(t, w, State{Battery: Yes, Metered: No, Idle: No})
	}
}

// A service that has the name and never answers hides what no other tells.
func TestMuteService(t *testing.T) {
	b := hosttest.NewBus(t)
	m := b.NewMachine()
	m.Leave()
	mute := b.Join()
	b.Own(mute, upower.name)
	mute.Eavesdrop(make(chan *dbus.Message, 16)) // what comes is put aside unanswered
	b.Own(b.Join(), network.name)                // answers that there is no such object
	began := time.Now()
	w := watch(t)
	select {
	case <-w.Changed():
	case <-time.After(within):
		t.Fatal("no first look")
	}
	if took := time.Since(began); took > joinWithin+lookWithin {
		t.Errorf("the first look took %v", took)
	}
	if s := w.State(); s.Battery != onBattery(powerSupplies) || s.Metered != Unknown || s.Idle != Unknown {
		t.Errorf("known is %+v", s)
	}
}

// Whatever stands where the bus should be costs a moment, and no goroutine.
func TestHostileBuses(t *testing.T) {
	flood := bytes.Repeat([]byte{0xff}, 64<<10)
	lost := message(t, &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/")), dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.DBus"),
		dbus.FieldSender: dbus.MakeVariant("org.freedesktop.DBus"), dbus.FieldMember: dbus.MakeVariant("NameLost"),
	}})
	huge := []byte("l\x02\x01\x01\xff\xff\xff\x07\x01\x00\x00\x00\x08\x00\x00\x00\x05\x01u\x00\x01\x00\x00\x00")
	for name, talk := range map[string]func(net.Conn) error{
		"silent":  func(net.Conn) error { return nil },
		"garbage": func(c net.Conn) error { return send(c, flood) },
		"flood": func(c net.Conn) (err error) {
			for err == nil {
				err = send(c, flood)
			}
			return err
		},
		"flood after the handshake": func(c net.Conn) error {
			err := handshake(c)
			for err == nil {
				err = send(c, flood)
			}
			return err
		},
		"malformed signal": func(c net.Conn) error { return errors.Join(handshake(c), send(c, lost)) },
		"huge message":     func(c net.Conn) error { return errors.Join(handshake(c), send(c, append(huge, flood...))) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bus")
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					serving.Go(func() {
						defer c.Close()
						if talk(c) == nil {
							_, _ = io.Copy(io.Discard, c) // until the other side goes
						}
					})
				}
			})
			before := runtime.NumGoroutine()
			began := time.Now()
			s := &system{log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1), retry: retryFirst}
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
			state, _ := s.look(t.Context())
			if took := time.Since(began); took > joinWithin+lookWithin+time.Second {
				t.Errorf("it took %v", took)
			}
			if state.Metered != Unknown || state.Idle != Unknown {
				t.Errorf("known is %+v", state)
			}
			s.close()
			ln.Close()
			serving.Wait()
			goroutines(t, before-1)
		})
	}
}

func send(c net.Conn, b []byte) error {
	_, err := c.Write(b)
	return err
}

// handshake lets a client in.
func handshake(c net.Conn) error {
	err := send(c, []byte("REJECTED EXTERNAL\r\nOK 0123456789abcdef0123456789abcdef\r\n"))
	for r := bufio.NewReader(c); err == nil; {
		var line string
		if line, err = r.ReadString('\n'); strings.HasPrefix(line, "BEGIN") {
			return nil
		}
	}
	return err
}

// goroutines waits until there are no more than n: those of a connection that was closed
// end by themselves.
func goroutines(t *testing.T, n int) {
	t.Helper()
	limit := time.Now().Add(within)
	for runtime.NumGoroutine() > n && time.Now().Before(limit) {
		runtime.Gosched()
	}
	if got := runtime.NumGoroutine(); got > n {
		buf := make([]byte, 64<<10)
		t.Errorf("%d goroutines, want %d\n%s", got, n, buf[:runtime.Stack(buf, true)])
	}
}

func message(t *testing.T, m *dbus.Message) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGoroutines(t *testing.T) {
	b := hosttest.NewBus(t)
	b.NewMachine()
	before := runtime.NumGoroutine()
	for range 3 {
		w := New(nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		until(t, w, State{Battery: No, Metered: No, Idle: No})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	goroutines(t, before)
}

func TestSocketPath(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/run/bus": "/run/bus", "unix:path=/a%20b,guid=0": "/a b", "unix:abstract=x": "@x", "unix:guid=1,path=/y": "/y",
		"": "", "unix:": "", "unix:path=": "", "tcp:host=example,port=1": "", "unix:path=%zz": "", "unixexec:path=/bin/sh": "",
	} {
		got, err := socketPath(address)
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
	if _, err := dialBus(t.Context(), "tcp:host=a;unix:path="+filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
