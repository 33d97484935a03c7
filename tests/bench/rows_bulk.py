# SPDX-License-Identifier: MIT
"""rows_bulk.py - bytes in bulk: throughput, added CPU, system calls and memory for each way in.

One connection, 64, and 1000. In the ways that carry TLS the client's TLS 1.3 ends in the sink; what
comes is thrown away in the client's kernel. A timed window begins WARM seconds after all connections
stand; bytes are counted on the sink's wire. System calls and memory are looked at once, in the first
round, after its window, so that counting costs nothing in it. Where the load's cores are as good as fully
busy and the relay's are not, the load is what limits the throughput: the CPU per GB counts then.
"""
import time

import lab as benchlab
import rows

WARM, COUNTING = 0.3, 0.4
FIGURES = (
    rows.Figure("rate", "throughput", "GB/s", "more"),
    rows.Figure("added", "added CPU", "s/GB", "less"),
    rows.Figure("syscalls", "system calls", "/GB", "less"),
    rows.Figure("own", "own CPU", "s/GB", "less"),
    rows.Figure("busy", "relay's cores busy", "%", None),
    rows.Figure("load_busy", "the load's cores busy", "%", None),
    rows.Figure("user_mib", "memory, user", "MiB", "less"),
    rows.Figure("kernel_mib", "memory, sockets", "MiB", "less"),
)
MIB = 1 << 20


class Bulk(rows.Row):
    figures, direct, group = FIGURES, True, "bulk"

    def __init__(self, way, kind, inner_tls, connections, title, usual):
        suffix = {"vision": "-down" if kind == "download" else "-up"}.get(way, "")
        self.name = "%s%s-%d" % (way, suffix, connections)
        self.title = "%s, %d connection%s" % (title, connections, "s" if connections > 1 else "")
        self.way, self.kind, self.connections = way, kind, connections
        self.inner_tls, self.usual = inner_tls, usual

    def measure(self, world, place, number):
        counting = number == 0 and bool(place.processes)
        seconds = WARM + rows.SECONDS + (COUNTING + 0.6 if counting else 0.1)
        port = world.tls if self.inner_tls else world.bulk
        command = rows.load_command(
            place, self.kind, world.to(place, port), self.connections, seconds,
            inner_tls=self.inner_tls and place.via != "sni")
        with rows.running_load(world, *command) as load:
            time.sleep(WARM)
            with world.lab.meter() as meter:
                time.sleep(rows.SECONDS)
            figures = self.figures_of(place, meter.usage, len(world.lab.load_cores))
            if counting:
                figures.update(self.counted(world, place))
            result = rows.result_of(load, seconds + 30)
        if result.get("failed") or result.get("established", 0) < self.connections:
            raise RuntimeError("%s of %d connections stood" % (
                result.get("established"), self.connections))
        figures["details"]["load"] = result
        return figures

    def moved(self, place, usage):
        """GB of the sink's wire, in the direction that counts."""
        wire = "direct" if place.via == "direct" else "relay"
        return usage.wire["%s %s" % (wire, "in" if self.kind == "upload" else "out")] / 1e9

    def figures_of(self, place, usage, load_cores):
        gigabytes = self.moved(place, usage)
        if gigabytes < 1e-4:
            raise RuntimeError("nothing moved")
        return {
            "rate": gigabytes / usage.seconds, "own": usage.relay / gigabytes,
            "kernel": usage.kernel / gigabytes, "dirty": usage.dirty,
            "load_busy": 100 * usage.load / usage.seconds / load_cores,
            "details": {"cpu": usage.cpu, "foreign_cores": usage.foreign_cores,
                        "seconds": usage.seconds, "gigabytes": gigabytes}}

    def counted(self, world, place):
        pids = place.relay_pids()
        user, sockets = benchlab.user_bytes(pids), world.lab.relay.socket_bytes()
        with world.lab.meter() as meter:
            calls = benchlab.count_syscalls(pids, COUNTING)
        gigabytes = self.moved(place, meter.usage)
        return {"user_mib": user / MIB, "kernel_mib": sockets / MIB,
                "syscalls": calls / gigabytes if calls is not None and gigabytes else None}

    def baseline(self, figures, direct):
        """What the relay used, and what the kernel used beyond what it uses for a direct stream."""
        added = figures["own"] + figures["kernel"] - (direct["kernel"] if direct else 0.0)
        return dict(figures, added=added,
                    busy=100 * figures["own"] * figures["rate"] / benchlab.CORES)


def ways():
    """(way, kind, inner TLS, title, sizes of a usual run)."""
    few, all_sizes = (1, 64), (1, 64, 1000)
    return (
        ("sni", "download", True, "TLS passed on by SNI", all_sizes),
        ("vision", "download", True, "REALITY+VLESS+Vision, down", all_sizes),
        ("vision", "upload", True, "REALITY+VLESS+Vision, up", few),
        ("reality", "download", True, "REALITY+VLESS, no flow", few),
        ("socks5", "download", False, "SOCKS5", all_sizes),
        ("socks5-tls", "download", False, "SOCKS5 over TLS (HAProxy, stunnel: before dante)", few),
        ("http", "download", False, "HTTP CONNECT", (64,)),
        ("ws-tls", "download", False, "VLESS+WebSocket+TLS", few),
    )


ROWS = [Bulk(way, kind, tls, connections, title, connections in usual)
        for way, kind, tls, title, usual in ways() for connections in (1, 64, 1000)]
