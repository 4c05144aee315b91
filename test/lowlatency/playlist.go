package lowlatency

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// asked are the delivery directives of a request (§6.2.5).
type asked struct {
	blocks  bool
	segment uint64
	part    int // -1: the whole segment
	skip    bool
}

func directives(q url.Values) (a asked, err error) {
	a.part = -1
	a.skip = q.Get("_HLS_skip") == "YES" || q.Get("_HLS_skip") == "v2"
	if q.Has("_HLS_msn") {
		a.blocks = true
		if a.segment, err = strconv.ParseUint(q.Get("_HLS_msn"), 10, 62); err != nil {
			return a, errors.New("_HLS_msn is no number")
		}
	}
	if q.Has("_HLS_part") {
		n, err := strconv.ParseUint(q.Get("_HLS_part"), 10, 31)
		if err != nil || !a.blocks {
			return a, errors.New("_HLS_part is no number, or without _HLS_msn")
		}
		a.part = int(n)
	}
	return a, nil
}

// playlist answers with a playlist, once it has what is asked for.
func (o *Origin) playlist(w http.ResponseWriter, r *http.Request, s *rendition) {
	a, err := directives(r.URL.Query())
	const most = 2 // how far a client may ask ahead, in segments
	if err == nil && a.blocks && !s.ended && a.segment > s.now.number+most-1 {
		err = fmt.Errorf("_HLS_msn is more than %d ahead", most)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !o.await(r, func() bool { return s.ended || s.init != nil && s.has(a) }) {
		http.Error(w, "it is late", http.StatusServiceUnavailable)
		return
	}
	fresh := time.Second
	if a.blocks {
		fresh = 6 * o.o.Segment
	}
	b := o.write(s, a.skip)
	tag := fmt.Sprintf("%s-%d-%d-%t-%t", s.name, s.now.number, len(s.now.parts), a.skip, s.ended)
	o.send(w, r, "application/vnd.apple.mpegurl", tag, fresh, b)
}

// has reports whether there is what a request waits for. A part behind the last one of a
// segment is the first of the next (§6.2.5.2).
func (s *rendition) has(a asked) bool {
	return !a.blocks || s.now.number > a.segment || a.part >= 0 && s.now.number == a.segment && len(s.now.parts) > a.part
}

// write writes the playlist as it is.
func (o *Origin) write(s *rendition, skip bool) []byte {
	var b bytes.Buffer
	listed := s.segments[max(0, len(s.segments)-o.o.Window):]
	target := o.o.Segment.Seconds()
	first := s.now.number
	if len(listed) > 0 {
		first = listed[0].number
	}
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:%.0f\n#EXT-X-PART-INF:PART-TARGET=%.3f\n", target, o.o.Part.Seconds())
	fmt.Fprintf(&b, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=%.0f,PART-HOLD-BACK=%.3f\n#EXT-X-MEDIA-SEQUENCE:%d\n", 6*target, 3*o.o.Part.Seconds(), first)
	const boundary = 6 // segments that are never skipped
	if n := len(listed) - boundary; skip && n > 0 {
		fmt.Fprintf(&b, "#EXT-X-SKIP:SKIPPED-SEGMENTS=%d\n", n)
		listed = listed[n:]
	} else {
		b.WriteString("#EXT-X-MAP:URI=\"init.mp4\"\n")
	}
	for i, g := range listed {
		fmt.Fprintf(&b, "#EXT-X-PROGRAM-DATE-TIME:%s\n", s.began.Add(g.start).UTC().Format("2006-01-02T15:04:05.000Z"))
		if len(listed)-i <= 3 { // parts are listed for three target durations (§4.4.4.9)
			g.list(&b)
		}
		fmt.Fprintf(&b, "#EXTINF:%.5f,\n%s\n", g.duration.Seconds(), segmentName(g.number))
	}
	if len(s.now.parts) > 0 {
		fmt.Fprintf(&b, "#EXT-X-PROGRAM-DATE-TIME:%s\n", s.began.Add(s.now.start).UTC().Format("2006-01-02T15:04:05.000Z"))
		s.now.list(&b)
	}
	if s.ended {
		b.WriteString("#EXT-X-ENDLIST\n")
		return b.Bytes()
	}
	fmt.Fprintf(&b, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"%s\"\n", partName(s.now.number, len(s.now.parts)))
	for _, other := range o.renditions {
		if other != s && other.init != nil {
			other.report(&b)
		}
	}
	return b.Bytes()
}

func (g *segment) list(b *bytes.Buffer) {
	for i, p := range g.parts {
		fmt.Fprintf(b, "#EXT-X-PART:DURATION=%.5f,URI=\"%s\"", p.duration.Seconds(), partName(g.number, i))
		if p.independent {
			b.WriteString(",INDEPENDENT=YES")
		}
		b.WriteByte('\n')
	}
}

// report says how far the rendition is (§4.4.5.4).
func (s *rendition) report(b *bytes.Buffer) {
	number, last := s.now.number, len(s.now.parts)-1
	if last < 0 && len(s.segments) > 0 {
		done := s.segments[len(s.segments)-1]
		number, last = done.number, len(done.parts)-1
	}
	fmt.Fprintf(b, "#EXT-X-RENDITION-REPORT:URI=\"../%s/index.m3u8\",LAST-MSN=%d,LAST-PART=%d\n", s.name, number, max(last, 0))
}
