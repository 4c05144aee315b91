package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/node"
)

// env is what a node is given of the process. Scripts wait for the line on
// standard output.
func (p *process) env() node.Env {
	return node.Env{
		Logger: p.log, Version: "tandem/" + version(),
		Ready: func(url string) { fmt.Fprintf(p.Stdout, "ready %s\n", url) },
	}
}

// served is the error of a server: the end of its context is the usual end.
func served(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, node.ErrConfig), errors.Is(err, agentapi.ErrRunning), errors.Is(err, agentapi.ErrAddress):
		return usage(err)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

type serveCmd struct {
	Dir string `arg:"" help:"The directory." placeholder:"DIR"`
	config.Serve
}

// Run implements the command.
func (c *serveCmd) Run(p *process) error {
	return served(p.ctx, node.Serve(p.ctx, c.Dir, c.Serve, p.env()))
}

type edgeCmd struct{ config.Edge }

// Run implements the command.
func (c *edgeCmd) Run(p *process) error {
	return served(p.ctx, node.Edge(p.ctx, c.Edge, p.env()))
}

type controlCmd struct{ config.Control }

// Run implements the command.
func (c *controlCmd) Run(p *process) error {
	return served(p.ctx, node.Control(p.ctx, c.Control, p.env()))
}

type agentCmd struct{ config.Agent }

// Help implements [kong.HelpProvider].
func (*agentCmd) Help() string {
	return `The agent fetches for "tandem get" and shares what it fetched until it ends, and again after a restart, as long as the files are there and unchanged. Its API is for this user's commands alone.`
}

// Run implements the command.
func (c *agentCmd) Run(p *process) error {
	return served(p.ctx, node.Agent(p.ctx, c.Agent, p.env()))
}
