#!/usr/bin/env bash
# schemathesis.sh [--prepare | ARGUMENTS]: property-based tests of the API by its own document, against a server with data.
# All checks, in all phases; what is left out or expected otherwise stands with its reason in scripts/api/schemathesis.toml.
# With --prepare it installs and builds what it needs, and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="$PWD/target/ci-tools/schemathesis"
if ! cmp -s scripts/api/requirements.txt "$tools/installed.txt"; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r scripts/api/requirements.txt
    cp scripts/api/requirements.txt "$tools/installed.txt"
fi
cargo build --quiet --locked
[ "${1:-}" != --prepare ] || exit 0
exec scripts/with-dev.sh scripts/api/schemathesis.sh "$tools/bin/schemathesis" "$@"
