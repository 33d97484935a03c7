# SPDX-License-Identifier: MIT
"""VLESS without flow: over REALITY, over TLS, bare; users; fallbacks; another implementation."""

import hashlib
import json
import os
import types

import pytest
import reality_client
import rig

SITE_PORT, PROXY_PORT, ALPN_PORT = 8081, 8082, 8083


@pytest.fixture(scope="module")
def fake_site(net, tmp):
    """Plain HTTP behind the fallbacks: one without, one with PROXY protocol, one for HTTP/2."""
    directory = os.path.join(tmp, "fake-site")
    nginx = rig.Nginx(net.server, directory, """
        log_format line '$request|$proxy_protocol_addr';
        server { listen 127.0.0.1:%d; access_log %s/plain.log line; return 200 "fallback\n"; }
        server { listen 127.0.0.1:%d proxy_protocol; access_log %s/proxy.log line;
                 return 200 "seen $proxy_protocol_addr\n"; }
        server { listen 127.0.0.1:%d http2; return 200 "over h2c\n"; }""" % (
        SITE_PORT, directory, PROXY_PORT, directory, ALPN_PORT),
        wait=(("127.0.0.1", SITE_PORT), ("127.0.0.1", ALPN_PORT)))
    yield types.SimpleNamespace(log=directory + "/plain.log", proxy_log=directory + "/proxy.log")
    nginx.stop()


FALLBACKS = [
    {"dest": SITE_PORT},
    {"path": "/proxy1", "dest": "127.0.0.1:%d" % PROXY_PORT, "xver": 1},
    {"path": "/proxy2", "dest": "127.0.0.1:%d" % PROXY_PORT, "xver": 2},
    {"alpn": "h2", "dest": ALPN_PORT},
]


def tls_stream(target, alpn=("h2", "http/1.1")):
    return {"network": "raw", "security": "tls", "tlsSettings": {
        "alpn": list(alpn), "certificates": [
            {"certificateFile": target.certificate, "keyFile": target.key}]}}


@pytest.fixture(scope="module")
def tls_server(net, tmp, target, fake_site, internet):
    daemon = rig.Culvert(net.server, tmp, rig.server_config(450, tls_stream(target), FALLBACKS),
                         "vless-tls", wait=((rig.SERVER_IP, 450),))
    with rig.running(daemon):
        yield daemon


@pytest.fixture(scope="module")
def reality_server(net, tmp, keys, target, fake_site, internet):
    daemon = rig.Culvert(net.server, tmp, rig.server_config(
        451, rig.reality_stream(keys.private, target.address), FALLBACKS), "vless-reality",
        wait=((rig.SERVER_IP, 451),))
    with rig.running(daemon):
        yield daemon


def fetch(net, target, path="/", *more):
    return rig.curl(net.client, *more, "--cacert", target.ca, "--resolve",
                    "%s:450:%s" % (rig.SITE, rig.SERVER_IP), "https://%s:450%s" % (rig.SITE, path))


def test_row_019_fallback_of_tls(net, tls_server, target, fake_site):
    status, body, error = fetch(net, target, "/some/path?q=1", "--http1.1")
    assert (status, body) == (0, b"fallback\n"), error
    with open(fake_site.log) as file:
        assert file.read().splitlines()[-1] == "GET /some/path?q=1 HTTP/1.1|-"
    tls_server.wait_idle()


def test_fallback_by_path_with_proxy_protocol(net, tls_server, target):
    for path in ("/proxy1", "/proxy2"):
        status, body, error = fetch(net, target, path, "--http1.1")
        assert (status, body) == (0, b"seen %s\n" % rig.CLIENT_IP.encode()), (path, error)


def test_fallback_by_alpn(net, tls_server, target):
    status, body, error = fetch(net, target, "/", "--http2")
    assert (status, body) == (0, b"over h2c\n"), error
    tls_server.wait_idle()


