package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// progressEvery is how often the progress line is drawn anew.
const progressEvery = 200 * time.Millisecond

// progressLine draws a download on a terminal: one line, drawn over itself.
type progressLine struct {
	w     io.Writer
	width func() int
	name  string
	last  string
}

// newProgressLine returns nil when w is not a terminal: then there is no
// progress to see. A nil *progressLine draws nothing.
func newProgressLine(w io.Writer, name string) *progressLine {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	width := func() int {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
		return 80
	}
	return &progressLine{w: w, width: width, name: name}
}

func (l *progressLine) draw(p agent.Progress) {
	if l != nil {
		l.put(renderProgress(l.name, p, l.width()-1))
	}
}

// put replaces the line. One write, the old end erased after the new text: so
// that nothing flickers.
func (l *progressLine) put(line string) {
	if l == nil || line == l.last {
		return
	}
	l.last = line
	fmt.Fprintf(l.w, "\r%s\x1b[K", line)
}

// clear leaves the line empty for other output.
func (l *progressLine) clear() {
	if l != nil && l.last != "" {
		l.put("")
	}
}

// renderProgress is the progress in at most width columns; what matters least is
// left out first.
func renderProgress(name string, p agent.Progress, width int) string {
	if p.Note != "" {
		note := ": " + printable(p.Note)
		return cut(shorten(name, width-len(note))+note, width)
	}
	percent, eta := "", ""
	if p.Size > 0 {
		percent = fmt.Sprintf(" %3d%%", p.Done*100/p.Size)
		if left := p.Size - p.Done; p.Rate > 0 && left > 0 {
			eta = " " + formatETA(left/p.Rate) + " left"
		}
	}
	peers := ""
	if got := p.FromEdge + p.FromPeers; p.Peers > 0 && got > 0 {
		peers = fmt.Sprintf("  %d%% from %s", p.FromPeers*100/got, plural(p.Peers, "peer"))
	}
	if p.FromOld > 0 {
		peers = fmt.Sprintf("  %s from the old version", formatSize(p.FromOld)) + peers
	}
	amount := " " + formatSize(p.Done)
	rate := " " + formatSize(p.Rate) + "/s"
	essential := percent + rate
	line := essential
	for _, with := range []string{
		percent + rate + eta,
		percent + rate + eta + peers,
		percent + amount + rate + eta + peers,
	} {
		if len(with) <= width {
			line = with
		}
	}
	line = shorten(name, width-len(line)) + line
	if bar := width - len([]rune(line)) - 3; p.Size > 0 && bar >= 10 {
		bar = min(bar, 30)
		full := int(p.Done * int64(bar) / p.Size)
		line = strings.Replace(line, percent, " "+strings.Repeat("━", full)+strings.Repeat("┄", bar-full)+percent, 1)
	}
	return cut(line, width)
}

// shorten keeps the beginning and the end of a name.
func shorten(name string, width int) string {
	r := []rune(printable(name))
	switch {
	case len(r) <= width:
		return string(r)
	case width < 6:
		return ""
	}
	tail := (width - 1) / 3
	return string(r[:width-1-tail]) + "…" + string(r[len(r)-tail:])
}

func cut(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return s
}

// printable is s without what could move the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// formatSize is a number of bytes with three digits or so, 1024-based.
func formatSize(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), "KMGTPE"
	i := -1
	for v >= 999.5 && i < len(units)-1 {
		v /= 1024
		i++
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %ciB", v, units[i])
	}
	return fmt.Sprintf("%.0f %ciB", v, units[i])
}

func formatETA(seconds int64) string {
	switch {
	case seconds >= 100*3600:
		return ">99h"
	case seconds >= 3600:
		return fmt.Sprintf("%dh%02d", seconds/3600, seconds/60%60)
	default:
		return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
	}
}

// formatDuration is a duration as people say it.
func formatDuration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	default:
		return formatETA(int64(d.Seconds()))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// summary is what remains on the terminal of a download.
func summary(r agent.Result) string {
	rate := ""
	if s := r.Elapsed.Seconds(); s > 0 {
		rate = fmt.Sprintf(" (%s/s)", formatSize(int64(float64(r.Size-r.FromDisk-r.FromOld)/s)))
	}
	from := ""
	if got := r.FromEdge + r.FromPeers; r.FromPeers > 0 && got > 0 {
		from = fmt.Sprintf(", %d%% from %s", r.FromPeers*100/got, plural(r.Peers, "peer"))
	}
	kept := ""
	if r.FromDisk > 0 {
		kept = fmt.Sprintf(", %s were there", formatSize(r.FromDisk))
	}
	if r.FromOld > 0 {
		kept += fmt.Sprintf(", %s from the old version", formatSize(r.FromOld))
	}
	verified := ""
	if r.Object != (manifest.ObjectID{}) {
		verified = ", verified"
	}
	return fmt.Sprintf("%s: %s in %s%s%s%s%s", printable(r.File), formatSize(r.Size), formatDuration(r.Elapsed), rate, from, kept, verified)
}
