package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// saveEvery is how much of the counters a crash may lose.
	saveEvery = 10 * time.Second
	// maxDays bounds the days kept; the oldest go first.
	maxDays   = 400
	maxShared = 1 << 20 // of the file of counters, in bytes
)

// Day is what was shared on one day, in bytes.
type Day struct {
	Uploaded  int64 `json:"uploaded"`
	FromEdge  int64 `json:"from_edge"`
	FromPeers int64 `json:"from_peers"`
	Downloads int64 `json:"downloads"` // their number
}

func (d Day) plus(e Day) Day {
	return Day{d.Uploaded + e.Uploaded, d.FromEdge + e.FromEdge, d.FromPeers + e.FromPeers, d.Downloads + e.Downloads}
}

// Uploaded counts n bytes of an object sent to a peer.
func (l *Ledger) Uploaded(_ manifest.ObjectID, n int) { l.count(Day{Uploaded: int64(n)}) }

// count adds to today, and writes when it is time: the caller who comes by then
// pays for it, the others do not wait.
func (l *Ledger) count(d Day) {
	l.mu.Lock()
	today := l.clock.now().Format(time.DateOnly)
	l.unsaid[today] = l.unsaid[today].plus(d)
	due := time.Since(l.saved) > saveEvery
	if due {
		l.saved = time.Now()
	}
	l.mu.Unlock()
	if !due {
		return
	}
	if err := l.save(); err != nil {
		l.log.Warn("counters not written", "error", err)
	}
}

// Days returns what was shared, by UTC date.
func (l *Ledger) Days() map[string]Day {
	l.saving.Lock()
	defer l.saving.Unlock()
	days := l.written()
	l.mu.Lock()
	defer l.mu.Unlock()
	add(days, l.unsaid)
	return days
}

// Month is what was shared since this month began, in UTC. Days that are still to come
// count: the clock was wrong then.
func (l *Ledger) Month() Day {
	l.mu.Lock()
	first := l.clock.now().Format("2006-01") + "-01"
	l.mu.Unlock()
	var sum Day
	for date, d := range l.Days() {
		if date >= first {
			sum = sum.plus(d)
		}
	}
	return sum
}

func add(to, days map[string]Day) {
	for date, d := range days {
		to[date] = to[date].plus(d)
	}
}

// save adds what was counted to the file. Processes that share the directory
// thereby share the counters; two that save within the same instant may lose one
// save, which no report depends on.
func (l *Ledger) save() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	unsaid := l.unsaid
	l.unsaid = map[string]Day{}
	l.mu.Unlock()
	if len(unsaid) == 0 {
		return nil
	}
	days := l.written()
	add(days, unsaid)
	for len(days) > maxDays {
		delete(days, slices.Min(slices.Collect(maps.Keys(days))))
	}
	b, err := json.MarshalIndent(days, "", "\t")
	if err == nil {
		err = replace(l.sharedPath(), append(b, '\n'))
	}
	if err == nil {
		unsaid = nil // they are written
		l.mu.Lock()
		m, ok := l.clock.moment()
		l.mu.Unlock()
		if ok { // without mu: nobody who counts waits for the disk
			err = m.save(l.clock.path)
		}
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		add(l.unsaid, unsaid)
		return fmt.Errorf("write counters: %w", err)
	}
	return nil
}

func (l *Ledger) sharedPath() string { return filepath.Join(l.dir, "shared.json") }

// written reads the file of counters. One that cannot be read is put aside, and
// the counters begin anew.
func (l *Ledger) written() map[string]Day {
	days := map[string]Day{}
	b, err := read(l.sharedPath(), maxShared)
	if errors.Is(err, fs.ErrNotExist) {
		return days
	}
	if err == nil {
		err = json.Unmarshal(b, &days)
	}
	if err == nil && days != nil {
		return days
	}
	l.log.Warn("unreadable counters put aside", "file", l.sharedPath(), "error", err)
	if err := os.Rename(l.sharedPath(), l.sharedPath()+".bad"); err != nil {
		l.log.Warn("counters not put aside", "error", err)
	}
	return map[string]Day{}
}
