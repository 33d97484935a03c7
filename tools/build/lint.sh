#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lint.sh - the rules of the house that a machine can check
#
#	tools/build/lint.sh [TREE]	status 1 and one line "RULE FILE:LINE: ..." per violation
#
# tests/lint_selftest.sh breaks each rule once and expects to be told.

set -uo pipefail
rows_program=$(realpath "$(dirname "$0")")/rows.py
cd "${1:-$(dirname "$0")/../..}" || exit 2
export LC_ALL=C

found=$(mktemp)
trap 'rm -f "$found"' EXIT

c_files()
{
	find "$@" -type f -name '*.[ch]' 2>/dev/null | sort
}

text_files()
{
	find Makefile README.md .ci bpf user include tools conf tests -type f \
		! -path '*/corpus/*' ! -path '*/__pycache__/*' ! -name 'go.*' 2>/dev/null | sort
}

# An include only goes down; beside each other only where one is the other's library.
floors()
{
	c_files user include | xargs -r awk '
		BEGIN {
			split("base:1 wire:2 crypto:2 engine:3 ring:3 protocol:4 policy:5 " \
			      "session:6 control:7 config:7 sandbox:7", pairs, " ")
			for (i in pairs) {
				split(pairs[i], pair, ":")
				floor[pair[1]] = pair[2]
			}
			floor["main"] = 8
			beside["engine ring"] = beside["crypto wire"] = 1
		}
		FNR == 1 {
			here = FILENAME ~ /^user\/main\.c$/ ? "main" : FILENAME
			if (sub(/^user\//, "", here))
				sub(/\/.*/, "", here)
			else if (here != "main")
				here = "include"
			if (here != "include" && !(here in floor))
				print "floors " FILENAME ":1: " here " is no floor"
		}
		/^[ \t]*#[ \t]*include[ \t]*"/ {
			there = $0
			sub(/^[^"]*"/, "", there)
			sub(/".*/, "", there)
			if (there !~ /\//)
				next
			sub(/\/.*/, "", there)
			if (here == there || floor[there] && floor[there] < floor[here] ||
			    ((here " " there) in beside))
				next
			print "floors " FILENAME ":" FNR ": " here " includes " there
		}'
}

# library NAME INCLUDE-PATTERN ALLOWED-PATH-PATTERN
library()
{
	c_files user include tools bpf |
		grep -vE "$3" |
		xargs -r grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]$2" /dev/null |
		sed "s/^\([^:]*:[0-9]*\):/library \1: $1 is not for this floor:/"
}

libraries()
{
	library OpenSSL 'openssl/' '^user/crypto/|^user/protocol/tls_[a-z_]*\.[ch]$'
	library liburing 'liburing' '^user/ring/|^tools/load/'
	library libbpf 'bpf/|.*\.skel\.h' '^user/engine/|^tools/|^bpf/'
	library libyaml 'yaml\.h' '^user/config/'
	library libseccomp 'seccomp\.h' '^user/sandbox/'
	library nghttp2 'nghttp2/' '^user/protocol/h2_(frames|layer|server)\.[ch]$'
	library json-c 'json-c/|json\.h' '^user/config/|^user/control/|^tools/'
}

# wire/ and protocol/: bytes in, bytes out. Byte order and addresses as data are no calls.
sans_io()
{
	local headers calls
	headers='sys/(socket|uio|epoll|un|stat|mman|ioctl|time|select|types_io|eventfd|sendfile)'
	headers="<($headers|unistd|fcntl|poll|netdb|pthread|time|signal|dirent|netinet/tcp)[.]h>"
	calls='socket|connect|accept4?|bind|listen|shutdown|recv|recvfrom|recvmsg|send|sendto|sendmsg'
	calls="$calls|read|readv|write|writev|open|openat|close|poll|select|fopen|fread|fwrite|printf"
	calls="$calls|getaddrinfo|clock_gettime|gettimeofday|time|getrandom|ioctl|setsockopt|splice"
	c_files user/wire user/protocol | xargs -r awk -v headers="$headers" -v calls="$calls" '
		/^[ \t]*(\*|\/\*|\/\/)/ { next }
		/^[ \t]*#[ \t]*include/ && $0 ~ headers {
			print "sans-io " FILENAME ":" FNR ": " $0
		}
		{
			gsub(/"([^"\\]|\\.)*"/, "\"\"")
			gsub(/\/\*.*\*\/|\/\*.*|\/\/.*/, "")
			if ($0 ~ "(^|[^A-Za-z0-9_.>*])(" calls ")[(]")
				print "sans-io " FILENAME ":" FNR ": system function: " $0
		}'
}

sizes()
{
	c_files user include tools bpf tests | while read -r file; do
		expand "$file" | awk -v file="$file" '
			{
				gsub(/[\200-\277]/, "")
				if (length($0) > 100)
					print "columns " file ":" FNR ": " length($0) " > 100"
			}
			/^\{/ { start = FNR }
			/^\}/ && start {
				if (FNR - start - 1 > 100)
					print "function " file ":" start ": " FNR - start - 1 \
						" lines > 100"
				start = 0
			}
			END { if (FNR >= 800) print "file " file ":1: " FNR " lines, not < 800" }'
	done
}

forms()
{
	c_files user tools bpf tests | grep '\.c$' | xargs -r awk '
		FNR == 1 && $0 != "// SPDX-License-Identifier: MIT" {
			print "opening " FILENAME ":1: no SPDX line"
		}
		FNR == 2 && !/^\/\*/ { print "opening " FILENAME ":2: no block comment" }'
	c_files user include tools | xargs -r grep -nE \
		'^[[:space:]]*typedef[[:space:]]+(struct|union|enum)[^;]*\{' /dev/null |
		sed 's/^\([^:]*:[0-9]*\):/typedef \1:/'
	c_files user include | grep '\.h$' | xargs -r grep -LE '^#ifndef (CV|CULVERT)_[A-Z0-9_]+$' |
		sed 's/$/:1: no include guard/; s/^/guard /'
}

# Hosts by shape, not by name; and nobody's own folders.
places()
{
	local host='(deb|ftp|security|snapshot|proxy|sum|registry|index|static|repo[0-9]*|files)'
	text_files | xargs -r grep -InE '(^|[^A-Za-z0-9_.])/(work|root|home)/[A-Za-z.]' /dev/null |
		sed 's/^\([^:]*:[0-9]*\):/place \1: machine path:/'
	text_files | xargs -r grep -InE \
		"(^|[^A-Za-z0-9_.-])$host\.[a-z0-9-]+\.(org|io|com|net|dev)([^a-z]|$)" /dev/null |
		sed 's/^\([^:]*:[0-9]*\):/place \1: registry host:/'
}

rows()
{
	[ ! -e tests/rows.txt ] || /usr/bin/python3 "$rows_program" 2>&1 | sed 's/^/rows /'
}

{ floors; libraries; sans_io; sizes; forms; places; rows; } >"$found"
cat "$found"
if [ -s "$found" ]; then
	printf 'lint: %d violations\n' "$(wc -l <"$found")"
	exit 1
fi
printf 'lint: %d C files, no violation\n' "$(c_files user include tools bpf tests | wc -l)"
