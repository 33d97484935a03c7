# SPDX-License-Identifier: MIT
"""One port for SOCKS4, 4a, 5 and HTTP; and as the forwarder of programs that cannot do TLS."""

import hashlib
import os
import socket
import subprocess
import threading
import time

import pytest
import rig
from test_http_proxy import Raw, http_config
from test_tls_inbound import ALICE, NAME, combined, socks_config, tls, tls_stream

OPEN, CLOSED, SECURE = 1191, 1192, 1193
SOCKS_TLS, HTTP_TLS, VLESS = 1194, 1195, 1196  # of the server the forwarder leads to
LOCAL = {"socks5s": 1201, "https": 1202, "vless": 1203}
DIRECT = {"tag": "direct", "protocol": "freedom",
          "settings": {"finalRules": [{"action": "allow"}]}}


def mixed_inbound(port, accounts=None, stream=None, listen=rig.SERVER_IP):
    inbound = socks_config(port, stream or {}, accounts or ())["inbounds"][0]
    if not stream:
        del inbound["streamSettings"]
    return dict(inbound, tag="mixed-%d" % port, protocol="mixed", listen=listen)


@pytest.fixture(scope="module")
def mixed(net, tmp, authority, internet):
    config = {"inbounds": [mixed_inbound(OPEN), mixed_inbound(CLOSED, [ALICE]), mixed_inbound(
        SECURE, [ALICE], tls_stream(combined(authority, NAME)))], "outbounds": [DIRECT]}
    daemon = rig.Culvert(net.server, tmp, config, "mixed", loginFailures=0, wait=tuple(
        (rig.SERVER_IP, port) for port in (OPEN, CLOSED, SECURE)))
    with rig.running(daemon):
        yield daemon


def url(path="/"):
    return "http://%s%s" % (rig.INTERNET_IP, path)


def curl(net, scheme, port, *more, credentials="", address=rig.SERVER_IP):
    return rig.curl(net.client, "-x", "%s://%s%s:%d" % (scheme, credentials, address, port), *more)


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h", "http"])
def test_row_062_every_protocol_on_one_port(net, mixed, internet, scheme):
    status, body, error = curl(net, scheme, OPEN, url("/medium"))
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    status, body, error = curl(net, scheme, OPEN, "-p", url())
    assert (status, body) == (0, b"the internet\n"), error
    status, body, error = curl(net, scheme, OPEN, "-X", "POST", "-T",
                               os.path.join(internet.root, "medium"), url("/sink"))
    assert status == 0 and internet.hashes["medium"].encode() in body, error
    mixed.wait_idle()


def test_row_062_socks4a_resolves_here(net, mixed):
    with net.server:
        listener = socket.create_server(("127.0.0.1", 8193))
    with listener:
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"named"), daemon=True).start()
        connection = rig.tcp(net.client, rig.SERVER_IP, OPEN)
        connection.sendall(b"\4\1" + (8193).to_bytes(2, "big") + b"\0\0\0\1me\0localhost\0")
        assert rig.exactly(connection, 13) == b"\0\x5a" + bytes(6) + b"named"
    mixed.wait_idle()


def test_row_062_with_password(net, mixed, internet):
    """SOCKS4 knows none: refused. The others must log in, over TLS as well."""
    for scheme in ("socks5", "socks5h", "http"):
        for credentials, expected in (("alice:wonder%20land@", b"the internet\n"),
                                      ("alice:wrong@", None), ("", None)):
            status, body, error = curl(net, scheme, CLOSED, "-f", url(), credentials=credentials)
            assert (status == 0) == bool(expected) and (not expected or body == expected), (
                scheme, credentials, error)
    for scheme in ("socks4", "socks4a"):
        assert curl(net, scheme, CLOSED, url(), credentials="alice@")[0] == 97
    connection = rig.tcp(net.client, rig.SERVER_IP, CLOSED)
    connection.sendall(b"\4\1\0\x50" + socket.inet_aton(rig.INTERNET_IP) + b"alice\0")
    assert rig.read_all(connection, 5) == (b"\0\x5b" + bytes(6), "fin")
    mixed.wait_idle()


