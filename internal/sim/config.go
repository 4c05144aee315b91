package sim

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Config is a world and what happens in it. Rates are in bytes per second,
// times count from the beginning of the simulation.
type Config struct {
	Seed  uint64
	Until time.Duration // the end, whatever is under way then
	// Tick is the step of time in which flows advance and clients decide; 0 chooses
	// by the number of hosts.
	Tick time.Duration
	// Workers is the number of goroutines; 0 is one per processor. It does not
	// change the result.
	Workers int

	Objects   []Object
	Edges     []Edge
	Control   Control
	Hosts     []Host
	Downloads []Download // in order of At
	Holdings  []Holding  // what hosts hold at the beginning

	// Efficiency is the part of a link's rate that is payload, the rest being
	// headers of packets, records and frames; 0 is 0.95.
	Efficiency float64
	// CertainLinks has two hosts link whenever their NATs allow it, and never
	// otherwise, as in the lab. Else links come about by the chance that the
	// directory reckons with, which is less than one even between open hosts.
	CertainLinks bool
	// Candidates is how many peers a client asks control for; 0 is what real
	// clients ask for. Fewer save memory in huge worlds.
	Candidates int

	// Alone has nobody share: every byte comes from the edges.
	Alone bool
	// Ablate switches parts of the policy off, to see what they are good for.
	Ablate Ablation
}

// Object is what is downloaded.
type Object struct {
	Name  string
	Size  int64 // bytes
	Piece int64 // bytes; 0 is what a manifest of this size has
	// Stream makes it one that is played while it comes; nil: a file.
	Stream *Stream
}

// Edge is one edge server, or all of them behind one name.
type Edge struct {
	Rate   float64       // 0: never the bottleneck
	RTT    time.Duration // from a host, beside the host's own delay
	Admits int           // requests served at a time, the others get 503; 0: all
	Faults []Fault
}

// Fault is a time in which an edge is not itself.
type Fault struct {
	From, To time.Duration
	Rate     float64 // what it gives then; 0: nothing, requests hang
}

// Control is the control plane.
type Control struct {
	Outages []Span          // nobody is named to anybody; links that exist go on
	Wipes   []time.Duration // the directory is lost; members join again within Refresh
	Refresh time.Duration   // between two announcements of a member; 0 is 5 minutes
}

// Span is an interval of time, To not included.
type Span struct{ From, To time.Duration }

// Host is one machine.
type Host struct {
	Up, Down float64
	Delay    time.Duration // one way, from the host to the core of the network
	NAT      wire.NAT
	TCP      bool // takes TCP connections from outside
	Place    directory.Place
	Uploads  bool
	Conduct  Conduct
	Online   []Span // in order; nil: always
}

// Conduct is how a host behaves towards its peers.
type Conduct uint8

// Kinds of conduct.
const (
	Honest   Conduct = iota
	Poisoner         // sends pieces that do not verify
	Liar             // announces pieces it does not have
	Staller          // takes requests and sends nothing
)

// Class says how long a download may take; see the classes of package fetch.
type Class uint8

// Classes of downloads.
const (
	Normal Class = iota
	Interactive
	Background
)

// Download is one user's wish for an object.
type Download struct {
	Host, Object int
	At           time.Duration
	Class        Class
	// FinishBy is when a background download must be done; 0: no such time.
	FinishBy time.Duration
	// Linger is how long the host keeps and shares the object when it has it, while
	// it is online.
	Linger time.Duration
	// Leave is when the host gives up and goes, done or not; 0: never. Who plays a stream
	// has seen enough then.
	Leave time.Duration
}

// Holding is a whole copy that a host has from the beginning on.
type Holding struct {
	Host, Object int
	Until        time.Duration // 0: to the end
}

// Ablation names parts of the policy that are switched off.
type Ablation struct {
	SeedDuty bool // nobody is responsible for a piece: everybody asks for any
	InOrder  bool // the edge is asked in file order by everybody
	Locality bool // peers are picked without regard to where they are
	Rotation bool // candidates and slots are never changed for new ones
	GiveWay  bool // the edge is always asked, and never gives way to peers
	Stealing bool // nobody takes over what waits elsewhere
}
