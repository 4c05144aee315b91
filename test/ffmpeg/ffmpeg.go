// Package ffmpeg makes HLS and DASH streams of test pictures with the real ffmpeg.
package ffmpeg

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// picture is what streams show: two renditions with a keyframe every two seconds.
func picture(pace ...string) []string {
	args := append([]string{"-hide_banner", "-loglevel", "error"}, pace...)
	return append(args, "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25",
		"-map", "0:v", "-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-pix_fmt", "yuv420p",
		"-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-b:v:0", "700k", "-b:v:1", "200k")
}

// Stream makes a stream of that many seconds in dir, with what ffmpeg is to be told
// of its format, such as "-f", "hls", "out_%v.m3u8".
func Stream(t testing.TB, dir string, seconds string, format ...string) {
	t.Helper()
	run(t, dir, append(append(picture(), "-t", seconds), format...))
}

// HLS makes an HLS stream of that many seconds in dir: main.m3u8, 0.m3u8, 1.m3u8. The
// type of its segments is mpegts or fmp4.
func HLS(t testing.TB, dir, seconds, segments string) {
	t.Helper()
	Stream(t, dir, seconds, "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", segments,
		"-master_pl_name", "main.m3u8", "-var_stream_map", "v:0 v:1", "%v.m3u8")
}

func run(t testing.TB, dir string, args []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path(t), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
}

// Live makes a stream in dir at the pace at which it is seen, until the function that
// it returns is called, or the test ends.
func Live(t testing.TB, dir string, format ...string) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	return live(t, &out, &out, dir, format)
}

// Fragments writes a live rendition to w likewise: MP4 with a fragment every half second.
func Fragments(t testing.TB, w io.Writer) (stop func()) {
	t.Helper()
	return live(t, w, &bytes.Buffer{}, "", []string{
		"-map", "-0:v", "-map", "0:v", "-f", "mp4",
		"-movflags", "empty_moov+default_base_moof+frag_keyframe+skip_trailer", "-frag_duration", "500000", "pipe:1",
	})
}

func live(t testing.TB, out io.Writer, told *bytes.Buffer, dir string, format []string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path(t), append(picture("-re"), format...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, told
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it writes the end
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // an interrupt is how it should end
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(func() {
		if stop(); t.Failed() {
			t.Logf("ffmpeg: %s", told.Bytes())
		}
	})
	return stop
}

// path skips the test where ffmpeg is not installed.
func path(t testing.TB) string {
	t.Helper()
	bin, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	return bin
}
