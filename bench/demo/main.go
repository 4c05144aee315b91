// Command demo shows what Tandem is for: a crowd of ordinary client processes
// fetches one real file at the same time, each with the line of a home, and the
// edge sends about as much as one or two of them need.
//
// It starts `tandem serve` on a directory, then the clients, draws their progress
// together and ends with a table. It fails when a client fails or a byte differs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	tandem  string // the program
	dir     string // of all that the demo makes
	file    string // to serve besides, and to fetch
	clients int
	rate    string // of each client, up and down
}

func main() {
	var o options
	flag.StringVar(&o.tandem, "tandem", "bin/tandem", "the program")
	flag.StringVar(&o.dir, "dir", "bin/demo", "where to work")
	flag.StringVar(&o.file, "file", "", "a file of yours to use instead of the Go sources")
	flag.IntVar(&o.clients, "clients", 12, "how many")
	flag.StringVar(&o.rate, "rate", "50mbit", "the line of each client, up and down")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

// tooLong bounds the whole; something is wrong then.
const tooLong = 5 * time.Minute

func run(ctx context.Context, o options) (err error) {
	ctx, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	bin, err := filepath.Abs(o.tandem)
	if err != nil {
		return err
	}
	obj, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s, SHA-256 %s…\n", obj.name, sizeOf(obj.size), obj.sha256[:16])
	srv, err := serve(ctx, bin, obj.www, filepath.Join(o.dir, "server"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.stop()) }()
	fmt.Printf("tandem serve %s → %s\n", obj.www, srv.url)
	fmt.Printf("%d × tandem get %s/%s --limit-rate %s --upload-limit %[4]s\n\n", o.clients, srv.url, obj.name, o.rate)
	crowd := filepath.Join(o.dir, "clients")
	if err := os.RemoveAll(crowd); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(crowd)) }()
	c, err := startCrowd(ctx, bin, srv.url+"/"+obj.name, crowd, o)
	if err != nil {
		return err
	}
	watch(ctx, c, obj.size)
	if err := c.stop(); err != nil {
		return err
	}
	return table(os.Stdout, c, obj, o)
}
