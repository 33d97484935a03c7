# SPDX-License-Identifier: MIT
"""Many downloads at once through a SOCKS5 port, each checked by SHA-256."""

import asyncio
import hashlib
import socket
import ssl
import time

import rig


class Load:
    """count connections stand at the same time before the first one asks for the file."""

    def __init__(self, namespace, port, ca, path, size, sha256, count, plain_every=0, slow_every=0):
        self.namespace, self.port, self.path, self.size = namespace, port, path, size
        self.sha256, self.count = sha256, count
        self.plain_every, self.slow_every = plain_every, slow_every
        self.context = ssl.create_default_context(cafile=ca)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.failures = []
        self.connected = 0
        self.connect_seconds = self.seconds = 0.0

    def run(self, seconds=180):
        start = time.monotonic()
        asyncio.run(asyncio.wait_for(self._all(), seconds))
        self.seconds = time.monotonic() - start
        return self

    async def _all(self):
        self.gate = asyncio.Event()
        self.limit = asyncio.Semaphore(200)  # handshakes at the same time
        start = time.monotonic()
        tasks = [asyncio.create_task(self._guarded(i)) for i in range(self.count)]
        while self.connected + len(self.failures) < self.count:
            await asyncio.sleep(0.05)
        self.connect_seconds = time.monotonic() - start
        self.gate.set()
        await asyncio.gather(*tasks)

    async def _guarded(self, number):
        try:
            await self._one(number)
        except Exception as error:  # each failure is reported by the test
            self.failures.append("%d: %s: %s" % (number, type(error).__name__, error))

    def _socket(self, slow):
        with self.namespace:
            connection = socket.socket()
        connection.setblocking(False)
        if slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return connection

    async def _one(self, number):
        loop = asyncio.get_running_loop()
        slow = self.slow_every and number % self.slow_every == 0
        plain = self.plain_every and number % self.plain_every == 0
        connection = self._socket(slow)
        async with self.limit:
            await loop.sock_connect(connection, ("127.0.0.1", self.port))
            reader, writer = await self._open(connection, plain)
        self.connected += 1
        await self.gate.wait()
        try:
            writer.write(b"GET %s HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n"
                         % self.path.encode())
            header = await reader.readuntil(b"\r\n\r\n")
            assert header.startswith(b"HTTP/1.1 200"), header
            digest, total = hashlib.sha256(), 0
            while True:
                block = await reader.read(4096 if slow else 65536)
                if not block:
                    break
                digest.update(block)
                total += len(block)
                if slow:
                    await asyncio.sleep(0.01)
            assert total == self.size and digest.hexdigest() == self.sha256, \
                "%d of %d bytes, SHA-256 %s" % (total, self.size, digest.hexdigest())
        finally:
            writer.close()

    async def _open(self, connection, plain):
        loop = asyncio.get_running_loop()

        async def exactly(length):
            data = b""
            while len(data) < length:
                block = await loop.sock_recv(connection, length - len(data))
                if not block:
                    raise EOFError("SOCKS5: ended")
                data += block
            return data

        await loop.sock_sendall(connection, b"\5\1\0")
        await exactly(2)
        await loop.sock_sendall(connection, b"\5\1\0\1" + socket.inet_aton(rig.INTERNET_IP) +
                                (80 if plain else 443).to_bytes(2, "big"))
        reply = await exactly(10)
        if reply[1] != 0:
            raise ConnectionError("SOCKS5 REP %d" % reply[1])
        return await asyncio.open_connection(
            sock=connection, ssl=None if plain else self.context,
            server_hostname=None if plain else rig.WEB)
