package media

// Change is what became of a playlist between two loads.
type Change int

const (
	// Continues: it is the same, or has grown, or has moved on.
	Continues Change = iota
	// Stale: it is an older state of the same playlist, from a cache. Nothing new.
	Stale
	// Restarted: the origin began anew. What is known of segment numbers is void.
	Restarted
	// Contradicts: some of what it says of the same segments has changed. Nothing
	// that it says can be relied on.
	Contradicts
)

func (c Change) String() string {
	switch c {
	case Continues:
		return "continues"
	case Stale:
		return "stale"
	case Restarted:
		return "restarted"
	default:
		return "contradicts"
	}
}
