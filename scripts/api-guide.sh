#!/usr/bin/env bash
# api-guide.sh: runs the commands of docs/api.md as they stand, in a scratch folder, against a server with finished calls.
set -euo pipefail
cd "$(dirname "$0")/.."
guide=$(mktemp)
trap 'rm -f "$guide"' EXIT
python3 scripts/api/guide.py docs/api.md >"$guide"
scripts/with-dev.sh bash -c 'cd "$SCRATCH" && unset API_KEY && bash "$0"' "$guide"
