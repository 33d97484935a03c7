# SPDX-License-Identifier: MIT
"""Names in clients' first bytes: what they decide, and that no byte is lost looking for them.

Each outbound leads to one exit, which says its name once it has seen what it was to see.
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import threading
import time

import pytest
import rig

SOCKS, MIXED, HTTP, VLESS, TLS, LOCAL, GUARD = 1121, 1122, 1123, 1124, 1125, 1126, 1127
EXITS = {"red": 8231, "green": 8232, "blue": 8233}
BANNER = 8234
END = b"that is all"
ADDRESS = "192.0.2.9"  # leads nowhere by itself
SNIFFING = {"enabled": True, "destOverride": ["http", "tls"]}
RULES = [{"domain": ["domain:red.example"], "outboundTag": "red"},
         {"protocol": ["tls"], "outboundTag": "green"},
         {"protocol": ["http"], "outboundTag": "blue"}]


class Exits:
    """Reads until the client ends or says END, then answers "NAME " and all of it."""

    def __init__(self, namespace):
        self.listeners = []
        for name, port in EXITS.items():
            with namespace:
                listener = socket.create_server((rig.INTERNET_IP, port), backlog=64)
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, name), daemon=True).start()
        with namespace:
            listener = socket.create_server((rig.INTERNET_IP, BANNER))
        self.listeners.append(listener)
        threading.Thread(target=self.greet, args=(listener,), daemon=True).start()

    def accept(self, listener, name):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self.serve, args=(connection, name), daemon=True).start()

    @staticmethod
    def serve(connection, name):
        with contextlib.suppress(OSError), connection:
            text = b""
            while not text.endswith(END) and (block := connection.recv(65536)):
                text += block
                if text.startswith(b"GET /say") and text.endswith(b"\r\n\r\n"):
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + name.encode())
                    return
            connection.sendall(name.encode() + b" " + text)

    @staticmethod
    def greet(listener):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.sendall(b"220 hello\r\n")
                with contextlib.suppress(OSError):
                    connection.sendall(b"250 " + connection.recv(100))
                connection.close()

    def close(self):
        rig.close_listeners(self.listeners)


@pytest.fixture(scope="module")
def exits(net):
    one = Exits(net.internet)
    yield one
    one.close()


def inbound(tag, port, protocol="socks", sniffing=SNIFFING, stream=None, **settings):
    made = {"tag": tag, "listen": rig.SERVER_IP, "port": port, "protocol": protocol,
            "settings": settings, "sniffing": sniffing}
    return dict(made, streamSettings=stream) if stream else made


def config(target, rules=RULES):
    certificate = {"certificateFile": target.certificate, "keyFile": target.key}
    return {
        "inbounds": [
            inbound("socks", SOCKS), inbound("mixed", MIXED, "mixed"), inbound("http", HTTP, "http"),
            inbound("vless", VLESS, "vless", decryption="none", clients=[
                {"id": rig.PLAIN_USER, "email": "plain@test"}]),
            inbound("tls", TLS, stream={"security": "tls", "tlsSettings": {
                "certificates": [certificate]}})],
        "outbounds": [{"tag": "direct", "protocol": "freedom",
                       "settings": {"finalRules": [{"action": "allow"}]}}] + [
            {"tag": name, "protocol": "freedom", "settings": {
                "redirect": "%s:%d" % (rig.INTERNET_IP, port),
                "finalRules": [{"action": "allow"}]}} for name, port in EXITS.items()],
        "routing": {"rules": rules}}


@pytest.fixture(scope="module")
def daemon(net, tmp, target, exits):
    one = rig.Culvert(net.server, tmp, config(target), "sniff", wait=((rig.SERVER_IP, SOCKS),))
    with rig.running(one):
        yield one


def hello(name, padding=0):
    """A ClientHello as OpenSSL writes it."""
    context = ssl.create_default_context()
    if padding:
        context.set_alpn_protocols(["x" * 200 + "%03d" % i for i in range(padding // 204)])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def request(name):
    return b"POST /x HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\nhello" % name.encode()


def connected(net, host=ADDRESS, port=443, inbound_port=SOCKS):
    connection = rig.tcp(net.client, rig.SERVER_IP, inbound_port)
    assert rig.socks_handshake(connection, host, port) == 0
    return connection


def outcome(connection, text, pieces=None, end=True):
    """What the exit says to it: its name; every byte must have arrived."""
    for piece in pieces or [text]:
        connection.sendall(piece)
    if end:
        connection.shutdown(socket.SHUT_WR)
    answer, how = rig.read_all(connection)
    connection.close()
    if not answer:
        return how
    name, _, rest = answer.partition(b" ")
    assert rest == text, (rest[:80], len(rest), len(text))
    return name.decode()


CASES = [(hello("red.example"), "red"), (hello("a.RED.example"), "red"),
         (hello("other.example"), "green"), (request("red.example"), "red"),
         (request("red.example:8080"), "red"), (request("other.example"), "blue")]


@pytest.mark.parametrize("text, way", CASES, ids=["%s-%d" % (way, i)
                                                  for i, (_, way) in enumerate(CASES)])
def test_row_111_address_and_name(net, daemon, text, way):
    for port in (SOCKS, MIXED):
        assert outcome(connected(net, inbound_port=port), text) == way


def test_row_111_pieces(net, daemon):
    """Byte by byte; a hello of 16 KiB; one of several records."""
    for text in (hello("red.example"), request("red.example")):
        assert outcome(connected(net), text, [text[i:i + 1] for i in range(len(text))]) == "red"
    large = hello("red.example", 15000)
    assert len(large) > 15000
    assert outcome(connected(net), large, [large[i:i + 999] for i in range(0, len(large), 999)]) \
        == "red"
    one = hello("red.example")
    records = one[:3] + b"\0\x40" + one[5:69] + one[:3] + (len(one) - 69).to_bytes(2, "big") + one[69:]
    assert outcome(connected(net), records) == "red"
    more = one + os.urandom(300000)
    assert outcome(connected(net), more) == "red"


def test_row_111_early_bytes_in_one_flight(net, daemon):
    """Whoever does not wait for answers loses nothing, and is not told before its upstream is there."""
    text = hello("red.example")
    connection = rig.tcp(net.client, rig.SERVER_IP, SOCKS)
    connection.sendall(b"\5\1\0" + b"\5\1\0\1" + socket.inet_aton(ADDRESS) + b"\1\xbb" + text)
    assert rig.exactly(connection, 12)[:4] == b"\5\0\5\0"
    assert outcome(connection, text, [b""]) == "red"


def test_row_111_server_speaks_first(net, daemon):
    connection = connected(net, rig.INTERNET_IP, BANNER)
    start = time.monotonic()
    assert rig.exactly(connection, 11) == b"220 hello\r\n"
    assert time.monotonic() - start < 3
    connection.sendall(b"EHLO me\r\n")
    assert rig.read_all(connection)[0] == b"250 EHLO me\r\n"
    # and whoever does not wait for the banner
    connection = connected(net, rig.INTERNET_IP, BANNER)
    connection.sendall(b"EHLO me\r\n")
    assert rig.read_all(connection)[0] == b"220 hello\r\n250 EHLO me\r\n"


def test_row_111_half_hello_then_silence(net, daemon):
    """What is no name in time goes where the address leads: here nowhere but the banner's port."""
    connection = connected(net, rig.INTERNET_IP, BANNER)
    connection.sendall(hello("red.example")[:50])
    assert rig.read_all(connection)[0].startswith(b"220 hello\r\n250 \x16\3\1")


