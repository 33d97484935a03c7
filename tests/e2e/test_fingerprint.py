# SPDX-License-Identifier: MIT
"""Our hello on the wire beside those of browsers.

The JA4 strings are those that public collections recorded from the browsers themselves. They cover
suites, extensions and signature schemes; what they leave out is compared by itself: key shares,
GREASE, the order of extensions, the record around it all. A listener reads what a REALITY client
sends first.
"""

import contextlib
import hashlib
import socket
import struct

import pytest
import rig

PORT, LOCAL = 4481, 1151
CHROME = "t13d1516h2_8daaf6152771_806a8c22fdea"
FIREFOX = "t13d1717h2_5b57614c22b0_3cbfd9057e0d"
SAFARI = "t13d2013h2_a09f3c656075_7f0f34a4126d"
HYBRID, X25519, P256, P384, P521 = 0x11ec, 0x1d, 0x17, 0x18, 0x19
GREASE = "grease"
# groups, key shares; GREASE at these places of suites and groups; shuffled extensions
BROWSERS = {
    "chrome": (CHROME, [GREASE, HYBRID, X25519, P256, P384], [GREASE, HYBRID, X25519], True),
    "firefox": (FIREFOX, [HYBRID, X25519, P256, P384, P521, 0x100, 0x101],
                [HYBRID, X25519, P256], False),
    "safari": (SAFARI, [GREASE, HYBRID, X25519, P256, P384, P521], [GREASE, HYBRID, X25519], False),
}


def u16(data, at=0):
    return struct.unpack_from("!H", data, at)[0]


def numbers(data):
    found = [u16(data, at) for at in range(0, len(data), 2)]
    return [GREASE if n & 0x0f0f == 0x0a0a and n >> 8 == n & 255 else n for n in found]


class Hello:
    def __init__(self, record):
        self.record_version, length = u16(record, 1), u16(record, 3)
        self.is_one_record = record[0] == 22 and len(record) == 5 + length
        message = record[5:]
        assert message[0] == 1 and int.from_bytes(message[1:4], "big") == len(message) - 4
        self.version, at = u16(message, 4), 38
        self.session_id_bytes = message[at]
        at += 1 + message[at]
        self.suites = numbers(message[at + 2:at + 2 + u16(message, at)])
        at += 2 + u16(message, at)
        self.compression = message[at + 1:at + 1 + message[at]]
        at += 1 + message[at]
        assert at + 2 + u16(message, at) == len(message)
        at, self.extensions, self.bodies = at + 2, [], {}
        while at < len(message):
            kind, size = numbers(message[at:at + 2])[0], u16(message, at + 2)
            self.extensions.append(kind)
            self.bodies[kind] = message[at + 4:at + 4 + size]
            at += 4 + size
        self.name = self.bodies[0][5:].decode()
        self.groups = numbers(self.bodies[10][2:])
        self.schemes = numbers(self.bodies[13][2:])
        self.versions = numbers(self.bodies[43][1:])
        self.alpn = self.bodies[16][3:3 + self.bodies[16][2]].decode()
        self.shares, shares, at = [], self.bodies[51], 2
        while at < len(shares):
            self.shares.append((numbers(shares[at:at + 2])[0], u16(shares, at + 2)))
            at += 4 + u16(shares, at + 2)

    def ja4(self):
        def digest(text):
            return hashlib.sha256(text.encode()).hexdigest()[:12]

        def words(values):
            return ",".join("%04x" % v for v in values)

        suites = [s for s in self.suites if s != GREASE]
        shown = [e for e in self.extensions if e != GREASE]
        highest = {0x304: "13", 0x303: "12"}[max(v for v in self.versions if v != GREASE)]
        listed = words(sorted(e for e in shown if e not in (0, 16)))
        return "t%sd%02d%02d%s_%s_%s" % (
            highest, len(suites), len(shown), self.alpn[0] + self.alpn[-1],
            digest(words(sorted(suites))),
            digest(listed + "_" + words(s for s in self.schemes if s != GREASE)))


@pytest.fixture(scope="module")
def listener(net):
    with net.server:
        one = socket.create_server((rig.SERVER_IP, PORT))
    one.settimeout(15)
    yield one
    one.close()


def hello_of(net, listener):
    """What the client's daemon sends first for a new session."""
    asking = rig.tcp(net.client, "127.0.0.1", LOCAL)
    asking.sendall(b"\5\1\0" + b"\5\1\0\1" + socket.inet_aton(rig.INTERNET_IP) + b"\0\x50")
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(10)
        head = rig.exactly(connection, 5)
        record = head + rig.exactly(connection, u16(head, 3))
        connection.settimeout(0.2)
        with contextlib.suppress(socket.timeout, TimeoutError):
            record += connection.recv(4096)  # nothing follows a hello
    asking.close()
    return Hello(record)


@pytest.mark.parametrize("browser", BROWSERS)
def test_row_012_hello(net, tmp, keys, listener, browser):
    ja4, groups, shares, is_shuffled = BROWSERS[browser]
    client = rig.Culvert(net.client, tmp, rig.client_config(
        LOCAL, PORT, rig.reality_client_stream(keys.public, fingerprint=browser)), "hello",
        wait=(("127.0.0.1", LOCAL),))
    sizes = {HYBRID: 1216, X25519: 32, P256: 65, GREASE: 1}
    with rig.running(client):
        hellos = [hello_of(net, listener) for _ in range(8)]
    for hello in hellos:
        assert hello.ja4() == ja4
        assert hello.is_one_record and hello.record_version == 0x301 and hello.version == 0x303
        assert hello.session_id_bytes == 32 and hello.compression == b"\0"
        assert hello.name == rig.SITE and hello.alpn == "h2"
        assert hello.groups == groups
        assert hello.shares == [(group, sizes[group]) for group in shares]
        assert (hello.suites[0] == GREASE) == (groups[0] == GREASE)
        assert hello.suites.count(GREASE) == (groups[0] == GREASE)
        if groups[0] == GREASE:  # one ahead of all extensions, one behind
            assert hello.extensions[0] == GREASE and hello.extensions.count(GREASE) == 2
        else:
            assert GREASE not in hello.extensions
    orders = {tuple(hello.extensions) for hello in hellos}
    assert (len(orders) > 4) == is_shuffled, orders


def test_row_012_random_is_one_of_them(net, tmp, keys, listener):
    client = rig.Culvert(net.client, tmp, rig.client_config(
        LOCAL, PORT, rig.reality_client_stream(keys.public, fingerprint="random")), "hello",
        wait=(("127.0.0.1", LOCAL),))
    with rig.running(client):
        assert {hello_of(net, listener).ja4() for _ in range(4)} <= {CHROME, FIREFOX, SAFARI}
