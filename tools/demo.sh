#!/bin/bash
# demo.sh - conf/vpn-server.json and conf/client.json, filled in and run on one machine, proved with real
# traffic.
#
#   curl --SOCKS5, HTTP--> client.json ====== REALITY, VLESS, Vision ====.
#   curl --SOCKS5--> forwarder ======= SOCKS5 over TLS ==================+==> vpn-server.json --> "internet"
#   curl ============================= HTTP proxy over TLS ==============|          |
#   visitor -------------------------- TLS to a site's own name ---------|          '-- SOCKS5 over TLS
#   stranger ------------------------- TLS to any other name ------------'                --> upstream proxy
#
# Everything lives in a temporary directory on loopback ports and is removed at the end.
# DEMO_SECONDS=n ends by itself after n seconds; otherwise Ctrl-C does. Exit status: 0 if every proof held.
set -u

build=$(realpath "${CULVERT_BUILD:-build}") || exit 1
conf=$(realpath "$(dirname "$0")/../conf") || exit 1
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
give_up() {
	failed=$((failed + 1))
	printf 'demo: %s\n' "$*" >&2
	tail -n 20 "$dir"/*.log >&2
	exit 1
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

read -r site_port camouflage_port own_port front_port socks_port http_port client_port forward_port \
	upstream_port < <(python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(9)]
print(*(one.getsockname()[1] for one in held))')

# ---- the world around: certificates, sites ------------------------------------------------------

certificate() { # certificate NAME...
	local names
	names=$(printf ',DNS:%s' "$@")
	openssl req -x509 -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -newkey ec \
		-pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=$1" \
		-addext "subjectAltName=${names#,}" -keyout "$dir/$1.key" -out "$dir/$1.crt" 2>/dev/null
}

say "a camouflage site, three sites of our own, a local \"internet\" site (nginx, TLS 1.3)"
chmod 755 "$dir"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=demo CA" \
	-keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
certificate camouflage.test
certificate blog.example.net cloud.example.net git.example.net
certificate vpn.example.net localhost
certificate upstream.example.org
mkdir -p "$dir/camouflage" "$dir/site" "$dir/own"
echo '<title>camouflage</title><h1>Nothing but an ordinary web site</h1>' >"$dir/camouflage/index.html"
echo 'hello from the internet' >"$dir/site/index.html"
echo 'a site of our own' >"$dir/own/index.html"
head -c 268435456 /dev/urandom >"$dir/site/big"
server() { # server PORT CERTIFICATE FOLDER [http2]
	printf 'server { listen 127.0.0.1:%s ssl %s; root %s; ssl_certificate %s.crt; ssl_certificate_key %s.key; }\n' \
		"$1" "${4:-}" "$dir/$3" "$dir/$2" "$dir/$2"
}
cat >"$dir/nginx.conf" <<NGINX
user $(id -un);
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
	$(server "$camouflage_port" camouflage.test camouflage http2)
	$(server "$own_port" blog.example.net own)
	$(server "$site_port" vpn.example.net site)
}
NGINX
nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/nginx.log" 2>/dev/null &
pids+=($!)

# ---- the server's files, as README says, and for one machine ------------------------------------

say "conf/ as it is shipped: what is there to fill in"
cp "$conf/vpn-server.json" "$conf/users.json" "$conf/external_proxy.json" "$conf/client.json" "$dir/"
cd "$dir" || exit 1
chmod 600 ./*.json
culvert() { "$build/culvert" "$@"; }
unfilled() { # unfilled FILE WORD...
	local text file=$1 word
	shift
	text=$("$build/culvertd" -t -c "$file" 2>&1)
	[ $? -eq 2 ] || return 1
	sed 's/^/   /' <<<"$text"
	for word in "$@"; do grep -q "$word" <<<"$text" || return 1; done
}
prove "culvertd does not start with the example's keys, and says what is missing" \
	unfilled vpn-server.json privateKey combined.pem "set-id alice" "set-id carol"
prove "nor does a client" unfilled client.json id password shortId

say "keys, ids, passwords"
json() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# the demo's ports, sites and internet, which is this machine
local_settings() { # local_settings NAME
	printf '"controlSocket": "%s.sock", "stateDirectory": ""' "$dir/$1"
}
sed -i -e "s|PRIVATE-KEY|$(culvert keys --json | json privateKey)|" \
	-e "s|www.microsoft.com:443|127.0.0.1:$camouflage_port|; s|www.microsoft.com|camouflage.test|g" \
	-e "s|127.0.0.1:944[345]|127.0.0.1:$own_port|" \
	-e "s|\"tag\": \"front\",|& \"listen\": \"127.0.0.1\",|; s|\"port\": 443|\"port\": $front_port|" \
	-e "s|\"tag\": \"socks-in\",|& \"listen\": \"127.0.0.1\",|; s|\"port\": 1080|\"port\": $socks_port|" \
	-e "s|\"tag\": \"http-in\",|& \"listen\": \"127.0.0.1\",|; s|\"port\": 8118|\"port\": $http_port|" \
	-e "s|\"protocol\": \"freedom\"|&, \"settings\": {\"allowPrivate\": true}|" \
	-e "s|\"externalProxyFile\"|$(local_settings server), &|" vpn-server.json
cat vpn.example.net.crt vpn.example.net.key >combined.pem
chmod 600 combined.pem
declare -A password
for user in alice bob carol; do
	culvert user set-id $user -c vpn-server.json || give_up "no id for $user"
	password[$user]=$(culvert user set-password $user -c vpn-server.json --json | json password)
done
upstream_password=$(openssl rand -hex 16)
culvert proxy update proxy-1 --address 127.0.0.1 --port "$upstream_port" --ca-file ca.crt \
	--user upstream-user --password-stdin -c vpn-server.json <<<"$upstream_password" ||
	give_up "the upstream proxy"

link=$(culvert link alice -c vpn-server.json --host 127.0.0.1 --json | json link)
of_link() { sed "s/.*[?&]$1=\([^&#]*\).*/\1/" <<<"$link"; }
id=${link#vless://}
sed -i -e "s|\"USER-ID:[^\"]*\"|\"${id%%@*}\"|; s|\"PUBLIC-KEY:[^\"]*\"|\"$(of_link pbk)\"|" \
	-e "s|\"SHORT-ID:[^\"]*\"|\"$(of_link sid)\"|; s|www.microsoft.com|camouflage.test|" \
	-e "s|vpn.example.net\"|127.0.0.1\"|; s|\"port\": 443|\"port\": $front_port|" \
	-e "s|\"port\": 1080|\"port\": $client_port|" \
	-e "s|^{\$|{ \"culvert\": {$(local_settings client)},|" client.json
# a client of the SOCKS5 proxy for programs that speak no TLS to one
culvert link bob -c vpn-server.json --host localhost --client --password-stdin <<<"${password[bob]}" |
	sed -e "s|\"port\":1080|\"port\": $forward_port|; 1s|{|{ \"culvert\": {$(local_settings forward)},|" \
		-e 's|"security":"tls"|&, "tlsSettings": {"certificates": [{"usage": "verify", "certificateFile": "ca.crt"}]}|' \
		>forwarder.json
# somebody else's proxy, somewhere else
cat >upstream.json <<JSON
{
	"culvert": {$(local_settings upstream)},
	"inbounds": [{
		"listen": "127.0.0.1", "port": $upstream_port, "protocol": "socks",
		"settings": {"auth": "password", "accounts": [{"user": "upstream-user", "pass": "$upstream_password"}]},
		"streamSettings": {"security": "tls", "tlsSettings": {"certificates": [
			{"certificateFile": "upstream.example.org.crt", "keyFile": "upstream.example.org.key"}]}}
	}],
	"outbounds": [{"protocol": "freedom", "settings": {"allowPrivate": true}}]
}
JSON
for name in vpn-server client forwarder upstream; do
	prove "$name.json passes culvert check" culvert check "$name.json" --offline
done

wait_port() { # wait_port PORT SECONDS
	for _ in $(seq $(($2 * 10))); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
		sleep 0.1
	done
	return 1
}
wait_port "$camouflage_port" 10 || give_up "nginx does not listen"

say "server, client, forwarder and upstream start (the server first learns its target: about 6 s)"
for name in vpn-server client forwarder upstream; do
	"$build/culvertd" -c "$name.json" >"$name.log" 2>&1 &
	pids+=($!)
done
for port in "$front_port" "$socks_port" "$http_port" "$client_port" "$forward_port" "$upstream_port"; do
	wait_port "$port" 30 || give_up "nobody listens on port $port"
done

# ---- proofs -------------------------------------------------------------------------------------

site=https://localhost:$site_port
curl=(curl -sS --max-time 60 --cacert ca.crt)
gets() { # gets TEXT CURL-ARGUMENT...
	local text=$1
	shift
	[ "$("${curl[@]}" "$@")" = "$text" ]
}
hello="hello from the internet"
through=(--proxy "socks5h://127.0.0.1:$client_port")

say "alice, by REALITY: curl -> SOCKS5 or HTTP -> client -> server -> site"
prove "the page arrives by SOCKS5" gets "$hello" "${through[@]}" "$site/"
prove "and by HTTP on the same port" gets "$hello" --proxy "http://127.0.0.1:$client_port" "$site/"
want=$(sha256sum <site/big)
got=$("${curl[@]}" "${through[@]}" "$site/big" | sha256sum)
prove "256 MiB arrive unchanged" [ "$want" = "$got" ]

say "who carries the bytes (a download of 256 MiB at 20 MiB/s runs)"
# The page first, on the same connection: Vision goes raw with a packet that is whole records of
# data, and on a busy machine the first request shares its packet with the end of the handshake.
"${curl[@]}" "${through[@]}" --limit-rate 20M -o /dev/null "$site/" -o /dev/null "$site/big" &
download=$!
look() { # look NAME -> "uplink-engine bytes downlink-engine bytes"
	culvert show sessions --control "$dir/$1.sock" --json | python3 -c '
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
moved() { cut -d' ' -f4 <<<"$1"; }
prove "the counters move while the download runs" [ "$(moved "${after:-0 0 0 0}")" -gt "$(moved "${before:-0 0 0 0}")" ]
in_kernel() { # in_kernel "UPLINK-ENGINE BYTES DOWNLINK-ENGINE ..."
	read -r up _ down _ <<<"$1"
	[[ $up =~ ^(splice|sockmap)$ && $down =~ ^(splice|sockmap)$ ]]
}
prove "the kernel carries both directions at the server" in_kernel "$after"
prove "the kernel carries both directions at the client" in_kernel "$(look client)"
kill "$download" 2>/dev/null
wait "$download" 2>/dev/null

say "bob, who has no VPN: SOCKS5 over TLS, HTTP proxy over TLS"
prove "the page arrives by SOCKS5 over TLS, through a forwarder" \
	gets "$hello" --proxy "socks5h://127.0.0.1:$forward_port" "$site/"
https_proxy_of() { echo "https://$1:$2@localhost:$http_port"; }
by_https=(--proxy-cacert ca.crt --proxy)
prove "the page arrives by the HTTP proxy over TLS" \
	gets "$hello" "${by_https[@]}" "$(https_proxy_of bob "${password[bob]}")" "$site/"
refused() { # refused CURL-ARGUMENT...
	local code
	code=$("${curl[@]}" -o /dev/null -w '%{http_connect}' "$@" 2>/dev/null)
	[ "$code" = 407 ]
}
prove "nothing arrives with a wrong password" \
	refused "${by_https[@]}" "$(https_proxy_of bob wrong)" "$site/"

say "carol, whose way out is an upstream proxy (external_proxy_id)"
accepted() { # by the upstream
	culvert show workers --control upstream.sock --json |
		python3 -c 'import json, sys; print(sum(w["accepted"] for w in json.load(sys.stdin)["workers"]))'
}
before=$(accepted)
prove "bob's page did not come through it" \
	gets "$hello" "${by_https[@]}" "$(https_proxy_of bob "${password[bob]}")" "$site/"
between=$(accepted)
prove "hers arrives" \
	gets "$hello" "${by_https[@]}" "$(https_proxy_of carol "${password[carol]}")" "$site/"
prove "and the upstream was asked for hers alone" \
	[ "$((between - before)) $(($(accepted) - between))" = "0 1" ]

say "visitors of our own sites, and strangers: the same port, without the secret"
seen_at() { # seen_at PORT NAME
	openssl s_client -connect "127.0.0.1:$1" -servername "$2" </dev/null 2>/dev/null |
		openssl x509 -noout -fingerprint -sha256
}
at_front() { # at_front NAME
	"${curl[@]}" --resolve "$1:$front_port:127.0.0.1" "https://$1:$front_port/"
}
for name in blog cloud git; do
	prove "$name.example.net answers with its own page and verifies" \
		[ "$(at_front $name.example.net)" = "a site of our own" ]
done
prove "its certificate is byte for byte its own" \
	[ "$(seen_at "$front_port" blog.example.net)" = "$(seen_at "$own_port" blog.example.net)" ]
prove "a stranger gets the camouflage site's page, its certificate verifies" \
	grep -q "ordinary web site" <(at_front camouflage.test)
prove "the certificate is byte for byte the site's own, by an unknown name as well" \
	[ "$(seen_at "$front_port" camouflage.test) $(seen_at "$front_port" unknown.test)" = \
	"$(seen_at "$camouflage_port" camouflage.test) $(seen_at "$camouflage_port" unknown.test)" ]

say "the whole of it, looked at as a stranger would (culvert selftest)"
selftest() {
	culvert selftest -c vpn-server.json --ca ca.crt | sed 's/^/   /'
	return "${PIPESTATUS[0]}"
}
prove "the installation keeps what it promises" selftest

say "alice's links (scan the first one, or paste it into a client)"
culvert link alice -c vpn-server.json --host 127.0.0.1
prove "the links were made" [ $? -eq 0 ]
printf '\n   socks5h://127.0.0.1:%s and http://127.0.0.1:%s are open\n' "$client_port" "$client_port"

if [ -n "$seconds" ]; then
	sleep "$seconds"
else
	echo '   Ctrl-C ends the demo'
	sleep infinity &
	pids+=($!)
	wait $!
fi
