package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// world is the state of a simulation. Time goes in quanta; in each of them the
// phases of [world.step] run one after the other, every phase over all shards at
// once. A phase writes to its own shard and to its shard's outboxes only, so that
// the number of goroutines does not matter.
type world struct {
	cfg     Config
	dt      time.Duration
	sec     float64 // dt in seconds
	q       int32   // number of this quantum
	now     time.Duration
	workers int
	reset   int32 // idleReset in quanta

	hosts   []host
	members []member
	objects []object
	edges   []edgeServer
	shards  []shard
	per     int // hosts in a shard

	// Dense arrays beside hosts and members, for what other shards read.
	logs      [][]entry // what each member has got, in that order
	logLen    []int32   // the lengths of the logs
	hops      [][]uint8 // over how many hops each viewer had each piece
	down      []float64 // payload bytes per second
	upLevel   []float64 // fair share on each host's uplink, +Inf where it is not full
	downLevel []float64
	downSpare []float64 // bytes that flows which ended early have left over

	cal      calendar
	control  controlPlane
	banned   map[[2]int32]bool // hosts, the first of which has dropped the other
	rng      *rand.Rand
	tally    tally
	pending  int // downloads not done and not given up
	active   int // members with a download under way
	outcomes []Outcome
	views    []View // nil without streams
	segments int    // of all streams
}

// host is one machine with its two links.
type host struct {
	up      float64 // payload bytes per second
	delay   time.Duration
	conduct Conduct
	uploads bool
	online  bool
	session bool // logged in to control
	as      uint32
	links   int32
	members []int32 // that are in a swarm or on their way into one
	waiting []int32 // members that begin when the host is online again

	out uplink
}

// object is what is downloaded, with its pieces.
type object struct {
	size, piece int64
	n           int
	all         []int // every piece, for peers that have or claim them all
	scope       scope
	seed        uint64 // of the election of owners

	stream   *Stream // nil: a file
	segs     []track.Segment
	segSize  int64
	perSeg   int // pieces in a segment
	firstSeg int // of the segments of all streams
}

func (o *object) pieceLen(i int32) int64 {
	if o.stream != nil {
		return min(o.piece, o.segSize-int64(i)%int64(o.perSeg)*o.piece)
	}
	return min(o.piece, o.size-int64(i)*o.piece)
}

// state is what a member is about.
type state uint8

const (
	absent   state = iota // not there yet, or gone
	starting              // the first response is under way, the plan not yet made
	fetching
	seeding
)

// member is the part of one host in the swarm of one object.
type member struct {
	host, object int32
	state        state
	joined       bool // control has been told
	listed       bool // in the list of its shard
	due          bool // something happened that the plan is to answer
	nextTick     int32
	plan         scheduler     // nil while it has none
	known        int           // pieces of the object that it knows of
	began        time.Duration // the plan's zero of time
	runs         int32         // times it has begun
	have         manifest.Bitfield
	count        int
	bad          manifest.Bitfield // pieces held that do not verify: never, or the model is wrong
	links        []link
	unused       []int32 // slots of links
	nlinks       int
	edge         []edgeFlow
	idle         []conn
	received     int64         // every byte that came
	doneAt       time.Duration // exact, within the quantum
	until        time.Duration // of its stay as a seed
	cancelled    []cancelled
	told         []introduced // peers that control has named lately
	duty         wire.Duty    // what control has last given it to fetch from the edge
}

// entry is a piece that a member has got, with the quantum from which on it knows,
// of which the last bits suffice: news are never that old.
type entry uint32

const entryBits = 12

func newEntry(piece, q int32) entry { return entry(piece<<entryBits | q&(1<<entryBits-1)) }

func (e entry) piece() int { return int(e >> entryBits) }

// known reports whether the news have arrived that take delay quanta.
func (e entry) known(q, delay int32) bool { return (q-int32(e))&(1<<entryBits-1) >= delay }

// link is one end of a link between two members: what this member knows of the
// other, and what it sends to it.
type link struct {
	peer   int32 // −1: the slot is free
	back   int32 // the peer's slot of this link
	cursor int32 // pieces of the peer's log that were taken in
	delay  int16 // quanta that an announcement takes
	trip   int16 // quanta that a request takes until its answer begins
	rtt    float32
	had    int32      // verified bytes had from the peer, until up is there
	up     *requester // the peer as one that asks, nil until it does
}

