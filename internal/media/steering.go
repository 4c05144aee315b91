package media

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"time"
)

// Steering is a steering manifest: which pathways (HLS) or service locations
// (DASH) to take, as draft-pantos-hls-rfc8216bis §7.2 and ETSI TS 103 998 have it.
type Steering struct {
	TTL      time.Duration // until it is to be asked for again
	Reload   string        // from there, if not empty
	Priority []string      // of pathways, best first
	Clones   []Clone
}

// Clone is a pathway that the playlist does not list: it is another one with
// other URLs.
type Clone struct {
	ID, Base   string
	Host       string            // instead of the host
	Params     map[string]string // to set in the query
	Variants   map[string]string // URLs by STABLE-VARIANT-ID, instead of all that
	Renditions map[string]string // likewise, by STABLE-RENDITION-ID
}

const (
	maxSteering = 256 << 10
	maxPathways = 256
	defaultTTL  = 300 * time.Second
)

type cloneJSON struct {
	ID      string `json:"ID"`
	Base    string `json:"BASE-ID"`
	Replace struct {
		Host       string            `json:"HOST"`
		Params     map[string]string `json:"PARAMS"`
		Variants   map[string]string `json:"PER-VARIANT-URIS"`
		Renditions map[string]string `json:"PER-RENDITION-URIS"`
	} `json:"URI-REPLACEMENT"`
}

// ParseSteering reads a steering manifest that was loaded from base.
func ParseSteering(manifest []byte, base *url.URL) (*Steering, error) {
	s, err := parseSteering(manifest, base)
	if err != nil {
		return nil, fmt.Errorf("steering manifest: %w", err)
	}
	return s, nil
}

func parseSteering(manifest []byte, base *url.URL) (*Steering, error) {
	if err := CheckBase(base); err != nil {
		return nil, err
	}
	if len(manifest) > maxSteering {
		return nil, fmt.Errorf("%d bytes, the limit is %d", len(manifest), maxSteering)
	}
	var (
		version         int
		ttl             = defaultTTL.Seconds()
		reload          string
		priority, older []string
		clones          []cloneJSON
	)
	err := members(manifest, map[string]any{
		"VERSION": &version, "TTL": &ttl, "RELOAD-URI": &reload, "PATHWAY-PRIORITY": &priority,
		"SERVICE-LOCATION-PRIORITY": &older, "PATHWAY-CLONES": &clones,
	})
	switch {
	case err != nil:
		return nil, err
	case version != 1:
		return nil, fmt.Errorf("VERSION %d, only 1 is known", version)
	case len(priority)+len(older)+len(clones) > maxPathways:
		return nil, fmt.Errorf("more than %d pathways", maxPathways)
	case ttl < 0 || ttl > MaxDuration.Seconds():
		return nil, fmt.Errorf("TTL is not 0 to %v s", MaxDuration.Seconds())
	}
	s := &Steering{TTL: time.Duration(math.Round(ttl * float64(time.Second))), Priority: priority}
	if len(priority) == 0 { // as DASH had it before the two were one
		s.Priority = older
	}
	if reload != "" {
		u, err := Resolve(base, reload)
		if err != nil {
			return nil, fmt.Errorf("RELOAD-URI: %w", err)
		}
		s.Reload = Location(u)
	}
	for _, c := range clones {
		if c.ID == "" || c.Base == "" {
			return nil, errors.New("a pathway clone without ID or BASE-ID")
		}
		s.Clones = append(s.Clones, Clone{
			ID: c.ID, Base: c.Base, Host: c.Replace.Host, Params: c.Replace.Params,
			Variants: c.Replace.Variants, Renditions: c.Replace.Renditions,
		})
	}
	return s, nil
}

// members reads those of a JSON object, by their exact names, which encoding/json
// alone does not insist on.
func members(object []byte, to map[string]any) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return fmt.Errorf("JSON: %w", err)
	}
	for name, dst := range to {
		if raw, ok := all[name]; ok {
			if err := json.Unmarshal(raw, dst); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// URL is where the clone has what its base has at u. The stable ID, if there is
// one, may name another place.
func (c Clone) URL(u *url.URL, byID map[string]string, stableID string) (string, error) {
	if to, ok := byID[stableID]; ok && stableID != "" {
		abs, err := Resolve(u, to)
		if err != nil {
			return "", fmt.Errorf("pathway clone: %w", err)
		}
		return Location(abs), nil
	}
	v := *u
	if c.Host != "" {
		v.Host = c.Host
	}
	if len(c.Params) > 0 {
		q := v.Query()
		for _, k := range slices.Sorted(maps.Keys(c.Params)) {
			q.Set(k, c.Params[k])
		}
		v.RawQuery = q.Encode()
	}
	// The host is what somebody wrote: read it as a player would.
	abs, err := Resolve(&v, v.String())
	if err != nil {
		return "", fmt.Errorf("pathway clone: %w", err)
	}
	return Location(abs), nil
}

// RewriteSteering puts what f makes of RELOAD-URI, absolute, in its place, unless
// that is "". Pathway clones are left out: a player makes their URLs itself, of
// hosts that it would then ask behind f's back. Members that nobody knows stay.
func RewriteSteering(manifest []byte, base *url.URL, f func(abs *url.URL) string) ([]byte, error) {
	if _, err := ParseSteering(manifest, base); err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(manifest, &all); err != nil {
		return nil, fmt.Errorf("rewrite steering manifest: %w", err)
	}
	delete(all, "PATHWAY-CLONES")
	var ref string
	if raw, ok := all["RELOAD-URI"]; ok {
		if err := json.Unmarshal(raw, &ref); err != nil {
			return nil, fmt.Errorf("rewrite steering manifest: RELOAD-URI: %w", err)
		}
	}
	if ref != "" {
		abs, err := Resolve(base, ref)
		if err != nil {
			return nil, fmt.Errorf("rewrite steering manifest: RELOAD-URI: %w", err)
		}
		if to := f(abs); to != "" {
			raw, err := json.Marshal(to)
			if err != nil {
				return nil, fmt.Errorf("rewrite steering manifest: RELOAD-URI: %w", err)
			}
			all["RELOAD-URI"] = raw
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("rewrite steering manifest: %w", err)
	}
	return out, nil
}
