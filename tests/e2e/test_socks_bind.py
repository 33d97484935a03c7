# SPDX-License-Identifier: MIT
"""SOCKS5 BIND: two replies, one connection, then a session like any other."""

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import threading

import pytest
import rig
import socks_udp
from test_tls_inbound import ALICE, NAME, combined, socks_config, tls, tls_stream
from test_upstreams import DANTE as UPSTREAM
from test_upstreams import (FREEDOM, PROXY_IP, STUNNEL, dante, dante_config, outbound, program,
                            stunnel)

PORT, GUARDED, OFF, SECURE, DANTE, VIA = 1395, 1396, 1397, 1398, 1399, 1400
SECOND_IP = "10.77.2.3"  # of the internet


def bind_inbound(port, **settings):
    inbound = rig.socks_only_config(port, listen=rig.SERVER_IP)["inbounds"][0]
    inbound["settings"].update({"bind": True, "bindIp": rig.SERVER_INNER_IP}, **settings)
    return dict(inbound, tag="bind-%d" % port)


@pytest.fixture(scope="module")
def daemon(net, tmp, authority, internet):
    net.internet.ip("addr", "replace", SECOND_IP + "/24", "dev", net.internet.links[net.server.name])
    secure = socks_config(SECURE, tls_stream(combined(authority, NAME)))["inbounds"][0]
    secure["settings"].update({"bind": True, "bindIp": rig.SERVER_INNER_IP})
    config = {
        "inbounds": [bind_inbound(PORT), bind_inbound(GUARDED), dict(secure, tag="secure"),
                     bind_inbound(OFF, bind=False)],
        "outbounds": [FREEDOM, {"tag": "block", "protocol": "blackhole"},
                      {"tag": "guard", "protocol": "freedom"}, outbound("http", 3003, tag="up")],
        "routing": {"rules": [{"ip": ["10.77.2.66"], "outboundTag": "block"},
                              {"ip": ["10.77.2.67"], "outboundTag": "up"},
                              {"inboundTag": ["bind-%d" % GUARDED], "outboundTag": "guard"}]}}
    made = rig.Culvert(net.server, tmp, config, "socks-bind", engine="splice", wait=tuple(
        (rig.SERVER_IP, port) for port in (PORT, GUARDED, OFF, SECURE)))
    with rig.running(made):
        yield made


def bind(net, host=rig.INTERNET_IP, port=PORT):
    """(connection, (REP, host, port) of the first reply)."""
    connection = rig.tcp(net.client, rig.SERVER_IP, port, timeout=15)
    return connection, socks_udp.request(connection, 2, host, 0)


def come(net, where, source=rig.INTERNET_IP):
    with net.internet:
        made = socket.socket()
    made.settimeout(15)
    made.bind((source, 0))
    made.connect(where)
    return made


def refuses(net, where, source=rig.INTERNET_IP):
    """Nobody listens, or whoever comes from there is closed on at once."""
    with contextlib.suppress(ConnectionError):
        with come(net, where, source) as connection:
            return rig.read_all(connection, 5) in ((b"", "rst"), (b"", "fin"))
    return True


def exchange(net, proxy_port):
    """What a client of a BIND sees, ports left out: nc is who connects back."""
    connection, first = bind(net, port=proxy_port)
    assert first[0] == 0, first
    child = subprocess.Popen(["nc", "-N", "-s", rig.INTERNET_IP, first[1], str(first[2])],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             preexec_fn=net.internet.enter)
    second = socks_udp.read_reply(connection)
    child.stdin.write(b"220 welcome\n")
    child.stdin.flush()
    assert rig.exactly(connection, 12) == b"220 welcome\n"
    connection.sendall(b"goodbye\n")
    connection.shutdown(socket.SHUT_WR)
    out, _ = child.communicate(timeout=15)
    assert rig.read_all(connection, 10) == (b"", "fin")
    assert first[2] and second[2] and first[2] != second[2]
    return first[:2], second[:2], out


def test_row_047_as_dante_does(net, tmp, daemon):
    theirs_process = rig.Process(net.server, [program("danted"), "-f", dante_config(
        tmp, "danted-bind.conf", rig.SERVER_IP, DANTE, rig.SERVER_INNER_IP)], os.path.join(tmp, "danted-bind.log"))
    try:
        rig.wait_for(lambda: rig.accepts(net.server, rig.SERVER_IP, DANTE), 15, "dante")
        theirs = exchange(net, DANTE)
    finally:
        theirs_process.stop()
    ours = exchange(net, PORT)
    assert ours == theirs == ((0, rig.SERVER_INNER_IP), (0, rig.INTERNET_IP), b"goodbye\n")
    daemon.wait_idle()


