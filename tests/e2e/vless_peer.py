# SPDX-License-Identifier: MIT
"""A client and a server of VLESS 0 and 1 for TCP, from the description of both, in a few lines."""

import socket
import struct
import threading
import uuid

import rig

NAME, TCP, NO_ADDON = 2, 1, 0


def address(host, port):
    """Port, type, address: the same in both versions."""
    try:
        kind, where = 1, socket.inet_pton(socket.AF_INET, host)
    except OSError:
        kind, where = NAME, bytes([len(host)]) + host.encode()
    return struct.pack(">HB", port, kind) + where


def request(version, user, host, port, command=TCP, addon=NO_ADDON, more=b""):
    """The byte behind the id is the length of the addons (0) or the type of the addon (1)."""
    return (bytes([version]) + uuid.UUID(user).bytes + bytes([addon]) + more + bytes([command]) +
            address(host, port))


def answer(version, data):
    """What the target said: version 0 has a header in front of it."""
    if version == 0:
        assert data[:2] == b"\0\0", data[:40]
        data = data[2:]
    return data


class Server:
    """Closes on versions that it does not know, without a word: by FIN or RST."""

    def __init__(self, namespace, port, user, versions, resets=False):
        self.namespace, self.user, self.versions = namespace, uuid.UUID(user).bytes, versions
        self.resets = resets
        self.requests, self.first, self.errors = [], [], []
        with namespace:
            self.listener = socket.create_server((rig.SERVER_IP, port), backlog=64)
        rig.accept_each(self.listener, self._one)

    def _one(self, connection):
        try:
            with connection:
                connection.settimeout(20)
                self._serve(connection)
        except (EOFError, OSError):
            pass  # peers that leave are part of the tests
        except Exception as error:  # noqa: for the test to see
            self.errors.append(error)

    def _serve(self, connection):
        first = connection.recv(65536)
        self.first.append(first)
        self.requests.append(first[0])
        if first[0] not in self.versions:
            if self.resets:
                rig.reset(connection)
            return
        assert first[1:17] == self.user, first
        assert first[17:19] == bytes([0, TCP]), first  # of both: no addons, TCP
        port, kind = struct.unpack(">HB", first[19:22])
        assert kind == 1, first
        host, payload = socket.inet_ntop(socket.AF_INET, first[22:26]), first[26:]
        with self.namespace:
            target = socket.socket()
        with target:
            target.settimeout(20)
            target.connect((host, port))
            target.sendall(payload)
            if first[0] == 0:
                connection.sendall(b"\0\0")
            uplink = threading.Thread(target=self._copy, args=(connection, target), daemon=True)
            uplink.start()
            self._copy(target, connection)
            uplink.join(20)

    @staticmethod
    def _copy(source, sink):
        try:
            for block in iter(lambda: source.recv(65536), b""):
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        rig.close_listeners([self.listener])
        assert not self.errors, self.errors
