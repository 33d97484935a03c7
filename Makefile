# SPDX-License-Identifier: MIT
#
# culvert: `make help` lists the targets. Everything is built under build/.
#
# One set of rules builds every variant; SANITIZE selects it and with it the directory:
#	(empty)				build/		release, gcc
#	address,undefined		build/asan/	daemons and unit tests
#	thread				build/tsan/
#	fuzzer,address,undefined	build/fuzz/	libFuzzer targets, clang

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
SYSTEMDUNITDIR ?= $(PREFIX)/lib/systemd/system
SYSCTLDIR ?= $(PREFIX)/lib/sysctl.d
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
SANITIZE ?=
V ?= 0

ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
endif
MAKEFLAGS += --no-print-directory

ifeq ($(V),0)
Q := @
say = @printf '  %-8s%s\n' '$(1)' '$(2)'
else
say = @:
endif

# ---- Variant ----------------------------------------------------------------------

ifeq ($(SANITIZE),)
B := build
OPTIMIZE := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
HARDEN_LD := -Wl,-z,relro,-z,now
else
OPTIMIZE := -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all -DCV_SANITIZED -DCV_MUTATIONS
ifneq ($(findstring fuzzer,$(SANITIZE)),)
B := build/fuzz
CC := $(CLANG)
# libFuzzer's main belongs only to the targets' link
OPTIMIZE += -fsanitize=$(subst fuzzer,fuzzer-no-link,$(SANITIZE))
else
B := $(if $(findstring thread,$(SANITIZE)),build/tsan,build/asan)
OPTIMIZE += -fsanitize=$(SANITIZE)
endif
SANITIZE_LD := -fsanitize=$(SANITIZE)
endif
O := $(B)/obj
G := build/gen

# ---- Sources ----------------------------------------------------------------------

