#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""latency.py - what each step of a connection takes, beside its budget and beside HAProxy + v2ray.

Both sides know the same 10 000 users and 1000 rules; ours in one daemon, theirs in an HAProxy (server
names, TLS) in front of a v2ray. v2ray 4.34 has no REALITY: where ours does REALITY, it does VLESS over
TLS. Every iteration measures ours, then theirs; medians are printed, in milliseconds, with the 95th of
100. The site behind everything is an echo server; "total" is from the first SYN to the first byte of an
echo. The upstream is 50 ms away (netem, or a process that holds packets back where the kernel has none).

    BENCH_ONLY=latency LATENCY_ITERATIONS=1000 LATENCY_USERS=10000 LATENCY_RULES=1000
"""
import base64
import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import deque

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import netns  # noqa: E402
import reality_client  # noqa: E402
import scale  # noqa: E402

NAME, PASSWORD = "user-00000", "secret"
SITE = "service.example.test"  # resolved nowhere: the last rule knows the way
PLAIN_NAME, REALITY_NAME = "plain.example.test", "camouflage.test"
NEAR, FAR = "10.98.0.1", "10.98.0.2"
DISTANCE_MS = 50  # there and back
UPSTREAM_THREADS = 20
LOOPBACK = "127.0.0.1"


# ---- 50 ms away --------------------------------------------------------------------------------


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH", name.encode(), 0x1001))  # TUNSETIFF, no header
    return fd


def hold_back(space, near, far, seconds):
    """Packets between a device here and one in the namespace, each so late."""
    ends = [tun(near)]
    with open("/run/netns/" + space) as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), netns.CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    ends.append(tun(far))
    with contextlib.suppress(OSError):  # 50 ms are 50 ms, whoever else wants the CPU
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    print("ready", flush=True)
    waiting = deque()
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, fd, packet = waiting.popleft()
            with contextlib.suppress(OSError):
                os.write(fd, packet)
        readable, _, _ = select.select(ends, [], [], waiting[0][0] - now if waiting else None)
        for fd in readable:
            with contextlib.suppress(OSError):
                while True:
                    waiting.append((time.monotonic() + seconds, other[fd], os.read(fd, 4096)))


class Distance:
    """A namespace at FAR, DISTANCE_MS away from here."""

    def __init__(self, bench):
        self.space = netns.Namespace("culvert-far-%d" % os.getpid())
        self.near, self.far = "cvn%d" % (os.getpid() % 100000), "cvf%d" % (os.getpid() % 100000)
        self.how = "netem" if self.netem() else "held back"
        if self.how != "netem":
            process = bench.start("/usr/bin/python3", os.path.abspath(__file__), "distance",
                                  self.space.name, self.near, self.far,
                                  str(DISTANCE_MS / 2000), stdout=subprocess.PIPE)
            if process.stdout.readline() != b"ready\n":
                raise OSError("no tun device")
        for tool, address, name in ((("ip",), NEAR, self.near),
                                    (("ip", "-n", self.space.name), FAR, self.far)):
            subprocess.run([*tool, "addr", "add", address + "/24", "dev", name], check=True)
            subprocess.run([*tool, "link", "set", name, "up"], check=True)

    def netem(self):
        quiet = {"stderr": subprocess.DEVNULL, "check": False}
        delay = ["root", "netem", "delay", "%gms" % (DISTANCE_MS / 2)]
        subprocess.run(["ip", "link", "add", self.near, "type", "veth", "peer", "name", self.far,
                        "netns", self.space.name], check=True)
        done = subprocess.run(["tc", "qdisc", "add", "dev", self.near, *delay], **quiet)
        if done.returncode == 0:
            done = subprocess.run(["ip", "netns", "exec", self.space.name, "tc", "qdisc", "add",
                                   "dev", self.far, *delay], **quiet)
        if done.returncode != 0:
            subprocess.run(["ip", "link", "delete", self.near], check=True)
        return done.returncode == 0

    def close(self):
        self.space.close()


# ---- steps of a client -------------------------------------------------------------------------


def dial(port):
    connection = socket.create_connection((LOOPBACK, port), 20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exactly(connection, length):
    data = b""
    while len(data) < length:
        block = connection.recv(length - len(data))
        if not block:
            raise EOFError("closed after %d of %d bytes" % (len(data), length))
        data += block
    return data


def log_in(connection):
    connection.sendall(b"\5\1\2")
    assert exactly(connection, 2) == b"\5\2"
    connection.sendall(b"\1" + bytes([len(NAME)]) + NAME.encode() + bytes([len(PASSWORD)]) +
                       PASSWORD.encode())
    assert exactly(connection, 2)[1] == 0


def request(connection, place):
    host, port = place
    if host[0].isdigit():
        address = b"\1" + socket.inet_aton(host)
    else:
        address = b"\3" + bytes([len(host)]) + host.encode()
    connection.sendall(b"\5\1\0" + address + port.to_bytes(2, "big"))
    reply = exactly(connection, 4)
    assert reply[1] == 0, reply
    exactly(connection, {1: 6, 3: 0, 4: 18}[reply[3]])


def echo(connection):
    connection.sendall(b"x")
    assert exactly(connection, 1) == b"x"


class Clients:
    """Each method is one iteration and returns the seconds that are meant."""

    def __init__(self, certificate):
        self.context = ssl.create_default_context(cafile=certificate)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        out = ssl.MemoryBIO()
        hello = self.context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=PLAIN_NAME)
        with contextlib.suppress(ssl.SSLWantReadError):
            hello.do_handshake()
        self.hello = out.read()
        self.backend = socket.create_server((LOOPBACK, 0))

    def tls(self, port):
        return self.context.wrap_socket(dial(port), server_hostname="localhost",
                                        do_handshake_on_connect=False)

    def sni(self, port):
        with dial(port) as connection:
            start = time.monotonic()
            connection.sendall(self.hello)
            arrived, _ = self.backend.accept()
            with arrived:
                arrived.recv(1)
                return time.monotonic() - start

    def handshake(self, port):
        with self.tls(port) as connection:
            start = time.monotonic()
            connection.do_handshake()
            return time.monotonic() - start

    def socks_steps(self, port, place):
        with self.tls(port) as connection:
            connection.do_handshake()
            start = time.monotonic()
            log_in(connection)
            request(connection, place)
            return time.monotonic() - start

    def route(self, port):
        """The request alone, to a name that the last rule leads to the echo server."""
        with dial(port) as connection:
            log_in(connection)
            start = time.monotonic()
            request(connection, (SITE, 80))
            return time.monotonic() - start

    def vpn(self, port, place):
        start = time.monotonic()
        with dial(port) as connection:
            connection.sendall(b"\5\1\0")
            assert exactly(connection, 2) == b"\5\0"
            request(connection, place)
            echo(connection)
            return time.monotonic() - start

    def socks(self, port, place):
        start = time.monotonic()
        with self.tls(port) as connection:
            connection.do_handshake()
            log_in(connection)
            request(connection, place)
            echo(connection)
            return time.monotonic() - start

    def http(self, port, place):
        start = time.monotonic()
        with self.tls(port) as connection:
            connection.do_handshake()
            where = "%s:%d" % place
            word = base64.b64encode(("%s:%s" % (NAME, PASSWORD)).encode()).decode()
            connection.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s"
                                "\r\n\r\n" % (where, where, word)).encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += exactly(connection, 1)
            assert head.split()[1] == b"200", head
            echo(connection)
            return time.monotonic() - start


# ---- the servers -------------------------------------------------------------------------------


UPSTREAMS = {"http": 3128, "socks": 1080, "socks-password": 1081}  # ports at FAR


class Ours:
    def __init__(self, bench, size, backend, echo_port):
        self.size, self.bench = size, bench
        names = ["edge", "reality", "socks", "http", "plain", "bare", "client"]
        self.ports = {name: bench.free_port() for name in names + ["up-" + u for u in UPSTREAMS]}
        users_path = bench.path("latency-users.json")
        scale.write_users(users_path, range(size[0]), bench.password_hash(PASSWORD))
        self.write("ours", self.server(users_path, backend, echo_port))
        self.write("ours-bare", {
            "inbounds": [{"listen": LOOPBACK, "port": self.ports["bare"], "protocol": "socks",
                          "settings": {"auth": "password", "accounts": [
                              {"user": NAME, "pass": PASSWORD}]}}],
            "outbounds": [{"tag": "direct", "protocol": "freedom"}, self.to_echo(echo_port)],
            "routing": {"rules": [self.last_rule()]}})
        self.write("ours-client", {
            "inbounds": [{"listen": LOOPBACK, "port": self.ports["client"], "protocol": "socks"}],
            "outbounds": [{"protocol": "vless", "settings": {
                "address": LOOPBACK, "port": self.ports["reality"], "encryption": "none",
                "id": bench.uuid, "flow": "xtls-rprx-vision"},
                "streamSettings": bench.reality_client_stream()}]})
        self.processes = [bench.start(bench.culvertd, "-c", bench.path(name + ".json"))
                          for name in ("ours", "ours-bare", "ours-client")]

    def write(self, name, config):
        config.setdefault("log", {"loglevel": "none"})
        config["culvert"] = {"controlSocket": "", "stateDirectory": "", "loginFailures": 0}
        with open(self.bench.path(name + ".json"), "w") as file:
            json.dump(config, file)

    @staticmethod
    def last_rule():
        return {"domain": ["full:" + SITE], "outboundTag": "to-echo"}

    @staticmethod
    def to_echo(echo_port):
        return {"tag": "to-echo", "protocol": "freedom", "settings": {
            "redirect": "%s:%d" % (LOOPBACK, echo_port), "allowPrivate": True}}

    def server(self, users_path, backend, echo_port):
        stream = {"security": "tls", "tlsSettings": {"certificates": [
            {"certificateFile": self.bench.certificate[0], "keyFile": self.bench.certificate[1]}]}}

        def inbound(name, protocol, settings=None, **more):
            return dict({"tag": name, "listen": LOOPBACK, "port": self.ports[name],
                         "protocol": protocol, "settings": settings or {}}, **more)

        people = {"usersFile": users_path}
        password = dict(people, auth="password")
        clients = [{"id": self.bench.uuid, "email": "b", "flow": "xtls-rprx-vision"}]
        clients += [{"id": str(scale.user_id(i))} for i in range(1, self.size[0])]
        inbounds = [inbound("edge", "edge"),
                    inbound("reality", "vless", {"decryption": "none", "clients": clients},
                            streamSettings=self.bench.reality_stream()),
                    inbound("socks", "socks", password, streamSettings=stream),
                    inbound("http", "http", people, streamSettings=stream),
                    inbound("plain", "socks", password)]
        inbounds += [inbound("up-" + name, "socks", password, streamSettings=stream)
                     for name in UPSTREAMS]
        upstreams = []
        for name, port in UPSTREAMS.items():
            settings = {"address": FAR, "port": port, "fallback": "block"}
            if name != "socks":
                settings.update(user=NAME, **{"pass": PASSWORD})
            upstreams.append({"tag": "up-" + name, "protocol": name.split("-")[0],
                              "settings": settings})
        ways = [{"inboundTag": ["up-" + name], "outboundTag": "up-" + name} for name in UPSTREAMS]
        return {
            "inbounds": inbounds,
            "edge": {"inboundTag": ["edge"], "target": "%s:%d" % (LOOPBACK, echo_port), "routes": [
                {"names": [PLAIN_NAME], "to": {"backend": "%s:%d" % backend}}]},
            "outbounds": [{"tag": "direct", "protocol": "freedom",
                           "settings": {"allowPrivate": True}},
                          self.to_echo(echo_port), {"tag": "block", "protocol": "blackhole"},
                          *upstreams],
            "routing": {"rules": ways + scale.rules(self.size[1]) + [self.last_rule()]}}


class Theirs:
    """HAProxy in front of v2ray; the same ports by the same names."""

    def __init__(self, bench, size, backend, echo_port):
        self.bench = bench
        fronts = ["edge", "socks", "http"] + ["up-" + name for name in UPSTREAMS]
        self.ports = {name: bench.free_port() for name in fronts + ["plain", "bare", "client"]}
        self.inner = {name: bench.free_port() for name in fronts + ["vless"]}
        self.write("theirs", self.server(size, echo_port))
        self.write("theirs-bare", {
            "inbounds": [self.inbound("bare", "socks", self.accounts(1), self.ports["bare"])],
            "outbounds": [{"tag": "direct", "protocol": "freedom"}, self.to_echo(echo_port)],
            "routing": {"rules": [self.last_rule()]}})
        self.write("theirs-client", {
            "inbounds": [self.inbound("client", "socks", {}, self.ports["client"])],
            "outbounds": [{"protocol": "vless", "settings": {"vnext": [{
                "address": LOOPBACK, "port": self.ports["edge"],
                "users": [{"id": str(scale.user_id(0)), "encryption": "none"}]}]},
                "streamSettings": {"network": "tcp", "security": "tls", "tlsSettings": {
                    "serverName": "localhost", "disableSystemRoot": True, "certificates": [
                        {"usage": "verify", "certificateFile": bench.certificate[0]}]}}}]})
        with open(bench.path("latency-haproxy.cfg"), "w") as file:
            file.write(self.haproxy(backend))
        programs = [("v2ray", "-config", bench.path(name + ".json"))
                    for name in ("theirs", "theirs-bare", "theirs-client")]
        programs.append(("haproxy", "-db", "-f", bench.path("latency-haproxy.cfg")))
        self.processes = [bench.start(*command) for command in programs]

    def write(self, name, config):
        config["log"] = {"loglevel": "none"}
        for rule in config.get("routing", {}).get("rules", []):
            rule["type"] = "field"
        with open(self.bench.path(name + ".json"), "w") as file:
            json.dump(config, file)

    @staticmethod
    def last_rule():
        return Ours.last_rule()

    @staticmethod
    def to_echo(echo_port):
        return {"tag": "to-echo", "protocol": "freedom",
                "settings": {"redirect": "%s:%d" % (LOOPBACK, echo_port)}}

    @staticmethod
    def accounts(count):
        return {"auth": "password", "accounts": [{"user": "user-%05d" % i, "pass": PASSWORD}
                                                 for i in range(count)]}

    @staticmethod
    def inbound(name, protocol, settings, port):
        return {"tag": name, "listen": LOOPBACK, "port": port, "protocol": protocol,
                "settings": settings}

    def server(self, size, echo_port):
        people = self.accounts(size[0])
        vless = self.inbound("vless", "vless", {"decryption": "none", "clients": [
            {"id": str(scale.user_id(i))} for i in range(size[0])]}, self.inner["vless"])
        vless["streamSettings"] = {"network": "tcp", "security": "tls", "tlsSettings": {
            "certificates": [{"certificateFile": self.bench.certificate[0],
                              "keyFile": self.bench.certificate[1]}]}}
        inbounds = [vless, self.inbound("http", "http", {"accounts": people["accounts"]},
                                        self.inner["http"]),
                    self.inbound("plain", "socks", people, self.ports["plain"])]
        inbounds += [self.inbound(name, "socks", people, self.inner[name])
                     for name in ["socks"] + ["up-" + u for u in UPSTREAMS]]
        upstreams = []
        for name, port in UPSTREAMS.items():
            server = {"address": FAR, "port": port}
            if name != "socks":
                server["users"] = [{"user": NAME, "pass": PASSWORD}]
            upstreams.append({"tag": "up-" + name, "protocol": name.split("-")[0],
                              "settings": {"servers": [server]}})
        ways = [{"inboundTag": ["up-" + name], "outboundTag": "up-" + name} for name in UPSTREAMS]
        return {
            "inbounds": inbounds,
            "outbounds": [{"tag": "direct", "protocol": "freedom"}, self.to_echo(echo_port),
                          {"tag": "block", "protocol": "blackhole"}, *upstreams],
            "routing": {"rules": ways + scale.rules(size[1]) + [self.last_rule()]}}

    def haproxy(self, backend):
        combined = self.bench.path("latency-combined.pem")
        with open(combined, "w") as out:
            for part in self.bench.certificate:
                with open(part) as file:
                    out.write(file.read())
        text = """
