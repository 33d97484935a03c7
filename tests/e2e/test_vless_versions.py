# SPDX-License-Identifier: MIT
"""VLESS 0 and 1: who serves which, what the others meet, and that nobody is led back to 0."""

import contextlib
import hashlib
import socket
import threading

import pytest
import rig
import vless_peer
from test_vless import tls_stream

SITE_PORT = 8091
BARE = {"network": "raw", "security": "none"}
SETTINGS = (0, 1, -1)
FIRST_PORT, FIRST_SITE_PORT, FIRST_TLS_PORT, PEER_PORT = 480, 483, 486, 489
SOCKS_PORT = 1180


def serves(setting, version):
    return setting == -1 or setting == version


def echo(connection):
    with connection:
        connection.settimeout(20)
        with contextlib.suppress(OSError):
            connection.sendall(b"SITE ")
            for block in iter(lambda: connection.recv(65536), b""):
                connection.sendall(block)


@pytest.fixture(scope="module")
def site(net):
    """Behind the fallbacks: says back every byte."""
    with net.server:
        listener = socket.create_server(("127.0.0.1", SITE_PORT), backlog=64)

    def run():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    yield
    rig.close_listeners([listener])


def inbound(port, setting, stream, **settings):
    return {"tag": "in-%d" % port, "listen": rig.SERVER_IP, "port": port, "protocol": "vless",
            "streamSettings": stream, "settings": dict({
                "decryption": "none", "version": setting,
                "clients": [{"id": rig.PLAIN_USER, "email": "plain@test"}]}, **settings)}


@pytest.fixture(scope="module")
def server(net, tmp, site, target, internet):
    """Each setting alone, in front of a site, and by TLS."""
    inbounds = []
    for number, setting in enumerate(SETTINGS):
        inbounds += [inbound(FIRST_PORT + number, setting, BARE),
                     inbound(FIRST_SITE_PORT + number, setting, BARE,
                             fallbacks=[{"dest": SITE_PORT}]),
                     inbound(FIRST_TLS_PORT + number, setting, tls_stream(target))]
    daemon = rig.Culvert(net.server, tmp, {
        "inbounds": inbounds, "outbounds": [{"protocol": "freedom", "settings": {
            "finalRules": [{"action": "allow"}]}}]}, "versions-server",
        wait=[(rig.SERVER_IP, port) for port in range(FIRST_PORT, FIRST_TLS_PORT + 3)])
    with rig.running(daemon):
        yield daemon


def ask(net, port, *pieces):
    """(bytes, how it ended) after all of the pieces, each in a segment of its own, and FIN."""
    connection = rig.tcp(net.client, rig.SERVER_IP, port)
    with connection:
        for piece in pieces:
            connection.sendall(piece)
        with contextlib.suppress(OSError):  # it may be closed on already
            connection.shutdown(socket.SHUT_WR)
        return rig.read_all(connection)


GET = b"GET / HTTP/1.0\r\n\r\n"


def whole_request(version, user=rig.PLAIN_USER, port=80, **more):
    return vless_peer.request(version, user, rig.INTERNET_IP, port, **more) + GET


def test_row_105_server_and_versions(net, server):
    """Who is served gets what the version says; who is not, the site, with every byte."""
    for number, setting in enumerate(SETTINGS):
        for version in (0, 1):
            request = whole_request(version)
            for first in (FIRST_PORT, FIRST_SITE_PORT):
                data, end = ask(net, first + number, request)
                if serves(setting, version):
                    page = vless_peer.answer(version, data)
                    assert page.startswith(b"HTTP/1.1 200"), (setting, version, page)
                    assert page.endswith(b"the internet\n"), (setting, version, page)
                elif first == FIRST_SITE_PORT:
                    assert data == b"SITE " + request, (setting, version)
                else:
                    assert (data, end) == (b"", "fin"), (setting, version)
    server.wait_idle()


def test_row_105_server_in_pieces(net, server):
    """One byte at a time, as far as a site allows; and the addon that TCP clients may show."""
    request = whole_request(1, addon=1)
    for number in (1, 2):
        pieces = [request[at:at + 1] for at in range(len(request))]
        data, _ = ask(net, FIRST_PORT + number, *pieces)
        assert data.endswith(b"the internet\n"), data
        data, _ = ask(net, FIRST_SITE_PORT + number, request[:18], *pieces[18:])
        assert data.endswith(b"the internet\n"), data
    server.wait_idle()


