# SPDX-License-Identifier: MIT
"""Names are resolved where the traffic goes out: asked for once, remembered, both families.

A DNS server of the test's own stands beside the server and counts; the client's machine has a
resolver as well, which must never hear of any of it.
"""

import concurrent.futures
import contextlib
import os
import socket
import struct
import threading
import time

import pytest
import rig

PORT, LOCAL, ECHO = 4471, 1141, 8241
INTERNET_6, SERVER_6, NOBODY_6, NOBODY_4 = "fd77::2", "fd77::1", "fd77::99", "10.77.2.99"
NAMES = {  # A, AAAA
    "both.test": ([rig.INTERNET_IP], [INTERNET_6]),
    "again.test": ([rig.INTERNET_IP], [INTERNET_6]),
    "crowd.test": ([rig.INTERNET_IP], [INTERNET_6]),
    "four.test": ([rig.INTERNET_IP], []),
    "six.test": ([], [INTERNET_6]),
    "four-is-dead.test": ([NOBODY_4], [INTERNET_6]),
    "six-is-dead.test": ([rig.INTERNET_IP], [NOBODY_6]),
    "six-refuses.test": ([rig.INTERNET_IP], [SERVER_6]),
    "rule.test": ([rig.INTERNET_IP], []),
}
TYPE_A, TYPE_AAAA = 1, 28


class Dns:
    """Answers for NAMES, "no such name" for everything else; remembers what it was asked."""

    def __init__(self, namespace, delay=0):
        self.queries, self.delay = [], delay
        with namespace:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                query, source = self.socket.recvfrom(4096)
                if self.delay:
                    time.sleep(self.delay)
                self.socket.sendto(self.answer(query), source)

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        name, question = ".".join(labels), query[12:at + 5]
        self.queries.append((name, kind))
        found = NAMES.get(name)
        addresses = (found or ([], []))[kind == TYPE_AAAA] if kind in (TYPE_A, TYPE_AAAA) else []
        family = socket.AF_INET6 if kind == TYPE_AAAA else socket.AF_INET
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 300, len(socket.inet_pton(family, a))) +
            socket.inet_pton(family, a) for a in addresses)
        return query[:2] + struct.pack("!HHHHH", 0x8180 | (0 if found else 3), 1, len(addresses), 0,
                                       0) + question + records

    def asked(self, name):
        return sorted(kind for asked, kind in self.queries if asked == name)

    def close(self):
        self.socket.close()


class Echo:
    """Says from which family it is reached."""

    def __init__(self, namespace):
        self.listeners = []
        for family, address in ((socket.AF_INET, rig.INTERNET_IP), (socket.AF_INET6, INTERNET_6)):
            with namespace:
                listener = socket.create_server((address, ECHO), family=family, backlog=128)
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, family), daemon=True).start()

    @staticmethod
    def accept(listener, family):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with contextlib.suppress(OSError):
                    connection.sendall(b"6" if family == socket.AF_INET6 else b"4")
                connection.close()

    def close(self):
        rig.close_listeners(self.listeners)


@pytest.fixture(scope="module")
def families(net):
    """IPv6 between the server and the internet."""
    for namespace, other, address in ((net.server, net.internet, SERVER_6),
                                      (net.internet, net.server, INTERNET_6)):
        namespace.ip("addr", "add", address + "/64", "dev", namespace.links[other.name], "nodad")
    echo = Echo(net.internet)
    yield
    echo.close()


@pytest.fixture(scope="module")
def names(net, families):
    server, client = Dns(net.server, 0.05), Dns(net.client)
    yield server, client
    for dns in (server, client):
        dns.close()


def own_resolver(tmp):
    """A prefix that gives a program a resolv.conf with the DNS of its own namespace."""
    resolver, order = os.path.join(tmp, "resolv.conf"), os.path.join(tmp, "nsswitch.conf")
    with open(resolver, "w") as file:
        file.write("nameserver 127.0.0.1\n")
    with open(order, "w") as file:
        file.write("hosts: files dns\n")
    for path in (resolver, order):
        os.chmod(path, 0o644)
    return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && mount --bind "$1" '
            '/etc/nsswitch.conf && shift && exec "$@"', resolver, order]


@pytest.fixture(scope="module")
def pair_of(net, tmp, keys, target, names):
    config = rig.server_config(PORT, rig.reality_stream(keys.private, target.address))
    config["routing"] = {"domainStrategy": "IPIfNonMatch", "rules": [
        {"ip": ["192.0.2.0/24"], "outboundTag": "direct"}]}
    server = rig.Culvert(net.server, tmp, config, "names", prefix=own_resolver(tmp),
                         wait=((rig.SERVER_IP, PORT),))
    client = rig.Culvert(net.client, tmp, rig.client_config(
        LOCAL, PORT, rig.reality_client_stream(keys.public)), "names-client",
        prefix=own_resolver(tmp), wait=(("127.0.0.1", LOCAL),))
    with rig.running(client, server):
        yield server


def reach(net, name):
    """The family the internet was reached by, "" if it was not."""
    connection = rig.tcp(net.client, "127.0.0.1", LOCAL, timeout=20)
    assert rig.socks_handshake(connection, name, ECHO) == 0
    text, _ = rig.read_all(connection, 20)
    connection.close()
    return text.decode()


def test_row_112_one_after_the_other(net, pair_of, names):
    """The name travels as it is; the server asks for it once, whatever its letters' case."""
    server, client = names
    for i in range(20):
        assert reach(net, "again.test" if i % 2 else "AGAIN.test") in ("4", "6")
    assert server.asked("again.test") == [TYPE_A, TYPE_AAAA]
    assert not client.queries
    pair_of.wait_idle()


def test_row_112_all_at_once(net, pair_of, names):
    """Whoever asks while the answer is on its way waits for it."""
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda _: reach(net, "crowd.test"), range(48)))
    assert set(found) <= {"4", "6"}, found
    assert names[0].asked("crowd.test") == [TYPE_A, TYPE_AAAA]
    assert not names[1].queries


@pytest.mark.parametrize("name, family", [
    ("four.test", "4"), ("six.test", "6"), ("four-is-dead.test", "6"), ("six-is-dead.test", "4"),
    ("six-refuses.test", "4")])
def test_row_112_families(net, pair_of, names, name, family):
    """One that is not there, does not answer or refuses costs a moment and no connection."""
    start = time.monotonic()
    assert reach(net, name) == family
    assert time.monotonic() - start < 5
    assert names[0].asked(name) == [TYPE_A, TYPE_AAAA]


def test_row_112_no_such_name(net, pair_of, names):
    """Remembered as well, for some seconds."""
    before = pair_of.reason_count("resolve")
    for _ in range(4):
        assert reach(net, "nobody.test") == ""
    pair_of.wait_reason("resolve", before + 3)
    assert names[0].asked("nobody.test") == [TYPE_A, TYPE_AAAA]
    assert not names[1].queries
