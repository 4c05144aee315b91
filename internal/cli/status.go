package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
)

type statusCmd struct{ config.Status }

// Run implements the command.
func (c *statusCmd) Run(p *process) error {
	if c.Data == "" {
		c.Data = config.DataDir("status")
	}
	client, err := agentapi.Dial(p.ctx, c.Data)
	if errors.Is(err, agentapi.ErrNoAgent) {
		return fmt.Errorf("%w; start it with: tandem agent", err)
	}
	if err != nil {
		return err
	}
	defer client.Close()
	st, err := client.Status(p.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(p.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(st)
	}
	printStatus(p.Stdout, st, time.Now())
	return nil
}

func printStatus(w io.Writer, st agentapi.Status, now time.Time) {
	fmt.Fprintf(w, "%s, process %d, for %s\n", st.Version, st.PID, formatETA(int64(now.Sub(st.Since).Seconds())))
	sharing := "sharing is off"
	switch {
	case st.Upload && st.Paused != "":
		sharing = "sharing is paused: " + printable(st.Paused)
	case st.Upload:
		sharing = "sharing, " + limit(st.UploadLimit)
	}
	fmt.Fprintf(w, "%s; receiving %s; sent %s since the start\n", sharing, limit(st.DownloadLimit), formatSize(st.Uploaded))
	most := ""
	if st.UploadMonthly > 0 {
		most = " of " + formatSize(st.UploadMonthly)
	}
	fmt.Fprintf(w, "this month: sent %s%s, received %s from peers and %s from edges\n",
		formatSize(st.Month.Uploaded), most, formatSize(st.Month.FromPeers), formatSize(st.Month.FromEdge))
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

func limit(rate int64) string {
	if rate == 0 {
		return "no limit"
	}
	return fmt.Sprintf("at most %s/s", formatSize(rate))
}
