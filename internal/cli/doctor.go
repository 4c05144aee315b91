package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/node"
)

type doctorCmd struct {
	URL string `arg:"" optional:"" help:"A URL of the edge to look at." placeholder:"URL"`
	config.Doctor
}

// errUnwell ends a doctor that has found something.
var errUnwell = marked{errors.New("not all is well"), errShown}

// Run implements the command.
func (c *doctorCmd) Run(p *process) error {
	client, err := httpClient(c.CA)
	if err != nil {
		return usage(err)
	}
	defer client.CloseIdleConnections()
	d := node.Diagnose(p.ctx, c.URL, client, p.env())
	if c.JSON {
		enc := json.NewEncoder(p.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(d); err != nil {
			return fmt.Errorf("standard output: %w", err)
		}
	} else {
		printDiagnosis(p, d)
	}
	if !d.OK() {
		return errUnwell
	}
	return nil
}

func printDiagnosis(p *process, d *node.Diagnosis) {
	for _, c := range d.Checks {
		mark := "ok"
		if !c.OK {
			mark = "!!"
		}
		fmt.Fprintf(p.Stdout, "%s  %-10s  %s\n", mark, c.Name, printable(c.Text))
		if c.Advice != "" {
			fmt.Fprintf(p.Stdout, "    %-10s  → %s\n", "", printable(c.Advice))
		}
	}
}
