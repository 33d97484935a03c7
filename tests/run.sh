#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - the test driver behind make test, test-long, test-vm, check, fuzz, interop
#
#	check		lint, its self-test, unit tests: no root, no network, seconds
#	test		check + fuzz 10 s each + end to end + detect + interop
#	test-long	fuzz 60 s each, unit tests under TSan, 31 000 handovers for each engine, end
#			to end under ASan+UBSan and as a user without rights through pinned maps,
#			a soak of two minutes, guests
#	soak		ten thousand sessions, floods, dawdlers, 100 000 probes; then SOAK_MINUTES
#			(20) of everything, with the programs in CULVERT_BUILD (build)
#	guests		what leans on the kernel, on each Debian kernel of GUEST_KERNELS
#
# Every stage adds to three counts; failures and skips are repeated with their reasons at
# the end, whose last line is "N passed, N failed, N skipped". Status 1 if anything failed.
# What fails among others is looked at again alone: second_look.sh.

set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
results=$root/build/test
passed=0 failed=0 skipped=0
failures=() skips=()
export TSAN_OPTIONS="suppressions=$root/tests/tsan.supp print_suppressions=0"
mkdir -p "$results"
. tests/second_look.sh
# the builds below are makes of their own, with jobs of their own
unset MAKEFLAGS MFLAGS MAKELEVEL

stage() { printf '\n== %s (%s)\n' "$1" "$(date -u +%T)"; }
pass() { passed=$((passed + ${1:-1})); }
fail() { failed=$((failed + 1)); failures+=("$1"); printf '   FAILED %s\n' "$1"; }
skip() { skipped=$((skipped + 1)); skips+=("$1"); printf '   skipped %s\n' "$1"; }
fuzz_session_weight=2
fuzz_in_parallel=$((3 * $(nproc))) # 45 targets one by one would take all the time there is
planted_faults="sim-lose sim-double sim-reset sim-fin sim-widen sim-drained sim-count sim-deadline \
	sim-buffer sim-descriptor"
python_in_parallel=$(($(nproc) + 2))
python_longest='test_(edge_routes|classify|limits|matrix|go|nginx|mux|show|upstreams|vision|transports)\.py'
guest_seconds=900
guest_mutations=asan/unit/test_session_ktls # only there rules can be left out

# Build something; without it the stage that wanted it has failed.
build()
{
	stage "building $*"
	make "$@" && return 0
	fail "make $*"
	return 1
}

lint()
{
	stage "lint"
	if tools/build/lint.sh; then pass; else fail "lint"; fi
	if tests/lint_selftest.sh; then pass; else fail "lint_selftest"; fi
}

# unit_one PROGRAM - called through xargs; leaves a log and a status
unit_one()
{
	local log=$results/$(basename "$1").log
	timeout -k 5 "${CULVERT_LONG:+1}300" "$1" >"$log" 2>&1 </dev/null
	echo $? >"${log%.log}.status"
}

