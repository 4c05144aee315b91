package dash

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

func TestCompare(t *testing.T) {
	// timed is a live MPD by time, numbered one by number; both have segments of
	// 2 s, from one place on.
	timed := func(published, s string) string {
		return live(`publishTime="2024-05-01T00:00:`+published+`Z"`, one(`<SegmentTemplate media="s$Time$"><SegmentTimeline>`+s+`</SegmentTimeline></SegmentTemplate>`))
	}
	numbered := func(start, s string) string {
		return live("", one(`<SegmentTemplate startNumber="`+start+`" media="s$Number$"><SegmentTimeline>`+s+`</SegmentTimeline></SegmentTemplate>`))
	}
	steady := live(`timeShiftBufferDepth="PT9S"`, one(`<SegmentTemplate duration="2" media="s$Number$"/>`))
	period := func(id, start string) string {
		return `<Period id="` + id + `" start="` + start + `"><AdaptationSet><Representation id="1"><SegmentTemplate duration="2" media="` + id + `$Number$"/></Representation></AdaptationSet></Period>`
	}
	// window is the list of three segments of 2 s from one on, as ffmpeg writes it.
	window := func(from int) string {
		s := fmt.Sprintf(`<Period id="0" start="PT%dS"><AdaptationSet><Representation id="1"><SegmentList duration="2" startNumber="%d">`, 2*from, from)
		for n := from; n < from+3; n++ {
			s += fmt.Sprintf(`<SegmentURL media="%d"/>`, n)
		}
		return live(`minimumUpdatePeriod="PT2S"`, s+`</SegmentList></Representation></AdaptationSet></Period>`)
	}
	cdns := func(a, b string) string {
		return live("", `<BaseURL serviceLocation="`+a+`">https://`+a+`/</BaseURL><BaseURL serviceLocation="`+b+`">https://`+b+`/</BaseURL>`+one(`<SegmentTemplate duration="2" media="s$Number$"/>`))
	}
	nameless := func(a, b string) string {
		return live("", `<BaseURL>https://`+a+`/</BaseURL><BaseURL>https://`+b+`/</BaseURL>`+one(`<SegmentTemplate duration="2" media="s$Number$"/>`))
	}
	cases := []struct {
		name, prev, next string
		want             media.Change
		err              string
	}{
		{"the same", steady, steady, media.Continues, ""},
		{"moved on", timed("10", `<S t="0" d="2" r="4"/>`), timed("12", `<S t="2" d="2" r="4"/>`), media.Continues, ""},
		{"moved on, by number", numbered("1", `<S t="0" d="2" r="4"/>`), numbered("2", `<S t="2" d="2" r="4"/>`), media.Continues, ""},
		{"some missed", timed("10", `<S t="0" d="2" r="4"/>`), timed("40", `<S t="30" d="2" r="4"/>`), media.Continues, ""},
		{"the end", steady, strings.Replace(steady, "dynamic", "static", 1), media.Continues, ""},
		{"another order of places", cdns("a", "b"), cdns("b", "a"), media.Continues, ""},
		{"another order of places without names", nameless("a", "b"), nameless("b", "a"), media.Continues, ""},
		{"periods move", live("", period("a", "PT0S")+period("b", "PT10S")), live("", period("b", "PT10S")+period("c", "PT20S")), media.Continues, ""},
		{"new periods alone", live("", period("a", "PT0S")), live("", period("c", "PT20S")), media.Continues, ""},
		{"an older state by date", timed("12", `<S t="2" d="2" r="4"/>`), timed("10", `<S t="0" d="2" r="4"/>`), media.Stale, ""},
		{"an older state", numbered("2", `<S t="2" d="2" r="4"/>`), numbered("1", `<S t="0" d="2" r="4"/>`), media.Stale, ""},
		{"another beginning of time", steady, strings.Replace(steady, "01T00:00:00Z", "01T00:00:07Z", 1), media.Restarted, ""},
		{"begins again after the end", strings.Replace(strings.Replace(steady, "dynamic", "static", 1), `availabilityStartTime="2024-05-01T00:00:00Z"`, "", 1), steady, media.Restarted, ""},
		{"times go back", numbered("90", `<S t="180" d="2" r="4"/>`), numbered("1", `<S t="0" d="2" r="1"/>`), media.Restarted, ""},
		{"the same numbers at other times", numbered("1", `<S t="0" d="2" r="4"/>`), numbered("1", `<S t="100" d="2" r="4"/>`), media.Restarted, ""},
		{"other names", steady, strings.Replace(steady, "s$Number$", "x$Number$", 1), media.Restarted, ""},
		{"other periods at the same time", live("", period("a", "PT0S")), live("", period("b", "PT0S")), media.Restarted, ""},
		{
			"one duration changed", timed("10", `<S t="0" d="2" r="2"/>`), timed("12", `<S t="0" d="2" r="1"/><S d="3"/>`), media.Contradicts,
			"line 1: Representation: segment 3 at 4s: lasts 3s, and before it was 2s",
		},
		{"a segment in between", timed("10", `<S t="0" d="2" r="4"/>`), timed("12", `<S t="2" d="1" r="1"/><S d="2" r="3"/>`), media.Contradicts, "segment 1 at 2s: lasts 1s"},
		{"static becomes dynamic", strings.Replace(steady, "dynamic", "static", 1), steady, media.Contradicts, "dynamic, and before it was static"},
		{"a period moves, and its segments with it", live("", period("a", "PT0S")+period("b", "PT10S")), live("", period("b", "PT11S")), media.Restarted, ""},
		{"a period moves, and its segments do not", window(3), window(4), media.Continues, ""},
		{"a period moves, and its segments do by another time", window(3), strings.Replace(window(4), "PT8S", "PT9S", 1), media.Restarted, ""},
		{
			"one of two has other names", live("", period("a", "PT0S")+period("b", "PT10S")), live("", period("a", "PT0S")+strings.Replace(period("b", "PT10S"), "b$", "x$", 1)), media.Contradicts,
			"segment 1 at 10s: another URL than before",
		},
	}
	for _, c := range cases {
		got, err := Compare(parse(t, strings.Replace(c.prev, `type="static"`, `type="static" mediaPresentationDuration="PT60S"`, 1)),
			parse(t, strings.Replace(c.next, `type="static"`, `type="static" mediaPresentationDuration="PT60S"`, 1)), epoch.Add(30*time.Second))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v; want %v, %q", c.name, got, err, c.want, c.err)
		}
	}
}
