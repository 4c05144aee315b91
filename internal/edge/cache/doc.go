// Package cache is the shared HTTP cache of an edge: an http.Handler in front of
// one origin (RFC 9111, RFC 9110; what it may do is decided in the package
// policy below it).
//
// Versions of 64 KiB or less are records of the package pack below it, a million of
// them in some hundred files, and in memory while they are used (packed.go). What
// follows is about the others.
//
// One stored response is a [Version]: immutable bytes in a sparse file, cut into
// slices of the manifest's piece size. A slice is missing, being filled, or
// present with its SHA-256. Who needs bytes that are missing waits for the fill
// that will bring them, or starts one; readers follow a growing slice through
// the file, so that the first byte leaves when the first byte came, no response
// is held in memory, and a slow reader holds up nobody:
//
//	origin ──fill──▶ sparse file ──▶ reader (sendfile)
//	                      └────────▶ reader …
//
// Fills after the first are range requests pinned to the version by If-Range. An
// origin that answers with anything else ends the version: what has been sent of
// it is cut off, never completed with bytes of another. Follow one request
// through handler.go, fetch.go, serve.go, reader.go, fill.go, blob.go.
package cache
