package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/sim/study"
)

// sample is a study with everything that a report shows, and names that would
// break a page that does not escape.
func sample() *study.Study {
	curve := func(scale float64) []float64 {
		var c []float64
		for i := range 201 {
			c = append(c, scale*(1+float64(i)/200))
		}
		return c
	}
	run := func(name, value string, offload float64) study.Run {
		r := study.Run{
			Name: name, Set: [][2]string{{"hosts.rho", value}}, Seeds: []uint64{7, 8},
			Parameters: [][2]string{{"arrivals.pattern", "at-once"}, {"hosts.rho", value}, {"hosts.count", "321"}},
			Figures: map[string]study.Figure{
				"offload":        {Mean: offload, CI: 0.01, Values: []float64{offload, offload}},
				"offload-bound":  {Mean: 0.9871, Values: []float64{0.9871, 0.9871}},
				"makespan":       {Mean: 123.4, Values: []float64{123.4}},
				"makespan-bound": {Mean: 111.1, Values: []float64{111.1}},
				"edge-bytes":     {Mean: 4.56e9, Values: []float64{4.56e9}},
			},
			Times: curve(60), AloneTimes: curve(70), Ratios: curve(0.6),
			ASes: []uint32{0, 17, 4242}, Matrix: [][]int64{{0, 10, 20}, {5, 900, 7}, {1, 2, 800}},
			Copies: []float64{3.5, 1.25, 1},
			Marks:  []study.Interval{{From: 10, To: 20, What: "edge <silent> & gone"}},
		}
		for i := range 50 {
			r.Series = append(r.Series, study.Sample{At: float64(i + 1), Span: 1, Edge: 1e6, Peers: 3e7, Active: 50 - i, Seeds: i, Done: i})
		}
		return r
	}
	value, most, aim := 0.6123, 0.5, 0.4
	return &study.Study{
		Scenario: "sample", Title: `A <script>alert("1")</script> & more`, About: "About </main>.", Complete: true, Against: true,
		Facts: []study.Fact{{Figure: "peers < edges", Value: "70–80 %", Known: "recalled", Source: "a paper"}},
		Runs:  []study.Run{run("a <b> hosts.rho=0.3", "0.3", 0.3), run("a <b> hosts.rho=0.6", "0.6", 0.6123)},
		Checks: []study.Check{
			{Figure: "offload", Run: "a <b> hosts.rho=0.6", Max: &most, Aim: &aim, Value: &value, CI: 0.01, Verdict: study.Broken},
			{Figure: "makespan", Run: "a <b> hosts.rho=0.3", Over: "a <b> hosts.rho=0.6", Min: &most, Verdict: study.Unjudged},
		},
		Machine: study.Machine{Command: "tandem sim sample", Version: "devel", Go: "go1.26", System: "linux/amd64", CPUs: 2, Date: "2026-01-02T03:04:05Z", Seconds: 5},
	}
}

func page1(t *testing.T, s *study.Study) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPageStandsAlone sees that the page is well-formed, fetches nothing, runs
// nothing and takes no text for markup.
func TestPageStandsAlone(t *testing.T) {
	html := page1(t, sample())
	wellFormed(t, html)
	for _, bad := range []string{"<script", "http:", "https:", "//", "url(", "@import", "<link", "<img", "<b>", "NaN", "Inf", "%!", "ZgotmplZ"} {
		if i := strings.Index(html, bad); i >= 0 {
			t.Errorf("the page has %q: …%s…", bad, html[max(0, i-60):min(len(html), i+60)])
		}
	}
	for _, theme := range []string{"prefers-color-scheme: dark", "color-scheme: light dark", "@media print"} {
		if !strings.Contains(html, theme) {
			t.Errorf("no %q", theme)
		}
	}
}

// wellFormed reads the page as XML, which HTML without its liberties nearly is.
func wellFormed(t *testing.T, html string) {
	t.Helper()
	html = regexp.MustCompile(`<meta[^>]*>|<!DOCTYPE html>`).ReplaceAllString(html, "")
	html = strings.ReplaceAll(html, "<details open>", `<details open="">`)
	d := xml.NewDecoder(strings.NewReader(html))
	d.Entity = xml.HTMLEntity
	depth := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			depth++
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("<%s> has %s", e.Name.Local, a.Name.Local)
				}
			}
		case xml.EndElement:
			depth--
		}
	}
	if depth != 0 {
		t.Errorf("%d elements are open at the end", depth)
	}
}

