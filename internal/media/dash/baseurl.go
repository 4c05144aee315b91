package dash

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/internal/media"
)

// baseURL takes a BaseURL (5.6): each of those above gives one more.
func (p *parser) baseURL(e *element) error {
	s := p.top()
	if s.sealed || s.addressed {
		return errLate
	}
	offset, err := e.timeOffset()
	if err != nil {
		return err
	}
	if !s.based {
		s.based, s.bases = true, nil
	}
	location := e.str("serviceLocation")
	for _, up := range s.above {
		b := up
		b.offset = min(b.offset+offset, always)
		if ref := e.text(); ref != "" {
			if b.URL, err = p.resolve(up.URL, ref); err != nil {
				return err
			}
		}
		if location != "" {
			b.ServiceLocation = location
		}
		if slices.Contains(s.bases, b) {
			continue
		}
		if len(s.bases) == maxBases {
			return fmt.Errorf("more than %d base URLs of the same", maxBases)
		}
		s.bases = append(s.bases, b)
	}
	return p.serviceLocation(location)
}

func (p *parser) serviceLocation(name string) error {
	if name == "" || slices.Contains(p.mpd.ServiceLocations, name) {
		return nil
	}
	if len(p.mpd.ServiceLocations) == maxLocations {
		return fmt.Errorf("more than %d service locations", maxLocations)
	}
	p.mpd.ServiceLocations = append(p.mpd.ServiceLocations, name)
	return nil
}

// resolve makes a reference absolute.
func (p *parser) resolve(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", errors.New("the base URL is none")
	}
	abs, err := media.Resolve(b, ref)
	if err != nil {
		return "", err
	}
	u := media.Location(abs)
	if p.urlsLeft -= len(u); p.urlsLeft < 0 {
		return "", fmt.Errorf("more than %d bytes of URLs", media.MaxURLs)
	}
	return u, nil
}

func (p *parser) location(e *element, to *[]string) error {
	if len(*to) == maxLocations {
		return fmt.Errorf("more than %d of them", maxLocations)
	}
	u, err := p.resolve(p.mpd.base, e.text())
	if err != nil {
		return err
	}
	*to = append(*to, u)
	return nil
}

func (p *parser) steering(e *element) error {
	u, err := p.resolve(p.mpd.base, e.text())
	if err != nil {
		return err
	}
	if ref := e.str("proxyServerURL"); ref != "" {
		proxy, err := p.resolve(p.mpd.base, ref)
		if err != nil {
			return err
		}
		via, err := url.Parse(proxy)
		if err != nil {
			return err
		}
		q := via.Query()
		q.Set("url", u)
		via.RawQuery = q.Encode()
		u = via.String()
	}
	p.mpd.Steering = &Steering{URL: u, Default: strings.Fields(e.str("defaultServiceLocation")), QueryBeforeStart: e.str("queryBeforeStart") == "true"}
	return nil
}
