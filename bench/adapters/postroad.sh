#!/bin/bash
# postroad. POSTROAD=path of the binary. ROLE=relay: mail for other domains goes to
# 127.0.0.1:SINKPORT. Nothing is switched off: the store is durable before each answer.
. "$(dirname "$0")/lib.sh"
POSTROAD=${POSTROAD:-/tmp/mailbench/bin/postroad}
P=$BASEPORT
case $1 in
start)
	cert
	cat > "$DIR/postroad.toml" <<C
hostname = "mail.bench.test"
data_directory = "$DIR/data"
user = "${PRUSER:-nobody}"
[listen]
smtp = ["$HOST:$((P+25))"]
submission = ["$HOST:$((P+587))"]
submissions = ["$HOST:$((P+465))"]
lmtp = ["$HOST:$((P+24))"]
imap = ["$HOST:$((P+143))"]
imaps = ["$HOST:$((P+993))"]
pop3 = ["$HOST:$((P+110))"]
pop3s = ["$HOST:$((P+995))"]
sieve = []
https = ["$HOST:$((P+443))"]
http = ["$HOST:$((P+80))"]
[limits]
user_connections = 200
[[tls.certificate]]
certificate = "$DIR/cert.pem"
key = "$DIR/key.pem"
[trust]
relay = ["127.0.0.0/8"]
C
	[ "$ROLE" = relay ] && cat >> "$DIR/postroad.toml" <<C
[[route]]
domain = "*"
host = "127.0.0.1"
port = $SINKPORT
C
	mkdir -p "$DIR/data"
	chown "${PRUSER:-nobody}" "$DIR/data"
	mark
	"$POSTROAD" --config "$DIR/postroad.toml" serve > "$DIR/postroad.log" 2>&1 &
	pid=$!
	: > "$DIR/env"
	put NAME=postroad VERSION="$("$POSTROAD" version | head -1)" SMTP=$HOST:$((P+25)) SUBMISSION=$HOST:$((P+587)) SUBMISSIONS=$HOST:$((P+465)) \
		LMTP=$HOST:$((P+24)) IMAP=$HOST:$((P+143)) IMAPS=$HOST:$((P+993)) POP3=$HOST:$((P+110)) LOGIN=u%d@bench.test TO=u%d@bench.test FROM=sender%d@remote.example PASS=$PASS \
		HTTP=$HOST:$((P+80)) HTTPS=$HOST:$((P+443)) PIDS=$pid DATA="$DIR/data" DURABILITY="default: body and keys synced in one group commit before 250"
	waitport $HOST:$((P+143)) $HOST:$((P+25))
	"$POSTROAD" --config "$DIR/postroad.toml" domain add bench.test >> "$DIR/setup.log" 2>&1
	for u in $(users); do
		printf '%s\n' "$PASS" | "$POSTROAD" --config "$DIR/postroad.toml" account add "$u@bench.test" --password-stdin >> "$DIR/setup.log" 2>&1 ||
			{ echo "account $u" >&2; tail -n 3 "$DIR/setup.log" >&2; exit 1; }
	done
	;;
stop) . "$DIR/env"; stoppids $PIDS ;;
esac
