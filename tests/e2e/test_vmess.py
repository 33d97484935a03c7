# SPDX-License-Identifier: MIT
"""VMess with AEAD header: in and out, against v2ray 4.34 and between ourselves; strangers."""

import hashlib
import secrets
import time

import pytest
import rig
from peers import FREEDOM, V2ray, needs_v2ray, socks_in, vmess_in, vmess_out
from socks_udp import Association, Echo

OURS, THEIRS, SOCKS = 1310, 1311, 1312


def configs(security="auto", port=OURS, mux=False):
    server = {"inbounds": [vmess_in(port)], "outbounds": [FREEDOM]}
    outbound = vmess_out(port, security=security)
    if mux:
        outbound["mux"] = {"enabled": True, "concurrency": 8}
    client = {"inbounds": [socks_in(SOCKS)], "outbounds": [outbound]}
    return server, client


def check_transfers(net, internet):
    for name in ("small", "medium"):
        status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:%d" % SOCKS,
                                       "http://%s/%s" % (rig.INTERNET_IP, name))
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes[name]
    status, body, error = rig.curl(
        net.client, "-x", "socks5h://127.0.0.1:%d" % SOCKS, "-T", internet.root + "/medium",
        "http://%s/sink" % rig.INTERNET_IP)
    assert body.decode() == "%d %s" % (internet.sizes["medium"], internet.hashes["medium"]), error


@pytest.mark.parametrize("security", ["aes-128-gcm", "chacha20-poly1305", "none"])
def test_between_ourselves(net, tmp, internet, security):
    server, client = configs(security)
    with rig.running(
            rig.Culvert(net.server, tmp, server, "vmess-server", wait=((rig.SERVER_IP, OURS),)),
            rig.Culvert(net.client, tmp, client, "vmess-client", wait=(("127.0.0.1", SOCKS),))):
        check_transfers(net, internet)


@needs_v2ray
@pytest.mark.parametrize("security", ["aes-128-gcm", "chacha20-poly1305"])
@pytest.mark.parametrize("ours", ["server", "client"])
def test_row_089_v2ray(net, tmp, internet, ours, security):
    server, client = configs(security, THEIRS)
    if ours == "server":
        one = rig.Culvert(net.server, tmp, server, "vmess", wait=((rig.SERVER_IP, THEIRS),))
        two = V2ray(net.client, tmp, client, ("127.0.0.1", SOCKS))
    else:
        one = V2ray(net.server, tmp, server, (rig.SERVER_IP, THEIRS))
        two = rig.Culvert(net.client, tmp, client, "vmess", wait=(("127.0.0.1", SOCKS),))
    with rig.running(one, two):
        check_transfers(net, internet)


@needs_v2ray
@pytest.mark.parametrize("ours", ["server", "client"])
def test_row_089_mux_in_vmess(net, tmp, internet, ours):
    server, client = configs("aes-128-gcm", THEIRS, mux=True)
    if ours == "server":
        one = rig.Culvert(net.server, tmp, server, "vmess", wait=((rig.SERVER_IP, THEIRS),))
        two = V2ray(net.client, tmp, client, ("127.0.0.1", SOCKS))
    else:
        one = V2ray(net.server, tmp, server, (rig.SERVER_IP, THEIRS))
        two = rig.Culvert(net.client, tmp, client, "vmess", wait=(("127.0.0.1", SOCKS),))
    with rig.running(one, two):
        check_transfers(net, internet)


def test_row_089_vmess_over_tls(net, tmp, internet, target):
    server, client = configs()
    server["inbounds"][0]["streamSettings"] = {"security": "tls", "tlsSettings": {
        "certificates": [{"certificateFile": target.certificate, "keyFile": target.key}]}}
    client["outbounds"][0]["streamSettings"] = {"security": "tls", "tlsSettings": {
        "serverName": rig.SITE, "disableSystemRoot": True,
        "certificates": [{"certificateFile": target.ca, "usage": "verify"}]}}
    with rig.running(
            rig.Culvert(net.server, tmp, server, "vmess-tls", wait=((rig.SERVER_IP, OURS),)),
            rig.Culvert(net.client, tmp, client, "vmess-tls", wait=(("127.0.0.1", SOCKS),))):
        check_transfers(net, internet)


