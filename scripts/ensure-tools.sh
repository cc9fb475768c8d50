#!/bin/sh
# ensure-tools.sh [--check]: sees to it that there is what the tests of the API use beside PostgreSQL: a Chromium to look
# at /docs and /redoc in, curl, and a Python that makes environments. With --check it installs nothing, and says what is
# not tested without a Chromium.
set -eu

has_browser() {
    # Those of `tests/it/support/browser.rs`.
    for name in chromium chromium-browser google-chrome; do
        "$name" --version >/dev/null 2>&1 && return 0
    done
    return 1
}

if [ "${1:-}" = "--check" ]; then
    if ! has_browser; then
        echo "note: there is no Chromium on this machine, so the tests do not look at /docs and /redoc in a browser." >&2
        echo "      scripts/ensure-tools.sh installs one on Debian; elsewhere install Chromium or Chrome by hand." >&2
    fi
    exit 0
fi

missing=
has_browser || missing="chromium"
command -v curl >/dev/null || missing="$missing curl"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3 python3-venv"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Missing on this machine: $missing. There is no apt-get to install it with." >&2
    exit 1
fi
as_root=
[ "$(id -u)" -eq 0 ] || as_root="sudo"
echo "Missing on this machine: $missing. Installing with apt-get." >&2
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2 || true
# shellcheck disable=SC2086 # a list of packages
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2 || {
    echo "apt-get could not install: $missing." >&2
    exit 1
}
has_browser || {
    echo "The chromium that apt-get installed does not start (on Ubuntu it is a snap). Install a Chrome by hand." >&2
    exit 1
}
