# SPDX-License-Identifier: MIT
"""What a prober sees of a TLS port: records, close, timing - everything but random bytes."""

import select
import socket
import time

import reality_client


class Transcript:
    """Bytes from one peer, as (record type, version, total length) and how the stream ended."""

    def __init__(self):
        self.data, self.end, self.seconds, self.first_seconds = b"", "timeout", 0.0, None
        self.marks = []

    def records(self):
        found, offset = [], 0
        while offset + 5 <= len(self.data) and 20 <= self.data[offset] <= 23:
            length = 5 + int.from_bytes(self.data[offset + 3:offset + 5], "big")
            found.append((self.data[offset], self.data[offset + 1:offset + 3].hex(),
                          min(length, len(self.data) - offset)))
            offset += length
        if offset < len(self.data):
            found.append(("not a record", self.data[offset:offset + 16].hex(),
                          len(self.data) - offset))
        return found

    def shape(self):
        """For comparing: plain alerts with their bytes, everything else by type and length."""
        alerts, offset = [], 0
        while offset + 7 <= len(self.data):
            length = 5 + int.from_bytes(self.data[offset + 3:offset + 5], "big")
            if self.data[offset] == 21 and length == 7:
                alerts.append(self.data[offset:offset + 7].hex())
            offset += length
        return (self.records(), alerts, self.end)

    def __repr__(self):
        return "%d bytes %s, %s after %.2f s" % (len(self.data), self.records(), self.end,
                                                 self.seconds)


def observe(connection, seconds=3.0, quiet=None, after=None):
    """Read until the peer ends, `seconds` are over, or nothing came for `quiet` seconds."""
    transcript = after or Transcript()
    start = last = time.monotonic()
    while True:
        now = time.monotonic()
        wait = start + seconds - now
        if quiet is not None:
            wait = min(wait, last + quiet - now)
        if wait <= 0:
            transcript.end = "open"
            break
        ready, _, _ = select.select([connection], [], [], wait)
        if not ready:
            continue
        try:
            block = connection.recv(65536)
        except ConnectionResetError:
            transcript.end = "rst"
            break
        if not block:
            transcript.end = "fin"
            break
        last = time.monotonic()
        if transcript.first_seconds is None:
            transcript.first_seconds = last - start
        transcript.data += block
    transcript.seconds += time.monotonic() - start
    return transcript


def hello_record(message, version=0x0301):
    return reality_client.record(reality_client.HANDSHAKE, message, version)


def send_pieces(connection, data, size, pause=0.0):
    """In pieces; a peer that already closed is no error here, the transcript shows it."""
    try:
        for offset in range(0, len(data), size):
            connection.sendall(data[offset:offset + size])
            if pause:
                time.sleep(pause)
        return True
    except OSError:
        return False