# unit DIRECTORY [PATTERN] - run each cmocka program found there; some only wait
unit()
{
	local program name programs=()
	stage "unit tests in $1"
	for program in tests/unit/test_${2:-*}.c; do
		[ ! -e "$program" ] || programs+=("$(basename "$program" .c)")
	done
	[ ${#programs[@]} -gt 0 ] || { fail "no unit tests found"; return; }
	export -f unit_one
	export results
	rm -f "$results"/test_*.status
	printf '%s\n' "${programs[@]/#/$1/}" |
		xargs -P "$(($(nproc) + 1))" -I PROGRAM bash -c 'unit_one PROGRAM'
	for name in "${programs[@]}"; do
		unit_result "$1/$name"
	done
}

unit_result()
{
	local name log status
	name=$(basename "$1")
	log=$results/$name.log
	status=$(cat "$results/$name.status")
	if [ "$status" -ne 0 ] && second_look "$name" "$log" "$1"; then
		sed 's/^/   | /' "$log" | tail -n 40
		log=$log.again status=0
	fi
	unit_count "$name" "$log" "$status"
}

unit_count()
{
	local ok bad
	ok=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$2" | awk '{n += $1} END {print n + 0}')
	pass "$ok"
	bad=$(sed -n 's/^\[  FAILED  \] \([A-Za-z_].*\)/\1/p' "$2" | sort -u)
	while read -r bad; do
		[ -z "$bad" ] || fail "$1: $bad"
	done <<<"$bad"
	while read -r bad; do
		skip "$1: $bad"
	done < <(sed -n 's/^\[  SKIPPED \] \([A-Za-z_].*\)/\1/p' "$2" | sort -u)
	if [ "$3" -ne 0 ]; then
		grep -vE '^\[ RUN|^\[       OK' "$2" | tail -n 40 | sed 's/^/   | /'
		grep -q '^\[  FAILED  \]' "$2" || fail "$1: ended with status $3"
	elif [ "$ok" -eq 0 ] && grep -q '^skipped: ' "$2"; then
		skip "$1: $(sed -n 's/^skipped: //p' "$2" | head -n 1)"
	elif [ "$ok" -eq 0 ]; then
		fail "$1: ran no test"
	else
		printf '   %-28s %s passed\n' "$1" "$ok"
	fi
}

# fuzz_one NAME SECONDS - called through xargs; prints one line, status 1 on a finding
fuzz_one()
{
	local name=$1 seconds=$2 log=$results/fuzz_$1.log runs
	local seeds=tests/fuzz/corpus/$name found=build/fuzz/found/$name
	[ -n "$(ls "$seeds" 2>/dev/null)" ] || { echo "$name has no seed corpus in $seeds"; return 1; }
	mkdir -p "$found" build/fuzz/crash
	if build/fuzz/"fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
		-artifact_prefix=build/fuzz/crash/"$name"- "$found" "$seeds" >"$log" 2>&1
	then
		runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log")
		printf '   %-28s %s runs\n' "fuzz_$name" "$runs"
	else
		tail -n 30 "$log" | sed 's/^/   | /'
		return 1
	fi
}

fuzz_names()
{
	(cd tests/fuzz && ls fuzz_*.c 2>/dev/null) | sed 's/^fuzz_//; s/\.c$//'
}

# fuzz_weight NAME - whole sessions have more to them than one codec
fuzz_weight()
{
	case $1 in session*) echo "$fuzz_session_weight" ;; *) echo 1 ;; esac
}

# fuzz SECONDS - of each target; with FUZZ_TOTAL_MINUTES of all together
fuzz()
{
	local seconds=$1 name names weights=0
	names=$(fuzz_names)
	[ -n "$names" ] || { fail "no fuzz targets found"; return; }
	if [ -n "${FUZZ_TOTAL_MINUTES:-}" ]; then
		fuzz_session_weight=8 fuzz_in_parallel=$(nproc)
		for name in $names; do weights=$((weights + $(fuzz_weight "$name"))); done
		seconds=$((FUZZ_TOTAL_MINUTES * 60 / weights))
	fi
	stage "fuzzing, $seconds s each, sessions $fuzz_session_weight times as long, $fuzz_in_parallel at a time"
	export -f fuzz_one
	export results
	rm -f "$results"/fuzz_good.*
	# the longest first
	for name in $names; do
		echo "$name $((seconds * $(fuzz_weight "$name")))"
	done | sort -k2,2nr -k1,1 | xargs -P "$fuzz_in_parallel" -L 1 bash -c \
		'fuzz_one "$0" "$1" && : >"$results/fuzz_good.$0"'
	for name in $names; do
		if [ -e "$results/fuzz_good.$name" ]; then pass; else fail "fuzz_$name"; fi
	done
	fuzz_selftest
	fuzz_starved "$seconds"
}

# fuzz_selftest - would the fuzzer of whole sessions notice? One fault at a time is planted, its
# own corpus has to find it
fuzz_selftest()
{
	local fault log found=0
	for fault in $planted_faults; do
		log=$results/fuzz_selftest_$fault.log
		if CULVERT_MUTATION=$fault timeout 120 build/fuzz/fuzz_session -runs=0 \
			-artifact_prefix="$results/" tests/fuzz/corpus/session >"$log" 2>&1 ||
			! grep -q 'does not hold' "$log"
		then
			fail "fuzz_session does not notice $fault"
		else
			pass
			found=$((found + 1))
		fi
	done
	printf '   fuzz_session notices %d planted faults\n' $found
}

# fuzz_starved SECONDS - the seeds of whole sessions again, while allocations fail; TLS has so many
# that it gets no further in the same time
fuzz_starved()
{
	local name places=$1 runs=()
	for name in session session_tls; do
		CULVERT_SIM_STARVE=$places build/fuzz/"fuzz_$name" -runs=0 -timeout=300 \
			-artifact_prefix=build/fuzz/crash/"starved-$name"- "tests/fuzz/corpus/$name" \
			>"$results/fuzz_starved_$name.log" 2>&1 &
		runs+=($!)
		places=$((1 + places / 6))
	done
	for name in session session_tls; do
		if wait "${runs[0]}"; then
			pass
		else
			tail -n 30 "$results/fuzz_starved_$name.log" | sed 's/^/   | /'
			fail "fuzz_$name without memory"
		fi
		runs=("${runs[@]:1}")
	done
}

