# SPDX-License-Identifier: MIT
"""rows_handshakes.py - handshakes per second of the relay's CPU: TLS 1.3, REALITY, and what a REALITY
server spends on those who are no clients of it.

The client closes when it has verified the server's Finished. CPU is the accepting program's own: what it
may have started behind (a SOCKS5 server, in front of which others end TLS) is not counted. The client works
harder than some servers: the rate alone says how many it can do on the cores it has.
"""
import lab as benchlab
import rows
import rows_small
import servers

CONNECTIONS = 16
FIGURES = (
    rows.Figure("per_core", "per second of CPU", "/s", "more"),
    rows.Figure("rate", "per second, client's limit", "/s", None),
)


class Handshake(rows.Row):
    group, figures = "handshakes", FIGURES

    def __init__(self, name, way, kind, via, title, peers=None):
        self.name, self.way, self.kind, self.via, self.title = name, way, kind, via, title
        self.peers = peers

    def open(self, world, server):
        """The server alone, whatever stands in front of it otherwise."""
        port = world.lab.port()
        return servers.Endpoint(self.via, benchlab.RELAY_FRONT, port,
                                server.start(world, self.way, port))

    def command(self, world, place):
        command = rows.load_command(place, self.kind, world.to(place, world.tls), CONNECTIONS,
                                    rows.SHORT)
        if self.via == "tls13":  # the same work for all: some know nothing else
            command.append("--x25519-only")
        if self.via.startswith("reality-"):
            command += ["--public-key", world.public, "--short-id", servers.SHORT_ID]
        return command

    def measure(self, world, place, number):
        pids = benchlab.tree_of([place.processes[0].pid])
        before = benchlab.cpu_of(pids)
        result, usage = rows_small.measured(world, self.command(world, place), rows.SHORT)
        used = benchlab.cpu_of(pids) - before
        if not result["requests"] or used <= 0:
            raise RuntimeError("no handshake: %s" % result)
        return {"per_core": result["requests"] / used, "dirty": usage.dirty,
                "rate": result["requests"] / result["seconds"], "details": {"load": result}}

    def finish(self, world, place):
        world.lab.stop(*place.processes)


ROWS = [
    Handshake("handshake-tls", "socks5-tls", "handshake", "tls13", "TLS 1.3 handshakes, X25519"),
    Handshake("handshake-reality", "vision", "handshake", "reality-x25519",
              "REALITY handshakes, X25519"),
    Handshake("handshake-hybrid", "vision", "handshake", "reality-hybrid",
              "REALITY handshakes, X25519MLKEM768"),
    Handshake("probes", "vision", "probe", "sni", "TLS 1.3 with the target by those without a key"),
]
