#!/bin/bash
# SPDX-License-Identifier: MIT
#
# openssl.sh - build OpenSSL >= 3.5 once, static, into build/deps
#
# For distributions whose own OpenSSL is older (Debian 12 has 3.0). The source is
# Debian 13's source package, fetched by apt from the mirror that this machine's own
# sources name, its signature checked against Debian's archive keyring. apt works on a
# private set of lists under build/deps; the machine's configuration stays as it is.
# Result: build/deps/{include,lib,bin} and build/deps/openssl.stamp.

set -euo pipefail
cd "$(dirname "$0")/../.."

suite=trixie
floor=3.5
deps=$PWD/build/deps
private=$deps/apt
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
started=$(date +%s)

say() { printf 'openssl: %s\n' "$*"; }
die() { printf 'openssl: %s\n' "$*" >&2; exit 1; }

# Left out: what no part of culvert and none of its tests uses. Kept: TLS 1.2 and 1.3,
# X25519, ML-KEM, ML-DSA, Ed25519, ChaCha20, everything certificates need.
options="no-shared no-tests no-docs no-dso no-module no-engine no-legacy no-quic no-dtls
	no-comp no-ssl3 no-srp no-psk no-cms no-ts no-cmp no-slh-dsa no-aria no-bf no-camellia
	no-cast no-gost no-idea no-md4 no-mdc2 no-rc2 no-rc4 no-rc5 no-rmd160 no-seed no-siphash
	no-sm2 no-sm3 no-sm4 no-whirlpool no-afalgeng no-padlockeng no-capieng"

# "URI security-URI" of the Debian archive that this machine uses.
mirror_of()
{
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
		awk -v want="$1" '$1 ~ /^cdrom:/ { next }
			want == "security" && $2 ~ /security/ { print $1; exit }
			want == "main" && $2 !~ /security|updates|backports/ &&
				$1 ~ /debian\/?$/ { print $1; exit }
			want == "main" && $1 ~ /^(mirror|file|copy)/ { print $1; exit }'
}

source_list()
{
	local uri
	uri=$(mirror_of main)
	[ -n "$uri" ] || die "no Debian archive found in this machine's apt sources"
	printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$uri" $suite
	uri=$(mirror_of security)
	[ -z "$uri" ] || printf 'deb-src [signed-by=%s] %s %s-security main\n' \
		"$keyring" "$uri" $suite
}

# apt with its lists, cache and sources under build/deps; proxy and TLS settings stay.
private_apt()
{
	local program=$1
	shift
	"$program" -q -o Dir::Etc::sourcelist="$private/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State="$private/state" -o Dir::State::status=/var/lib/dpkg/status \
		-o Dir::Cache="$private/cache" -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::AllowInsecureRepositories=false "$@" \
		2>>"$deps/openssl.log"
}

# Versions offered, newest first. A mirror may list an update that it does not hold yet.
versions()
{
	local version
	for version in $(private_apt apt-cache showsrc openssl | sed -n 's/^Version: //p'); do
		! dpkg --compare-versions "$version" ge $floor || echo "$version"
	done | sort -Vru
}

fetch()
{
	local version
	[ -r "$keyring" ] || die "no $keyring: install debian-archive-keyring"
	mkdir -p "$private/state/lists/partial" "$private/cache/archives/partial"
	source_list >"$private/sources.list"
	say "reading $suite's source list (apt, signature checked)"
	private_apt apt-get update >"$deps/openssl.log" ||
		{ tail -n 20 "$deps/openssl.log" >&2; die "apt-get update failed (is \
debian-archive-keyring up to date? $suite's keys must be in it)"; }
	for version in $(versions); do
		say "fetching $version"
		(cd "$private" && private_apt apt-get source --download-only \
			openssl="$version") >>"$deps/openssl.log" || continue
		rm -rf "$deps/src"
		dpkg-source --no-copy -x "$private/openssl_$version.dsc" "$deps/src" \
			>>"$deps/openssl.log" 2>&1 || die "unpacking failed: see $deps/openssl.log"
		return
	done
	tail -n 20 "$deps/openssl.log" >&2
	die "no source package openssl >= $floor could be fetched from $suite"
}

# One line every ten seconds, so that nobody thinks it hangs.
compile()
{
	local jobs pid total done_count shown=0
	jobs=$(nproc)
	say "configuring"
	cd "$deps/src"
	# shellcheck disable=SC2086
	./Configure --prefix="$deps" --libdir=lib --openssldir=/etc/ssl $options -O2 -g0 \
		>>"$deps/openssl.log" 2>&1 ||
		{ tail -n 20 "$deps/openssl.log" >&2; die "Configure failed"; }
	total=$(make -n build_programs 2>/dev/null | grep -c -- ' -c -o ' || true)
	say "compiling about $total files with $jobs jobs"
	make -j"$jobs" build_libs apps/openssl >"$deps/make.log" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		sleep 1
		shown=$((shown + 1))
		[ $((shown % 10)) -eq 0 ] || continue
		done_count=$(grep -c -- ' -c -o ' "$deps/make.log" || true)
		say "$done_count of $total files, $(($(date +%s) - started)) s"
	done
	wait $pid || { tail -n 20 "$deps/make.log" >&2; die "make failed: see $deps/make.log"; }
	mkdir -p "$deps/include/openssl" "$deps/lib" "$deps/bin"
	cp include/openssl/*.h "$deps/include/openssl/"
	cp libssl.a libcrypto.a "$deps/lib/"
	cp apps/openssl "$deps/bin/"
}

main()
{
	mkdir -p "$deps"
	exec 9>"$deps/openssl.lock"
	flock 9
	[ ! -e "$deps/openssl.stamp" ] || exit 0
	fetch
	(compile)
	"$deps/bin/openssl" version >"$deps/openssl.stamp"
	rm -rf "$deps/src" "$private" "$deps/make.log"
	say "done in $(($(date +%s) - started)) s: $(cat "$deps/openssl.stamp")"
}

main "$@"
