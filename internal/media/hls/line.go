package hls

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// line is one line of a playlist without its end. Of a tag name and value are
// set ("#" and ":" left out), of a comment or blank line nothing, else uri.
type line struct {
	no         int // from 1
	at         int // offset of text in the playlist
	text       string
	tag, value string
	uri        string
}

// lines gives the lines of a playlist, or the error that it is none.
func lines(playlist []byte) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		if len(playlist) > media.MaxPlaylist {
			yield(line{}, fmt.Errorf("playlist of %d bytes, the limit is %d", len(playlist), media.MaxPlaylist))
			return
		}
		at := 0
		if bytes.HasPrefix(playlist, []byte("\ufeff")) { // §4.1 forbids it, editors add it
			at = len("\ufeff")
		}
		for no := 1; at < len(playlist); no++ {
			text, _, _ := bytes.Cut(playlist[at:], []byte("\n"))
			l := line{no: no, at: at}
			at += len(text) + 1
			if len(text) > maxLine {
				yield(l, l.err(fmt.Errorf("line of %d bytes, the limit is %d", len(text), maxLine)))
				return
			}
			l.split(string(bytes.TrimRight(text, "\r \t")))
			if no == 1 && l.tag != "EXTM3U" {
				yield(l, l.err(errors.New("the first line is not #EXTM3U: this is no HLS playlist")))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
		if at == 0 {
			yield(line{}, errors.New("empty playlist"))
		}
	}
}

func (l *line) split(text string) {
	l.text = text
	switch {
	case strings.HasPrefix(text, "#EXT"):
		l.tag, l.value, _ = strings.Cut(text[1:], ":")
	case !strings.HasPrefix(text, "#"):
		l.uri = strings.TrimLeft(text, " \t")
	}
}

func (l *line) err(err error) error { return &media.Error{Line: l.no, Tag: l.tag, Err: err} }

// attr is an attribute of a tag; from and to bound its value, without quotes, in
// the string that it was read from.
type attr struct {
	name, value string
	quoted      bool
	from, to    int
}

type attrs []attr

// parseAttrs reads an attribute list (§4.2). Blanks around names are let pass.
func parseAttrs(s string) (attrs, error) {
	var list attrs
	for at := 0; at < len(s); {
		if len(list) == maxAttributes {
			return nil, fmt.Errorf("more than %d attributes", maxAttributes)
		}
		name, rest, ok := strings.Cut(s[at:], "=")
		a := attr{name: strings.TrimSpace(name), from: at + len(name) + 1}
		if !ok || !isName(a.name) {
			return nil, fmt.Errorf("no attribute at byte %d of the list", at)
		}
		if strings.HasPrefix(rest, `"`) {
			a.quoted = true
			a.from++
			n := strings.IndexByte(rest[1:], '"')
			if n < 0 {
				return nil, fmt.Errorf("%s: the quote does not end", a.name)
			}
			a.to = a.from + n
			at = a.to + 1
		} else {
			n := strings.IndexByte(rest, ',')
			if n < 0 {
				n = len(rest)
			}
			a.to = a.from + n
			at = a.to
		}
		a.value = s[a.from:a.to]
		if list.has(a.name) {
			return nil, fmt.Errorf("%s is there twice", a.name)
		}
		list = append(list, a)
		at += len(s[at:]) - len(strings.TrimLeft(s[at:], " \t"))
		if at < len(s) && s[at] != ',' {
			return nil, fmt.Errorf("%s: no comma after the value", a.name)
		}
		at++
	}
	return list, nil
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

func (l attrs) find(name string) (attr, bool) {
	for _, a := range l {
		if a.name == name {
			return a, true
		}
	}
	return attr{}, false
}

func (l attrs) has(name string) bool {
	_, ok := l.find(name)
	return ok
}

// yes is an enumerated attribute whose only other value is NO, the default.
func (l attrs) yes(name string) (bool, error) {
	a, ok := l.find(name)
	switch {
	case !ok || a.value == "NO":
		return false, nil
	case a.value == "YES":
		return true, nil
	default:
		return false, fmt.Errorf("%s is neither YES nor NO", name)
	}
}

// integer is an attribute that is a number, or 0 where it is not there.
func (l attrs) integer(name string) (uint64, error) {
	a, ok := l.find(name)
	if !ok {
		return 0, nil
	}
	n, err := integer(a.value)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// seconds is an attribute that is a duration, or 0 where it is not there.
func (l attrs) seconds(name string) (time.Duration, error) {
	a, ok := l.find(name)
	if !ok {
		return 0, nil
	}
	d, err := seconds(a.value)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// integer reads a decimal integer, of at most maxSequence, so that sums of a few
// cannot overflow.
func integer(s string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 63)
	if err != nil || n > maxSequence {
		return 0, fmt.Errorf("not a whole number from 0 to %d", uint64(maxSequence))
	}
	return n, nil
}

// decimal reads a floating point number as the format has it: digits and a
// point. Signs, exponents and the names of what is no number are errors.
func decimal(s string) (float64, error) {
	s = strings.TrimSpace(s)
	if len(s) > 64 || strings.Trim(s, "0123456789.") != "" {
		return 0, errors.New("not a decimal number without sign")
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, errors.New("not a decimal number without sign")
	}
	return f, nil
}

func seconds(s string) (time.Duration, error) {
	f, err := decimal(s)
	if err != nil {
		return 0, err
	}
	if f > media.MaxDuration.Seconds() {
		return 0, fmt.Errorf("longer than %v", media.MaxDuration)
	}
	return time.Duration(math.Round(f * float64(time.Second))), nil
}

// byteRange reads n[@o]; where o is left out the range begins at next, and it is
// an error if that is negative.
func byteRange(s string, next int64) (media.Range, error) {
	n, o, ok := strings.Cut(strings.TrimSpace(s), "@")
	length, err := integer(n)
	if err != nil {
		return media.Range{}, fmt.Errorf("length of the byte range: %w", err)
	}
	if length == 0 {
		return media.Range{}, errors.New("the byte range is empty")
	}
	r := media.Range{Offset: next, Length: int64(length)}
	if ok {
		offset, err := integer(o)
		if err != nil {
			return media.Range{}, fmt.Errorf("offset of the byte range: %w", err)
		}
		r.Offset = int64(offset)
	}
	if r.Offset < 0 {
		return media.Range{}, errors.New("the byte range has no offset, and what precedes is no range of the same resource")
	}
	if r.Offset > maxSequence-r.Length {
		return media.Range{}, errors.New("the byte range ends beyond what a file can have")
	}
	return r, nil
}

// date reads a time of ISO 8601; of a zone that is not said UTC is made.
func date(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("not a date of ISO 8601")
}
