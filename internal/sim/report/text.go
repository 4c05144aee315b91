package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/tandem-cdn/tandem/internal/sim/study"
)

// WriteText writes what a terminal shows of a study: the figures that matter, a
// line a run, and the expectations.
func WriteText(w io.Writer, s *study.Study) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", s.Title)
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	names := told(s)
	fmt.Fprintf(tw, "run\t%s\n", strings.Join(names, "\t"))
	for _, r := range s.Runs {
		fmt.Fprint(tw, cmp.Or(title(r.Name), "–"))
		for _, name := range names {
			cell := "–"
			if f, ok := r.Figures[name]; ok {
				cell = number(f.Mean, unitOf(name))
			}
			fmt.Fprintf(tw, "\t%s", cell)
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush() // a strings.Builder takes everything
	if len(s.Checks) > 0 {
		fmt.Fprintln(&b)
		tw = tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
		for _, c := range checkRows(s) {
			aim := ""
			if c.Aim != "" {
				aim = "aim " + c.Aim
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Mark, c.Figure, c.Run, c.Value, c.Want, aim)
		}
		_ = tw.Flush() // as above
	}
	fmt.Fprintf(&b, "\n%s\n", verdictOf(s).Text)
	// Terminals and logs do better with plain spaces.
	_, err := io.WriteString(w, strings.ReplaceAll(b.String(), thin, " "))
	return err
}

// told are the figures of a line: the usual ones, as far as the study has them.
func told(s *study.Study) []string {
	var list []string
	for _, name := range []string{"viewers", "downloads", "makespan", "makespan-ratio", "offload", "offload-ratio", "copies", "segment-copies", "start-p50", "stalled", "behind-p50", "time-p50", "time-p99", "ratio-p50", "ratio-p99", "same-as", "waste", "failed"} {
		for _, r := range s.Runs {
			if _, ok := r.Figures[name]; ok {
				list = append(list, name)
				break
			}
		}
	}
	return list
}
