# SPDX-License-Identifier: MIT
"""dokodemo-door, now called tunnel: connections and datagrams led to one place."""

import contextlib
import hashlib
import socket
import subprocess

import pytest
import rig
from peers import FREEDOM
from socks_udp import Echo
from test_socks_udp import DNS, dnsmasq, program

WEB, BOTH, MAPPED, MAPPED_OTHER, DROPPED, NAMES = 1320, 1321, 1322, 1323, 1324, 1325
ECHO = 9121


def tunnel(port, protocol="dokodemo-door", /, **settings):
    return {"tag": "tunnel-%d" % port, "listen": rig.SERVER_IP, "port": port, "protocol": protocol,
            "settings": settings}


def config():
    mapped = tunnel(MAPPED, "tunnel", address=rig.INTERNET_IP, port=1, portMap={
        str(MAPPED): "%s:80" % rig.INTERNET_IP, str(MAPPED_OTHER): ":443"})
    mapped["port"] = "%d-%d" % (MAPPED, MAPPED_OTHER)
    return {
        "inbounds": [tunnel(WEB, address=rig.INTERNET_IP, port=80, network="tcp"),
                     tunnel(BOTH, address=rig.INTERNET_IP, port=ECHO, network="tcp,udp"),
                     tunnel(NAMES, address=rig.INTERNET_IP, port=DNS, network="tcp,udp"), mapped,
                     tunnel(DROPPED, address=rig.INTERNET_IP, port=ECHO, network="udp")],
        "outbounds": [FREEDOM, {"tag": "block", "protocol": "blackhole"}],
        "routing": {"rules": [{"inboundTag": ["tunnel-%d" % DROPPED], "outboundTag": "block"}]}}


def daemon(net, tmp, **more):
    # the last one: datagrams of those before it are heard as well
    return rig.Culvert(net.server, tmp, config(), "tunnel", wait=((rig.SERVER_IP, MAPPED_OTHER),),
                       **more)


def fetch(net, port, path="/medium", *more):
    return rig.curl(net.client, "-k", *more, "http://%s:%d%s" % (rig.SERVER_IP, port, path))


def test_row_088_tcp(net, tmp, internet):
    with rig.running(daemon(net, tmp)) as daemons:
        status, body, error = fetch(net, WEB)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
        assert fetch(net, MAPPED, "/")[1] == b"the internet\n"
        status, body, error = rig.curl(net.client, "-k", "https://%s:%d/" % (
            rig.SERVER_IP, MAPPED_OTHER))
        assert body == b"the internet\n", error
        assert fetch(net, DROPPED, "/")[0] == 7  # it does not listen for connections
        daemons[0].wait_idle()


def ask(udp, port, text, tries=5):
    """The source of the answer to text; UDP may lose either."""
    for _ in range(tries):
        udp.sendto(text, (rig.SERVER_IP, port))
        with contextlib.suppress(socket.timeout, TimeoutError):
            while True:
                data, source = udp.recvfrom(2048)
                if data.endswith(text):
                    return source
    raise AssertionError("no answer")


def client_socket(net):
    with net.client:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(2)
    return udp


def test_row_088_udp(net, tmp, internet):
    """Each source has a session of its own, and the answer comes from where it sent to."""
    echo = Echo(net.internet, rig.INTERNET_IP, ECHO)
    with rig.running(daemon(net, tmp, workers=2)) as daemons:
        clients = [client_socket(net) for _ in range(8)]
        for turn in range(3):
            for i, udp in enumerate(clients):
                text = b"%d of %d" % (turn, i)
                assert ask(udp, BOTH, text) == (rig.SERVER_IP, BOTH)
        sessions = [s for s in daemons[0].sessions() if s["state"] == "tunnel-datagrams"]
        assert len(sessions) == len(clients), sessions
        dropped = client_socket(net)
        dropped.settimeout(0.5)
        with pytest.raises(AssertionError, match="no answer"):
            ask(dropped, DROPPED, b"x", 1)
        for udp in clients + [dropped]:
            udp.close()
    echo.stop()


def test_row_088_dig(net, tmp, internet):
    with dnsmasq(net, tmp), rig.running(daemon(net, tmp)):
        for how in ("+notcp", "+tcp"):
            done = subprocess.run([
                program("dig"), "@" + rig.SERVER_IP, "-p", str(NAMES), "+short", "+tries=3",
                "+time=3", how, "answer.test"], capture_output=True, text=True, timeout=30,
                preexec_fn=net.client.enter)
            assert done.stdout == "192.0.2.77\n", (how, done)


def test_udp_stays_over_reload(net, tmp, internet):
    echo = Echo(net.internet, rig.INTERNET_IP, ECHO)
    with rig.running(daemon(net, tmp)) as daemons:
        udp = client_socket(net)
        ask(udp, BOTH, b"one")
        daemons[0].ask("reload")
        ask(udp, BOTH, b"two")
        assert len(daemons[0].sessions()) == 1
        udp.close()
    echo.stop()


def test_port_is_taken(net, tmp, internet):
    with net.server:
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind((rig.SERVER_IP, BOTH))
    with other, pytest.raises(AssertionError, match="cannot listen"):
        daemon(net, tmp).stop()
