#!/usr/bin/env bash
# The part of scripts/schemathesis.sh that runs beside the server: schemathesis.sh PROGRAM [ARGUMENTS]
set -euo pipefail
program=$1
shift
# Keys that may be revoked; its own may not.
for name in one two three; do
    (cd "$SCRATCH" && goto-automation keys create --name "$name" --expires 1d >/dev/null 2>&1)
done
config="$SCRATCH/schemathesis.toml"
cat scripts/api/schemathesis.toml <(python3 scripts/api/dictionaries.py) >"$config"
SCHEMATHESIS_HOOKS="$PWD/scripts/api/hooks.py" exec "$program" --config-file "$config" \
    run "$API_URL/openapi.json" "$@"