// TestPageSaysIt looks for the figures where people will.
func TestPageSaysIt(t *testing.T) {
	html := strings.ReplaceAll(page1(t, sample()), thin, " ")
	for _, want := range []string{
		"A &lt;script&gt;", "1 of 2 expectations broken", "61.2 % ± 1.00 %", "≤ 50.0 %", "40.0 %", // the check
		"4.56 GB", "123 s", "98.7 %", // figures
		"Half of the downloads are done within 90.0 s, the last within 120 s", "bound: 111 s", // times
		"Edges send 50.0 MB, peers 1.50 GB", "edge &lt;silent&gt; &amp; gone", // bytes and marks
		"of the downloads take over 2 % longer",
		"AS 4242", "97.4 % of the peers", // matrix: 1700 of 1745
		"Edges send an object 1.92 × on the average, 3.50 × at most",
		"70–80 %", "recalled", "tandem sim sample", "7 to 8", "2 processors", "differs between runs", "321",
		"Offload: 30.0 % (a &lt;b&gt; hosts.rho = 0.3) to 61.2 %",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if n := strings.Count(html, "<svg"); n < 12 {
		t.Errorf("%d pictures, want 12 or more", n)
	}
}

// broadcast is a study of a live stream.
func broadcast() *study.Study {
	s := sample()
	s.Checks, s.Runs = nil, s.Runs[:1]
	r := &s.Runs[0]
	r.Times, r.AloneTimes, r.Ratios, r.Copies = nil, nil, nil, nil
	r.Figures["latency-p50"], r.Figures["latency-p95"] = study.Figure{Mean: 1.25}, study.Figure{Mean: 3.75}
	b := &study.Playback{
		Live: true, Starts: []float64{0.25, 0.5, 4}, AloneStarts: []float64{0.25, 0.5, 2}, Stalls: []float64{0, 0, 0, 9}, AloneStalls: []float64{0, 0, 0, 0},
		Behind: []float64{12, 13, 21}, Hops: []study.Hop{{Share: 0.25, Latencies: []float64{0, 1, 2}}, {Share: 0.75, Latencies: []float64{1, 1.5, 2}}, {Share: 1e-9}},
	}
	for i := range 20 {
		b.Segments = append(b.Segments, study.Segment{At: float64(4*i - 12), Copies: 2.5, Viewers: 40 + i%2*20})
	}
	r.Playback = b
	return s
}

// TestPageOfStream looks for what is seen of a stream, and for nothing of downloads.
func TestPageOfStream(t *testing.T) {
	html := strings.ReplaceAll(page1(t, broadcast()), thin, " ")
	wellFormed(t, html)
	for _, want := range []string{
		"Peers bring 30.0 % of the bytes; 98.7 % would be possible", "bound: 98.7 %",
		"Edges send a segment 2.50 times on the average, to 50 viewers", "when the segment was published", "what the edge alone would send",
		"Half of the viewers see a picture within 500 ms, 95 % within 4.00 s", "the same from the edge alone",
		"The picture of 25.0 % of the viewers stands still, for 9.00 s at most",
		"Half of the viewers are at most 13.0 s behind what happens",
		"Half of the pieces are there 1.25 s after their segment is published, 95 % within 3.75 s",
		"1 hop, from the edge: 25.0 % of the bytes, median 1.00 s", "2 hops: 75.0 % of the bytes",
		"At most 50 viewers at a time",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, bad := range []string{"download", "3 hops", "NaN", "Inf", "%!"} {
		if i := strings.Index(html[strings.Index(html, "</head>"):strings.Index(html, "All figures")], bad); i >= 0 {
			t.Errorf("the page has %q", bad)
		}
	}
	film := broadcast()
	film.Runs[0].Playback.Live, film.Runs[0].Playback.Behind, film.Runs[0].Playback.Stalls = false, nil, []float64{0, 0}
	html = page1(t, film)
	if !strings.Contains(html, "place in the film") || strings.Contains(html, "behind what happens, ") || strings.Contains(html, "stands still, for") {
		t.Error("a film is shown as if it were live")
	}
}

// TestLittle shows studies that have next to nothing in them.
func TestLittle(t *testing.T) {
	none := &study.Study{Scenario: "x", Title: "x"}
	one := &study.Study{Scenario: "x", Title: "x", Complete: true, Runs: []study.Run{{Figures: map[string]study.Figure{"failed": {Values: []float64{0}}}}}}
	flat := &study.Study{Scenario: "x", Title: "x", Complete: true, Runs: []study.Run{{
		Figures: map[string]study.Figure{"offload": {}}, Times: []float64{5, 5, 5}, Ratios: []float64{1, 1, 1},
		Series: []study.Sample{{At: 1, Span: 1}, {At: 2, Span: 1}}, ASes: []uint32{1, 2}, Matrix: [][]int64{{0, 0}, {0, 0}},
	}}}
	early := sample()
	early.Complete = false
	for i, s := range []*study.Study{none, one, flat, early} {
		html := page1(t, s)
		wellFormed(t, html)
		if strings.Contains(html, "NaN") || strings.Contains(html, "Inf") {
			t.Errorf("study %d: not a number in the page", i)
		}
		var b bytes.Buffer
		if err := WriteText(&b, s); err != nil || !strings.Contains(b.String(), s.Title) {
			t.Errorf("study %d as text: %v, %q", i, err, b.String())
		}
		if ended := strings.Contains(html, "Ended early"); ended == s.Complete {
			t.Errorf("study %d: complete %v, and the page says ended early: %v", i, s.Complete, ended)
		}
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Scenario string
		Runs     []struct {
			Figures map[string]struct {
				Mean, CI95 float64
			}
			ASMatrix [][]int64 `json:"as_matrix"`
		}
		Checks []struct{ Verdict string }
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if f := got.Runs[1].Figures["offload"]; f.Mean != 0.6123 || f.CI95 != 0.01 || got.Runs[0].ASMatrix[1][1] != 900 || got.Checks[0].Verdict != "broken" {
		t.Errorf("read back %+v", got)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := WriteText(&b, sample()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hosts.rho = 0.6", "61.2 %", "✗  offload", "≤ 50.0 %", "?  makespan ÷ that of", "1 of 2 expectations broken"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestNumbers(t *testing.T) {
	cases := []struct {
		x          float64
		unit, want string
		tick       string
	}{
		{0, "s", "0 s", "0 s"},
		{0.0425, "s", "42.5 ms", "42.5 ms"},
		{5, "s", "5.00 s", "5 s"},
		{107.38, "s", "107 s", "107 s"},
		{3600, "s", "60.0 min", "60 min"},
		{86400, "s", "24.0 h", "24 h"},
		{0.9735, "%", "97.4 %", "97.4 %"},
		{1, "%", "100 %", "100 %"},
		{0.0001, "%", "0.01 %", "0.01 %"},
		{1.0449, "×", "1.04 ×", "1.04 ×"},
		{2.5e6, "B/s", "20.0 Mbit/s", "20 Mbit/s"},
		{12_345_678_901, "B", "12.3 GB", "12.3 GB"},
		{999.9e6, "B", "1.00 GB", "1 GB"},
		{100000, "", "100 000", "100 000"},
		{-1234, "", "−1 234", "−1 234"},
		{0.5, "", "0.50", "0.5"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.x, c.unit), func(t *testing.T) {
			if got := strings.ReplaceAll(number(c.x, c.unit), thin, " "); got != c.want {
				t.Errorf("number is %q, want %q", got, c.want)
			}
			if got := strings.ReplaceAll(tick(c.x, c.unit), thin, " "); got != c.tick {
				t.Errorf("tick is %q, want %q", got, c.tick)
			}
		})
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		log    bool
	}{{0, 1, false}, {0, 107.3, false}, {0.8, 1.11, false}, {0, 3.4e9, false}, {50, 10000, true}, {0, 1e-9, false}, {7, 7.001, false}} {
		list := ticks(c.lo, c.hi, c.log)
		if len(list) < 3 || len(list) > 12 {
			t.Errorf("%g to %g: %d ticks, %v", c.lo, c.hi, len(list), list)
		}
		for _, v := range list {
			if v < c.lo*0.999-1e-12 || v > c.hi*1.001+1e-12 {
				t.Errorf("%g to %g: tick at %g", c.lo, c.hi, v)
			}
		}
	}
}
