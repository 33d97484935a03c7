# SPDX-License-Identifier: MIT
"""VLESS carried by WebSocket, HTTPUpgrade and HTTP/2: our own pair, behind nginx, and against other
implementations."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import select
import socket
import threading
import time
import types

import pytest
import reality_client
import rig
import websocket_peer as peer
from socks_udp import Association, Echo
from test_vless import V2ray, v2

PATH = "/a7f3/stream"
SITE_PORT = 8091
INSIDE = "10.77.1.1"  # where what is behind nginx listens: private, so in clear text
HAS_V2RAY = pytest.mark.skipif(not rig.find_program("v2ray"),
                               reason="v2ray (Debian package) is not installed")
SETTINGS = {"ws": "wsSettings", "httpupgrade": "httpupgradeSettings", "h2": "httpSettings"}


def carried(network, security, path=PATH, host=rig.SITE, **tls):
    """streamSettings of either side; `tls` its tlsSettings."""
    stream = {"network": network, "security": security, SETTINGS[network]: {"path": path}}
    if host:
        stream[SETTINGS[network]]["host"] = [host] if network == "h2" else host
    if security == "tls":
        stream["tlsSettings"] = tls
    return stream


def server_tls(target, **more):
    return dict({"certificates": [{"certificateFile": target.certificate,
                                   "keyFile": target.key}]}, **more)


def client_tls(target, **more):
    return dict({"serverName": rig.SITE, "fingerprint": "chrome", "certificates": [
        {"certificateFile": target.ca, "usage": "verify"}]}, **more)


CLIENTS = [{"id": rig.PLAIN_USER, "email": "plain@test"}]


def server_of(port, stream, fallbacks=None, protocol="vless"):
    config = rig.server_config(port, stream, fallbacks, clients=CLIENTS)
    if protocol == "vmess":
        config["inbounds"][0].update(protocol="vmess", settings={"clients": CLIENTS})
    return config


def client_of(socks_port, port, stream, protocol="vless"):
    config = rig.client_config(socks_port, port, stream, user=rig.PLAIN_USER, flow="")
    if protocol == "vmess":
        config["outbounds"][0]["protocol"] = "vmess"
        config["outbounds"][0]["settings"]["vnext"][0]["users"] = [
            {"id": rig.PLAIN_USER, "security": "aes-128-gcm"}]
    return config


def start_server(net, tmp, port, stream, fallbacks=None, namespace=None, protocol="vless", **more):
    return rig.Culvert(namespace or net.server, tmp, server_of(port, stream, fallbacks, protocol),
                       "server", wait=((rig.SERVER_IP, port),), **more)


def start_client(net, tmp, socks_port, port, stream, protocol="vless", **more):
    return rig.Culvert(net.client, tmp, client_of(socks_port, port, stream, protocol), "client",
                       wait=(("127.0.0.1", socks_port),), **more)


def fetch(net, internet, socks_port, name="medium", schemes=("http", "https")):
    for scheme in schemes:
        status, body, error = rig.curl(net.client, "-k", "-x", "socks5h://127.0.0.1:%d" %
                                       socks_port, "%s://%s/%s" % (scheme, rig.INTERNET_IP, name))
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes[name], (scheme, len(body))


def upload(net, internet, socks_port, name="medium"):
    _, body, error = rig.curl(
        net.client, "-x", "socks5h://127.0.0.1:%d" % socks_port, "-T",
        os.path.join(internet.root, name), "http://%s/sink" % rig.INTERNET_IP)
    assert body.decode() == "%d %s" % (internet.sizes[name], internet.hashes[name]), error


# ---- our own pair ------------------------------------------------------------------------------


@pytest.mark.parametrize("security", ["tls", "none"])
@pytest.mark.parametrize("network, query", [
    ("ws", ""), ("ws", "?ed=2048"), ("httpupgrade", ""), ("httpupgrade", "?ed=2048"), ("h2", "")])
def test_pair(net, tmp, target, internet, network, query, security):
    server = start_server(net, tmp, 4501, carried(network, security, **(
        server_tls(target) if security == "tls" else {})))
    client = start_client(net, tmp, 1151, 4501, carried(network, security, PATH + query, **(
        client_tls(target) if security == "tls" else {})))
    with rig.running(server, client):
        fetch(net, internet, 1151)
        upload(net, internet, 1151)
        fetch(net, internet, 1151, "big", ("http",))
        client.wait_idle()
        server.wait_idle()
        for daemon in (server, client):
            assert not daemon.reason_count("decode") + daemon.reason_count("truncated"), \
                daemon.reasons()


def test_row_089_vmess_behind_a_pipelined_request(net, tmp, internet):
    server = start_server(net, tmp, 4530, carried("httpupgrade", "none"), protocol="vmess")
    client = start_client(net, tmp, 1167, 4530, carried("httpupgrade", "none", PATH + "?ed=2048"),
                          protocol="vmess")
    with rig.running(server, client):
        fetch(net, internet, 1167)
        upload(net, internet, 1167)
        client.wait_idle()
        server.wait_idle()


def at_once(net, tmp, internet, socks_port, count=8):
    """`count` downloads that begin together; each is read all the time."""
    paths = [os.path.join(tmp, "at-once-%d" % index) for index in range(count)]
    running = [rig.curl(net.client, "-x", "socks5h://127.0.0.1:%d" % socks_port, "-o", path,
                        "http://%s/medium" % rig.INTERNET_IP, background=True) for path in paths]
    for child, path in zip(running, paths):
        _, error = child.communicate(timeout=60)
        assert child.returncode == 0, error
        with open(path, "rb") as body:
            assert hashlib.sha256(body.read()).hexdigest() == internet.hashes["medium"]
        os.unlink(path)


@pytest.mark.parametrize("network", ["ws", "httpupgrade", "h2"])
def test_streams_and_datagrams_by_a_transport(net, tmp, internet, network):
    """What VLESS carries beside a session's bytes: Mux.Cool, and datagrams."""
    server = start_server(net, tmp, 4531, carried(network, "none"))
    config = client_of(1168, 4531, carried(network, "none"))
    config["outbounds"][0]["mux"] = {"enabled": True, "concurrency": 4, "xudpConcurrency": -1}
    config["inbounds"][0]["settings"].update(udp=True, ip="127.0.0.1")
    client = rig.Culvert(net.client, tmp, config, "client", wait=(("127.0.0.1", 1168),))
    with rig.running(server, client), contextlib.ExitStack() as stack:
        echo = Echo(net.internet, rig.INTERNET_IP, 9141)
        stack.callback(echo.stop)
        at_once(net, tmp, internet, 1168)
        with Association(net.client, ("127.0.0.1", 1168)) as association:
            for turn in range(3):
                text = b"%d " % turn + b"x" * 1000
                _, port, data = association.ask(rig.INTERNET_IP, 9141, text)
                assert port == 9141 and data.endswith(text)
        upload(net, internet, 1168)
        for daemon in (server, client):
            assert not daemon.reason_count("decode") + daemon.reason_count("truncated"), \
                daemon.reasons()