global
    nbthread %d
    maxconn 4000
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend edge
    bind %s:%d
    tcp-request inspect-delay 5s
    tcp-request content accept if { req_ssl_hello_type 1 }
    use_backend backend-plain if { req_ssl_sni -i %s }
    use_backend backend-vless if { req_ssl_sni -i localhost }
backend backend-plain
    server s %s:%d
backend backend-vless
    server s %s:%d
""" % (os.cpu_count(), LOOPBACK, self.ports["edge"], PLAIN_NAME, *backend, LOOPBACK,
            self.inner["vless"])
        for name in ["socks", "http"] + ["up-" + u for u in UPSTREAMS]:
            text += """
frontend %s
    bind %s:%d ssl crt %s alpn http/1.1
    default_backend backend-%s
backend backend-%s
    server s %s:%d
""" % (name, LOOPBACK, self.ports[name], combined, name, name, LOOPBACK, self.inner[name])
        return text


# ---- CPU of handshakes -------------------------------------------------------------------------


def cpu_seconds(pid):
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(OSError), open("/proc/%d/task/%s/schedstat" % (pid, task)) as file:
            total += int(file.read().split()[0])
    return total / 1e9


def cpu_per(pid, count, handshake):
    """Seconds of the process's CPU for one of them."""
    before = cpu_seconds(pid)
    for _ in range(count):
        handshake()
    time.sleep(0.02)  # what comes after the client's last message is part of it
    return (cpu_seconds(pid) - before) / count


