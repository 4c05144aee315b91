package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/replay"
	"github.com/tandem-cdn/tandem/internal/sim/report"
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
	"github.com/tandem-cdn/tandem/internal/sim/study"
	"github.com/tandem-cdn/tandem/scenarios"
)

type simCmd struct {
	Scenario string   `arg:"" help:"A scenario that comes with the program, or a file; \"list\" shows them, \"replay\" runs a trace again." placeholder:"SCENARIO"`
	Trace    string   `arg:"" optional:"" help:"With replay: control's reports.db, or a file with a report a line." placeholder:"FILE"`
	Out      string   `help:"Write the report here: NAME.html to read and NAME.json." type:"path" placeholder:"DIR"`
	Seed     *uint64  `help:"First seed, instead of the scenario's." placeholder:"N"`
	Set      []string `help:"Change a field, as in hosts.count=50; repeatable." sep:"none" placeholder:"FIELD=VALUE"`
	JSON     bool     `name:"json" help:"Print the report as JSON."`
}

// Help implements [kong.HelpProvider].
func (*simCmd) Help() string {
	return `Simulates crowds with the scheduler, peer selection and upload allocation of the real programs. "tandem sim list" shows what there is, docs/SIMULATOR.md how to write a scenario. Interrupted, it writes what it has so far.

Exit codes: 0 done, 1 an expectation of the scenario is broken, 2 usage or scenario, 10 disk, 130 interrupted.`
}

// simGarbage is how much garbage there may be, in hundredths of what is in use. A
// large world makes little, and what is in use is what fills the machine.
const simGarbage = 25

// errBroken ends a simulation that was not as expected.
var errBroken = errors.New("an expectation is broken")

// Run implements the command.
func (c *simCmd) Run(p *process) error {
	switch {
	case c.Scenario == "list" && c.Trace == "":
		return c.list(p)
	case c.Scenario == "replay" && c.Trace == "":
		return usage(errors.New("replay needs a trace: tandem sim replay FILE"))
	case c.Scenario != "replay" && c.Trace != "":
		return usage(fmt.Errorf("unexpected argument %q", c.Trace))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(simGarbage)
	}
	sets := c.Set
	if c.Seed != nil {
		sets = append(sets, fmt.Sprintf("seed=%d", *c.Seed))
	}
	var st *study.Study
	began := time.Now()
	err := showSimulation(p.ctx, p.Stderr, func(progress func(study.Progress)) (err error) {
		st, err = c.study(p.ctx, sets, progress)
		return err
	})
	if err != nil {
		return err
	}
	st.Machine = simMachine(began, c.args())
	return c.write(p, st)
}

// study runs the scenario or the trace.
func (c *simCmd) study(ctx context.Context, sets []string, progress func(study.Progress)) (*study.Study, error) {
	if c.Scenario == "replay" {
		return c.replay(ctx, sets, progress)
	}
	name, text, err := readScenario(c.Scenario)
	if err != nil {
		return nil, usage(err)
	}
	f, err := scenario.Parse(name, text, sets)
	if err != nil {
		return nil, usage(fmt.Errorf("scenario %s: %w", c.Scenario, err))
	}
	return study.Do(ctx, f, sim.Run, progress)
}

func (c *simCmd) replay(ctx context.Context, sets []string, progress func(study.Progress)) (*study.Study, error) {
	t, err := replay.Read(ctx, c.Trace)
	if err != nil {
		return nil, usage(err)
	}
	f, err := t.File(sets)
	if err != nil {
		return nil, usage(fmt.Errorf("trace %s: %w", c.Trace, err))
	}
	st, err := study.Do(ctx, f, sim.Run, progress)
	if err != nil {
		return nil, err
	}
	t.Compare(st)
	return st, nil
}

// readScenario finds a scenario by its name, or in a file.
func readScenario(name string) (short string, text []byte, err error) {
	if text, err = scenarios.Read(name); err == nil {
		return name, text, nil
	}
	if text, err = readFile(name); err == nil {
		base := filepath.Base(name)
		return strings.TrimSuffix(base, filepath.Ext(base)), text, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || strings.ContainsAny(name, `/\.`) {
		return "", nil, fmt.Errorf("scenario: %w", err)
	}
	hint := `; "tandem sim list" shows them`
	if n := config.Nearest(name, scenarios.Names()); n != "" {
		hint = fmt.Sprintf(", did you mean %q?", n)
	}
	return "", nil, fmt.Errorf("no scenario %q%s", name, hint)
}

// readFile reads a file of at most 1 MiB; the language allows less.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

func (*simCmd) list(p *process) error {
	for _, name := range scenarios.Names() {
		text, err := scenarios.Read(name)
		if err != nil {
			return err
		}
		f, err := scenario.Parse(name, text, nil)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", name, err)
		}
		fmt.Fprintf(p.Stdout, "%-16s  %s\n", name, f.Scenario.Title)
	}
	return nil
}

// write shows the study, and says by its error how it went.
func (c *simCmd) write(p *process, st *study.Study) error {
	if c.Out != "" {
		if err := saveStudy(c.Out, st); err != nil {
			return err
		}
	}
	show := report.WriteText
	if c.JSON {
		show = report.WriteJSON
	}
	if err := show(p.Stdout, st); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	switch {
	case !st.Complete:
		return fmt.Errorf("scenario %s: interrupted: %w", st.Scenario, context.Canceled)
	case !st.OK():
		return fmt.Errorf("scenario %s: %w", st.Scenario, errBroken)
	}
	return nil
}

func saveStudy(dir string, st *study.Study) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for ext, write := range map[string]func(io.Writer, *study.Study) error{".html": report.WriteHTML, ".json": report.WriteJSON} {
		var b bytes.Buffer
		if err := write(&b, st); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, st.Scenario+ext), b.Bytes(), 0o666); err != nil { //nolint:gosec // a report is no secret
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil
}

// args is the command line that makes the same report again.
func (c *simCmd) args() string {
	words := []string{"tandem", "sim", c.Scenario}
	if c.Trace != "" {
		words = append(words, c.Trace)
	}
	if c.Seed != nil {
		words = append(words, "--seed", fmt.Sprint(*c.Seed))
	}
	for _, s := range c.Set {
		words = append(words, "--set", "'"+s+"'")
	}
	return strings.Join(words, " ")
}

func simMachine(began time.Time, command string) study.Machine {
	now := time.Now()
	return study.Machine{
		Command: command, Version: "tandem " + version(), Go: runtime.Version(),
		System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
		Date: now.UTC().Format(time.RFC3339), Seconds: now.Sub(began).Seconds(),
	}
}

// showSimulation runs work while a line on the terminal says how far it is.
func showSimulation(ctx context.Context, w io.Writer, work func(func(study.Progress)) error) error {
	line := newProgressLine(w, "")
	if line == nil {
		return work(nil)
	}
	began, news, stopped := time.Now(), make(chan study.Progress, 1), make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		var at study.Progress
		for {
			select {
			case at = <-news:
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			line.put(cut(renderSimulation(at, time.Since(began)), line.width()-1))
		}
	}()
	err := work(func(s study.Progress) {
		select {
		case news <- s:
		case <-ctx.Done():
		}
	})
	stop()
	<-stopped
	line.clear()
	return err
}

func renderSimulation(p study.Progress, elapsed time.Duration) string {
	what := cmp.Or(p.Run, "running")
	if p.Alone {
		what += ", edge alone"
	}
	return fmt.Sprintf("simulation %d of %d  %s  seed %d  %s", p.Done+1, p.Of, printable(what), p.Seed, formatETA(int64(elapsed.Seconds())))
}