def test_httpupgrade_leaves_the_leg_to_the_kernel(net, tmp, target, internet):
    """After the 101 nothing of it is left: engines take over as on a bare connection."""
    server = start_server(net, tmp, 4502, carried("httpupgrade", "none"), engine="splice")
    client = start_client(net, tmp, 1152, 4502, carried("httpupgrade", "none"), engine="splice")
    with rig.running(server, client):
        fetch(net, internet, 1152, "big", ("http",))
        for daemon in (server, client):
            assert daemon.counter("downlink_handovers") > 0
        client.wait_idle()


def raw_tunnel(net, socks_port, host=rig.INTERNET_IP, port=80):
    connection = rig.tcp(net.client, "127.0.0.1", socks_port)
    assert rig.socks_handshake(connection, host, port) == 0
    return connection


@pytest.mark.parametrize("network", ["ws", "h2", "httpupgrade"])
def test_half_close_keeps_the_answer(net, tmp, target, network):
    """Who has said all still hears all, also by WebSocket, which has no half-close."""
    page = os.urandom(8 * rig.MIB)
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8095))

    def serve():
        connection, _ = listener.accept()
        with connection:
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                asked += connection.recv(1000)
            connection.sendall(page)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    server = start_server(net, tmp, 4503, carried(network, "tls", **server_tls(target)))
    client = start_client(net, tmp, 1153, 4503, carried(network, "tls", **client_tls(target)))
    with rig.running(server, client):
        connection = raw_tunnel(net, 1153, rig.INTERNET_IP, 8095)
        connection.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer, end = rig.read_all(connection, 30)
        assert (end, len(answer)) == ("fin", len(page))
        assert answer == page
        thread.join(10)
        client.wait_idle()
        server.wait_idle()
    listener.close()


@pytest.mark.parametrize("network, way", [
    ("h2", ""), ("httpupgrade", ""), ("h2", "by a slow way")])
