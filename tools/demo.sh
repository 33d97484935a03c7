#!/bin/bash
# demo.sh - the whole of culvert on one machine, proved with real traffic.
#
#   curl --SOCKS5--> culvertd (client) --REALITY+VLESS+Vision--> culvertd (server) --> "internet" site
#   stranger (curl, no secret) ------------------------------> culvertd (server) --> camouflage site
#
# Everything lives in a temporary directory on loopback ports and is removed at the end.
# DEMO_SECONDS=n ends by itself after n seconds; otherwise Ctrl-C does. Exit status: 0 if every proof held.
set -u

build=${CULVERT_BUILD:-build}
seconds=${DEMO_SECONDS:-}
dir=$(mktemp -d) || exit 1
pids=()
proved=0
failed=0

say() { printf '\n== %s\n' "$*"; }
prove() { # prove TEXT COMMAND...
	local text=$1
	shift
	if "$@"; then
		proved=$((proved + 1))
		printf '   proved: %s\n' "$text"
	else
		failed=$((failed + 1))
		printf '   FAILED: %s\n' "$text"
	fi
}

clean_up() {
	trap - EXIT INT TERM
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null
	done
	for pid in "${pids[@]}"; do
		wait "$pid" 2>/dev/null
	done
	rm -rf "$dir"
	printf '\n%d proved, %d failed\n' "$proved" "$failed"
	[ "$failed" -eq 0 ] && [ "$proved" -gt 0 ]
	exit $?
}
trap clean_up EXIT
trap 'exit 130' INT TERM

for program in nginx openssl curl python3; do
	command -v "$program" >/dev/null || { echo "demo: $program is missing" >&2; exit 1; }
done

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
site_port=$(free_port) camouflage_port=$(free_port) server_port=$(free_port) socks_port=$(free_port)

certificate() { # certificate NAME
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
		-addext "subjectAltName=DNS:$1" -keyout "$dir/$1.key" -out "$dir/$1.crt" 2>/dev/null
}

say "a camouflage site and a local \"internet\" site (nginx, TLS 1.3)"
certificate camouflage.test
certificate localhost
mkdir -p "$dir/camouflage" "$dir/site"
echo '<title>camouflage</title><h1>Nothing but an ordinary web site</h1>' >"$dir/camouflage/index.html"
echo 'hello from the internet' >"$dir/site/index.html"
head -c 268435456 /dev/urandom >"$dir/site/big"
cat >"$dir/nginx.conf" <<NGINX
daemon off;
worker_processes 1;
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fcgi;
	uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
	ssl_protocols TLSv1.3;
	client_max_body_size 0;
	server {
		listen 127.0.0.1:$camouflage_port ssl http2;
		server_name camouflage.test;
		ssl_certificate $dir/camouflage.test.crt; ssl_certificate_key $dir/camouflage.test.key;
		root $dir/camouflage;
	}
	server {
		listen 127.0.0.1:$site_port ssl;
		ssl_certificate $dir/localhost.crt; ssl_certificate_key $dir/localhost.key;
		root $dir/site;
	}
}
NGINX
chmod 755 "$dir"
sed -i "1i user $(id -un);" "$dir/nginx.conf"
nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/nginx.log" 2>/dev/null &
pids+=($!)

say "keys, a user, two configurations"
keys=$("$build/culvert" keys --json) || exit 1
key() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$keys" "$1"; }
uuid=$("$build/culvert" uuid)
cat >"$dir/server.json" <<JSON
{
	"log": {"loglevel": "info", "error": "$dir/server.log"},
	"culvert": {"controlSocket": "$dir/server.sock"},
	"inbounds": [{
		"tag": "vless-in", "listen": "127.0.0.1", "port": $server_port, "protocol": "vless",
		"settings": {
			"clients": [{"id": "$uuid", "email": "demo@culvert", "flow": "xtls-rprx-vision"}],
			"decryption": "none"
		},
		"streamSettings": {"network": "raw", "security": "reality", "realitySettings": {
			"target": "127.0.0.1:$camouflage_port", "serverNames": ["camouflage.test"],
			"privateKey": "$(key privateKey)", "shortIds": ["0123456789abcdef"]
		}}
	}],
	// the demo's internet is this machine: private destinations are refused otherwise
	"outbounds": [{"tag": "direct", "protocol": "freedom", "settings": {"allowPrivate": true}}]
}
JSON
cat >"$dir/client.json" <<JSON
{
	"log": {"loglevel": "info", "error": "$dir/client.log"},
	"culvert": {"controlSocket": "$dir/client.sock"},
	"inbounds": [{"tag": "socks-in", "listen": "127.0.0.1", "port": $socks_port, "protocol": "socks"}],
	"outbounds": [{
		"tag": "proxy", "protocol": "vless",
		"settings": {"vnext": [{"address": "127.0.0.1", "port": $server_port, "users": [
			{"id": "$uuid", "encryption": "none", "flow": "xtls-rprx-vision"}]}]},
		"streamSettings": {"network": "raw", "security": "reality", "realitySettings": {
			"serverName": "camouflage.test", "fingerprint": "chrome",
			"password": "$(key password)", "shortId": "0123456789abcdef"
		}}
	}]
}
JSON
prove "both configurations pass culvert check" \
	sh -c "'$build/culvert' check '$dir/server.json' && '$build/culvert' check '$dir/client.json'"

