# SPDX-License-Identifier: MIT
"""Vision through the pair: every inner protocol, both directions, each engine, live counters."""

import contextlib
import hashlib
import os
import socket
import threading
import time

import pytest
import reality_client
import rig

SOCKS = "socks5h://127.0.0.1:1081"


def address(inner):
    return {"http": "http://%s" % rig.INTERNET_IP, "tls12": "https://web.test:444",
            "tls13": "https://web.test"}[inner]


def arguments(inner, internet):
    if inner == "http":
        return ["-x", SOCKS]
    port = {"tls12": 444, "tls13": 443}[inner]
    return ["-x", SOCKS, "--cacert", internet.ca, "--connect-to",
            "web.test:%d:%s:%d" % (port, rig.INTERNET_IP, port)]


def download(net, internet, inner, name="big", *more):
    status, body, error = rig.curl(net.client, *arguments(inner, internet), *more,
                                   "%s/%s" % (address(inner), name))
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes[name], "%d bytes" % len(body)


def upload(net, internet, inner, name="big", *more):
    status, body, error = rig.curl(net.client, *arguments(inner, internet), *more, "-T",
                                   os.path.join(internet.root, name), "%s/sink" % address(inner))
    assert status == 0, error
    assert body.decode() == "%d %s" % (internet.sizes[name], internet.hashes[name])


@pytest.mark.parametrize("engine", ["splice", "copy", "sockmap"])
def test_row_020_down_and_up(net, internet, pair, engine):
    """Big files through inner TLS 1.3, TLS 1.2 and HTTP; nothing is left afterwards."""
    server, client = pair(engine=engine)
    for inner in ("tls13", "tls12", "http"):
        download(net, internet, inner)
        upload(net, internet, inner)
    for daemon in (client, server):
        daemon.wait_idle()
        assert daemon.counter("uplink_bytes") > 3 * internet.sizes["big"]
        assert daemon.counter("downlink_bytes") > 3 * internet.sizes["big"]
        daemon.stop_clean()


def test_several_workers(net, internet, pair):
    server, client = pair(workers=2)
    threads = [threading.Thread(target=download, args=(net, internet, "tls13", "medium"))
               for _ in range(8)]
    failures = []
    threading.excepthook, before = lambda a: failures.append(a.exc_value), threading.excepthook
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = before
    assert not failures, failures
    client.wait_idle()
    server.wait_idle()
    client.stop_clean()
    server.stop_clean()


def relay_of(daemon):
    """The session that relays now, or None."""
    found = [s for s in daemon.sessions() if s["destination"].startswith(
        (rig.INTERNET_IP, "web.test"))]
    return found[0] if found else None


@pytest.mark.parametrize("direction", ["downlink", "uplink"])
@pytest.mark.parametrize("engine", ["splice", "copy", "sockmap"])
def test_engine_is_shown_and_counts_live(net, internet, pair, engine, direction):
    """While a paced transfer runs, both daemons show the engine, and its count moves."""
    server, client = pair(engine=engine)
    # one direction of a session may have the program
    carries = "copy" if (engine, direction) == ("sockmap", "uplink") else engine
    if direction == "downlink":
        command = arguments("tls13", internet) + ["-o", "/dev/null",
                                                  "%s/paced/big" % address("tls13")]
    else:
        command = arguments("tls13", internet) + [
            "--limit-rate", "16M", "-T", internet.root + "/big", "%s/sink" % address("tls13")]
    running = rig.curl(net.client, *command, background=True)
    for daemon in (client, server):
        rig.wait_for(lambda: relay_of(daemon) and
                     relay_of(daemon)[direction]["kernel_bytes"] > rig.MIB, 10,
                     "%s handed over: %s" % (direction, daemon.sessions()))
        first = relay_of(daemon)[direction]
        assert first["engine"] == carries, first
        time.sleep(0.5)
        second = relay_of(daemon)[direction]
        assert second["kernel_bytes"] > first["kernel_bytes"] + rig.MIB, (first, second)
        assert second["bytes"] > first["bytes"] + rig.MIB
    client_now, server_now = relay_of(client)[direction], relay_of(server)[direction]
    assert abs(client_now["bytes"] - server_now["bytes"]) < 24 * rig.MIB
    out, error = running.communicate(timeout=60)
    assert running.returncode == 0, error
    client.wait_idle()
    server.wait_idle()
    client.stop_clean()
    server.stop_clean()


def test_without_tls_nothing_is_handed_over(net, internet, pair):
    """Plain HTTP ends padding with END: the outer TLS must stay, no engine may touch it."""
    server, client = pair()
    download(net, internet, "http")
    for daemon in (client, server):
        daemon.wait_idle()
        assert daemon.counter("downlink_handovers") == 0
        daemon.stop_clean()


def test_plain_vless_over_reality(net, internet, pair):
    server, client = pair(user=rig.PLAIN_USER, flow="")
    for inner in ("tls13", "http"):
        download(net, internet, inner, "medium")
        upload(net, internet, inner, "medium")
    client.wait_idle()
    server.wait_idle()
    client.stop_clean()
    server.stop_clean()


# ---- an independent Vision client against our server ---------------------------------------------