# fuzz_merge - what was found joins the seeds, as little of it as reaches all
fuzz_merge()
{
	local name
	stage "merging what was found into tests/fuzz/corpus"
	for name in $(fuzz_names); do
		[ -d "build/fuzz/found/$name" ] || continue
		if tests/fuzz/thin.py "build/fuzz/fuzz_$name" "tests/fuzz/corpus/$name" \
			"build/fuzz/found/$name"
		then
			pass
		else
			fail "merging of $name"
		fi
	done
}

# python_one REPORT SECONDS PYTEST-ARGUMENT... - called through xargs; a line per failure and a sum
python_one()
{
	local report=$1 log=${1%.xml}.log status
	shift
	rm -f "$report"
	timeout -k 30 "$1" /usr/bin/python3 -m pytest -p no:cacheprovider -v --tb=short \
		--durations=5 --junitxml="$report" "${@:2}" >"$log" 2>&1 </dev/null
	status=$?
	echo $status >"${report%.xml}.status"
	[ $status -lt 2 ] || printf '   %s ended with status %d\n' "$2" $status
	sed -n '/^=.* FAILURES\|^=.* ERRORS/,/^=.* slowest\|^-* generated/p' "$log" | head -n 200
	grep -E '^(FAILED|ERROR) ' "$log" | cut -c1-300
	printf '   %-28s %s\n' "$(basename "$2" .py) ${*:3}" "$(tail -n 1 "$log" | tr -d =)"
}

longest_first()
{
	ls -S "$@" | grep -E "$python_longest"
	ls -S "$@" | grep -vE "$python_longest"
}

# python_suite NAME BUILD SECONDS FILE... [-- PYTEST-ARGUMENT...] - each file is a pytest of its
# own, $python_in_parallel at a time, the longest first: most of their time they wait
python_suite()
{
	local name=$1 binaries=$2 seconds=$3 files=() file number=0
	shift 3
	stage "$name with the programs in $binaries"
	[ "$(id -u)" = 0 ] || { skip "$name: needs root (network namespaces)"; return; }
	while [ $# -gt 0 ] && [ "$1" != -- ]; do files+=("$1"); shift; done
	[ $# -eq 0 ] || shift
	rm -f "$results/$name"-*
	export -f python_one
	# shellcheck disable=SC2016
	longest_first "${files[@]}" | CULVERT_BUILD=$root/$binaries CULVERT_OPENSSL=$openssl \
		PYTHONDONTWRITEBYTECODE=1 xargs -P "$python_in_parallel" -I FILE bash -c \
		'python_one "$0-$(basename FILE .py).xml" "$1" FILE "${@:2}"' "$results/$name" "$seconds" "$@"
	for file in "${files[@]}"; do
		file=$results/$name-$(basename "$file" .py)
		case $(cat "$file.status" 2>/dev/null) in
		0 | 1) number=$((number + 1)) ;;
		5) ;; # none of its tests was asked for
		124) fail "$name: $(basename "$file") not done after $seconds s" ;;
		*) fail "$name: $(basename "$file"): pytest itself failed" ;;
		esac
		CULVERT_BUILD=$root/$binaries CULVERT_OPENSSL=$openssl PYTHONDONTWRITEBYTECODE=1 \
			python_count "$file.xml" "" "$file.log"
	done
	[ $number -gt 0 ] || fail "$name: no tests found"
}

# python_count REPORT PREFIX [LOG] - with a log, failures get a second look
python_count()
{
	local kind text place
	while IFS=$'\t' read -r kind text; do
		case $kind in
		pass) pass "$text" ;;
		fail)
			place=${text%%::*}
			if [ -n "${3:-}" ] && second_look "$text" "$3" /usr/bin/python3 -m pytest \
				-p no:cacheprovider -q "${place//.//}.py::${text#*::}"
			then
				pass
			else
				fail "$2$text"
			fi
			;;
		skip) skip "$2$text" ;;
		esac
	done < <(python_report "$1")
}

python_report()
{
	[ -e "$1" ] || return 0
	/usr/bin/python3 - "$1" <<-'PYTHON'
	import sys
	import xml.etree.ElementTree as tree

	passed = 0
	for case in tree.parse(sys.argv[1]).iter("testcase"):
	    name = "%s::%s" % (case.get("classname"), case.get("name"))
	    skip = case.find("skipped")
	    if case.find("failure") is not None or case.find("error") is not None:
	        print("fail\t%s" % name)
	    elif skip is not None:
	        print("skip\t%s: %s" % (name, (skip.get("message") or "").replace("\n", " ")))
	    else:
	        passed += 1
	print("pass\t%d" % passed)
	PYTHON
}

