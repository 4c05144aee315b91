#!/bin/sh
# Makes the playlists of this directory with ffmpeg (5.1), and throws the media
# away. Times and keys differ from run to run; the tests ask for neither.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
video="-f lavfi -i testsrc2=size=64x64:rate=25"
audio="-f lavfi -i sine=frequency=440:sample_rate=48000"
enc="-c:v libx264 -preset ultrafast -g 25 -keyint_min 25 -sc_threshold 0 -c:a aac"
run() { ffmpeg -nostdin -loglevel error "$@"; }

# MPEG-TS, VOD
run $video $audio -t 6 $enc -f hls -hls_time 2 -hls_playlist_type vod ts.m3u8
# fMP4, live: sliding window, dates, no end
run $video $audio -t 10 $enc -f hls -hls_time 1 -hls_list_size 4 -hls_segment_type fmp4 \
	-hls_flags program_date_time+omit_endlist fmp4-live.m3u8
# one file, byte ranges
run $video $audio -t 6 $enc -f hls -hls_time 2 -hls_playlist_type vod -hls_flags single_file single.m3u8
run $video $audio -t 6 $enc -f hls -hls_time 2 -hls_playlist_type vod -hls_flags single_file \
	-hls_segment_type fmp4 single-fmp4.m3u8
# AES-128, the key named relative to the playlist
printf 0123456789abcdef > key.bin
printf 'keys/key.bin?id=1\nkey.bin\n00112233445566778899aabbccddeeff\n' > key.info
run $video $audio -t 6 $enc -f hls -hls_time 2 -hls_playlist_type vod -hls_key_info_file key.info aes.m3u8
# three renditions of video with alternate audio
run $video $audio $audio -t 4 $enc -map 0:v -map 0:v -map 0:v -map 1:a -map 2:a -b:v:0 100k -b:v:1 200k -b:v:2 400k \
	-f hls -hls_time 2 -hls_playlist_type vod -master_pl_name multi.m3u8 \
	-var_stream_map "v:0,agroup:aud v:1,agroup:aud v:2,agroup:aud a:0,agroup:aud,language:en,default:yes a:1,agroup:aud,language:de" \
	"multi-%v.m3u8"
cp ./*.m3u8 "$here"
