// Package control is the control plane role: one node that keeps sessions with
// clients, knows who is in which swarm, picks candidates and tells both sides of
// a pair to connect at the same moment, answers STUN, gives grants for published
// directories and accounts for downloads.
//
// Only the accounting is durable (SQLite). All else is soft state that clients
// announce again after a restart, so that control may be killed at any time:
// downloads go on, and reports come again until they are on disk.
//
// Follow a session through session.go (its life), handle.go (its messages),
// directory (the swarms and the choice), addrs.go (which addresses a peer may
// see) and reports.go with reportdb.go (the accounting).
//
// Control is public: it answers web pages of any origin, so no request is
// trusted for where it comes from. A session proves two keys, a swarm asks for a
// grant, and nothing is kept in cookies that a page could misuse.
package control
