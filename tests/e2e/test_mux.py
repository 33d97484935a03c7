# SPDX-License-Identifier: MIT
"""Mux.Cool: many sessions on one carrier, in both roles, beside v2ray and with each other."""

import contextlib
import hashlib
import json
import os
import re
import selectors
import socket
import struct
import tempfile
import time

import pytest
import rig
import socks_udp
from test_restart import end, restart
from test_show import show
from test_vless import V2ray, tls_stream, v2

PORT, SOCKS_PORT = 456, 1089
MUX = {"enabled": True, "concurrency": 8}
STREAMS = 500
ROUNDS = 6  # of measuring: on a busy machine one may be spoilt
INPUT_MAX = 8 * rig.MIB  # of a carrier, and 16 KiB for each stream

needs_v2ray = pytest.mark.skipif(not rig.find_program("v2ray"),
                                 reason="v2ray (Debian package) is not installed")


def server_settings(target, clients=None):
    return rig.server_config(PORT, tls_stream(target, ("http/1.1",)), clients=clients or [
        {"id": rig.PLAIN_USER, "email": "plain@test"}])


def client_settings(target, mux=None, user=rig.PLAIN_USER):
    settings = rig.client_config(SOCKS_PORT, PORT, {
        "network": "raw", "security": "tls", "tlsSettings": {
            "serverName": rig.SITE, "alpn": ["http/1.1"],
            "certificates": [{"certificateFile": target.ca, "usage": "verify"}]}},
        user=user, flow="", socks={"auth": "noauth", "udp": True})
    settings["outbounds"][0]["mux"] = mux or MUX
    return settings


def ours_as_server(net, tmp, target, clients=None, drain=2):
    return rig.Culvert(net.server, tmp, server_settings(target, clients), "mux-server",
                       drain=drain, wait=((rig.SERVER_IP, PORT),))


def ours_as_client(net, tmp, target, mux=None):
    return rig.Culvert(net.client, tmp, client_settings(target, mux), "mux-client",
                       wait=(("127.0.0.1", SOCKS_PORT),))


@contextlib.contextmanager
def pair(net, tmp, target, ours, mux=None):
    """(server, client); ours: "server", "client" or "both"."""
    if ours == "client":
        server = V2ray(net.server, tmp, v2(server_settings(target)), (rig.SERVER_IP, PORT))
    else:
        server = ours_as_server(net, tmp, target)
    if ours == "server":
        client = V2ray(net.client, tmp, v2(client_settings(target, mux)), ("127.0.0.1", SOCKS_PORT))
    else:
        client = ours_as_client(net, tmp, target, mux)
    with rig.running(server, client):
        yield server, client


def words_of(page):
    path = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "man", page)
    with open(path) as file:
        return set(re.findall(r"\w+", file.read()))


def carriers(daemon):
    return daemon.ask("carriers")["carriers"]


class Download:
    """By curl, into a file: all of them are read at the same time."""

    def __init__(self, net, tmp, url, *more):
        handle, self.path = tempfile.mkstemp(dir=tmp)
        os.close(handle)
        self.child = rig.curl(net.client, "-k", "-x", "socks5h://127.0.0.1:%d" % SOCKS_PORT, *more,
                              "-o", self.path, url, background=True)

    def end(self):
        """curl's status and what it said."""
        error = self.child.communicate(timeout=100)[1]
        return self.child.returncode, error

    def hash(self):
        status, error = self.end()
        assert status == 0, error
        with open(self.path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()


def tunnel(net, host=rig.INTERNET_IP, port=80):
    connection = rig.tcp(net.client, "127.0.0.1", SOCKS_PORT)
    assert rig.socks_handshake(connection, host, port) == 0
    return connection


# ---- beside another implementation --------------------------------------------------------------


@pytest.mark.parametrize("ours", [pytest.param("server", marks=needs_v2ray),
                                  pytest.param("client", marks=needs_v2ray), "both"])
def test_row_087_parallel_downloads(net, tmp, target, internet, ours):
    with pair(net, tmp, target, ours) as (server, client):
        downloads = [Download(net, tmp, "%s://%s/medium" % (scheme, rig.INTERNET_IP))
                     for scheme in ("http", "https") * 5]
        for download in downloads:
            assert download.hash() == internet.hashes["medium"]
        status, body, error = rig.curl(
            net.client, "-x", "socks5h://127.0.0.1:%d" % SOCKS_PORT, "-T",
            internet.root + "/medium", "http://%s/sink" % rig.INTERNET_IP)
        assert body.decode() == "%d %s" % (internet.sizes["medium"], internet.hashes["medium"])
        ours_now = client if ours == "client" else server
        total = sum(c["streams_total"] for c in carriers(ours_now))
        assert total >= 11 and len(carriers(ours_now)) <= 4, carriers(ours_now)


@pytest.mark.parametrize("ours", [pytest.param("server", marks=needs_v2ray),
                                  pytest.param("client", marks=needs_v2ray), "both"])
def test_row_087_server_speaks_first_and_refusal(net, tmp, target, internet, ours):
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 2525))
    listener.settimeout(10)
    with listener, pair(net, tmp, target, ours):
        connection = tunnel(net, port=2525)
        far, _ = listener.accept()
        far.sendall(b"220 ready\r\n")
        assert rig.exactly(connection, 11) == b"220 ready\r\n"
        connection.sendall(b"QUIT\r\n")
        assert rig.exactly(far, 6) == b"QUIT\r\n"
        far.close()
        assert connection.recv(1) == b""
        refused = tunnel(net, port=2526)  # granted: the far end's refusal comes later
        with pytest.raises((ConnectionError, EOFError)):
            rig.exactly(refused, 1)


