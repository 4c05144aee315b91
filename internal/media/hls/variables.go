package hls

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// variables are those of a playlist (§4.3). One that is imported without the
// multivariant playlist at hand is known and has no value: only who uses it
// fails.
type variables struct {
	values  map[string]string
	missing map[string]bool
	size    int // bytes of names and values
	left    int // bytes that may still be put in place of references
}

// maxExpanded bounds what references of a whole playlist can grow to.
const maxExpanded = 64 << 20

// define takes an EXT-X-DEFINE (§4.4.2.3).
func (v *variables) define(list attrs, base *url.URL, imports map[string]string) error {
	var name, value string
	known, kinds := true, 0
	if a, ok := list.find("NAME"); ok {
		kinds++
		name = a.value
		val, ok := list.find("VALUE")
		if !ok {
			return errors.New("NAME without VALUE")
		}
		var err error
		if value, err = v.expand(val.value); err != nil {
			return err
		}
	}
	if a, ok := list.find("IMPORT"); ok {
		kinds++
		name = a.value
		value, known = imports[name]
	}
	if a, ok := list.find("QUERYPARAM"); ok {
		kinds++
		name = a.value
		query := base.Query()
		if !query.Has(name) {
			return fmt.Errorf("the URL of the playlist has no parameter of that name")
		}
		value = query.Get(name)
	}
	return v.set(name, value, known, kinds)
}

func (v *variables) set(name, value string, known bool, kinds int) error {
	if kinds != 1 {
		return errors.New("wants one of NAME, IMPORT and QUERYPARAM")
	}
	if !isVariable(name) {
		return errors.New("the name of the variable is empty or has other characters than letters, digits, - and _")
	}
	if _, twice := v.values[name]; twice || v.missing[name] {
		return errors.New("the variable is defined twice")
	}
	if v.size += len(name) + len(value); len(v.values)+len(v.missing) == maxVariables || v.size > maxDefined {
		return fmt.Errorf("more than %d variables or %d bytes of them", maxVariables, maxDefined)
	}
	if v.values == nil {
		v.values, v.missing, v.left = map[string]string{}, map[string]bool{}, maxExpanded
	}
	if known {
		v.values[name] = value
	} else {
		v.missing[name] = true
	}
	return nil
}

func isVariable(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// expand puts values in place of references. What a value contains is not
// expanded again.
func (v *variables) expand(s string) (string, error) {
	if !strings.Contains(s, "{$") {
		return s, nil
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{$")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok || !isVariable(name) { // not a reference
			b.WriteString("{$")
			s = rest
			continue
		}
		value, known := v.values[name]
		if !known {
			if v.missing[name] {
				return "", fmt.Errorf("the variable %.64s is imported from the multivariant playlist, which does not define it or is not known", name)
			}
			return "", fmt.Errorf("the variable %.64s is not defined", name)
		}
		if b.Len()+len(value) > maxLine || len(value) > v.left {
			return "", errors.New("variables make the playlist too large")
		}
		v.left -= len(value)
		b.WriteString(value)
		s = after
	}
}
