package replay

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/study"
)

const trace = `{"installation":"a","object":"x","received":1010,"size":1000000,"from_edge":1000000,"from_peers":0,"wasted":0,"millis":10000,"complete":true,"id":"ignored"}

{"installation":"b","object":"x","received":1009,"size":1000000,"from_edge":250000,"from_peers":750000,"wasted":10000,"millis":4000,"complete":true,"as":64500,"country":"DE"}
{"installation":"b","object":"x","received":1050,"size":1000000,"from_edge":0,"from_peers":0,"wasted":0,"millis":1,"complete":true}
{"installation":"b","object":"empty","received":1051,"size":0,"from_edge":0,"from_peers":0,"wasted":0,"millis":1,"complete":true}
{"installation":"b","object":"y","received":1100,"size":2000000,"from_edge":500000,"from_peers":0,"wasted":0,"millis":20000,"complete":false}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWorld(t *testing.T) {
	tr, err := Read(t.Context(), write(t, trace))
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.Records) != 3 || tr.Skipped != 2 {
		t.Fatalf("%d records, %d skipped; want 3 and 2", len(tr.Records), tr.Skipped)
	}
	f, err := tr.File([]string{"hosts.links.up=10mbit", "policy.ablate=[locality, in-order]", "downloads.linger=5m"})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Runs) != 2 || len(f.Runs[0].Scenario.Policy.Ablate) != 0 || len(f.Runs[1].Scenario.Policy.Ablate) != 2 {
		t.Fatalf("runs %+v", f.Runs)
	}
	c := f.Runs[1].Config(1)
	if !c.Ablate.Locality || !c.Ablate.InOrder || len(c.Hosts) != 2 || len(c.Objects) != 2 || len(c.Downloads) != 3 {
		t.Fatalf("world %+v", c)
	}
	// a began at 1000, b at 1005 and 1080. b was seen at 250 kB/s, and its uplink
	// is half of that.
	want := []sim.Download{
		{Host: 0, Object: 0, At: 0, Linger: 5 * time.Minute},
		{Host: 1, Object: 0, At: 5 * time.Second, Linger: 5 * time.Minute},
		{Host: 1, Object: 1, At: 80 * time.Second, Linger: 5 * time.Minute, Leave: 100 * time.Second},
	}
	for i, d := range c.Downloads {
		if d != want[i] {
			t.Errorf("download %d is %+v, want %+v", i, d, want[i])
		}
	}
	if h := c.Hosts[1]; h.Down != 250e3 || h.Up != 125e3 || h.Place.AS != 64500 || h.Place.Country != "DE" {
		t.Errorf("host %+v", h)
	}
	if c.Until < 100*time.Second {
		t.Errorf("it ends at %v", c.Until)
	}
	scaled, err := tr.File([]string{"hosts.rho=2"})
	if err != nil {
		t.Fatal(err)
	}
	if h := scaled.Runs[0].Config(1).Hosts[1]; h.Up != 2*h.Down {
		t.Errorf("rho 2: %v up, %v down", h.Up, h.Down)
	}
}

// TestReplay runs the trace in the simulator.
func TestReplay(t *testing.T) {
	tr, err := Read(t.Context(), write(t, trace))
	if err != nil {
		t.Fatal(err)
	}
	f, err := tr.File(nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := study.Do(t.Context(), f, sim.Run, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr.Compare(st)
	if len(st.Runs) != 2 || st.Runs[0].Name != "recorded" {
		t.Fatalf("runs %+v", st.Runs)
	}
	rec, rep := st.Runs[0].Figures, st.Runs[1].Figures
	if rec["offload"].Mean != 0.3 || rec["edge-bytes"].Mean != 1_750_000 || rec["time-p50"].Mean != 7 {
		t.Errorf("recorded %+v", rec)
	}
	if rep["downloads"].Mean != 3 || rep["failed"].Mean != 0 {
		t.Errorf("replayed %+v", rep)
	}
}

func TestErrors(t *testing.T) {
	line := func(old, replaced string) string {
		return strings.Replace(strings.SplitAfter(trace, "\n")[0], old, replaced, 1)
	}
	for name, c := range map[string][2]string{
		"empty":           {"", "no download in it"},
		"no JSON":         {"\nhello\n", "line 2: "},
		"nameless":        {line(`"object":"x"`, `"object":""`), "line 1: no installation or no object"},
		"negative":        {line(`"from_edge":1000000`, `"from_edge":-1`), "line 1: -1 bytes from the edge"},
		"too much":        {line(`"from_peers":0`, `"from_peers":2000000`), "line 1: 1000000 bytes from the edge and 2000000"},
		"huge":            {line(`"size":1000000`, `"size":9223372036854775807`), "line 1: size 9223372036854775807"},
		"eternal":         {line(`"millis":10000`, `"millis":9999999999999`), "line 1: duration"},
		"past":            {line(`"received":1010`, `"received":-5`), "line 1: received at -5"},
		"country":         {line(`"complete":true`, `"country":"Germany"`), `line 1: country "Germany"`},
		"an endless line": {strings.Repeat("x", maxLine+1), "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(t.Context(), write(t, c[0]))
			if err == nil || !strings.Contains(err.Error(), c[1]) {
				t.Errorf("error %v, want %q", err, c[1])
			}
		})
	}
	if _, err := Read(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestDatabase reads what control keeps. Its schema is control's; the columns
// are the contract.
func TestDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reports.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `CREATE TABLE reports (installation BLOB, id TEXT, received INTEGER, publisher BLOB, object BLOB,
		size INTEGER, from_edge INTEGER, from_peers INTEGER, wasted INTEGER, millis INTEGER, complete INTEGER);
		INSERT INTO reports VALUES (x'01', 'r1', 1000, x'02', x'03', 5000, 2000, 3000, 10, 1500, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	tr, err := Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	want := Record{Installation: "AQ", Object: "Aw", Received: 1000, Size: 5000, FromEdge: 2000, FromPeers: 3000, Wasted: 10, Millis: 1500, Complete: true}
	if len(tr.Records) != 1 || tr.Records[0] != want {
		t.Errorf("read %+v, want %+v", tr.Records, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, path); err == nil {
		t.Error("read after the end")
	}
}

func FuzzLines(f *testing.F) {
	f.Add(trace)
	f.Add(`{"size":1e400}`)
	f.Fuzz(func(t *testing.T, s string) {
		list, err := lines(strings.NewReader(s))
		if err != nil || len(list) > 50 {
			return
		}
		tr := order(list)
		if len(tr.Records) == 0 {
			return
		}
		file, err := tr.File(nil)
		if err != nil {
			t.Fatalf("a checked trace makes no scenario: %v", err)
		}
		if c := file.Runs[0].Config(1); len(c.Downloads) != len(tr.Records) {
			t.Fatalf("%d downloads of %d records", len(c.Downloads), len(tr.Records))
		}
	})
}
