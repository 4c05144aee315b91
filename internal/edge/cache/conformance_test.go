package cache

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The cases mirror, group by group, those of the public suite
// https://github.com/http-tests/cache-tests (directory tests/), for a shared
// cache that is a CDN. Where the suite only asks what a cache does, the case
// states what this one does.

// step is one request of a client, what the origin answers if it is asked, and
// what must come of it.
type step struct {
	after  time.Duration // the clock moves on before the request
	method string
	path   string
	send   []string // header, pairs

	status int
	answer []string // header, pairs; a value "@N" is the date N seconds from now
	body   string
	down   bool // the origin closes the connection

	want    string // "hit", "asked", "etag" or "lm" (validated, answered 304), "" any
	wantSt  int    // 0: 200
	wantIn  []string
	wantOut []string // fields that must be missing
	text    string   // the body, "" any
}

const (
	hit   = "hit"
	asked = "asked"
	etag  = "etag"
	lm    = "lm"
)

type conformanceCase struct {
	name  string
	steps []step
}

func fresh(extra ...string) step {
	return step{answer: append([]string{"Cache-Control", "max-age=3600"}, extra...)}
}

// reused is a case of one response and a later request that must be answered as
// want says.
func reused(name, want string, answer ...string) conformanceCase {
	return conformanceCase{name, []step{{answer: answer, want: asked}, {after: 3 * time.Second, answer: answer, want: want}}}
}

func runConformance(t *testing.T, cases []conformanceCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil, nil)
			for i, s := range tc.steps {
				l.step(i, s)
			}
		})
	}
}

func (l *lab) step(i int, s step) {
	l.t.Helper()
	l.clock.advance(s.after)
	validated := ""
	l.setHandler(func(w http.ResponseWriter, r *http.Request) { validated = l.play(s, w, r) })
	before := len(l.requests())
	method := s.method
	if method == "" {
		method = http.MethodGet
	}
	path := s.path
	if path == "" {
		path = "/x"
	}
	a := l.do(method, path, s.send...)
	reqs := l.requests()[before:]
	got := hit
	switch {
	case validated != "":
		got = validated
	case len(reqs) > 0:
		got = asked
	}
	if s.want != "" && got != s.want {
		l.t.Errorf("step %d: answered as %q, want %q (%s; Cache-Status %q)", i, got, s.want, a.Status, a.Header.Get("Cache-Status"))
	}
	want := s.wantSt
	if want == 0 {
		want = http.StatusOK
		if s.status != 0 {
			want = s.status
		}
	}
	if a.StatusCode != want {
		l.t.Errorf("step %d: status %d, want %d", i, a.StatusCode, want)
	}
	if s.text != "" && a.body != s.text {
		l.t.Errorf("step %d: body %q, want %q", i, a.body, s.text)
	}
	for k := 0; k+1 < len(s.wantIn); k += 2 {
		if v := l.value(s.wantIn[k+1]); !slices.Contains(a.Header.Values(s.wantIn[k]), v) {
			l.t.Errorf("step %d: %s is %q, want %q", i, s.wantIn[k], a.Header.Values(s.wantIn[k]), v)
		}
	}
	for _, name := range s.wantOut {
		if vs := a.Header.Values(name); len(vs) > 0 {
			l.t.Errorf("step %d: %s is %q, want none", i, name, vs)
		}
	}
}

// value resolves "@N".
func (l *lab) value(v string) string {
	if n, err := strconv.Atoi(strings.TrimPrefix(v, "@")); err == nil && strings.HasPrefix(v, "@") {
		return l.clock.now().Add(time.Duration(n) * time.Second).UTC().Format(http.TimeFormat)
	}
	return v
}

// play is the origin of a step. It answers 304 when a validator agrees.
func (l *lab) play(s step, w http.ResponseWriter, r *http.Request) (validated string) {
	if s.down {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	h["Date"] = []string{l.value("@0")}
	for i := 0; i+1 < len(s.answer); i += 2 {
		if s.answer[i] == "Date" {
			h.Del("Date")
		}
	}
	for i := 0; i+1 < len(s.answer); i += 2 {
		h.Add(s.answer[i], l.value(s.answer[i+1]))
	}
	if tag := h.Get("ETag"); tag != "" && r.Header.Get("If-None-Match") == tag {
		validated = etag
	} else if m := h.Get("Last-Modified"); tag == "" && m != "" && r.Header.Get("If-Modified-Since") == m {
		validated = lm
	}
	status := s.status
	if status == 0 {
		status = http.StatusOK
	}
	if validated != "" {
		status = http.StatusNotModified
	}
	body := s.body
	if body == "" {
		body = fmt.Sprintf("body %d", status)
	}
	w.WriteHeader(status)
	if status != http.StatusNoContent && status != http.StatusNotModified && r.Method != http.MethodHead {
		fmt.Fprint(w, body)
	}
	return validated
}
