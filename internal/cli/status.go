package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/ledger"
	"github.com/tandem-cdn/tandem/internal/portmap"
)

type statusCmd struct{ config.Status }

// Run implements the command.
func (c *statusCmd) Run(p *process) error {
	client, err := dialAgent(p, c.Data)
	if err != nil {
		return err
	}
	defer client.Close()
	st, err := client.Status(p.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(p.Stdout, st)
	}
	printStatus(p.Stdout, st, time.Now())
	return nil
}

// dialAgent finds the agent of a data directory, "" for the usual one.
func dialAgent(p *process, data string) (*agentapi.Client, error) {
	if data == "" {
		data = config.DataDir("status")
	}
	client, err := agentapi.Dial(p.ctx, data)
	if errors.Is(err, agentapi.ErrNoAgent) {
		return nil, fmt.Errorf("%w; start it with: tandem agent", err)
	}
	return client, err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printStatus(w io.Writer, st agentapi.Status, now time.Time) {
	fmt.Fprintf(w, "%s, process %d, for %s\n", st.Version, st.PID, formatETA(int64(now.Sub(st.Since).Seconds())))
	sharing := "sharing is off"
	switch {
	case st.Upload && st.Paused != "":
		sharing = "not sharing: " + printable(st.Paused)
	case st.Upload:
		sharing = "sharing, " + limit(st.UploadLimit)
	}
	fmt.Fprintf(w, "%s; receiving %s; sent %s since the start\n", sharing, limit(st.DownloadLimit), formatSize(st.Uploaded))
	fmt.Fprintf(w, "this month: sent %s%s, received %s%s; complete files had %s from peers and %s from edges\n",
		formatSize(st.Month.Uploaded), ofMost(st.UploadMonthly), formatSize(st.Month.Received), ofMost(st.DownloadMonthly),
		formatSize(st.Month.FromPeers), formatSize(st.Month.FromEdge))
	printPublishers(w, st.Shared.Publishers)
	printPorts(w, st.PortMapping, now)
	if g := st.Gateway; g != nil {
		fmt.Fprintf(w, "gateway %s: %s, %d active, %d refused; %s from peers, %s from edges, %s from its cache, which has %s of %s\n",
			g.URL, plural(int(g.Requests), "request"), g.Active, g.Refused,
			formatSize(g.FromPeers), formatSize(g.FromEdge), formatSize(g.FromCache), formatSize(g.Kept), formatSize(g.Quota))
	}
	for _, t := range st.Downloads {
		percent := "  ?%"
		if t.Size > 0 {
			percent = fmt.Sprintf("%3d%%", t.Done*100/t.Size)
		}
		fmt.Fprintf(w, "  %s  %9s/s  %s  %s\n", percent, formatSize(t.Rate), plural(t.Peers, "peer"), printable(t.File))
	}
	for _, t := range st.Seeds {
		fmt.Fprintf(w, "  shared  %s  sent %s  %s\n", printable(filepath.Base(t.File)), formatSize(t.Uploaded), printable(t.URL))
	}
	if len(st.Downloads)+len(st.Seeds) == 0 {
		fmt.Fprintln(w, "nothing to share yet")
	}
}

// ofMost is the end of "3 GB of 20 GB", where there is a limit.
func ofMost(most int64) string {
	if most == 0 {
		return ""
	}
	return " of " + formatSize(most)
}

// topPublishers is how many are shown.
const topPublishers = 5

func printPublishers(w io.Writer, all map[string]ledger.Share) {
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(all[b].Uploaded, all[a].Uploaded), cmp.Compare(a, b))
	})
	for _, name := range names[:min(len(names), topPublishers)] {
		fmt.Fprintf(w, "  sent for %s  %s, last on %s\n", printable(name), formatSize(all[name].Uploaded), printable(all[name].Last))
	}
}

// printPorts says which ports the router lets in, for how long, or why none.
func printPorts(w io.Writer, st portmap.Status, now time.Time) {
	for _, m := range st.Mappings {
		fmt.Fprintf(w, "port mapping: %s by %s at %s, for %s unless renewed\n",
			m.Net, st.Protocol, m.External, formatETA(int64(m.Until.Sub(now).Seconds())))
	}
	if st.Why != "" {
		none := "none"
		if len(st.Mappings) > 0 {
			none = "not for every port"
		}
		fmt.Fprintf(w, "port mapping: %s: %s\n", none, printable(st.Why))
	}
}

func limit(rate int64) string {
	if rate == 0 {
		return "no limit"
	}
	return fmt.Sprintf("at most %s/s", formatSize(rate))
}
