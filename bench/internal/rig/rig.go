//go:build linux

// Package rig is what the benchmarks share: building the program, running
// servers and crowds of clients on hosts of the lab, checking the files they
// got, and writing results with the facts of the machine.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/tandem-cdn/tandem/test/lab"
)

// Main runs a benchmark until it ends or is interrupted, and exits.
func Main(run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Root is the directory of the module, found from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("module root: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("module root: no go.mod here or above; run this inside the repository")
		}
		dir = up
	}
}

// Build builds the program as users get it, into dir, and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "tandem")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin, "./cmd/tandem")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ./cmd/tandem: %w\n%s", err, out)
	}
	return bin, nil
}

// Tools makes a directory for what a benchmark needs besides its runs, and builds
// the program in it where binary names none yet; nil: no program is needed.
func Tools(ctx context.Context, binary *string) (dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp("", "tandem-tools-"); err != nil {
		return "", nil, fmt.Errorf("directory of the tools: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if binary != nil && *binary == "" {
		if *binary, err = Build(ctx, dir); err != nil {
			remove()
			return "", nil, err
		}
	}
	return dir, remove, nil
}

// InLab runs f with a fresh lab and a fresh directory, and removes both.
func InLab(ctx context.Context, f func(ctx context.Context, l *lab.Lab, dir string) error) (err error) {
	dir, err := os.MkdirTemp("", "tandem-bench-")
	if err != nil {
		return fmt.Errorf("directory of the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := lab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return f(ctx, l, dir)
}
