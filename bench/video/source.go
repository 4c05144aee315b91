//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// rendition is one encoding of the test picture. The rates are constant, and low enough
// that encoding is quick.
type rendition struct {
	name, size string
	kbits      int
}

var ladder = []rendition{{"low", "320x180", 800}, {"mid", "480x270", 1600}, {"high", "640x360", 3000}}

// encode makes a rendition of the test picture, seconds long, in dir.
func encode(ctx context.Context, dir string, r rendition, seconds, segment int) (string, error) {
	file := filepath.Join(dir, r.name+".ts")
	rate := fmt.Sprintf("%dk", r.kbits)
	return file, ffmpeg(ctx, "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%s:rate=25:duration=%d", r.size, seconds),
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", fmt.Sprint(25*segment), "-keyint_min", fmt.Sprint(25*segment), "-sc_threshold", "0",
		"-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate, "-x264-params", "nal-hrd=cbr:filler=1", "-f", "mpegts", file)
}

func ffmpeg(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	return nil
}

// publish puts an HLS stream of all renditions into www: all of it, or as it happens.
func (o options) publish(ctx context.Context, h *lab.Host, www, dir string) error {
	var top strings.Builder
	top.WriteString("#EXTM3U\n")
	for _, r := range o.ladder() {
		file, err := encode(ctx, dir, r, o.seconds, o.segment)
		if err != nil {
			return err
		}
		to := filepath.Join(www, r.name)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		fmt.Fprintf(&top, "#EXT-X-STREAM-INF:BANDWIDTH=%d,RESOLUTION=%s\n%s/index.m3u8\n", 1100*r.kbits, r.size, r.name)
		args := []string{"-i", file, "-c", "copy", "-f", "hls", "-hls_time", fmt.Sprint(o.segment), "-hls_segment_filename", filepath.Join(to, "%05d.ts")}
		if o.live {
			args = append([]string{"-re", "-stream_loop", "-1"}, append(args, "-hls_list_size", "8", "-hls_delete_threshold", "8",
				"-hls_flags", "delete_segments+program_date_time+temp_file")...)
		} else {
			args = append(args, "-hls_playlist_type", "vod")
		}
		args = append(args, filepath.Join(to, "index.m3u8"))
		if !o.live {
			if err := ffmpeg(ctx, args...); err != nil {
				return err
			}
			continue
		}
		cmd := h.Command(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...)
		if err := rig.Background(cmd, filepath.Join(dir, r.name+".log")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(www, "index.m3u8"), []byte(top.String()), 0o644); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

// ladder are the renditions that the stream has.
func (o options) ladder() []rendition {
	if o.live {
		return ladder[1:2]
	}
	return ladder
}
