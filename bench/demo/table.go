package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/tandem-cdn/tandem/internal/config"
)

// table prints what came of it, and fails when a file is not the same.
func table(w io.Writer, c *crowd, obj object, o options) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "client\tseconds\tfrom edge\tfrom peers\tpeers\tSHA-256\t")
	var sum result
	var slowest float64
	equal := true
	for i, cl := range c.clients {
		_, r := cl.state()
		same := "equal"
		if r.SHA256 != obj.sha256 || r.Bytes != obj.size {
			same, equal = "DIFFERS", false
		}
		fmt.Fprintf(t, "%d\t%.1f\t%s\t%s\t%d\t%s\t\n", i+1, r.Seconds, sizeOf(r.FromEdge), sizeOf(r.FromPeers), r.Peers, same)
		sum.FromEdge += r.FromEdge
		sum.FromPeers += r.FromPeers
		slowest = max(slowest, r.Seconds)
	}
	fmt.Fprintf(t, "all\t%.1f\t%s\t%s\t\t\t\n", slowest, sizeOf(sum.FromEdge), sizeOf(sum.FromPeers))
	if err := t.Flush(); err != nil {
		return err
	}
	delivered := max(sum.FromEdge+sum.FromPeers, 1)
	fmt.Fprintf(w, "\nThe edge sent %.2f copies for %d clients; %d%% came from each other. Without sharing it sends %d.\n",
		float64(sum.FromEdge)/float64(max(obj.size, 1)), len(c.clients), sum.FromPeers*100/delivered, len(c.clients))
	var rate config.Rate
	if err := rate.UnmarshalText([]byte(o.rate)); err == nil && rate > 0 {
		fmt.Fprintf(w, "The slowest took %.1f s; at %s even a client alone takes %.1f s.\n", slowest, o.rate, float64(obj.size)/float64(rate))
	}
	if !equal {
		return errors.New("not all files are equal to the original")
	}
	fmt.Fprintf(w, "All %d files have the SHA-256 of the original: %s\n", len(c.clients), obj.sha256)
	return nil
}
