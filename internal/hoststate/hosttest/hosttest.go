//go:build linux

// Package hosttest runs a message bus of its own for tests, with services on it that
// speak as UPower, NetworkManager and logind do.
package hosttest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

const (
	power      = "org.freedesktop.UPower"
	network    = "org.freedesktop.NetworkManager"
	active     = "org.freedesktop.NetworkManager.Connection.Active"
	login      = "org.freedesktop.login1"
	manager    = "org.freedesktop.login1.Manager"
	activePath = "/org/freedesktop/NetworkManager/ActiveConnection/"
)

const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
`

// Bus is a dbus-daemon. Its address is in DBUS_SYSTEM_BUS_ADDRESS until the test ends.
type Bus struct {
	t      *testing.T
	Addr   string
	config string
	daemon *exec.Cmd
}

// NewBus starts a bus, or skips the test where there is no dbus-daemon.
func NewBus(t *testing.T) *Bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed")
	}
	dir := t.TempDir()
	b := &Bus{t: t, Addr: "unix:path=" + filepath.Join(dir, "bus"), config: filepath.Join(dir, "bus.conf")}
	if err := os.WriteFile(b.config, fmt.Appendf(nil, config, b.Addr), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", b.Addr)
	b.Start()
	t.Cleanup(b.Stop)
	return b
}

// Start starts the daemon, again after [Bus.Stop].
func (b *Bus) Start() {
	b.t.Helper()
	b.daemon = exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--print-address", "--config-file="+b.config) //nolint:noctx // Stop ends it
	out, err := b.daemon.StdoutPipe()
	if err == nil {
		b.daemon.Stderr = b.t.Output()
		err = b.daemon.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens
		b.t.Fatal(err)
	}
}

// Stop kills the daemon.
func (b *Bus) Stop() {
	_ = b.daemon.Process.Kill() // it may be gone
	_ = b.daemon.Wait()         // killed
}

// Machine is the state that the services tell of.
type Machine struct {
	t      *testing.T
	conn   *dbus.Conn
	power  *prop.Properties
	net    *prop.Properties
	login  *prop.Properties
	active int
}

// NewMachine starts the three services: on mains, not metered, without a VPN, in use.
func (b *Bus) NewMachine() *Machine {
	b.t.Helper()
	conn := b.Join()
	m := &Machine{t: b.t, conn: conn}
	m.power = m.export("/org/freedesktop/UPower", power, map[string]any{"OnBattery": false})
	m.net = m.export("/org/freedesktop/NetworkManager", network, map[string]any{"Metered": uint32(4), "ActiveConnections": []dbus.ObjectPath{}})
	m.login = m.export("/org/freedesktop/login1", manager, map[string]any{"IdleHint": false})
	for _, name := range []string{power, network, login} {
		b.Own(conn, name)
	}
	return m
}

// Join connects to the bus until the test ends.
func (b *Bus) Join() *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.Connect(b.Addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := conn.Close(); err != nil && !errors.Is(err, io.EOF) {
			b.t.Log(err)
		}
	})
	return conn
}

// Own takes a name on the bus.
func (b *Bus) Own(conn *dbus.Conn, name string) {
	b.t.Helper()
	if r, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatalf("name %s: %v, %v", name, r, err)
	}
}

func (m *Machine) export(path dbus.ObjectPath, iface string, values map[string]any) *prop.Properties {
	m.t.Helper()
	all := map[string]*prop.Prop{}
	for name, v := range values {
		all[name] = &prop.Prop{Value: v, Emit: prop.EmitTrue}
	}
	p, err := prop.Export(m.conn, path, prop.Map{iface: all})
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// Battery plugs the machine off or on.
func (m *Machine) Battery(on bool) { m.power.SetMust(power, "OnBattery", on) }

// Metered sets NetworkManager's NMMetered.
func (m *Machine) Metered(value uint32) { m.net.SetMust(network, "Metered", value) }

// Idle sets logind's IdleHint.
func (m *Machine) Idle(hint bool) { m.login.SetMust(manager, "IdleHint", hint) }

// Connect makes one network connection the active one.
func (m *Machine) Connect(kind string, vpn, isDefault bool) {
	m.active++
	path := dbus.ObjectPath(fmt.Sprint(activePath, m.active))
	m.export(path, active, map[string]any{"Type": kind, "Vpn": vpn, "Default": isDefault, "Default6": false})
	m.net.SetMust(network, "ActiveConnections", []dbus.ObjectPath{path})
}

// Leave has the services vanish from the bus.
func (m *Machine) Leave() {
	for _, name := range []string{power, network, login} {
		if _, err := m.conn.ReleaseName(name); err != nil {
			m.t.Error(err)
		}
	}
}