@pytest.mark.parametrize("ours", [pytest.param("server", marks=needs_v2ray),
                                  pytest.param("client", marks=needs_v2ray), "both"])
def test_row_087_datagrams(net, tmp, target, internet, ours):
    echo = socks_udp.Echo(net.internet, rig.INTERNET_IP, 7007)
    try:
        with pair(net, tmp, target, ours) as (server, client), \
                socks_udp.Association(net.client, ("127.0.0.1", SOCKS_PORT)) as association:
            for number in range(20):
                text = b"datagram %d" % number
                host, port, data = association.ask(rig.INTERNET_IP, 7007, text)
                assert (host, port) == (rig.INTERNET_IP, 7007)
                assert data.endswith(b"\n" + text)
            if ours == "client":
                assert sum(c["streams"] for c in carriers(client)) == 1
            else:
                assert any(s["state"] == "stream-datagrams" for s in server.sessions())
    finally:
        echo.stop()


# ---- sessions of their own ----------------------------------------------------------------------


def test_each_is_a_session(net, tmp, target, internet):
    """Shown, counted and routed for itself, by name and port."""
    settings = server_settings(target)
    settings["outbounds"].append({"tag": "nowhere", "protocol": "blackhole"})
    settings["routing"] = {"rules": [{"port": "81", "outboundTag": "nowhere"}]}
    server = rig.Culvert(net.server, tmp, settings, "mux-server", wait=((rig.SERVER_IP, PORT),))
    client = ours_as_client(net, tmp, target)
    with rig.running(server, client):
        open_ones = [tunnel(net) for _ in range(3)]
        for connection in open_ones:
            connection.sendall(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
            rig.exactly(connection, 1000)
        shown = [s for s in server.sessions() if s["state"] == "relay"]
        assert len(shown) == 3
        for session in shown:
            assert session["user"] == "plain@test"
            assert session["destination"] == "%s:80" % rig.INTERNET_IP
            assert session["client"].startswith(rig.CLIENT_IP)
            assert session["downlink"]["bytes"] >= 1000
        blocked = tunnel(net, port=81)
        blocked.sendall(b"x")
        with pytest.raises((ConnectionError, EOFError)):
            rig.exactly(blocked, 1)
        for connection in open_ones:
            assert len(rig.exactly(connection, 1000)) == 1000
        assert server.reason_count("policy_blocked") == 1
        one, = carriers(server)
        assert (one["role"], one["streams"], one["user"]) == ("server", 3, "plain@test")
        assert not set(one) - words_of("culvert-show.8")
        table = show(server, "carriers").splitlines()
        assert len(table) == 2 and "plain@test" in table[1], table
        server.ask("kick plain@test")
        for connection in open_ones:
            with pytest.raises((ConnectionError, EOFError)):
                while rig.exactly(connection, 1000):
                    pass
        server.wait_idle()
        # and the next one finds a new carrier
        connection = tunnel(net)
        connection.sendall(b"GET /small HTTP/1.0\r\n\r\n")
        assert rig.exactly(connection, 8) == b"HTTP/1.1"


def test_killed_server_and_client(net, tmp, target, internet):
    server = ours_as_server(net, tmp, target)
    client = ours_as_client(net, tmp, target)
    with rig.running(client):
        downloads = [Download(net, tmp, "http://%s/paced/big" % rig.INTERNET_IP)
                     for _ in range(5)]
        rig.wait_for(lambda: sum(c["streams"] for c in carriers(client)) == 5, 10, "5 streams")
        server.child.kill()
        server.child.wait()
        for download in downloads:
            assert download.end()[0] != 0  # not taken for whole
        client.wait_idle()
        server = ours_as_server(net, tmp, target)
        with rig.running(server):
            assert Download(net, tmp, "http://%s/medium" % rig.INTERNET_IP).hash() == \
                internet.hashes["medium"]


def test_restart_of_the_server(net, tmp, target, internet):
    """What is on a carrier ends on it, what comes meanwhile too; then the successor has the next."""
    server = ours_as_server(net, tmp, target, drain=60)
    client = ours_as_client(net, tmp, target)
    url = "http://%s/medium" % rig.INTERNET_IP
    ask = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
    with rig.running(client):
        kept = tunnel(net)
        kept.sendall(ask)
        answer_bytes = len(rig.exactly(kept, internet.sizes["small"]))
        successor = restart(server)
        try:
            assert Download(net, tmp, url).hash() == internet.hashes["medium"]
            kept.sendall(ask)
            assert len(rig.exactly(kept, answer_bytes)) == answer_bytes
            assert sum(c["streams_total"] for c in carriers(client)) == 2
            kept.close()
            assert server.child.wait(20) == 0  # its carrier is empty: it goes at once
            server.stopped = True
            rig.wait_for(lambda: not carriers(client), 10, "the client has heard of it")
            assert Download(net, tmp, url).hash() == internet.hashes["medium"]
            assert sum(c["streams_total"] for c in carriers(server)) == 1
        finally:
            end(successor)


def test_idle_carriers_go(net, tmp, target, internet):
    with pair(net, tmp, target, "both") as (server, client):
        assert Download(net, tmp, "http://%s/small" % rig.INTERNET_IP).hash() == \
            internet.hashes["small"]
        assert len(carriers(client)) == 1
        rig.wait_for(lambda: not carriers(client), 40, "the idle carrier is closed")
        rig.wait_for(lambda: not server.sessions(), 10, "the server has heard of it")


def test_vision_users_streams_are_refused(net, tmp, target, internet):
    """They may carry datagrams only: anything else would be TLS in TLS."""
    server = ours_as_server(net, tmp, target, clients=[
        {"id": rig.USER, "flow": rig.VISION, "email": "vision@test"}])
    client = rig.Culvert(net.client, tmp, client_settings(target, user=rig.USER), "mux-client",
                         wait=(("127.0.0.1", SOCKS_PORT),))
    with rig.running(server, client):
        connection = tunnel(net)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises((ConnectionError, EOFError)):
            rig.exactly(connection, 1)
        server.wait_reason("peer_flow")


# ---- one that stands still ----------------------------------------------------------------------


class Crowd:
    """Downloads of a file that has no end, all read by one thread."""

    def __init__(self, net, count):
        self.selector = selectors.DefaultSelector()
        self.received = {}
        self.all = []
        for _ in range(count):
            connection = tunnel(net)
            connection.sendall(b"GET /big HTTP/1.0\r\n\r\n")
            connection.setblocking(False)
            self.all.append(connection)
            self.received[connection] = 0
            self.selector.register(connection, selectors.EVENT_READ)

    def stall(self, connection):
        self.selector.unregister(connection)

    def rate(self, least_seconds, most_seconds=0, is_enough=lambda: True):
        """Bytes per second of all that are read, not one of which may be ended early."""
        buffer, total = bytearray(262144), 0
        began = look = time.monotonic()
        while True:
            for key, _ in self.selector.select(0.1):
                count = key.fileobj.recv_into(buffer)
                if count == 0:
                    self.selector.unregister(key.fileobj)
                    assert self.received[key.fileobj] >= 60 * rig.MIB, "cut off"
                self.received[key.fileobj] += count
                total += count
            now = time.monotonic()
            if now < look + 0.5:
                continue
            look = now
            if now >= began + max(least_seconds, most_seconds) or (
                    now >= began + least_seconds and is_enough()):
                return total / (now - began)

    def close(self):
        for connection in self.all:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self.selector.close()


def check_memory(daemon, what, streams):
    one, = carriers(daemon)
    print("%s: streams %d, waiting input %d (most %d), output %d, memory %d KiB, blocked %d ms, "
          "stalled %d, resident %d MiB" % (
              what, one["streams"], one["input_bytes"], one["input_most_bytes"],
              one["output_bytes"], one["memory_bytes"] // 1024, one["blocked_ms"],
              one["stalled_total"], daemon.resident_bytes() // rig.MIB))
    assert one["input_most_bytes"] <= INPUT_MAX + streams * 16384
    # input, twice for what is allocated; output of a stream: its mark and one receive buffer
    assert one["memory_bytes"] <= 2 * INPUT_MAX + streams * 96 * 1024 + 4 * rig.MIB
    return one


def carrier_with_crowd(daemon):
    one, = [c for c in carriers(daemon) if c["streams"] > 1]
    return one


def keeps_its_throughput(crowd, client, number):
    """One more stops reading: what the others got before, and from then until it was ended."""
    stalled = carrier_with_crowd(client)["stalled_total"]
    before = crowd.rate(5)
    crowd.stall(crowd.all[number])
    after = crowd.rate(10, 15, lambda: carrier_with_crowd(client)["stalled_total"] > stalled)
    one = carrier_with_crowd(client)
    print("without a stalled reader %.1f MiB/s, with one %.1f MiB/s: %.0f %%, ended %d, "
          "blocked %d ms" % (before / rig.MIB, after / rig.MIB, 100 * after / before,
             one["stalled_total"] - stalled, one["blocked_ms"]))
    return after >= 0.8 * before


@pytest.mark.parametrize("ours", ["both", pytest.param("client", marks=needs_v2ray)])
def test_row_087_five_hundred_streams_and_a_stalled_reader(net, tmp, target, internet, ours):
    """One of 500 stops reading: the others keep four fifths of their throughput, and memory is
    bounded on both sides."""
    with pair(net, tmp, target, ours, {"enabled": True, "concurrency": STREAMS}) as \
            (server, client):
        crowd = Crowd(net, STREAMS)
        try:
            crowd.rate(3)
            assert carrier_with_crowd(client)["streams"] == STREAMS
            # who is held up by the stalled one gets next to nothing in each round
            assert any(keeps_its_throughput(crowd, client, number) for number in range(ROUNDS))
            check_memory(client, "client", STREAMS)
            if ours == "both":
                check_memory(server, "server", STREAMS)
        finally:
            crowd.close()
        rig.wait_for(lambda: all(s["state"] == "carrier" for s in client.sessions()), 30,
                     "all streams end")


@pytest.mark.parametrize("ours", ["both", pytest.param("client", marks=needs_v2ray)])
def test_stalled_download_does_not_hold_up_others(net, tmp, target, internet, ours):
    """A carrier that is really full: the next one gets through nevertheless."""
    with pair(net, tmp, target, ours) as (_, client):
        stuck, silent = tunnel(net), tunnel(net)
        stuck.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        silent.sendall(b"GET")
        rig.wait_for(lambda: any(c["blocked_ms"] > 300 for c in carriers(client)), 60,
                     "the carrier is full")
        assert Download(net, tmp, "http://%s/medium" % rig.INTERNET_IP).hash() == \
            internet.hashes["medium"]
        client.wait_reason("policy_stalled", seconds=20)
        check_memory(client, "client", 8)


@pytest.mark.parametrize("ours", ["both", pytest.param("server", marks=needs_v2ray)])
def test_stalled_upload_does_not_hold_up_others(net, tmp, target, internet, ours):
    """The same in the other direction: the far end of one stream takes nothing."""
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 2527))
    listener.settimeout(10)
    with listener, pair(net, tmp, target, ours) as (server, _):
        stuck = tunnel(net, port=2527)
        stuck.sendall(b"x")
        far, _ = listener.accept()
        if ours == "server":
            silent = tunnel(net)  # else the server cannot know that anybody waits: it takes longer
            silent.sendall(b"GET")
            rig.wait_for(lambda: sum(c["streams"] for c in carriers(server)) == 2, 10, "2 streams")
        stuck.setblocking(False)

        def is_full():
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while True:
                    stuck.send(bytes(65536))
            return any(c["blocked_ms"] > 300 for c in carriers(server))

        rig.wait_for(is_full, 60, "the carrier is full")
        assert Download(net, tmp, "http://%s/medium" % rig.INTERNET_IP).hash() == \
            internet.hashes["medium"]
        server.wait_reason("policy_stalled", seconds=20)
        check_memory(server, "server", 8)
        far.close()


# ---- what breaks --------------------------------------------------------------------------------


def test_configuration(net, tmp, build, target):
    """What cannot be is said at the start."""
    for mux, flow, words in (
            ({"enabled": True, "concurrency": 8}, rig.VISION, "only datagrams"),
            ({"enabled": True, "concurrency": 1025}, "", "whole number up to 1024"),
            ({"enabled": True, "concurrency": "8"}, "", "whole number"),
            ({"enabled": True, "xudpProxyUDP443": "maybe"}, "", "xudpProxyUDP443")):
        settings = client_settings(target, mux)
        settings["outbounds"][0]["settings"]["vnext"][0]["users"][0]["flow"] = flow
        path = os.path.join(tmp, "mux-wrong.json")
        with open(path, "w") as file:
            json.dump(settings, file)
        check = rig.Process(net.client, [os.path.join(build, "culvertd"), "-t", "-c", path],
                            path + ".log")
        assert check.child.wait(20) == 2
        assert words in check.log(), check.log()