wait_port() { # wait_port PORT SECONDS
	for _ in $(seq $(($2 * 10))); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
		sleep 0.1
	done
	return 1
}
wait_port "$camouflage_port" 10 || { cat "$dir/nginx.log"; exit 1; }

say "server and client start (the server first learns its target: about 6 s)"
"$build/culvertd" -c "$dir/server.json" &
server_pid=$!
"$build/culvertd" -c "$dir/client.json" &
client_pid=$!
pids+=("$server_pid" "$client_pid")
wait_port "$server_port" 30 && wait_port "$socks_port" 10 || { cat "$dir"/*.log; exit 1; }

site=https://localhost:$site_port
through=(curl -sS --max-time 60 --cacert "$dir/localhost.crt" --socks5-hostname "127.0.0.1:$socks_port")

say "a browser's way: curl -> SOCKS5 -> client -> server -> site"
prove "the page arrives" sh -c '[ "$("$@")" = "hello from the internet" ]' sh "${through[@]}" "$site/"
want=$(sha256sum <"$dir/site/big")
got=$("${through[@]}" "$site/big" | sha256sum)
prove "256 MiB arrive unchanged" [ "$want" = "$got" ]

say "a stranger's way: the same port without the secret"
stranger=(curl -sS --max-time 20 --cacert "$dir/camouflage.test.crt"
	--resolve "camouflage.test:$server_port:127.0.0.1" "https://camouflage.test:$server_port/")
fingerprint_at() {
	openssl s_client -connect "127.0.0.1:$1" -servername camouflage.test </dev/null 2>/dev/null |
		openssl x509 -noout -fingerprint -sha256
}
prove "the stranger gets the camouflage site's page, its certificate verifies" \
	sh -c '"$@" | grep -q "ordinary web site"' sh "${stranger[@]}"
prove "the certificate is byte for byte the site's own" \
	[ "$(fingerprint_at "$server_port")" = "$(fingerprint_at "$camouflage_port")" ]

say "who carries the bytes (a download of 256 MiB at 20 MiB/s runs)"
# The page first, on the same connection: Vision goes raw with a packet that is whole records of
# data, and on a busy machine the first request shares its packet with the end of the handshake.
"${through[@]}" --limit-rate 20M -o /dev/null "$site/" -o /dev/null "$site/big" &
download=$!
look() { # look NAME -> "uplink-engine bytes downlink-engine bytes"
	"$build/culvert" show sessions --control "$dir/$1.sock" --json | python3 -c '
import json, sys
for s in json.load(sys.stdin)["sessions"]:
    if s["state"] == "relay" and s["downlink"]["bytes"] > 1 << 20:
        print(s["uplink"]["engine"], s["uplink"]["bytes"], s["downlink"]["engine"],
              s["downlink"]["bytes"], s["downlink"]["kernel_bytes"])'
}
sleep 1
before=$(look server)
for _ in 1 2 3; do
	for name in server client; do
		read -r up up_bytes down down_bytes kernel_bytes < <(look $name)
		printf '   %s: uplink %-7s %8s bytes   downlink %-7s %11s bytes (%s by the kernel)\n' \
			"$name" "${up:-?}" "${up_bytes:-?}" "${down:-?}" "${down_bytes:-?}" "${kernel_bytes:-?}"
	done
	sleep 0.2
done
after=$(look server)
prove "the counters move while the download runs" \
	[ "$(echo "$after" | cut -d' ' -f4)" -gt "$(echo "$before" | cut -d' ' -f4)" ]
in_kernel() { # in_kernel "UPLINK-ENGINE BYTES DOWNLINK-ENGINE ..."
	read -r up _ down _ <<<"$1"
	[[ $up =~ ^(splice|sockmap)$ && $down =~ ^(splice|sockmap)$ ]]
}
prove "the kernel carries both directions at the server" in_kernel "$after"
prove "the kernel carries both directions at the client" in_kernel "$(look client)"
kill "$download" 2>/dev/null
wait "$download" 2>/dev/null

say "share link of the demo user (scan or paste into a client)"
"$build/culvert" link demo@culvert -c "$dir/server.json" --host 127.0.0.1
prove "the link was made" [ $? -eq 0 ]
printf '\n   socks5h://127.0.0.1:%s is open\n' "$socks_port"

if [ -n "$seconds" ]; then
	sleep "$seconds"
else
	echo '   Ctrl-C ends the demo'
	sleep infinity &
	pids+=($!)
	wait $!
fi