def test_an_upload_after_the_answer(net, tmp, network, way):
    """The destination has said all and still listens: where there is a half-close it is kept.

    On a slow way the end of what was said is long in no buffer of ours when the carrier still
    hears what it may send: it must not answer that with a reset, which would overtake the end.
    """
    heard = hashlib.sha256()
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8094))

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(1))
            connection.shutdown(socket.SHUT_WR)
            block = connection.recv(65536)
            while block:
                heard.update(block)
                block = connection.recv(65536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    server = start_server(net, tmp, 4528, carried(network, "none"))
    client = start_client(net, tmp, 1165, 4527 if way else 4528, carried(network, "none"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        if way:
            stack.callback(Chopper(net.server, 4527, 4528, pause=0.001).stop)
        stack.enter_context(rig.running(server, client))
        connection = raw_tunnel(net, 1165, rig.INTERNET_IP, 8094)
        connection.sendall(b"!")
        assert rig.read_all(connection, 10) == (b"!", "fin")
        data = os.urandom((3 if way else 20) * rig.MIB)
        connection.settimeout(60)
        connection.sendall(data)
        connection.close()
        thread.join(60)
        assert heard.digest() == hashlib.sha256(data).digest()
        client.wait_idle()
        server.wait_idle()


def test_who_has_said_all_is_not_waited_for_forever(net, tmp):
    """A WebSocket's other side cannot know that the client has said all: silence ends both."""
    heard = []

    def serve(connection, line, fields):
        peer.agree(connection, fields)
        read_request(connection)
        heard.append(peer.read_frame(connection))

    server = peer.Server(net.server, rig.SERVER_IP, 4529, serve)
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1166, 4529, carried("ws", "none"), user=rig.PLAIN_USER, flow="",
        policy={"levels": {"0": {"downlinkOnly": 2}}}), wait=(("127.0.0.1", 1166),))
    with rig.running(client):
        connection = raw_tunnel(net, 1166)
        connection.sendall(b"GET /never HTTP/1.0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert rig.read_all(connection, 10) == (b"", "fin")
        rig.wait_for(lambda: heard, 10, "the close frame")
        assert heard[0][0] == peer.CLOSE and heard[0][2] == b"\x03\xe8"
        client.wait_idle()
    server.stop()


@pytest.mark.parametrize("network", ["ws", "h2"])
def test_requests_of_one_connection(net, tmp, internet, network):
    """Our HTTP proxy takes another stream for each of them, and leaves the last in order."""
    server = start_server(net, tmp, 4532, carried(network, "none"))
    config = client_of(1169, 4532, carried(network, "none"))
    config["inbounds"][0].update(protocol="http", settings={})
    client = rig.Culvert(net.client, tmp, config, "client", wait=(("127.0.0.1", 1169),))
    with rig.running(server, client):
        url = "http://%s/small" % rig.INTERNET_IP
        status, body, error = rig.curl(net.client, "-x", "http://127.0.0.1:1169", url, url, url)
        assert status == 0, error
        assert len(body) == 3 * internet.sizes["small"]
        client.wait_idle()
        server.wait_idle()
        assert not server.reason_count("truncated"), server.reasons()


@pytest.mark.parametrize("network", ["ws", "h2"])
def test_an_end_without_goodbye_is_no_end(net, tmp, target, internet, network):
    """The carrier breaks off: the application sees a reset, not a short page."""
    server = start_server(net, tmp, 4504, carried(network, "none"))
    client = start_client(net, tmp, 1154, 4504, carried(network, "none"))
    with rig.running(client):
        connection = raw_tunnel(net, 1154)
        connection.sendall(b"GET /paced/big HTTP/1.0\r\n\r\n")
        assert connection.recv(1000)
        server.child.kill()
        server.child.wait()
        assert rig.read_all(connection, 20)[1] == "rst"
        client.wait_idle()


def test_a_wrong_path_is_told(net, tmp, target, internet):
    """Without early data the refusal is known before the application is told anything."""
    server = start_server(net, tmp, 4505, carried("ws", "none"))
    client = start_client(net, tmp, 1155, 4505, carried("ws", "none", "/elsewhere"))
    with rig.running(server, client):
        connection = rig.tcp(net.client, "127.0.0.1", 1155)
        assert rig.socks_handshake(connection, rig.INTERNET_IP, 80) != 0
        client.wait_reason("noupgrade")


class Chopper:
    """Between a client and a server: pieces of at most `piece` bytes, RST both ways after `cut`."""

    def __init__(self, namespace, port, server_port, piece=1, cut=None, pause=0):
        with namespace:
            self.listener = socket.create_server((rig.SERVER_IP, port), backlog=16)
        if pause:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.namespace, self.server_port, self.piece, self.cut = namespace, server_port, piece, cut
        self.pause = pause
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(20)
        with self.namespace:
            server = socket.create_connection((rig.SERVER_IP, self.server_port), 20)
        with client, server:
            try:
                self._pass({client: server, server: client})
            except OSError:  # of one side, or made by us: the other one's, too
                rig.reset(client)
                rig.reset(server)

    def _pass(self, other):
        passed = dict.fromkeys(other, 0)
        while passed:
            for one in select.select(list(passed), [], [], 20)[0]:
                if self.cut is not None and passed[one] >= self.cut:
                    raise ConnectionResetError
                data = one.recv(self.piece if passed[one] < 4000 or self.cut else 65536)
                if data:
                    other[one].sendall(data)
                    passed[one] += len(data)
                    time.sleep(self.pause)
                else:
                    other[one].shutdown(socket.SHUT_WR)
                    del passed[one]

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.mark.parametrize("query", ["", "?ed=2048"])
@pytest.mark.parametrize("network", ["ws", "httpupgrade", "h2"])
def test_one_byte_at_a_time(net, tmp, internet, network, query):
    server = start_server(net, tmp, 4524, carried(network, "none"))
    client = start_client(net, tmp, 1163, 4525, carried(network, "none", PATH + query))
    chopper = Chopper(net.server, 4525, 4524)
    try:
        with rig.running(server, client):
            fetch(net, internet, 1163, "small", ("http",))
            client.wait_idle()
            server.wait_idle()
    finally:
        chopper.stop()


@pytest.mark.parametrize("network", ["ws", "httpupgrade", "h2"])
def test_reset_in_every_state(net, tmp, internet, network):
    """Wherever the carrier breaks off, both ends notice, nothing is left, and the next one works."""
    server = start_server(net, tmp, 4526, carried(network, "none"))
    client = start_client(net, tmp, 1164, 4527, carried(network, "none", PATH))
    with rig.running(server, client):
        for cut in list(range(0, 700, 45)) + [1000, 20000, 100000]:
            chopper = Chopper(net.server, 4527, 4526, piece=45 if cut < 1000 else 4096, cut=cut)
            try:
                status, body, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1164",
                                           "http://%s/medium" % rig.INTERNET_IP, timeout=20)
                assert status != 0 and len(body) < internet.sizes["medium"], cut
            finally:
                chopper.stop()
            rig.wait_for(lambda: not client.sessions() and not server.sessions(), 10,
                         "both are rid of what broke after %d bytes" % cut)
        chopper = Chopper(net.server, 4527, 4526, piece=65536)
        fetch(net, internet, 1164, "small", ("http",))
        chopper.stop()


# ---- what strangers see ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(net, tmp):
    directory = os.path.join(tmp, "transport-site")
    nginx = rig.Nginx(net.server, directory, """
        server { listen 127.0.0.1:%d; access_log %s/site.log; add_header X-Site yes;
                 location = / { return 200 "the site\n"; } location / { return 404; } }""" % (
        SITE_PORT, directory), wait=(("127.0.0.1", SITE_PORT),))
    yield types.SimpleNamespace(log=directory + "/site.log")
    nginx.stop()


def exchange(net, address, port, request, namespace=None, seconds=10):
    connection = rig.tcp(namespace or net.client, address, port)
    connection.sendall(request)
    answer, end = rig.read_all(connection, seconds)
    connection.close()
    return re.sub(rb"Date: [^\r]*", b"Date: -", answer), end


def upgrade(path=PATH, host=rig.SITE, method="GET", more="", version="13"):
    return ("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: %s\r\n%s\r\n" %
            (method, path, host, version, more)).encode()


STRANGERS = [
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    upgrade("/other", more="X: 1\r\n").replace(b"Connection: Upgrade", b"Connection: close"),
    upgrade(PATH, "other.test").replace(b"Connection: Upgrade", b"Connection: close"),
]


@pytest.mark.parametrize("network", ["ws", "httpupgrade"])
def test_row_074_strangers_see_the_site(net, tmp, site, network):
    """With a fallback every other path, host and form gets exactly what the site itself answers."""
    server = start_server(net, tmp, 4506, carried(network, "none"), [{"dest": SITE_PORT}])
    with rig.running(server):
        for request in STRANGERS:
            expected = exchange(net, "127.0.0.1", SITE_PORT, request, net.server)
            assert exchange(net, rig.SERVER_IP, 4506, request) == expected, request
        assert server.reason_count("noupgrade") == len(STRANGERS)


def test_h2_strangers_see_the_site(net, tmp, target):
    """HTTP/2 for another path goes to a fallback for h2, HTTP/1.1 to another one."""
    directory = os.path.join(tmp, "h2-site")
    nginx = rig.Nginx(net.server, directory, """
        server { listen 127.0.0.1:8092 http2; return 200 "over h2c $request_uri\n"; }
        server { listen 127.0.0.1:8093; return 200 "over http1 $request_uri\n"; }""",
                      wait=(("127.0.0.1", 8092), ("127.0.0.1", 8093)))
    server = start_server(net, tmp, 4507, carried("h2", "tls", **server_tls(target)),
                          [{"alpn": "h2", "dest": 8092}, {"dest": 8093}])
    with rig.running(server, nginx):
        for option, expected in (("--http2", b"over h2c /q\n"), ("--http1.1", b"over http1 /q\n")):
            status, body, error = rig.curl(
                net.client, option, "--cacert", target.ca, "--resolve",
                "%s:4507:%s" % (rig.SITE, rig.SERVER_IP), "https://%s:4507/q" % rig.SITE)
            assert (status, body) == (0, expected), error
        server.wait_idle()


def answer_to(net, port, request):
    """(head without its date, body as long as announced) of what our server answers."""
    connection = rig.tcp(net.client, rig.SERVER_IP, port)
    connection.sendall(request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += rig.exactly(connection, 1)
    length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
    body = rig.exactly(connection, length)
    connection.close()
    return re.sub(rb"Date: [^\r]*", b"Date: -", head), body


def test_row_076_answers_without_a_site(net, tmp):
    """As the original's web server: 404 for another host or path, then 400 and 405 with words."""
    server = start_server(net, tmp, 4508, carried("ws", "none"))
    not_found = b"HTTP/1.1 404 Not Found\r\nDate: -\r\nContent-Length: 0\r\n\r\n"
    with rig.running(server):
        for request, expected in (
                (upgrade("/other"), not_found),
                (upgrade(PATH, "other.test"), not_found),
                (upgrade("/other", method="POST"), not_found),
                (upgrade(PATH + "/"), not_found)):
            assert answer_to(net, 4508, request) == (expected, b""), request
        for request, status, words in (
                (upgrade(version="8"), b"400", b"Bad Request\n"),
                (upgrade(method="POST"), b"405", b"Method Not Allowed\n"),
                (upgrade().replace(b"Upgrade: websocket\r\n", b""), b"400", b"Bad Request\n"),
                (upgrade().replace(b"dGhl", b"dGhlx"), b"400", b"Bad Request\n")):
            head, body = answer_to(net, 4508, request)
            assert head.startswith(b"HTTP/1.1 " + status), head
            assert b"\r\nSec-Websocket-Version: 13\r\n" in head and body == words
        answer, _ = exchange(net, rig.SERVER_IP, 4508, b"GET / HTTP/1.1\r\nHost: x\r\nX: " +
                             b"y" * 20000 + b"\r\n\r\n", seconds=10)
        assert answer.startswith(b"HTTP/1.1 431 "), answer
        # after a 404 the connection serves on, as a web server's
        connection = rig.tcp(net.client, rig.SERVER_IP, 4508)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % rig.SITE.encode())
        assert peer.read_head(connection)[0] == "HTTP/1.1 404 Not Found"
        assert peer.Client(connection, PATH, rig.SITE).agreed()
        # who says nothing is closed on after 4 s
        silent = rig.tcp(net.client, rig.SERVER_IP, 4508)
        assert rig.read_all(silent, 20) == (b"", "fin")


def test_httpupgrade_closes_on_strangers(net, tmp):
    server = start_server(net, tmp, 4509, carried("httpupgrade", "none"))
    with rig.running(server):
        for request in (upgrade("/other"), upgrade(PATH, "other.test"),
                        b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (PATH.encode(),
                                                                  rig.SITE.encode())):
            assert exchange(net, rig.SERVER_IP, 4509, request) == (b"", "fin")


# ---- our server, byte by byte ------------------------------------------------------------------


def get(path="/small"):
    return reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80) + \
        b"GET %s HTTP/1.0\r\n\r\n" % path.encode()


