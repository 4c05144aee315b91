package scenario

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/config"
)

const (
	millisecond = time.Millisecond
	hour        = time.Hour
	day         = 24 * time.Hour
)

func mbit(n float64) Rate { return Rate(n * 1e6 / 8) }

// Duration is a time in Go's notation, or in days: 90s, 1h30m, 7d.
type Duration time.Duration

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err == nil && n >= 0 && n <= 10_000 {
			*d = Duration(n * float64(day))
			return nil
		}
	}
	t, err := time.ParseDuration(s)
	if err != nil || t < 0 {
		return fmt.Errorf("%.40q is no time; want one such as 500ms, 90s, 1h30m or 7d", s)
	}
	*d = Duration(t)
	return nil
}

func (d Duration) String() string {
	if t := time.Duration(d); t > 0 && t%day == 0 {
		return strconv.Itoa(int(t/day)) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (d Duration) number() float64 { return float64(d) }
func (d Duration) seconds() float64 {
	return time.Duration(d).Seconds()
}

// Rate is a number of bytes per second; as text it is what [config.Rate] is.
type Rate float64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rate) UnmarshalText(b []byte) error {
	var c config.Rate
	if err := c.UnmarshalText(b); err != nil {
		return err
	}
	*r = Rate(c)
	return nil
}

// String writes bits, as links are sold.
func (r Rate) String() string {
	bits, units := float64(r)*8, []string{"bit", "kbit", "mbit", "gbit"}
	i := 0
	for bits >= 1000 && i < len(units)-1 {
		bits /= 1000
		i++
	}
	return strconv.FormatFloat(bits, 'g', 4, 64) + units[i]
}

func (r Rate) number() float64 { return float64(r) }

// Bytes is a size; as text it is what [config.Size] is.
type Bytes int64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Bytes) UnmarshalText(b []byte) error { return (*config.Size)(s).UnmarshalText(b) }

func (s Bytes) String() string  { return config.Size(s).String() }
func (s Bytes) number() float64 { return float64(s) }

// Share is a part of a whole: 31% or 0.31.
type Share float64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Share) UnmarshalText(b []byte) error {
	text, percent := strings.CutSuffix(string(b), "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if percent {
		n /= 100
	}
	if err != nil || !(n >= 0 && n <= 1) {
		return fmt.Errorf("%.40q is no share; want 0%% to 100%%, or 0 to 1", b)
	}
	*s = Share(n)
	return nil
}

func (s Share) String() string { return strconv.FormatFloat(float64(s)*100, 'g', 4, 64) + "%" }

// Quantity is a bound of a figure: a number, a share, a time in seconds.
type Quantity float64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (q *Quantity) UnmarshalText(b []byte) error {
	if n, err := strconv.ParseFloat(string(b), 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
		*q = Quantity(n)
		return nil
	}
	var s Share
	if s.UnmarshalText(b) == nil {
		*q = Quantity(s)
		return nil
	}
	var d Duration
	if d.UnmarshalText(b) == nil {
		*q = Quantity(d.seconds())
		return nil
	}
	return fmt.Errorf("%.40q is no bound; want a number, a share such as 60%% or a time such as 90s", b)
}

// Draw is a random number: Mid alone, or from a distribution around it.
type Draw struct {
	Kind  string  // "", "lognormal", "exponential" or "weibull"
	Mid   float64 // the value, median, mean or scale
	Shape float64 // sigma of the lognormal, shape of the Weibull
	Min   float64
	Max   float64 // 0: none
}

// next draws.
func (d Draw) next(rng *rand.Rand) float64 {
	x := d.Mid
	switch d.Kind {
	case "lognormal":
		x = d.Mid * math.Exp(d.Shape*rng.NormFloat64())
	case "exponential":
		x = d.Mid * rng.ExpFloat64()
	case "weibull":
		x = d.Mid * math.Pow(rng.ExpFloat64(), 1/d.Shape)
	}
	x = max(x, d.Min)
	if d.Max > 0 {
		x = min(x, d.Max)
	}
	return x
}

func (d Draw) check() error {
	switch {
	case d.Kind == "" && (d.Shape != 0 || d.Min != 0 || d.Max != 0):
		return errors.New("a fixed value has no sigma, shape, min or max; name a distribution")
	case d.Kind == "lognormal" && !(d.Shape >= 0 && d.Shape <= 5):
		return errors.New("want a sigma of 0 to 5")
	case d.Kind == "weibull" && !(d.Shape >= 0.1 && d.Shape <= 20):
		return errors.New("want a shape of 0.1 to 20")
	case d.Max > 0 && d.Max < d.Min:
		return errors.New("max is below min")
	}
	return nil
}

// Amount is a random size, Span a random time.
type (
	Amount struct{ Draw }
	Span   struct{ Draw }
)

func (a *Amount) draw() (*Draw, unit) {
	return &a.Draw, func(b []byte) (float64, error) { return of(new(Bytes), b) }
}

// "for ever" is a time that no simulation reaches.
func (s *Span) draw() (*Draw, unit) {
	return &s.Draw, func(b []byte) (float64, error) {
		if string(b) == "forever" {
			return float64(1000 * day), nil
		}
		return of(new(Duration), b)
	}
}

// unit reads the numbers of a distribution.
type unit func([]byte) (float64, error)

// drawn is a type that is a distribution.
type drawn interface{ draw() (*Draw, unit) }

type quantity interface {
	encoding.TextUnmarshaler
	number() float64
}

func of(q quantity, b []byte) (float64, error) {
	err := q.UnmarshalText(b)
	return q.number(), err
}