REFUSED = [
    whole_request(1, rig.STRANGER),
    whole_request(2),
    whole_request(255),
    whole_request(1, command=2),
    whole_request(1, command=3),
    vless_peer.request(1, rig.PLAIN_USER, "x", 1, command=4)[:19] + GET,
    whole_request(1, command=5),
    whole_request(1, addon=2, more=b"\0"),
    whole_request(1, addon=4),
    whole_request(1, addon=0x10, more=b"\1\1"),
    whole_request(1, addon=0x80, more=b"\0\2ab"),
    whole_request(1, port=0),
    vless_peer.request(1, rig.PLAIN_USER, rig.INTERNET_IP, 80)[:21] + b"\4" + GET,
]


def test_row_105_refused_as_a_wrong_id_is(net, server):
    """The rest of version 1, and versions beyond: the same as for a stranger, site or none."""
    for number in (1, 2):
        for request in REFUSED:
            data, _ = ask(net, FIRST_SITE_PORT + number, request)
            assert data == b"SITE " + request, (SETTINGS[number], request)
            assert ask(net, FIRST_PORT + number, request) == (b"", "fin"), request
    server.wait_idle()


def test_row_105_first_byte_tells_nothing(net, server):
    """Where version 1 is served no version is refused before the id is there."""
    connections = []
    for number in (1, 2):
        for version in (0, 1, 2, 71):
            connection = rig.tcp(net.client, rig.SERVER_IP, FIRST_PORT + number)
            connection.sendall(whole_request(version, rig.STRANGER)[:16])
            connections.append((connection, whole_request(version, rig.STRANGER)[16:17]))
    for connection, _ in connections:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    for connection, last in connections:
        connection.sendall(last)
        connection.shutdown(socket.SHUT_WR)
        assert rig.read_all(connection) == (b"", "fin")
        connection.close()
    server.wait_idle()


# ---- our client ---------------------------------------------------------------------------------


def outbound(tag, port, version, stream):
    return {"tag": tag, "protocol": "vless", "streamSettings": stream, "settings": {
        "address": rig.SERVER_IP, "port": port, "id": rig.PLAIN_USER, "encryption": "none",
        "version": version}}


def client_config(outbounds):
    """A SOCKS port for each."""
    return {"inbounds": [{"tag": "socks-%d" % number, "listen": "127.0.0.1",
                          "port": SOCKS_PORT + number, "protocol": "socks",
                          "settings": {"auth": "noauth", "udp": True}}
                         for number in range(len(outbounds))],
            "outbounds": outbounds,
            "routing": {"rules": [{"inboundTag": ["socks-%d" % number], "outboundTag": out["tag"]}
                                  for number, out in enumerate(outbounds)]}}


def start_client(net, tmp, outbounds):
    return rig.Culvert(net.client, tmp, client_config(outbounds), "versions-client",
                       wait=[("127.0.0.1", SOCKS_PORT + n) for n in range(len(outbounds))])


def fetch(net, number, path="/", *more, scheme="http"):
    return rig.curl(net.client, "-k", "-x", "socks5h://127.0.0.1:%d" % (SOCKS_PORT + number), *more,
                    "%s://%s%s" % (scheme, rig.INTERNET_IP, path))


def is_refused(net, number):
    """At once: it is closed on, nobody waits for a time-out of curl's (status 28)."""
    status, _, error = fetch(net, number, "/", "--max-time", "25")
    assert status != 28, error
    return status != 0


def test_row_105_our_client_and_server(net, tmp, server, target, internet):
    """Every setting against both clients, by TLS; what fails, fails for good."""
    stream = {"network": "raw", "security": "tls", "tlsSettings": {
        "serverName": rig.SITE, "certificates": [
            {"certificateFile": target.ca, "usage": "verify"}]}}
    pairs = [(setting, version) for setting in SETTINGS for version in (0, 1)]
    client = start_client(net, tmp, [
        outbound("%d-%d" % pair, FIRST_TLS_PORT + SETTINGS.index(pair[0]), pair[1], stream)
        for pair in pairs])
    with rig.running(client):
        for number, (setting, version) in enumerate(pairs):
            if not serves(setting, version):
                assert all(is_refused(net, number) for _ in range(4)), (setting, version)
                continue
            for scheme in ("http", "https"):
                status, body, error = fetch(net, number, "/medium", scheme=scheme)
                assert status == 0, (setting, version, error)
                assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
            status, body, error = fetch(net, number, "/sink", "-T", internet.root + "/medium")
            assert body.decode() == "%d %s" % (internet.sizes["medium"],
                                               internet.hashes["medium"]), error
        client.wait_idle()
    server.wait_idle()


