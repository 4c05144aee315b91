package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tandem-cdn/tandem/internal/sim/scenario"
	"github.com/tandem-cdn/tandem/internal/sim/study"
)

// thin is a narrow space that does not break, between a number and its unit.
const thin = "\u202f"

// number writes x with three digits that count, and its unit.
func number(x float64, unit string) string {
	switch unit {
	case "%":
		return digits(x*100) + thin + "%"
	case "s":
		return seconds(x)
	case "B":
		v, prefix := scaled(x)
		return digits(v) + thin + prefix + "B"
	case "B/s":
		v, prefix := scaled(x * 8)
		return digits(v) + thin + prefix + "bit/s"
	case "×":
		return digits(x) + thin + "×"
	default:
		if x == math.Trunc(x) && math.Abs(x) < 1e7 {
			return grouped(int64(x))
		}
		return digits(x)
	}
}

// tick writes a round number of an axis, without the zeros that say how exact a
// measured one is.
func tick(x float64, unit string) string {
	s := number(x, unit)
	head, _, _ := strings.Cut(s, thin)
	if rest := s[len(head):]; strings.Contains(head, ".") {
		return strings.TrimRight(strings.TrimRight(head, "0"), ".") + rest
	}
	return s
}

// ticker is the format of an axis in a unit.
func ticker(unit string) func(float64) string {
	return func(x float64) string { return tick(x, unit) }
}

// digits are three that count, or two after the point of numbers near 1: ratios
// are told apart there.
func digits(x float64) string {
	switch a := math.Abs(x); {
	case x == 0:
		return "0"
	case a >= 1000:
		return grouped(int64(math.Round(x)))
	case a >= 99.95:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case a >= 0.0995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	default:
		return strconv.FormatFloat(x, 'g', 2, 64)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// grouped separates thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + thin + s[i:]
	}
	return sign + s
}

func seconds(x float64) string {
	switch a := math.Abs(x); {
	case a == 0:
		return "0" + thin + "s"
	case a < 1:
		return digits(x*1000) + thin + "ms"
	case a < 600:
		return digits(x) + thin + "s"
	case a < 3*3600:
		return digits(x/60) + thin + "min"
	default:
		return digits(x/3600) + thin + "h"
	}
}

// scaled is x with a prefix of 1000s.
func scaled(x float64) (float64, string) {
	prefixes := []string{"", "k", "M", "G", "T", "P", "E"}
	i := 0
	for math.Abs(x) >= 999.5 && i < len(prefixes)-1 {
		x /= 1000
		i++
	}
	return x, prefixes[i]
}

// figure writes a figure of a run, with its interval of confidence.
func figure(f study.Figure, unit string) string {
	s := number(f.Mean, unit)
	// An interval that the digits do not show says nothing.
	if f.CI > math.Abs(f.Mean)*0.0005 && f.CI > 0 {
		s += " ± " + number(f.CI, unit)
	}
	return s
}

func unitOf(name string) string {
	f, _ := scenario.FigureNamed(name)
	return f.Unit
}

func saysOf(name string) string {
	f, _ := scenario.FigureNamed(name)
	return f.Says
}

// plural counts things.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%s %ss", grouped(int64(n)), what)
}

// title is a run's name as people read it; one that is alone has none.
func title(name string) string {
	return strings.ReplaceAll(name, "=", " = ")
}
