package scenario

// Scenario is a world, what its users do, and what is expected of it. The tags
// are the language: yaml names a field, check bounds its value.
type Scenario struct {
	Title   string `yaml:"title"`
	About   string `yaml:"about"`
	Facts   []Fact `yaml:"facts"`
	Seed    uint64 `yaml:"seed"`
	Repeats int    `yaml:"repeats" check:"1..100"`

	End  Duration `yaml:"end" check:"1s..90d"`
	Tick Duration `yaml:"tick" check:"1ms..10m"`

	// Efficiency is the part of a link's rate that is payload.
	Efficiency float64 `yaml:"efficiency" check:"0.1..1"`

	Objects   Objects   `yaml:"objects"`
	Stream    Stream    `yaml:"stream"`
	Hosts     Hosts     `yaml:"hosts"`
	Seeders   Seeders   `yaml:"seeders"`
	Arrivals  Arrivals  `yaml:"arrivals"`
	Downloads Downloads `yaml:"downloads"`
	Edges     []Edge    `yaml:"edges"`
	Control   Control   `yaml:"control"`
	Policy    Policy    `yaml:"policy"`

	Against string        `yaml:"against" oneof:"nothing edge-only"`
	Runs    []Variant     `yaml:"runs"`
	Sweep   []Axis        `yaml:"sweep"`
	Expect  []Expectation `yaml:"expect"`
}

// Fact is a figure from outside that the scenario is modelled on.
type Fact struct {
	Figure string `yaml:"figure"`
	Value  string `yaml:"value"`
	// Known says how the figure is known: read in its source, recalled without
	// it, or inferred.
	Known  string `yaml:"known" oneof:"read recalled inferred"`
	Source string `yaml:"source"`
}

// Objects is the catalogue.
type Objects struct {
	Count int     `yaml:"count" check:"1..100000"`
	Size  Amount  `yaml:"size"`
	Piece Bytes   `yaml:"piece" check:"16K..64M"`
	Zipf  float64 `yaml:"zipf" check:"0..4"`
	Shift float64 `yaml:"shift" check:"0..100000"`
}

// Hosts are the machines.
type Hosts struct {
	Count     int     `yaml:"count" check:"1..2000000"`
	Links     []Link  `yaml:"links"`
	Uploaders Share   `yaml:"uploaders"`
	Rho       float64 `yaml:"rho" check:"0..100"`
	NAT       NAT     `yaml:"nat"`
	Linking   string  `yaml:"linking" oneof:"by-chance certain"`
	ASes      Groups  `yaml:"ases"`
	Countries Groups  `yaml:"countries"`
	Conduct   Conduct `yaml:"conduct"`
	Online    Span    `yaml:"online"`
	Offline   Span    `yaml:"offline"`
}

// Link is a class of access links.
type Link struct {
	Share Share    `yaml:"share"`
	Down  Rate     `yaml:"down" check:"8kbit..100gbit"`
	Up    Rate     `yaml:"up" check:"0bit..100gbit"`
	RTT   Duration `yaml:"rtt" check:"0s..10s"`
}

// NAT is how many hosts are behind what.
type NAT struct {
	Open      Share `yaml:"open"`
	Cone      Share `yaml:"cone"`
	Symmetric Share `yaml:"symmetric"`
	Blocked   Share `yaml:"blocked"`
	Unknown   Share `yaml:"unknown"`
}

// Groups is a division of the hosts into groups of unequal size.
type Groups struct {
	Count int     `yaml:"count" check:"1..100000"`
	Zipf  float64 `yaml:"zipf" check:"0..4"`
}

// Conduct is how many hosts misbehave, and how.
type Conduct struct {
	Poisoners Share `yaml:"poisoners"`
	Liars     Share `yaml:"liars"`
	Stallers  Share `yaml:"stallers"`
}

