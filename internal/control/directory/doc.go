// Package directory is what control knows of swarms, and how it picks
// candidates from them.
//
// It is soft state: peers announce themselves again and again, what is not
// renewed expires, and a control that starts with nothing has all of it back
// within one refresh. [Directory] holds every swarm, in shards that lock on
// their own; [Swarm] is one of them, a passive structure that keeps its members
// in lists by locality so that a choice looks at a bounded number of members
// whatever the size of the swarm. Time and randomness are arguments: the
// simulator runs the same code.
package directory
