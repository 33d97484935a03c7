#!/bin/bash
# SPDX-License-Identifier: MIT
#
# flags.sh - write what the compiler and linker need to know about this machine
#
#	tools/build/flags.sh FLAGS.MK VERSION.H
#
# A file is only touched when its content changes, so that nothing is rebuilt in vain.

set -euo pipefail

write_if_changed()
{
	local new
	new=$(cat)
	[ -e "$1" ] && [ "$new" = "$(cat "$1")" ] || printf '%s\n' "$new" >"$1"
}

flags()
{
	local libraries="liburing libbpf json-c libqrencode libbrotlidec libzstd zlib libcrypt"
	libraries="$libraries libargon2 libnghttp2 yaml-0.1 libseccomp"
	local ssl_cflags ssl_libs
	if [ -e build/deps/openssl.stamp ]; then
		ssl_cflags="-isystem build/deps/include"
		ssl_libs="build/deps/lib/libssl.a build/deps/lib/libcrypto.a -ldl"
	else
		pkg-config --atleast-version=3.5 libssl libcrypto ||
			{ echo "flags: OpenSSL >= 3.5 not found" >&2; exit 1; }
		ssl_cflags=$(pkg-config --cflags libssl libcrypto)
		ssl_libs=$(pkg-config --libs libssl libcrypto)
	fi
	# shellcheck disable=SC2086
	printf 'DEPS_CFLAGS := %s %s\n' "$ssl_cflags" "$(pkg-config --cflags $libraries)"
	# shellcheck disable=SC2086
	printf 'DEPS_LIBS := %s %s\n' "$ssl_libs" "$(pkg-config --libs $libraries)"
	# clang -target bpf does not look into the machine's own <asm/...>
	printf 'BPF_INCLUDES := -idirafter /usr/include/%s\n' "$(${CC:-cc} -print-multiarch)"
}

version()
{
	local commit
	commit=$(git describe --tags --always --dirty 2>/dev/null || echo unknown)
	printf '/* Generated. */\n#ifndef CV_GEN_VERSION_H\n#define CV_GEN_VERSION_H\n'
	printf '#define CULVERT_VERSION "0.1.0"\n#define CULVERT_COMMIT "%s"\n#endif\n' "$commit"
}

mkdir -p "$(dirname "$1")"
content=$(flags)
write_if_changed "$1" <<<"$content"
version | write_if_changed "$2"
