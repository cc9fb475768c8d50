#!/bin/sh
# with-postgres.sh COMMAND...: runs a command with DATABASE_URL set to a scratch PostgreSQL with all migrations
# applied. The server and its data are gone when the command ends.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
bin=$("$here/scripts/ensure-postgres.sh")
scratch=$(mktemp -d /tmp/gta-scratch-XXXXXX)

# PostgreSQL does not run as root.
as_server() { (cd / && env -i PATH="$bin:/usr/bin:/bin" LC_ALL=C "$@"); }
if [ "$(id -u)" -eq 0 ]; then
    user=$(id -un postgres 2>/dev/null || echo nobody)
    chown "$user" "$scratch"
    as_server() {
        (cd / && exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \
            env -i PATH="$bin:/usr/bin:/bin" LC_ALL=C "$@")
    }
fi

tear_down() {
    as_server pg_ctl -D "$scratch/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf -- "$scratch"
}
trap tear_down EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

as_server initdb -D "$scratch/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$scratch/initdb.log" 2>&1 ||
    { cat "$scratch/initdb.log" >&2; exit 1; }
options="-c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=200 -k $scratch"
as_server pg_ctl -D "$scratch/data" -l "$scratch/data/log" -w -o "$options" start >/dev/null </dev/null ||
    { cat "$scratch/data/log" >&2; exit 1; }

export DATABASE_URL="postgres://postgres@$(echo "$scratch" | sed 's,/,%2F,g'):5432/postgres"
for migration in "$here"/migrations/*.sql; do
    [ -e "$migration" ] || continue
    "$bin/psql" -X -q -1 -v ON_ERROR_STOP=1 -d "$DATABASE_URL" -f "$migration" >/dev/null
done
"$@"
