package tandem_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/tandem-cdn/tandem"
	"github.com/tandem-cdn/tandem/internal/edge"
)

// serve runs an edge on loopback, as `tandem serve DIR` does, with one file of
// 4 MiB.
func serve() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	content := strings.Repeat("All together now. ", 4<<20/18)
	if err := os.WriteFile(filepath.Join(dir, "song.txt"), []byte(content), 0o600); err != nil {
		panic(err)
	}
	e, err := edge.New(edge.Config{Origin: dir, Data: filepath.Join(dir, ".edge")})
	if err != nil {
		panic(err)
	}
	s := httptest.NewServer(e.Handler())
	return s.URL + "/song.txt", func() {
		s.Close()
		if err := e.Close(); err != nil {
			panic(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
	}
}

func ExampleClient_Get() {
	url, stop := serve()
	defer stop()
	c, err := tandem.New(tandem.Config{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	file := filepath.Join(os.TempDir(), "tandem-example-song.txt")
	defer os.Remove(file)
	r, err := c.Get(context.Background(), url, file, &tandem.GetOptions{Overwrite: true})
	if err != nil {
		panic(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Size, "bytes, verified:", r.SHA256 == sha256.Sum256(b))
	// Output: 4194288 bytes, verified: true
}

func ExampleClient_Open() {
	url, stop := serve()
	defer stop()
	c, err := tandem.New(tandem.Config{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	song, err := c.Open(context.Background(), url)
	if err != nil {
		panic(err)
	}
	defer song.Close()
	if _, err := song.Seek(-36, io.SeekEnd); err != nil {
		panic(err)
	}
	b, err := io.ReadAll(song)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%q\n", b)
	// Output: "All together now. All together now. "
}

func ExampleClient_Transport() {
	url, stop := serve()
	defer stop()
	c, err := tandem.New(tandem.Config{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	web := &http.Client{Transport: c.Transport()}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Range", "bytes=0-16")
	resp, err := web.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s: %q\n", resp.Status, b)
	// Output: 206 Partial Content: "All together now."
}
