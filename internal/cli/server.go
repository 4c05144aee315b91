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
	case errors.Is(err, node.ErrConfig), errors.Is(err, agentapi.ErrRunning), errors.Is(err, config.ErrAddress):
		return usage(err)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	}
	return err
}
