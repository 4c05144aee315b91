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

// publish puts a stream of all renditions into www: all of it, or as it happens.
func (o options) publish(ctx context.Context, h *lab.Host, www, dir string) error {
	var files []string
	for _, r := range o.ladder() {
		file, err := encode(ctx, dir, r, o.seconds, o.segment)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	if o.format != "hls" {
		return o.pack(ctx, h, filepath.Join(dir, "dash.log"), append(o.inputs(files...), o.dash(www)...))
	}
	var top strings.Builder
	top.WriteString("#EXTM3U\n")
	for i, r := range o.ladder() {
		to := filepath.Join(www, r.name)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		fmt.Fprintf(&top, "#EXT-X-STREAM-INF:BANDWIDTH=%d,RESOLUTION=%s\n%s/index.m3u8\n", 1100*r.kbits, r.size, r.name)
		args := append(o.inputs(files[i]), "-c", "copy", "-f", "hls", "-hls_time", fmt.Sprint(o.segment), "-hls_segment_filename", filepath.Join(to, "%05d.ts"))
		if o.live {
			args = append(args, "-hls_list_size", "8", "-hls_delete_threshold", "8", "-hls_flags", "delete_segments+program_date_time+temp_file")
		} else {
			args = append(args, "-hls_playlist_type", "vod")
		}
		if err := o.pack(ctx, h, filepath.Join(dir, r.name+".log"), append(args, filepath.Join(to, "index.m3u8"))); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(www, o.index()), []byte(top.String()), 0o644); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

// index is the name of what players open.
func (o options) index() string {
	if o.format == "hls" {
		return "index.m3u8"
	}
	return "index.mpd"
}

// inputs are ffmpeg's arguments to read files, at the pace of a live stream if it is one.
func (o options) inputs(files ...string) (args []string) {
	for _, f := range files {
		if o.live {
			args = append(args, "-re", "-stream_loop", "-1")
		}
		args = append(args, "-i", f)
	}
	return args
}

// addressing is how ffmpeg is told what a DASH stream names its segments by.
var addressing = map[string][]string{
	"number":   {"-use_timeline", "0"},
	"timeline": {"-use_timeline", "1"},
	"time":     {"-use_timeline", "1", "-media_seg_name", "chunk-$RepresentationID$-$Time$.m4s"},
	"list":     {"-use_template", "0"},
	"ranges":   {"-single_file", "1"},
}

// dash are ffmpeg's arguments to write a DASH stream of all inputs.
func (o options) dash(www string) (args []string) {
	for i := range o.ladder() {
		args = append(args, "-map", fmt.Sprint(i))
	}
	args = append(args, "-c", "copy", "-tag:v", "avc1", "-f", "dash", "-seg_duration", fmt.Sprint(o.segment), "-adaptation_sets", "id=0,streams=v")
	if o.live {
		args = append(args, "-window_size", "8", "-extra_window_size", "8", "-update_period", "1")
	}
	return append(append(args, addressing[o.format]...), filepath.Join(www, o.index()))
}

// pack has ffmpeg write a stream: to its end, or in the background on a host.
func (o options) pack(ctx context.Context, h *lab.Host, log string, args []string) error {
	if !o.live {
		return ffmpeg(ctx, args...)
	}
	return rig.Background(h.Command(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...), log)
}

// ladder are the renditions that the stream has.
func (o options) ladder() []rendition {
	if o.live {
		return ladder[1:2]
	}
	return ladder
}
