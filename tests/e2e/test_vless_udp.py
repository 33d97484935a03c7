# SPDX-License-Identifier: MIT
"""Datagrams through VLESS: command 2 and XUDP, over every security, in both roles."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
import reality_client
import rig
import socks_udp
from socks_udp import Association, Echo
from test_socks_udp import DNS, WRAPPED, dig, dnsmasq, echoed
from test_vless import V2ray, tls_stream, v2

SECOND_IP = "10.77.2.3"  # of the internet
ECHO, IPERF = 9201, 5201
SOCKS, SERVER, BARE, REALITY = 1390, 460, 461, 462
GLOBAL_ID = bytes.fromhex("1122334455667788")
NAME_SETTINGS = {"serverName": rig.SITE, "fingerprint": "chrome"}


@pytest.fixture(scope="module", autouse=True)
def addresses(net, internet):
    net.internet.ip("addr", "replace", SECOND_IP + "/24", "dev", net.internet.links[net.server.name])


@pytest.fixture(scope="module", autouse=True)
def echoes(net, addresses):
    servers = [Echo(net.internet, rig.INTERNET_IP, ECHO), Echo(net.internet, SECOND_IP, ECHO)]
    yield
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def bare(net, tmp, internet):
    """VLESS on nothing: the tests speak it by hand."""
    made = rig.Culvert(net.server, tmp, rig.server_config(BARE, {"network": "raw"}), "vless-udp",
                       workers=2, wait=((rig.SERVER_IP, BARE),))
    with rig.running(made):
        yield made


@pytest.fixture(scope="module")
def reality(net, tmp, keys, target, internet):
    """A server that has learned its target, which takes seconds."""
    made = rig.Culvert(net.server, tmp, rig.server_config(
        REALITY, rig.reality_stream(keys.private, target.address)), "vless-udp-reality",
                       wait=((rig.SERVER_IP, REALITY),))
    with rig.running(made):
        yield made


def client_side(port, stream, server_port=SERVER, user=rig.PLAIN_USER, flow="", packets=None, **more):
    config = rig.client_config(port, server_port, stream, user=user, flow=flow,
                               socks={"auth": "noauth", "udp": True}, **more)
    if packets is not None:
        account = config["outbounds"][0]["settings"]["vnext"][0]["users"][0]
        account["packetEncoding"] = packets
    return config


def tls_client(target):
    return {"network": "raw", "security": "tls", "tlsSettings": dict(NAME_SETTINGS, certificates=[
        {"certificateFile": target.ca, "usage": "verify"}])}


@contextlib.contextmanager
def pair(net, tmp, target, is_tls=False, **more):
    """(server, client): ours on both sides."""
    streams = ({"network": "raw"}, {"network": "raw"})
    if is_tls:
        streams = (tls_stream(target), tls_client(target))
    server = rig.Culvert(net.server, tmp, rig.server_config(SERVER, streams[0]), "server",
                         wait=((rig.SERVER_IP, SERVER),))
    with rig.running(server), client_of(net, tmp, streams[1], **more) as client:
        yield server, client


@contextlib.contextmanager
def with_reality(net, tmp, keys, reality, **more):
    with client_of(net, tmp, rig.reality_client_stream(keys.public), REALITY, **more) as client:
        yield reality, client


@contextlib.contextmanager
def client_of(net, tmp, stream, server_port=SERVER, **more):
    client = rig.Culvert(net.client, tmp, client_side(SOCKS, stream, server_port, **more), "client",
                         wait=(("127.0.0.1", SOCKS),))
    with rig.running(client):
        yield client


def associate(net, port=SOCKS):
    made = Association(net.client, ("127.0.0.1", port))
    assert made.reply == 0 and made.relay[0] == "127.0.0.1"
    return made


# ---- XUDP by hand --------------------------------------------------------------------------------


def frame(status, host=None, port=0, data=None, global_id=b"", session=0):
    rest = b""
    if host:
        rest = b"\2" + port.to_bytes(2, "big") + b"\1" + socket.inet_aton(host) + global_id
    meta = session.to_bytes(2, "big") + bytes([status, data is not None]) + rest
    return reality_client.vector(2, meta) + (
        b"" if data is None else reality_client.vector(2, data))


def read_frame(connection):
    """(status, host, port, data) of the next one."""
    meta = rig.exactly(connection, int.from_bytes(rig.exactly(connection, 2), "big"))
    data = b""
    if meta[3] & 1:
        data = rig.exactly(connection, int.from_bytes(rig.exactly(connection, 2), "big"))
    if len(meta) == 4:
        return meta[2], None, 0, data
    assert meta[4] == 2 and meta[7] == 1, meta
    return meta[2], socket.inet_ntoa(meta[8:12]), int.from_bytes(meta[5:7], "big"), data


def open_bare(net, command, frames, user=rig.PLAIN_USER, to=ECHO):
    connection = rig.tcp(net.client, rig.SERVER_IP, BARE)
    connection.sendall(reality_client.vless_header(user, rig.INTERNET_IP, to, command=command) +
                       frames)
    return connection


def length(data):
    return reality_client.vector(2, data)


# ---- command 2 -----------------------------------------------------------------------------------


def test_row_016_three_in_one(net, bare):
    """Three datagrams in one read; one whose length is 0 among them is nothing."""
    connection = open_bare(net, 2, length(b"one") + length(b"") + length(b"two") + length(b"three"))
    assert rig.exactly(connection, 2) == b"\0\0"
    got = sorted(rig.exactly(connection, int.from_bytes(rig.exactly(connection, 2), "big"))
                 for _ in range(3))
    assert got == sorted(echoed(data) for data in (b"one", b"two", b"three"))
    session, = bare.sessions()
    assert session["state"] == "vless-udp" and session["outbound"] == "direct"
    connection.close()
    bare.wait_idle()


def test_row_016_single_bytes(net, bare):
    """Header and lengths cut anywhere."""
    connection = rig.tcp(net.client, rig.SERVER_IP, BARE)
    for byte in reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, ECHO, command=2) + \
            length(b"cut") + length(b"again"):
        connection.sendall(bytes([byte]))
        time.sleep(0.002)
    assert rig.exactly(connection, 2) == b"\0\0"
    got = sorted(rig.exactly(connection, int.from_bytes(rig.exactly(connection, 2), "big"))
                 for _ in range(2))
    assert got == sorted((echoed(b"cut"), echoed(b"again")))
    connection.close()
    bare.wait_idle()


def test_only_the_target_is_heard(net, bare):
    """Command 2 has no word for who speaks."""
    host, other = (socks_udp.udp_socket(net.internet, (ip, 9207))
                   for ip in (rig.INTERNET_IP, SECOND_IP))
    with host, other:
        connection = open_bare(net, 2, length(b"x"), to=9207)
        _, mapped = host.recvfrom(100)
        before = bare.reason_count("peer_stranger")
        other.sendto(b"not asked", mapped)
        bare.wait_reason("peer_stranger", before)
        host.sendto(b"asked", mapped)
        assert rig.exactly(connection, 4 + 5) == b"\0\0\0\5asked"
        connection.close()
    bare.wait_idle()


@pytest.mark.skipif(not rig.find_program("v2ray"), reason="v2ray (Debian package) is not installed")
@pytest.mark.parametrize("ours", ["server", "client"])
def test_row_016_v2ray_dig(net, tmp, target, internet, ours):
    """It knows command 2 only."""
    server_settings = rig.server_config(SERVER, tls_stream(target, ("http/1.1",)), clients=[
        {"id": rig.PLAIN_USER, "email": "plain@test"}])
    stream = {"network": "raw", "security": "tls", "tlsSettings": {
        "serverName": rig.SITE, "alpn": ["http/1.1"],
        "certificates": [{"certificateFile": target.ca, "usage": "verify"}]}}
    if ours == "server":
        server = rig.Culvert(net.server, tmp, server_settings, wait=((rig.SERVER_IP, SERVER),))
        settings = v2(client_side(SOCKS, stream))
        settings["inbounds"][0]["settings"]["ip"] = "127.0.0.1"
        client = V2ray(net.client, tmp, settings, ("127.0.0.1", SOCKS))
    else:
        server = V2ray(net.server, tmp, v2(server_settings), (rig.SERVER_IP, SERVER))
        client = rig.Culvert(net.client, tmp, client_side(SOCKS, stream, packets="none"),
                             wait=(("127.0.0.1", SOCKS),))
    with rig.running(server, client), dnsmasq(net, tmp), associate(net) as association:
        with socks_udp.Wrapper(association, WRAPPED, rig.INTERNET_IP, DNS):
            for _ in range(3):
                assert dig(net, "answer.test") == "192.0.2.77\n"
            assert dig(net, "+bufsize=4000", "long.test", "TXT").count("x") == 1000
        for host in (rig.INTERNET_IP, SECOND_IP):
            for size in (1, 512, 1400, 1800):  # its buffers are of 2 KiB
                data = os.urandom(size)
                assert association.ask(host, ECHO, data) == (host, ECHO, echoed(data))


# ---- XUDP ----------------------------------------------------------------------------------------


def test_xudp_addresses(net, bare):
    """Each datagram has its own; one that names none means the first; KeepAlive is nothing."""
    connection = open_bare(net, 3, frame(1, rig.INTERNET_IP, ECHO, b"one") + frame(4, data=b"pad") +
                           frame(2, SECOND_IP, ECHO, b"two") + frame(2) + frame(2, data=b"three"))
    assert rig.exactly(connection, 2) == b"\0\0"
    got = sorted(read_frame(connection) for _ in range(3))
    assert got == sorted([(2, rig.INTERNET_IP, ECHO, echoed(b"one")),
                          (2, SECOND_IP, ECHO, echoed(b"two")),
                          (2, rig.INTERNET_IP, ECHO, echoed(b"three"))])
    connection.sendall(frame(3))
    assert rig.read_all(connection) == (b"", "fin")
    bare.wait_idle()


def test_xudp_keeps_its_port(net, bare):
    """A stream that breaks; the next one under its name goes on, and gets what came meanwhile."""
    host, other = (socks_udp.udp_socket(net.internet, (ip, 9208))
                   for ip in (rig.INTERNET_IP, SECOND_IP))
    with host, other:
        first = open_bare(net, 3, frame(1, rig.INTERNET_IP, 9208, b"a", GLOBAL_ID))
        _, mapped = host.recvfrom(100)
        rig.reset(first)
        bare.wait_idle()
        other.sendto(b"meanwhile", mapped)
        second = open_bare(net, 3, frame(1, rig.INTERNET_IP, 9208, b"b", GLOBAL_ID))
        assert host.recvfrom(100) == (b"b", mapped)
        assert rig.exactly(second, 2) == b"\0\0"
        assert read_frame(second) == (2, SECOND_IP, 9208, b"meanwhile")
        third = open_bare(net, 3, frame(1, rig.INTERNET_IP, 9208, b"c", GLOBAL_ID))
        assert host.recvfrom(100) == (b"c", mapped)
        host.sendto(b"for the third", mapped)
        assert rig.exactly(third, 2) == b"\0\0"
        assert read_frame(third) == (2, rig.INTERNET_IP, 9208, b"for the third")
        assert read_frame(second) == (3, None, 0, b"")
        assert rig.read_all(second) == (b"", "fin")
        stranger = open_bare(net, 3, frame(1, rig.INTERNET_IP, 9208, b"d"))
        data, source = host.recvfrom(100)
        assert data == b"d" and source != mapped
        stranger.close()
    bare.wait_idle()


def test_xudp_refused(net, bare):
    before = bare.reason_count("decode")
    connection = open_bare(net, 3, b"\2\1\0\0\1\1\2" + bytes(20))
    assert rig.read_all(connection) == (b"", "fin")
    bare.wait_reason("decode", before)
    bare.wait_idle()


def test_vision_account_without_flow(net, keys, reality):
    """VLESS 6 step 8: XUDP and command 2, nothing else."""
    for command, more, served in (
            (2, length(b"x"), True), (3, frame(1, rig.INTERNET_IP, ECHO, b"x"), True),
            (3, frame(1, rig.INTERNET_IP, ECHO, b"x", session=1), False), (1, b"x", False)):
        before = reality.reason_count("flow")
        tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, REALITY), keys.public)
        tls.send(reality_client.vless_header(rig.USER, rig.INTERNET_IP, ECHO, command=command) +
                 more)
        if served:
            assert echoed(b"x") in tls.recv()
        else:
            assert tls.recv_all() == b""
            reality.wait_reason("flow", before)
        tls.connection.close()
    reality.wait_idle()


def test_limits(net, tmp, internet):
    """Rate and quota hold for datagrams, as does the number of associations; idleness ends them."""
    clients = [{"id": rig.PLAIN_USER, "email": "slow@test", "uplinkBytesPerSecond": 20000},
               {"id": rig.USER, "email": "little@test", "quotaBytes": 5000}]
    made = rig.Culvert(net.server, tmp, rig.server_config(
        SERVER, {"network": "raw"}, clients=clients, policy={"levels": {"0": {"connIdle": 5}}}),
        "limits", maxUserAssociations=2, stateDirectory="", wait=((rig.SERVER_IP, SERVER),))

    def new(user, frames):
        connection = rig.tcp(net.client, rig.SERVER_IP, SERVER)
        connection.sendall(reality_client.vless_header(user, rig.INTERNET_IP, ECHO, command=3) +
                           frames)
        return connection

    with rig.running(made):
        first = new(rig.PLAIN_USER, frame(1, rig.INTERNET_IP, ECHO, b"x"))
        assert rig.exactly(first, 2) == b"\0\0" and read_frame(first)[3] == echoed(b"x")
        first.sendall(frame(2, rig.INTERNET_IP, ECHO, bytes(1000)) * 100)
        made.wait_reason("policy_rate")
        second = new(rig.PLAIN_USER, frame(1, rig.INTERNET_IP, ECHO, b"x"))
        assert rig.exactly(second, 2) == b"\0\0" and read_frame(second)[3] == echoed(b"x")
        first.sendall(frame(2, rig.INTERNET_IP, ECHO, b"still there"))
        third = new(rig.PLAIN_USER, frame(1, rig.INTERNET_IP, ECHO, b"x"))
        assert rig.read_all(third) == (b"", "fin")
        made.wait_reason("policy_user_sessions")
        spent = new(rig.USER, frame(1, rig.INTERNET_IP, ECHO, bytes(500)) +
                    frame(2, rig.INTERNET_IP, ECHO, bytes(500)) * 9)
        assert rig.read_all(spent)[1] == "rst"
        made.wait_reason("policy_quota")
        assert rig.read_all(second, 30)[1] == "fin"
        made.wait_reason("policy_idle")
        made.wait_idle()


# ---- both sides ours -----------------------------------------------------------------------------


WAYS = [("none", rig.PLAIN_USER, "", None), ("none", rig.PLAIN_USER, "", "none"),
        ("tls", rig.PLAIN_USER, "", None), ("tls", rig.USER, rig.VISION, None),
        ("reality", rig.PLAIN_USER, "", "none"), ("reality", rig.PLAIN_USER, "", None),
        ("reality", rig.USER, rig.VISION, None)]


@pytest.mark.parametrize("security, user, flow, packets", WAYS)
def test_pair(net, tmp, keys, target, internet, reality, security, user, flow, packets):
    """dig, sizes, names, and (XUDP) the full cone with two outside hosts."""
    account = {"user": user, "flow": flow, "packets": packets}
    if security == "reality":
        made = with_reality(net, tmp, keys, reality, **account)
    else:
        made = pair(net, tmp, target, security == "tls", **account)
    with made as daemons, dnsmasq(net, tmp), associate(net) as association:
        with socks_udp.Wrapper(association, WRAPPED, rig.INTERNET_IP, DNS):
            assert dig(net, "answer.test") == "192.0.2.77\n"
            assert dig(net, "+bufsize=4000", "long.test", "TXT").count("x") == 1000
        for size in (1, 512, 1460, 8150):
            data = os.urandom(size)
            assert association.ask(SECOND_IP, ECHO, data) == (SECOND_IP, ECHO, echoed(data)), size
        association.send(SECOND_IP, ECHO, os.urandom(8200))  # more than others have room for
        daemons[1].wait_reason("too_long")
        if packets is None:
            full_cone(net, association)
        states = sorted(s["state"] for s in daemons[1].sessions())
        assert "datagrams" in states and "udp-carrier" in states
        association.close()
        for daemon in daemons:
            daemon.wait_idle()


def full_cone(net, association):
    one, other = (socks_udp.udp_socket(net.internet, (ip, 9209))
                  for ip in (rig.INTERNET_IP, SECOND_IP))
    with one, other:
        association.send(rig.INTERNET_IP, 9209, b"to one")
        data, mapped = one.recvfrom(100)
        assert data == b"to one" and mapped[0] == rig.SERVER_INNER_IP
        for source, data in ((other, b"never asked"), (one, b"the answer")):
            source.sendto(data, mapped)
            assert association.recv() == source.getsockname() + (data,)
        association.send(SECOND_IP, 9209, b"to the other")
        assert other.recvfrom(100) == (b"to the other", mapped)


def test_names_come_back(net, tmp, target):
    """A name goes to the server; what it answers comes back under that name."""
    echo = Echo(net.server, "127.0.0.1", 9210)
    try:
        with pair(net, tmp, target) as daemons, associate(net) as association:
            for _ in range(5):
                association.send("localhost", 9210, b"who")
                association.udp.settimeout(2)
                with contextlib.suppress(socket.timeout, TimeoutError):
                    data = association.udp.recv(1000)
                    break
            assert data == b"\0\0\0" + socks_udp.address("localhost", 9210) + \
                echoed(b"who", "127.0.0.1")
            association.close()
            daemons[0].wait_idle()
    finally:
        echo.stop()


@pytest.mark.parametrize("flow", [rig.VISION, rig.VISION + "-udp443"])
def test_port_443(net, tmp, keys, reality, flow):
    """QUIC does not go into a Vision stream, unless the flow says so."""
    echo = Echo(net.internet, SECOND_IP, 443)
    try:
        with with_reality(net, tmp, keys, reality, user=rig.USER, flow=flow) as daemons, \
                associate(net) as association:
            if flow == rig.VISION:
                association.send(SECOND_IP, 443, b"quic")
                daemons[1].wait_reason("policy_blocked")
                association.nothing_comes()
            else:
                assert association.ask(SECOND_IP, 443, b"quic")[2] == echoed(b"quic")
    finally:
        echo.stop()


def test_server_restarts(net, tmp):
    """The association lives on; datagrams pass again once the server is back."""
    client = rig.Culvert(net.client, tmp, client_side(SOCKS, {"network": "raw"}), "client",
                         wait=(("127.0.0.1", SOCKS),))
    with rig.running(client), associate(net) as association:
        for _ in range(2):
            server = rig.Culvert(net.server, tmp, rig.server_config(SERVER, {"network": "raw"}),
                                 "server", wait=((rig.SERVER_IP, SERVER),), drain=0)
            with rig.running(server):
                assert association.ask(SECOND_IP, ECHO, b"x", tries=8)[2] == echoed(b"x")
                time.sleep(1.1)  # a stream that ends at once is not dialled again at once
            rig.wait_for(lambda: len(client.sessions()) == 1, 5, "the client noticed")
            association.send(SECOND_IP, ECHO, b"nobody is there")
        client.wait_reason("refused")
        association.close()
        client.wait_idle()


def test_stream_is_kicked(net, tmp, target):
    """The server ends it: the client opens another one, which gets the same port."""
    host = socks_udp.udp_socket(net.internet, (rig.INTERNET_IP, 9211))
    with host, pair(net, tmp, target) as daemons, associate(net) as association:
        association.send(rig.INTERNET_IP, 9211, b"a")
        _, mapped = host.recvfrom(100)
        time.sleep(1.1)  # a stream that ends at once is not dialled again at once
        assert daemons[0].ask("kick plain@test")["kicked"] == 1
        rig.wait_for(lambda: len(daemons[1].sessions()) == 1, 5, "the client noticed")
        association.send(rig.INTERNET_IP, 9211, b"b")
        assert host.recvfrom(100) == (b"b", mapped)
        host.sendto(b"c", mapped)
        assert association.recv() == (rig.INTERNET_IP, 9211, b"c")


def test_reload_meanwhile(net, tmp, target):
    """An association goes on by the configuration it began with."""
    with pair(net, tmp, target) as daemons, associate(net) as association:
        assert association.ask(SECOND_IP, ECHO, b"x")[2] == echoed(b"x")
        with open(daemons[1].config_path) as file:
            config = json.load(file)
        config["outbounds"][0]["settings"]["vnext"][0]["port"] = 9
        with open(daemons[1].config_path, "w") as file:
            json.dump(config, file)
        assert "error" not in daemons[1].ask("reload")
        assert association.ask(SECOND_IP, ECHO, b"y")[2] == echoed(b"y")
        assert association.ask(rig.INTERNET_IP, ECHO, b"z")[2] == echoed(b"z")


# ---- other programs ------------------------------------------------------------------------------


class Forward:
    """TCP on a local port through CONNECT to one destination."""

    def __init__(self, net, port, host, to_port):
        with net.client:
            self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(8)
        self.net, self.target = net, (host, to_port)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                local, _ = self.listener.accept()
                through = rig.tcp(self.net.client, "127.0.0.1", SOCKS)
                assert rig.socks_handshake(through, *self.target) == 0
                for source, sink in ((local, through), (through, local)):
                    source.settimeout(None)
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while True:
                block = source.recv(65536)
                if not block:
                    break
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # which ends the accept()
        self.listener.close()


@pytest.mark.skipif(not shutil.which("iperf3"), reason="iperf3 is not installed")
@pytest.mark.parametrize("reverse", [False, True])
def test_iperf3(net, tmp, target, reverse):
    """UDP at 2 Mbit/s in 1000 bytes each, by a program that counts what is lost: with its small
    buffers something is on a busy machine."""
    process = rig.Process(net.internet, ["iperf3", "-s", "--forceflush", "-B", SECOND_IP, "-p",
                                         str(IPERF)], os.path.join(tmp, "iperf3.log"))
    rig.wait_for(lambda: "listening" in process.log() or not process.alive(), 5, "iperf3 listens")
    with pair(net, tmp, target, is_tls=True), associate(net) as association, \
            socks_udp.Wrapper(association, IPERF, SECOND_IP, IPERF):
        forward = Forward(net, IPERF, SECOND_IP, IPERF)
        try:
            done = subprocess.run(
                ["iperf3", "-c", "127.0.0.1", "-p", str(IPERF), "-u", "-b", "2M", "-l", "1000",
                 "-t", "3", "--json"] + (["-R"] if reverse else []), capture_output=True, text=True,
                timeout=60, preexec_fn=net.client.enter)
            result = json.loads(done.stdout)
            assert done.returncode == 0, result.get("error", done.stderr)
            total = result["end"]["sum"]
            print("iperf3: %(packets)d datagrams, %(lost_percent).2f %% lost" % total)
            assert total["packets"] > 600 and total["lost_percent"] < 10
        finally:
            forward.stop()
            process.child.kill()
            process.child.wait()


def test_row_017_response_in_single_bytes(net, tmp):
    """The two bytes in front of the answer are taken off wherever they are cut."""
    with net.server:
        listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((rig.SERVER_IP, SERVER))
    listener.listen(8)
    page = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"

    def serve(answer):
        connection, _ = listener.accept()
        with connection:
            rig.exactly(connection, 26)
            for byte in answer:
                connection.sendall(bytes([byte]))
                time.sleep(0.002)
            connection.recv(65536)

    client = rig.Culvert(net.client, tmp, client_side(SOCKS, {"network": "raw"}),
                         wait=(("127.0.0.1", SOCKS),))
    with rig.running(client), listener:
        for head in (b"\0\0", b"\0\3abc"):
            server = threading.Thread(target=serve, args=(head + page,))
            server.start()
            status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:%d" % SOCKS,
                                           "http://%s/" % rig.INTERNET_IP)
            assert (status, body) == (0, b"hello"), error
            server.join()
        client.wait_idle()


def test_many(net, tmp, target):
    """Small ones as fast as Python sends them, never more under way than any queue has room for:
    then none is lost."""
    host = socks_udp.udp_socket(net.internet, (rig.INTERNET_IP, 9212))
    with host, pair(net, tmp, target, is_tls=True) as daemons, associate(net) as association:
        assert association.ask(SECOND_IP, ECHO, b"x")
        count, got = 20000, set()
        host.settimeout(10)

        def collect():
            with contextlib.suppress(socket.timeout, TimeoutError):
                while len(got) < count:
                    got.add(int.from_bytes(host.recv(300)[:4], "big"))

        collector = threading.Thread(target=collect)
        collector.start()
        began = time.monotonic()
        for number in range(count):
            association.send(rig.INTERNET_IP, 9212, number.to_bytes(4, "big") + bytes(196))
            while number - len(got) > 128 and collector.is_alive():
                time.sleep(0.0005)
        collector.join()
        print("%d of %d, %d/s" % (len(got), count, count / (time.monotonic() - began)))
        assert len(got) == count
        assert not re.search("slow", str(daemons[1].reasons()))
