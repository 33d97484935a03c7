# SPDX-License-Identifier: MIT
"""rows_steps.py - each step of a connection on loopback, in one daemon and in an HAProxy before a v2ray;
and the router alone.

    VPN, SOCKS5/TLS, HTTP/TLS   all of it, from the first SYN to the first byte of an echo
    SNI                         from the hello to its first byte at the backend
    REALITY, CPU                the server's, for a handshake; theirs is TLS without REALITY
    TLS, SOCKS5; TLS, HTTP      the handshake with these listeners
    SOCKS5 login                greeting, password, CONNECT
    rules                       what users and rules add to a request
    far ...                     total through an upstream 50 ms away

Medians of STEPS_ITERATIONS in every round, one by one, with STEPS_USERS users and STEPS_RULES rules on both
sides (latency.py). Those that wait for an upstream 50 ms away go many at a time.
"""
import os
import re
import shutil
import statistics
import subprocess
import threading

import lab as benchlab
import latency
import reality_client  # of tests/e2e, which lab adds to the path
import rows
import scale
import servers

ITERATIONS = int(os.environ.get("STEPS_ITERATIONS", "15"))
SIZE = (int(os.environ.get("STEPS_USERS", "10000")), int(os.environ.get("STEPS_RULES", "1000")))
HANDSHAKES = 10  # whose CPU is read at once
THREADS = 20
HELPERS = ("/usr/bin/python3", "ip")


class Bench:
    """What latency.py needs of a lab: all of it in the relay's namespace, on its loopback."""

    culvertd, short_id, uuid = benchlab.CULVERTD, servers.SHORT_ID, servers.USER

    def __init__(self, world):
        self.world, self.public, self.started = world, world.public, []
        self.certificate = (world.certificate, world.key)
        lab = world.lab
        if "steps" not in lab.places:
            lab.places["steps"] = benchlab.Place(lab, "steps", lab.spaces["relay"], lab.load_cores)
        self.free_port, self.path = lab.port, lab.path

    def start(self, *command, **options):
        """Servers where relays are; what only helps, elsewhere."""
        place = self.world.lab.places["steps" if command[0] in HELPERS else "relay"]
        self.started.append(place.start(*command, **options))
        return self.started[-1]

    def reality_stream(self):
        return servers.xray_stream(self.world, "vision", "raw")

    def reality_client_stream(self):
        return servers.client_config(self.world, "vision", 1, 1)["outbounds"][0]["streamSettings"]

    @staticmethod
    def password_hash(password):
        return subprocess.check_output(["openssl", "passwd", "-6", password], text=True).strip()


class Pair(servers.Server):
    name = "haproxy+v2ray"
    path = "v2ray"

    def __init__(self):
        self.missing = [name for name in ("haproxy", "v2ray") if not shutil.which(name)]

    @property
    def absent(self):
        return " and ".join(self.missing) + " is not installed" if self.missing else None


class Common:
    """What both sides meet."""

    def __init__(self, world):
        self.bench = Bench(world)
        self.echo_port = self.bench.free_port()
        self.bench.start("/usr/bin/python3", scale.__file__, "echo", str(self.echo_port))
        latency.wait_port(self.echo_port)
        self.clients = latency.Clients(world.certificate)
        self.backend = self.clients.backend.getsockname()
        self.far = latency.Far(self.bench)


def many(function):
    """The times of THREADS iterations at once: they mostly wait."""
    found, failures = [], []

    def work():
        try:
            found.append(function())
        except Exception as error:  # told by who waits for us
            failures.append(error)

    running = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise RuntimeError(str(failures[0]))
    return statistics.median(found)


