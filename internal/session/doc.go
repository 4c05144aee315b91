// Package session is the client's side of control: one WebSocket that logs in,
// says how this node is reached, keeps its swarm memberships alive and delivers
// reports until they are acknowledged.
//
// Control may be away at any time. Nothing here blocks or fails because of that:
// what was said is remembered and said again after the next login, and the
// connection is tried again with growing, jittered pauses.
package session