def test_row_018_fallback_of_reality(net, reality_server, keys):
    """Let in by REALITY, but what follows is not VLESS: the site behind, with every byte."""
    for first in (b"GET /behind HTTP/1.0\r\n\r\n",
                  reality_client.vless_header(rig.STRANGER, "web.test", 80)):
        tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, 451), keys.public)
        tls.send(first)
        answer = tls.recv_all()
        assert b"fallback" in answer if first[:1] == b"G" else b"400 Bad Request" in answer, answer
        tls.connection.close()
    reality_server.wait_reason("unknownuser")
    reality_server.wait_idle()


def test_short_first_bytes_fall_back(net, reality_server, keys):
    """Fewer than 18 bytes decide at once (VLESS 6, step 4)."""
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, 451), keys.public)
    tls.send(b"GET / HTTP/1.0\r\n")
    tls.send(b"\r\n")
    assert b"fallback" in tls.recv_all()
    tls.connection.close()


def vless_get(tls, user, path="/small", **header):
    tls.send(reality_client.vless_header(user, rig.INTERNET_IP, 80, **header) +
             b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
    return tls.recv_all()


def test_users_and_masked_bytes(net, reality_server, keys, internet):
    """Bytes 6 and 7 of the id are not part of it."""
    for user in (rig.PLAIN_USER, rig.PLAIN_USER[:14] + "beef" + rig.PLAIN_USER[18:]):
        tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, 451), keys.public)
        answer = vless_get(tls, user)
        assert answer[:2] == b"\0\0"
        assert hashlib.sha256(answer.split(b"\r\n\r\n", 1)[1]).hexdigest() == \
            internet.hashes["small"]
    users = {u["email"]: u for u in reality_server.ask("users")["users"]}
    assert users["plain@test"]["downlink_bytes"] >= 2 * internet.sizes["small"]
    reality_server.wait_idle()


def test_header_one_byte_per_record(net, reality_server, keys):
    """Without fallbacks in the way a header may come in any pieces once 18 bytes are there."""
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, 451), keys.public)
    data = reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80) + \
        b"GET / HTTP/1.0\r\n\r\n"
    tls.send(data[:18])
    for byte in data[18:]:
        tls.send(bytes([byte]))
    assert tls.recv_all().endswith(b"the internet\n")


@pytest.mark.parametrize("user, flow, command, reason", [
    (rig.USER, "", 1, "flow"),
    (rig.PLAIN_USER, rig.VISION, 1, "flow"),
    (rig.USER, "xtls-rprx-origin", 1, "flow"),
    (rig.USER, rig.VISION, 2, "peer"),
    (rig.PLAIN_USER, "", 9, "command"),
])
def test_refused_without_fallback(net, reality_server, keys, user, flow, command, reason):
    """A known user with the wrong flow or command is closed without a word."""
    before = reality_server.reason_count(reason)
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, 451), keys.public)
    tls.send(reality_client.vless_header(user, rig.INTERNET_IP, 80, flow=flow, command=command) +
             b"GET / HTTP/1.0\r\n\r\n")
    assert tls.recv_all() == b""
    reality_server.wait_reason(reason, before)
    reality_server.wait_idle()


def test_no_fallback_closes(net, server, keys):
    before = server.reason_count("unknownuser")
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, 443), keys.public)
    tls.send(reality_client.vless_header(rig.STRANGER, rig.INTERNET_IP, 80))
    assert tls.recv_all() == b""
    server.wait_reason("unknownuser", before)
    server.wait_idle()


