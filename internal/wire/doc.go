// Package wire holds the formats that peers, edges and control exchange: the
// binary frames on a link between two peers, the JSON messages between a client
// and control, and the well-known document of a host. docs/PROTOCOL.md is their
// specification.
//
// A frame, all integers big-endian:
//
//	offset  size  field
//	0       4     length of what follows (type and body), 1..MaxFrame
//	4       1     type
//	5       …     body
//
// The package parses and appends; it does no I/O, starts no goroutine, reads no
// clock and logs nothing.
package wire
