#!/usr/bin/env bash
# long-recording.sh [MINUTES]: the story of tests/it/long_recording.rs with a recording of so many minutes (70), as WAV
# and as MP3: right times from start to end, a killed worker, memory. Prints the figures. Needs sox and ffmpeg.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-70}
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

call=fixtures/calls/double-charge.wav
sox "$call" "$folder/long.wav" repeat $((minutes * 60 / 29)) trim 0 $((minutes * 60))
# A little noise makes each repetition different: the same sound is the same question, and is asked once.
sox -m -v 1 "$folder/long.wav" "|sox -R -n -r 8000 -c 2 -p synth $((minutes * 60)) pinknoise vol 0.0005" \
    "$folder/noisy.wav"
ffmpeg -v error -i "$folder/noisy.wav" -c:a libmp3lame -b:a 64k "$folder/long.mp3"
for kind in wav mp3; do
    LONG_RECORDING=$folder/long.$kind LONG_RECORDING_SECONDS=$((minutes * 60)) \
        cargo test --quiet --test it long_recording:: -- --nocapture
done
