package dash

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// uinteger is a number of an attribute, or def where it is not there.
func (e *element) uinteger(name string, def, limit uint64) (uint64, error) {
	s, ok := e.get(name)
	if !ok {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > limit {
		return 0, fmt.Errorf("@%s is not a whole number from 0 to %d", name, limit)
	}
	return n, nil
}

// duration is an xs:duration of an attribute, or 0 where it is not there.
func (e *element) duration(name string) (time.Duration, error) {
	s, ok := e.get(name)
	if !ok {
		return 0, nil
	}
	d, err := duration(s)
	if err != nil {
		return 0, fmt.Errorf("@%s: %w", name, err)
	}
	return d, nil
}

var (
	errDuration = errors.New("not a duration like PT1H2M3.5S, without sign")
	errTooLong  = fmt.Errorf("longer than %d years", maxPresentation/(365*24*time.Hour))
)

// duration reads an xs:duration. A year has 365 days and a month 30, as players
// take them; nobody uses either.
func duration(s string) (time.Duration, error) {
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" || len(s) > 64 {
		return 0, errDuration
	}
	total := 0.0
	date, clock, timed := strings.Cut(rest, "T")
	if timed && clock == "" {
		return 0, errDuration
	}
	for _, half := range []struct {
		s, units string
		seconds  []float64
	}{{date, "YMD", []float64{365 * 86400, 30 * 86400, 86400}}, {clock, "HMS", []float64{3600, 60, 1}}} {
		for next := 0; half.s != ""; {
			i := strings.IndexAny(half.s, half.units)
			if i < 1 {
				return 0, errDuration
			}
			unit := strings.IndexByte(half.units, half.s[i])
			n, err := decimal(half.s[:i])
			if err != nil || unit < next {
				return 0, errDuration
			}
			total += n * half.seconds[unit]
			half.s, next = half.s[i+1:], unit+1
		}
	}
	if total > maxPresentation.Seconds() {
		return 0, errTooLong
	}
	return time.Duration(math.Round(total * float64(time.Second))), nil
}

func decimal(s string) (float64, error) {
	if strings.Trim(s, "0123456789.") != "" {
		return 0, errDuration
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, errDuration
	}
	return f, nil
}

// date is an xs:dateTime of an attribute, zero where it is not there; of a zone
// that is not said UTC is made (5.3.1.2).
func (e *element) date(name string) (time.Time, error) {
	s, ok := e.get(name)
	if !ok {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("@%s is not a date", name)
}

// always is the availability time offset of what is there from the beginning.
const always = maxPresentation

// timeOffset is @availabilityTimeOffset, in seconds or INF.
func (e *element) timeOffset() (time.Duration, error) {
	s, ok := e.get("availabilityTimeOffset")
	if !ok {
		return 0, nil
	}
	if s == "INF" {
		return always, nil
	}
	f, err := decimal(s)
	if err != nil || f > maxPresentation.Seconds() {
		return 0, errors.New("@availabilityTimeOffset is neither seconds nor INF")
	}
	return time.Duration(f * float64(time.Second)), nil
}

// byteRange reads first-last of an attribute, as in HTTP.
func (e *element) byteRange(name string) (media.Range, error) {
	s, ok := e.get(name)
	if !ok {
		return media.Range{}, nil
	}
	a, b, _ := strings.Cut(s, "-")
	first, err1 := strconv.ParseUint(a, 10, 62)
	last, err2 := strconv.ParseUint(b, 10, 61)
	if b == "" { // to the end
		last, err2 = 0, nil
	} else if err2 == nil && last < first {
		err2 = errors.New("backwards")
	}
	if err1 != nil || err2 != nil {
		return media.Range{}, fmt.Errorf("@%s is not a byte range", name)
	}
	if b == "" {
		return media.Range{Offset: int64(first)}, nil
	}
	return media.Range{Offset: int64(first), Length: int64(last - first + 1)}, nil
}

// toTime converts ticks, which may be before zero, to a duration.
func toTime(ticks int64, timescale uint64) (time.Duration, error) {
	sign := time.Duration(1)
	n := uint64(ticks)
	if ticks < 0 {
		sign, n = -1, uint64(-ticks)
	}
	s, rest := n/timescale, n%timescale
	if s > uint64(maxPresentation/time.Second) {
		return 0, errTooLong
	}
	return sign * (time.Duration(s)*time.Second + time.Duration(rest*uint64(time.Second)/timescale)), nil
}

// toTicks converts a duration, rounded down; it is 0 for negative ones, and
// maxTicks for what is beyond.
func toTicks(d time.Duration, timescale uint64) uint64 {
	if d <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(min(d, maxPresentation)), timescale)
	ticks, _ := bits.Div64(hi, lo, uint64(time.Second)) // 100 years · 2^32 is below 2^64 · 1e9
	return min(ticks, maxTicks)
}
