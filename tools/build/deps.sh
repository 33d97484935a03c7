#!/bin/bash
# SPDX-License-Identifier: MIT
#
# deps.sh - make sure that what the build or the tests need is installed
#
#	tools/build/deps.sh build|check|run|test|bench
#
# Missing Debian packages are installed with apt-get (as root; otherwise they are
# named and the script ends with 1). Where the distribution's OpenSSL is older than
# 3.5 it is built once, static, into build/deps by tools/build/openssl.sh.
# With nothing missing this takes a few hundredths of a second.

set -euo pipefail
cd "$(dirname "$0")/../.."

build_packages="build-essential pkg-config clang llvm libclang-rt-dev bpftool
	libbpf-dev liburing-dev libjson-c-dev libqrencode-dev libbrotli-dev
	libzstd-dev zlib1g-dev libcrypt-dev libargon2-dev libnghttp2-dev
	libyaml-dev libseccomp-dev"
run_packages="nginx-light curl openssl iproute2 procps ca-certificates python3"
check_packages="libcmocka-dev"
test_packages="ethtool haproxy netcat-openbsd proxychains4 socat stunnel4 strace tcpdump
	python3-pytest python3-cryptography util-linux git whois argon2 fail2ban
	microsocks tinyproxy squid dnsmasq-base bind9-dnsutils
	chromium python3-prometheus-client python3-websockets"
bench_packages="libnginx-mod-stream linux-perf"
optional_packages="v2ray dante-server" # to talk to; not every distribution has them
services="nginx haproxy stunnel4 v2ray danted microsocks tinyproxy squid"
policy=/usr/sbin/policy-rc.d

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: %s\n' "$*" >&2; exit 1; }

packages_missing()
{
	local have
	have=$(dpkg-query -W -f '${binary:Package} ${db:Status-Status}\n' 2>/dev/null |
		sed -n 's/\(:[a-z0-9]*\)\? installed$//p')
	printf '%s\n' "$@" | grep -vxF -e "$have" || true
}

# Services that a package would start must not be left listening on this machine.
services_forbid()
{
	policy_saved=
	if [ -e $policy ]; then
		policy_saved=$policy.culvert-saved
		mv $policy "$policy_saved"
	fi
	trap services_allow EXIT
	trap 'exit 130' INT TERM HUP
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
}

services_allow()
{
	rm -f $policy
	[ -z "$policy_saved" ] || mv "$policy_saved" $policy
	trap - EXIT INT TERM HUP
}

apt_progress()
{
	awk -v count="$1" '
		/^(Err|E:|W:)/ { print "deps: " $0; fflush() }
		/^Setting up / && ++n % 20 == 0 {
			print "deps: " n " packages set up"; fflush() }
		/^Unpacking / && ++u % 20 == 0 {
			print "deps: " u " packages unpacked"; fflush() }
		/^Need to get / { print "deps: " $0; fflush() }'
}

packages_install()
{
	local log=build/deps/apt.log new_services="" service
	mkdir -p build/deps
	say "installing $# packages: $*"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -o DPkg::Lock::Timeout=900 update 2>&1 | tee "$log" | apt_progress 0
	for service in $services; do
		[ -e "/usr/sbin/$service" ] || [ -e "/usr/bin/$service" ] ||
			new_services="$new_services $service"
	done
	services_forbid
	apt-get -o DPkg::Lock::Timeout=900 -o Dpkg::Use-Pty=0 install -y \
		--no-install-recommends "$@" </dev/null 2>&1 |
		tee -a "$log" | apt_progress $# ||
		die "apt-get failed; its output is in $log"
	services_allow
	[ -d /etc/systemd/system ] && command -v systemctl >/dev/null || return 0
	for service in $new_services; do
		systemctl --no-reload disable "$service" >/dev/null 2>&1 || true
	done
}

# True if the distribution itself has OpenSSL 3.5 (Debian 13 and later).
openssl_is_new_enough()
{
	local version
	version=$(dpkg-query -W -f '${Version}' libssl-dev 2>/dev/null || true)
	[ -z "$version" ] || dpkg --compare-versions "$version" lt 3.5 || return 0
	version=$(apt-cache show --no-all-versions libssl-dev 2>/dev/null |
		sed -n 's/^Version: //p' | head -n 1)
	[ -n "$version" ] && dpkg --compare-versions "$version" ge 3.5
}

# Those of the arguments that the distribution has.
packages_known()
{
	local package
	for package in "$@"; do
		[ -z "$(apt-cache show --no-all-versions "$package" 2>/dev/null)" ] ||
			echo "$package"
	done
}

# The Go that tests/interop asks for: one in PATH, else the distribution's if new enough.
go_packages()
{
	local need candidate
	[ -f tests/interop/go.mod ] || return 0
	need=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' tests/interop/go.mod)
	! command -v go >/dev/null || return 0
	candidate=$(apt-cache show --no-all-versions golang-go 2>/dev/null |
		sed -n 's/^Version: [0-9]*:\{0,1\}\([0-9.]*\).*/\1/p' | head -n 1)
	[ -n "$candidate" ] || return 0
	# the package names only the release line (1.24), go.mod may name a patch (1.24.4)
	dpkg --compare-versions "$candidate" lt "$need" || echo golang-go
}

main()
{
	local purpose=${1:-build} wanted missing
	command -v dpkg-query >/dev/null ||
		die "this is not a Debian system: install the equivalents of: $build_packages"
	wanted=$build_packages
	case $purpose in
	check) wanted="$wanted $check_packages" ;;
	run) wanted="$wanted $run_packages" ;;
	test) wanted="$wanted $run_packages $check_packages $test_packages" ;;
	bench) wanted="$wanted $run_packages $check_packages $test_packages $bench_packages" ;;
	esac
	if [ ! -e build/deps/openssl.stamp ]; then
		if openssl_is_new_enough; then
			wanted="$wanted libssl-dev"
		else
			wanted="$wanted dpkg-dev perl debian-archive-keyring"
		fi
	fi

	# shellcheck disable=SC2086
	missing=$(packages_missing $wanted | tr '\n' ' ')
	if [ -n "$missing" ]; then
		[ "$(id -u)" = 0 ] ||
			die "missing packages; as root: apt-get install $missing"
		# shellcheck disable=SC2086
		packages_install $missing
	fi
	if [ "$purpose" = test ] || [ "$purpose" = bench ]; then
		# shellcheck disable=SC2046,SC2086 # lists of words; only now apt knows its packages
		missing=$(packages_missing $(go_packages) $(packages_known \
			$(packages_missing $optional_packages)) | tr '\n' ' ')
		[ -z "${missing// /}" ] || [ "$(id -u)" != 0 ] || packages_install $missing
	fi
	if [ ! -e build/deps/openssl.stamp ] && ! openssl_is_new_enough; then
		tools/build/openssl.sh
	fi
}

main "$@"
