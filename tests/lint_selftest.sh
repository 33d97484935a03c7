#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lint_selftest.sh - does make lint find what it claims to find?
#
# Makes a small tree that keeps every rule, expects no complaint; then breaks one rule at a
# time and expects exactly that rule to be named. A lint that says nothing fails here.

set -uo pipefail
cd "$(dirname "$0")/.."
lint=$PWD/tools/build/lint.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
checked=0 wrong=0

# clean_tree - a tree that keeps every rule
clean_tree()
{
	rm -rf "$tree"
	mkdir -p "$tree"/{user/{base,wire,crypto,ring,engine,protocol,config,session},include/culvert}
	mkdir -p "$tree"/{tools/load,tests,bpf}
	printf '# a Makefile\n' >"$tree/Makefile"
	printf '# a page\n' >"$tree/README.md"
	printf '/* x */\n#ifndef CV_BASE_LOG_H\n#define CV_BASE_LOG_H\n#endif\n' \
		>"$tree/user/base/log.h"
	opening >"$tree/user/wire/vless.c"
	printf '#include "base/log.h"\n' >>"$tree/user/wire/vless.c"
	opening >"$tree/tools/load/ring.c"
	printf '#include <liburing.h>\n' >>"$tree/tools/load/ring.c"
	printf '/* read(fd) and "open(it)" in a comment */\nint x; /* what write() does */\n' \
		>>"$tree/user/wire/vless.c"
}

opening()
{
	printf '// SPDX-License-Identifier: MIT\n/*\n * What it is.\n */\n'
}

# expect RULE WHAT - the tree breaks RULE once, in the way WHAT says
expect()
{
	local said
	checked=$((checked + 1))
	said=$("$lint" "$tree" 2>&1)
	if [ $? -ne 1 ] || [ "$(grep -vc '^lint: ' <<<"$said")" -ne 1 ] ||
		! grep -q "^$1 " <<<"$said"; then
		wrong=$((wrong + 1))
		printf 'lint_selftest: expected one %s (%s), lint said:\n%s\n' "$1" "$2" "$said"
	fi
	clean_tree
}

# broken_line FILE LINE - a fresh tree with LINE added to FILE
broken_line()
{
	[ -e "$tree/$1" ] || opening >"$tree/$1"
	printf '%b\n' "$2" >>"$tree/$1"
}

clean_tree
checked=1
"$lint" "$tree" >/dev/null || { wrong=1; echo "lint_selftest: a clean tree fails:"; "$lint" "$tree"; }

broken_line user/base/log.c '#include "wire/vless.h"'
expect floors "base includes wire"
broken_line user/wire/vless.c '#include "protocol/layer.h"'
expect floors "wire includes protocol"
broken_line user/wire/vless.c '#include "crypto/crypto.h"'
expect floors "wire includes crypto, which stands beside it"
broken_line user/ring/ring.c '#include "engine/engine.h"'
expect floors "ring includes engine, whose library it is"
broken_line user/session/leg.c '#include "config/config.h"'
expect floors "session includes config"
mkdir "$tree/user/helpers"
broken_line user/helpers/helper.c 'int x;'
expect floors "a folder that is no floor"

broken_line user/session/leg.c '#include <openssl/evp.h>'
expect library "OpenSSL in session"
broken_line user/protocol/reality.c '#include <openssl/evp.h>'
expect library "OpenSSL in protocol outside tls_*"
broken_line user/engine/engine.c '#include <liburing.h>'
expect library "liburing outside ring"
broken_line tools/x.c '#include <liburing.h>'
expect library "liburing in another tool"
broken_line user/session/leg.c '#include <bpf/libbpf.h>'
expect library "libbpf in session"
broken_line user/session/leg.c '#include "probe.skel.h"'
expect library "a skeleton in session"
broken_line user/session/leg.c '#include <json-c/json.h>'
expect library "json-c in session"

broken_line user/wire/vless.c '#include <sys/socket.h>'
expect sans-io "a socket header in wire"
broken_line user/protocol/tls_client.c '#include <unistd.h>'
expect sans-io "unistd.h in protocol"
broken_line user/wire/vless.c 'int f(int fd) { return write(fd, "", 0); }'
expect sans-io "a write in wire"
broken_line user/protocol/vision.c 'int f(void) { return clock_gettime(0, 0); }'
expect sans-io "the time in protocol"

broken_line user/wire/vless.c "int x; // $(printf 'x%.0s' {1..100})"
expect columns "a long line"
broken_line user/wire/vless.c "\t\t\t\t\t\t\t\t\t\t\t\tint tabs_count_eight;"
expect columns "a line long by its tabs"
broken_line user/wire/vless.c "int f(void)\n{\n$(printf '\\tf();\\n%.0s' {1..101})}"
expect function "a long function"
broken_line user/wire/vless.c "$(printf 'int x;\\n%.0s' {1..795})"
expect file "a long file"

printf '/*\n * What it is.\n */\n' >"$tree/user/base/log.c"
sed -i '1i // a line' "$tree/user/base/log.c"
expect opening "no SPDX line"
printf '// SPDX-License-Identifier: MIT\nint x;\n' >"$tree/user/base/log.c"
expect opening "no block comment"
broken_line user/base/log.c 'typedef struct cv_log {'
expect typedef "a struct behind a typedef"
printf '/* x */\nint x;\n' >"$tree/user/base/clock.h"
expect guard "a header without guard"

slash=/
broken_line tests/test_x.c "const char *path = \"${slash}root/x\";"
expect place "a machine path"
broken_line Makefile "# from registry.""example.org"
expect place "a registry host"

echo '1 a row' >"$tree/tests/rows.txt"
printf '<!-- rows: made by tools/build/rows.py -->\n| 1 |\n<!-- /rows -->\n' >"$tree/README.md"
expect rows "a table of rows that no test is there for"

printf 'lint_selftest: %d checked, %d wrong\n' $checked $wrong
[ $wrong -eq 0 ]
