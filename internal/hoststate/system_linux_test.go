package hoststate

import (
	"encoding"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestOnBattery(t *testing.T) {
	type supply map[string]string
	mains, off := supply{"type": "Mains", "online": "1"}, supply{"type": "Mains", "online": "0"}
	full, empty := supply{"type": "Battery", "status": "Full"}, supply{"type": "Battery", "status": "Discharging"}
	mouse := supply{"type": "Battery", "status": "Discharging", "scope": "Device"}
	for name, tt := range map[string]struct {
		supplies []supply
		want     Answer
	}{
		"desktop": {nil, No}, "plugged in": {[]supply{mains, full}, No}, "weak charger": {[]supply{mains, empty}, No},
		"on battery": {[]supply{off, full, empty}, Yes}, "desktop with a mouse": {[]supply{mouse}, No}, "no mains at all": {[]supply{empty}, Yes},
	} {
		dir := t.TempDir()
		for i, s := range tt.supplies {
			sub := filepath.Join(dir, string(rune('a'+i)))
			if err := os.Mkdir(sub, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, text := range s {
				if err := os.WriteFile(filepath.Join(sub, file), []byte(text+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := onBattery(dir); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if got := onBattery(filepath.Join(t.TempDir(), "none")); got != Unknown {
		t.Errorf("without a directory: %v", got)
	}
}

func TestTunnelOfLoopback(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, ifc := range all {
		if ifc.Flags&net.FlagLoopback != 0 && tunnel(ifc) != No {
			t.Errorf("%s is taken for a tunnel", ifc.Name)
		}
	}
	if got := tunnel(net.Interface{Index: 1 << 30}); got != Unknown {
		t.Errorf("one that is not there: %v", got)
	}
}

func TestAnswerText(t *testing.T) {
	for _, a := range []Answer{Unknown, No, Yes} {
		var m encoding.TextMarshaler = a
		b, err := m.MarshalText()
		var back Answer = 7
		if err != nil || back.UnmarshalText(b) != nil || back != a {
			t.Errorf("%v became %q and %v", a, b, back)
		}
	}
	if Answer(9).String() == "" {
		t.Error("an impossible answer has no name")
	}
}

func FuzzAttribute(f *testing.F) {
	f.Add([]byte{8, 0, 1, 0, 't', 'u', 'n', 0}, uint16(1))
	f.Add([]byte{5, 0, 2, 0, 1, 0, 0, 0, 7, 0, 1, 0, 'w', 'g', 0}, uint16(1))
	f.Add([]byte{3, 0, 1, 0}, uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, kind uint16) {
		if got := attribute(b, kind); len(got) > len(b) {
			t.Errorf("%q", got)
		}
	})
}