class Steps(rows.Row):
    name, way, group = "steps", "", "steps of a connection"
    summary = 3
    title = "steps of a connection, %d users, %d rules" % SIZE
    figures = tuple(rows.Figure(name, title, "ms", "less") for name, title in (
        ("total_vpn", "VPN"), ("total_socks", "SOCKS5/TLS"), ("total_http", "HTTP/TLS"),
        ("sni", "SNI"), ("reality", "REALITY, CPU"), ("tls_socks", "TLS, SOCKS5"),
        ("tls_http", "TLS, HTTP"), ("socks", "SOCKS5 login"), ("routing", "rules"),
        ("up_http", "far HTTP"), ("up_socks", "far SOCKS5"), ("up_password", "far SOCKS5, login")))

    def __init__(self):
        self.common = None

    def contenders(self, available):
        return [available["culvert"], Pair()]

    def open(self, world, server):
        with world.lab.spaces["relay"]:
            if not self.common:
                self.common = Common(world)
            kind = latency.Ours if server.name == "culvert" else latency.Theirs
            side = kind(self.common.bench, SIZE, self.common.backend, self.common.echo_port)
            for port in side.ports.values():
                latency.wait_port(port, 60)
        return side

    def measure(self, world, side, number):
        with world.lab.spaces["relay"]:
            try:
                return {name: 1000 * seconds for name, seconds in self.steps(side)}
            except (AssertionError, EOFError) as error:
                raise RuntimeError("a step failed: %r" % error) from None

    def steps(self, side):
        clients, ports = self.common.clients, side.ports
        place = (latency.LOOPBACK, self.common.echo_port)

        def median(method, port, *arguments):
            function = getattr(clients, method)
            values = [function(ports[port], *arguments) for _ in range(ITERATIONS + 2)]
            return statistics.median(values[2:])  # the first ones warm up

        yield "sni", median("sni", "edge")
        yield "reality", self.cpu_of_handshake(side)
        yield "tls_socks", median("handshake", "socks")
        yield "tls_http", median("handshake", "http")
        yield "socks", median("socks_steps", "socks", place)
        yield "routing", max(0.0, median("route", "plain") - median("route", "bare"))
        yield "total_vpn", median("vpn", "client", place)
        yield "total_socks", median("socks", "socks", place)
        yield "total_http", median("http", "http", place)
        for name, port in (("up_http", "up-http"), ("up_socks", "up-socks"),
                           ("up_password", "up-socks-password")):
            yield name, many(lambda: clients.socks(ports[port], (latency.FAR, 7)))

    def cpu_of_handshake(self, side):
        def reality():
            with latency.dial(side.ports["reality"]) as connection:
                reality_client.connect(connection, self.common.bench.public,
                                               servers.SHORT_ID, servers.SNI)

        def tls():
            self.common.clients.handshake(side.inner["vless"])

        ours = isinstance(side, latency.Ours)
        return latency.cpu_per(side.processes[0].pid, HANDSHAKES, reality if ours else tls)

    def finish(self, world, side):
        if self.common:  # both sides' at once
            world.lab.stop(*self.common.bench.started)
            self.common.far.close()
            self.common.clients.backend.close()
            self.common = None


class Routing(rows.Row):
    name, way, group, rounds, peers = "routing", "", "the program", 2, ()
    title = "a decision of the router, 1000 rules, 100 000 names"
    program = os.path.join(benchlab.BUILD, "routing")
    figures = (rows.Figure("worst", "slowest kind of decision", "ns", "less"),
               rows.Figure("median", "median of the kinds", "ns", "less"),
               rows.Figure("loading", "loading", "ms", "less"))

    def open(self, world, server):
        return None

    def measure(self, world, place, number):
        done = world.lab.relay.run(self.program, capture_output=True, text=True, check=False)
        kinds = [float(value) for value in re.findall(r"([\d.]+) ns", done.stdout)]
        if not kinds or done.returncode > 1:
            raise RuntimeError("routing: %s" % done.stderr)
        return {"worst": max(kinds), "median": statistics.median(kinds), "details": {
            "said": done.stdout}, "loading": float(re.search(r"loaded in (\d+) ms", done.stdout)[1])}


ROWS = [Steps(), Routing()]
