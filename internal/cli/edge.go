package cli

import (
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/node"
)

type edgeCmd struct{ config.Edge }

// Run implements the command.
func (c *edgeCmd) Run(p *process) error {
	return served(p.ctx, node.Edge(p.ctx, c.Edge, p.env()))
}
