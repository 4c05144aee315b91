package streams

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/track"
)

// mpd writes a live MPD that began ago, whose segments last two seconds and follow
// from the clock.
func mpd(ago time.Duration, attributes string, representations ...string) string {
	s := fmt.Sprintf(`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" minBufferTime="PT2S" type="dynamic" availabilityStartTime="%s" timeShiftBufferDepth="PT20S" %s>
<Period id="p" start="PT0S"><AdaptationSet mimeType="video/mp4"><SegmentTemplate timescale="1" duration="2" startNumber="1" initialization="/$RepresentationID$/init" media="/$RepresentationID$/$Number$"/>`,
		time.Now().Add(-ago).UTC().Format(time.RFC3339Nano), attributes)
	for _, id := range representations {
		s += fmt.Sprintf(`<Representation id="%s" bandwidth="1"/>`, id)
	}
	return s + "</AdaptationSet></Period></MPD>"
}

// serveTwo is serve for an MPD of two representations.
func serveTwo(t *testing.T, o *origin, s *Streams, key string) []track.ID {
	t.Helper()
	ids := serve(o, s, key)
	if len(ids) != 2 {
		t.Fatalf("%s has tracks %v", key, ids)
	}
	return ids
}

// Of a live MPD whose segments follow from the clock, those of what is played are
// taken when they are due, without loading it again.
func TestMPDByTheClock(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/l.mpd", mpd(100*time.Second, "", "a", "b c"))
		ids := serveTwo(t, o, s, "/l.mpd")
		if name := copyOf(t, s, ids[1]).Header.Name; name != "/l.mpd#b%20c" {
			t.Errorf("the track is named %s", name)
		}
		if got, _ := names(t, s, ids[0]); len(got) > 0 {
			t.Errorf("%v is taken, and nobody plays", got)
		}
		s.Served("/a/50", "", "")
		synctest.Wait()
		got, _ := names(t, s, ids[0])
		if !slices.Contains(got, "/a/init") || !slices.Contains(got, "/a/50") || slices.Contains(got, "/a/51") {
			t.Errorf("after 100 s: %v", got)
		}
		pass(10*time.Second + 10*time.Millisecond)
		synctest.Wait()
		c := copyOf(t, s, ids[0])
		if seg, _, ok := c.Find("/a/55"); !ok || seg.Start != 108*time.Second || seg.Duration != 2*time.Second {
			t.Errorf("after 110 s: %t, %+v", ok, seg)
		}
		if _, _, ok := c.Find("/a/56"); ok {
			t.Error("a segment is taken that is not there yet")
		}
		if got, _ := names(t, s, ids[1]); len(got) > 0 {
			t.Errorf("%v is taken, and nobody plays", got)
		}
		if n := len(o.loaded("/l.mpd")); n != 1 {
			t.Errorf("the MPD was loaded %d times", n)
		}
		before, _ := c.Next()
		pass(10 * time.Minute) // nobody asks
		synctest.Wait()
		c.follow(t, s)
		if after, ended := c.Next(); after.Segment > before.Segment+20 || ended {
			t.Errorf("%d segments more, ended %t", after.Segment-before.Segment, ended)
		}
	})
}

// A live MPD that says so is loaded again; one that begins anew ends its tracks.
func TestMPDUpdates(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, o *origin, s *Streams) {
		o.set("/l.mpd", mpd(100*time.Second, `minimumUpdatePeriod="PT4S"`, "a", "b"))
		ids := serveTwo(t, o, s, "/l.mpd")
		s.Served("/b/50", "", "")
		pass(20 * time.Second)
		if n := len(o.loaded("/l.mpd")); n < 10 || n > 12 {
			t.Errorf("loaded %d times in 20 s", n)
		}
		o.set("/l.mpd", mpd(50*time.Second, `minimumUpdatePeriod="PT4S"`, "a", "b"))
		pass(3 * time.Second)
		now := serveTwo(t, o, s, "/l.mpd")
		for i := range ids {
			if now[i] == ids[i] {
				t.Errorf("track %d goes on", i)
			}
			if _, ended := names(t, s, ids[i]); !ended {
				t.Errorf("track %d has not ended", i)
			}
		}
		got, _ := names(t, s, now[1])
		if len(got) < 2 || slices.Contains(got, "/b/50") {
			t.Errorf("the new one has %v", got)
		}
		// A representation that is not listed any more ends as well.
		o.set("/l.mpd", mpd(53*time.Second, `minimumUpdatePeriod="PT4S" publishTime="`+time.Now().Add(time.Minute).UTC().Format(time.RFC3339)+`"`, "a"))
		pass(3 * time.Second)
		if left := serve(o, s, "/l.mpd"); len(left) != 1 {
			t.Errorf("tracks %v", left)
		}
		if _, ended := names(t, s, now[1]); !ended {
			t.Error("the track of what is gone has not ended")
		}
	})
}