@pytest.fixture(scope="module")
def ws_server(net, tmp, internet):
    server = start_server(net, tmp, 4510, carried("ws", "none"))
    with rig.running(server):
        yield server


def dial(net, **fields):
    client = peer.Client(rig.tcp(net.client, rig.SERVER_IP, 4510), PATH, rig.SITE, **fields)
    assert client.agreed(), (client.status, client.fields)
    return client


def expect_small(client, internet):
    answer = client.stream()
    assert answer[:2] == b"\0\0"
    assert hashlib.sha256(answer.split(b"\r\n\r\n", 1)[1]).hexdigest() == internet.hashes["small"]
    assert client.controls[-1] == (peer.CLOSE, b"\x03\xe8")


def test_row_076_what_the_server_agrees_to(net, ws_server):
    client = dial(net, Sec_WebSocket_Extensions="permessage-deflate", Origin="https://evil.test")
    assert sorted(client.fields) == ["connection", "sec-websocket-accept", "upgrade"]
    client.connection.close()


@pytest.mark.parametrize("how", ["whole", "bytes", "text", "fragments", "long lengths", "pings"])
def test_row_075_frames_to_the_server(net, ws_server, internet, how):
    client, request = dial(net), get()
    if how == "whole":
        client.send(request)
    elif how == "bytes":
        for byte in peer.frame(peer.BINARY, request, mask=b"\1\2\3\4"):
            client.connection.sendall(bytes([byte]))
    elif how == "text":
        client.send(request, peer.TEXT)
    elif how == "fragments":
        client.send(request[:5], fin=False)
        client.send(b"", peer.CONTINUATION, fin=False)
        for byte in request[5:-1]:
            client.send(bytes([byte]), peer.CONTINUATION, fin=False)
        client.send(request[-1:], peer.CONTINUATION)
    elif how == "long lengths":
        client.send(request[:10], length_bytes=2)
        client.send(request[10:], length_bytes=8)
    else:
        client.send(request[:30], fin=False)
        client.send(b"are you there", peer.PING)
        client.send(b"", peer.PING)
        client.send(b"unasked", peer.PONG)
        client.send(request[30:], peer.CONTINUATION)
    expect_small(client, internet)
    if how == "pings":
        assert client.controls[:2] == [(peer.PONG, b"are you there"), (peer.PONG, b"")]
    client.connection.close()


