# SPDX-License-Identifier: MIT
"""A REALITY, VLESS and Vision client that shares no line with culvert: TLS 1.3 by hand.

Written from RFC 8446 and the REALITY and Vision descriptions with Python's `cryptography`, so that
every field of a hello can be bent. Only X25519 is offered (no ML-KEM here).
"""

import hashlib
import hmac
import os
import struct
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

HANDSHAKE, ALERT, CCS, DATA = 22, 21, 20, 23
SUITES = {0x1301: ("sha256", 16, AESGCM), 0x1302: ("sha384", 32, AESGCM),
          0x1303: ("sha256", 32, ChaCha20Poly1305)}
CCS_RECORD = b"\x14\x03\x03\x00\x01\x01"


def decode_key(text):
    import base64
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def raw_public(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw,
                                         serialization.PublicFormat.Raw)


def hkdf_extract(name, salt, secret):
    return hmac.new(salt, secret, name).digest()


def hkdf_expand(name, key, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([counter]), name).digest()
        out += block
        counter += 1
    return out[:length]


def expand_label(name, secret, label, context, length):
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + bytes([len(context)]) + context
    return hkdf_expand(name, secret, info, length)


def record(kind, payload, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def vector(length_bytes, payload):
    return len(payload).to_bytes(length_bytes, "big") + payload


def extension(number, payload):
    return struct.pack(">HH", number, len(payload)) + payload


class Hello:
    """A ClientHello; seal() makes it one of ours. Attributes may be changed before bytes()."""

    def __init__(self, sni="site.test", alpn=("h2", "http/1.1"), suites=(0x1301, 0x1302, 0x1303, 0xC02F),
                 versions=(0x0304, 0x0303)):
        self.key = X25519PrivateKey.generate()
        self.random = os.urandom(32)
        self.session_id = os.urandom(32)
        self.suites = suites
        self.auth_key = None
        self.extensions = []
        if sni is not None:
            name = sni.encode()
            self.extensions.append((0, vector(2, b"\0" + vector(2, name))))
        self.extensions += [(10, vector(2, b"\x00\x1d\x00\x17")),
                            (11, b"\x01\x00"), (23, b""), (0xFF01, b"\0"),
                            (13, vector(2, bytes.fromhex("0403050306030804080508060401050106010807"))),
                            (45, b"\x01\x01")]
        if versions:
            self.extensions.append((43, vector(1, b"".join(struct.pack(">H", v) for v in versions))))
            self.extensions.append((51, vector(2, b"\x00\x1d" + vector(2, raw_public(self.key)))))
        if alpn:
            self.extensions.append((16, vector(2, b"".join(vector(1, p.encode()) for p in alpn))))

    def replace(self, number, payload):
        self.extensions = [(n, payload if n == number else p) for n, p in self.extensions]
        return self

    def without(self, number):
        self.extensions = [(n, p) for n, p in self.extensions if n != number]
        return self

    def message(self):
        body = b"\x03\x03" + self.random + vector(1, self.session_id)
        body += vector(2, b"".join(struct.pack(">H", s) for s in self.suites)) + b"\x01\x00"
        body += vector(2, b"".join(extension(n, p) for n, p in self.extensions))
        return b"\x01" + vector(3, body)

    def seal(self, server_public, short_id, version=(26, 9, 9), skew=0, reserved=0):
        """Authenticate as REALITY 4; short_id in hex."""
        shared = self.key.exchange(X25519PublicKey.from_public_bytes(server_public))
        key = hkdf_expand("sha256", hkdf_extract("sha256", self.random[:20], shared), b"REALITY", 32)
        plain = bytes(version) + bytes([reserved])
        plain += struct.pack(">I", int(time.time() + skew) & 0xFFFFFFFF)
        plain += bytes.fromhex(short_id).ljust(8, b"\0")
        self.session_id = bytes(32)
        sealed = AESGCM(key).encrypt(self.random[20:], plain, self.message())
        self.session_id = sealed
        self.auth_key = key
        return self


class Keys:
    """One direction's record protection."""

    def __init__(self, suite, secret):
        name, length, cipher = SUITES[suite]
        self.cipher = cipher(expand_label(name, secret, b"key", b"", length))
        self.iv = expand_label(name, secret, b"iv", b"", 12)
        self.sequence = 0

    def _nonce(self):
        nonce = (int.from_bytes(self.iv, "big") ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return nonce

    def seal(self, kind, payload, padding=0):
        inner = payload + bytes([kind]) + bytes(padding)
        header = struct.pack(">BHH", DATA, 0x0303, len(inner) + 16)
        return header + self.cipher.encrypt(self._nonce(), inner, header)

    def open(self, header, payload):
        inner = self.cipher.decrypt(self._nonce(), payload, header).rstrip(b"\0")
        return inner[-1], inner[:-1]


class Ended(Exception):
    """The stream ended where more was needed."""


class Records:
    """Reads TLS records from a socket and keeps what follows them."""

    def __init__(self, connection):
        self.connection = connection
        self.buffer = b""
        self.lengths = []  # (type, total length) of everything read

    def _need(self, length):
        while len(self.buffer) < length:
            block = self.connection.recv(65536)
            if not block:
                raise Ended("after %d bytes, %d wanted" % (len(self.buffer), length))
            self.buffer += block

    def read(self):
        self._need(5)
        header = self.buffer[:5]
        total = 5 + struct.unpack(">H", header[3:])[0]
        self._need(total)
        payload, self.buffer = self.buffer[5:total], self.buffer[total:]
        self.lengths.append((header[0], total))
        return header, payload


class Client:
    """A TLS 1.3 client connection over a connected socket."""

    def __init__(self, connection, hello):
        self.connection = connection
        self.hello = hello
        self.records = Records(connection)
        self.genuine = False
        self.certificate = None
        self.alpn = None
        self.pending = b""  # decrypted, not yet read
        self.raw = False  # Vision DIRECT was received

    def send_hello(self):
        self.hello_message = self.hello.message()
        self.connection.sendall(record(HANDSHAKE, self.hello_message, 0x0301))

    def read_flight(self):
        """ServerHello through Finished; verifies Finished, looks at the certificate."""
        header, server_hello = self.records.read()
        if header[0] != HANDSHAKE or server_hello[0] != 2:
            raise Ended("no ServerHello but type %d: %s" % (header[0], server_hello[:8].hex()))
        self.suite, share = self._parse_server_hello(server_hello)
        self.hash = SUITES[self.suite][0]
        self.transcript = hashlib.new(self.hash, self.hello_message + server_hello)
        shared = self.hello.key.exchange(X25519PublicKey.from_public_bytes(share))
        size = self.transcript.digest_size
        zero, empty = bytes(size), hashlib.new(self.hash).digest()
        early = hkdf_extract(self.hash, zero, zero)
        handshake = hkdf_extract(self.hash, expand_label(self.hash, early, b"derived", empty, size),
                                 shared)
        context = self.transcript.digest()
        self.client_secret = expand_label(self.hash, handshake, b"c hs traffic", context, size)
        self.server_secret = expand_label(self.hash, handshake, b"s hs traffic", context, size)
        self.master = hkdf_extract(self.hash, expand_label(self.hash, handshake, b"derived", empty,
                                                           size), zero)
        self.receive = Keys(self.suite, self.server_secret)
        self._read_encrypted_flight(size)

    def _parse_server_hello(self, message):
        offset = 4 + 2 + 32
        offset += 1 + message[offset]
        suite = struct.unpack(">H", message[offset:offset + 2])[0]
        offset += 3
        end = offset + 2 + struct.unpack(">H", message[offset:offset + 2])[0]
        offset += 2
        while offset < end:
            number, length = struct.unpack(">HH", message[offset:offset + 4])
            if number == 51:
                group = struct.unpack(">H", message[offset + 4:offset + 6])[0]
                assert group == 0x1D, "server chose group %#x" % group
                return suite, message[offset + 8:offset + 4 + length]
            offset += 4 + length
        raise Ended("no key share in the ServerHello")

    def _read_encrypted_flight(self, size):
        buffer = b""
        while True:
            header, payload = self.records.read()
            if header[0] == CCS:
                continue
            kind, data = self.receive.open(header, payload)
            if kind != HANDSHAKE:
                raise Ended("inner type %d in the flight: %s" % (kind, data.hex()))
            buffer += data
            while len(buffer) >= 4:
                length = 4 + int.from_bytes(buffer[1:4], "big")
                if len(buffer) < length:
                    break
                message, buffer = buffer[:length], buffer[length:]
                if self._flight_message(message, size):
                    assert not buffer, "bytes behind the server's Finished"
                    return

    def _flight_message(self, message, size):
        kind = message[0]
        if kind == 20:
            key = expand_label(self.hash, self.server_secret, b"finished", b"", size)
            want = hmac.new(key, self.transcript.digest(), self.hash).digest()
            assert hmac.compare_digest(want, message[4:]), "server Finished does not verify"
        self.transcript.update(message)
        if kind == 8 and len(message) > 6:
            position = message.find(b"\x00\x10")
            if position > 0:
                self.alpn = message[position + 7:position + 7 + message[position + 6]]
        elif kind == 11:
            length = int.from_bytes(message[8:11], "big")
            self.certificate = message[11:11 + length]
            self._check_certificate()
        return kind == 20

    def _check_certificate(self):
        """REALITY 6.6: Ed25519 key in the first 104 bytes, HMAC in the last 64."""
        if self.hello.auth_key is None or len(self.certificate) not in (178, 3509):
            return
        at = self.certificate.find(bytes.fromhex("300506032b6570032100"))
        public = self.certificate[at + 10:at + 42]
        want = hmac.new(self.hello.auth_key, public, "sha512").digest()
        self.genuine = hmac.compare_digest(want, self.certificate[-64:])

    def finish(self, ccs=1, wrong=False, send=True):
        """CCS and Finished; from then on data flows. Returns the bytes (sent unless told not to)."""
        size = self.transcript.digest_size
        context = self.transcript.digest()
        key = expand_label(self.hash, self.client_secret, b"finished", b"", size)
        verify = hmac.new(key, context, self.hash).digest()
        if wrong:
            verify = bytes(size)
        finished = b"\x14" + vector(3, verify)
        flight = CCS_RECORD * ccs + Keys(self.suite, self.client_secret).seal(HANDSHAKE, finished)
        self.send_keys = Keys(self.suite, expand_label(self.hash, self.master, b"c ap traffic",
                                                       context, size))
        self.receive = Keys(self.suite, expand_label(self.hash, self.master, b"s ap traffic",
                                                     context, size))
        if send:
            self.connection.sendall(flight)
        return flight

    def handshake(self):
        self.send_hello()
        self.read_flight()
        self.finish()
        return self

    # ---- data

    def send(self, data):
        for offset in range(0, len(data), 16384):
            self.connection.sendall(self.send_keys.seal(DATA, data[offset:offset + 16384]))

    def receive_record(self):
        """(inner type, data) of the next record."""
        header, payload = self.records.read()
        if header[0] != DATA:
            return header[0], payload
        return self.receive.open(header, payload)

    def recv(self):
        """The next non-empty data; b"" at close_notify or EOF."""
        while True:
            try:
                kind, data = self.receive_record()
            except Ended:
                return b""
            if kind == ALERT:
                return b""
            if kind == DATA and data:
                return data

    def recv_exactly(self, length):
        while len(self.pending) < length:
            block = self.recv()
            if not block:
                raise Ended("stream ended, %d of %d bytes" % (len(self.pending), length))
            self.pending += block
        data, self.pending = self.pending[:length], self.pending[length:]
        return data

    def recv_all(self):
        while True:
            block = self.recv()
            if not block:
                data, self.pending = self.pending, b""
                return data
            self.pending += block

    def close_notify(self):
        self.connection.sendall(self.send_keys.seal(ALERT, b"\x01\x00"))


def connect(connection, public, short_id="0123456789abcdef", sni="site.test", **seal):
    """A finished REALITY handshake, or AssertionError if the server is not genuine."""
    hello = Hello(sni=sni).seal(decode_key(public), short_id, **seal)
    client = Client(connection, hello).handshake()
    assert client.genuine, "the server's certificate does not carry the HMAC"
    return client


# ---- VLESS and Vision --------------------------------------------------------------------------


def uuid_bytes(text):
    return bytes.fromhex(text.replace("-", ""))


def vless_header(user, host, port, flow="", command=1, version=0, addons=None):
    if addons is None:
        addons = b"" if not flow else b"\x0a" + vector(1, flow.encode())
    header = bytes([version]) + uuid_bytes(user) + vector(1, addons) + bytes([command])
    if command not in (1, 2):
        return header
    parts = host.split(".")
    if len(parts) == 4 and all(p.isdigit() for p in parts):
        address = b"\x01" + bytes(int(p) for p in parts)
    else:
        address = b"\x02" + vector(1, host.encode())
    return header + port.to_bytes(2, "big") + address


def vision_block(command, content, padding=0, user=None):
    return ((uuid_bytes(user) if user else b"") +
            struct.pack(">BHH", command, len(content), padding) + content + bytes(padding))


class VisionReader:
    """Unpads a stream: feed() returns content; `ended` 1 or 2 after END or DIRECT."""

    def __init__(self, user):
        self.user = uuid_bytes(user)
        self.buffer, self.started, self.ended = b"", False, 0
        self.blocks = []  # (command, content length, padding length)

    def feed(self, data):
        self.buffer += data
        out = b""
        if not self.started and len(self.buffer) >= 16:
            assert self.buffer[:16] == self.user, "first block without the user id"
            self.buffer, self.started = self.buffer[16:], True
        while self.started and not self.ended and len(self.buffer) >= 5:
            command, content, padding = struct.unpack(">BHH", self.buffer[:5])
            if len(self.buffer) < 5 + content + padding:
                return out
            out += self.buffer[5:5 + content]
            self.buffer = self.buffer[5 + content + padding:]
            self.blocks.append((command, content, padding))
            self.ended = command
        if self.ended:
            out, self.buffer = out + self.buffer, b""
        return out
