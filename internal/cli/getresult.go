package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// resultJSON is the object of --json: others script against it.
type resultJSON struct {
	URL       string  `json:"url"`
	File      string  `json:"file"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	FromEdge  int64   `json:"from_edge"`
	FromPeers int64   `json:"from_peers"`
	FromOld   int64   `json:"from_old"`
	Wasted    int64   `json:"wasted"`
	Peers     int     `json:"peers"`
	Object    string  `json:"object"` // "" for a URL without a manifest
	SHA256    string  `json:"sha256"`
	// Edges are the servers that bytes came from, when there were several.
	Edges []edgeJSON `json:"edges,omitempty"`
}

type edgeJSON struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

func printResult(w io.Writer, r agent.Result) error {
	object := ""
	if r.Object != (manifest.ObjectID{}) {
		object = r.Object.String()
	}
	var edges []edgeJSON
	if len(r.Edges) > 1 {
		for _, e := range r.Edges {
			edges = append(edges, edgeJSON{e.Name, e.Bytes})
		}
	}
	err := json.NewEncoder(w).Encode(resultJSON{
		URL: r.URL, File: r.File, Bytes: r.Size, Seconds: r.Elapsed.Seconds(),
		FromEdge: r.FromEdge, FromPeers: r.FromPeers, FromOld: r.FromOld, Wasted: r.Wasted, Peers: r.Peers,
		Object: object, SHA256: fmt.Sprintf("%x", r.SHA256[:]), Edges: edges,
	})
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

func copyOut(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// linger shares what was downloaded for some more time.
func linger(ctx context.Context, p *process, o getOptions, seeds []download) {
	end := time.Now().Add(o.Linger)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	var line *progressLine
	if !o.Quiet {
		line = newProgressLine(p.Stderr, "")
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if line != nil {
			var sent int64
			for _, s := range seeds {
				sent += s.Progress().Uploaded
			}
			line.put(cut(fmt.Sprintf("sharing for %s more, sent %s to peers; Ctrl-C ends it", formatETA(int64(time.Until(end).Seconds())), formatSize(sent)), line.width()-1))
		}
		select {
		case <-ctx.Done():
			line.clear()
			return
		case <-tick.C:
		}
	}
}
