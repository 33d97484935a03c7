# SPDX-License-Identifier: MIT
"""dokodemo-door, now called tunnel: connections and datagrams led to one place."""

import hashlib
import socket

import rig
from peers import FREEDOM
from socks_udp import Echo

WEB, BOTH, MAPPED, MAPPED_OTHER, DROPPED = 1320, 1321, 1322, 1323, 1324
ECHO = 9121


def tunnel(port, protocol="dokodemo-door", **settings):
    return {"tag": "tunnel-%d" % port, "listen": rig.SERVER_IP, "port": port, "protocol": protocol,
            "settings": settings}


def config():
    mapped = tunnel(MAPPED, "tunnel", address=rig.INTERNET_IP, port=1, portMap={
        str(MAPPED): "%s:80" % rig.INTERNET_IP, str(MAPPED_OTHER): ":443"})
    mapped["port"] = "%d-%d" % (MAPPED, MAPPED_OTHER)
    return {
        "inbounds": [tunnel(WEB, address=rig.INTERNET_IP, port=80, network="tcp"),
                     tunnel(BOTH, address=rig.INTERNET_IP, port=ECHO, network="tcp,udp"),
                     mapped,
                     tunnel(DROPPED, address=rig.INTERNET_IP, port=ECHO, network="udp")],
        "outbounds": [FREEDOM, {"tag": "block", "protocol": "blackhole"}],
        "routing": {"rules": [{"inboundTag": ["tunnel-%d" % DROPPED], "outboundTag": "block"}]}}


def daemon(net, tmp, **more):
    return rig.Culvert(net.server, tmp, config(), "tunnel", wait=((rig.SERVER_IP, WEB),), **more)


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


def ask(udp, port, text):
    udp.sendto(text, (rig.SERVER_IP, port))
    return udp.recvfrom(2048)


def client_socket(net):
    with net.client:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(5)
    return udp


def test_row_088_udp(net, tmp, internet):
    """Each source has a session of its own, and the answer comes from where it sent to."""
    echo = Echo(net.internet, rig.INTERNET_IP, ECHO)
    with rig.running(daemon(net, tmp, workers=2)) as daemons:
        clients = [client_socket(net) for _ in range(8)]
        for turn in range(3):
            for i, udp in enumerate(clients):
                text = b"%d of %d" % (turn, i)
                data, source = ask(udp, BOTH, text)
                assert text in data and source == (rig.SERVER_IP, BOTH), (data, source)
        sessions = [s for s in daemons[0].sessions() if s["state"] == "tunnel-datagrams"]
        assert len(sessions) == len(clients), sessions
        dropped = client_socket(net)
        dropped.settimeout(0.5)
        try:
            raise AssertionError(ask(dropped, DROPPED, b"x"))
        except (socket.timeout, TimeoutError):
            pass
        for udp in clients + [dropped]:
            udp.close()
    echo.stop()


def test_udp_stays_over_reload(net, tmp, internet):
    echo = Echo(net.internet, rig.INTERNET_IP, ECHO)
    with rig.running(daemon(net, tmp)) as daemons:
        udp = client_socket(net)
        assert b"one" in ask(udp, BOTH, b"one")[0]
        daemons[0].ask("reload")
        assert b"two" in ask(udp, BOTH, b"two")[0]
        udp.close()
    echo.stop()


def test_port_is_taken(net, tmp, internet):
    with net.server:
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind((rig.SERVER_IP, BOTH))
    try:
        daemon(net, tmp).stop()
        raise AssertionError("started")
    except AssertionError as error:
        assert "cannot listen" in str(error), error
    finally:
        other.close()
