package cli

import (
	"errors"

	"github.com/tandem-cdn/tandem/internal/config"
)

type publishCmd struct {
	Dir string `arg:"" help:"The directory." placeholder:"DIR"`
	config.Publish
}

// Run implements the command.
func (c *publishCmd) Run(*process) error { return errors.New("not there yet") }
