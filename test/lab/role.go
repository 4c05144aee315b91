//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// roleVar names the role that a test binary is to run instead of its tests.
const roleVar = "TANDEM_TEST_ROLE"

// Main is the TestMain of a package whose test binary is its own helper on hosts of the
// lab: where [Host.As] has started it, it runs that role, else the tests.
func Main(m *testing.M, roles map[string]func(args []string) error) {
	name := os.Getenv(roleVar)
	if name == "" {
		os.Exit(m.Run())
	}
	role, ok := roles[name]
	if !ok {
		role = func([]string) error { return fmt.Errorf("test binary: unknown role %q", name) }
	}
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// As is a command on h: this test binary in a role of [Main]. What it says of errors is
// seen with the tests.
func (h *Host) As(ctx context.Context, role string, args ...string) *exec.Cmd {
	cmd := h.Command(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}
