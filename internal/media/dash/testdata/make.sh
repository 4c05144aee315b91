#!/bin/sh
# Makes the manifests of this directory with ffmpeg (5.1), and throws the media
# away. Dates differ from run to run; the tests ask for none.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
video="-f lavfi -i testsrc2=size=64x64:rate=25"
audio="-f lavfi -i sine=frequency=440:sample_rate=48000"
enc="-c:v libx264 -preset ultrafast -g 25 -keyint_min 25 -sc_threshold 0 -c:a aac"
dash="-f dash -seg_duration 2"
run() { ffmpeg -nostdin -loglevel error "$@"; }

# SegmentTemplate with SegmentTimeline, two renditions of video
run $video $audio -t 6 -map 0:v -map 0:v -map 1:a $enc -b:v:0 100k -b:v:1 200k $dash \
	-adaptation_sets "id=0,streams=v id=1,streams=a" timeline.mpd
# SegmentTemplate with @duration
run $video $audio -t 6 $enc $dash -use_timeline 0 number.mpd
# SegmentTimeline and $Time$
run $video $audio -t 6 $enc $dash -media_seg_name 'chunk-$RepresentationID$-$Time$.m4s' time.mpd
# SegmentList
run $video $audio -t 6 $enc $dash -use_template 0 list.mpd
# one file a representation, SegmentList of byte ranges
run $video $audio -t 6 $enc $dash -use_template 0 -single_file 1 single.mpd
# SegmentBase
run $video -t 4 -c:v libvpx -b:v 100k -g 25 -dash 1 base.webm
run -f webm_dash_manifest -i base.webm -map 0 -c copy -f webm_dash_manifest -adaptation_sets "id=0,streams=0" base.mpd
# live: what it says after 7 s, of a window of 4 s and as low-latency DASH
mkdir live low
run -re $video $audio -t 9 $enc $dash -seg_duration 1 -window_size 4 -utc_timing_url https://time.example/ live/live.mpd &
live=$!
run -re $video $audio -t 9 $enc $dash -seg_duration 1 -streaming 1 -ldash 1 -use_timeline 0 -utc_timing_url https://time.example/ low/low.mpd &
sleep 7
cp live/live.mpd low/low.mpd "$here"
wait $live $!
cp timeline.mpd number.mpd time.mpd list.mpd single.mpd base.mpd "$here"
