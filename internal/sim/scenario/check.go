package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	maxPieces   = manifest.MaxPieces
	maxSessions = 20_000_000 // times that hosts are online, over all of them
	maxWants    = 5_000_000  // downloads

	maxSize = manifest.MaxSize

	certain = "certain" // links: see Hosts
)

// check finds what no field says by itself.
func (d *decoder) check(s *Scenario) error {
	for _, f := range []func(*Scenario) error{
		d.checkObjects, d.checkHosts, d.checkShares, d.checkArrivals, d.checkStream, d.checkTimes, d.checkNames,
	} {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) checkObjects(s *Scenario) error {
	o := &s.Objects
	if o.Size.Mid < 1 || max(o.Size.Mid, o.Size.Max) > float64(maxSize) {
		return d.fail("objects.size", nil, "not from 1 byte to %d", maxSize)
	}
	if o.Size.Kind != "" && o.Size.Max == 0 {
		return d.fail("objects.size", nil, "a distribution of sizes needs a max")
	}
	if o.Piece != 0 && o.Piece&(o.Piece-1) != 0 {
		return d.fail("objects.piece", nil, "%s is no power of two", o.Piece)
	}
	if o.Piece != 0 && max(o.Size.Mid, o.Size.Max)/float64(o.Piece) > maxPieces {
		return d.fail("objects.piece", nil, "%s makes more than %d pieces", o.Piece, maxPieces)
	}
	return nil
}

func (d *decoder) checkHosts(s *Scenario) error {
	h := &s.Hosts
	if h.Count == 0 && s.Arrivals.Count == 0 {
		return d.fail("hosts.count", nil, "say how many hosts there are")
	}
	hosts := s.hostCount()
	for path, n := range map[string]int{"hosts.ases.count": h.ASes.Count, "hosts.countries.count": h.Countries.Count} {
		if n > hosts {
			return d.fail(path, nil, "%d groups of %d hosts", n, hosts)
		}
	}
	if h.Countries.Count > maxCountries {
		return d.fail("hosts.countries.count", nil, "at most %d", maxCountries)
	}
	if h.Countries.Count > h.ASes.Count {
		return d.fail("hosts.countries.count", nil, "more countries than ASes (%d)", h.ASes.Count)
	}
	if (h.Online.Mid > 0) != (h.Offline.Mid > 0) {
		return d.fail("hosts.online", nil, "online and offline belong together")
	}
	if h.Online.Mid > 0 && float64(s.End)/(h.Online.Mid+h.Offline.Mid)*float64(hosts) > maxSessions {
		return d.fail("hosts.online", nil, "more than %d sessions in all", maxSessions)
	}
	return nil
}

// checkShares sees that parts make a whole.
func (d *decoder) checkShares(s *Scenario) error {
	h := &s.Hosts
	var links float64
	for i, l := range h.Links {
		links += float64(l.Share)
		if l.Down == 0 {
			return d.fail("hosts.links."+strconv.Itoa(i), nil, "no down rate")
		}
	}
	if len(h.Links) == 1 && h.Links[0].Share == 0 {
		h.Links[0].Share, links = 1, 1
	}
	if math.Abs(links-1) > 0.001 {
		return d.fail("hosts.links", nil, "the shares make %s, not 100%%", Share(links))
	}
	nat := h.NAT.Open + h.NAT.Cone + h.NAT.Symmetric + h.NAT.Blocked + h.NAT.Unknown
	// What the others leave is open.
	if rest := nat - h.NAT.Open; d.at["hosts.nat"] != nil && d.at["hosts.nat.open"] == nil {
		h.NAT.Open = max(0, 1-rest)
		nat = rest + h.NAT.Open
	}
	if math.Abs(float64(nat)-1) > 0.001 {
		return d.fail("hosts.nat", nil, "the shares make %s, not 100%%", nat)
	}
	if h.Linking == certain && h.NAT.Unknown > 0 {
		return d.fail("hosts.linking", nil, "links of hosts whose NAT is unknown are not certain")
	}
	if bad := h.Conduct.Poisoners + h.Conduct.Liars + h.Conduct.Stallers; bad > 1 {
		return d.fail("hosts.conduct", nil, "the shares make %s", bad)
	}
	return nil
}

func (d *decoder) checkArrivals(s *Scenario) error {
	a := &s.Arrivals
	if a.Pattern != "at-once" && a.Over == 0 {
		return d.fail("arrivals.pattern", nil, "%s arrivals need a time: over", a.Pattern)
	}
	if a.Over > s.End {
		return d.fail("arrivals.over", nil, "%s is after the end, %s", a.Over, s.End)
	}
	if s.wantCount() > maxWants {
		return d.fail("arrivals.count", nil, "more than %d downloads", maxWants)
	}
	if s.Seeders.Copies > s.hostCount() {
		return d.fail("seeders.copies", nil, "%d copies on %d hosts", s.Seeders.Copies, s.hostCount())
	}
	if s.Seeders.Copies*s.Objects.Count > maxWants {
		return d.fail("seeders.copies", nil, "more than %d copies in all", maxWants)
	}
	if s.Seeders.Retention > 0 && a.Over == 0 {
		return d.fail("seeders.retention", nil, "needs arrivals over a time: what was kept is what came before at that rate")
	}
	if s.Seeders.Retention > 0 && float64(s.wantCount())*float64(s.Seeders.Retention)/float64(a.Over) > maxWants {
		return d.fail("seeders.retention", nil, "more than %d copies in all", maxWants)
	}
	if s.Downloads.FinishBy > 0 && s.Downloads.Class != "background" {
		return d.fail("downloads.finish-by", nil, "only background downloads have one")
	}
	return nil
}

func (d *decoder) checkTimes(s *Scenario) error {
	interval := func(path string, from, to Duration) error {
		if to <= from {
			return d.fail(path, nil, "ends at %s, before it begins at %s", to, from)
		}
		return nil
	}
	if len(s.Edges) == 0 {
		return d.fail("edges", nil, "at least one edge is needed")
	}
	for i, e := range s.Edges {
		for j, f := range e.Faults {
			if err := interval(fmt.Sprintf("edges.%d.faults.%d", i, j), f.From, f.To); err != nil {
				return err
			}
		}
	}
	for i, o := range s.Control.Outages {
		if err := interval(fmt.Sprintf("control.outages.%d", i), o.From, o.To); err != nil {
			return err
		}
	}
	if !slices.IsSorted(s.Control.Wipes) {
		return d.fail("control.wipes", nil, "not in order of time")
	}
	return nil
}

func (d *decoder) checkNames(s *Scenario) error {
	seen := map[string]bool{}
	for i, v := range s.Runs {
		if v.Name == "" || seen[v.Name] {
			return d.fail("runs."+strconv.Itoa(i), nil, "a run needs a name of its own")
		}
		seen[v.Name] = true
	}
	for i, f := range s.Facts {
		if f.Figure == "" || f.Value == "" || f.Known == "" {
			return d.fail("facts."+strconv.Itoa(i), nil, "a fact has a figure, a value and how it is known")
		}
	}
	return nil
}

// checkExpectations sees that figures and runs exist.
func (f *File) checkExpectations(d *decoder) error {
	for i, e := range f.Scenario.Expect {
		path := "expect." + strconv.Itoa(i)
		figure, ok := FigureNamed(e.Figure)
		switch {
		case !ok:
			return d.fail(join(path, "figure"), nil, "%.40q is no figure%s", e.Figure, hint(e.Figure, figureNames()))
		case figure.Of == OfStreams && !f.Scenario.streams():
			return d.fail(join(path, "figure"), nil, "%s is of streams", e.Figure)
		case figure.Of == OfDownloads && f.Scenario.streams():
			return d.fail(join(path, "figure"), nil, "%s is of downloads, not of streams", e.Figure)
		case (e.Min == nil) == (e.Max == nil):
			return d.fail(path, nil, "want a min or a max")
		case figure.Paired && f.Scenario.Against != "edge-only":
			return d.fail(join(path, "figure"), nil, "%s needs \"against: edge-only\"", e.Figure)
		}
		for _, field := range [][2]string{{"run", e.Run}, {"over", e.Over}} {
			if field[1] != "" && !slices.ContainsFunc(f.Runs, func(r Run) bool { return r.Is(field[1]) }) {
				return d.fail(join(path, field[0]), nil, "no run is named %.60q; there are %s", field[1], strings.Join(f.runNames(), ", "))
			}
		}
	}
	return nil
}

// Is reports whether a run is named, or is one of a variant that is.
func (r Run) Is(name string) bool {
	return r.Name == name || strings.HasPrefix(r.Name, name+" ") || strings.HasSuffix(r.Name, " "+name)
}

func (f *File) runNames() []string {
	var list []string
	for _, r := range f.Runs {
		list = append(list, strconv.Quote(r.Name))
	}
	return list
}

func (s *Scenario) hostCount() int {
	if s.Hosts.Count > 0 {
		return s.Hosts.Count
	}
	return min(s.Arrivals.Count, 2_000_000)
}

func (s *Scenario) wantCount() int {
	if s.Arrivals.Count > 0 {
		return s.Arrivals.Count
	}
	return s.Hosts.Count
}
