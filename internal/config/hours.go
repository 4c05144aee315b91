package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Hours are a part of every day, as text "18:00-23:30", or "08:00-18:00=500K" with a
// rate for it. The end may be before the beginning: then they go over midnight.
type Hours struct {
	From, To time.Duration // since midnight
	Rate     Rate          // 0 is nothing
}

var errHours = errors.New("want HH:MM-HH:MM or HH:MM-HH:MM=RATE, for instance 18:00-23:30 or 08:00-18:00=500K")

// UnmarshalText reads the form that [Hours] describes.
func (h *Hours) UnmarshalText(b []byte) error {
	span, rate, limited := strings.Cut(string(b), "=")
	from, to, ok := strings.Cut(strings.TrimSpace(span), "-")
	var err error
	if !ok {
		err = errHours
	}
	var out Hours
	if err == nil {
		out.From, err = timeOfDay(from)
	}
	if err == nil {
		out.To, err = timeOfDay(to)
	}
	if err == nil && out.From == 24*time.Hour {
		err = errors.New("they begin at 24:00, write 00:00")
	}
	if err == nil && out.From == out.To {
		err = errors.New("they are empty")
	}
	if err == nil && limited {
		if err = out.Rate.UnmarshalText([]byte(rate)); err == nil && out.Rate <= 0 {
			err = errors.New("leave the rate out to send nothing")
		}
	}
	if err != nil {
		return fmt.Errorf("hours %.40q: %w", b, err)
	}
	*h = out
	return nil
}

func timeOfDay(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if s == "24:00" {
		return 24 * time.Hour, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, errHours
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// MarshalText writes what UnmarshalText reads.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func (h Hours) String() string {
	at := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60) }
	s := at(h.From) + "-" + at(h.To)
	if h.Rate > 0 {
		s += "=" + h.Rate.String()
	}
	return s
}
