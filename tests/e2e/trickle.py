# SPDX-License-Identifier: MIT
"""A source that trickles, and a client that keeps many downloads and new connections going.

    trickle.py serve ADDRESS PORT
    trickle.py load PROXY PROXY-PORT SOURCE SOURCE-PORT DOWNLOADS RATE

The source answers "S" with 64 bytes and a FIN, "L" with BLOCK bytes of a known sequence every PAUSE
seconds until the client half-closes, then with what is left of a block and a FIN. The load goes
through a SOCKS5 proxy, prints "ready" when all downloads run, and on a line on stdin lets them end;
then prints one JSON object: what was done, and each failure.
"""

import asyncio
import json
import resource
import socket
import sys
import time

BLOCK, PAUSE = 2048, 0.5
SHORT = bytes(range(64))
PERIOD = 251


def sequence(start, count):
    base = bytes(range(PERIOD))
    first = start % PERIOD
    return (base[first:] + base * (count // PERIOD + 1))[:count]


# ---- source ------------------------------------------------------------------------------------


async def source(reader, writer):
    try:
        kind = await reader.readexactly(1)
        if kind == b"S":
            writer.write(SHORT)
        else:
            await trickle(reader, writer)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def trickle(reader, writer):
    sent, over = 0, asyncio.ensure_future(reader.read(1))
    while not over.done():
        writer.write(sequence(sent, BLOCK))
        sent += BLOCK
        await writer.drain()
        await asyncio.wait([over], timeout=PAUSE)
    writer.write(sequence(sent, 100))


async def serve(address, port):
    server = await asyncio.start_server(source, address, int(port), backlog=4096)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


# ---- load --------------------------------------------------------------------------------------


class Load:
    def __init__(self, proxy, proxy_port, address, port, downloads, rate):
        self.proxy, self.target = (proxy, int(proxy_port)), (address, int(port))
        self.downloads, self.rate = int(downloads), float(rate)
        self.running = self.whole = self.short = self.received = 0
        self.failures, self.end = [], asyncio.Event()

    async def connect(self):
        reader, writer = await asyncio.open_connection(*self.proxy)
        # method, request and first byte at once: one round trip for many connections
        writer.write(b"\5\1\0")
        assert await reader.readexactly(2) == b"\5\0"
        writer.write(b"\5\1\0\1" + socket.inet_aton(self.target[0]) +
                     self.target[1].to_bytes(2, "big"))
        reply = await reader.readexactly(10)
        assert reply[1] == 0, "REP %d" % reply[1]
        return reader, writer

    async def download(self):
        reader, writer = await self.connect()
        writer.write(b"L")
        got, ending = 0, False
        self.running += 1
        while True:
            block = await asyncio.wait_for(reader.read(65536), 20)
            if not block:
                break
            assert block == sequence(got, len(block)), "bytes at %d are not the source's" % got
            got += len(block)
            if self.end.is_set() and not ending:
                ending = True
                writer.write_eof()
        assert ending and got % BLOCK == 100, "ended after %d bytes" % got
        self.whole += 1
        self.received += got
        writer.close()

    async def one_short(self):
        reader, writer = await asyncio.wait_for(self.connect(), 15)
        writer.write(b"S")
        got = await asyncio.wait_for(reader.read(-1), 15)
        assert got == SHORT, "%d bytes" % len(got)
        self.short += 1
        writer.close()

    async def guarded(self, what, work):
        try:
            await work
        except Exception as error:  # each is reported
            self.failures.append("%s at %.3f: %s %s" % (what, time.monotonic() - self.start,
                                                        type(error).__name__, error))

    async def run(self):
        self.start = time.monotonic()
        long, short = [], []
        for _ in range(self.downloads):
            long.append(asyncio.create_task(self.guarded("download", self.download())))
            if len(long) % 50 == 0:
                await asyncio.sleep(0.05)
        while self.running + len(self.failures) < self.downloads:
            await asyncio.sleep(0.05)
        print("ready", flush=True)
        line = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        begin = due = time.monotonic()
        while not line.done():
            if not self.rate:
                await asyncio.wait([line])
                break
            short.append(asyncio.create_task(self.guarded("connection", self.one_short())))
            due += 1 / self.rate
            await asyncio.sleep(max(0, due - time.monotonic()))
        seconds = time.monotonic() - begin
        self.end.set()
        await asyncio.gather(*long, *short)
        print(json.dumps({"downloads": self.whole, "connections": self.short,
                          "rate": len(short) / seconds, "received": self.received,
                          "failures": self.failures}), flush=True)


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    if sys.argv[1] == "serve":
        asyncio.run(serve(*sys.argv[2:4]))
    else:
        async def load():
            await Load(*sys.argv[2:8]).run()
        asyncio.run(load())


if __name__ == "__main__":
    main()
