# SPDX-License-Identifier: MIT
"""rows_small.py - what is small: requests at a given rate, short connections, the decision by SNI.

Requests are sent when they are due, whether or not the last ones were answered, and their time runs from
then (no coordinated omission). What a relay adds is beside the same through no relay, in the same round.
A decision ends when the backend sees the first byte of the hello: it answers with the time by the clock
that all namespaces of a machine share.
"""
import copy

import lab as benchlab
import rows
import servers

WARM = 0.2
REQUEST_BYTES, REQUEST_CONNECTIONS, REQUEST_RATE = 1024, 64, 4000
CHURN_CONNECTIONS = 16


def microseconds(name, title):
    return rows.Figure(name, title, "us", "less")


def latencies(result, name="latency_us"):
    found = result.get(name)
    if not found:
        raise RuntimeError("nothing was answered: %s" % (result.get("failures") or result))
    return found


def measured(world, command, seconds):
    """The generator's result, and what was used meanwhile; failures are failures."""
    with rows.running_load(world, *command) as load:
        with world.lab.meter() as meter:
            result = rows.result_of(load, seconds + 30)
    if result.get("failed"):
        raise RuntimeError("connections failed: %s" % result["failures"])
    return result, meter.usage


class Request(rows.Row):
    group, direct = "latency", True
    figures = (microseconds("p50", "p50"), microseconds("p99", "p99"), microseconds("p999", "p99.9"),
               microseconds("added", "p50 added"), microseconds("own", "own CPU each"))

    def __init__(self, way, title):
        self.name, self.way = "request-" + way, way
        self.title = "%d B there and back, %d/s over %d connections, %s" % (
            REQUEST_BYTES, REQUEST_RATE, REQUEST_CONNECTIONS, title)
        self.inner_tls = way == "vision"

    def measure(self, world, place, number):
        command = rows.load_command(
            place, "request", world.to(place, world.tls if self.way != "socks5" else world.bulk),
            REQUEST_CONNECTIONS, rows.SHORT, warm=WARM, rate=REQUEST_RATE, message=REQUEST_BYTES,
            inner_tls=self.way != "socks5" and place.via != "sni")
        result, usage = measured(world, command, rows.SHORT + WARM)
        found = latencies(result)
        whole = result["requests"] * (rows.SHORT + WARM) / rows.SHORT
        return {"p50": found["p50"], "p99": found["p99"], "p999": found["p999"],
                "own": 1e6 * usage.relay / whole, "dirty": usage.dirty, "details": {"load": result}}

    def baseline(self, figures, direct):
        return dict(figures, added=figures["p50"] - direct["p50"] if direct else None)


class Churn(rows.Row):
    name, way, group, direct = "churn-socks5", "socks5", "latency", True
    title = "short connections, SOCKS5: connect, 1 KB, close; %d at once" % CHURN_CONNECTIONS
    figures = (rows.Figure("rate", "connections", "/s", "more"), microseconds("own", "own CPU each"),
               microseconds("p50", "p50"), microseconds("p99", "p99"))

    def measure(self, world, place, number):
        command = rows.load_command(place, "churn", world.to(place, world.bulk), CHURN_CONNECTIONS,
                                    rows.SHORT)
        result, usage = measured(world, command, rows.SHORT)
        found = latencies(result)
        return {"rate": result["requests"] / result["seconds"], "p50": found["p50"],
                "p99": found["p99"], "own": 1e6 * usage.relay / result["requests"],
                "dirty": usage.dirty, "details": {"load": result}}


class Decision(rows.Row):
    name, way, group, direct = "decision-sni", "sni", "latency", True
    title = "TLS passed on by SNI: from the hello to its first byte at the backend, one by one"
    figures = (microseconds("p50", "p50"), microseconds("p99", "p99"),
               microseconds("added", "p50 added"), microseconds("since_syn", "p50 since SYN"),
               microseconds("own", "own CPU each"))

    def open(self, world, server):
        """A backend of its own, which says when it saw the first byte."""
        if not server:
            return super().open(world, server)
        port, other = world.lab.port(), copy.copy(world)
        other.tls = world.stamp
        return servers.Endpoint("sni", benchlab.RELAY_FRONT, port, server.start(other, "sni", port))

    def measure(self, world, place, number):
        command = rows.load_command(place, "decision", world.to(place, world.stamp), 1, rows.SHORT)
        result, usage = measured(world, command, rows.SHORT)
        found = latencies(result)
        return {"p50": found["p50"], "p99": found["p99"], "dirty": usage.dirty,
                "since_syn": latencies(result, "since_syn_us")["p50"],
                "own": 1e6 * usage.relay / result["requests"], "details": {"load": result}}

    def baseline(self, figures, direct):
        return dict(figures, added=figures["p50"] - direct["p50"] if direct else None)

    def finish(self, world, place):
        if place.processes:
            world.lab.stop(*place.processes)


ROWS = [Request("socks5", "SOCKS5"), Request("sni", "TLS passed on by SNI"),
        Request("vision", "REALITY+VLESS+Vision"), Churn(), Decision()]