// Seeders are copies that are there from the beginning.
type Seeders struct {
	Copies    int      `yaml:"copies" check:"0..100000"`
	Retention Duration `yaml:"retention" check:"0s..365d"`
}

// Arrivals is who wants what, when.
type Arrivals struct {
	Count   int      `yaml:"count" check:"1..5000000"`
	Pattern string   `yaml:"pattern" oneof:"at-once even poisson release"`
	Over    Duration `yaml:"over" check:"0s..90d"`
	Diurnal float64  `yaml:"diurnal" check:"1..100"`
	Decay   float64  `yaml:"decay" check:"0..3"`
}

// Downloads is how users download.
type Downloads struct {
	Class    string   `yaml:"class" oneof:"interactive normal background"`
	FinishBy Duration `yaml:"finish-by" check:"1s..90d"`
	Deadline Duration `yaml:"deadline" check:"100ms..90d"`
	Linger   Span     `yaml:"linger"`
	Leave    Span     `yaml:"leave"`
}

// Edge is an edge server.
type Edge struct {
	Rate   Rate     `yaml:"rate" check:"8kbit..100000gbit"`
	RTT    Duration `yaml:"rtt" check:"0s..10s"`
	Admits int      `yaml:"admits" check:"1..10000000"`
	Faults []Fault  `yaml:"faults"`
}

// Fault is a time in which an edge gives less, or nothing.
type Fault struct {
	From Duration `yaml:"from" check:"0s..90d"`
	To   Duration `yaml:"to" check:"0s..90d"`
	Rate Rate     `yaml:"rate" check:"0bit..100000gbit"`
}

// Control is the control plane.
type Control struct {
	Outages []Outage   `yaml:"outages"`
	Wipes   []Duration `yaml:"wipes" check:"0s..90d"`
	Refresh Duration   `yaml:"refresh" check:"1s..1d"`
}

// Outage is a time without control.
type Outage struct {
	From Duration `yaml:"from" check:"0s..90d"`
	To   Duration `yaml:"to" check:"0s..90d"`
}

// Policy changes what the programs do.
type Policy struct {
	Alone      bool     `yaml:"alone"`
	Candidates int      `yaml:"candidates" check:"1..100"`
	Ablate     []string `yaml:"ablate" oneof:"in-order seed-duty give-way locality rotation stealing"`
}

// Variant is a run of the scenario with some fields changed.
type Variant struct {
	Name string    `yaml:"name"`
	Set  []Setting `yaml:"set"`
}

// Axis is a field and the values that it takes, a run each.
type Axis struct {
	Path   string
	Values []value
}

// Setting is a field and its value.
type Setting struct {
	Path  string
	Value value
}

// Expectation bounds a figure. A run that breaks Min or Max has failed; Aim is
// told and not judged.
type Expectation struct {
	Figure string    `yaml:"figure"`
	Run    string    `yaml:"run"`
	Over   string    `yaml:"over"`
	Min    *Quantity `yaml:"min"`
	Max    *Quantity `yaml:"max"`
	Aim    *Quantity `yaml:"aim"`
}

// standard is the scenario that has what is not said.
func standard() Scenario {
	return Scenario{
		Seed: 1, Repeats: 1, End: Duration(hour), Against: "nothing",
		Objects: Objects{Count: 1, Size: Amount{Draw: Draw{Mid: 256 << 20}}},
		Hosts: Hosts{
			Links:     []Link{{Share: 1, Down: mbit(20), Up: mbit(20), RTT: Duration(20 * millisecond)}},
			Uploaders: 1, NAT: NAT{Open: 1}, Linking: "by-chance",
			ASes: Groups{Count: 1}, Countries: Groups{Count: 1},
		},
		Arrivals:  Arrivals{Pattern: "at-once", Diurnal: 1, Decay: 0.7},
		Downloads: Downloads{Class: "normal"},
		Edges:     []Edge{{RTT: Duration(20 * millisecond)}},
	}
}
