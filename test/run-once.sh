#!/usr/bin/env bash
# `make run`, one message through the system it starts, and out again by IMAP: with bash
# alone, so that it works on a machine that has nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
export XDG_STATE_HOME=$(mktemp -d)
log=$XDG_STATE_HOME/run.log
make run > "$log" 2>&1 &
make=$!
stop() {
  # make passes no signal on: what it started is ended by its own id.
  for p in $(ps_children $make); do kill "$p" 2> /dev/null || :; done
  wait $make 2> /dev/null || :
  rm -rf "$XDG_STATE_HOME"
}
ps_children() { # ids of the processes that one started
  for status in /proc/[0-9]*/status; do
    if grep -qs "^PPid:[[:space:]]*$1\$" "$status"; then status=${status%/status}; echo "${status#/proc/}"; fi
  done
}
trap stop EXIT

for _ in $(seq 600); do # the first build takes minutes
  grep -q 'alice@example.test  ' "$log" && break
  kill -0 $make 2> /dev/null || { cat "$log"; exit 1; }
  sleep 1
done
password=$(sed -n 's/^ *alice@example.test  *\([^ ]*\)$/\1/p' "$log" | head -1)

exec 3<> /dev/tcp/127.0.0.1/2525
read -r greeting <&3
printf 'EHLO me\r\nMAIL FROM:<carol@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n' >&3
while read -r line <&3; do case $line in 354*) break ;; 4* | 5*) echo "$line"; exit 1 ;; esac; done
printf 'From: carol@example.org\r\nSubject: once through\r\n\r\nhello\r\n.\r\nQUIT\r\n' >&3
read -r line <&3
case $line in 250*) echo "SMTP: $line" ;; *) echo "refused: $line"; exit 1 ;; esac

exec 4<> /dev/tcp/127.0.0.1/2143
printf 'a LOGIN alice@example.test %s\r\nb SELECT INBOX\r\nc FETCH * (BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\nd LOGOUT\r\n' "$password" >&4
found=no
while read -r line <&4; do case $line in *'Subject: once through'*) found=yes ;; esac; done
[ $found = yes ] || { echo "IMAP does not show the message"; exit 1; }
echo "IMAP: the message is in the inbox"
