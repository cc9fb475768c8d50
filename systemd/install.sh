#!/bin/sh
# Installs the binary, the units and first settings below DESTDIR. May be repeated: settings that exist are kept.
#
#   BINARY=target/release/goto-automation systemd/install.sh /        (as root, on this machine)
#   BINARY=target/release/goto-automation systemd/install.sh /tmp/x   (for a package or a check)
#
# Afterwards, on the machine itself: systemd-sysusers; systemctl daemon-reload (see systemd/README.md).
set -eu

if [ "$#" -ne 1 ] || [ -z "$1" ]; then
    echo "usage: BINARY=path/to/goto-automation $0 DESTDIR   (/ for this machine)" >&2
    exit 2
fi
binary=${BINARY:-target/release/goto-automation}
if [ ! -x "$binary" ]; then
    echo "$binary is not there or not executable: build it first (cargo build --release), or name it in BINARY=" >&2
    exit 1
fi
here=$(cd "$(dirname "$0")" && pwd)
destdir=${1%/}

install -d -m 0755 "$destdir/usr/local/bin" "$destdir/etc/systemd/system" "$destdir/usr/lib/sysusers.d"
install -d -m 0755 "$destdir/etc/goto-automation"
# New name first, then one move: a running binary cannot be written to, and nobody ever starts half of one.
install -m 0755 "$binary" "$destdir/usr/local/bin/.goto-automation.new"
mv -f "$destdir/usr/local/bin/.goto-automation.new" "$destdir/usr/local/bin/goto-automation"
install -m 0644 "$here"/*.service "$here"/*.socket "$destdir/etc/systemd/system/"
install -m 0644 "$here/sysusers.conf" "$destdir/usr/lib/sysusers.d/goto-automation.conf"
# Only systemd, as root, reads these.
for settings in goto-automation.env worker-all.env; do
    if [ -e "$destdir/etc/goto-automation/$settings" ]; then
        echo "kept $destdir/etc/goto-automation/$settings"
    else
        install -m 0600 "$here/$settings" "$destdir/etc/goto-automation/$settings"
    fi
done
