package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Range is a part of a representation: the bytes at Start up to but not
// including End.
type Range struct{ Start, End int64 }

// Len is the length in bytes.
func (r Range) Len() int64 { return r.End - r.Start }

// ContentRange is the value of the Content-Range field for a part of an object
// of size bytes (RFC 9110 §14.4).
func (r Range) ContentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.Start, r.End-1, size)
}

// Limits of a Range request.
const (
	maxRangeBytes = 4 << 10 // of the field
	maxRangeSpecs = 128     // in the field
	// MaxParts is the number of separate parts one response may have.
	MaxParts = 16
)

var (
	// ErrNoRange says that the field is to be ignored: another unit, or no
	// grammar (RFC 9110 §14.2).
	ErrNoRange = errors.New("range is ignored")
	// ErrUnsatisfiable is to be answered 416: no range overlaps the
	// representation, or there are too many to be meant honestly.
	ErrUnsatisfiable = errors.New("range cannot be satisfied")
)

// ParseRange reads a Range field for an object of size bytes. Ranges past the
// end are dropped; those that overlap or touch are joined, and are then in
// ascending order.
func ParseRange(field string, size int64) ([]Range, error) {
	unit, set, ok := strings.Cut(field, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return nil, ErrNoRange
	}
	if len(set) > maxRangeBytes {
		return nil, ErrUnsatisfiable
	}
	var rs []Range
	specs := 0
	for spec := range listMembers(set) {
		if specs++; specs > maxRangeSpecs {
			return nil, ErrUnsatisfiable
		}
		r, ok := parseSpec(spec, size)
		if !ok {
			return nil, ErrNoRange
		}
		if r.Len() > 0 {
			rs = append(rs, r)
		}
	}
	if specs == 0 {
		return nil, ErrNoRange
	}
	rs = join(rs)
	if len(rs) == 0 || len(rs) > MaxParts {
		return nil, ErrUnsatisfiable
	}
	return rs, nil
}

// parseSpec reads one range-spec; an empty result lies past the end.
func parseSpec(spec string, size int64) (Range, bool) {
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return Range{}, false
	}
	first, last = strings.Trim(first, " \t"), strings.Trim(last, " \t")
	if first == "" {
		n, ok := digits(last)
		return Range{max(0, size-n), size}, ok
	}
	start, ok := digits(first)
	if !ok {
		return Range{}, false
	}
	end := size
	if last != "" {
		n, ok := digits(last)
		if !ok || n < start {
			return Range{}, false
		}
		end = min(n+1, size)
	}
	return Range{start, max(start, end)}, true
}

// join merges ranges that overlap or touch. A set without such is left in the
// order of the request (RFC 9110 §14.2 wants the parts in that order).
func join(rs []Range) []Range {
	sorted := slices.Clone(rs)
	slices.SortFunc(sorted, func(a, b Range) int { return int(max(-1, min(1, a.Start-b.Start))) })
	out := sorted[:0]
	for _, r := range sorted {
		if n := len(out); n > 0 && r.Start <= out[n-1].End {
			out[n-1].End = max(out[n-1].End, r.End)
			continue
		}
		out = append(out, r)
	}
	if len(out) == len(rs) {
		return rs
	}
	return out
}

// ParseContentRange reads the Content-Range of a 206 (RFC 9110 §14.4). size is
// -1 when the sender does not know it.
func ParseContentRange(field string) (r Range, size int64, ok bool) {
	rest, ok := strings.CutPrefix(field, "bytes ")
	if !ok || len(field) > 80 {
		return Range{}, 0, false
	}
	part, total, ok := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(part, "-")
	start, ok3 := digits(first)
	end, ok4 := digits(last)
	if !ok || !ok2 || !ok3 || !ok4 || end < start {
		return Range{}, 0, false
	}
	size = -1
	if total != "*" {
		if size, ok = digits(total); !ok || end >= size {
			return Range{}, 0, false
		}
	}
	return Range{start, end + 1}, size, true
}
