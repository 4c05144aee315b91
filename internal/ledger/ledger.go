// Package ledger is what a client writes down of its part in swarms: the reports
// that control has not acknowledged yet, and what was shared, by day.
//
// A report is one file, written before it is sent and removed when control has
// it, so that neither a kill nor an absent control loses or doubles it.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// maxReports bounds the reports kept; the oldest go first.
	maxReports = 1000
	maxDays    = 400
	// saveEvery is how often the counters are written.
	saveEvery = 10 * time.Second
)

// Day is what was shared on one day, in bytes.
type Day struct {
	Uploaded  int64 `json:"uploaded"`
	FromEdge  int64 `json:"from_edge"`
	FromPeers int64 `json:"from_peers"`
	Downloads int64 `json:"downloads"`
}

// Ledger is safe for concurrent use.
type Ledger struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	days  map[string]*Day
	saved time.Time
	dirty bool
}

// Open opens the ledger in dir, which is made when missing.
func Open(dir string, log *slog.Logger) (*Ledger, error) {
	if err := os.MkdirAll(filepath.Join(dir, "reports"), 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{dir: dir, log: log, days: map[string]*Day{}}
	b, err := os.ReadFile(l.sharedPath())
	if err == nil {
		err = json.Unmarshal(b, &l.days)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("ledger begins anew", "file", l.sharedPath(), "error", err)
		l.days = map[string]*Day{}
	}
	return l, nil
}

func (l *Ledger) sharedPath() string { return filepath.Join(l.dir, "shared.json") }

// Close writes what has not been written yet.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.save()
}

// Uploaded counts n bytes of an object sent to a peer.
func (l *Ledger) Uploaded(_ manifest.ObjectID, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.today().Uploaded += int64(n)
	l.dirty = true
	if time.Since(l.saved) > saveEvery {
		if err := l.save(); err != nil {
			l.log.Warn("ledger not written", "error", err)
		}
	}
}

func (l *Ledger) today() *Day {
	name := time.Now().UTC().Format(time.DateOnly)
	d := l.days[name]
	if d == nil {
		d = &Day{}
		l.days[name] = d
	}
	return d
}

// Days returns what was shared, by UTC date.
func (l *Ledger) Days() map[string]Day {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]Day, len(l.days))
	for k, d := range l.days {
		out[k] = *d
	}
	return out
}

func (l *Ledger) save() error {
	l.saved = time.Now()
	if !l.dirty {
		return nil
	}
	for len(l.days) > maxDays {
		delete(l.days, slices.Min(keys(l.days)))
	}
	b, err := json.Marshal(l.days)
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	if err := replace(l.sharedPath(), b); err != nil {
		return err
	}
	l.dirty = false
	return nil
}

func keys(m map[string]*Day) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// replace writes a file so that it is there whole, or as it was.
func replace(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}

// Add keeps a report until it is acknowledged.
func (l *Ledger) Add(r wire.Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.today()
	d.FromEdge += r.FromEdge
	d.FromPeers += r.FromPeers
	d.Downloads++
	l.dirty = true
	path, err := l.reportPath(r.ID)
	if err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep report %s: %w", r.ID, err)
	}
	l.trim()
	return replace(path, b)
}

// trim drops the oldest reports beyond the bound.
func (l *Ledger) trim() {
	files := l.files()
	for len(files) >= maxReports {
		l.log.Warn("report dropped: control has not acknowledged any for long", "report", files[0])
		_ = os.Remove(filepath.Join(l.dir, "reports", files[0])) // a leftover is sent once more
		files = files[1:]
	}
}

// files lists the reports, oldest first.
func (l *Ledger) files() []string {
	entries, err := os.ReadDir(filepath.Join(l.dir, "reports"))
	if err != nil {
		return nil
	}
	age := map[string]time.Time{}
	var names []string
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
			age[e.Name()] = fi.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int { return age[a].Compare(age[b]) })
	return names
}

// reportPath is the file of a report. IDs become file names, so they are letters
// and digits only.
func (l *Ledger) reportPath(id string) (string, error) {
	ok := id != "" && len(id) <= 64
	for _, c := range id {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
	}
	if !ok {
		return "", fmt.Errorf("keep report %.80q: not an id", id)
	}
	return filepath.Join(l.dir, "reports", id+".json"), nil
}

// Pending returns the reports not acknowledged yet, oldest first.
func (l *Ledger) Pending() []wire.Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []wire.Report
	for _, name := range l.files() {
		path := filepath.Join(l.dir, "reports", name)
		b, err := os.ReadFile(path)
		var r wire.Report
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err != nil {
			l.log.Warn("report not readable", "file", path, "error", err)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Acked removes a report that control has acknowledged.
func (l *Ledger) Acked(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	path, err := l.reportPath(id)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove report %s: %w", id, err)
	}
	return nil
}
