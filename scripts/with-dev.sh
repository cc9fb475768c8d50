#!/usr/bin/env bash
# with-dev.sh COMMAND...: runs a command beside a `dev` of its own (free ports, a scratch folder, no settings of yours),
# in which a dozen calls have gone through. The command gets API_URL, API_KEY, DATABASE_URL, the program in its PATH, and
# a SCRATCH folder that goes with it. Its exit code is this one's.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/ensure-postgres.sh >/dev/null
cargo build --quiet --locked
program="$(realpath "${CARGO_TARGET_DIR:-target}")/debug/goto-automation"
folder=$(mktemp -d)

stop() {
    local code=$?
    if [ -n "${dev:-}" ] && kill "$dev" 2>/dev/null; then
        wait "$dev" || true
    fi
    if [ "$code" -ne 0 ]; then
        tail -n 20 "$folder/log" >&2
    fi
    rm -rf "$folder"
}
trap stop EXIT

# In a folder without .env, and with limits that no test meets by accident.
(
    cd "$folder"
    exec env -i PATH="$PATH" HOME="$HOME" API_RATE_LIMIT=1000000 API_FAILED_KEYS_PER_MINUTE=1000000 \
        API_MAX_CONNECTIONS_PER_ADDRESS=1024 "$program" dev --port 0 --data-dir "$folder/data" \
        --ready-file "$folder/ready.json"
) >"$folder/log" 2>&1 &
dev=$!
for _ in $(seq 300); do
    [ -s "$folder/ready.json" ] && break
    kill -0 "$dev" 2>/dev/null || { echo "dev has ended before it was ready" >&2; exit 1; }
    sleep 0.2
done

ready() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$folder/ready.json" "$1"
}
API_URL=$(ready url)
API_KEY=$(ready api_key)
DATABASE_URL=$(ready database_url)
SCRATCH="$folder/scratch"
mkdir "$SCRATCH"
PATH="$(dirname "$program"):$PATH"
export API_URL API_KEY DATABASE_URL SCRATCH PATH
(cd "$folder" && "$program" simulate --count 12 --rate 50 --data-dir "$folder/data" >/dev/null)
python3 scripts/api/wait.py
"$@"