def test_row_105_by_transports(net, tmp, target, internet):
    """Frames around it change nothing, and how they end a stream is an end as well."""
    name = {"serverName": rig.SITE, "certificates": [
        {"certificateFile": target.ca, "usage": "verify"}]}
    inbounds, outbounds = [], []
    for alpn, more in (("http/1.1", {"network": "ws", "wsSettings": {"path": "/p"}}),
                       ("h2", {"network": "h2", "httpSettings": {"path": "/p",
                                                                 "host": [rig.SITE]}})):
        for setting, version in ((1, 1), (0, "auto")):
            port = PEER_PORT + len(inbounds)
            inbounds.append(inbound(port, setting, dict(tls_stream(target, (alpn,)), **more)))
            outbounds.append(outbound("by-%d" % port, port, version, dict(
                {"security": "tls", "tlsSettings": name}, **more)))
    server = rig.Culvert(net.server, tmp, {
        "inbounds": inbounds, "outbounds": [{"protocol": "freedom", "settings": {
            "finalRules": [{"action": "allow"}]}}]}, "transports-server",
        wait=[(rig.SERVER_IP, settings["port"]) for settings in inbounds])
    client = start_client(net, tmp, outbounds)
    with rig.running(server, client):
        for number in (0, 2):
            status, body, error = fetch(net, number, "/medium", scheme="https")
            assert status == 0, error
            assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
        for number in (1, 3):
            works = []
            for _ in range(4):
                works.append(not is_refused(net, number))
                client.wait_idle()
            assert works == [False, False, False, True], number
        server.wait_idle()


@contextlib.contextmanager
def peers(net, *servers):
    made = [vless_peer.Server(net.server, PEER_PORT + number, rig.PLAIN_USER, *arguments)
            for number, arguments in enumerate(servers)]
    try:
        yield made
    finally:
        for peer in made:
            peer.stop()


def test_row_105_our_client_keeps_its_version(net, tmp, internet):
    """One that is told a version says that one, in one piece with the first bytes, or nothing."""
    with peers(net, ((1,),), ((0,),)) as (new, old):
        client = start_client(net, tmp, [
            outbound("new-1", PEER_PORT, 1, BARE), outbound("new-0", PEER_PORT, 0, BARE),
            outbound("old-1", PEER_PORT + 1, 1, BARE)])
        with rig.running(client):
            status, body, error = fetch(net, 0, "/medium")
            assert status == 0, error
            assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
            assert new.first[0].startswith(vless_peer.request(
                1, rig.PLAIN_USER, rig.INTERNET_IP, 80) + b"GET /medium HTTP/1.1\r\n")
            for _ in range(5):
                assert is_refused(net, 1) and is_refused(net, 2)
            client.wait_idle()
        assert new.requests == [1] + 5 * [0]
        assert old.requests == 5 * [1]


def test_row_105_no_datagrams_by_version_1(net, tmp):
    """Refused at once, not lost on the way."""
    with peers(net, ((1,),)) as (new,):
        client = start_client(net, tmp, [outbound("new-1", PEER_PORT, 1, BARE)])
        with rig.running(client):
            connection = rig.tcp(net.client, "127.0.0.1", SOCKS_PORT)
            connection.sendall(b"\5\1\0\5\3\0\1" + bytes(6))
            assert rig.exactly(connection, 4)[3] not in (0, 255)  # method 0, then REP
            client.wait_idle()
        assert new.requests == []


def test_row_105_auto(net, tmp, internet):
    """Version 0 after three closings in a row and an answer to it, said in the log; else never."""
    with peers(net, ((0,), False), ((0,), True), ((0, 1),), ((),)) as (fin, rst, both, none):
        client = start_client(net, tmp, [
            outbound("auto-%d" % number, PEER_PORT + number, "auto", BARE) for number in range(4)])
        with rig.running(client):
            for _ in range(6):
                for number in range(4):
                    is_refused(net, number)
                client.wait_idle()  # what a session has met counts when it is over
            for number in (0, 1, 2):
                status, body, error = fetch(net, number, "/small")
                assert status == 0, error
                assert hashlib.sha256(body).hexdigest() == internet.hashes["small"]
            client.wait_idle()
            log = client.log()
        assert fin.requests == rst.requests == 3 * [1] + 4 * [0]
        assert both.requests == 7 * [1]
        assert none.requests == 3 * [1] + [0] + 2 * [1]
        assert log.count("version 0, which is used for an hour") == 2