def moves(connection, other, size):
    """Both directions at once, compared by their hashes."""
    sent = [os.urandom(rig.MIB) * (size // rig.MIB) for _ in range(2)]
    sums = [None, None]

    def feed(end, data):
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)

    def take(index, end):
        data, how = rig.read_all(end, 60)
        sums[index] = (hashlib.sha256(data).digest(), how)

    threads = [threading.Thread(target=feed, args=(connection, sent[0])),
               threading.Thread(target=feed, args=(other, sent[1])),
               threading.Thread(target=take, args=(0, other)),
               threading.Thread(target=take, args=(1, connection))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [(hashlib.sha256(data).digest(), "fin") for data in sent]


def test_row_047_relayed_by_the_kernel(net, daemon):
    """After the second reply it is a session like any other; early bytes come first."""
    connection, (_, host, port) = bind(net)
    connection.sendall(b"early")
    with come(net, (host, port)) as other:
        assert socks_udp.read_reply(connection) == (0,) + other.getsockname()
        assert rig.exactly(other, 5) == b"early"
        assert refuses(net, (host, port)), "one connection, no second"
        moves(connection, other, 8 * rig.MIB)
    daemon.wait_idle()
    assert re.findall(r" uplink=\d+/(\w+) downlink=\d+/(\w+) ", daemon.log())[-1] == (
        "splice", "splice")


def test_row_047_behind_tls(net, daemon, authority):
    with tls(net, authority, SECURE) as connection:
        reply, host, port = socks_udp.request(connection, 2, rig.INTERNET_IP, 0, credentials=ALICE)
        assert reply == 0
        connection.sendall(b"early")
        with come(net, (host, port)) as other:
            assert socks_udp.read_reply(connection) == (0,) + other.getsockname()
            other.sendall(b"220\r\n")
            assert rig.exactly(connection, 5) == b"220\r\n"
            connection.sendall(b" and late")
            assert rig.exactly(other, 14) == b"early and late"
    daemon.wait_idle()


@contextlib.contextmanager
def behind_dante(net, tmp, authority=None):
    """A daemon whose only way out is dante in the internet; in TLS with an authority."""
    up = outbound("socks", UPSTREAM) if not authority else outbound(
        "socks", STUNNEL, tls={"serverName": "proxy.test", "disableSystemRoot": True,
                               "certificates": [{"certificateFile": authority.file,
                                                 "usage": "verify"}]})
    config = {"inbounds": [bind_inbound(VIA)], "outbounds": [up, FREEDOM]}
    made = rig.Culvert(net.server, tmp, config, "bind-up", engine="splice",
                       wait=((rig.SERVER_IP, VIA),))
    with contextlib.ExitStack() as stack:
        stack.enter_context(rig.running(made))
        stack.enter_context(dante(net, tmp))
        if authority:
            stack.enter_context(stunnel(net, tmp, authority, UPSTREAM))
        yield made


def test_row_047_through_a_proxy(net, tmp, daemon):
    """The command is passed on; the proxy listens, and what comes there is relayed."""
    with behind_dante(net, tmp) as made:
        connection, (reply, host, port) = bind(net, SECOND_IP, VIA)
        assert (reply, host) == (0, PROXY_IP)
        connection.sendall(b"early")
        with come(net, (host, port), SECOND_IP) as other:
            assert socks_udp.read_reply(connection) == (0,) + other.getsockname()
            assert rig.exactly(other, 5) == b"early"
            moves(connection, other, 4 * rig.MIB)
        made.wait_idle()
        assert re.findall(r" uplink=\d+/(\w+) downlink=\d+/(\w+) ", made.log())[-1] == (
            "splice", "splice")
        connection, (reply, host, port) = bind(net, SECOND_IP, VIA)
        connection.close()
        made.wait_idle()


def test_row_047_through_a_proxy_in_tls(net, tmp, daemon, authority):
    with behind_dante(net, tmp, authority):
        connection, (reply, host, port) = bind(net, SECOND_IP, VIA)
        assert (reply, host) == (0, PROXY_IP)
        with come(net, (host, port), SECOND_IP) as other:
            other.sendall(b"220 at once\r\n")
            assert socks_udp.read_reply(connection) == (0,) + other.getsockname()
            assert rig.exactly(connection, 13) == b"220 at once\r\n"
            for source, sink in ((connection, other), (other, connection)):
                data = os.urandom(rig.MIB)  # no half-close: stunnel has none
                threading.Thread(target=source.sendall, args=(data,), daemon=True).start()
                assert rig.exactly(sink, rig.MIB) == data


def test_row_047_only_the_expected(net, daemon):
    """A stranger is closed on and waiting goes on; 0.0.0.0 expects anybody; names are resolved."""
    connection, (_, host, port) = bind(net)
    before = daemon.reason_count("peer_stranger")
    assert refuses(net, (host, port), SECOND_IP)
    daemon.wait_reason("peer_stranger", before)
    with come(net, (host, port)) as other:
        assert socks_udp.read_reply(connection)[:2] == (0, rig.INTERNET_IP)
        other.sendall(b"x")
        assert rig.exactly(connection, 1) == b"x"
    connection, (_, host, port) = bind(net, "0.0.0.0")
    with come(net, (host, port), SECOND_IP):
        assert socks_udp.read_reply(connection)[:2] == (0, SECOND_IP)
    connection, (reply, host, port) = bind(net, "localhost")
    assert reply == 0 and refuses(net, (host, port))
    assert bind(net, "nothing.invalid")[1][0] == 4
    daemon.wait_idle()


def test_row_047_ends_with_the_client(net, daemon):
    for end in (lambda c: c.close(), rig.reset, lambda c: c.shutdown(socket.SHUT_WR)):
        connection, (_, host, port) = bind(net)
        end(connection)
        rig.wait_for(lambda: not daemon.sessions(), 5, "the session ends")
        rig.wait_for(lambda: refuses(net, (host, port)), 5, "nobody listens on %d" % port)
    daemon.wait_idle()


def test_row_047_refused(net, daemon):
    assert bind(net, port=OFF)[1][0] == 7
    assert bind(net, "10.77.2.66")[1][0] == 2  # blackhole
    assert bind(net, "10.77.2.67")[1][0] == 7  # a proxy would have to listen
    assert bind(net, rig.INTERNET_IP, GUARDED)[1][0] == 2
    connection, (reply, host, port) = bind(net, "0.0.0.0", GUARDED)
    assert reply == 0 and refuses(net, (host, port))  # a private address is nobody there
    connection.close()
    daemon.wait_idle()
