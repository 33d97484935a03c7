# SPDX-License-Identifier: MIT
"""SOCKS5 as curl and hand-made clients see it, straight out and through the tunnel."""

import base64
import hashlib
import socket
import subprocess
import threading
import time

import pytest
import rig

PORT = 1090
PROHIBITED = "10.77.2.67"  # by the server's own routes


@pytest.fixture(scope="module")
def open_socks(net, tmp, internet):
    daemon = rig.Culvert(net.server, tmp, rig.socks_only_config(PORT, listen=rig.SERVER_IP),
                         "socks", wait=((rig.SERVER_IP, PORT),))
    net.server.ip("route", "add", "prohibit", PROHIBITED)
    with rig.running(daemon):
        yield daemon
    net.server.ip("route", "del", "prohibit", PROHIBITED)


@pytest.fixture(scope="module")
def password_socks(net, tmp, internet):
    daemon = rig.Culvert(net.server, tmp, rig.socks_only_config(
        PORT + 1, {"alice": "wonder land", "bob": "builder"}, listen=rig.SERVER_IP), "socks-password",
        wait=((rig.SERVER_IP, PORT + 1),))
    with rig.running(daemon):
        yield daemon


def proxy(port, credentials="", address=rig.SERVER_IP):
    return ["-x", "socks5h://%s%s:%d" % (credentials, address, port)]


def test_curl_without_password(net, open_socks, internet):
    status, body, error = rig.curl(net.client, *proxy(PORT), "http://%s/small" % rig.INTERNET_IP)
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["small"]
    open_socks.wait_idle()


def test_curl_tls(net, open_socks, internet):
    status, body, error = rig.curl(net.client, *proxy(PORT), "--cacert", internet.ca,
                                   "--connect-to", "web.test:443:%s:443" % rig.INTERNET_IP,
                                   "https://web.test/medium")
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]


def test_curl_with_password(net, password_socks, internet):
    for credentials in ("alice:wonder%20land@", "bob:builder@"):
        status, body, error = rig.curl(net.client, *proxy(PORT + 1, credentials),
                                       "http://%s/" % rig.INTERNET_IP)
        assert (status, body) == (0, b"the internet\n"), error


@pytest.mark.parametrize("credentials", ["alice:wrong@", "bob:@", "nobody:builder@", ""])
def test_wrong_password(net, password_socks, internet, credentials):
    label = "nomethod" if not credentials else "credentials"
    before = password_socks.reason_count(label)
    status, body, _ = rig.curl(net.client, *proxy(PORT + 1, credentials),
                               "http://%s/" % rig.INTERNET_IP)
    assert status == 97 and body == b"", "curl ended with %d" % status
    password_socks.wait_reason(label, before)


def test_status_byte_of_a_wrong_password(net, password_socks):
    connection = rig.tcp(net.client, rig.SERVER_IP, PORT + 1)
    connection.sendall(b"\5\2\0\2")
    assert rig.exactly(connection, 2) == b"\5\2"
    connection.sendall(b"\1\5alice\5wrong")
    answer, how = rig.read_all(connection, 5)
    assert (answer, how) == (b"\1\1", "fin")


def test_no_acceptable_method(net, password_socks):
    for greeting in (b"\5\1\0", b"\5\0", b"\5\2\0\1"):
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT + 1)
        connection.sendall(greeting)
        assert rig.read_all(connection, 5) == (b"\5\xff", "fin"), greeting


def reply(net, request, port=PORT):
    connection = rig.tcp(net.client, rig.SERVER_IP, port, timeout=15)
    connection.sendall(b"\5\1\0" + request)
    assert rig.exactly(connection, 2) == b"\5\0"
    return rig.read_all(connection, 15)


def connect_request(address, port, command=1, version=5):
    return bytes([version, command, 0]) + address + port.to_bytes(2, "big")


def ip(text):
    return b"\1" + socket.inet_aton(text)


def name(text):
    return b"\3" + bytes([len(text)]) + text.encode()


FAILURES = [
    ("refused", connect_request(ip(rig.INTERNET_IP), 9), 5),
    ("no route", connect_request(ip("192.0.2.1"), 80), 3),
    ("forbidden by this machine", connect_request(ip(PROHIBITED), 80), 2),
    ("no such host on the link", connect_request(ip("10.77.2.99"), 80), 4),
    ("name that does not resolve", connect_request(name("nothing.invalid"), 80), 4),
    ("empty name", connect_request(b"\3\0", 80), 1),
    ("BIND", connect_request(ip(rig.INTERNET_IP), 80, command=2), 7),
    ("UDP ASSOCIATE", connect_request(ip("0.0.0.0"), 0, command=3), 7),
    ("unknown command", connect_request(ip(rig.INTERNET_IP), 80, command=0xF0), 7),
    ("unknown address type", connect_request(b"\2" + bytes(4), 80), 8),
    ("no IPv6", connect_request(b"\4" + bytes(15) + b"\x99", 80), 3),
]


@pytest.mark.parametrize("what, request_bytes, rep", FAILURES, ids=[f[0] for f in FAILURES])
def test_failure_replies(net, open_socks, what, request_bytes, rep):
    answer, how = reply(net, request_bytes)
    assert answer[:2] == bytes([5, rep]), "%s: %s" % (what, answer.hex())
    assert len(answer) == 10 and answer[3:] == b"\1" + bytes(6) and how == "fin", answer.hex()
    open_socks.wait_idle()


