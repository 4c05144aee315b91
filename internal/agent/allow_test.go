package agent

import (
	"math"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/hoststate"
)

func TestAllowed(t *testing.T) {
	day := func(h, m int) time.Time { return time.Date(2026, 11, 3, h, m, 0, 0, time.Local) }
	c := Config{UploadLimit: 1000, UploadMonthly: 5000, QuietHours: []Hours{
		{From: 22 * time.Hour, To: 6 * time.Hour}, {From: 8 * time.Hour, To: 18 * time.Hour, Rate: 300},
	}}
	for _, tt := range []struct {
		at     time.Time
		used   int64
		rate   int64
		left   int64
		paused bool
	}{
		{day(7, 0), 0, 1000, 5000, false},
		{day(8, 0), 100, 300, 4900, false},
		{day(18, 0), 100, 1000, 4900, false},
		{day(22, 0), 100, 1000, 4900, true},
		{day(5, 59), 100, 1000, 4900, true},
		{day(6, 0), 100, 1000, 4900, false},
		{day(7, 0), 5000, 1000, 0, true},
	} {
		a := c.allowed(tt.at, hoststate.State{}, tt.used)
		if a.rate != tt.rate || a.left != tt.left || (a.why != "") != tt.paused {
			t.Errorf("at %v with %d used: %+v, want %+v", tt.at, tt.used, a, tt)
		}
	}
	if a := (&Config{}).allowed(day(12, 0), hoststate.State{}, 1<<40); a.why != "" || a.rate != 0 || a.left != math.MaxInt64 {
		t.Errorf("without settings: %+v", a)
	}
}

// Uploads rest in the states of the machine that are not excepted, and for nothing that
// is not known.
func TestAllowedByHost(t *testing.T) {
	yes := hoststate.State{Battery: hoststate.Yes, Metered: hoststate.Yes, VPN: hoststate.Yes, Idle: hoststate.Yes}
	no := hoststate.State{Battery: hoststate.No, Metered: hoststate.No, VPN: hoststate.No, Idle: hoststate.No}
	for _, tt := range []struct {
		host hoststate.State
		also []string
		why  string
	}{
		{hoststate.State{}, nil, ""},
		{no, nil, ""},
		{yes, nil, "on battery"},
		{yes, []string{"battery"}, "on a metered link"},
		{yes, []string{"metered", "battery"}, "through a VPN"},
		{yes, States(), ""},
		{hoststate.State{Metered: hoststate.Yes}, []string{"vpn"}, "on a metered link"},
		{hoststate.State{VPN: hoststate.Yes}, nil, "through a VPN"},
	} {
		c := Config{UploadAlso: tt.also}
		if a := c.allowed(time.Now(), tt.host, 0); a.why != tt.why {
			t.Errorf("%+v, except %q: %q, want %q", tt.host, tt.also, a.why, tt.why)
		} else if a.wary != (tt.host.Idle == hoststate.No) {
			t.Errorf("%+v: wary %v", tt.host, a.wary)
		}
	}
	if _, err := New(Config{Data: t.TempDir(), UploadAlso: []string{"sundays"}}); err == nil {
		t.Error("an unknown state was taken")
	}
}

// What a month allows is not exceeded between two looks at the ledger, and a paused
// pacer lets nothing through.
func TestPacerKeepsAllowance(t *testing.T) {
	p := newPacer(nil)
	if n, wait := p.Take(1000, true); n != 0 || wait == 0 {
		t.Errorf("%d bytes before anything was allowed", n)
	}
	p.allow(allowance{left: 10_000})
	sent := 0
	for {
		n, _ := p.Take(1000, false)
		if n == 0 {
			break
		}
		sent += n
	}
	if sent != 10_000 {
		t.Errorf("%d bytes of 10000", sent)
	}
	p.allow(allowance{left: 10_000, why: "quiet hours"})
	if n, _ := p.Take(1000, false); n != 0 {
		t.Errorf("%d bytes while paused", n)
	}
}