@pytest.fixture(scope="module")
def patient_server(net, tmp, internet):
    """Waits three seconds for a request."""
    server, _ = configs()
    server["policy"] = {"levels": {"0": {"handshake": 3}}}
    with rig.running(rig.Culvert(net.server, tmp, server, "vmess-patient",
                                 wait=((rig.SERVER_IP, OURS),))) as daemons:
        yield daemons[0]


def until_the_end(connection):
    """(seconds, what was read, how it ended)."""
    began = time.monotonic()
    data, end = rig.read_all(connection, 10)
    return time.monotonic() - began, data, end


def test_strangers_meet_silence(net, patient_server):
    """Nothing, a part of an id, an id of nobody, much noise: all end alike, at the same time."""
    for first in (b"", secrets.token_bytes(7), secrets.token_bytes(16), secrets.token_bytes(60),
                  b"GET / HTTP/1.1\r\n\r\n", secrets.token_bytes(200000)):
        connection = rig.tcp(net.client, rig.SERVER_IP, OURS)
        connection.sendall(first)
        seconds, data, end = until_the_end(connection)
        connection.close()
        assert (data, end) == (b"", "fin"), (len(first), end)
        assert 2.5 < seconds < 4.5, (len(first), seconds)
    patient_server.wait_reason("unknownuser")
    patient_server.wait_idle()


class Recorder:
    """Keeps what a client says to the server, for once more."""

    def __init__(self, namespace, port, server):
        import socket
        import threading
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
        status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:%d" % SOCKS,
                                       "http://%s/small" % rig.INTERNET_IP)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["small"]
    before = patient_server.reason_count("replay")
    connection = rig.tcp(net.client, rig.SERVER_IP, OURS)
    connection.sendall(recorder.said)
    seconds, data, end = until_the_end(connection)
    assert (data, end) == (b"", "fin") and 2.5 < seconds < 4.5
    patient_server.wait_reason("replay", before)
    changed = bytearray(recorder.said)
    changed[40] ^= 1  # in the nonce: the seal is broken
    connection = rig.tcp(net.client, rig.SERVER_IP, OURS)
    connection.sendall(bytes(changed))
    seconds, data, end = until_the_end(connection)
    assert (data, end) == (b"", "fin") and 2.5 < seconds < 4.5
    patient_server.wait_reason("authfailed")


def test_wrong_id_is_reported(net, tmp, patient_server):
    _, client = configs()
    client["outbounds"][0] = vmess_out(OURS, user=rig.STRANGER)
    with rig.running(rig.Culvert(net.client, tmp, client, "vmess-stranger",
                                 wait=(("127.0.0.1", SOCKS),))) as daemons:
        status, _, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:%d" % SOCKS,
                                "http://%s/small" % rig.INTERNET_IP, timeout=15)
        assert status != 0
        daemons[0].wait_reason("upstreamclosed", seconds=10)


# ---- datagrams ----------------------------------------------------------------------------------


@needs_v2ray
@pytest.mark.parametrize("ours", ["both", "server", "client"])
def test_row_089_datagrams(net, tmp, internet, ours):
    """Command 2: each destination has a stream of its own."""
    server, client = configs("aes-128-gcm", THEIRS)
    client["inbounds"][0]["settings"]["udp"] = True
    client["inbounds"][0]["settings"]["ip"] = "127.0.0.1"
    one = (V2ray(net.server, tmp, server, (rig.SERVER_IP, THEIRS)) if ours == "client" else
           rig.Culvert(net.server, tmp, server, "vmess", wait=((rig.SERVER_IP, THEIRS),)))
    two = (V2ray(net.client, tmp, client, ("127.0.0.1", SOCKS)) if ours == "server" else
           rig.Culvert(net.client, tmp, client, "vmess", wait=(("127.0.0.1", SOCKS),)))
    echoes = [Echo(net.internet, rig.INTERNET_IP, port) for port in (9131, 9132)]
    with rig.running(one, two):
        with Association(net.client, ("127.0.0.1", SOCKS)) as association:
            for turn in range(3):
                for port in (9131, 9132):
                    text = b"%d to %d " % (turn, port) + b"x" * 1000
                    _, from_port, data = association.ask(rig.INTERNET_IP, port, text)
                    assert from_port == port and data.endswith(text)
    for echo in echoes:
        echo.stop()
