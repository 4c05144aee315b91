package ledger

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// control is whom the reports are for.
const control = "wss://control.test/"

var object = manifest.ObjectID{1}

func open(t *testing.T, dir string) *Ledger {
	t.Helper()
	l, err := Open(dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.timer.Stop() })
	return l
}

func report(id string) wire.Report { return wire.Report{ID: id, Size: 5, FromEdge: 2, FromPeers: 3} }

func ids(rs []wire.Report) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.ID)
	}
	return out
}

func TestReportsSurvive(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	at := time.Now().Add(-time.Hour)
	for i, id := range []string{"c", "a", "b-_9"} {
		if err := l.Add(control, report(id)); err != nil {
			t.Fatal(err)
		}
		// The clock of a file system may stand still between two writes.
		age := at.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(filepath.Join(dir, "reports", id+suffix), age, age); err != nil {
			t.Fatal(err)
		}
	}
	l = open(t, dir) // nothing was closed
	if d := cmp.Diff([]string{"c", "a", "b-_9"}, ids(l.Pending(control))); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff(report("c"), l.Pending(control)[0]); d != "" {
		t.Error(d)
	}
	for range 2 { // the second time it is gone already
		if err := l.Acked("a"); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"c", "b-_9"}, ids(l.Pending(control))); d != "" {
		t.Error(d)
	}
}

// A report is for the control of its object's host: another one would refuse it,
// or count what is not its own.
func TestReportsOfControls(t *testing.T) {
	l := open(t, t.TempDir())
	for _, url := range []string{"wss://a/", "wss://b/"} {
		if err := l.Add(url, report("of-"+url[6:7])); err != nil {
			t.Fatal(err)
		}
	}
	for url, want := range map[string][]string{"wss://a/": {"of-a"}, "wss://b/": {"of-b"}, "wss://c/": nil} {
		if d := cmp.Diff(want, ids(l.Pending(url))); d != "" {
			t.Errorf("%s: %s", url, d)
		}
	}
}

func TestBadReports(t *testing.T) {
	l := open(t, t.TempDir())
	for _, id := range []string{"", "../x", "a/b", "a.b", strings.Repeat("a", 65), "ü"} {
		if l.Add(control, report(id)) == nil || l.Acked(id) == nil {
			t.Errorf("id %q was taken", id)
		}
	}
	if l.Add(strings.Repeat("x", maxReport), report("big")) == nil {
		t.Error("a huge report was taken")
	}
}

func TestForeignFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if err := l.Add(control, report("good")); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	for name, text := range map[string]string{
		"torn.json": `{"control":"x","repo`, "other.json": `{"report":{"id":"good"}}`, "empty.json": "",
		"huge.json": strings.Repeat(" ", maxReport+1), ".tmp-old": "x", ".tmp-new": "x",
	} {
		path := filepath.Join(dir, "reports", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == ".tmp-old" {
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	l = open(t, dir)
	if d := cmp.Diff([]string{"good"}, ids(l.Pending(control))); d != "" {
		t.Error(d)
	}
	left, err := os.ReadDir(filepath.Join(dir, "reports"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 2 || left[0].Name() != ".tmp-new" {
		t.Errorf("left are %v", left)
	}
}

func TestReportsAreBounded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	old := time.Now().Add(-time.Hour)
	for i := range maxReports { // not by Add, which syncs each
		b, err := json.Marshal(entry{Control: control, Report: report(fmt.Sprintf("%06d", i))})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "reports", fmt.Sprintf("%06d.json", i))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if err := l.Add(control, report(fmt.Sprintf("new-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	got := ids(l.Pending(control))
	if len(got) != maxReports || got[0] != "000003" || !strings.HasPrefix(got[len(got)-1], "new-") {
		t.Errorf("%d reports from %s to %s", len(got), got[0], got[len(got)-1])
	}
}

// A process that is killed while it writes leaves whole reports only.
func TestKill(t *testing.T) {
	if dir := os.Getenv("LEDGER_KILL_DIR"); dir != "" {
		l := open(t, dir)
		for i := 0; ; i++ {
			if err := l.Add(control, report(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			if err := l.save(); err != nil {
				t.Fatal(err)
			}
			fmt.Println("added", i)
		}
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "LEDGER_KILL_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	added := 0
	for added < 5 {
		var i int
		if _, err := fmt.Fscanf(out, "added %d\n", &i); err != nil {
			t.Fatalf("child: %v", err)
		}
		added = i + 1
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	l := open(t, dir)
	if got := l.Pending(control); len(got) < added {
		t.Errorf("%d reports after %d were added", len(got), added)
	}
	if got := l.total().Downloads; got < int64(added) {
		t.Errorf("%d downloads counted after %d", got, added)
	}
}

func (l *Ledger) total() (t Day) {
	for _, d := range l.Days() {
		t = t.plus(d)
	}
	return t
}

func TestCounters(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir) // two processes
	var wg sync.WaitGroup
	for _, l := range []*Ledger{a, b} {
		for range 4 {
			wg.Go(func() {
				for range 100 {
					l.Uploaded(object, 10)
				}
			})
		}
	}
	wg.Wait()
	if err := a.Add(control, report("x")); err != nil {
		t.Fatal(err)
	}
	if got := a.total(); got != (Day{Uploaded: 4000, FromEdge: 2, FromPeers: 3, Downloads: 1}) {
		t.Errorf("counted %+v", got)
	}
	for _, l := range []*Ledger{a, b, a} {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := open(t, dir).total(); got != (Day{Uploaded: 8000, FromEdge: 2, FromPeers: 3, Downloads: 1}) {
		t.Errorf("counted %+v in all", got)
	}
}

// Processes that save at the same time lose nothing.
func TestCountersOfManyProcesses(t *testing.T) {
	dir := t.TempDir()
	const processes, saves = 3, 20
	var all []*Ledger
	for range processes {
		all = append(all, open(t, dir))
	}
	for range saves {
		var wg sync.WaitGroup
		for _, l := range all {
			l.Received(1)
			l.Uploaded(object, 1)
			wg.Go(func() {
				if err := l.save(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	l := open(t, dir)
	if got := l.total(); got.Received != processes*saves || got.Uploaded != processes*saves {
		t.Errorf("of %d bytes %+v were written", processes*saves, got)
	}
	if got := l.Shares().Objects[object.String()].Uploaded; got != processes*saves {
		t.Errorf("of %d bytes of the object %d were written", processes*saves, got)
	}
}

// A crash loses the last moments of the counters at most, also of one who has done.
func TestCountersAreSavedInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, dir)
		l.Uploaded(object, 1)
		if got := open(t, dir).total().Uploaded; got != 0 {
			t.Errorf("%d bytes written at once", got)
		}
		for want := range 2 {
			l.Uploaded(object, want)
			<-time.After(saveEvery + time.Second)
			if got := open(t, dir).total().Uploaded; got != int64(1+want) {
				t.Errorf("%d bytes written after a while, want %d", got, 1+want)
			}
		}
	})
}

func TestDaysAreBounded(t *testing.T) {
	l := open(t, t.TempDir())
	day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for i := range maxDays + 10 {
		l.unsaid[day.AddDate(0, 0, i).Format(time.DateOnly)] = Day{Uploaded: 1}
	}
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	if days := l.Days(); len(days) != maxDays || days["2026-11-22"] != (Day{}) {
		t.Errorf("%d days are kept", len(days))
	}
}

// What a month allows is neither freed nor counted twice by restarts and clocks that
// are set.
func TestMonthSurvivesClocks(t *testing.T) {
	dir := t.TempDir()
	wall, passed := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), time.Hour
	boot := "first"
	restart := func() *Ledger {
		l := open(t, dir)
		l.clock.wall, l.clock.passed, l.clock.boot = func() time.Time { return wall }, func() time.Duration { return passed }, boot
		l.clock.load()
		return l
	}
	var l *Ledger
	share := func(want int64) {
		t.Helper()
		l.Uploaded(object, 100)
		if got := l.Month().Uploaded; got != want {
			t.Fatalf("at %v: %d bytes in this month, want %d", wall, got, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	elapse := func(d time.Duration) { wall, passed = wall.Add(d), passed+d }
	l = restart()
	share(100)
	elapse(48 * time.Hour)
	l = restart()
	share(200)
	wall = wall.AddDate(0, 1, 0) // the clock is set to the next month
	share(300)
	l = restart()
	share(400)
	wall = wall.AddDate(0, -3, 0) // and to an earlier one
	share(500)
	l = restart()
	share(600)
	wall = wall.AddDate(0, 2, 0) // and right again
	share(700)
	boot, passed = "second", time.Minute // after a start with a clock that is far ahead
	wall = wall.AddDate(0, 2, 0)
	l = restart()
	share(100)
	boot, wall = "third", wall.AddDate(0, -2, 0)
	l = restart()
	share(900) // what was given under the false date counts
	elapse(10 * 24 * time.Hour)
	share(200) // in December: 100 of them were dated January
	elapse(40 * 24 * time.Hour)
	share(200) // in January, the same
	elapse(40 * 24 * time.Hour)
	share(100)
}

// A clock that stays set is believed after a day, also by programs that run for less.
func TestClockThatStaysSet(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	wall, passed := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Minute
	l.clock.wall, l.clock.passed, l.clock.boot = func() time.Time { return wall }, func() time.Duration { return passed }, "x"
	l.clock.load()
	wall = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for range 26 {
		if l.clock.now().Year() == 2026 {
			t.Fatalf("believed after %v", passed)
		}
		wall, passed = wall.Add(55*time.Minute), passed+55*time.Minute
		m, _ := l.clock.moment()
		if err := m.save(l.clock.path); err != nil {
			t.Fatal(err)
		}
		clock := *l.clock
		l = open(t, dir)
		l.clock.wall, l.clock.passed, l.clock.boot = clock.wall, clock.passed, clock.boot
		l.clock.load()
	}
	wall, passed = wall.Add(time.Hour), passed+time.Hour
	if got := l.clock.now(); !got.Equal(wall) {
		t.Errorf("%v, the clock says %v", got, wall)
	}
}

func TestBadCountersArePutAside(t *testing.T) {
	for name, text := range map[string]string{"garbage": "garbage", "null": "null", "huge": strings.Repeat(" ", maxShared+1)} {
		t.Run(name, func(t *testing.T) {
			l := open(t, t.TempDir())
			if err := os.WriteFile(l.sharedPath(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			l.Uploaded(object, 3)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if got := l.total().Uploaded; got != 3 {
				t.Errorf("%d bytes", got)
			}
			if b, _ := os.ReadFile(l.sharedPath() + ".bad"); string(b) != text {
				t.Error("the bad file is lost")
			}
		})
	}
}

// What cannot be written now is counted later.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if err := os.Mkdir(l.sharedPath(), 0o700); err != nil { // cannot be replaced by a file
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.sharedPath(), "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(l.sharedPath()+".bad", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.sharedPath()+".bad", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.Uploaded(object, 7)
	if err := l.Close(); err == nil {
		t.Fatal("counters were written over a directory")
	}
	if err := os.RemoveAll(l.sharedPath()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).total().Uploaded; got != 7 {
		t.Errorf("%d bytes", got)
	}
}

func FuzzParseEntry(f *testing.F) {
	b, err := json.Marshal(entry{"wss://control/", report("x")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEntry(b, "x"); err == nil && e.Report.ID != "x" {
			t.Fatal("another report")
		}
	})
}