# interop_run LOG - called in a process group of its own; its top-level results are shown, LOG.status
# is go's
interop_run()
{
	cd tests/interop || exit
	CULVERT_BUILD=$root/build CULVERT_INTEROP_REQUIRED=1 GOTOOLCHAIN=local timeout -k 30 1200 \
		go test -count=1 -v -timeout 18m ./... </dev/null 2>&1 | tee "$1" |
		grep --line-buffered -E '^(---|FAIL|ok|panic|#)' | sed -u 's/^/   /'
	echo "${PIPESTATUS[0]}" >"$1.status"
}

# interop_begin - it runs beside what comes next, until interop_end
interop_begin()
{
	local need have log=$results/interop.log
	interop_pid=
	stage "interop (Go)"
	[ -f tests/interop/go.mod ] || { fail "interop: no tests found"; return; }
	need=$(sed -n 's/^go \([0-9.]*\).*/\1/p' tests/interop/go.mod)
	have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//')
	if [ -z "$have" ] || dpkg --compare-versions "$have" lt "$need"; then
		skip "interop: needs Go $need, this machine has ${have:-none}"
		return
	fi
	rm -f "$log" "$log.status"
	export -f interop_run
	export root
	# shellcheck disable=SC2016
	setsid bash -c 'interop_run "$0"' "$log" &
	interop_pid=$!
	trap 'kill -- -$interop_pid 2>/dev/null' EXIT
}

interop_end()
{
	local log=$results/interop.log line failing
	[ -n "$interop_pid" ] || return
	wait "$interop_pid"
	trap - EXIT
	[ "$(cat "$log.status" 2>/dev/null)" = 0 ] || grep -q -- '--- FAIL' "$log" ||
		{ tail -n 30 "$log"; fail "interop: go test ended without a result"; }
	pass "$(grep -c -- '--- PASS' "$log")"
	failing=$(sed -n 's/^--- FAIL: \([^ ]*\).*/\1/p' "$log")
	for line in $failing; do
		sed -n "/^=== RUN   $line\$/,/^--- FAIL: $line /p" "$log" | grep -E '_test.go:|\.go:[0-9]|FAIL' |
			tail -n 40
		if second_look "interop $line" "$log" env CULVERT_BUILD="$root/build" \
			CULVERT_INTEROP_REQUIRED=1 GOTOOLCHAIN=local \
			go test -C tests/interop -count=1 -run "^$line\$" ./...
		then
			pass
			failing=$(grep -vx "$line" <<<"$failing")
		fi
	done
	while read -r line; do # a test in a test has failed with it
		line=${line#--- FAIL: }
		! grep -qx "${line%%[/ ]*}" <<<"$failing" || fail "interop $line"
	done < <(grep -- '--- FAIL' "$log")
	while read -r line; do
		skip "interop $line"
	done < <(grep -B1 -- '--- SKIP' "$log" | grep -v '^--$' | paste -d ' ' - -)
}

# guests - some unit tests and some end-to-end tests on other kernels
guests()
{
	local kernel why programs
	programs=$(guest_units)
	# shellcheck disable=SC2086
	build $(printf 'build/%s ' $programs) || return
	build SANITIZE=address,undefined "build/$guest_mutations" || return
	for kernel in ${GUEST_KERNELS:-6.1 trixie}; do
		stage "guest with kernel $kernel"
		if why=$(tests/vm/guest -k "$kernel" --prepare 2>&1); then
			# shellcheck disable=SC2086
			guest_one "$kernel" $programs "$guest_mutations"
		else
			skip "guest $kernel: $(tail -n 1 <<<"$why")"
		fi
	done
}

# soak - what test_hostile.py and test_soak.py do in small, for as long as it takes; shown meanwhile
soak()
{
	local name binaries=${CULVERT_BUILD:-build} report
	[ "$(id -u)" = 0 ] || { skip "soak: needs root (network namespaces)"; return; }
	for name in ${SOAK_ONLY:-hostile soak}; do
		report=$results/soak-$name.xml
		stage "$name with the programs in $binaries"
		rm -f "$report"
		CULVERT_BUILD=$(realpath "$binaries") CULVERT_SOAK=1 PYTHONDONTWRITEBYTECODE=1 \
			SOAK_MINUTES=${SOAK_MINUTES:-20} /usr/bin/python3 -u -m pytest -s -q --tb=short \
			-p no:cacheprovider --junitxml="$report" "tests/e2e/test_$name.py" </dev/null
		[ -e "$report" ] || fail "soak: $name ended without a result"
		python_count "$report" "soak "
	done
}

guest_one()
{
	local kernel=$1 folder=$results/guest-$1 program started=$SECONDS
	shift
	rm -rf "$folder"
	mkdir -p "$folder"
	CULVERT_OPENSSL=$openssl tests/vm/guest -k "$kernel" -t "$guest_seconds" --strict -- \
		tests/vm/suite "$folder" "$@"
	case $? in
	0) ;;
	99) fail "guest $kernel: the kernel complained" ;;
	124) fail "guest $kernel: not done after $guest_seconds s" ;;
	*) fail "guest $kernel: the guest itself failed" ;;
	esac
	for program in "${@//\//-}"; do
		[ ! -e "$folder/$program.status" ] || unit_count "guest $kernel ${program##*-}" \
			"$folder/$program.log" "$(cat "$folder/$program.status")"
	done
	grep -E '^(FAILED|ERROR|E  )|^=.* in [0-9.]+s' "$folder/e2e.log" | sed 's/^/   /'
	if [ -e "$folder/e2e.xml" ]; then
		python_count "$folder/e2e.xml" "guest $kernel "
	else
		fail "guest $kernel: no end-to-end results"
	fi
	printf '   guest %s took %d s\n' "$kernel" $((SECONDS - started))
}

