package config

import (
	"os"
	"path/filepath"
	"runtime"
)

// DataDir is where a command keeps its state when --data is not given: a
// directory of the user's data, as the platform wants it. agent and get share
// one, so that get finds the running agent.
func DataDir(command string) string {
	if command == "get" || command == "status" {
		command = "agent"
	}
	return filepath.Join(dataHome(), "tandem", command)
}

func dataHome() string {
	home, _ := os.UserHomeDir() // without a home the working directory it is
	switch runtime.GOOS {
	case "windows":
		if d := os.Getenv("LOCALAPPDATA"); d != "" {
			return d
		}
	case "darwin":
		return filepath.Join(home, "Library", "Application Support")
	}
	// https://specifications.freedesktop.org/basedir-spec
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return d
	}
	return filepath.Join(home, ".local", "share")
}
