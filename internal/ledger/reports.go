package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// maxReports bounds the reports kept; the oldest go first.
	maxReports = 1000
	// maxReport bounds one file: a message to control, and control's URL.
	maxReport = wire.MaxControlMessage + 4<<10

	suffix = ".json"
)

// entry is the file of a report.
type entry struct {
	Control string      `json:"control"` // whom it is for
	Report  wire.Report `json:"report"`
}

// Add keeps a report for the control at a URL until it is acknowledged.
func (l *Ledger) Add(control string, r wire.Report) error {
	l.count(Day{FromEdge: r.FromEdge, FromPeers: r.FromPeers, Downloads: 1})
	path, err := l.reportPath(r.ID)
	if err != nil {
		return fmt.Errorf("keep report: %w", err)
	}
	b, err := json.Marshal(entry{control, r})
	if err == nil && len(b) > maxReport {
		err = fmt.Errorf("%d bytes, the limit is %d", len(b), maxReport)
	}
	if err != nil {
		return fmt.Errorf("keep report %s: %w", r.ID, err)
	}
	l.reports.Lock()
	defer l.reports.Unlock()
	l.trim()
	if err := replace(path, b); err != nil {
		return fmt.Errorf("keep report %s: %w", r.ID, err)
	}
	return nil
}

// Pending returns the reports for the control at a URL that it has not
// acknowledged yet, oldest first.
func (l *Ledger) Pending(control string) []wire.Report {
	l.reports.Lock()
	defer l.reports.Unlock()
	var out []wire.Report
	for _, path := range l.files() {
		b, err := read(path, maxReport)
		var e *entry
		if err == nil {
			e, err = parseEntry(b, strings.TrimSuffix(filepath.Base(path), suffix))
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // acknowledged to another process
		case err != nil:
			l.log.Warn("unreadable report removed", "file", path, "error", err)
			os.Remove(path)
		case e.Control == control:
			out = append(out, e.Report)
		}
	}
	return out
}

// parseEntry reads the file of the report id.
func parseEntry(b []byte, id string) (*entry, error) {
	var e entry
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, err
	}
	if e.Report.ID != id {
		return nil, fmt.Errorf("holds report %.80q", e.Report.ID)
	}
	return &e, nil
}

// Acked removes a report that control has acknowledged.
func (l *Ledger) Acked(id string) error {
	path, err := l.reportPath(id)
	if err != nil {
		return fmt.Errorf("remove report: %w", err)
	}
	l.reports.Lock()
	defer l.reports.Unlock()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove report %s: %w", id, err)
	}
	return nil
}

// trim makes room for one more report.
func (l *Ledger) trim() {
	files := l.files()
	for ; len(files) >= maxReports; files = files[1:] {
		l.log.Warn("oldest report dropped: control has not acknowledged any for long", "file", files[0])
		os.Remove(files[0])
	}
}

func (l *Ledger) reportsDir() string { return filepath.Join(l.dir, "reports") }

// files lists the reports, oldest first.
func (l *Ledger) files() []string {
	entries, err := os.ReadDir(l.reportsDir())
	if err != nil {
		l.log.Warn("reports not listed", "error", err)
	}
	type file struct {
		path string
		age  time.Time
	}
	var files []file
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), suffix) {
			files = append(files, file{filepath.Join(l.reportsDir(), e.Name()), fi.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(a.age.Compare(b.age), cmp.Compare(a.path, b.path))
	})
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.path
	}
	return paths
}

// reportPath is the file of a report. It refuses the IDs that control does, which
// keeps files inside the directory.
func (l *Ledger) reportPath(id string) (string, error) {
	ok := len(id) >= 1 && len(id) <= 64
	for _, c := range []byte(id) {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_')
	}
	if !ok {
		return "", fmt.Errorf("id %.80q: want 1 to 64 letters, digits, - or _", id)
	}
	return filepath.Join(l.reportsDir(), id+suffix), nil
}
