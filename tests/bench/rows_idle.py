# SPDX-License-Identifier: MIT
"""rows_idle.py - what a session costs that does nothing: bytes of memory, the program's and the kernel's.

Some are there before, so that what is needed once is not counted; when all stand, time passes in which a
program may give back what setting them up needed. User memory is the growth of the proportional set size.
Kernel memory is the growth of the whole machine's slabs, socket buffers, page tables and kernel stacks (so
that other programs spoil it), less that of as many sessions through no relay at all: both need the client's
and the sink's sockets. Where the memory controller counts, what it charges to the relay's group is beside
it. One round: it is about memory, which hardly differs.
"""
import os
import resource
import time

import lab as benchlab
import rows

SESSIONS = int(os.environ.get("BENCH_IDLE", "10000"))
SETTLE = 2.0
TIDY = 23  # culvert gives back the memory of handshakes by then
SETUP_TIMEOUT = 10
FIRST = 8  # one of so many is there before: what is needed once is not counted
HOLD = 600
RELAY_DESCRIPTORS = 6.1  # of a session: two sockets, and two pipes in Go's programs


def kernel_bytes():
    """Of the whole machine: what sessions need."""
    total = 0
    with open("/proc/meminfo") as f:
        for line in f:
            name, value = line.split()[:2]
            if name in ("Slab:", "KernelStack:", "PageTables:", "SecPageTables:"):
                total += int(value) * 1024
    with open("/proc/net/sockstat") as f:
        for line in f:
            if line.startswith("TCP:"):
                total += int(line.split()[-1]) * benchlab.PAGE
    return total


def possible(wanted):
    """As many as one process can have descriptors for."""
    return min(wanted, int((resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300) / RELAY_DESCRIPTORS))


class Idle(rows.Row):
    group, rounds, direct = "idle sessions", 1, True
    figures = (rows.Figure("user", "user memory", "B", "less"),
               rows.Figure("kernel", "kernel memory", "B", "less"),
               rows.Figure("charged", "charged to its group", "B", "less"),
               rows.Figure("cpu", "CPU while idle", "%", "less"))

    def __init__(self, way, count, settle, title):
        self.name, self.way, self.count, self.settle = "idle-" + way, way, possible(count), settle
        self.title = "%d idle sessions, each: %s" % (self.count, title)
        self.inner_tls = way in ("vision", "sni")

    def now(self, world, place):
        return (benchlab.user_bytes(place.relay_pids()), kernel_bytes(),
                world.lab.relay.group.memory() or 0)

    def standing(self, world, place, count):
        return rows.running_load(world, *rows.load_command(
            place, "idle", world.to(place, world.tls if self.inner_tls else world.bulk), count,
            HOLD, timeout=SETUP_TIMEOUT, inner_tls=self.inner_tls and place.via != "sni"))

    def measure(self, world, place, number):
        settle = min(2.0, self.settle) if place.via == "direct" else self.settle
        count = self.count - self.count // FIRST
        with self.standing(world, place, self.count // FIRST):
            time.sleep(settle)
            before = self.now(world, place)
            with self.standing(world, place, count) as load:
                time.sleep(settle)
                after = self.now(world, place)
                with world.lab.meter() as meter:
                    time.sleep(1.0)
                load.terminate()
                result = rows.result_of(load, 60)
        if result.get("established") != count or result.get("failed"):
            raise RuntimeError("%s of %d stood, %s" % (result.get("established"), count,
                                                      result.get("failures")))
        user, kernel, charged = ((b - a) / count for a, b in zip(before, after))
        return {"user": user, "kernel": kernel, "charged": charged or None,
                "cpu": 100 * meter.usage.relay / meter.usage.seconds, "details": {"load": result}}

    def baseline(self, figures, direct):
        return dict(figures, kernel=figures["kernel"] - direct["kernel"]) if direct else figures


ROWS = [
    Idle("socks5", SESSIONS, SETTLE, "SOCKS5"),
    Idle("sni", SESSIONS // 5, SETTLE, "TLS passed on by SNI"),
    Idle("vision", SESSIONS // 5, TIDY, "REALITY+VLESS+Vision, %d s after the handshakes" % TIDY),
]
