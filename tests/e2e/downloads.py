# SPDX-License-Identifier: MIT
"""Downloads that go on and on, while what carries them is killed: what arrives must be right."""

import asyncio
import socket
import threading
import time

import rig


class Downloads:
    """`count` at a time, each again `pause` seconds after it has ended. `content` is what they
    ask for.

    whole: came to their end; cut: ended before that, with nothing wrong in what came; wrong: others.
    """

    def __init__(self, namespace, address, path, content, count, pause=0):
        self.namespace, self.address, self.path = namespace, address, path
        self.content, self.count = content, count
        self.whole = self.cut = self.under_way = 0
        self.wrong = []
        self.last_begun = self.last_byte = 0.0  # the latest that has got a byte, and when
        self.lag = 0.0  # how late the machine was for an appointment, at worst
        self.pause = pause
        self.stopping = False
        self.thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()

    def wait(self, condition, what, seconds=60):
        rig.wait_for(lambda: condition() or not self.thread.is_alive(), seconds,
                     "%s (%d whole, %d cut, %d under way)" % (
                         what, self.whole, self.cut, self.under_way))
        assert self.thread.is_alive() and not self.wrong, self.wrong

    def come_back(self, since, what):
        """Until one that began after `since` gets something; within 3 s of that, unless the machine
        itself stood still meanwhile."""
        self.lag = 0.0
        self.wait(lambda: self.last_begun > since, what)
        seconds, lag = self.last_byte - since, self.lag
        print("%s: %.2f s (late by %.2f s at worst)" % (what, seconds, lag))
        assert seconds < 3 or lag > 0.1, (what, seconds, lag)

    async def _all(self):
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*[self._again() for _ in range(self.count)])
        watch.cancel()

    async def _watch(self):
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.lag = max(self.lag, time.monotonic() - due)

    async def _again(self):
        while not self.stopping and not self.wrong:
            begun = time.monotonic()
            try:
                ended = await self._one(begun)
            except (OSError, asyncio.IncompleteReadError):
                ended = False
            if ended:
                self.whole += 1
            else:
                self.cut += 1
            await asyncio.sleep(self.pause if ended else 0.1)

    async def _open(self):
        with self.namespace:
            connection = socket.socket()
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, self.address)
        except OSError:
            connection.close()
            raise
        return await asyncio.open_connection(sock=connection)

    async def _one(self, begun):
        reader, writer = await self._open()
        try:
            writer.write(b"GET %s HTTP/1.0\r\n\r\n" % self.path.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                self.wrong.append(head)
            if begun > self.last_begun:
                self.last_begun, self.last_byte = begun, time.monotonic()
            self.under_way += 1
            try:
                return await self._body(reader)
            finally:
                self.under_way -= 1
        finally:
            writer.close()

    async def _body(self, reader):
        got = 0
        while True:
            block = await reader.read(65536)
            if not block:
                return got == len(self.content)
            if self.content[got:got + len(block)] != block:
                self.wrong.append("%d bytes after %d are not the file's" % (len(block), got))
            got += len(block)
