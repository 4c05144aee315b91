package cli

import (
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/node"
)

type serveCmd struct {
	Dir string `arg:"" help:"The directory." placeholder:"DIR"`
	config.Serve
}

// Run implements the command.
func (c *serveCmd) Run(p *process) error {
	return served(p.ctx, node.Serve(p.ctx, c.Dir, c.Serve, p.env()))
}
