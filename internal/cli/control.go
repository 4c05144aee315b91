package cli

import (
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/node"
)

type controlCmd struct{ config.Control }

// Run implements the command.
func (c *controlCmd) Run(p *process) error {
	return served(p.ctx, node.Control(p.ctx, c.Control, p.env()))
}