@pytest.mark.parametrize("security", ["tls", "none"])
def test_pair_without_reality(net, tmp, target, internet, security):
    """Our client and server over TLS and over nothing, flow "" and (TLS) Vision."""
    listen, inside = rig.SERVER_IP, net.server
    stream = tls_stream(target) if security == "tls" else {"network": "raw", "security": "none"}
    outgoing = {"network": "raw", "security": "none"}
    if security == "tls":
        outgoing = {"network": "raw", "security": "tls", "tlsSettings": {
            "serverName": rig.SITE, "fingerprint": "chrome",
            "certificates": [{"certificateFile": target.ca, "usage": "verify"}]}}
    server = rig.Culvert(inside, tmp, rig.server_config(452, stream, listen=listen), "server",
                         wait=((listen, 452),))
    clients = []
    for number, (user, flow) in enumerate(((rig.PLAIN_USER, ""), (rig.USER, rig.VISION))):
        if flow and security == "none":
            continue
        clients.append(rig.Culvert(net.client, tmp, rig.client_config(
            1083 + number, 452, outgoing, user=user, flow=flow), "client",
            wait=(("127.0.0.1", 1083 + number),)))
    with rig.running(server, *clients):
        for number, daemon in enumerate(clients):
            for url in ("http://%s/medium", "https://%s/medium"):
                status, body, error = rig.curl(net.client, "-k", "-x", "socks5h://127.0.0.1:%d" %
                                               (1083 + number), url % rig.INTERNET_IP)
                assert status == 0, error
                assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
            daemon.wait_idle()
        server.wait_idle()


def test_untrusted_certificate(net, tmp, target, internet, authority):
    """Our TLS client refuses a server whose certificate it cannot verify."""
    server = rig.Culvert(net.server, tmp, rig.server_config(453, tls_stream(target)), "server",
                         wait=((rig.SERVER_IP, 453),))
    client = rig.Culvert(net.client, tmp, rig.client_config(1085, 453, {
        "network": "raw", "security": "tls", "tlsSettings": {"serverName": rig.SITE}},
        user=rig.PLAIN_USER, flow=""), "client", wait=(("127.0.0.1", 1085),))
    with rig.running(server, client):
        status, _, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1085",
                                "http://%s/" % rig.INTERNET_IP)
        assert status != 0
        client.wait_reason("certificate")


# ---- v2ray 4.34, as Debian packages it ----------------------------------------------------------


class V2ray(rig.Process):
    def __init__(self, namespace, tmp, config, wait):
        path = os.path.join(tmp, "v2ray-%s-%d.json" % wait)
        with open(path, "w") as file:
            json.dump(config, file)
        super().__init__(namespace, [rig.find_program("v2ray"), "-config", path], path + ".log")
        rig.wait_for(lambda: rig.accepts(namespace, *wait), 20, "v2ray listens")


def v2(config):
    """Its older dialect."""
    text = json.dumps(config).replace('"network": "raw"', '"network": "tcp"')
    return json.loads(text.replace('"flow": "", ', "").replace(', "flow": ""', ""))


@pytest.mark.skipif(not rig.find_program("v2ray"), reason="v2ray (Debian package) is not installed")
@pytest.mark.parametrize("ours", ["server", "client"])
def test_row_014_015_v2ray(net, tmp, target, internet, ours):
    server_settings = rig.server_config(454, tls_stream(target, ("http/1.1",)), clients=[
        {"id": rig.PLAIN_USER, "email": "plain@test"}])
    client_settings = rig.client_config(1087, 454, {
        "network": "raw", "security": "tls", "tlsSettings": {
            "serverName": rig.SITE, "alpn": ["http/1.1"],
            "certificates": [{"certificateFile": target.ca, "usage": "verify"}]}},
        user=rig.PLAIN_USER, flow="")
    if ours == "server":
        server = rig.Culvert(net.server, tmp, server_settings, wait=((rig.SERVER_IP, 454),))
        client = V2ray(net.client, tmp, v2(client_settings), ("127.0.0.1", 1087))
    else:
        server = V2ray(net.server, tmp, v2(server_settings), (rig.SERVER_IP, 454))
        client = rig.Culvert(net.client, tmp, client_settings, wait=(("127.0.0.1", 1087),))
    with rig.running(server, client):
        for url in ("http://%s/medium", "https://%s/medium"):
            status, body, error = rig.curl(net.client, "-k", "-x", "socks5h://127.0.0.1:1087",
                                           url % rig.INTERNET_IP)
            assert status == 0, error
            assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
        status, body, error = rig.curl(
            net.client, "-x", "socks5h://127.0.0.1:1087", "-T", internet.root + "/medium",
            "http://%s/sink" % rig.INTERNET_IP)
        assert body.decode() == "%d %s" % (internet.sizes["medium"], internet.hashes["medium"])
