#!/usr/bin/env bash
# Puts the peers of the comparison in place, on Debian 12, as root: what test/peers.sh
# installs, and Cyrus. Its packages conflict with Dovecot's, so they are unpacked into
# $CYRUSROOT (default: $BENCH/cyrusroot), which Cyrus's own user must be able to read, so
# not below a home.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${CYRUSROOT:-${BENCH:-/tmp/mailbench}/cyrusroot}
packages="cyrus-common cyrus-imapd cyrus-pop3d libxapian30"
"$here/../test/peers.sh"
bin=$root/usr/lib/cyrus/bin
if [ ! -e "$root/complete" ]; then
  mkdir -p "$root/debs"
  apt-get update -q
  for p in $packages; do
    (cd "$root/debs" && apt-get download -q "$p")
    dpkg -x "$root/debs/${p}"_*.deb "$root"
  done
  chmod 755 "$root"
  touch "$root/complete"
fi
missing=$(LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu ldd "$bin"/{imapd,lmtpd,pop3d,idled,master,ctl_cyrusdb} | grep 'not found' | sort -u || true)
[ -z "$missing" ] || { echo "bench/peers.sh: Cyrus lacks libraries: $missing" >&2; exit 1; }
echo "Cyrus is in $root"
