package scenario

import "slices"

// Figure is a number that runs are judged by.
type Figure struct {
	Name string // stable: of expectations, JSON and reports
	Unit string // "s", "B", "%", "×", "" for counts
	Says string
	// Paired figures compare with a run of the same world from the edge alone.
	Paired bool
}

// Figures are all there are, in the order in which reports show them.
func Figures() []Figure {
	return []Figure{
		{Name: "makespan", Unit: "s", Says: "until the last download is done, from the first arrival"},
		{Name: "makespan-bound", Unit: "s", Says: "the least that links and uplinks allow (Kumar–Ross)"},
		{Name: "makespan-ratio", Unit: "×", Says: "makespan ÷ its bound"},
		{Name: "offload", Unit: "%", Says: "delivered bytes that came from peers"},
		{Name: "offload-bound", Unit: "%", Says: "the most that uplinks, first copies and company allow if nobody takes longer than from the edge alone, or than its deadline"},
		{Name: "offload-ratio", Unit: "×", Says: "offload ÷ its bound"},
		{Name: "rho", Unit: "×", Says: "uplinks of those who give ÷ downlinks of all"},
		{Name: "copies", Unit: "×", Says: "bytes edges sent ÷ size of what was wanted"},
		{Name: "edge-bytes", Unit: "B", Says: "bytes edges sent"},
		{Name: "peer-bytes", Unit: "B", Says: "bytes that came from peers"},
		{Name: "time-p50", Unit: "s", Says: "time of a download, median"},
		{Name: "time-p95", Unit: "s", Says: "time of a download, 95th percentile"},
		{Name: "time-p99", Unit: "s", Says: "time of a download, 99th percentile"},
		{Name: "rate-mean", Unit: "B/s", Says: "size ÷ time, mean over downloads"},
		{Name: "ratio-p50", Unit: "×", Says: "time ÷ time of the same download from the edge alone, median", Paired: true},
		{Name: "ratio-p95", Unit: "×", Says: "the same, 95th percentile", Paired: true},
		{Name: "ratio-p99", Unit: "×", Says: "the same, 99th percentile", Paired: true},
		{Name: "same-as", Unit: "%", Says: "bytes from peers in the downloader's own AS"},
		{Name: "uplink-use", Unit: "%", Says: "bytes from peers ÷ what the uplinks there could have sent"},
		{Name: "waste", Unit: "%", Says: "duplicate and cancelled bytes ÷ delivered bytes"},
		{Name: "corrupt", Unit: "%", Says: "bytes of pieces that did not verify ÷ delivered bytes"},
		{Name: "downloads", Unit: "", Says: "downloads begun"},
		{Name: "failed", Unit: "", Says: "downloads begun, not given up by their users, and not done at the end"},
		{Name: "late", Unit: "%", Says: "downloads done after their deadline or never"},
		{Name: "violations", Unit: "", Says: "downloads later than the scheduler's own guard allows"},
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