def test_row_111_half_closed_and_early_end(net, daemon):
    text = hello("red.example")[:60]
    connection = connected(net, rig.INTERNET_IP, EXITS["blue"])
    assert outcome(connection, text) == "blue"  # no name: by its address
    connection = connected(net, rig.INTERNET_IP, EXITS["blue"])
    connection.shutdown(socket.SHUT_WR)
    assert rig.read_all(connection) == (b"blue ", "fin")
    for _ in range(3):
        connection = connected(net)
        connection.sendall(text)
        rig.reset(connection)
    daemon.wait_idle()


def test_row_111_refused_later_is_reset(net, daemon):
    """"Succeeded" was said to get the first bytes: what follows must not look like an end."""
    connection = connected(net, rig.INTERNET_IP, 9)
    assert rig.read_all(connection) == (b"", "rst")


def test_row_111_http_connect(net, daemon):
    for port in (HTTP, MIXED):
        for attempt in range(5):
            connection = rig.tcp(net.client, rig.SERVER_IP, port)
            connection.sendall(b"CONNECT %s:443 HTTP/1.1\r\nHost: x\r\n\r\n" % ADDRESS.encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            try:
                assert outcome(connection, hello("red.example")) == "red"
                break
            except ConnectionResetError:
                assert attempt < 4, "never in time"  # we took longer than the look does


def test_row_111_http_forward(net, tmp, target, daemon):
    """A forwarded request says its name itself; that it is HTTP is known as well."""
    for name, way in (("red.example", b"red"), ("other.example", b"blue")):
        status, body, error = rig.curl(net.client, "-x", "http://%s:%d" % (rig.SERVER_IP, HTTP),
                                       "http://%s/say" % name)
        assert (status, body) == (0, way), error


def test_row_111_vless(net, tmp, daemon):
    """A client of ours in front: the name comes behind the request or later."""
    stream = {"network": "raw", "security": "none"}
    client = rig.Culvert(net.client, tmp, rig.client_config(LOCAL, VLESS, stream,
                                                            user=rig.PLAIN_USER, flow=""),
                         "sniff-client", wait=(("127.0.0.1", LOCAL),))
    with rig.running(client):
        for text, way in CASES:
            connection = rig.tcp(net.client, "127.0.0.1", LOCAL)
            assert rig.socks_handshake(connection, ADDRESS, 443) == 0
            assert outcome(connection, text) == way
        connection = rig.tcp(net.client, "127.0.0.1", LOCAL)
        assert rig.socks_handshake(connection, rig.INTERNET_IP, BANNER) == 0
        assert rig.exactly(connection, 11) == b"220 hello\r\n"


def test_row_111_vision(net, tmp, keys, target, exits):
    """Over REALITY and Vision, where the hello decides what becomes of the layers."""
    server = rig.server_config(4461, rig.reality_stream(keys.private, target.address))
    server["inbounds"][0]["sniffing"] = SNIFFING
    full = config(target)
    server["outbounds"], server["routing"] = full["outbounds"], full["routing"]
    daemon = rig.Culvert(net.server, tmp, server, "sniff-vision", wait=((rig.SERVER_IP, 4461),))
    client = rig.Culvert(net.client, tmp, rig.client_config(
        LOCAL, 4461, rig.reality_client_stream(keys.public)), "sniff-client",
        wait=(("127.0.0.1", LOCAL),))
    with rig.running(client, daemon):
        for text, way in CASES:
            connection = rig.tcp(net.client, "127.0.0.1", LOCAL)
            assert rig.socks_handshake(connection, ADDRESS, 443) == 0
            assert outcome(connection, text + os.urandom(100000)) == way
        connection = rig.tcp(net.client, "127.0.0.1", LOCAL)
        assert rig.socks_handshake(connection, rig.INTERNET_IP, BANNER) == 0
        assert rig.exactly(connection, 11) == b"220 hello\r\n"


def test_row_111_behind_tls(net, daemon, authority):
    """Records are opened to look; an end in them is still an end."""
    context = ssl.create_default_context(cafile=authority.file)
    for text, way in CASES[:1] + CASES[-1:]:
        for size in (1, len(text)):
            connection = context.wrap_socket(rig.tcp(net.client, rig.SERVER_IP, TLS),
                                             server_hostname=rig.SITE)
            assert rig.socks_handshake(connection, ADDRESS, 443) == 0
            for i in range(0, len(text), size):
                connection.sendall(text[i:i + size])
            connection.sendall(END)
            assert rig.read_all(connection)[0] == way.encode() + b" " + text + END
            connection.close()
    connection = context.wrap_socket(rig.tcp(net.client, rig.SERVER_IP, TLS),
                                     server_hostname=rig.SITE)
    assert rig.socks_handshake(connection, rig.INTERNET_IP, EXITS["blue"]) == 0
    connection.sendall(b"GET /")  # a beginning, and close_notify
    connection.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        connection.unwrap()
    # OpenSSL reads no more now; that the exit saw the end and answered is in the log
    rig.wait_for(lambda: "uplink=5/layers downlink=10/layers" in daemon.log(), 10, "both directions")
    daemon.wait_idle()


def test_row_111_real_tls_end_to_end(net, tmp, internet, target, exits):
    """curl knows an address that leads nowhere; the rule knows the name."""
    new = config(target, rules=[{"domain": ["full:%s" % rig.WEB], "outboundTag": "web"}])
    new["outbounds"].append({"tag": "web", "protocol": "freedom", "settings": {
        "redirect": "%s:0" % rig.INTERNET_IP, "finalRules": [{"action": "allow"}]}})
    new["inbounds"] = [inbound("web", GUARD)]
    daemon = rig.Culvert(net.server, tmp, new, "sniff-web", wait=((rig.SERVER_IP, GUARD),))
    with rig.running(daemon):
        for port in (443, 444):
            status, body, error = rig.curl(
                net.client, "--cacert", internet.ca, "-x", "socks5://%s:%d" % (rig.SERVER_IP, GUARD),
                "--resolve", "%s:%d:%s" % (rig.WEB, port, ADDRESS),
                "https://%s:%d/medium" % (rig.WEB, port))
            assert status == 0, error
            assert len(body) == internet.sizes["medium"]


@contextlib.contextmanager
def guarded(net, tmp, target, **sniffing):
    new = {"inbounds": [inbound("guarded", GUARD, sniffing=dict(SNIFFING, **sniffing))],
           "outbounds": [{"tag": "direct", "protocol": "freedom"},
                         {"tag": "green", "protocol": "freedom", "settings": {
                             "redirect": "%s:%d" % (rig.INTERNET_IP, EXITS["green"]),
                             "finalRules": [{"action": "allow"}]}}],
           "routing": {"rules": [{"domain": ["full:green.example"], "outboundTag": "green"}]}}
    daemon = rig.Culvert(net.server, tmp, new, "sniff-guard", wait=((rig.SERVER_IP, GUARD),))
    with rig.running(daemon):
        yield daemon


def test_row_111_guard(net, tmp, target, exits):
    """A name in a hello leads to private addresses no more than one in a request; and for rules only,
    it does not make the address any better."""
    with guarded(net, tmp, target) as daemon:
        for name in ("localhost", "a.localhost"):
            before = daemon.reason_count("private")
            connection = connected(net, "198.51.100.1", EXITS["blue"], GUARD)
            assert outcome(connection, hello(name), end=False) == "rst"
            daemon.wait_reason("private", before)
        before = daemon.reason_count("private")  # an address in a Host field replaces nothing
        connection = connected(net, "127.0.0.1", 80, GUARD)
        assert outcome(connection, request("198.51.100.1"), end=False) == "rst"
        daemon.wait_reason("private", before)
    with guarded(net, tmp, target, routeOnly=True) as daemon:
        connection = connected(net, "127.0.0.1", 80, GUARD)
        assert outcome(connection, hello("public.example"), end=False) == "rst"
        daemon.wait_reason("private")
        connection = connected(net, ADDRESS, 443, GUARD)
        assert outcome(connection, hello("green.example")) == "green"


def test_row_111_route_only_and_excluded(net, tmp, target, exits):
    """routeOnly: the rule sees the name, the address is dialled. Excluded names are not even seen."""
    new = {"inbounds": [inbound("only", GUARD, sniffing=dict(SNIFFING, routeOnly=True,
                                                             domainsExcluded=["full:gone.example"]))],
           "outbounds": [{"tag": "block", "protocol": "blackhole"},
                         {"tag": "direct", "protocol": "freedom",
                          "settings": {"finalRules": [{"action": "allow"}]}}],
           "routing": {"rules": [{"domain": ["full:red.example", "full:gone.example"],
                                  "outboundTag": "direct"}]}}
    daemon = rig.Culvert(net.server, tmp, new, "sniff-only", wait=((rig.SERVER_IP, GUARD),))
    with rig.running(daemon):
        for name, way in (("red.example", "green"), ("other.example", "rst"),
                          ("gone.example", "rst")):
            connection = connected(net, rig.INTERNET_IP, EXITS["green"], GUARD)
            assert outcome(connection, hello(name), end=way == "green") == way, name


@pytest.mark.parametrize("sniffing, rule, says", [
    (dict(SNIFFING, destOverride=["http", "tls", "quic"]), {}, 'destOverride[2]: "quic" is not'),
    (dict(SNIFFING, destOverride=["fakedns"]), {}, '"fakedns" is not supported'),
    (dict(SNIFFING, metadataOnly=True), {}, "metadataOnly: not supported"),
    (SNIFFING, {"protocol": ["bittorrent"]}, '"bittorrent" is not supported'),
])
def test_row_111_refused(tmp, sniffing, rule, says):
    new = {"inbounds": [inbound("socks", SOCKS, sniffing=sniffing)],
           "outbounds": [{"tag": "direct", "protocol": "freedom"}]}
    if rule:
        new["routing"] = {"rules": [dict(rule, outboundTag="direct")]}
    path = os.path.join(tmp, "sniff-refused.json")
    with open(path, "w") as file:
        json.dump(new, file)
    done = subprocess.run([os.path.join(rig.build_dir(), "culvertd"), "-t", "-c", path],
                          capture_output=True, text=True)
    assert done.returncode == 2 and says in done.stderr, done.stderr
