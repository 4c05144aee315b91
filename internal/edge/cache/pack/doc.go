// Package pack keeps many small records in few files: segments that are only
// appended to. A record is a key, what is known about it, and a body. In memory a
// record costs 56 bytes and its place in a map; what it says is read from the
// segment, and believed only when its checksums agree.
//
// What is dropped is marked by a tombstone, so that no restart brings it back.
// Segments that are mostly dropped records are copied together (compact.go). A
// sealed segment has a list of its records beside it, so that a start reads those
// lists and one segment, not everything:
//
//	000001.seg  000001.list  000002.seg  …
//
// Nothing is synced: after a power failure what did not reach the disk does not
// verify, and is as if it had never been stored.
package pack
