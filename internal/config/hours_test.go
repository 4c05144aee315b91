package config

import (
	"testing"
	"time"
)

func TestHours(t *testing.T) {
	for text, want := range map[string]Hours{
		"18:00-23:30":      {From: 18 * time.Hour, To: 23*time.Hour + 30*time.Minute},
		"22:00-06:00=500K": {From: 22 * time.Hour, To: 6 * time.Hour, Rate: 500 << 10},
		"00:00-24:00=1mbit": {
			To: 24 * time.Hour, Rate: 125000,
		},
	} {
		var h Hours
		if err := h.UnmarshalText([]byte(text)); err != nil || h != want {
			t.Errorf("%s: %+v, %v", text, h, err)
		}
		var again Hours
		if err := again.UnmarshalText([]byte(h.String())); err != nil || again != h {
			t.Errorf("%s: written as %s: %v", text, h, err)
		}
	}
	for _, bad := range []string{"", "18:00", "18-19", "25:00-26:00", "18:00-18:00", "24:00-00:00", "24:00-08:00", "18:00-19:00=", "18:00-19:00=0", "18:00-19:00=x"} {
		if err := new(Hours).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	f, err := parse([]byte("agent:\n  quiet-hours: [\"18:00-23:30\", \"08:00-18:00=500K\"]\n  upload-monthly: 20G\n"))
	if err != nil {
		t.Fatalf("%v: %v", f, err)
	}
	if _, err := parse([]byte("agent:\n  quiet-hours: [\"18:00\"]\n")); err == nil {
		t.Error("bad hours in a file were taken")
	}
}

func FuzzHours(f *testing.F) {
	f.Add("18:00-23:30")
	f.Add("22:00-06:00=500K")
	f.Fuzz(func(t *testing.T, s string) {
		var h, again Hours
		if h.UnmarshalText([]byte(s)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(h.String())); err != nil || again != h {
			t.Errorf("%q is %+v, written %s: %+v, %v", s, h, h, again, err)
		}
	})
}