def test_row_062_behind_tls(net, mixed, authority, internet):
    status, body, error = rig.curl(
        net.client, "--proxy-cacert", authority.file, "--resolve",
        "%s:%d:%s" % (NAME, SECURE, rig.SERVER_IP), "-x",
        "https://alice:wonder%%20land@%s:%d" % (NAME, SECURE), url())
    assert (status, body) == (0, b"the internet\n"), error
    with tls(net, authority, SECURE) as connection:
        connection.sendall(b"\5\1\2" + b"\1\5alice\x0bwonder land" + b"\5\1\0\1" +
                           socket.inet_aton(rig.INTERNET_IP) + b"\0\x50GET / HTTP/1.0\r\n\r\n")
        answer, how = rig.read_all(connection, 5)
        assert answer.startswith(b"\5\2\1\0\5\0") and answer.endswith(b"the internet\n"), answer
    with tls(net, authority, SECURE) as connection:
        connection.sendall(b"\4\1\0\x50" + socket.inet_aton(rig.INTERNET_IP) + b"\0")
        assert rig.read_all(connection, 5) == (b"\0\x5b" + bytes(6), "fin")
    mixed.wait_idle()


@pytest.mark.parametrize("message, answer", [
    (b"\4\1\0\x09" + socket.inet_aton(rig.INTERNET_IP) + b"\0", b"\0\x5b" + bytes(6)),  # refused
    (b"\4\2\0\x50" + socket.inet_aton(rig.INTERNET_IP) + b"\0", b"\0\x5b" + bytes(6)),  # BIND
    (b"\4\1\0\x50\0\0\0\1\0nothing.invalid\0", b"\0\x5b" + bytes(6)),
    (b"\4\1\0\x50\0\0\0\1\0bad name\0", b"\0\x5b" + bytes(6)),
    (b"\4\1\0\x50\1\2\3\4" + b"x" * 300, b"\0\x5b" + bytes(6)),
    (b"\0", b""), (b"\x16\3\1", b""), (b"get / HTTP/1.1\r\n\r\n", b""), (b"\6\1\0", b"")])
def test_row_062_refused(net, mixed, message, answer):
    connection = rig.tcp(net.client, rig.SERVER_IP, OPEN)
    connection.sendall(message)
    data, how = rig.read_all(connection, 15)
    assert data == answer and how in ("fin", "rst"), (data, how)
    mixed.wait_idle()


def test_row_062_single_bytes_and_early_data(net, mixed, internet):
    address, http = socket.inet_aton(rig.INTERNET_IP), b"GET / HTTP/1.0\r\n\r\n"
    for message, answer in (
            (b"\4\1\0\x50" + address + b"me\0", b"\0\x5a" + bytes(6)),
            (b"\4\1\0\x50\0\0\0\7\0" + rig.INTERNET_IP.encode() + b"\0", b"\0\x5a" + bytes(6)),
            (b"\5\1\0\5\1\0\1" + address + b"\0\x50", b"\5\0\5\0\0\1" + bytes(6)),
            (b"CONNECT %s:80 HTTP/1.1\r\n\r\n" % rig.INTERNET_IP.encode(),
             b"HTTP/1.1 200 Connection established\r\n\r\n")):
        for step in (1, 1000):
            connection = rig.tcp(net.client, rig.SERVER_IP, OPEN)
            for at in range(0, len(message + http), step):
                connection.sendall((message + http)[at:at + step])
            data, how = rig.read_all(connection, 10)
            assert data.startswith(answer + b"HTTP/1.1 200") and how == "fin", data
            assert data.endswith(b"the internet\n")
    mixed.wait_idle()


def test_ten_seconds_for_a_request(net, mixed):
    """From accept, whatever was said until then; a minute is for those who speak no proxy protocol."""
    said = [(OPEN, b"", b""), (OPEN, b"\5", b""), (OPEN, b"\4\1", b""),
            (OPEN, b"GET http://", b"HTTP/1.1 408"), (CLOSED, b"\5\1\2", b"\5\2"),
            (SECURE, b"", b""), (SECURE, b"\x16\3\1\2\0\1", b"")]
    begun, connections = time.monotonic(), []
    for port, data, _ in said:
        connections.append(rig.tcp(net.client, rig.SERVER_IP, port))
        connections[-1].sendall(data)
    for (port, data, expected), connection in zip(said, connections):
        answer, how = rig.read_all(connection, 20)
        elapsed = time.monotonic() - begun
        assert how == "fin" and 8 < elapsed < 17, (data, how, elapsed)
        assert answer[:12] == expected, (data, answer)
    mixed.wait_idle()


