package chunkmap

import "sort"

// Index finds the chunks of an object among those of other files. Each is found
// once: what all the chunks of all files cost together is one look each.
type Index struct {
	m     *Map
	ends  []int64         // where each chunk of the object ends
	first map[Chunk]int32 // the first chunk of the object that looks so and was not found
	next  []int32         // the next one that looks the same, -1 for none
	found []bool
	bytes int64
}

// NewIndex prepares the search for the chunks of m.
func NewIndex(m *Map) *Index {
	x := &Index{
		m: m, ends: make([]int64, len(m.Chunks)), first: make(map[Chunk]int32, len(m.Chunks)),
		next: make([]int32, len(m.Chunks)), found: make([]bool, len(m.Chunks)),
	}
	var end int64
	for i, c := range m.Chunks {
		end += int64(c.Len)
		x.ends[i] = end
	}
	for i := len(m.Chunks) - 1; i >= 0; i-- {
		x.next[i] = -1
		if j, ok := x.first[m.Chunks[i]]; ok {
			x.next[i] = j
		}
		x.first[m.Chunks[i]] = int32(i)
	}
	return x
}

// Find tells of a chunk of another file. It calls at with the number of every chunk
// of the object that looks the same and has not been found before.
func (x *Index) Find(c Chunk, at func(i int)) {
	i, ok := x.first[c]
	if !ok {
		return
	}
	delete(x.first, c)
	for ; i >= 0; i = x.next[i] {
		x.found[i] = true
		x.bytes += int64(c.Len)
		at(int(i))
	}
}

// Found is how many bytes of the object have been found.
func (x *Index) Found() int64 { return x.bytes }

// Complete reports whether all have.
func (x *Index) Complete() bool { return x.bytes == x.m.Size }

// Chunk returns the number of the chunk that byte off lies in, and where that
// begins and ends. off is within the object.
func (x *Index) Chunk(off int64) (i int, begin, end int64) {
	i = sort.Search(len(x.ends), func(i int) bool { return x.ends[i] > off })
	return i, x.ends[i] - int64(x.m.Chunks[i].Len), x.ends[i]
}

// End is where chunk i ends.
func (x *Index) End(i int) int64 { return x.ends[i] }

// Range is bytes of an object: Len from Off on.
type Range struct{ Off, Len int64 }

// End is the offset behind the range.
func (r Range) End() int64 { return r.Off + r.Len }

// Gaps returns the ranges within [off, end) whose chunks have not been found, in
// order. Two that have less than bridge bytes between them are one: to ask for that
// costs less than another request.
func (x *Index) Gaps(off, end, bridge int64) []Range {
	var gaps []Range
	if off >= end {
		return nil
	}
	i, begin, _ := x.Chunk(off)
	for ; i < len(x.ends) && begin < end; i++ {
		from, to := max(begin, off), min(x.ends[i], end)
		begin = x.ends[i]
		if x.found[i] {
			continue
		}
		if n := len(gaps); n > 0 && from-gaps[n-1].End() < bridge {
			gaps[n-1].Len = to - gaps[n-1].Off
			continue
		}
		gaps = append(gaps, Range{from, to - from})
	}
	return gaps
}
