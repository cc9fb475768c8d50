#!/bin/sh
# Sees to it that the programs of a PostgreSQL server (14 or newer) and a C compiler are installed, and prints the
# folder of the server's programs. Does nothing when they are there. Starts no server and leaves none running.
set -eu

oldest=14

# The folders are those of src/dev/postgres/programs.rs.
find_server() {
    for folder in "$(pg_config --bindir 2>/dev/null || true)" "$(dirname -- "$(command -v postgres || echo /none)")" \
        $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* /opt/homebrew/opt/postgresql*/bin \
            /usr/local/opt/postgresql*/bin /usr/local/pgsql/bin 2>/dev/null | sort -rV); do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] || continue
        major=$("$folder/postgres" --version | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge "$oldest" ]; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}

give_up() {
    echo "$1" >&2
    echo "Install it by hand and run this again: \`apt-get install postgresql gcc libc6-dev\` on Debian or Ubuntu," >&2
    echo "\`dnf install postgresql-server gcc\` on Fedora, \`brew install postgresql@17\` on macOS." >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# Debian's package makes and starts a server of its own unless it is told not to. The word is taken back afterwards:
# whoever installs PostgreSQL here later gets what they expect.
install_with_apt() {
    drop_in=/etc/postgresql-common/createcluster.d/goto-automation.conf
    as_root mkdir -p "${drop_in%/*}"
    echo 'create_main_cluster = false' | as_root tee "$drop_in" >/dev/null
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2 || status=$?
    as_root rm -f "$drop_in"
    return "$status"
}

missing=
find_server >/dev/null || missing="postgresql"
# The crate `ring` has parts in C, and Rust links with the C compiler.
command -v cc >/dev/null || missing="$missing gcc libc6-dev"

if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || give_up "Missing on this machine: $missing. There is no apt-get to install it with."
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || give_up "Missing on this machine: $missing. Installing needs root, and there is no sudo."
    fi
    echo "Missing on this machine: $missing. Installing with apt-get." >&2
    # shellcheck disable=SC2086 # a list of packages
    install_with_apt $missing || give_up "apt-get could not install: $missing."
fi
find_server || give_up "The PostgreSQL server that apt-get installed is older than version $oldest."