def test_wrong_version_gets_no_byte(net, open_socks):
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"\4\1\0\x50\1\2\3\4\0", b"\x16\x03\x01\x00\x05hello"):
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
        connection.sendall(first)
        data, how = rig.read_all(connection, 5)
        assert data == b"" and how in ("fin", "rst"), (first, data, how)


def test_one_byte_at_a_time_and_early_data(net, open_socks, internet):
    """Every segmentation, and a request of the application right behind the handshake."""
    http = b"GET / HTTP/1.0\r\nHost: web\r\n\r\n"
    everything = b"\5\1\0" + connect_request(ip(rig.INTERNET_IP), 80) + http
    for pause in (0.002, 0):
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
        if pause:
            for byte in everything:
                connection.sendall(bytes([byte]))
                time.sleep(pause)
        else:
            connection.sendall(everything)
        answer, how = rig.read_all(connection, 10)
        assert answer.startswith(b"\5\0\5\0\0") and answer.endswith(b"the internet\n"), answer
        assert how == "fin"


def test_localhost_name(net, open_socks):
    """A name, resolved by the daemon."""
    with net.server:
        listener = socket.create_server(("127.0.0.1", 8099))
    with listener:
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"named"), daemon=True).start()
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
        assert rig.socks_handshake(connection, "localhost", 8099) == 0
        assert rig.exactly(connection, 5) == b"named"


def test_half_close(net, open_socks):
    """FIN reaches the upstream, and what it sends afterwards comes back."""
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8098))

    def upstream():
        connection, _ = listener.accept()
        data, how = rig.read_all(connection, 10)
        time.sleep(0.3)
        connection.sendall(b"%d %s" % (len(data), how.encode()))
        connection.close()

    with listener:
        threading.Thread(target=upstream, daemon=True).start()
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
        assert rig.socks_handshake(connection, rig.INTERNET_IP, 8098) == 0
        connection.sendall(bytes(100000))
        connection.shutdown(socket.SHUT_WR)
        assert rig.read_all(connection, 10) == (b"100000 fin", "fin")
    open_socks.wait_idle()


def test_reset_reaches_the_other_end(net, open_socks):
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8097))
    with listener:
        for from_client in (True, False):
            connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
            assert rig.socks_handshake(connection, rig.INTERNET_IP, 8097) == 0
            upstream, _ = listener.accept()
            connection.sendall(b"x")
            assert rig.exactly(upstream, 1) == b"x"
            near, far = (connection, upstream) if from_client else (upstream, connection)
            rig.reset(near)
            assert rig.read_all(far, 5) == (b"", "rst"), "from_client=%s" % from_client
    open_socks.wait_idle()


def test_refused_through_the_tunnel(net, client, server, internet):
    """Behind a VLESS server a refused upstream is a plain close: the protocol has no word for it."""
    status, body, _ = rig.curl(net.client, *proxy(1080, address="127.0.0.1"),
                               "http://%s:9/" % rig.INTERNET_IP)
    assert status in (52, 56) and body == b""
    server.wait_reason("refused")
    client.wait_idle()
    server.wait_idle()


def in_memory(pid, needle):
    """How often needle stands in what a process may write to."""
    count = 0
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            area, rights, *_ = line.split()
            if not rights.startswith("rw") or "[vvar" in line:
                continue
            first, last = (int(text, 16) for text in area.split("-"))
            for at in range(first, last, rig.MIB):
                try:
                    memory.seek(at)
                    count += memory.read(min(rig.MIB, last - at)).count(needle)
                except OSError:
                    break
    return count


def test_password_does_not_stay(net, tmp, internet):
    """What a client showed to come in is nowhere in the daemon's memory while its session runs."""
    password = "once-%d-shown" % time.monotonic_ns()
    done = subprocess.run(["openssl", "passwd", "-5", "-salt", "salt", password], check=True,
                          stdout=subprocess.PIPE)
    config = rig.socks_only_config(PORT + 2, {"alice": done.stdout.decode().strip()},
                                   listen=rig.SERVER_IP)
    config["inbounds"][0]["protocol"] = "mixed"
    basic = base64.b64encode(b"alice:" + password.encode())
    daemon = rig.Culvert(net.server, tmp, config, "socks-memory", workers=1,
                         wait=((rig.SERVER_IP, PORT + 2),))
    with rig.running(daemon):
        connection, http = (rig.tcp(net.client, rig.SERVER_IP, PORT + 2) for _ in range(2))
        assert rig.socks_handshake(connection, rig.INTERNET_IP, 80, ("alice", password)) == 0
        http.sendall(b"CONNECT %s:80 HTTP/1.1\r\nProxy-Authorization: Basic %s\r\n\r\n"
                     % (rig.INTERNET_IP.encode(), basic))
        assert rig.exactly(http, 12) == b"HTTP/1.1 200"
        others = [rig.tcp(net.client, rig.SERVER_IP, PORT + 2) for _ in range(600)]
        for other in others:  # what they say is received where this was
            other.sendall(b"\5\1\2\1\5alice\xff" + b"x" * 200)
        time.sleep(1)
        if not daemon.sanitized():  # their ends, if not all of them
            assert in_memory(daemon.pid, password[8:].encode()) == 0
            assert in_memory(daemon.pid, basic[12:]) == 0
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert rig.read_all(connection)[0].endswith(b"the internet\n")
        daemon.wait_idle()