// conn is a connection to an edge.
type conn struct {
	edge int32
	last int32 // quantum in which it was used
	win  float32
}

// edgeFlow is a request to an edge.
type edgeFlow struct {
	conn
	req        int32
	piece, end int32
	stop       int32   // what was asked for; a connection cut short is lost
	got        float64 // bytes of piece
	ready      int32
	admitted   bool
	rtt        float32
	told       int32
	pace       float32 // bytes per second at which it is read, +Inf: as it comes
}

// edgeServer is an edge with what is on its uplink.
type edgeServer struct {
	Edge
	rate    float64 // payload bytes per second now, +Inf: no limit
	level   float64
	spare   float64
	running int // requests admitted
	waiting int
	offers  []float64
}

func newWorld(c Config) *world {
	w := &world{cfg: c, dt: c.Tick, workers: c.Workers, rng: rand.New(rand.NewPCG(c.Seed, 0x73696d))}
	w.sec, w.reset = w.dt.Seconds(), w.quanta(idleReset)
	w.objects = make([]object, len(c.Objects))
	for i, o := range c.Objects {
		w.objects[i] = newObject(o, c.Seed, i)
		if s := o.Stream; s != nil {
			w.objects[i].firstSeg = w.segments
			w.segments += s.Segments
		}
	}
	w.edges = make([]edgeServer, len(c.Edges))
	for i, e := range c.Edges {
		w.edges[i] = edgeServer{Edge: e, level: math.Inf(1)}
	}
	w.hosts, w.down = make([]host, len(c.Hosts)), make([]float64, len(c.Hosts))
	for i, h := range c.Hosts {
		w.down[i] = h.Down * c.Efficiency
		w.hosts[i] = host{
			up: h.Up * c.Efficiency, delay: h.Delay,
			conduct: h.Conduct, uploads: h.Uploads && !c.Alone, as: h.Place.AS,
		}
	}
	w.members = make([]member, len(c.Downloads)+len(c.Holdings))
	for i, d := range c.Downloads {
		w.members[i] = member{host: int32(d.Host), object: int32(d.Object)}
	}
	for i, d := range c.Holdings {
		w.members[len(c.Downloads)+i] = member{host: int32(d.Host), object: int32(d.Object)}
	}
	w.logs, w.logLen = make([][]entry, len(w.members)), make([]int32, len(w.members))
	w.upLevel, w.downLevel = make([]float64, len(w.hosts)), make([]float64, len(w.hosts))
	w.downSpare = make([]float64, len(w.hosts))
	for i := range w.hosts {
		w.upLevel[i], w.downLevel[i] = math.Inf(1), math.Inf(1)
	}
	w.outcomes = make([]Outcome, len(c.Downloads))
	if w.segments > 0 {
		w.views, w.hops = make([]View, len(c.Downloads)), make([][]uint8, len(c.Downloads))
	}
	w.makeShards()
	w.tally = newTally(w)
	w.control = newControlPlane(w)
	w.schedule()
	return w
}

func newObject(o Object, seed uint64, i int) object {
	if o.Stream != nil {
		out := object{size: o.Size, scope: scopeOf(seed, i), seed: mix(seed ^ uint64(i))}
		out.cut(o.Stream, o.Piece)
		return out
	}
	piece := o.Piece
	if piece == 0 {
		piece = manifest.PieceSizeFor(o.Size)
	}
	out := object{size: o.Size, piece: piece, n: manifest.PieceCount(o.Size, piece), scope: scopeOf(seed, i)}
	out.all = make([]int, out.n)
	for k := range out.all {
		out.all[k] = k
	}
	return out
}

// quanta is d in whole quanta, rounded.
func (w *world) quanta(d time.Duration) int32 { return int32((d + w.dt/2) / w.dt) }

// rtt is the round trip between two hosts.
func (w *world) rtt(a, b int32) time.Duration {
	return 2 * (w.hosts[a].delay + w.hosts[b].delay)
}

// edgeRTT is the round trip between a host and an edge.
func (w *world) edgeRTT(h, e int32) time.Duration {
	return w.edges[e].RTT + 2*w.hosts[h].delay
}

func (w *world) shardOf(h int32) *shard { return &w.shards[int(h)/w.per] }
