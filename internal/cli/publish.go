package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/publish"
	"github.com/tandem-cdn/tandem/internal/wire"
)

type publishCmd struct {
	Dir string `arg:"" help:"The directory that a web server serves." placeholder:"DIR"`
	config.Publish
}

// Help implements [kong.HelpProvider].
func (*publishCmd) Help() string {
	return `Writes the signed manifests of the files below DIR/.tandem and the document DIR/.well-known/tandem, so that any HTTP server or CDN that serves the directory is an edge. Run it again when the directory has changed: it does only what changed.`
}

// published is the object of --json.
type published struct {
	Files    int      `json:"files"`
	Made     int      `json:"made"`
	Removed  int      `json:"removed"`
	Hashed   int64    `json:"hashed"` // bytes
	Key      wire.Key `json:"key"`
	Problems []string `json:"problems,omitempty"`
}

// Run implements the command.
func (c *publishCmd) Run(p *process) error {
	if c.Key == "" || len(c.Control) == 0 {
		return usage(errors.New("--key and --control are needed"))
	}
	if err := wire.CheckMirrors(c.Mirrors); err != nil {
		return usage(err)
	}
	client, err := httpClient(c.CA)
	if err != nil {
		return usage(err)
	}
	defer client.CloseIdleConnections()
	sum, err := publish.Run(p.ctx, publish.Config{
		Dir: c.Dir, Key: c.Key, Control: c.Control, Mirrors: c.Mirrors, Gateway: c.AllowGateways, BasePath: c.BasePath, HTTP: client, Logger: p.log,
	})
	if err != nil && !errors.Is(err, publish.ErrProblems) {
		return err
	}
	for _, problem := range sum.Problems {
		fmt.Fprintf(p.Stderr, "tandem publish: %s: %v\n", printable(problem.Name), problem.Err)
	}
	if sum.KeyCreated {
		fmt.Fprintf(p.Stderr, "tandem publish: made the key %s; keep a copy, clients trust it\n", c.Key)
	}
	if c.JSON {
		err = errors.Join(err, json.NewEncoder(p.Stdout).Encode(published{
			Files: sum.Files, Made: sum.Made, Removed: sum.Removed, Hashed: sum.Hashed,
			Key: wire.KeyOf(sum.PublicKey), Problems: problems(sum),
		}))
	} else {
		fmt.Fprintf(p.Stdout, "%s published, %d manifests made, %d removed\n", plural(sum.Files, "file"), sum.Made, sum.Removed)
	}
	if err != nil {
		return marked{err, errShown}
	}
	return nil
}

func problems(sum publish.Summary) []string {
	var list []string
	for _, problem := range sum.Problems {
		list = append(list, fmt.Sprintf("%s: %v", problem.Name, problem.Err))
	}
	return list
}
