# SPDX-License-Identifier: MIT
"""WebSocket by hand, both roles: every byte of the handshake and of each frame is the test's."""

import base64
import hashlib
import os
import socket
import ssl

import rig

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def frame(opcode, payload=b"", fin=True, mask=None, length_bytes=None, reserved=0):
    """length_bytes: 0, 2 or 8 whatever the length; mask: 4 bytes or None."""
    length = len(payload)
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    head = bytes([(0x80 if fin else 0) | reserved | opcode,
                  (0x80 if mask else 0) | {0: length, 2: 126, 8: 127}[length_bytes]])
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    if not mask:
        return head + payload
    repeated = mask * (length // 4 + 1)
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated[:length], "big"))
    return head + mask + masked.to_bytes(length, "big")


def read_frame(connection):
    """(opcode, fin, payload, was masked); EOFError at the end."""
    first, second = rig.exactly(connection, 2)
    length = second & 127
    if length == 126:
        length = int.from_bytes(rig.exactly(connection, 2), "big")
    elif length == 127:
        length = int.from_bytes(rig.exactly(connection, 8), "big")
    mask = rig.exactly(connection, 4) if second & 128 else None
    payload = rig.exactly(connection, length)
    if mask:
        repeated = mask * (length // 4 + 1)
        payload = (int.from_bytes(payload, "big") ^
                   int.from_bytes(repeated[:length], "big")).to_bytes(length, "big")
    return first & 15, bool(first & 128), payload, mask is not None


def read_head(connection):
    """(first line, {lower case name: value}); byte by byte, so that nothing behind it is taken."""
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise EOFError(text)
        text += byte
    lines = text.decode().split("\r\n")
    fields = {}
    for line in lines[1:]:
        if line:
            name, value = line.split(":", 1)
            fields[name.lower()] = value.strip()
    return lines[0], fields


def tls(connection, ca, name, alpn=("http/1.1",)):
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(connection, server_hostname=name)


class Client:
    """A WebSocket client; `stream` are the payloads of what came, in order."""

    def __init__(self, connection, path, host, **fields):
        self.connection = connection
        self.key = base64.b64encode(os.urandom(16)).decode()
        lines = dict({"Host": host, "Connection": "Upgrade", "Upgrade": "websocket",
                      "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": self.key}, **{
                          name.replace("_", "-"): value for name, value in fields.items()})
        connection.sendall(("GET %s HTTP/1.1\r\n%s\r\n" % (path, "".join(
            "%s: %s\r\n" % line for line in lines.items() if line[1] is not None))).encode())
        self.status, self.fields = read_head(connection)
        self.controls = []

    def agreed(self):
        return (self.status == "HTTP/1.1 101 Switching Protocols" and
                self.fields.get("sec-websocket-accept") == accept_of(self.key))

    def send(self, payload, opcode=BINARY, **more):
        self.connection.sendall(frame(opcode, payload, mask=os.urandom(4), **more))

    def stream(self, length=None):
        """Payload until so many bytes, or until close; controls are kept."""
        data = b""
        while length is None or len(data) < length:
            opcode, _, payload, masked = read_frame(self.connection)
            assert not masked, "a server must not mask"
            if opcode in (PING, PONG, CLOSE):
                self.controls.append((opcode, payload))
                if opcode == CLOSE:
                    return data
            else:
                data += payload
        return data


class Server:
    """Accepts in a thread; serve(connection, first line, fields) speaks after the request."""

    def __init__(self, namespace, address, port, serve):
        with namespace:
            self.listener = socket.create_server((address, port), backlog=64)
        self.serve = serve
        self.errors = []
        self.requests = []
        rig.accept_each(self.listener, self._one)

    def _one(self, connection):
        try:
            with connection:
                connection.settimeout(20)
                line, fields = read_head(connection)
                self.requests.append((line, fields))
                self.serve(connection, line, fields)
        except (EOFError, OSError):
            pass  # peers that leave are part of the tests
        except Exception as error:  # noqa: for the test to see
            self.errors.append(error)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        assert not self.errors, self.errors


def agree(connection, fields, **more):
    lines = dict({"Upgrade": "websocket", "Connection": "Upgrade",
                  "Sec-WebSocket-Accept": accept_of(fields["sec-websocket-key"])}, **{
                      name.replace("_", "-"): value for name, value in more.items()})
    connection.sendall(("HTTP/1.1 101 Switching Protocols\r\n%s\r\n" % "".join(
        "%s: %s\r\n" % line for line in lines.items())).encode())