def test_row_075_large_frames_to_the_server(net, ws_server, internet):
    """An upload in frames of 70 000 bytes, some of them fragmented, checked at the other end."""
    client = dial(net)
    body = os.urandom(70000 * 8)
    client.send(reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 8001) +
                b"POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
    for at in range(0, len(body), 140000):
        client.send(body[at:at + 70000], fin=False)
        client.send(body[at + 70000:at + 140000], peer.CONTINUATION)
    answer = client.stream(2)
    while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < 70:
        answer += client.stream(1)
    assert b"%d %s" % (len(body), hashlib.sha256(body).hexdigest().encode()) in answer
    client.send(b"\x03\xe8", peer.CLOSE)
    client.stream()
    assert client.controls == [(peer.CLOSE, b"\x03\xe8")]
    assert rig.read_all(client.connection, 10)[1] == "fin"


@pytest.mark.parametrize("breach", [
    peer.frame(peer.BINARY, b"x"), peer.frame(peer.BINARY, b"x", mask=b"abcd", reserved=0x40),
    peer.frame(3, b"x", mask=b"abcd"), peer.frame(peer.CONTINUATION, b"x", mask=b"abcd"),
    peer.frame(peer.PING, b"x" * 126, mask=b"abcd"),
    peer.frame(peer.PING, b"x", fin=False, mask=b"abcd")])
def test_row_075_breaches_are_answered_with_1002(net, ws_server, breach):
    client = dial(net)
    client.connection.sendall(breach)
    client.stream()
    assert client.controls == [(peer.CLOSE, b"\x03\xea")]
    assert rig.read_all(client.connection, 8)[1] == "fin"
    client.connection.close()
    ws_server.wait_idle()


def test_early_data_to_the_server(net, ws_server, internet):
    """In either alphabet, padded or not; echoed; what is no early data is a subprotocol, ignored."""
    plain = base64.urlsafe_b64encode(get()).decode()
    for text in (plain.rstrip("="), plain, base64.b64encode(get()).decode()):
        client = dial(net, Sec_WebSocket_Protocol=text)
        assert client.fields["sec-websocket-protocol"] == text
        expect_small(client, internet)
        client.connection.close()
    client = dial(net, Sec_WebSocket_Protocol="graphql-ws, other")
    assert "sec-websocket-protocol" not in client.fields
    client.send(get())
    expect_small(client, internet)
    client.connection.close()
    # a part of the header early, the rest in a frame
    text = base64.urlsafe_b64encode(get()[:20]).decode().rstrip("=")
    client = dial(net, Sec_WebSocket_Protocol=text)
    client.send(get()[20:])
    expect_small(client, internet)
    client.connection.close()


def test_who_it_is_by_x_forwarded_for(net, tmp, internet):
    """Only from a request that shows that it came through the web server in front."""
    stream = dict(carried("ws", "none"), sockopt={"trustedXForwardedFor": ["X-Front", "CF-Ray"]})
    server = start_server(net, tmp, 4523, stream)
    with rig.running(server):
        for fields, expected in (
                ({"X_Forwarded_For": "192.0.2.7"}, rig.CLIENT_IP),
                ({"X_Forwarded_For": "192.0.2.7 , 10.0.0.1", "cf_ray": "1"}, "192.0.2.7"),
                ({"X_Forwarded_For": "2001:db8::7", "X_Front": "x"}, "2001:db8::7"),
                ({"X_Forwarded_For": "nobody", "X_Front": "x"}, rig.CLIENT_IP),
                ({"X_Front": "x"}, rig.CLIENT_IP)):
            client = peer.Client(rig.tcp(net.client, rig.SERVER_IP, 4523), PATH, rig.SITE, **fields)
            assert client.agreed()
            client.send(get("/paced/big"))
            client.stream(100)
            shown = json.dumps(server.sessions())
            assert expected in shown, (fields, shown)
            assert (expected == "192.0.2.7") == ("192.0.2.7" in shown)
            client.connection.close()
            server.wait_idle()


