package cache

import (
	"net/http"

	"github.com/dunglas/httpsfv"
)

// status is this cache's member of the Cache-Status field (RFC 9211).
type status struct {
	hit       bool
	fwd       string // why the request went forward, empty when it did not
	fwdStatus int
	stored    bool
	collapsed bool
	ttl       *int64 // seconds
	detail    string
}

// mark adds the fields that say that a response came through this cache.
func (c *Cache) mark(h http.Header, st status) {
	h["Via"] = append(h["Via"], c.via)
	s := c.hit
	if st != (status{hit: true}) { // the common one is made once
		s = st.member(c.cfg.Name)
	}
	if s != "" {
		h["Cache-Status"] = append(h["Cache-Status"], s)
	}
}

func (st status) member(name string) string {
	item := httpsfv.NewItem(httpsfv.Token(name))
	if _, err := httpsfv.Marshal(item); err != nil {
		item = httpsfv.NewItem(name) // no token: a string
	}
	p := item.Params
	if st.hit {
		p.Add("hit", true)
	} else if st.fwd != "" {
		p.Add("fwd", httpsfv.Token(st.fwd))
		if st.fwdStatus != 0 {
			p.Add("fwd-status", int64(st.fwdStatus))
		}
	}
	if st.ttl != nil {
		p.Add("ttl", *st.ttl)
	}
	if st.stored {
		p.Add("stored", true)
	}
	if st.collapsed {
		p.Add("collapsed", true)
	}
	if st.detail != "" {
		p.Add("detail", httpsfv.Token(st.detail))
	}
	s, err := httpsfv.Marshal(item)
	if err != nil {
		return ""
	}
	return s
}
