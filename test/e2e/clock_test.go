package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var errOtherTime = errors.New("package time is another than this test knows")

// buildAstray builds the program with a clock that is wrong by as much as TEST_CLOCK says:
// from the same source, with another package time.
var buildAstray = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	program, err := exec.LookPath("tandem")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(program), "astray")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	time := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(time, "time.go"))
	if err != nil {
		return "", err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if bytes.Count(source, []byte(now)) != 1 {
		return "", fmt.Errorf("%w: that of %s", errOtherTime, runtime.Version())
	}
	files := map[string]string{
		"time.go": strings.Replace(string(source), now, now+"\tsec += astray\n", 1),
		"astray.go": `package time

import "syscall"

var astray = func() (n int64) {
	v, _ := syscall.Getenv("TEST_CLOCK")
	d, _ := ParseDuration(v)
	return int64(d / Second)
}()
`,
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for name, content := range files {
		overlay.Replace[filepath.Join(time, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), b, 0o644); err != nil {
		return "", err
	}
	return filepath.Join(dir, "tandem"), build(filepath.Join(dir, "tandem"), "-overlay", filepath.Join(dir, "overlay.json"))
})

// astray starts the program with a clock that is wrong by so many seconds, such as "-30s";
// empty: that of the system.
func astray(t *testing.T, by string, args ...string) *process {
	t.Helper()
	if by == "" {
		return tandem(t, args...)
	}
	path, err := buildAstray()
	if errors.Is(err, errOtherTime) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"TEST_CLOCK=" + by}
	return start(t, cmd)
}
