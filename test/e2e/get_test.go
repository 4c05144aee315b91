package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/store"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

// outcome is the JSON object that `tandem get --json` prints.
type outcome struct {
	URL       string  `json:"url"`
	File      string  `json:"file"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	FromEdge  int64   `json:"from_edge"`
	FromPeers int64   `json:"from_peers"`
	FromOld   int64   `json:"from_old"`
	Wasted    int64   `json:"wasted"`
	Peers     int     `json:"peers"`
	Object    string  `json:"object"`
	SHA256    string  `json:"sha256"`
}

// fromDisk is what an earlier run had left.
func (o outcome) fromDisk() int64 { return o.Bytes - o.FromEdge - o.FromPeers - o.FromOld }

// download is a `tandem get` that runs.
type download struct {
	*process
	file string
}

// get starts a download into a fresh directory.
func get(t *testing.T, url string, flags ...string) *download {
	t.Helper()
	return getTo(t, filepath.Join(t.TempDir(), "file"), url, flags...)
}

// getTo starts a download into a file.
func getTo(t *testing.T, file, url string, flags ...string) *download {
	t.Helper()
	args := append([]string{"get", url, "-o", file, "--json", "--data", t.TempDir()}, flags...)
	return &download{tandem(t, args...), file}
}

// seed lets a client get the object and keep sharing it. It is slow enough to have
// joined the swarm by then.
func seed(t *testing.T, url string, want []byte) outcome {
	t.Helper()
	return get(t, url, "--linger", "1h", "--limit-rate", "16M").done(t, want)
}

// done waits for the outcome, which comes before the lingering, and checks the
// file against the bytes that were asked for.
func (d *download) done(t *testing.T, want []byte) outcome {
	t.Helper()
	until(t, "outcome of "+d.file, func() bool {
		select {
		case <-d.ended:
			return true
		default:
			return strings.Contains(d.stdout.String(), "\n")
		}
	})
	var o outcome
	if err := json.Unmarshal([]byte(d.stdout.String()), &o); err != nil {
		t.Fatalf("outcome: %v", err)
	}
	got, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("the file is wrong: %d bytes, first difference at %d", len(got), difference(got, want))
	}
	sum := sha256.Sum256(want)
	if o.SHA256 != hex.EncodeToString(sum[:]) || o.Bytes != int64(len(want)) || o.File != d.file {
		t.Errorf("outcome %+v does not describe the file", o)
	}
	return o
}

func difference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// have is the pieces that the state beside an unfinished download claims, a byte
// each; nil without one.
func (d *download) have(size int64) []byte {
	b, err := os.ReadFile(d.file + store.StateSuffix)
	pieces := manifest.PieceCount(size, manifest.PieceSizeFor(size))
	if err != nil || len(b) < pieces || !bytes.Contains(b, []byte("TDSG")) {
		return nil
	}
	return b[len(b)-pieces:]
}

// verified is how many pieces it claims.
func (d *download) verified(size int64) int { return bytes.Count(d.have(size), []byte{1}) }

// reached waits until a share of the pieces is verified.
func (d *download) reached(t *testing.T, size int, share float64) {
	t.Helper()
	pieces := manifest.PieceCount(int64(size), manifest.PieceSizeFor(int64(size)))
	until(t, "progress of "+d.file, func() bool {
		select {
		case <-d.ended:
			t.Fatalf("%s ended too early", d.file)
		default:
		}
		return float64(d.verified(int64(size))) >= share*float64(pieces)
	})
}

func TestServeAndGet(t *testing.T) {
	path := file(t, "hello world.bin", 8*mib+123)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, filepath.Dir(path))
	o := get(t, url+"/hello%20world.bin", "--limit-rate", "16M").done(t, want)
	if o.FromEdge < o.Bytes || o.FromPeers != 0 {
		t.Errorf("alone, yet from_edge %d, from_peers %d of %d", o.FromEdge, o.FromPeers, o.Bytes)
	}
	if len(o.Object) != 64 {
		t.Errorf("object %q", o.Object)
	}
	if o.URL != url+"/hello%20world.bin" {
		t.Errorf("url %q", o.URL)
	}
}

func TestGetNamesTheFileAfterTheURL(t *testing.T) {
	path := file(t, "name.bin", 100*kib)
	url, _ := serve(t, filepath.Dir(path))
	dir := t.TempDir()
	p := tandem(t, "get", url+"/name.bin", "-o", dir, "--data", t.TempDir())
	if code := p.wait(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if left := names(t, dir); len(left) != 1 || left[0] != "name.bin" {
		t.Errorf("the directory holds %v", left)
	}
	if p.stdout.String() != "" {
		t.Errorf("standard output %q without --json", p.stdout)
	}
}

// The second client gets from the first what the edge need not send again.
func TestSecondClientGetsFromTheFirst(t *testing.T) {
	t.Parallel()
	const size = 16 * mib
	path := file(t, "a.bin", size)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, filepath.Dir(path))
	seed(t, url+"/a.bin", want)
	o := get(t, url+"/a.bin", "--limit-rate", "4M").done(t, want)
	if o.FromPeers < size/4 || o.Peers != 1 {
		t.Errorf("from_peers %d of %d by %d peers, want at least a quarter from the one there is", o.FromPeers, size, o.Peers)
	}
	o = get(t, url+"/a.bin", "--limit-rate", "4M", "--no-p2p").done(t, want)
	if o.FromPeers != 0 || o.Peers != 0 {
		t.Errorf("--no-p2p: from_peers %d, peers %d", o.FromPeers, o.Peers)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
