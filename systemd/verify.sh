#!/bin/sh
# Checks the units: installs into a scratch root and lets systemd read them there. Needs systemd-analyze, but no running
# systemd. Exit code 0 = nothing to say. BINARY= names the real binary; without it a stand-in is installed, since systemd
# looks only whether there is one.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

if [ -z "${BINARY:-}" ]; then
    printf '#!/bin/sh\nexit 0\n' > "$scratch/stand-in"
    chmod 0755 "$scratch/stand-in"
    BINARY=$scratch/stand-in
fi
export BINARY
root=$scratch/root
# Twice: an upgrade must go as well as the first time.
"$here/install.sh" "$root" > /dev/null
"$here/install.sh" "$root" > /dev/null
# The units of the system itself, which ours refer to.
for units in /usr/lib/systemd/system /lib/systemd/system; do
    if [ -d "$units" ]; then
        mkdir -p "$root/usr/lib/systemd"
        cp -R "$units" "$root/usr/lib/systemd/system"
        break
    fi
done

failed=0
for unit in goto-automation-migrate.service goto-automation-serve.socket goto-automation-serve.service \
    goto-automation-worker@all.service; do
    # It exits with 0 even for unknown keys, so that anything said counts.
    said=$(systemd-analyze verify --man=no --root="$root" "$unit" 2>&1) || failed=1
    if [ -n "$said" ]; then
        printf '%s:\n%s\n' "$unit" "$said" >&2
        failed=1
    fi
done
[ "$failed" -eq 0 ] && echo "systemd units: fine"
exit "$failed"
