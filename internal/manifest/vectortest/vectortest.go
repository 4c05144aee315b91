// Package vectortest keeps the test vectors in testdata/vectors, which
// implementations in every language check themselves against. Tests make the
// vectors they expect, and Check compares them with the file; with the flag
// -update it writes the file instead.
package vectortest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// Check compares what the tests expect with the vectors in a file, and returns
// what the file says, so that the tests run on what others read.
func Check[T any](t *testing.T, name string, want T) T {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(self), "..", "..", "..", "testdata", "vectors", name)
	b, err := encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, b) {
		t.Errorf("%s is not what this program makes; if the format was meant to change, run make vectors", path)
	}
	var got T
	if err := json.Unmarshal(file, &got); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return got
}

// Bytes reads the hexadecimal form that vectors have.
func Bytes(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Made returns the manifest of the object of size bytes that vectors are made of.
func Made(t *testing.T, size int) *manifest.Manifest {
	t.Helper()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i % 251)
	}
	b, err := manifest.NewBuilder(int64(size))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(data); err != nil {
		t.Fatal(err)
	}
	m, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
