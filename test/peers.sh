#!/usr/bin/env bash
# Installs the real mail programs that the tests run, on Debian 12, as root. What is there
# already is left alone. Packages that conflict with installed ones are unpacked below
# $POSTROAD_PEERS instead (default: ~/.cache/postroad/peers).
set -euo pipefail

peers=${POSTROAD_PEERS:-${HOME:-/root}/.cache/postroad/peers}
installed="postfix dovecot-imapd dovecot-pop3d dovecot-lmtpd mutt isync fetchmail getmail6 sieve-connect
 msmtp swaks libnet-ssleay-perl libauthen-sasl-perl tmux curl openssl procps util-linux e2fsprogs ca-certificates
 claws-mail claws-mail-managesieve xvfb xdotool liblockfile1 libwrap0 libsasl2-modules sasl2-bin m4 libical3 libpcre3 libshp2
 libjansson4 libnghttp2-14 libbrotli1 libicu72 libclamav12 libzephyr4"
unpacked="sendmail-bin sendmail-base sendmail-cf libmilter1.0.1"
downloaded="cyrus-common cyrus-imapd cyrus-caldav libxapian30" # a test unpacks them where Cyrus's user may read

missing=""
command -v npm > /dev/null || installed="$installed nodejs npm"
for p in $installed; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
if [ -n "$missing" ] || [ ! -e "$peers/sendmail/usr/libexec/sendmail/sendmail" ]; then
  [ "$(id -u)" = 0 ] || { echo "peers.sh: run as root once, to install:$missing and sendmail" >&2; exit 1; }
  apt-get update -q
fi
if [ -n "$missing" ]; then
  # Postfix asks two questions; the tests give it a configuration of their own. No daemon
  # is to start on the machine.
  echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
  policy=/usr/sbin/policy-rc.d
  made=no
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod 755 $policy; made=yes; }
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
  [ $made = yes ] && rm -f $policy
fi
if [ ! -e "$peers/sendmail/usr/libexec/sendmail/sendmail" ]; then
  mkdir -p "$peers/debs" "$peers/sendmail"
  for p in $unpacked; do
    (cd "$peers/debs" && apt-get download -q "$p")
    dpkg -x "$peers/debs/${p}"_*.deb "$peers/sendmail"
  done
fi
mkdir -p "$peers/debs"
for p in $downloaded; do
  ls "$peers/debs/${p}"_*.deb > /dev/null 2>&1 || (cd "$peers/debs" && apt-get download -q "$p")
done
echo "peers are in place"