# Unit tests of the files that call the kernel.
guest_units()
{
	local name
	for name in 'kernel_*' 'ring*' timer connect resolver 'listen*' 'engine*' 'copy*' \
		'splice*' 'flow*' pipe_pool '*ktls' 'classify*' \
		'sockmap*' promotion session_limits; do
		# shellcheck disable=SC2086
		(cd tests/unit && ls test_$name.c 2>/dev/null)
	done | sed 's/\.c$//; s/^/unit\//' | grep -v test_session_ktls | sort -u
}

summary()
{
	local line
	printf '\n'
	for line in "${unsteady[@]}"; do
		printf 'unsteady: %s: failed once, then passed three times alone\n' "$line"
	done
	for line in "${skips[@]}"; do printf 'skipped: %s\n' "$line"; done
	for line in "${failures[@]}"; do printf 'failed: %s\n' "$line"; done
	printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
	[ $failed -eq 0 ] && [ $passed -gt 0 ]
}

openssl=$(command -v openssl || true)
[ ! -x build/deps/bin/openssl ] || openssl=$root/build/deps/bin/openssl
asan_units="SANITIZE=address,undefined units"
fuzzers="SANITIZE=fuzzer,address,undefined fuzzers"

# shellcheck disable=SC2086
case ${1:-test} in
check)
	lint
	build $asan_units && unit build/asan/unit
	;;
test)
	tools/build/deps.sh test || fail "tools/build/deps.sh"
	lint
	build all
	build $asan_units && unit build/asan/unit
	build $fuzzers && fuzz "${FUZZ_SECONDS:-10}"
	openssl=$(command -v openssl)
	[ ! -x build/deps/bin/openssl ] || openssl=$root/build/deps/bin/openssl
	interop_begin
	python_suite e2e build 900 tests/e2e/test_*.py tests/detect/test_*.py
	interop_end
	;;
test-long)
	tools/build/deps.sh test || fail "tools/build/deps.sh"
	build all
	build $fuzzers && fuzz "${FUZZ_SECONDS:-60}"
	build SANITIZE=thread units && unit build/tsan/unit
	build build/unit/test_engine_matrix && CULVERT_LONG=1 unit build/unit engine_matrix
	build asan && CULVERT_LONG=1 python_suite e2e-asan build/asan 1200 \
		tests/e2e/test_*.py tests/detect/test_*.py
	CULVERT_PINNED=1 python_suite e2e-pinned build 600 tests/e2e/test_{reality,socks,vision,vless}.py
	build tsan && python_suite e2e-tsan build/tsan 600 tests/e2e/test_*.py -- -k 'curl or half_close or stranger'
	guests
	;;
guests)
	tools/build/deps.sh test || fail "tools/build/deps.sh"
	build all && guests
	;;
soak)
	tools/build/deps.sh test || fail "tools/build/deps.sh"
	build all && { [[ ${CULVERT_BUILD:-} != *asan* ]] || build asan; } && soak
	;;
fuzz)
	build $fuzzers && fuzz "${FUZZ_SECONDS:-60}"
	;;
fuzz-merge)
	build $fuzzers && fuzz_merge
	;;
interop)
	build all && { interop_begin; interop_end; }
	;;
*)
	echo "usage: tests/run.sh check|test|test-long|soak|guests|fuzz|fuzz-merge|interop" >&2
	exit 2
	;;
esac
summary