def test_no_vless_inside(net, tmp, site):
    """Whoever knows path and host but no user is closed on, not passed to the site."""
    server = start_server(net, tmp, 4511, carried("ws", "none"), [{"dest": SITE_PORT}])
    with rig.running(server):
        client = peer.Client(rig.tcp(net.client, rig.SERVER_IP, 4511), PATH, rig.SITE)
        assert client.agreed()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.stream() == b""
        assert client.controls == [(peer.CLOSE, b"\x03\xe8")]


def test_httpupgrade_keeps_pipelined_bytes(net, tmp, internet):
    server = start_server(net, tmp, 4512, carried("httpupgrade", "none"))
    request = ("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n" %
               (PATH, rig.SITE)).encode()
    with rig.running(server):
        for pieces in ([request + get()], [request, get()],
                       [bytes([b]) for b in request + get()]):
            connection = rig.tcp(net.client, rig.SERVER_IP, 4512)
            for piece in pieces:
                connection.sendall(piece)
            line, fields = peer.read_head(connection)
            assert line == "HTTP/1.1 101 Switching Protocols"
            assert fields == {"connection": "Upgrade", "upgrade": "websocket"}
            answer, end = rig.read_all(connection)
            assert answer[:2] == b"\0\0" and end == "fin"
            assert hashlib.sha256(answer.split(b"\r\n\r\n", 1)[1]).hexdigest() == \
                internet.hashes["small"]
            connection.close()


# ---- our client, byte by byte ------------------------------------------------------------------

ANSWER = b"HTTP/1.0 200 OK\r\n\r\n" + bytes(range(256)) * 400


def read_request(connection, data=b""):
    """The VLESS header and an HTTP request out of frames; pings and the like are not expected."""
    header = reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80)
    while not data.endswith(b"\r\n\r\n"):
        opcode, fin, payload, masked = peer.read_frame(connection)
        assert (opcode, fin, masked) == (peer.BINARY, True, True)
        data += payload
    assert data.startswith(header), data[:40]
    return data[len(header):]


def ask(net, tmp, serve, path=PATH, port=4513, **options):
    """One request by our client to a server of the test's; (curl status, body, the server)."""
    server = peer.Server(net.server, rig.SERVER_IP, port, serve)
    client = start_client(net, tmp, 1156, port, carried("ws", "none", path, **options))
    try:
        with rig.running(client):
            status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1156",
                                           "http://%s/x" % rig.INTERNET_IP, timeout=20)
            reasons = client.reasons()
    finally:
        server.stop()
    return types.SimpleNamespace(status=status, body=body, error=error, reasons=reasons,
                                 requests=server.requests)


def finish(connection):
    connection.sendall(peer.frame(peer.CLOSE, b"\x03\xe8"))
    opcode, _, payload, masked = peer.read_frame(connection)
    assert (opcode, payload, masked) == (peer.CLOSE, b"\x03\xe8", True)


@pytest.mark.parametrize("how", ["whole", "text", "fragments", "pings", "with the answer", "small"])
def test_row_073_075_frames_to_the_client(net, tmp, how):
    def serve(connection, line, fields):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = b"\0\0" + ANSWER
        peer.agree(connection, fields)
        assert read_request(connection).startswith(b"GET /x HTTP/1.1\r\n")
        if how == "whole":
            connection.sendall(peer.frame(peer.BINARY, said))
        elif how == "text":
            connection.sendall(peer.frame(peer.TEXT, said))
        elif how == "fragments":
            connection.sendall(peer.frame(peer.BINARY, said[:1], fin=False))
            connection.sendall(peer.frame(peer.CONTINUATION, b"", fin=False))
            connection.sendall(peer.frame(peer.CONTINUATION, said[1:70001], fin=False))
            connection.sendall(peer.frame(peer.CONTINUATION, said[70001:]))
        elif how == "pings":
            connection.sendall(peer.frame(peer.BINARY, said[:100], fin=False))
            connection.sendall(peer.frame(peer.PING, b"ping me"))
            assert peer.read_frame(connection) == (peer.PONG, True, b"ping me", True)
            connection.sendall(peer.frame(peer.CONTINUATION, said[100:]))
        elif how == "small":
            for at in range(0, len(said), 1000):
                connection.sendall(peer.frame(peer.BINARY, said[at:at + 1000], length_bytes=8))
        else:
            connection.sendall(peer.frame(peer.BINARY, said) + peer.frame(peer.CLOSE, b"\x03\xe8"))
            assert peer.read_frame(connection)[0] == peer.CLOSE
            return
        finish(connection)

    result = ask(net, tmp, serve)
    assert (result.status, result.body) == (0, ANSWER.split(b"\r\n\r\n", 1)[1]), result.error


def test_row_076_what_the_client_says(net, tmp):
    def serve(connection, line, fields):
        peer.agree(connection, fields)
        read_request(connection)
        connection.sendall(peer.frame(peer.BINARY, b"\0\0" + ANSWER))
        finish(connection)

    result = ask(net, tmp, serve, path="/x?y=1&ed=0")
    line, fields = result.requests[0]
    assert line == "GET /x?y=1 HTTP/1.1"
    assert fields["host"] == rig.SITE
    assert fields["connection"] == "Upgrade" and fields["upgrade"] == "websocket"
    assert fields["sec-websocket-version"] == "13"
    assert len(base64.b64decode(fields["sec-websocket-key"])) == 16
    assert "Mozilla/5.0" in fields["user-agent"]
    assert "sec-websocket-protocol" not in fields and "sec-websocket-extensions" not in fields