@pytest.fixture
def echo(net):
    """Echoes everything until FIN, then its length, in the internet namespace."""
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8095))

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            total = 0
            while True:
                block = connection.recv(65536)
                if not block:
                    break
                total += len(block)
                connection.sendall(block)
            connection.sendall(b"|%d" % total)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield 8095
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def vision_session(net, keys, port):
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, 443), keys.public)
    return tls, reality_client.vless_header(rig.USER, rig.INTERNET_IP, port, flow=rig.VISION)


class Downlink:
    """Reads a Vision downlink, raw after DIRECT."""

    def __init__(self, tls):
        self.tls, self.vision, self.first = tls, reality_client.VisionReader(rig.USER), True

    def read_until(self, length):
        out = b""
        while len(out) < length:
            if self.vision.ended == 2:
                block = self.tls.records.buffer or self.tls.connection.recv(65536)
                self.tls.records.buffer = b""
            else:
                block = self.tls.recv()
            if not block:
                break
            if self.first:
                assert block[:2] == b"\0\0", "no VLESS response header"
                block, self.first = block[2:], False
            out += block if self.vision.ended == 2 else self.vision.feed(block)
        return out


CUTS = {
    "header alone, then blocks": lambda h, blocks: [h] + blocks,
    "header with the first block": lambda h, blocks: [h + blocks[0]] + blocks[1:],
    "everything in one record": lambda h, blocks: [h + b"".join(blocks)],
    "one byte per record": lambda h, blocks: [bytes([b]) for b in h + b"".join(blocks)],
    "cut inside a block header": lambda h, blocks: [h + blocks[0][:18], blocks[0][18:] +
                                                    b"".join(blocks[1:])],
    "cut inside the padding": lambda h, blocks: [h + blocks[0][:-3], blocks[0][-3:]] + blocks[1:],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("last", ["continue", "end", "direct"])
def test_any_segmentation_of_blocks(net, server, keys, echo, cut, last):
    """The reader is a byte stream parser; behind DIRECT everything is raw, even in the same segment."""
    tls, header = vision_session(net, keys, echo)
    command = {"continue": 0, "end": 1, "direct": 2}[last]
    content = [b"first " * 10, b"second", b"third " * 20]
    blocks = [reality_client.vision_block(0, content[0], 40, rig.USER),
              reality_client.vision_block(0, content[1]),
              reality_client.vision_block(command, content[2], 900)]
    wire = b"".join(tls.send_keys.seal(reality_client.DATA, piece)
                    for piece in CUTS[cut](header, blocks))
    tail = b"\x17\x03\x03\x00\x20 raw bytes that look like a record of the outer TLS" * 50
    expected = b"".join(content) + tail
    if last == "direct":
        wire += tail
    elif last == "end":
        wire += tls.send_keys.seal(reality_client.DATA, tail)
    else:
        wire += tls.send_keys.seal(reality_client.DATA, reality_client.vision_block(1, tail, 7))
    tls.connection.sendall(wire)
    downlink = Downlink(tls)
    assert downlink.read_until(len(expected)) == expected
    assert downlink.vision.started
    if last == "direct":
        tls.connection.shutdown(socket.SHUT_WR)
    else:
        tls.close_notify()
        tls.connection.shutdown(socket.SHUT_WR)
    assert downlink.read_until(1).startswith(b"|")
    tls.connection.close()
    server.wait_idle()


def test_raw_uplink_is_spliced(net, server, keys, echo):
    """After DIRECT of the client alone: uplink in the kernel, downlink still in records."""
    handovers = server.counter("uplink_handovers")
    tls, header = vision_session(net, keys, echo)
    tls.send(header + reality_client.vision_block(2, b"go", 100, rig.USER))
    downlink = Downlink(tls)
    assert downlink.read_until(2) == b"go"
    for round_number in range(5):
        if round_number == 1:  # a read that waited already takes the first raw bytes
            rig.wait_for(lambda: server.counter("uplink_handovers") > handovers, 5,
                         "uplink handover")
        block = os.urandom(40000)
        tls.connection.sendall(block)
        assert downlink.read_until(len(block)) == block, round_number
    tls.connection.shutdown(socket.SHUT_WR)
    assert downlink.read_until(7) == b"|200002"
    tls.connection.close()
    server.wait_idle()


@pytest.mark.parametrize("what, block", [
    ("unknown command", b"\x03\0\1\0\0x"), ("command 255", b"\xff\0\1\0\0x")])
def test_unknown_vision_command_closes(net, server, keys, echo, what, block):
    tls, header = vision_session(net, keys, echo)
    tls.send(header + reality_client.uuid_bytes(rig.USER) + block)
    data, how = rig.read_all(tls.connection, 5)
    assert how in ("fin", "rst"), what
    server.wait_idle()


def test_empty_blocks_and_large_lengths(net, server, keys, echo):
    """contentLen 0 is legal; so are the full 16 bits of both lengths."""
    tls, header = vision_session(net, keys, echo)
    tls.send(header + reality_client.vision_block(0, b"", 300, rig.USER))
    tls.send(reality_client.vision_block(0, b"", 0))
    content = os.urandom(65535)
    tls.send(reality_client.vision_block(0, content, 65535))
    tls.send(reality_client.vision_block(1, b"end"))
    assert Downlink(tls).read_until(65538) == content + b"end"
    tls.connection.close()
    server.wait_idle()
