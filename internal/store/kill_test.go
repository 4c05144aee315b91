package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// helperPath, set in the environment, makes the test binary a process that
// downloads to that path and is killed for it.
const helperPath = "TANDEM_STORE_TEST_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(helperPath); path != "" {
		if err := writeForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writeForever writes pieces in order, and says so after each.
func writeForever(path string) error {
	var t testing.T
	data, s := content(&t, 200*piece, 1)
	f, err := Create(Target{Path: path}, s, meta)
	if err != nil {
		return err
	}
	for i := range s.NumPieces() {
		if err := f.WritePiece(i, pieceOf(s.Manifest, data, i)); err != nil {
			return err
		}
		fmt.Println(i)
	}
	<-time.After(time.Hour) // to be killed in
	return nil
}

// A process that is killed loses no piece whose WritePiece had returned.
func TestKilledProcess(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, s := content(t, 200*piece, 1)
	for _, killAfter := range []int{1, 20, 150} {
		path := filepath.Join(t.TempDir(), "file")
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), helperPath+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < killAfter && lines.Scan(); n++ {
			if n == 0 { // while it runs, nobody else gets at it
				_, err := Resume(t.Context(), Target{Path: path}, meta)
				wantErr(t, err, ErrLocked)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		said := killAfter
		for lines.Scan() {
			said++
		}
		if err := cmd.Wait(); err == nil || strings.Contains(err.Error(), "exit status 1") {
			t.Fatalf("the process was not killed: %v", err)
		}
		r := mustResume(t, path)
		if r.Pieces < said || r.Dropped != 0 {
			t.Fatalf("%d pieces kept and %d dropped, %d were written", r.Pieces, r.Dropped, said)
		}
		onlyRight(t, r.File, data)
		write(t, r.File, data, allPieces(s.Manifest)...)
		if err := r.File.Commit(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, data)
	}
}
