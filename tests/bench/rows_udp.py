# SPDX-License-Identifier: MIT
"""rows_udp.py - datagrams per second through an association, there and back.

First as many as the relay carries: each association has a batch of 64 under way, what comes back is replaced
by a new one. Then, in the same round, a given rate: how many of those are lost. Where a client end stands in
between (VLESS) it is the same for everybody.
"""
import rows
import rows_small

BYTES, ASSOCIATIONS, RATE = 200, 4, 10000


class Datagrams(rows.Row):
    group = "datagrams"
    figures = (rows.Figure("rate", "there and back", "/s", "more"),
               rows_small.microseconds("own", "own CPU each"),
               rows.Figure("lost", "lost at %d/s" % RATE, "%", "less"),
               rows_small.microseconds("p50", "p50 then"), rows_small.microseconds("p99", "p99 then"))

    def __init__(self, way, title, peers=None):
        self.name, self.way, self.peers = "udp-" + way, way, peers
        self.title = "%d-byte datagrams, %d associations, %s" % (BYTES, ASSOCIATIONS, title)
        self.direct = way == "socks5"

    def run(self, world, place, seconds, rate=None):
        command = rows.load_command(place, "udp", world.to(place, world.udp), ASSOCIATIONS, seconds,
                                    message=BYTES, rate=rate, timeout=3)
        return rows_small.measured(world, command, seconds)

    def measure(self, world, place, number):
        result, usage = self.run(world, place, rows.SHORT)
        if not result["received"]:
            raise RuntimeError("nothing came back")
        given, other = self.run(world, place, rows.SHORT, RATE)
        found = rows_small.latencies(given)
        return {"rate": result["received"] / result["seconds"],
                "own": 1e6 * usage.relay / result["received"],
                "lost": 100 * (1 - given["received"] / given["sent"]),
                "p50": found["p50"], "p99": found["p99"], "dirty": usage.dirty or other.dirty,
                "details": {"most": result, "given": given}}


ROWS = [
    Datagrams("socks5", "SOCKS5", ("v2ray", "dante", "xray", "sing-box", "hev")),
    Datagrams("reality", "REALITY+VLESS"),
    Datagrams("ws-tls", "VLESS+WebSocket+TLS"),
]
