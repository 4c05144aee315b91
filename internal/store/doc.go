// Package store is the disk side of one object that is being downloaded, or
// shared from where it lies.
//
// [File] holds an object whose manifest is known: a piece enters only when its
// SHA-256 is right, and only such pieces can be read back. [Plain] holds the
// bytes of an ordinary HTTP response in the order they come; [Plain.Promote]
// turns it into a File when a manifest turns up in the middle of a download.
//
// # On disk
//
// An unfinished object is two files beside its final path: ".tandem-part" with
// the data, sparse and as long as the object, and ".tandem-state" with what is
// known about them. [File.Commit] renames the first and removes the second, so
// that a name never stands for less than the whole object.
//
// Nothing is waited for while a download runs: of an object that is large for the
// memory of the machine, the disk is given early what was written and the page cache
// is left again, for other programs' sake and because that is cheaper. Killed processes lose nothing, since
// the page cache outlives them; power cuts and meddlers do their worst, and
// [Resume] finds out: it believes no byte that it has not hashed again. A kill, a
// power cut and a changed file are therefore one case.
//
// # State file
//
// All integers big-endian:
//
//	offset  size  field
//	0       8     magic "TANDEMST"
//	8       1     version (1)
//	9       3     reserved, 0
//	12      4     n, length of the description
//	16      n     description: [Meta] as JSON
//	16+n    32    SHA-256 of all before
//
// after which the file is a log, so that a kill in the middle of a write costs
// only the entry that was being written:
//
//	mark    'M', u64 length, SHA-256 of the first so many bytes of the data
//	pieces  'P', u32 n, n bytes of signed manifest, SHA-256 of these n bytes,
//	        then one byte per piece, 1 where it is claimed, to the end
//
// One process at a time works on an object: it holds a lock on the state file.
package store
