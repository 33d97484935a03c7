#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scale.py - many users and rules, many live sessions, a reload: what rows and tests of them share.

Sessions are plain VLESS, each of another user, to an echo server; each is asked for an echo again and
again, so that the longest time without an answer is known. A reload is timed from the command on the
control socket to its answer. Users are in one users.json that three inbounds name.
"""
import contextlib
import json
import os
import resource
import select
import socket
import sys
import time
import uuid

# of "secret"; nobody logs in with it here
HASH = ("$6$abc$iQFHHWJOI40scu4Gylo.RUX5qq2J0kAQ9qk8M8JCig3MKOyGfg6xrt2X0zi9IVWqPDD3hf2iC"
        "/X.tKtPW3NS60")


# ---- files -------------------------------------------------------------------------------------


def user_id(number):
    return uuid.uuid5(uuid.NAMESPACE_OID, "user-%d" % number)


def user(number, password_hash=HASH):
    name = "user-%05d" % number
    return {"username": name, "uuid": str(user_id(number)), "email": name + "@example.net",
            "flow": "", "shortId": "%016x" % (number + 1), "proxy_password": password_hash,
            "connection_type": "both", "enabled": True, "external_proxy_id": None}


def write_users(path, numbers, password_hash=HASH):
    with open(path + ".new", "w") as file:
        json.dump({"users": [user(number, password_hash) for number in numbers]}, file, indent=1)
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)


def rules(count):
    """Names, addresses and users, none of which the sessions here have."""
    made = []
    for i in range(count):
        if i % 5 == 3:
            condition = {"ip": ["203.0.%d.0/24" % (i % 256), "2001:db8:%x::/48" % i]}
        elif i % 5 == 4:
            condition = {"user": ["nobody-%d@example.net" % i]}
        else:
            condition = {"domain": ["full:www.site-%d.example" % i, "domain:site-%d.example" % i,
                                    "keyword:word-%d-" % i]}
        made.append(dict(condition, outboundTag="block"))
    return made


def config(users_path, vless_port, rule_count, certificate=None, proxy_ports=(), **more):
    """VLESS on @vless_port; with a certificate also SOCKS5 and HTTP over TLS on @proxy_ports."""
    inbounds = [{"tag": "vless-in", "listen": "127.0.0.1", "port": vless_port, "protocol": "vless",
                 "settings": {"decryption": "none", "usersFile": users_path}}]
    for protocol, port in zip(("socks", "http"), proxy_ports):
        settings = {"usersFile": users_path}
        if protocol == "socks":
            settings["auth"] = "password"
        inbounds.append({
            "tag": protocol + "-in", "listen": "127.0.0.1", "port": port, "protocol": protocol,
            "settings": settings, "streamSettings": {"security": "tls", "tlsSettings": {
                "certificates": [{"certificateFile": certificate[0], "keyFile": certificate[1]}]}}})
    return dict({"inbounds": inbounds, "routing": {"rules": rules(rule_count)}, "outbounds": [
        {"tag": "direct", "protocol": "freedom", "settings": {"allowPrivate": True}},
        {"tag": "block", "protocol": "blackhole"}]}, **more)


# ---- live sessions -----------------------------------------------------------------------------


def raise_file_limit():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def echo(port):
    """Sends everything back, until it is killed."""
    raise_file_limit()
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    poll, connections = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        connection, _ = listener.accept()
                        connections[connection.fileno()] = connection
                        poll.register(connection, select.EPOLLIN)
                continue
            data = b""
            with contextlib.suppress(OSError):
                data = connections[fd].recv(4096)
                connections[fd].sendall(data)
            if not data:
                poll.unregister(fd)
                connections.pop(fd).close()


class Session:
    __slots__ = ("connection", "asked_ns", "wanted", "got")

    def __init__(self, connection):
        self.connection, self.asked_ns, self.wanted, self.got = connection, 0, b"\0\0", b""


class Sessions:
    """Connections to culvertd, one for each user number; close() when done."""

    def __init__(self, port, echo_port, numbers):
        self.poll, self.live, self.order = select.epoll(), {}, []
        self.dropped = self.wrong = self.asked = self.answered = 0
        self.longest_ns = 0
        target = b"\1" + echo_port.to_bytes(2, "big") + b"\1" + socket.inet_aton("127.0.0.1")
        for at, number in enumerate(numbers):
            connection = socket.create_connection(("127.0.0.1", port), 20)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"\0" + user_id(number).bytes + b"\0" + target)
            session = Session(connection)
            self.live[connection.fileno()] = session
            self.order.append(session)
            self.poll.register(connection, select.EPOLLIN)
            self.ask(session)
            if at % 100 == 99:
                self.settle()
        self.settle()
        self.longest_ns = 0

    def ask(self, session):
        if session.asked_ns or session.connection.fileno() not in self.live:
            return
        self.asked += 1
        word = self.asked.to_bytes(8, "big")
        session.wanted += word
        session.asked_ns = time.monotonic_ns()
        try:
            session.connection.send(word)
        except OSError:
            self.drop(session.connection.fileno())

    def drop(self, fd):
        session = self.live.pop(fd)
        self.poll.unregister(fd)
        session.connection.close()
        self.dropped += 1

    def hear(self, fd):
        session = self.live[fd]
        try:
            data = session.connection.recv(256)
        except OSError:
            data = b""
        if not data:
            self.drop(fd)
            return
        session.got += data
        if len(session.got) < len(session.wanted):
            return
        self.longest_ns = max(self.longest_ns, time.monotonic_ns() - session.asked_ns)
        self.wrong += session.got != session.wanted
        self.answered += 1
        session.asked_ns, session.wanted, session.got = 0, b"", b""

    def settle(self, seconds=30):
        """Until everything asked was answered."""
        deadline = time.monotonic() + seconds
        while any(session.asked_ns for session in self.live.values()):
            if time.monotonic() > deadline:
                raise RuntimeError("sessions do not answer")
            for fd, _ in self.poll.poll(1):
                self.hear(fd)

    def talk(self, until, period=2.0):
        """Each is asked once in @period seconds, until @until() says so; returns the longest wait for
        an answer meanwhile, in seconds."""
        start, done, self.longest_ns = time.monotonic(), 0, 0
        while not until(time.monotonic() - start):
            due = int((time.monotonic() - start) / period * len(self.order))
            while done < due:
                self.ask(self.order[done % len(self.order)])
                done += 1
            for fd, _ in self.poll.poll(0.001):
                self.hear(fd)
        waiting = [session.asked_ns for session in self.live.values() if session.asked_ns]
        now = time.monotonic_ns()
        return max([self.longest_ns] + [now - asked for asked in waiting]) / 1e9

    def close(self):
        for session in self.live.values():
            session.connection.close()
        self.poll.close()


class Reload:
    """A reload (or another command) under way, asked for on the control socket; until() is for
    Sessions.talk()."""

    def __init__(self, control_path, command="reload"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(control_path)
        self.socket.setblocking(False)
        self.answer, self.seconds = b"", None
        self.start = time.monotonic()
        self.socket.sendall(command.encode() + b"\n")

    def until(self, _elapsed=0):
        if self.seconds is None:
            with contextlib.suppress(BlockingIOError):
                block = self.socket.recv(65536)
                self.answer += block
                if not block:
                    self.seconds = time.monotonic() - self.start
                    self.socket.close()
        return self.seconds is not None

    def result(self):
        return json.loads(self.answer)


if __name__ == "__main__" and sys.argv[1:2] == ["echo"]:
    echo(int(sys.argv[2]))
