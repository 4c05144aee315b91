package portmap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// checkEvery is how often the gateway is asked whether it is still the same.
	checkEvery = time.Minute
	// retryAfter is the wait after a gateway that has answered before does not, and
	// maxFailures how often that is borne.
	retryAfter  = 10 * time.Second
	maxFailures = 3
	// refusedFor is how long a no counts.
	refusedFor = 15 * time.Minute
	// minPause and maxPause bound the wait after a round in which no protocol did.
	minPause, maxPause = 2 * time.Minute, time.Hour
	// minRenew and maxLifetime bound what a gateway may say of lifetimes.
	minRenew    = 15 * time.Second
	maxLifetime = 24 * time.Hour
)

// situation is what the core does not decide: where the machine is, which ports are to
// be reached, and why there must be no mapping for the moment.
type situation struct {
	net   network
	ports []Port
	why   string
}

type operation int

const (
	opWait operation = iota
	opAdd
	opCheck
	opRemove
)

// step is what is to be done next.
type step struct {
	op       operation
	protocol Protocol
	mapping  Mapping   // to add, to check or to remove
	until    time.Time // of opWait; zero is until the situation changes
}

// slot is a port and its mapping.
type slot struct {
	mapping  Mapping // held, or else wished for
	held     bool
	protocol Protocol  // by which it is held
	made     time.Time // when it was asked for last, with success
	due      time.Time // when it is to be asked for, again
}

// doom is a mapping that is to be removed.
type doom struct {
	protocol Protocol
	mapping  Mapping
}

// core decides what to ask of the gateway and when. It has no clock and does no I/O:
// next says what to do, record is told what became of it.
type core struct {
	protocols  []Protocol
	checkEvery time.Duration
	net        network
	protocol   int  // that is spoken, or tried
	found      bool // it has made a mapping
	slots      []slot
	doomed     []doom
	epoch      epoch
	checkAt    time.Time
	resumeAt   time.Time // nothing is asked before
	failures   int       // in a row, of the protocol that was found
	rounds     int       // in a row, in which no protocol did
	said       string    // in this round, the best reason
	why        string
}

func newCore() *core {
	return &core{protocols: []Protocol{PCP, NATPMP, UPnP}, checkEvery: checkEvery}
}

// next is what to do at a time in a situation.
func (c *core) next(now time.Time, s situation) step {
	if s.net != c.net {
		c.move(s)
	}
	if s.why != "" {
		c.retire()
		c.why = s.why
	}
	if len(c.doomed) > 0 {
		return step{op: opRemove, protocol: c.doomed[0].protocol, mapping: c.doomed[0].mapping}
	}
	if s.why != "" {
		return step{}
	}
	if now.Before(c.resumeAt) {
		return step{until: c.resumeAt}
	}
	var until time.Time
	for i := range c.slots {
		slot := &c.slots[i]
		if slot.held && !now.Before(slot.mapping.Until) {
			slot.held = false
		}
		if !now.Before(slot.due) {
			return step{op: opAdd, protocol: c.speaks(), mapping: slot.mapping}
		}
		until = earliest(until, slot.due)
	}
	if m, ok := c.any(); ok {
		if !now.Before(c.checkAt) {
			return step{op: opCheck, protocol: c.speaks(), mapping: m}
		}
		until = earliest(until, c.checkAt)
	}
	return step{until: until}
}

// earliest is the earlier of two times, of which the first may be unset.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func (c *core) speaks() Protocol { return c.protocols[c.protocol] }

// any is one mapping that is held.
func (c *core) any() (Mapping, bool) {
	i := slices.IndexFunc(c.slots, func(s slot) bool { return s.held })
	if i < 0 {
		return Mapping{}, false
	}
	return c.slots[i].mapping, true
}

// move begins anew on another network. Mappings of the one before are out of reach, and
// expire there.
func (c *core) move(s situation) {
	*c = core{protocols: c.protocols, checkEvery: c.checkEvery, net: s.net}
	for _, p := range s.ports {
		// The same port outside as inside, if it is free.
		c.slots = append(c.slots, slot{mapping: wish(p.Net, p.Number)})
	}
}

// retire has all mappings removed, and begins anew.
func (c *core) retire() {
	for i := range c.slots {
		if c.slots[i].held {
			c.doomed = append(c.doomed, doom{c.slots[i].protocol, c.slots[i].mapping})
			c.slots[i].held = false
		}
	}
	c.rounds, c.resumeAt = 0, time.Time{}
	c.begin(time.Time{})
}

// begin tries all protocols, in turn, from now on.
func (c *core) begin(now time.Time) {
	c.protocol, c.found, c.failures, c.epoch, c.said = 0, false, 0, epoch{}, ""
	c.dueAll(now)
}

