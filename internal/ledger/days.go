package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	// saveEvery is how much of the counters a crash may lose.
	saveEvery = 10 * time.Second
	// lockWithin is how long another process that saves is waited for, lockEvery how
	// often it is looked whether it has done.
	lockWithin, lockEvery = 5 * time.Second, 10 * time.Millisecond
	// maxDays bounds the days kept; the oldest go first.
	maxDays   = 400
	maxShared = 4 << 20 // of a file of counters, in bytes
)

// Day is what was shared on one day, in bytes.
type Day struct {
	Uploaded  int64 `json:"uploaded"`
	FromEdge  int64 `json:"from_edge"`
	FromPeers int64 `json:"from_peers"`
	Downloads int64 `json:"downloads"` // their number
	// Received is all object data that came, also of downloads that did not end.
	Received int64 `json:"received"`
}

func (d Day) plus(e Day) Day {
	return Day{d.Uploaded + e.Uploaded, d.FromEdge + e.FromEdge, d.FromPeers + e.FromPeers, d.Downloads + e.Downloads, d.Received + e.Received}
}

// Received counts n bytes of object data that came.
func (l *Ledger) Received(n int64) { l.count(Day{Received: n}) }

// count adds to today, and has it written in time.
func (l *Ledger) count(d Day) {
	l.mu.Lock()
	defer l.mu.Unlock()
	today := l.clock.now().Format(time.DateOnly)
	l.unsaid[today] = l.unsaid[today].plus(d)
	if !l.due {
		l.due = true
		l.timer.Reset(saveEvery)
	}
}

// saveDue writes what was counted.
func (l *Ledger) saveDue() {
	l.mu.Lock()
	l.due = false
	l.mu.Unlock()
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
// thereby share the counters, which they change one after the other: those that began
// together also save together, each time.
func (l *Ledger) save() error {
	if l.nothing() {
		return nil
	}
	defer l.alone()() // first: who reads does not wait for another process
	l.saving.Lock()
	defer l.saving.Unlock()
	return errors.Join(l.saveDays(), l.saveShares())
}

func (l *Ledger) nothing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unsaid) == 0 && len(l.unshared.Objects) == 0
}

// alone keeps other processes from saving until release is called. One that was stopped
// in the midst of it is not waited for long.
func (l *Ledger) alone() (release func()) {
	f, err := os.OpenFile(filepath.Join(l.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return func() {} // to save will say why
	}
	for end := time.Now().Add(lockWithin); tryLock(f) != nil && time.Now().Before(end); {
		<-time.After(lockEvery)
	}
	return func() { f.Close() }
}

func (l *Ledger) saveDays() error {
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

func (l *Ledger) written() map[string]Day {
	days := map[string]Day{}
	if l.readCounters(l.sharedPath(), &days); days == nil {
		days = map[string]Day{}
	}
	return days
}

// readCounters reads a file of counters, if there is one. One that cannot be read is put
// aside, and the counters begin anew.
func (l *Ledger) readCounters(path string, to any) {
	b, err := read(path, maxShared)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && strings.TrimSpace(string(b)) == "null" {
		err = errors.New("it is empty")
	}
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err == nil {
		return
	}
	reflect.ValueOf(to).Elem().SetZero()
	l.log.Warn("unreadable counters put aside", "file", path, "error", err)
	if err := os.Rename(path, path+".bad"); err != nil {
		l.log.Warn("counters not put aside", "error", err)
	}
}
