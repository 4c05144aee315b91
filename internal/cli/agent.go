package cli

import (
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/node"
)

type agentCmd struct{ config.Agent }

// Help implements [kong.HelpProvider].
func (*agentCmd) Help() string {
	return `The agent fetches for "tandem get" and shares what it fetched until it ends, and again after a restart, as long as the files are there and unchanged. Its API is for this user's commands alone.`
}

// Run implements the command.
func (c *agentCmd) Run(p *process) error {
	return served(p.ctx, node.Agent(p.ctx, c.Agent, p.env()))
}
