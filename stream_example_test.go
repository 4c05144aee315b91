package tandem_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/tandem-cdn/tandem"
	"github.com/tandem-cdn/tandem/internal/edge"
)

// serveStream runs an edge on loopback, as `tandem serve DIR` does, with an HLS
// presentation of three segments, and returns the SHA-256 of them together.
func serveStream() (playlist string, sum [32]byte, stop func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	list := "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n"
	all := sha256.New()
	for i := range 3 {
		name := fmt.Sprintf("%d.ts", i)
		content := strings.Repeat(fmt.Sprintf("picture %d ", i), 20_000)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			panic(err)
		}
		list += "#EXTINF:4.0,\n" + name + "\n"
		all.Write([]byte(content))
	}
	if err := os.WriteFile(filepath.Join(dir, "film.m3u8"), []byte(list+"#EXT-X-ENDLIST\n"), 0o600); err != nil {
		panic(err)
	}
	e, err := edge.New(edge.Config{Origin: dir, Data: filepath.Join(dir, ".edge")})
	if err != nil {
		panic(err)
	}
	s := httptest.NewServer(e.Handler())
	return s.URL + "/film.m3u8", [32]byte(all.Sum(nil)), func() {
		s.CloseClientConnections()
		s.Close()
		if err := e.Close(); err != nil {
			panic(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
	}
}

// A recorder without a screen: it takes the segments of a media playlist one after the
// other, and ends with what the origin has, byte for byte.
func ExampleClient_OpenStream() {
	playlist, want, stop := serveStream()
	defer stop()
	c, err := tandem.New(tandem.Config{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	stream, err := c.OpenStream(context.Background(), playlist)
	if err != nil {
		panic(err)
	}
	defer stream.Close()
	var recording bytes.Buffer
	for line := range strings.Lines(string(stream.Playlist())) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		segment, err := stream.Open(context.Background(), line)
		if err != nil {
			panic(err)
		}
		if _, err := io.Copy(&recording, segment); err != nil {
			panic(err)
		}
		if err := segment.Close(); err != nil {
			panic(err)
		}
	}
	fmt.Println(recording.Len(), "bytes, the origin's:", sha256.Sum256(recording.Bytes()) == want)
	// Output: 600000 bytes, the origin's: true
}
