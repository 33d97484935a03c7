# SPDX-License-Identifier: MIT
"""VMess with AEAD header: in and out, against v2ray 4.34 and between ourselves; strangers."""

import hashlib
import re
import secrets
import socket
import threading

import pytest
import rig
from peers import FREEDOM, V2ray, needs_v2ray, socks_in, vmess_in, vmess_out
from socks_udp import Association, Echo

OURS, THEIRS, SOCKS = 1310, 1311, 1312
PROXY = ("-x", "socks5h://127.0.0.1:%d" % SOCKS)
CIPHERS = ["aes-128-gcm", "chacha20-poly1305", "none"]


def configs(security="auto", port=OURS, mux=False):
    server = {"inbounds": [vmess_in(port)], "outbounds": [FREEDOM]}
    outbound = vmess_out(port, security=security)
    if mux:
        outbound["mux"] = {"enabled": True, "concurrency": 8}
    client = {"inbounds": [socks_in(SOCKS)], "outbounds": [outbound]}
    return server, client


def stream(target, network, security, is_server):
    """streamSettings of either side, as both programs write them."""
    settings = {"network": network, "security": security}
    if network == "ws":
        settings["wsSettings"] = {"path": "/vmess", "headers": {"Host": rig.SITE}}
    if network == "h2":
        settings["httpSettings"] = {"path": "/vmess", "host": [rig.SITE]}
    if security == "tls" and is_server:
        settings["tlsSettings"] = {"certificates": [
            {"certificateFile": target.certificate, "keyFile": target.key}]}
    elif security == "tls":
        settings["tlsSettings"] = {"serverName": rig.SITE, "certificates": [
            {"certificateFile": target.ca, "usage": "verify"}]}
        if network == "tcp":
            settings["tlsSettings"]["alpn"] = ["http/1.1"]
    return settings


def carried(target, port, network, security, cipher="auto"):
    server, client = configs(cipher, port)
    server["inbounds"][0]["streamSettings"] = stream(target, network, security, True)
    client["outbounds"][0]["streamSettings"] = stream(target, network, security, False)
    return server, client


def start(net, tmp, server, client, port, ours="both"):
    """The two; those that are not ours are v2ray."""
    return (
        V2ray(net.server, tmp, server, (rig.SERVER_IP, port)) if ours == "client" else
        rig.Culvert(net.server, tmp, server, "vmess-server", wait=((rig.SERVER_IP, port),)),
        V2ray(net.client, tmp, client, ("127.0.0.1", SOCKS)) if ours == "server" else
        rig.Culvert(net.client, tmp, client, "vmess-client", wait=(("127.0.0.1", SOCKS),)))


def check_transfers(net, internet):
    for name in ("small", "medium"):
        status, body, error = rig.curl(net.client, *PROXY,
                                       "http://%s/%s" % (rig.INTERNET_IP, name))
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes[name]
    status, body, error = rig.curl(net.client, *PROXY, "-T", internet.root + "/medium",
                                   "http://%s/sink" % rig.INTERNET_IP)
    assert body.decode() == "%d %s" % (internet.sizes["medium"], internet.hashes["medium"]), error


@pytest.mark.parametrize("cipher", CIPHERS)
def test_between_ourselves(net, tmp, internet, cipher):
    with rig.running(*start(net, tmp, *configs(cipher), OURS)):
        check_transfers(net, internet)


@pytest.mark.parametrize("network,security,early", [
    ("tcp", "tls", ""), ("ws", "tls", ""), ("ws", "none", "?ed=2048"), ("h2", "tls", ""),
    ("httpupgrade", "none", "")])
def test_row_089_carried(net, tmp, internet, target, network, security, early):
    """In TLS, in transports, in both; the request in the head of the transport's."""
    server, client = carried(target, OURS, network, security, "none" if security == "tls" else
                             "auto")
    if early:
        client["outbounds"][0]["streamSettings"]["wsSettings"]["path"] += early
    with rig.running(*start(net, tmp, server, client, OURS)):
        check_transfers(net, internet)


@needs_v2ray
@pytest.mark.parametrize("cipher", CIPHERS[:2])
@pytest.mark.parametrize("ours", ["server", "client"])
def test_row_089_v2ray(net, tmp, internet, ours, cipher):
    with rig.running(*start(net, tmp, *configs(cipher, THEIRS), THEIRS, ours)):
        check_transfers(net, internet)


@needs_v2ray
@pytest.mark.parametrize("network", ["tcp", "ws", "h2"])
@pytest.mark.parametrize("ours", ["server", "client"])
def test_row_089_v2ray_in_tls(net, tmp, internet, target, ours, network):
    with rig.running(*start(net, tmp, *carried(target, THEIRS, network, "tls"), THEIRS, ours)):
        check_transfers(net, internet)


@needs_v2ray
@pytest.mark.parametrize("ours", ["server", "client"])
def test_row_089_mux_in_vmess(net, tmp, internet, ours):
    with rig.running(*start(net, tmp, *configs("aes-128-gcm", THEIRS, mux=True), THEIRS, ours)):
        check_transfers(net, internet)