// An MPD may be an old copy for one and a half segments, also where it does not say how long
// those are at most.
func TestOldMPD(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		began := time.Now().Add(-100 * time.Second)
		set := func(published time.Time) {
			o.set("/l.mpd", strings.Replace(mpd(time.Since(began), `minimumUpdatePeriod="PT4S" publishTime="`+published.UTC().Format(time.RFC3339)+`"`, "a"), `duration="2"`, `duration="10"`, 1))
		}
		now := began.Add(time.Minute)
		set(now)
		id := serveOne(t, o, s, "/l.mpd")
		s.Served("/a/9", "", "")
		pass(time.Second)
		set(now.Add(-time.Second))
		pass(13 * time.Second)
		set(now.Add(time.Second))
		pass(6 * time.Second)
		if got := serveOne(t, o, s, "/l.mpd"); got != id {
			t.Error("an old copy has ended the track")
		}
		set(now)
		s.Served("/a/10", "", "")
		pass(30 * time.Second)
		if _, ended := names(t, s, id); !ended {
			t.Error("one that stays old goes on")
		}
	})
}

// Periods come and go, or move with what they list, and the track goes on.
func TestMovingPeriods(t *testing.T) {
	for name, write := range map[string]func(from int) string{
		"come and go": func(from int) string { // three segments each
			s := ""
			for p := from / 3; p <= (from+5)/3; p++ {
				s += fmt.Sprintf(`<Period id="p%d" start="PT%dS"><AdaptationSet mimeType="video/mp4"><SegmentTemplate timescale="1" duration="2" startNumber="%d" media="/a/$Number$"/><Representation id="a" bandwidth="1"/></AdaptationSet></Period>`, p, 6*p, 3*p)
			}
			return s
		},
		"move": func(from int) string {
			s := fmt.Sprintf(`<Period id="0" start="PT%dS"><AdaptationSet mimeType="video/mp4"><Representation id="a" bandwidth="1"><SegmentList timescale="1" duration="2" startNumber="%d">`, 2*from, from)
			for n := from; n < from+5; n++ {
				s += fmt.Sprintf(`<SegmentURL media="/a/%d"/>`, n)
			}
			return s + `</SegmentList></Representation></AdaptationSet></Period>`
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
				began := time.Now().Add(-100 * time.Second)
				set := func() {
					from := int(time.Since(began)/(2*time.Second)) - 5
					o.set("/l.mpd", fmt.Sprintf(`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" minBufferTime="PT2S" type="dynamic" availabilityStartTime="%s" minimumUpdatePeriod="PT2S" timeShiftBufferDepth="PT10S">`,
						began.UTC().Format(time.RFC3339Nano))+write(from)+"</MPD>")
				}
				set()
				id := serve(o, s, "/l.mpd")[0]
				s.Served("/a/49", "", "")
				for i := range 20 {
					pass(2 * time.Second)
					set()
					s.Served(fmt.Sprintf("/a/%d", 46+i), "", "")
				}
				pass(2 * time.Second)
				got, ended := names(t, s, id)
				for n := 49; n < 69; n++ {
					if want := fmt.Sprintf("/a/%d", n); !slices.Contains(got, want) {
						t.Errorf("%s is not in the track", want)
					}
				}
				if seg, _, ok := copyOf(t, s, id).Find("/a/60"); !ok || seg.Start != 120*time.Second {
					t.Errorf("%t, %+v", ok, seg)
				}
				if ended {
					t.Error("the track has ended")
				}
			})
		})
	}
}
