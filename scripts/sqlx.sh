#!/bin/sh
# sqlx.sh write: asks a scratch PostgreSQL about every query of the code and keeps the answers in .sqlx, which builds
#                check the queries against.
# sqlx.sh check: says whether .sqlx is what that would write.
set -eu

cd "$(dirname "$0")/.."
answers="$PWD/target/sqlx"
rm -rf "$answers"
mkdir -p "$answers" .sqlx
# The macros write when the code is compiled, and only then. The dependencies stay as they are.
touch src/lib.rs
scripts/with-postgres.sh env SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$answers" cargo check --quiet --locked --all-targets

case ${1:-} in
write)
    rm -rf .sqlx
    mv "$answers" .sqlx
    ;;
check)
    diff -r .sqlx "$answers" || {
        echo "The queries and .sqlx differ (see above). Run \`make sqlx\` and commit .sqlx." >&2
        exit 1
    }
    ;;
*)
    echo "usage: $0 write|check" >&2
    exit 2
    ;;
esac
