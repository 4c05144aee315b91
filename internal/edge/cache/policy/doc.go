// Package policy is what a shared HTTP cache may do, as pure functions: whether
// a response may be stored and for whom, how old it is, whether it may be used
// again, what a conditional or a range request asks for. It follows RFC 9111
// (caching), RFC 9110 (semantics), RFC 5861 (stale responses), RFC 8246
// (immutable) and RFC 9213 (targeted control).
//
// The package does no I/O and reads no clock: time is an argument. Everything
// it parses comes from strangers, so every parser has a limit and, where the
// meaning of a field cannot be known, the more careful reading is taken.
package policy