# ---- strangers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patient_server(net, tmp, internet):
    """Waits three seconds for a request."""
    server, _ = configs()
    server["policy"] = {"levels": {"0": {"handshake": 3}}}
    with rig.running(rig.Culvert(net.server, tmp, server, "vmess-patient",
                                 wait=((rig.SERVER_IP, OURS),))) as daemons:
        yield daemons[0]


def count_is(daemon, reason, count):
    rig.wait_for(lambda: daemon.reason_count(reason) == count, 10,
                 "%s %d times: %s" % (reason, count, daemon.reasons()))


def meet_silence(net, server, openings):
    """Whoever said one of these hears nothing; all ends come when the time for a request is over."""
    before = len(server.log())
    connections = [rig.tcp(net.client, rig.SERVER_IP, OURS) for _ in openings]
    for connection, opening in zip(connections, openings):
        connection.sendall(opening)
    for connection, opening in zip(connections, openings):
        assert rig.read_all(connection, 15) == (b"", "fin"), len(opening)
        connection.close()
    server.wait_idle()
    lasted = [int(ms) for ms in re.findall(r" end: .* ms=(\d+) ", server.log()[before:])]
    assert len(lasted) == len(openings) and min(lasted) >= 2900, lasted


def test_strangers_meet_silence(net, patient_server):
    """Nothing, a part of an id, an id of nobody, much noise: all end alike."""
    unknown = patient_server.reason_count("unknownuser")
    meet_silence(net, patient_server, [
        b"", secrets.token_bytes(7), secrets.token_bytes(16), secrets.token_bytes(60),
        b"GET / HTTP/1.1\r\n\r\n", secrets.token_bytes(200000)])
    count_is(patient_server, "unknownuser", unknown + 4)


class Recorder:
    """Keeps what a client says to the server, for once more."""

    def __init__(self, namespace, port, server):
        with namespace:
            self.listener = socket.create_server(("127.0.0.1", port))
            self.upstream = socket.create_connection(server)
        self.said = b""

        def serve():
            connection, _ = self.listener.accept()
            connection.settimeout(10)
            self.said = connection.recv(65536)
            self.upstream.sendall(self.said)
            while block := self.upstream.recv(65536):
                connection.sendall(block)
            connection.close()

        threading.Thread(target=serve, daemon=True).start()


def test_replays_meet_silence(net, tmp, internet, patient_server):
    _, client = configs()
    recorder = Recorder(net.client, 1313, (rig.SERVER_IP, OURS))
    client["outbounds"][0] = vmess_out(1313, server="127.0.0.1")
    with rig.running(rig.Culvert(net.client, tmp, client, "vmess-recorded",
                                 wait=(("127.0.0.1", SOCKS),))):
        status, body, error = rig.curl(net.client, *PROXY, "http://%s/small" % rig.INTERNET_IP)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["small"]
    recorder.upstream.shutdown(socket.SHUT_RDWR)  # its thread is in recv
    patient_server.wait_idle()
    replays, broken = (patient_server.reason_count(reason) for reason in ("replay", "authfailed"))
    changed = bytearray(recorder.said)
    changed[40] ^= 1  # in the nonce: the seal is broken
    meet_silence(net, patient_server, [recorder.said, bytes(changed)])
    count_is(patient_server, "replay", replays + 1)
    count_is(patient_server, "authfailed", broken + 1)


def test_wrong_id_is_reported(net, tmp, patient_server):
    _, client = configs()
    client["outbounds"][0] = vmess_out(OURS, user=rig.STRANGER)
    with rig.running(rig.Culvert(net.client, tmp, client, "vmess-stranger",
                                 wait=(("127.0.0.1", SOCKS),))) as daemons:
        status, _, _ = rig.curl(net.client, *PROXY, "http://%s/small" % rig.INTERNET_IP,
                                timeout=30)
        assert status != 0
        daemons[0].wait_reason("upstreamclosed", seconds=10)


# ---- datagrams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [
    "both", pytest.param("server", marks=needs_v2ray), pytest.param("client", marks=needs_v2ray)])
def test_row_089_datagrams(net, tmp, internet, ours):
    """Command 2: each destination has a stream of its own."""
    server, client = configs("aes-128-gcm", THEIRS)
    client["inbounds"][0]["settings"].update(udp=True, ip="127.0.0.1")
    echoes = [Echo(net.internet, rig.INTERNET_IP, port) for port in (9131, 9132)]
    with rig.running(*start(net, tmp, server, client, THEIRS, ours)):
        with Association(net.client, ("127.0.0.1", SOCKS)) as association:
            for turn in range(3):
                for port in (9131, 9132):
                    text = b"%d to %d " % (turn, port) + b"x" * 1000
                    _, from_port, data = association.ask(rig.INTERNET_IP, port, text)
                    assert from_port == port and data.endswith(text)
    for echo in echoes:
        echo.stop()
