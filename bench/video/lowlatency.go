//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
	"github.com/tandem-cdn/tandem/test/lowlatency"
)

const (
	// originArg makes this program an origin of Low-Latency HLS on a host of the lab.
	originArg = "-origin"
	// partTime is how long parts are: half a second, as fragments of whole frames.
	partTime = 520 * time.Millisecond
	// window is how many segments a playlist lists.
	window = 8
)

// publishLow serves the stream as Low-Latency HLS from a host, as it happens.
func (o options) publishLow(ctx context.Context, h *lab.Host, www, dir string) error {
	var top strings.Builder
	top.WriteString("#EXTM3U\n")
	args := []string{originArg, "-listen", h.IP.String() + ":80", "-www", www, "-segment", (time.Duration(o.segment) * time.Second).String()}
	for _, r := range o.ladder() {
		file, err := encode(ctx, dir, r, o.seconds, o.segment)
		if err != nil {
			return err
		}
		fmt.Fprintf(&top, "#EXT-X-STREAM-INF:BANDWIDTH=%d,RESOLUTION=%s\n%s/index.m3u8\n", 1100*r.kbits, r.size, r.name)
		args = append(args, r.name+"="+file)
	}
	if err := os.WriteFile(filepath.Join(www, "index.m3u8"), []byte(top.String()), 0o644); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := rig.Background(h.Command(ctx, self, args...), filepath.Join(dir, "origin.log")); err != nil {
		return err
	}
	_, err = h.Run(ctx, "curl", "-sf", "-o", "/dev/null", "--retry", "60", "--retry-delay", "1", "--retry-connrefused", "http://"+h.IP.String()+"/index.m3u8")
	if err != nil {
		return fmt.Errorf("origin does not answer: %w", err)
	}
	return nil
}

// originMain serves encoded films, each a rendition, as if they happened now, again and
// again.
func originMain(ctx context.Context) error {
	f := flag.NewFlagSet(originArg, flag.ExitOnError)
	listen := f.String("listen", "", "address")
	www := f.String("www", "", "directory")
	segment := f.Duration("segment", 2*time.Second, "length of a segment")
	if err := f.Parse(os.Args[2:]); err != nil {
		return err
	}
	o := lowlatency.New(lowlatency.Options{Segment: *segment, Part: partTime, Window: window, Dir: *www})
	g, ctx := errgroup.WithContext(ctx)
	for _, arg := range f.Args() {
		name, file, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q: want NAME=FILE", arg)
		}
		cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", file, "-c", "copy",
			"-f", "mp4", "-movflags", "empty_moov+default_base_moof+frag_keyframe+skip_trailer", "-frag_duration", "500000", "pipe:1")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		g.Go(func() error { return errors.Join(cmd.Start(), o.Feed(name, out)) })
	}
	mux := http.NewServeMux()
	mux.Handle("/", o)
	mux.HandleFunc("/index.m3u8", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
		http.ServeFile(w, r, filepath.Join(*www, "index.m3u8"))
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	g.Go(func() error {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
		if err != nil {
			return err
		}
		return s.Serve(l)
	})
	g.Go(func() error { <-ctx.Done(); return s.Close() })
	return g.Wait()
}
