// Command tandem is a peer-assisted CDN in one program: edge, control plane,
// downloader and agent. See `tandem --help`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tandem-cdn/tandem/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in order, a second one ends it at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, os.Args[1:], cli.Std()))
}