# ---- the table ---------------------------------------------------------------------------------


def figures(values):
    if not values:
        return "%9s" % "-", "%11s" % ""
    ordered = sorted(values)
    late = ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
    return "%9.3f" % (1000 * statistics.median(values)), " (%8.3f)" % (1000 * late)


NOTES = {
    "peer": "the peer is faster",
    "budget": "over the budget",
    "one-by-one": "SOCKS5 messages go one by one: some proxies lose what comes ahead of its turn",
}


def print_line(title, budget_ms, ours, theirs, note=""):
    own, peer = statistics.median(ours) * 1000, statistics.median(theirs) * 1000 if theirs else None
    remarks = [NOTES["budget"]] if own >= budget_ms else []
    if peer is not None and own > peer:
        remarks.append(NOTES["peer"])
    if remarks and note:
        remarks.append(note)
    print("  %-44s < %3g  %s%s  %s%s  %s" % (title, budget_ms, *figures(ours), *figures(theirs),
                                            "; ".join(remarks)))
    sys.stdout.flush()


def alternately(count, *functions):
    """Lists of what each function returned, the functions taking turns; None: an empty list."""
    results = [[] for _ in functions]
    for i in range(count + max(3, count // 50)):
        for result, function in zip(results, functions):
            if function and i >= max(3, count // 50):
                result.append(function())
            elif function:
                function()  # the first ones warm up
    return results


def in_threads(count, *functions):
    """The same, for what mostly waits: many at a time."""
    parts, failures = [], []
    threads = min(UPSTREAM_THREADS, count)

    def work():
        try:
            parts.append(alternately((count + threads - 1) // threads, *functions))
        except Exception as error:  # told by who waits for us
            failures.append(error)

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]
    return [[value for part in parts for value in part[i]] for i in range(len(functions))]


class Latency:
    def __init__(self, bench, iterations, size):
        self.bench, self.iterations, self.size = bench, iterations, size
        self.echo_port = bench.free_port()
        bench.start("/usr/bin/python3", scale.__file__, "echo", str(self.echo_port))
        bench.wait_port(self.echo_port)
        self.clients = Clients(bench.certificate[0])
        backend = self.clients.backend.getsockname()
        self.ours = Ours(bench, size, backend, self.echo_port)
        has_peer = shutil.which("haproxy") and shutil.which("v2ray")
        self.theirs = Theirs(bench, size, backend, self.echo_port) if has_peer else None
        for side in (self.ours, self.theirs):
            for port in side.ports.values() if side else ():
                bench.wait_port(port, 60)
        self.place = (LOOPBACK, self.echo_port)

    def both(self, method, port, *arguments, run=alternately):
        """One line's figures: the same step with each side's port of that name."""
        def step(side):
            function = getattr(self.clients, method)
            return (lambda: function(side.ports[port], *arguments)) if side else None

        return run(self.iterations, step(self.ours), step(self.theirs))

    def routing(self):
        """What users and rules add to a request."""
        with_rules, without = self.both("route", "plain"), self.both("route", "bare")
        return [[value - statistics.median(bare) for value in ruled] if ruled else []
                for ruled, bare in zip(with_rules, without)]

    def cpu_of_handshakes(self):
        """In batches: the kernel's count of a sleeping thread is exact, but reading it costs."""
        count = 20 if self.iterations >= 100 else 2

        def reality():
            with dial(self.ours.ports["reality"]) as connection:
                reality_client.connect(connection, self.bench.public, self.bench.short_id,
                                       REALITY_NAME)

        def ours():
            return cpu_per(self.ours.processes[0].pid, count, reality)

        def theirs():
            return cpu_per(self.theirs.processes[0].pid, count,
                           lambda: self.clients.handshake(self.theirs.inner["vless"]))

        return alternately(max(2, self.iterations // count), ours, theirs if self.theirs else None)

    def lines(self):
        place = self.place
        print_line("SNI routing", 1, *self.both("sni", "edge"))
        print_line("REALITY handshake, the server's CPU", 5, *self.cpu_of_handshakes(),
                   note="theirs is TLS without REALITY")
        print_line("TLS 1.3 handshake, SOCKS5", 3, *self.both("handshake", "socks"))
        print_line("TLS 1.3 handshake, HTTP", 3, *self.both("handshake", "http"))
        print_line("SOCKS5: greeting, password, CONNECT", 1, *self.both("socks_steps", "socks", place))
        print_line("routing: what %d users, %d rules add" % self.size, 1, *self.routing())
        print_line("total direct, VPN", 10, *self.both("vpn", "client", place))
        print_line("total direct, SOCKS5 over TLS", 5, *self.both("socks", "socks", place))
        print_line("total direct, HTTP proxy over TLS", 7, *self.both("http", "http", place))

    def upstream_lines(self):
        distance = Distance(self.bench)
        try:
            self.start_far(distance)
            print("  (%d ms by %s)" % (DISTANCE_MS, distance.how))
            for name, title in (("http", "HTTP CONNECT"), ("socks", "SOCKS5"),
                                ("socks-password", "SOCKS5 with a password")):
                print_line("upstream 50 ms away, " + title, 210, *self.both(
                    "socks", "up-" + name, (FAR, 7), run=in_threads),
                    NOTES["one-by-one"] if name == "socks-password" else "")
        finally:
            distance.close()

    def start_far(self, distance):
        account = [{"user": NAME, "pass": PASSWORD}]
        config = {
            "log": {"loglevel": "none"}, "culvert": {"controlSocket": "", "stateDirectory": ""},
            "inbounds": [
                {"tag": "a", "listen": FAR, "port": UPSTREAMS["http"], "protocol": "http",
                 "settings": {"accounts": account}},
                {"tag": "b", "listen": FAR, "port": UPSTREAMS["socks"], "protocol": "socks"},
                {"tag": "c", "listen": FAR, "port": UPSTREAMS["socks-password"],
                 "protocol": "socks", "settings": {"auth": "password", "accounts": account}}],
            "outbounds": [{"protocol": "freedom", "settings": {
                "redirect": "%s:7" % LOOPBACK, "allowPrivate": True}}]}
        with open(self.bench.path("far.json"), "w") as file:
            json.dump(config, file)
        inside = {"preexec_fn": distance.space.enter}
        self.bench.start("/usr/bin/python3", scale.__file__, "echo", "7", **inside)
        self.bench.start(self.bench.culvertd, "-c", self.bench.path("far.json"), **inside)
        for port in UPSTREAMS.values():
            self.bench.wait_port(port, 30, FAR)


def run(bench, iterations=None, users=None, rules=None):
    def number(given, name, usual):
        return given if given is not None else int(os.environ.get(name, usual))

    iterations = number(iterations, "LATENCY_ITERATIONS", 1000)
    size = (number(users, "LATENCY_USERS", 10000), number(rules, "LATENCY_RULES", 1000))
    scale.raise_file_limit()
    latency = Latency(bench, iterations, size)
    print("\nlatency: medians of %d in ms (and the 95th of 100); both with %d users, %d rules" % (
        iterations, *size))
    print("  %-44s %6s %9s %11s  %9s %11s" % ("", "budget", "culvert", "", "peer", ""))
    print("  peer: HAProxy + v2ray, VLESS over TLS in place of REALITY" if latency.theirs else
          "  peer: HAProxy or v2ray is not installed")
    latency.lines()
    if os.geteuid() == 0:
        latency.upstream_lines()
    else:
        print("  upstream 50 ms away: needs root")


if __name__ == "__main__" and sys.argv[1:2] == ["distance"]:
    hold_back(*sys.argv[2:5], float(sys.argv[5]))
