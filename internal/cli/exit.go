package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tandem-cdn/tandem/internal/agent"
)

// Exit codes; others script against them.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitURL         = 3
	exitNotFound    = 4
	exitDenied      = 5
	exitServer      = 6
	exitNetwork     = 7
	exitTLS         = 8
	exitVerify      = 9
	exitDisk        = 10
	exitInterrupted = 130
)

// exitHelp is what `tandem get --help` says of them.
const exitHelp = `Exit codes: 0 done, 1 other, 2 usage or configuration, 3 not a URL, 4 not found, 5 denied, 6 server error, 7 network, 8 TLS, 9 verification failed or object changed, 10 disk or file exists, 130 interrupted.`

// errUsage marks what is wrong with the command line or the configuration.
var errUsage = errors.New("usage")

func usage(err error) error { return marked{err, errUsage} }

// marked is an error that also is another, without saying so.
type marked struct{ err, mark error }

func (m marked) Error() string   { return m.err.Error() }
func (m marked) Unwrap() []error { return []error{m.err, m.mark} }

// causes are the errors that have an exit code and a remedy of their own.
var causes = []struct {
	err    error
	code   int
	remedy string
}{
	{errUsage, exitUsage, ""},
	{agent.ErrInterrupted, exitInterrupted, ""},
	{agent.ErrURL, exitURL, "check its spelling"},
	{agent.ErrNotFound, exitNotFound, "check the URL"},
	{agent.ErrDenied, exitDenied, "it may need a header (-H), or its signature has expired"},
	{agent.ErrTLS, exitTLS, "name its CA with --ca, or check this machine's clock"},
	{agent.ErrManifest, exitVerify, "its publisher has to make the manifest anew (tandem publish), or fetch without it: --no-p2p"},
	{agent.ErrVerify, exitVerify, "nothing was kept; the server's operator has to look"},
	{agent.ErrChanged, exitVerify, "run the command again"},
	{agent.ErrExists, exitDisk, "-f overwrites it, -o names another"},
	{agent.ErrDisk, exitDisk, "make room or choose another place with -o"},
	{agent.ErrMonthly, exitOther, "raise --download-monthly, or wait for the next month (UTC); -C continues"},
	{agent.ErrNetwork, exitNetwork, "check host, port and network; -C continues"},
	{agent.ErrServer, exitServer, "try again later; -C continues"},
	{context.Canceled, exitInterrupted, ""},
}

// exitCode maps an error to what the process says with its last breath.
func exitCode(err error) int {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	//nolint:errorlint // help alone, not an error that was shown already
	if err == nil || err == errShown {
		return exitOK
	}
	return exitOther
}

// errorLine is the one line that tells of an error: the command, the object,
// what happened and what to do.
func errorLine(command string, err error) string {
	name := "tandem"
	if command != "" {
		name += " " + command
	}
	line := name + ": " + oneLine(err.Error())
	for _, c := range causes {
		if !errors.Is(err, c.err) {
			continue
		}
		if errors.Is(err, errUsage) {
			return line + fmt.Sprintf("; see %s --help", name)
		}
		if c.remedy != "" {
			return line + "; " + c.remedy
		}
		break
	}
	return line
}

// oneLine makes one line of a text, parts of which may be a server's.
func oneLine(s string) string { return printable(strings.Join(strings.Fields(s), " ")) }
