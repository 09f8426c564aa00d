#!/usr/bin/env bash
# make bare: a bare Debian 12 in a folder (debootstrap), with git, make and Go and nothing
# else; in it a clone of this repository, `make run` with one message through it, and
# `make test`. As root. What it costs: 1 GB below $BARE.
#
# The folder gets this machine's resolver, certificates and package sources, which say how
# the machine reaches the world, and its copy of Go.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${BARE:-/var/tmp/postroad-bare}
[ "$(id -u)" = 0 ] || { echo "bare.sh: needs root, for debootstrap and chroot" >&2; exit 1; }
command -v debootstrap > /dev/null || apt-get install -q -y --no-install-recommends debootstrap

unmount() {
  for m in dev/pts dev/shm dev proc sys; do umount -l "$root/$m" 2> /dev/null || :; done
  umount -l "$root" 2> /dev/null || :
}
trap unmount EXIT
if [ ! -e "$root/etc/debian_version" ]; then
  rm -rf "$root"
  debootstrap --variant=minbase --include=git,make,ca-certificates bookworm "$root"
fi
rm -rf "$root/src" "$root/usr/local/go" "$root/usr/local/share/ca-certificates"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mkdir -p "$root/usr/local/share/ca-certificates" "$root/root/.config/go"
cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
[ -d /etc/apt/sources.list.d ] && cp -a /etc/apt/sources.list.d/. "$root/etc/apt/sources.list.d/"
go env -changed > "$root/root/.config/go/env" && sed -i "s/'//g" "$root/root/.config/go/env"
cp -a "$(go env GOROOT)" "$root/usr/local/go"
git clone -q . "$root/src"
mount --bind "$root" "$root" # unshare(1) wants the root to be a mount point
mount -t proc proc "$root/proc"
mount --rbind --make-rslave /sys "$root/sys"
mount --rbind --make-rslave /dev "$root/dev"

inside() { chroot "$root" env -i HOME=/root PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 bash -euo pipefail -c "$1"; }
inside 'update-ca-certificates > /dev/null'
echo "== make run, and one message through it"
inside 'cd /src && test/run-once.sh'
echo "== make test"
inside 'cd /src && make test'
echo "make bare: passed"
