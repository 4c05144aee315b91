// Package memnet is a network in memory for tests: pairs of links ([Pipe]) and
// hosts with shaped uplinks and downlinks that connect to each other ([Switch]),
// with the methods of the real endpoints and links.
//
// Everything that takes time is an event in one queue, so that a test under
// testing/synctest runs in virtual time: a reader or writer that waits is
// durably blocked, and the order of events depends on their times alone.
package memnet
