// Package ledger is what a client writes down of its part in swarms: the reports
// that control has not acknowledged yet, and what was shared, by day, by object and by
// publisher.
//
// A report is one file, written whole and synced before it is sent, and removed
// when control has it: neither a kill, nor a loss of power, nor a control that is
// away for a week loses or doubles one. Several processes may use one directory
// at once.
package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// tempPrefix begins the names of files being written; staleTemp is the age
	// from which one is a crash's leftover and not another process at work.
	tempPrefix = ".tmp-"
	staleTemp  = time.Hour
)

// Ledger is safe for concurrent use.
type Ledger struct {
	dir string
	log *slog.Logger

	reports sync.Mutex // over the files of reports

	mu       sync.Mutex
	unsaid   map[string]Day              // counted since the file was written
	unshared Shares                      // the same by object and publisher
	names    map[manifest.ObjectID]Share // without numbers
	timer    *time.Timer                 // until it is written
	due      bool                        // the timer runs
	clock    *clock
	saving   sync.Mutex // over the file of counters
}

// Open opens the ledger in dir, which is made when missing.
func Open(dir string, log *slog.Logger) (*Ledger, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Ledger{dir: dir, log: log, unsaid: map[string]Day{}, unshared: newShares(), names: map[manifest.ObjectID]Share{}, clock: newClock(dir)}
	l.timer = time.AfterFunc(saveEvery, l.saveDue)
	l.timer.Stop()
	if err := os.MkdirAll(l.reportsDir(), 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	for _, d := range []string{dir, l.reportsDir()} {
		if err := removeTemp(d); err != nil {
			return nil, fmt.Errorf("open ledger: %w", err)
		}
	}
	return l, nil
}

// Close writes what has not been written yet.
func (l *Ledger) Close() error {
	l.timer.Stop()
	return l.save()
}

func removeTemp(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		fi, err := f.Info()
		if err == nil && strings.HasPrefix(f.Name(), tempPrefix) && time.Since(fi.ModTime()) > staleTemp {
			os.Remove(filepath.Join(dir, f.Name()))
		}
	}
	return nil
}

// replace writes a file so that it is there whole, or as it was.
func replace(path string, b []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return err
	}
	// The name is part of the promise, where the system can sync a directory.
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
	return nil
}

// read reads a file of at most limit bytes.
func read(path string, limit int64) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > limit {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", fs.ErrInvalid, fi.Size(), limit)
	}
	return os.ReadFile(path)
}
