package scenario

import "slices"

// Figure is a number that runs are judged by.
type Figure struct {
	Name string // stable: of expectations, JSON and reports
	Unit string // "s", "B", "%", "×", "" for counts
	Says string
	// Paired figures compare with a run of the same world from the edge alone.
	Paired bool
	Of     Kind
}

// Kind is what a figure is of.
type Kind uint8

// Kinds of figures.
const (
	OfBoth Kind = iota
	OfDownloads
	OfStreams
)

// Figures are all there are, in the order in which reports show them.
func Figures() []Figure {
	return []Figure{
		{Name: "makespan", Unit: "s", Says: "until the last download is done, from the first arrival", Of: OfDownloads},
		{Name: "makespan-bound", Unit: "s", Says: "the least that links and uplinks allow (Kumar–Ross)", Of: OfDownloads},
		{Name: "makespan-ratio", Unit: "×", Says: "makespan ÷ its bound", Of: OfDownloads},
		{Name: "offload", Unit: "%", Says: "delivered bytes that came from peers"},
		{Name: "offload-bound", Unit: "%", Says: "the most that uplinks, first copies and company allow if nobody takes longer than from the edge alone, or than its deadline; of a stream min(1 − first copies, ρ)"},
		{Name: "offload-ratio", Unit: "×", Says: "offload ÷ its bound"},
		{Name: "rho", Unit: "×", Says: "uplinks of those who give ÷ downlinks of all; of a stream those of who is there with others ÷ what is delivered"},
		{Name: "copies", Unit: "×", Says: "bytes edges sent ÷ size of what was wanted", Of: OfDownloads},
		{Name: "edge-bytes", Unit: "B", Says: "bytes edges sent"},
		{Name: "peer-bytes", Unit: "B", Says: "bytes that came from peers"},
		{Name: "time-p50", Unit: "s", Says: "time of a download, median", Of: OfDownloads},
		{Name: "time-p95", Unit: "s", Says: "time of a download, 95th percentile", Of: OfDownloads},
		{Name: "time-p99", Unit: "s", Says: "time of a download, 99th percentile", Of: OfDownloads},
		{Name: "rate-mean", Unit: "B/s", Says: "size ÷ time, mean over downloads", Of: OfDownloads},
		{Name: "ratio-p50", Unit: "×", Says: "time ÷ time of the same download from the edge alone, median", Paired: true, Of: OfDownloads},
		{Name: "ratio-p95", Unit: "×", Says: "the same, 95th percentile", Paired: true, Of: OfDownloads},
		{Name: "ratio-p99", Unit: "×", Says: "the same, 99th percentile", Paired: true, Of: OfDownloads},
		{Name: "same-as", Unit: "%", Says: "bytes from peers in the downloader's own AS"},
		{Name: "uplink-use", Unit: "%", Says: "bytes from peers ÷ what the uplinks there could have sent"},
		{Name: "waste", Unit: "%", Says: "duplicate and cancelled bytes ÷ delivered bytes"},
		{Name: "corrupt", Unit: "%", Says: "bytes of pieces that did not verify ÷ delivered bytes"},
		{Name: "downloads", Unit: "", Says: "downloads begun", Of: OfDownloads},
		{Name: "failed", Unit: "", Says: "downloads begun, not given up by their users, and not done at the end; viewers who had 10 s and saw nothing"},
		{Name: "late", Unit: "%", Says: "downloads done after their deadline or never", Of: OfDownloads},
		{Name: "violations", Unit: "", Says: "downloads later than the scheduler's own guard allows", Of: OfDownloads},
		{Name: "viewers", Says: "who came to play the stream", Of: OfStreams},
		{Name: "segment-copies", Unit: "×", Says: "bytes edges sent of a segment ÷ its size, mean; not what players began with", Of: OfStreams},
		{Name: "start-p50", Unit: "s", Says: "from the click to the first picture, median", Of: OfStreams},
		{Name: "start-p95", Unit: "s", Says: "the same, 95th percentile", Of: OfStreams},
		{Name: "start-ratio", Unit: "×", Says: "start-up ÷ start-up from the edge alone, of the means", Paired: true, Of: OfStreams},
		{Name: "stalled", Unit: "%", Says: "viewers whose picture stood still at least once", Of: OfStreams},
		{Name: "stall-time", Unit: "s", Says: "how long it did, mean over all viewers", Of: OfStreams},
		{Name: "alone-stalled", Unit: "%", Says: "viewers whose picture stood still, from the edge alone", Paired: true, Of: OfStreams},
		{Name: "behind-p50", Unit: "s", Says: "how far viewers of a live stream are behind what happens, median", Of: OfStreams},
		{Name: "behind-p95", Unit: "s", Says: "the same, 95th percentile", Of: OfStreams},
		{Name: "hops-mean", Unit: "", Says: "hops that a byte took from the edge to who played it, mean: 1 is from the edge", Of: OfStreams},
		{Name: "latency-p50", Unit: "s", Says: "from the publication of a segment until a piece of it is at a viewer, median", Of: OfStreams},
		{Name: "latency-p95", Unit: "s", Says: "the same, 95th percentile", Of: OfStreams},
		{Name: "polluted", Unit: "B", Says: "unverified bytes stored, delivered or passed on"},
	}
}

// FigureNamed finds a figure.
func FigureNamed(name string) (Figure, bool) {
	all := Figures()
	i := slices.IndexFunc(all, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		return Figure{}, false
	}
	return all[i], true
}

func figureNames() []string {
	var list []string
	for _, f := range Figures() {
		list = append(list, f.Name)
	}
	return list
}