@pytest.mark.parametrize("wrong", ["accept", "status", "upgrade", "extension", "garbage", "eof"])
def test_row_076_answers_the_client_refuses(net, tmp, wrong):
    def serve(connection, line, fields):
        if wrong == "accept":
            peer.agree(connection, fields, Sec_WebSocket_Accept=peer.accept_of("another"))
        elif wrong == "status":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        elif wrong == "upgrade":
            peer.agree(connection, fields, Upgrade="h2c")
        elif wrong == "extension":
            peer.agree(connection, fields, Sec_WebSocket_Extensions="permessage-deflate")
        elif wrong == "garbage":
            connection.sendall(b"\0\1\2\3\r\n\r\n")
        else:
            return
        try:
            assert connection.recv(1) == b"", "it went on"
        except ConnectionError:
            pass

    result = ask(net, tmp, serve)
    assert result.status == 97, (result.status, result.error)  # refused by SOCKS, not begun
    assert any("upstream" in label and count for label, count in result.reasons.items())


def test_early_data_of_the_client(net, tmp):
    """The first write goes into the handshake, whole, and is not repeated."""
    early = []

    def serve(connection, line, fields):
        text = fields["sec-websocket-protocol"]
        assert "=" not in text and "+" not in text and "/" not in text
        early.append(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        peer.agree(connection, fields, Sec_WebSocket_Protocol=text)
        assert read_request(connection, early[-1]).startswith(b"GET /x HTTP/1.1\r\n")
        connection.sendall(peer.frame(peer.BINARY, b"\0\0" + ANSWER))
        finish(connection)

    result = ask(net, tmp, serve, path=PATH + "?ed=2048")
    assert (result.status, result.body) == (0, ANSWER.split(b"\r\n\r\n", 1)[1]), result.error
    assert result.requests[0][0] == "GET %s HTTP/1.1" % PATH
    assert len(early) == 1 and b"GET /x" in early[0]


def test_more_than_early_data(net, tmp):
    """A first write that is too long is not sent early at all."""
    def serve(connection, line, fields):
        assert "sec-websocket-protocol" not in fields
        peer.agree(connection, fields)
        read_request(connection)
        connection.sendall(peer.frame(peer.BINARY, b"\0\0" + ANSWER))
        finish(connection)

    assert ask(net, tmp, serve, path=PATH + "?ed=10").status == 0


def test_the_end_without_close_frame(net, tmp):
    """Half a page, then FIN: no end of the page for curl."""
    def serve(connection, line, fields):
        peer.agree(connection, fields)
        read_request(connection)
        connection.sendall(peer.frame(peer.BINARY, b"\0\0" + ANSWER))

    result = ask(net, tmp, serve)
    assert result.status != 0 and result.reasons.get("upstream_truncated"), result.reasons


def test_row_073_websockets_of_python(net, tmp):
    """python3-websockets as server: it checks our handshake, masks and frames by itself."""
    websockets = pytest.importorskip("websockets")
    port, heard, ready = 4514, [], threading.Event()
    with net.server:
        listener = socket.create_server((rig.SERVER_IP, port))
    loop = asyncio.new_event_loop()

    async def serve(connection, *_):
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += await connection.recv()
        heard.append(data)
        await (await connection.ping(b"are you there"))
        await connection.send([b"\0\0" + ANSWER[:1000], ANSWER[1000:70000], ANSWER[70000:]])

    async def run():
        async with websockets.serve(serve, sock=listener):
            ready.set()
            await stop

    stop = loop.create_future()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    client = start_client(net, tmp, 1157, port, carried("ws", "none"))
    try:
        with rig.running(client):
            status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1157",
                                           "http://%s/x" % rig.INTERNET_IP, timeout=20)
            assert (status, body) == (0, ANSWER.split(b"\r\n\r\n", 1)[1]), error
            client.wait_idle()
    finally:
        loop.call_soon_threadsafe(stop.set_result, None)
        thread.join(10)
    assert len(heard) == 1


# ---- behind nginx ------------------------------------------------------------------------------


def front(net, tmp, target, name, inner_port, port):
    """nginx with TLS in front of a WebSocket server; every other path is 404."""
    return rig.Nginx(net.server, os.path.join(tmp, "front-" + name), """
        server { listen %s:%d ssl; server_name %s; ssl_certificate %s; ssl_certificate_key %s;
            ssl_protocols TLSv1.3;
            location = %s { proxy_pass http://%s:%d; proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
                proxy_set_header Host $host; proxy_read_timeout 300; }
            location / { return 404; } }""" % (
        rig.SERVER_IP, port, rig.SITE, target.certificate, target.key, PATH, INSIDE, inner_port),
        wait=((rig.SERVER_IP, port),))


def client_to(port, stream):
    return rig.client_config(1158, port, stream, user=rig.PLAIN_USER, flow="")


def v2ws(stream, is_server):
    """The older dialect: the host is a header, the network h2 is called http."""
    stream = json.loads(json.dumps(stream))
    if "wsSettings" in stream:
        host = stream["wsSettings"].pop("host", None)
        if host and not is_server:
            stream["wsSettings"]["headers"] = {"Host": host}
    if stream["network"] == "h2":
        stream["network"] = "http"
    for key in ("fingerprint",):
        stream.get("tlsSettings", {}).pop(key, None)
    return stream


