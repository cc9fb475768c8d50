#!/bin/sh
# faults.sh [SEEDS [CALLS]]: many calls (300) while every upstream misbehaves in every way, with seed after seed (10).
# FAULTS_SEED=N cargo test --test it faults::mix runs one of them again.
set -eu
cd "$(dirname "$0")/.."

seeds=${1:-10}
export FAULTS_CALLS="${2:-300}"
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
for FAULTS_SEED in $(seq 1 "$seeds"); do
    export FAULTS_SEED
    if cargo test --quiet --test it faults::mix -- --nocapture >"$log" 2>&1; then
        grep '^seed' "$log"
    else
        cat "$log" >&2
        echo "seed $FAULTS_SEED failed" >&2
        exit 1
    fi
done
