package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Rate is bytes per second; 0 is no limit. As text it is a number with a unit:
//
//	500K 2M 1G          1024-based bytes, as in curl; KiB MiB GiB are the same
//	500kB 2MB 1GB       1000-based bytes
//	500kbit 20mbit 1gbit   1000-based bits
//
// Fractions are fine ("1.5M"), and "/s" may follow. "Mb" is refused because
// people mean both bits and bytes by it.
type Rate int64

// Size is a number of bytes, in the units of [Rate] except bits.
type Size int64

var errUnit = errors.New("units are K, M, G (1024-based bytes), kB, MB, GB (1000-based bytes)")

// UnmarshalText reads the form that [Rate] describes.
func (r *Rate) UnmarshalText(b []byte) error {
	s := strings.TrimSuffix(strings.TrimSpace(string(b)), "/s")
	n, err := parseBytes(s, true)
	if err != nil {
		return fmt.Errorf("rate %.40q: %w, kbit, mbit, gbit", b, err)
	}
	*r = Rate(n)
	return nil
}

// MarshalText writes the largest 1024-based unit that is exact.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string { return formatBytes(int64(r)) }

// UnmarshalText reads a number of bytes.
func (s *Size) UnmarshalText(b []byte) error {
	n, err := parseBytes(strings.TrimSpace(string(b)), false)
	if err != nil {
		return fmt.Errorf("size %.40q: %w", b, err)
	}
	*s = Size(n)
	return nil
}

// MarshalText writes the largest 1024-based unit that is exact.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string { return formatBytes(int64(s)) }

func parseBytes(s string, bits bool) (int64, error) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	value, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, errors.New("want a number with a unit, for instance 2M;" + " " + errUnit.Error())
	}
	factor, err := unit(s[i:], bits)
	if err != nil {
		return 0, err
	}
	n := value * factor
	if n >= math.MaxInt64 {
		return 0, errors.New("too large")
	}
	// Less than one byte is not "no limit".
	if n > 0 && n < 1 {
		n = 1
	}
	return int64(n), nil
}

// unit is how many bytes one of a unit is.
func unit(s string, bits bool) (float64, error) {
	prefix, rest := 0, s // exponent of 1000 or 1024
	if s != "" {
		prefix = strings.IndexByte("KMGT", s[0]&^0x20) + 1
	}
	if prefix > 0 {
		rest = s[1:]
	}
	binary, decimal := math.Pow(1024, float64(prefix)), math.Pow(1000, float64(prefix))
	switch {
	case rest == "" || rest == "iB" && prefix > 0:
		return binary, nil
	case rest == "B":
		return decimal, nil
	case bits && strings.EqualFold(rest, "bit"):
		return decimal / 8, nil
	}
	return 0, fmt.Errorf("unknown unit %q; %w", s, errUnit)
}

func formatBytes(n int64) string {
	units := []string{"", "K", "M", "G", "T"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}
