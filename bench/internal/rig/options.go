//go:build linux

package rig

import "flag"

// Options are what a benchmark of the program can be told, whatever it measures.
type Options struct {
	Runs   int
	Binary string // the program; empty: it is to be built
	Save   bool   // keep figures in bench/results
}

// Parse reads the command line: the flags of the options, and those that were declared
// before. what says of what there are so many runs unless told otherwise.
func (o *Options) Parse(runs int, what string) {
	flag.IntVar(&o.Runs, "runs", runs, what)
	flag.StringVar(&o.Binary, "binary", "", "tandem program to run (default: built from ./cmd/tandem)")
	flag.BoolVar(&o.Save, "save", true, "keep figures in bench/results")
	flag.Parse()
}