# ---- the local forwarder -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def forwarder(net, tmp, authority, keys, target, internet):
    """On the client's 127.0.0.1, clear text in; out to a server by SOCKS5 in TLS, HTTP in TLS, VLESS.
    """
    stream = tls_stream(combined(authority, NAME))
    server = socks_config(SOCKS_TLS, stream)
    http = http_config(HTTP_TLS, dict([ALICE]), stream)["inbounds"][0]
    vless = rig.server_config(VLESS, rig.reality_stream(keys.private, target.address))["inbounds"][0]
    server["inbounds"] += [dict(http, tag="https"), dict(vless, tag="vless")]
    trust = {"serverName": NAME, "disableSystemRoot": True, "certificates": [
        {"usage": "verify", "certificateFile": authority.file}]}
    proxied = {"user": ALICE[0], "pass": ALICE[1], "address": rig.SERVER_IP, "fallback": "block"}
    outbounds = [
        {"tag": "socks5s", "protocol": "socks", "settings": dict(proxied, port=SOCKS_TLS),
         "streamSettings": {"security": "tls", "tlsSettings": trust}},
        {"tag": "https", "protocol": "http", "settings": dict(proxied, port=HTTP_TLS),
         "streamSettings": {"security": "tls", "tlsSettings": trust}},
        dict(rig.client_config(1, VLESS, rig.reality_client_stream(keys.public))["outbounds"][0],
             tag="vless")]
    client = {
        "inbounds": [dict(mixed_inbound(port, listen="127.0.0.1"), tag="in-" + way)
                     for way, port in LOCAL.items()],
        "outbounds": outbounds,
        "routing": {"rules": [{"inboundTag": ["in-" + way], "outboundTag": way} for way in LOCAL]}}
    one = rig.Culvert(net.server, tmp, server, "forward-server", wait=tuple(
        (rig.SERVER_IP, port) for port in (SOCKS_TLS, HTTP_TLS, VLESS)))
    two = rig.Culvert(net.client, tmp, client, "forwarder",
                      wait=tuple(("127.0.0.1", port) for port in LOCAL.values()))
    with rig.running(two, one):
        yield two


@pytest.mark.parametrize("way", LOCAL)
def test_row_061_curl(net, forwarder, internet, way):
    for scheme in ("socks5h", "socks4a", "http"):
        status, body, error = curl(net, scheme, LOCAL[way], url("/medium"), address="127.0.0.1")
        assert status == 0, (scheme, error)
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
        status, body, error = curl(net, scheme, LOCAL[way], "--cacert", internet.ca, "--connect-to",
                                   "web.test:443:%s:443" % rig.INTERNET_IP,
                                   "https://web.test/medium", address="127.0.0.1")
        assert status == 0, (scheme, error)
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
        status, body, error = curl(net, scheme, LOCAL[way], "-X", "POST", "-T",
                                   os.path.join(internet.root, "medium"), url("/sink"),
                                   address="127.0.0.1")
        assert status == 0 and internet.hashes["medium"].encode() in body, (scheme, error)
    forwarder.wait_idle()


@pytest.mark.parametrize("way", LOCAL)
def test_row_061_requests_one_after_the_other(net, forwarder, internet, way):
    """Each forwarded request has its own way through the tunnel."""
    raw = Raw(net, LOCAL[way], address="127.0.0.1")
    for _ in range(3):
        raw.send("GET %s HTTP/1.1" % url(), "Host: x")
        assert raw.response()[2] == b"the internet\n"
    forwarder.wait_idle()


@pytest.mark.parametrize("way", LOCAL)
def test_row_061_proxychains(net, tmp, forwarder, internet, way):
    program = rig.find_program("proxychains4")
    assert program, "proxychains4 is not here"
    for kind in ("socks4", "socks5", "http"):
        path = os.path.join(tmp, "proxychains-%s.conf" % kind)
        with open(path, "w") as file:
            file.write("strict_chain\nproxy_dns\n[ProxyList]\n%s 127.0.0.1 %d\n"
                       % (kind, LOCAL[way]))
        done = subprocess.run([program, "-q", "-f", path, "curl", "-sS", "--max-time", "20", url()],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30,
                              preexec_fn=net.client.enter)
        assert done.stdout == b"the internet\n", (kind, done)


@pytest.mark.parametrize("way", LOCAL)
@pytest.mark.parametrize("kind", ["4", "5", "connect"])
def test_row_061_netcat_as_ssh_uses_it(net, forwarder, way, kind):
    """ProxyCommand nc -X ...: the server speaks first, both speak, the client ends."""
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8194))

    def server():
        connection, _ = listener.accept()
        connection.sendall(b"SSH-2.0-here\r\n")
        data, how = rig.read_all(connection, 10)
        connection.sendall(data[::-1])
        connection.close()

    with listener:
        thread = threading.Thread(target=server, daemon=True)
        thread.start()
        done = subprocess.run(
            ["nc", "-N", "-X", kind, "-x", "127.0.0.1:%d" % LOCAL[way], rig.INTERNET_IP, "8194"],
            input=b"SSH-2.0-there\r\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20,
            preexec_fn=net.client.enter)
        thread.join(10)
    assert done.stdout == b"SSH-2.0-here\r\n" + b"SSH-2.0-there\r\n"[::-1], done
    forwarder.wait_idle()
