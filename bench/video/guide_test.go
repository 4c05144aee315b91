//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// An MPD is read anew when it says so; what its periods list follows one another, whatever
// they number.
func TestDASHGuide(t *testing.T) {
	mpd := func(kind string, from int) []byte {
		s := fmt.Sprintf(`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="%s">`, kind)
		for p := from; p < from+2; p++ {
			s += fmt.Sprintf(`<Period id="%d" start="PT%dS" duration="PT4S"><AdaptationSet contentType="video" mimeType="video/mp4"><SegmentTemplate duration="2" media="$RepresentationID$/%[1]d-$Number$.m4s"/><Representation id="hi" bandwidth="9"/><Representation id="lo" bandwidth="1"/></AdaptationSet></Period>`, p, 4*p)
		}
		return []byte(s + "</MPD>")
	}
	live := `dynamic" minimumUpdatePeriod="PT0S" availabilityStartTime="` + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		kind  string
		ended bool
		want  []string
	}{
		{"static", true, []string{"lo/0-1", "lo/0-2", "lo/1-1", "lo/1-2"}},
		{live, false, []string{"lo/1-1", "lo/1-2", "lo/2-1", "lo/2-2"}},
	} {
		loads := 0
		g, err := open(t.Context(), "http://a.example/m.mpd", func(context.Context, media.Resource) ([]byte, error) {
			loads++
			return mpd(c.kind, loads-1), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if e := g.encodings(); len(e) != 2 || e[0].id != "lo" || e[1].bandwidth != 9 {
			t.Errorf("%+v", e)
		}
		l, err := g.list(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, s := range l.segments {
			got = append(got, s.URL[len("http://a.example/"):len(s.URL)-len(".m4s")])
			if i > 0 && s.Number <= l.segments[i-1].Number {
				t.Errorf("segment %d after %d", s.Number, l.segments[i-1].Number)
			}
		}
		if !slices.Equal(got, c.want) || l.ended != c.ended || l.whole != c.ended {
			t.Errorf("%q, %+v", got, l)
		}
	}
}