def half_close(connection):
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def malformed_hellos():
    """name -> function() -> bytes to send: every kind of ClientHello that is not one."""
    def hello(**options):
        return reality_client.Hello(alpn=("http/1.1",), **options)

    def body(change):
        def build():
            message = bytearray(hello().message())
            change(message)
            return hello_record(bytes(message))
        return build

    def with_extension(*extensions):
        def build():
            one = hello()
            one.extensions += extensions
            return hello_record(one.message())
        return build

    def replaced(number, payload):
        return lambda: hello_record(hello().replace(number, payload).message())

    def put(offset, value):
        def change(message):
            message[offset:offset + len(value)] = value
        return change

    vector = reality_client.vector
    return {
        "handshake type 2": body(put(0, b"\2")),
        "handshake length too long": body(put(1, b"\0\xff\xff")),
        "handshake length too short": body(put(1, b"\0\0\x40")),
        "handshake length 0": lambda: hello_record(b"\1\0\0\0"),
        "session id length 255": body(put(38, b"\xff")),
        "session id length 33": body(put(38, b"\x21")),
        "odd cipher suites": body(put(71, b"\0\7")),
        "no cipher suites": lambda: hello_record(hello(suites=()).message()),
        "legacy version 0300": body(put(4, b"\3\0")),
        "legacy version ffff": body(put(4, b"\xff\xff")),
        "compression without null": body(put(81, b"\1\1")),
        "extensions cut": lambda: hello_record(_fix_length(hello().message()[:-7])),
        "no extensions": lambda: hello_record(_fix_length(_without_extensions(hello()))),
        "bytes behind the extensions": lambda: hello_record(_fix_length(hello().message() + b"xyz")),
        "duplicate extension": with_extension((23, b"")),
        "empty server name list": replaced(0, b"\0\0"),
        "two server names": replaced(0, vector(2, b"\0" + vector(2, b"site.test") +
                                               b"\0" + vector(2, b"site.test"))),
        "empty server name": replaced(0, vector(2, b"\0" + vector(2, b""))),
        "server name ends with a dot": replaced(0, vector(2, b"\0" + vector(2, b"site.test."))),
        "server name with NUL": replaced(0, vector(2, b"\0" + vector(2, b"site\0test"))),
        "server name of 300 bytes": replaced(0, vector(2, b"\0" + vector(2, b"a" * 300))),
        "server name type 1": replaced(0, vector(2, b"\1" + vector(2, b"site.test"))),
        "empty groups": replaced(10, b"\0\0"),
        "odd groups": replaced(10, b"\0\3\0\x1d\0"),
        "empty signature algorithms": replaced(13, b"\0\0"),
        "empty versions": replaced(43, b"\0"),
        "odd versions": replaced(43, b"\3\3\4\3"),
        "empty ALPN": replaced(16, b"\0\0"),
        "ALPN with empty name": replaced(16, vector(2, vector(1, b""))),
        "empty key share list": replaced(51, b"\0\0"),
        "key share of 0 bytes": replaced(51, vector(2, b"\0\x1d\0\0")),
        "key share of 31 bytes": replaced(51, vector(2, b"\0\x1d" + vector(2, bytes(31)))),
        "key share all zero": replaced(51, vector(2, b"\0\x1d" + vector(2, bytes(32)))),
        "key share list cut": replaced(51, b"\0\xff\0\x1d\0\x20"),
        "trailing byte in key shares": lambda: _trailing(hello(), 51),
        "trailing byte in versions": lambda: _trailing(hello(), 43),
        "pre_shared_key not last": lambda: _psk_first(hello()),
        "malformed pre_shared_key": with_extension((41, b"\0\1\0")),
        "malformed ECH": with_extension((0xFE0D, b"\0\1")),
        "HTTP": lambda: b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n",
        "SSH": lambda: b"SSH-2.0-OpenSSH_9.2\r\n",
        "zeros": lambda: bytes(64),
        "random": lambda: bytes(range(256)) * 4,
        "record type 23 first": lambda: reality_client.record(23, b"x" * 64),
        "CCS first": lambda: reality_client.CCS_RECORD + hello_record(hello().message()),
        "alert first": lambda: reality_client.record(21, b"\2\x28"),
        "warning alert, then hello": lambda: reality_client.record(21, b"\1\x5a") +
        hello_record(hello().message()),
        "record version 1000": lambda: hello_record(hello().message(), 0x1000),
        "record version 0300": lambda: hello_record(hello().message(), 0x0300),
        "empty record": lambda: hello_record(b""),
        "record of 18433 bytes": lambda: b"\x16\3\1\x48\1" + bytes(18433),
        "record of 65535 bytes": lambda: b"\x16\3\1\xff\xff" + bytes(65535),
        "SSLv2 hello": lambda: b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(37),
        "TLS 1.2 hello": lambda: hello_record(hello(versions=()).message(), 0x0301),
        "TLS 1.0 hello": lambda: hello_record(
            b"\1" + vector(3, b"\3\1" + bytes(32) + b"\0" + b"\0\2\0\x2f" + b"\1\0")),
        "unknown versions only": lambda: hello_record(hello(versions=(0x0305, 0x7A7A)).message()),
        "two hellos": lambda: hello_record(hello().message()) + hello_record(hello().message()),
    }


def _fix_length(message):
    return message[:1] + (len(message) - 4).to_bytes(3, "big") + message[4:]


def _without_extensions(hello):
    message = hello.message()
    return message[:39 + 32 + 2 + 2 * len(hello.suites) + 2]


def _trailing(hello, number):
    payload = dict(hello.extensions)[number]
    return hello_record(hello.replace(number, payload + b"\0").message())


def _psk_first(hello):
    identity = reality_client.vector(2, reality_client.vector(2, b"t" * 32) + bytes(4))
    binders = reality_client.vector(2, reality_client.vector(1, bytes(32)))
    hello.extensions.insert(0, (41, identity + binders))
    return hello_record(hello.message())