func (c *core) dueAll(now time.Time) {
	for i := range c.slots {
		c.slots[i].due = now
	}
}

// record is told what became of a step.
func (c *core) record(now time.Time, s step, a answer, err error) {
	switch s.op {
	case opRemove:
		c.doomed = c.doomed[1:]
	case opCheck:
		c.checked(now, s, a, err)
	case opAdd:
		i := slices.IndexFunc(c.slots, func(sl slot) bool {
			return sl.mapping.Net == s.mapping.Net && sl.mapping.Internal == s.mapping.Internal
		})
		if err == nil && (a.lifetime <= 0 || a.external.Port() == 0) {
			err = refused(s.protocol, "a mapping of nothing")
		}
		switch {
		case errors.Is(err, context.Canceled):
			// It may be there although its answer was not waited for.
			c.doomed = append(c.doomed, doom{s.protocol, s.mapping})
		case err != nil:
			c.notAdded(now, &c.slots[i], err)
		default:
			c.added(now, &c.slots[i], a)
		}
	case opWait:
	}
}

func (c *core) added(now time.Time, s *slot, a answer) {
	life := min(a.lifetime, maxLifetime)
	s.mapping.External, s.mapping.Until = a.external, now.Add(life)
	s.held, s.protocol, s.made = true, c.speaks(), now
	s.due = now.Add(max(life/2, minRenew)) // RFC 6887, section 11.2.1
	if ip := a.external.Addr(); !Public(ip) {
		c.retire()
		c.resumeAt = now.Add(refusedFor)
		c.why = fmt.Sprintf("the gateway's own address %s is behind another NAT", ip)
		return
	}
	c.found, c.failures, c.rounds, c.checkAt = true, 0, 0, now.Add(c.checkEvery)
	if c.epoch.restarted(now, a) {
		for i := range c.slots {
			// Not at once: a gateway whose epochs are nonsense has restarted every time.
			if other := &c.slots[i]; other != s {
				other.due = earliest(other.due, other.made.Add(minRenew))
			}
		}
	}
	if !slices.ContainsFunc(c.slots, func(s slot) bool { return !s.held }) {
		c.why = ""
	}
}

func (c *core) notAdded(now time.Time, s *slot, err error) {
	isNo := errors.Is(err, errRefused)
	if isNo {
		s.held = false
	}
	_, others := c.any()
	switch {
	case c.found && isNo && others:
		s.due, c.why = now.Add(refusedFor), err.Error()
	case c.found && !isNo:
		s.due = now.Add(retryAfter)
		c.failed(now, err)
	default:
		c.pass(now, err, isNo)
	}
}

// pass goes on to the next protocol; after the last one there is a pause.
func (c *core) pass(now time.Time, err error, isNo bool) {
	if isNo || c.said == "" {
		c.said = err.Error()
	}
	c.found, c.epoch = false, epoch{}
	c.dueAll(now)
	if c.protocol++; c.protocol < len(c.protocols) {
		return
	}
	c.why = c.said
	c.begin(now)
	c.resumeAt = now.Add(min(minPause<<min(c.rounds, 10), maxPause))
	c.rounds++
}

// failed counts failures of a gateway that has answered before. After some of them it
// may be another one, by another name.
func (c *core) failed(now time.Time, err error) {
	if c.failures++; c.failures >= maxFailures {
		c.why = err.Error()
		c.begin(now)
	}
}

func (c *core) checked(now time.Time, s step, a answer, err error) {
	c.checkAt = now.Add(c.checkEvery)
	switch {
	case errors.Is(err, errLost):
		c.dueAll(now)
	case errors.Is(err, errRefused): // the mapping may be there all the same
	case err != nil:
		c.checkAt = now.Add(retryAfter)
		c.failed(now, err)
	default:
		c.failures = 0
		ip := a.external.Addr()
		if c.epoch.restarted(now, a) || ip.IsValid() && ip != s.mapping.External.Addr() {
			c.dueAll(now)
		}
	}
}

// status is what there is at a time.
func (c *core) status(now time.Time) Status {
	st := Status{Gateway: c.net.gateway, Why: c.why}
	for _, s := range c.slots {
		if s.held && now.Before(s.mapping.Until) {
			st.Mappings, st.Protocol = append(st.Mappings, s.mapping), s.protocol
		}
	}
	if len(st.Mappings) == 0 && st.Why == "" {
		st.Why = "the gateway is being asked"
	}
	return st
}

func wish(network string, port uint16) Mapping {
	return Mapping{Net: network, Internal: port, External: anywhere(port)}
}