LIB_C := $(wildcard user/*/*.c)
CLI_C := $(wildcard tools/culvert*.c)
TOOL_C := $(filter-out $(CLI_C),$(wildcard tools/*.c))
LOAD_C := $(wildcard tools/load/*.c)
UNIT_C := $(wildcard tests/unit/test_*.c)
UNIT_HELPER_C := $(filter-out $(UNIT_C),$(wildcard tests/unit/*.c))
FUZZ_C := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_SIM_C := $(wildcard tests/fuzz/sim_*.c)
SIM_CALLS := socket recv send splice shutdown close getsockopt setsockopt getsockname getpeername \
	ioctl accept4 pthread_create pthread_join pthread_cond_wait malloc_trim \
	cv_handover_try cv_handover_is_drained
comma := ,
BENCH_C := $(wildcard tests/bench/*.c)
HOSTILE_C := $(wildcard tests/load/*.c)
SKELETONS := $(patsubst bpf/%.bpf.c,$(G)/%.skel.h,$(wildcard bpf/*.bpf.c))

objects = $(patsubst %.c,$(O)/%.o,$(1))
DAEMON := $(if $(wildcard user/main.c),$(B)/culvertd)
CLI := $(if $(CLI_C),$(B)/culvert)
TOOLS := $(patsubst tools/%.c,$(B)/%,$(TOOL_C))
LOAD := $(if $(LOAD_C),$(B)/load)
UNITS := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_C))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/%,$(FUZZ_C))
BENCHES := $(patsubst tests/bench/%.c,$(B)/%,$(BENCH_C))
HOSTILE := $(if $(HOSTILE_C),$(B)/hostile)
LIBRARY := $(B)/libculvert.a

# ---- Flags ------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wformat=2 -Wpointer-arith -Wundef
# generated headers are not ours to warn about: -isystem
ALL_CFLAGS = -std=gnu17 -g $(OPTIMIZE) -fPIE -pthread $(WARNINGS) -D_GNU_SOURCE \
	-Iuser -Iinclude -isystem $(G) $(DEPS_CFLAGS) -MMD -MP $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie -pthread $(HARDEN_LD) $(SANITIZE_LD) $(LDFLAGS)
BPF_CFLAGS := -std=gnu17 -g -O2 -target bpf -Wall -Wextra -Werror -Iinclude
DEPENDS = Makefile $(G)/flags.mk

# ---- Targets ----------------------------------------------------------------------

.PHONY: all products units fuzzers asan tsan run test test-long test-vm soak check lint fuzz \
	fuzz-merge bench bench-engines interop install help clean distclean FORCE
.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:

all: products
products: $(DAEMON) $(CLI) $(TOOLS) $(LOAD) $(HOSTILE)
units: $(UNITS)
fuzzers: $(FUZZERS)

asan:
	$(Q)$(MAKE) SANITIZE=address,undefined products

tsan:
	$(Q)$(MAKE) SANITIZE=thread products

run: products
	$(Q)tools/demo.sh

test:
	$(Q)tests/run.sh test

test-long:
	$(Q)tests/run.sh test-long

test-vm:
	$(Q)tests/run.sh guests

soak:
	$(Q)tests/run.sh soak

check:
	$(Q)tests/run.sh check

fuzz fuzz-merge:
	$(Q)tests/run.sh $@

interop:
	$(Q)tests/run.sh interop

bench: products $(BENCHES)
	$(Q)/usr/bin/python3 tests/bench/bench.py

bench-engines: products $(BENCHES)
	$(Q)/usr/bin/python3 tests/bench/engines.py
	$(Q)/usr/bin/python3 tests/bench/engines_tls.py

lint:
	$(Q)tools/build/lint.sh

help:
	@sed -n 's/^#H //p' Makefile

#H make             build culvertd and culvert into build/ (installs what is missing, as root);
#H                  and build/load, which makes load for benchmarks: it says its own usage
#H make run         a working demo: server, client, camouflage site; Ctrl-C ends it
#H make test        everything in minutes: lint, unit, fuzz, end to end, interop (root)
#H make test-long   the longer forms: fuzzing, end to end under sanitizers, soak (root)
#H make test-vm     what leans on the kernel, in guests with kernels 6.1 and trixie (root)
#H make soak        SOAK_MINUTES=20 of everything that happens to a server, and floods (root)
#H make check       lint and unit tests: no root, no network, seconds
#H make lint        floors, libraries, sizes and forms of the sources
#H make fuzz        each codec's fuzz target and whole sessions, FUZZ_SECONDS=60 each, or
#H                  FUZZ_TOTAL_MINUTES=60 of all; what it finds stays in build/fuzz/found
#H make fuzz-merge  what reaches more than the seeds joins them, in tests/fuzz/corpus
#H make interop     against other implementations (Go)
#H make bench       culvert beside its peers in namespaces of their own (root); ROW=list, ROW='socks5-*',
#H                  PEER=dante, PEERS="xray=/path"; into build/bench: table, JSON, SVG
#H make bench-engines  the engines against each other over several links (root); prints
#H make asan, tsan  the daemons with sanitizers, into build/asan and build/tsan
#H make install     DESTDIR=, PREFIX=/usr/local, SYSTEMDUNITDIR=, SYSCONFDIR=/etc
#H make clean       removes what was built; distclean also the OpenSSL in build/deps
#H
#H Variables: V=1 shows commands, SANITIZE=address,undefined|thread, CC, CFLAGS, LDFLAGS

clean:
	$(Q)find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} + 2>/dev/null; true

distclean:
	$(Q)rm -rf build

# ---- Dependencies and generated files ---------------------------------------------

# Packages are looked at on every run (30 ms); flags.mk only changes with what they say.
ifeq ($(filter-out help clean distclean lint,$(or $(MAKECMDGOALS),all)),)
else
deps_for := $(or $(and $(filter bench,$(MAKECMDGOALS)),bench),\
	$(and $(filter test test-long test-vm soak interop bench-engines,$(MAKECMDGOALS)),test),\
	$(and $(filter run,$(MAKECMDGOALS)),run),\
	$(and $(filter check units fuzzers fuzz fuzz-merge,$(MAKECMDGOALS)),check),build)
include $(G)/flags.mk
$(G)/flags.mk: FORCE
	@tools/build/deps.sh $(deps_for)
	@tools/build/flags.sh $@ $(G)/version.h
endif

# atomics that return the old value
$(G)/classify.bpf.o: BPF_CFLAGS += -mcpu=v3
$(G)/%.bpf.o: bpf/%.bpf.c $(DEPENDS)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) $(BPF_INCLUDES) -MMD -MP -c -o $@ $<
	$(Q)llvm-strip -g $@

$(G)/%.skel.h: $(G)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf >$@

# ---- Compiling and linking --------------------------------------------------------

$(O)/%.o: %.c $(DEPENDS) | $(SKELETONS)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(O)/user/control/status_page.o: user/control/status.html

$(O)/tests/%.o: CPPFLAGS += -Itests -Itests/unit -Itools

$(LIBRARY): $(call objects,$(LIB_C))
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) qcs $@ $^

link = $(Q)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
	$(filter %.a,$^) $(1) $(DEPS_LIBS)

$(B)/culvertd: $(call objects,user/main.c) $(LIBRARY)
	$(call say,LD,$@)
	$(call link)

$(B)/culvert: $(call objects,$(CLI_C)) $(LIBRARY)
	$(call say,LD,$@)
	$(call link)

$(TOOLS): $(B)/%: $(O)/tools/%.o $(LIBRARY)
	$(call say,LD,$@)
	$(call link)

$(LOAD): $(call objects,$(LOAD_C)) $(LIBRARY)
	$(call say,LD,$@)
	$(call link)

$(UNITS): $(B)/unit/%: $(O)/tests/unit/%.o $(call objects,$(UNIT_HELPER_C)) $(LIBRARY)
	$(call say,LD,$@)
	$(call link,-lcmocka)

# the tool's own files, for its unit tests
$(filter $(B)/unit/test_culvert_%,$(UNITS)): \
	$(call objects,$(filter-out tools/culvert.c,$(CLI_C)))

$(HOSTILE): $(call objects,$(HOSTILE_C))
	$(call say,LD,$@)
	$(call link)

$(BENCHES): $(B)/%: $(O)/tests/bench/%.o $(LIBRARY)
	$(call say,LD,$@)
	$(call link)

$(FUZZERS): $(B)/%: $(O)/tests/fuzz/%.o $(LIBRARY)
	$(call say,LD,$@)
	$(call link)

# whole sessions: the ring, the clock and the system calls are simulated ones, whose own paths are
# nothing to be found
$(call objects,$(FUZZ_SIM_C)): ALL_CFLAGS += -fno-sanitize=fuzzer-no-link
$(filter $(B)/fuzz_session%,$(FUZZERS)): $(call objects,$(FUZZ_SIM_C))
$(filter $(B)/fuzz_session%,$(FUZZERS)): LDFLAGS += $(patsubst %,-Wl$(comma)--wrap=%,$(SIM_CALLS))

# ---- Installing -------------------------------------------------------------------

install: products
	$(Q)install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin \
		$(DESTDIR)$(SYSTEMDUNITDIR) $(DESTDIR)$(SYSCTLDIR) $(DESTDIR)$(SYSUSERSDIR) \
		$(DESTDIR)$(PREFIX)/share/doc/culvert/examples
	$(Q)install -m 755 $(B)/culvertd $(DESTDIR)$(PREFIX)/sbin/culvertd
	$(Q)install -m 755 $(B)/culvert $(DESTDIR)$(PREFIX)/bin/culvert
	$(Q)sed -e 's|@SBINDIR@|$(PREFIX)/sbin|g' -e 's|@BINDIR@|$(PREFIX)/bin|g' \
		-e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' \
		conf/systemd/culvert.service >$(DESTDIR)$(SYSTEMDUNITDIR)/culvert.service
	$(Q)install -m 644 conf/sysctl.d/60-culvert.conf $(DESTDIR)$(SYSCTLDIR)/
	$(Q)install -m 644 conf/sysusers.d/culvert.conf $(DESTDIR)$(SYSUSERSDIR)/
	$(Q)for page in $(wildcard tools/man/*.[1-8]); do \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page; done
	$(Q)for file in $(wildcard tools/completion/*); do install -D -m 644 -t \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $$file; done
	$(Q)install -m 644 README.md $(wildcard conf/*.json) \
		$(DESTDIR)$(PREFIX)/share/doc/culvert/examples/
	$(Q)install -d -m 755 $(DESTDIR)$(SYSCONFDIR)/culvert

-include $(shell find build -path build/deps -prune -o -name '*.d' -print 2>/dev/null)