@pytest.mark.parametrize("inner", ["ours", pytest.param("v2ray", marks=HAS_V2RAY)])
@pytest.mark.parametrize("outer", ["ours", pytest.param("v2ray", marks=HAS_V2RAY)])
def test_row_073_074_081_behind_nginx(net, tmp, target, internet, inner, outer):
    """TLS of an authority that the client knows, by nginx; the server behind it speaks WebSocket."""
    stream = carried("ws", "none", host=None)
    settings = rig.server_config(4516, stream, listen=INSIDE, clients=CLIENTS)
    if inner == "ours":
        server = rig.Culvert(net.server, tmp, settings, "inner", wait=((INSIDE, 4516),))
    else:
        settings["inbounds"][0]["streamSettings"] = v2ws(stream, True)
        server = V2ray(net.server, tmp, v2(settings), (INSIDE, 4516))
    nginx = front(net, tmp, target, "%s-%s" % (inner, outer), 4516, 4517)
    outgoing = carried("ws", "tls", **client_tls(target))
    if outer == "ours":
        client = rig.Culvert(net.client, tmp, client_to(4517, outgoing), "outer",
                             wait=(("127.0.0.1", 1158),))
    else:
        outgoing["tlsSettings"]["alpn"] = ["http/1.1"]
        client = V2ray(net.client, tmp, v2(client_to(4517, v2ws(outgoing, False))),
                       ("127.0.0.1", 1158))
    with rig.running(server, nginx, client):
        fetch(net, internet, 1158)
        upload(net, internet, 1158)
        status, body, _ = rig.curl(
            net.client, "--cacert", target.ca, "-w", "%{http_code}", "-o", "/dev/null", "--resolve",
            "%s:4517:%s" % (rig.SITE, rig.SERVER_IP), "https://%s:4517/other" % rig.SITE)
        assert (status, body) == (0, b"404")


def test_row_081_who_has_no_known_authority(net, tmp, target, internet):
    """The same without the authority: refused before a byte of VLESS is said."""
    server = start_server(net, tmp, 4518, carried("ws", "tls", **server_tls(target)))
    client = start_client(net, tmp, 1159, 4518, carried("ws", "tls", serverName=rig.SITE))
    with rig.running(server, client):
        status, _, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1159",
                                "http://%s/" % rig.INTERNET_IP)
        assert status == 97
        client.wait_reason("certificate")
        assert server.counter("accepted") >= 1


# ---- v2ray 4.34 --------------------------------------------------------------------------------


@HAS_V2RAY
@pytest.mark.parametrize("ours", ["server", "client"])
@pytest.mark.parametrize("network, security", [("ws", "tls"), ("ws", "none"), ("h2", "tls")])
def test_row_073_074_079_v2ray(net, tmp, target, internet, network, security, ours):
    alpn = ["h2"] if network == "h2" else ["http/1.1"]
    tls = security == "tls"
    stream = carried(network, security, **(server_tls(target, alpn=alpn) if tls else {}))
    outgoing = carried(network, security, **(client_tls(target, alpn=alpn) if tls else {}))
    if ours == "server":
        server = start_server(net, tmp, 4519, stream)
        client = V2ray(net.client, tmp, v2(client_of(1160, 4519, v2ws(outgoing, False))),
                       ("127.0.0.1", 1160))
    else:
        server = V2ray(net.server, tmp, v2(server_of(4519, v2ws(stream, True))),
                       (rig.SERVER_IP, 4519))
        client = start_client(net, tmp, 1160, 4519, outgoing)
    with rig.running(server, client):
        # at once, while there is no connection yet that could be shared
        at_once(net, tmp, internet, 1160)
        fetch(net, internet, 1160)
        upload(net, internet, 1160)


def test_row_079_h2_of_nginx_and_curl(net, tmp, target, internet):
    """nginx's HTTP/2 refuses our client's request as a page; curl's finds no path at our server."""
    directory = os.path.join(tmp, "h2-nginx")
    nginx = rig.Nginx(net.server, directory, """
        server { listen %s:4520 ssl http2; server_name %s; ssl_certificate %s;
                 ssl_certificate_key %s; ssl_protocols TLSv1.3; location / { return 404; } }""" % (
        rig.SERVER_IP, rig.SITE, target.certificate, target.key), wait=((rig.SERVER_IP, 4520),))
    client = start_client(net, tmp, 1161, 4520, carried("h2", "tls", **client_tls(target)))
    server = start_server(net, tmp, 4521, carried("h2", "tls", **server_tls(target)))
    with rig.running(nginx, client, server):
        connection = rig.tcp(net.client, "127.0.0.1", 1161)
        assert rig.socks_handshake(connection, rig.INTERNET_IP, 80) != 0
        client.wait_reason("noupgrade")

        def is_logged():
            with open(directory + "/access.log") as log:
                return '"PUT %s HTTP/2.0" 404' % PATH in log.read()

        rig.wait_for(is_logged, 10, "nginx logs the request")
        status, body, error = rig.curl(
            net.client, "--http2", "--cacert", target.ca, "-w", "%{http_code} %{http_version}",
            "--resolve", "%s:4521:%s" % (rig.SITE, rig.SERVER_IP),
            "https://%s:4521/other" % rig.SITE)
        assert (status, body) == (0, b"404 2"), error


# ---- links -------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["ws", "httpupgrade", "h2"])
def test_links_carry_the_transport(net, tmp, target, internet, build, network):
    """`culvert link` of the server, `culvert link --parse` of that: a client that works."""
    import subprocess

    server = start_server(net, tmp, 4522, carried(network, "tls", **server_tls(target)))
    with rig.running(server):
        link = subprocess.run(
            [build + "/culvert", "link", "plain@test", "-c", server.config_path, "--no-qr",
             "--host", rig.SITE], check=True, capture_output=True, text=True).stdout.splitlines()[0]
        assert "type=%s&" % {"h2": "http"}.get(network, network) in link
        assert "path=%2Fa7f3%2Fstream" in link and "host=site.test" in link
        outbound = json.loads(subprocess.run(
            [build + "/culvert", "link", "--parse", link], check=True, capture_output=True,
            text=True).stdout)
        outbound["settings"]["address"] = rig.SERVER_IP
        outbound["streamSettings"]["tlsSettings"]["certificates"] = [
            {"certificateFile": target.ca, "usage": "verify"}]
        config = rig.client_config(1162, 4522, {})
        config["outbounds"] = [outbound]
        client = rig.Culvert(net.client, tmp, config, "linked", wait=(("127.0.0.1", 1162),))
        with rig.running(client):
            fetch(net, internet, 1162)
