#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""latency.py - the steps of a connection one by one: clients, and the two sides that they meet.

Both sides know the same users and rules; ours in one daemon, theirs in an HAProxy (server names, TLS) in
front of a v2ray. v2ray 4.34 has no REALITY: where ours does REALITY, it does VLESS over TLS. The site
behind everything is an echo server; "total" is from the first SYN to the first byte of an echo. The upstream
is 50 ms away (netem, or a process that holds packets back where the kernel has none). rows_steps.py
measures.
"""
import base64
import contextlib
import ctypes
import fcntl
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import deque

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import netns  # noqa: E402
import scale  # noqa: E402
from servers import haproxy_text  # noqa: E402

NAME, PASSWORD = "user-00000", "secret"
SITE = "service.example.test"  # resolved nowhere: the last rule knows the way
PLAIN_NAME, REALITY_NAME = "plain.example.test", "camouflage.test"
NEAR, FAR = "10.98.0.1", "10.98.0.2"
DISTANCE_MS = 50  # there and back
UPSTREAM_THREADS = 20
LOOPBACK = "127.0.0.1"


def wait_port(port, seconds=30, address=LOOPBACK):
    end = time.time() + seconds
    while time.time() < end:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("nothing listens on port %d" % port)


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


class Far:
    """Proxies of three kinds, DISTANCE_MS away; close() when done."""

    def __init__(self, bench):
        self.distance = Distance(bench)
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
        with open(bench.path("far.json"), "w") as file:
            json.dump(config, file)
        for command in (("/usr/bin/python3", scale.__file__, "echo", "7"),
                        (bench.culvertd, "-c", bench.path("far.json"))):
            bench.start("ip", "netns", "exec", self.distance.space.name, *command)
        for port in UPSTREAMS.values():
            wait_port(port, 30, FAR)

    def close(self):
        self.distance.close()


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
        text = haproxy_text(os.cpu_count(), 60, """\
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
""" % (LOOPBACK, self.ports["edge"], PLAIN_NAME, *backend, LOOPBACK, self.inner["vless"]))
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


if __name__ == "__main__" and sys.argv[1:2] == ["distance"]:
    hold_back(*sys.argv[2:5], float(sys.argv[5]))
