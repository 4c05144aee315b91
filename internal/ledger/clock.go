package ledger

import (
	"encoding/json"
	"path/filepath"
	"time"
)

const (
	// leap is by how much a clock must differ from what has passed to have been set.
	leap = time.Hour
	// believeAfter is how long a clock that was set must go on before it is believed.
	believeAfter = 24 * time.Hour

	maxClock = 4 << 10 // of its file, in bytes
)

// clock tells the date to count by. A clock that is set to another month must
// neither free what a month allows nor count it twice, so a leap is not believed for a
// day: time goes on as it has passed since the machine was started, which nobody sets.
// It is not safe for concurrent use.
type clock struct {
	path string
	wall func() time.Time
	// passed is the time since the machine was started, which boot names; "" is not
	// known, then passed counts from any moment.
	passed func() time.Duration
	boot   string

	at     time.Time     // believed
	passAt time.Duration // when it was
	leapt  time.Duration // when the wall clock was seen to have been set; 0: it was not
}

// moment is the file of a clock.
type moment struct {
	Boot   string        `json:"boot"`
	Passed time.Duration `json:"passed"`
	At     time.Time     `json:"at"`
	Leapt  time.Duration `json:"leapt,omitempty"`
}

func newClock(dir string) *clock {
	c := &clock{path: filepath.Join(dir, "clock.json"), wall: time.Now, passed: passedSince(time.Now()), boot: bootID()}
	c.load()
	return c
}

// load goes on from what was believed earlier since the machine was started.
func (c *clock) load() {
	c.at, c.passAt = c.wall().Round(0), c.passed()
	b, err := read(c.path, maxClock)
	var m moment
	if err != nil || c.boot == "" || json.Unmarshal(b, &m) != nil || m.Boot != c.boot || m.Passed > c.passAt {
		return
	}
	c.at, c.passAt, c.leapt = m.At, m.Passed, min(max(m.Leapt, 0), m.Passed)
}

// moment is what is kept of the clock; there is nothing to keep where the start of the
// machine has no name.
func (c *clock) moment() (m moment, ok bool) {
	return moment{c.boot, c.passAt, c.at, c.leapt}, c.boot != ""
}

func (m moment) save(path string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replace(path, b)
}

// now is the time that is believed.
func (c *clock) now() time.Time {
	passed := c.passed()
	due := c.at.Add(passed - c.passAt)
	wall := c.wall().Round(0)
	off := wall.Sub(due).Abs() > leap
	switch {
	case !off:
		c.leapt = 0
		due = wall
	case c.leapt == 0:
		c.leapt = max(passed, 1)
	case passed-c.leapt > believeAfter:
		c.leapt = 0
		due = wall
	}
	c.at, c.passAt = due, passed
	return due.UTC()
}
