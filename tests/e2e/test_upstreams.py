# SPDX-License-Identifier: MIT
"""Outbounds that ask a proxy: real proxies, plain and behind TLS, and what happens without them.

The proxies live in the internet namespace, so that whoever comes through one has its address.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import socketserver
import subprocess
import threading
import time
import uuid

import pytest
import rig

PORT = 1094
DIRECT_IP, PROXY_IP = rig.SERVER_INNER_IP, rig.INTERNET_IP
MICROSOCKS, DANTE, TINYPROXY, SQUID, STUNNEL, SCRIPTED = 3001, 3002, 3003, 3004, 3005, 3006
WHO_PORT, CLOSED_PORT = 8002, 8999
NAME, WORD = "alice", "wonder land"
FREEDOM = {"tag": "direct", "protocol": "freedom",
           "settings": {"finalRules": [{"action": "allow"}]}}


class Who:
    """Says the address it is connected from, before it is asked anything; then echoes."""

    def __init__(self, namespace, address):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(self.client_address[0].encode() + b"\n")
                with contextlib.suppress(OSError):
                    while True:
                        block = self.request.recv(65536)
                        if not block:
                            break
                        self.request.sendall(block)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            request_queue_size = 64

        with namespace:
            self.server = Server((address, WHO_PORT), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module", autouse=True)
def who(net, internet):
    servers = [Who(net.internet, PROXY_IP), Who(net.internet, "127.0.0.1")]
    yield
    for server in servers:
        server.stop()


def program(name):
    path = rig.find_program(name)
    if not path:
        pytest.skip("%s is not installed" % name)
    return path


@contextlib.contextmanager
def peer(net, tmp, name, command, port):
    process = rig.Process(net.internet, command, os.path.join(tmp, name + ".log"))
    try:
        rig.wait_for(lambda: rig.accepts(net.internet, PROXY_IP, port) or not process.alive(), 30,
                     "%s listens; log:\n%s" % (name, process.log()))
        assert process.alive(), process.log()
        yield process
    finally:
        with contextlib.suppress(AssertionError):
            process.stop()


def written(tmp, name, text):
    path = os.path.join(tmp, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def microsocks(net, tmp, port=MICROSOCKS, address=PROXY_IP):
    return peer(net, tmp, "microsocks", [program("microsocks"), "-i", address, "-p", str(port),
                                         "-u", NAME, "-P", WORD], port)


def dante_config(tmp, name, internal, port, external, rules=""):
    """The path of a configuration for danted: no password, everybody, everything but by rules."""
    return written(tmp, name, """
logoutput: stderr
internal: %s port = %d
external: %s
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: root
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
%ssocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
""" % (internal, port, external, rules))


def dante(net, tmp):
    return peer(net, tmp, "dante", [program("danted"), "-f", dante_config(
        tmp, "danted.conf", PROXY_IP, DANTE, PROXY_IP,
        "socks block { from: 0.0.0.0/0 to: 0.0.0.0/0 port = 9 }\n")], DANTE)


def tinyproxy(net, tmp):
    return peer(net, tmp, "tinyproxy", [program("tinyproxy"), "-d", "-c", written(
        tmp, "tinyproxy.conf", """
Port %d
Listen %s
Timeout 60
Allow 0.0.0.0/0
BasicAuth %s wonderland
LogLevel Info
""" % (TINYPROXY, PROXY_IP, NAME))], TINYPROXY)


def squid(net, tmp):
    helper = "/usr/lib/squid/basic_ncsa_auth"
    directory = os.path.join(tmp, "squid")
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o777)
    password = os.popen("openssl passwd -apr1 wonderland").read().strip()
    users = written(directory, "users", "%s:%s\n" % (NAME, password))
    os.chmod(users, 0o644)
    file = written(directory, "squid.conf", """
http_port %s:%d
auth_param basic program %s %s
auth_param basic children 1
acl known proxy_auth REQUIRED
acl nine port 9
http_access deny nine
http_access allow known
http_access deny all
cache deny all
cache_log %s/cache.log
access_log none
pid_filename %s/pid
coredump_dir %s
shutdown_lifetime 0 seconds
visible_hostname proxy.test
""" % (PROXY_IP, SQUID, helper, users, directory, directory, directory))
    return peer(net, tmp, "squid", [program("squid"), "-N", "-f", file], SQUID)


def stunnel(net, tmp, authority, to_port, names=("proxy.test",)):
    certificate, key = authority.issue(*names)
    file = written(tmp, "stunnel-up.conf", """
foreground = yes
pid =
[proxy]
accept = %s:%d
connect = %s:%d
cert = %s
key = %s
sslVersionMin = TLSv1.3
""" % (PROXY_IP, STUNNEL, PROXY_IP, to_port, certificate, key))
    return peer(net, tmp, "stunnel", [program("stunnel4"), file], STUNNEL)


def outbound(protocol, port, user=None, word=None, fallback="block", tag="up", tls=None,
             address=PROXY_IP, more=None, **settings):
    settings = dict({"address": address, "port": port, "fallback": fallback}, **settings)
    if user:
        settings.update({"user": user, "pass": word})
    made = {"tag": tag, "protocol": protocol, "settings": settings}
    if tls:
        made["streamSettings"] = {"security": "tls", "tlsSettings": tls}
    return dict(made, **(more or {}))


@contextlib.contextmanager
def culvert(net, tmp, *outbounds, engine="auto", **more):
    config = rig.socks_only_config(PORT, listen=rig.SERVER_IP)
    config["outbounds"] = list(outbounds) + [FREEDOM]
    config.update(more)
    daemon = rig.Culvert(net.server, tmp, config, "up", engine=engine,
                         wait=((rig.SERVER_IP, PORT),))
    with rig.running(daemon):
        yield daemon


def ask(net, host, port, timeout=25):
    """(REP, connection) of a CONNECT."""
    connection = rig.tcp(net.client, rig.SERVER_IP, PORT, timeout)
    return rig.socks_handshake(connection, host, port), connection


def who_am_i(net, host=PROXY_IP):
    """The address the server of that name is reached from; bytes flow both ways afterwards."""
    reply, connection = ask(net, host, WHO_PORT)
    assert reply == 0, reply
    address = b""
    while not address.endswith(b"\n"):
        address += rig.exactly(connection, 1)
    connection.sendall(b"x" * 100000)
    assert rig.exactly(connection, 100000) == b"x" * 100000
    connection.close()
    return address.decode().strip()


def check_download(net, internet, name="medium"):
    status, body, error = rig.curl(net.client, "-x", "socks5h://%s:%d" % (rig.SERVER_IP, PORT),
                                   "http://%s/%s" % (rig.INTERNET_IP, name))
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes[name]


def engines_of(daemon):
    """Of the last session whose end was logged."""
    daemon.wait_idle()
    found = re.findall(r"end: .* uplink=\d+/(\w+) downlink=\d+/(\w+) ", daemon.log())
    return found[-1]


# ---- real proxies --------------------------------------------------------------------------------


def test_row_028_microsocks_with_password(net, tmp, internet):
    with microsocks(net, tmp), \
            culvert(net, tmp, outbound("socks", MICROSOCKS, NAME, WORD), engine="splice") as daemon:
        assert who_am_i(net) == PROXY_IP
        # a name that only the proxy's side can mean: it goes there as it is
        assert who_am_i(net, "localhost") == "127.0.0.1"
        check_download(net, internet)
        assert engines_of(daemon) == ("splice", "splice")
        assert WORD not in daemon.log()


def test_row_028_wrong_password(net, tmp):
    with microsocks(net, tmp), \
            culvert(net, tmp, outbound("socks", MICROSOCKS, NAME, "guess")) as daemon:
        began = time.monotonic()
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        assert reply == 1 and time.monotonic() - began < 0.9  # no second attempt
        assert "upstream_credentials" in daemon.log() and "guess" not in daemon.log()


def test_row_028_a_proxy_for_everybody_is_not_the_one_with_a_password(net, tmp):
    with dante(net, tmp), culvert(net, tmp, outbound("socks", DANTE, NAME, WORD)) as daemon:
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        assert reply == 1
        assert "upstream_credentials" in daemon.log()


def test_row_028_dante(net, tmp, internet):
    with dante(net, tmp), culvert(net, tmp, outbound("socks", DANTE)):
        assert who_am_i(net) == PROXY_IP
        check_download(net, internet)


def test_row_030_tinyproxy(net, tmp, internet):
    with tinyproxy(net, tmp), culvert(net, tmp, outbound("http", TINYPROXY, NAME, "wonderland"),
                                      engine="splice") as daemon:
        assert who_am_i(net) == PROXY_IP
        check_download(net, internet)
        assert engines_of(daemon) == ("splice", "splice")


def test_row_030_tinyproxy_wrong_password(net, tmp):
    with tinyproxy(net, tmp), \
            culvert(net, tmp, outbound("http", TINYPROXY, NAME, "guess")) as daemon:
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        assert reply == 1
        # tinyproxy says 401 where it should say 407: any refusal will do
        daemon.wait_reason("upstream_failed")


def test_row_030_squid(net, tmp, internet):
    with squid(net, tmp), culvert(net, tmp, outbound("http", SQUID, NAME, "wonderland")) as daemon:
        assert who_am_i(net) == PROXY_IP
        check_download(net, internet)
        reply, _ = ask(net, PROXY_IP, 9)
        assert reply == 2  # 403 is passed on
        daemon.wait_reason("upstream_says_forbidden")


def test_row_030_squid_wrong_password(net, tmp):
    with squid(net, tmp), culvert(net, tmp, outbound("http", SQUID, NAME, "guess")) as daemon:
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        assert reply == 1
        assert "upstream_credentials" in daemon.log()


# ---- behind TLS ----------------------------------------------------------------------------------


def test_row_029_socks5s(net, tmp, internet, authority):
    trust = {"serverName": "proxy.test", "disableSystemRoot": True,
             "certificates": [{"certificateFile": authority.file, "usage": "verify"}]}
    with microsocks(net, tmp), stunnel(net, tmp, authority, MICROSOCKS), \
            culvert(net, tmp, outbound("socks", STUNNEL, NAME, WORD, tls=trust)):
        assert who_am_i(net) == PROXY_IP
        assert who_am_i(net, "localhost") == "127.0.0.1"
        check_download(net, internet)
        check_download(net, internet, "big")


@pytest.mark.parametrize("peer_name", ("tinyproxy", "squid"))
def test_row_031_https(net, tmp, internet, authority, peer_name):
    start, port = {"tinyproxy": (tinyproxy, TINYPROXY), "squid": (squid, SQUID)}[peer_name]
    trust = {"serverName": "proxy.test", "disableSystemRoot": True,
             "certificates": [{"certificateFile": authority.file, "usage": "verify"}]}
    with start(net, tmp), stunnel(net, tmp, authority, port), \
            culvert(net, tmp, outbound("http", STUNNEL, NAME, "wonderland", tls=trust)):
        assert who_am_i(net) == PROXY_IP
        check_download(net, internet)


def refused_certificate(net, tmp, tls):
    with culvert(net, tmp, outbound("socks", STUNNEL, NAME, WORD, tls=tls)) as daemon:
        began = time.monotonic()
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        assert reply == 1 and time.monotonic() - began < 0.9
        assert re.search(r" error .*certificate", daemon.log()), daemon.log()[-1500:]


def test_row_032_verification(net, tmp, authority):
    roots = [{"certificateFile": authority.file, "usage": "verify"}]
    with microsocks(net, tmp), stunnel(net, tmp, authority, MICROSOCKS):
        refused_certificate(net, tmp, {"serverName": "proxy.test"})  # nobody here signed it
        refused_certificate(net, tmp, {"serverName": "other.test", "certificates": roots})
        refused_certificate(net, tmp, {"certificates": roots})  # its address is not in there
        with culvert(net, tmp, outbound("socks", STUNNEL, NAME, WORD, tls={
                "serverName": "proxy.test", "certificates": roots})):
            assert who_am_i(net) == PROXY_IP
        with culvert(net, tmp, outbound("socks", STUNNEL, NAME, WORD, tls={
                "serverName": "any.test", "allowInsecure": True})) as daemon:
            assert who_am_i(net) == PROXY_IP
            assert "ANYBODY" in daemon.log()


def test_row_077_name_in_the_certificate_decides(net, tmp, authority):
    roots = [{"certificateFile": authority.file, "usage": "verify"}]
    with microsocks(net, tmp), stunnel(net, tmp, authority, MICROSOCKS, ("a.test", "b.test")):
        refused_certificate(net, tmp, {"serverName": "c.test", "certificates": roots})
        for name in ("a.test", "b.test"):
            with culvert(net, tmp, outbound("socks", STUNNEL, NAME, WORD, tls={
                    "serverName": name, "certificates": roots})):
                assert who_am_i(net) == PROXY_IP


# ---- what a proxy says is passed on --------------------------------------------------------------


class Scripted:
    """A SOCKS5 proxy that plays: answer(connection, number) for each connection; keeps times."""

    def __init__(self, namespace, answer, port=SCRIPTED):
        self.times, self.requests, self.answer = [], [], answer
        with namespace:
            self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((PROXY_IP, port))
        self.socket.listen(64)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.times.append(time.monotonic())
                threading.Thread(target=self._serve, args=(connection, len(self.times)),
                                 daemon=True).start()

    def _serve(self, connection, number):
        with connection, contextlib.suppress(OSError, EOFError):
            connection.settimeout(20)
            self.answer(self, connection, number)

    def request(self, connection):
        """Up to the request, which is kept."""
        assert rig.exactly(connection, 3) == b"\5\1\0"
        connection.sendall(b"\5\0")
        head = rig.exactly(connection, 4)
        rest = rig.exactly(connection, {1: 6, 3: 0, 4: 18}[head[3]])
        if head[3] == 3:
            length = rig.exactly(connection, 1)
            rest = length + rig.exactly(connection, length[0] + 2)
        self.requests.append(head + rest)

    def waits(self):
        return [round(b - a, 1) for a, b in zip(self.times, self.times[1:])]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def test_row_035_dante_says_refused(net, tmp):
    with dante(net, tmp), culvert(net, tmp, outbound("socks", DANTE, fallback="direct")) as daemon:
        began = time.monotonic()
        reply, _ = ask(net, PROXY_IP, CLOSED_PORT)
        assert reply == 5 and time.monotonic() - began < 0.9
        reply, _ = ask(net, PROXY_IP, 9)
        assert reply == 2  # its rules; nobody goes around them
        assert "using direct" not in daemon.log()
        assert who_am_i(net) == PROXY_IP


@pytest.mark.parametrize("said", (2, 3, 4, 5, 6, 7, 8))
def test_row_035_replies_are_passed_on(net, tmp, said):
    def answer(self, connection, _):
        self.request(connection)
        connection.sendall(bytes([5, said, 0, 1]) + bytes(6))

    with Scripted(net.internet, answer) as proxy, \
            culvert(net, tmp, outbound("socks", SCRIPTED, fallback="direct")):
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        assert reply == said and len(proxy.times) == 1


def test_row_035_general_failure_is_tried_again(net, tmp):
    def answer(self, connection, number):
        self.request(connection)
        connection.sendall(b"\5\1\0\1" + bytes(6) if number == 1 else
                           b"\5\0\0\3\4name\0\1" + b"first words")

    with Scripted(net.internet, answer) as proxy, culvert(net, tmp, outbound("socks", SCRIPTED)):
        reply, connection = ask(net, "some.name.test", 77)
        assert reply == 0 and proxy.waits() == pytest.approx([1.0], abs=0.4)
        # what came in one piece with the answer is not lost, and the name was never resolved
        assert rig.exactly(connection, 11) == b"first words"
        assert proxy.requests[1] == b"\5\1\0\3\x0esome.name.test\0\x4d"


# ---- attempts ------------------------------------------------------------------------------------


def hang_up(_self, _connection, _number):
    pass


def test_row_033_three_attempts_then_hold_down(net, tmp):
    with Scripted(net.internet, hang_up) as proxy, \
            culvert(net, tmp, outbound("socks", SCRIPTED, fallback="direct")) as daemon:
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT, 25)
        # words in the same flight, before anybody is there to hear them
        connection.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(PROXY_IP)
                           + WHO_PORT.to_bytes(2, "big") + b"early words")
        assert rig.exactly(connection, 2 + 10)[3] == 0
        answer = (DIRECT_IP + "\n").encode() + b"early words"
        assert rig.exactly(connection, len(answer)) == answer
        ended = time.monotonic()
        assert proxy.waits() == pytest.approx([1.0, 2.0], abs=0.4)
        assert len(re.findall("external-proxy up failed after 3 attempts, user -: using direct",
                              daemon.log())) == 1
        # held down: nobody asks the proxy
        assert who_am_i(net) == DIRECT_IP
        assert len(proxy.times) == 3 and time.monotonic() - ended < 2
        # after 4 s one does, and the others do not wait for it
        time.sleep(max(0.0, ended + 4.2 - time.monotonic()))
        probe = rig.tcp(net.client, rig.SERVER_IP, PORT, 25)
        probe.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(PROXY_IP)
                      + WHO_PORT.to_bytes(2, "big"))
        rig.wait_for(lambda: len(proxy.times) == 4, 2, "the probe reaches the proxy")
        began = time.monotonic()
        assert who_am_i(net) == DIRECT_IP
        assert time.monotonic() - began < 0.9 and len(proxy.times) == 4
        assert rig.exactly(probe, 2 + 10)[3] == 0
        assert len(re.findall("using direct", daemon.log())) == 1  # once a minute
        assert daemon.reason_count("upstream_gone_around") == 4


def test_row_033_a_success_ends_it(net, tmp):
    with culvert(net, tmp, outbound("socks", MICROSOCKS, NAME, WORD, fallback="direct")) as daemon:
        assert who_am_i(net) == DIRECT_IP
        with microsocks(net, tmp):
            assert who_am_i(net) == DIRECT_IP  # still held down
            time.sleep(4.2)
            assert who_am_i(net) == PROXY_IP
            assert who_am_i(net) == PROXY_IP
        assert "using direct" in daemon.log()


def test_row_033_a_late_start_is_waited_for(net, tmp):
    with culvert(net, tmp, outbound("socks", MICROSOCKS, NAME, WORD)):
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT, 25)
        connection.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(PROXY_IP)
                           + WHO_PORT.to_bytes(2, "big"))
        time.sleep(0.3)
        with microsocks(net, tmp):
            assert rig.exactly(connection, 12)[3] == 0
            assert rig.exactly(connection, len(PROXY_IP)) == PROXY_IP.encode()


def test_row_033_deadlines(net, tmp):
    """A proxy that says nothing: each attempt and the whole have their time."""
    def silent(_self, connection, _):
        connection.recv(100)
        time.sleep(5)

    with Scripted(net.internet, silent) as proxy, culvert(net, tmp, outbound(
            "socks", SCRIPTED, retry={"connectMs": 600, "totalMs": 2600,
                                      "backoffMs": [500, 500, 100]})):
        began = time.monotonic()
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        spent = time.monotonic() - began
        assert reply == 1 and 2.2 < spent < 3.2, spent
        assert proxy.waits() == pytest.approx([1.1, 1.1], abs=0.4)


def test_row_034_fallback_direct(net, tmp, internet):
    with culvert(net, tmp, outbound("http", CLOSED_PORT, fallback="direct")) as daemon:
        check_download(net, internet, "small")
        assert "external-proxy up failed after 3 attempts, user -: using direct" in daemon.log()
        assert who_am_i(net) == DIRECT_IP


def test_row_034_fallback_block(net, tmp):
    with culvert(net, tmp, outbound("http", CLOSED_PORT, fallback="block")) as daemon:
        reply, _ = ask(net, PROXY_IP, WHO_PORT)
        assert reply == 1
        assert "external-proxy up failed after 3 attempts, user -: refused" in daemon.log()
        assert daemon.reason_count("upstream_failed") == 1


def test_row_034_a_client_that_leaves_ends_the_attempts(net, tmp):
    with Scripted(net.internet, hang_up) as proxy, \
            culvert(net, tmp, outbound("socks", SCRIPTED)) as daemon:
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
        connection.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(PROXY_IP) + b"\0\1")
        rig.wait_for(lambda: proxy.times, 5, "first attempt")
        rig.reset(connection)
        rig.wait_for(lambda: not daemon.sessions(), 12, "the session ends")


# ---- one through another -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ("proxySettings", "dialerProxy"))
def test_chain_of_two_proxies(net, tmp, internet, authority, how):
    """HTTP by TLS through SOCKS5: both see the session, the second is reached by the first."""
    trust = {"serverName": "proxy.test",
             "certificates": [{"certificateFile": authority.file, "usage": "verify"}]}
    last = outbound("http", STUNNEL, NAME, "wonderland", tls=trust, address="127.0.0.1", tag="last")
    if how == "proxySettings":
        last["proxySettings"] = {"tag": "first"}
    else:
        last["streamSettings"]["sockopt"] = {"dialerProxy": "first"}
    certificate, key = authority.issue("proxy.test")
    # on a loopback that the server cannot reach but through the first proxy
    file = written(tmp, "stunnel-chain.conf", """
foreground = yes
pid =
[proxy]
accept = 127.0.0.1:%d
connect = %s:%d
cert = %s
key = %s
[ready]
accept = %s:%d
connect = %s:%d
cert = %s
key = %s
""" % (STUNNEL, PROXY_IP, TINYPROXY, certificate, key, PROXY_IP, STUNNEL, PROXY_IP, TINYPROXY,
       certificate, key))
    with microsocks(net, tmp), tinyproxy(net, tmp), \
            peer(net, tmp, "stunnel", [program("stunnel4"), file], STUNNEL), \
            culvert(net, tmp, last, outbound("socks", MICROSOCKS, NAME, WORD, tag="first")):
        assert who_am_i(net) == PROXY_IP
        check_download(net, internet)


def test_chain_of_vless_through_a_proxy_and_back(net, tmp, keys, target, internet):
    """REALITY and Vision dialled through SOCKS5; and SOCKS5 dialled through REALITY and Vision."""
    server = rig.Culvert(net.internet, tmp, rig.server_config(
        4455, rig.reality_stream(keys.private, target.address), listen=PROXY_IP), "far",
        wait=((PROXY_IP, 4455),))
    vless = {"tag": "vless", "protocol": "vless",
             "streamSettings": rig.reality_client_stream(keys.public),
             "settings": {"address": PROXY_IP, "port": 4455, "id": rig.USER, "flow": rig.VISION,
                          "encryption": "none"}}
    with microsocks(net, tmp), rig.running(server):
        with culvert(net, tmp, dict(vless, proxySettings={"tag": "first"}),
                     outbound("socks", MICROSOCKS, NAME, WORD, tag="first")):
            assert who_am_i(net) == PROXY_IP
            check_download(net, internet)
        with culvert(net, tmp, outbound("socks", MICROSOCKS, NAME, WORD,
                                        more={"proxySettings": {"tag": "vless"}}), vless):
            assert who_am_i(net) == PROXY_IP
            assert who_am_i(net, "localhost") == "127.0.0.1"
            check_download(net, internet)


# ---- for clients that speak HTTP -----------------------------------------------------------------


def http_inbound():
    return {"inbounds": [{"tag": "http", "listen": rig.SERVER_IP, "port": PORT,
                          "protocol": "http"}]}


def test_row_028_for_an_http_client(net, tmp, internet):
    """CONNECT and plain requests, several on one connection, each through the proxy."""
    with microsocks(net, tmp), \
            culvert(net, tmp, outbound("socks", MICROSOCKS, NAME, WORD), **http_inbound()):
        way = ("-x", "http://%s:%d" % (rig.SERVER_IP, PORT))
        url = "http://%s/small" % PROXY_IP
        status, body, error = rig.curl(net.client, *way, url, url, url)
        assert status == 0, error
        assert hashlib.sha256(body[:len(body) // 3]).hexdigest() == internet.hashes["small"]
        assert body == body[:len(body) // 3] * 3
        status, body, error = rig.curl(net.client, *way, "-p", url)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["small"]
        with open(internet.access_log) as file:
            lines = file.read().splitlines()[-4:]
        assert all(line.startswith(PROXY_IP + " ") for line in lines), lines


def test_row_035_for_an_http_client(net, tmp):
    with dante(net, tmp), culvert(net, tmp, outbound("socks", DANTE, fallback="direct"),
                                  **http_inbound()) as daemon:
        for target, expected in (("%s:%d" % (PROXY_IP, CLOSED_PORT), "502"),
                                 ("%s:9" % PROXY_IP, "403")):
            for more in ((), ("-p",)):
                kind = "%{http_connect}" if more else "%{http_code}"
                _, text, _ = rig.curl(net.client, "-x", "http://%s:%d" % (rig.SERVER_IP, PORT),
                                      "-o", "/dev/null", "-w", kind, *more, "http://" + target)
                assert text.decode() == expected, (target, more)
        assert "using direct" not in daemon.log()


def test_row_034_for_an_http_client(net, tmp, internet):
    way = ("-x", "http://%s:%d" % (rig.SERVER_IP, PORT))
    url = "http://%s/small" % PROXY_IP
    fast = {"maxAttempts": 2, "backoffMs": [100]}
    with culvert(net, tmp, outbound("socks", CLOSED_PORT, fallback="direct", retry=fast),
                 **http_inbound()):
        status, body, error = rig.curl(net.client, *way, url, url)
        assert status == 0, error
        assert hashlib.sha256(body[:len(body) // 2]).hexdigest() == internet.hashes["small"]
    with culvert(net, tmp, outbound("socks", CLOSED_PORT, fallback="block", retry=fast),
                 **http_inbound()):
        _, text, _ = rig.curl(net.client, *way, "-o", "/dev/null", "-w", "%{http_code}", url)
        assert text == b"502"


# ---- a proxy of one's own ------------------------------------------------------------------------


def users_and_proxies(net, tmp, proxies, **ways):
    """Files for users with external_proxy_id ways[name]; the configuration that names them."""
    users = [{"username": name, "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "flow": "",
              "socks_password": WORD, "external_proxy_id": way} for name, way in ways.items()]
    for name, content in (("users.json", {"users": users}),
                          ("external_proxy.json", {"proxies": proxies})):
        path = written(tmp, name + ".new", json.dumps(content))
        os.chmod(path, 0o600)
        if net.server.pins:
            os.chown(path, rig.NOBODY, rig.NOBODY)
        os.rename(path, os.path.join(tmp, name))
    return {"inbounds": [
        {"tag": "socks-in", "listen": rig.SERVER_IP, "port": PORT, "protocol": "socks",
         "settings": {"auth": "password", "usersFile": os.path.join(tmp, "users.json"),
                      "allowPlain": True}},
        {"tag": "vless-in", "listen": "127.0.0.1", "port": PORT + 1, "protocol": "vless",
         "settings": {"decryption": "none", "usersFile": os.path.join(tmp, "users.json")}}],
        "outbounds": [FREEDOM]}


def proxy_of(kind, port, **more):
    return dict({"id": "proxy-1", "type": kind, "address": PROXY_IP, "port": port,
                 "username": NAME, "password": WORD}, **more)


def way_of(net, person, port=PORT, address=rig.SERVER_IP, space=None):
    """What the server says this user comes from, or the reply that refused it."""
    connection = rig.tcp(space or net.client, address, port, 25)
    reply = rig.socks_handshake(connection, PROXY_IP, WHO_PORT, (person, WORD))
    with connection:
        if reply != 0:
            return reply
        address = b""
        while not address.endswith(b"\n"):
            address += rig.exactly(connection, 1)
        return address.decode().strip()


def reloaded(daemon):
    subprocess.run([os.path.join(rig.build_dir(), "culvert"), "reload", "--control",
                    daemon.control_path], check=True, capture_output=True, timeout=30)


def test_row_036_each_user_has_its_way_and_changes_it(net, tmp):
    external = {"externalProxyFile": os.path.join(tmp, "external_proxy.json")}
    config = users_and_proxies(net, tmp, [proxy_of("socks5", MICROSOCKS)],
                               alice="proxy-1", bob=None)
    with microsocks(net, tmp), rig.running(rig.Culvert(
            net.server, tmp, config, "ways", wait=((rig.SERVER_IP, PORT),), **external)) as (one,):
        assert way_of(net, "alice") == PROXY_IP
        assert way_of(net, "bob") == DIRECT_IP
        old = rig.tcp(net.client, rig.SERVER_IP, PORT)
        assert rig.socks_handshake(old, PROXY_IP, WHO_PORT, ("alice", WORD)) == 0
        users_and_proxies(net, tmp, [proxy_of("socks5", MICROSOCKS)], alice=None, bob="proxy-1")
        reloaded(one)
        assert way_of(net, "alice") == DIRECT_IP
        assert way_of(net, "bob") == PROXY_IP
        # what runs keeps its way
        assert rig.exactly(old, len(PROXY_IP) + 1) == PROXY_IP.encode() + b"\n"
        old.sendall(b"still there")
        assert rig.exactly(old, 11) == b"still there"
        old.close()
        assert WORD not in one.log()


def test_row_036_vless_users_as_well(net, tmp):
    config = users_and_proxies(net, tmp, [proxy_of("socks5", MICROSOCKS)], alice="proxy-1",
                               bob=None)
    external = {"externalProxyFile": os.path.join(tmp, "external_proxy.json")}
    with microsocks(net, tmp), rig.running(rig.Culvert(
            net.server, tmp, config, "ways", wait=((rig.SERVER_IP, PORT),), **external)):
        for person, expected in (("alice", PROXY_IP), ("bob", DIRECT_IP)):
            client = {"inbounds": [{"listen": "127.0.0.1", "port": PORT + 2, "protocol": "socks"}],
                      "outbounds": [{"protocol": "vless", "settings": {
                          "address": "127.0.0.1", "port": PORT + 1, "encryption": "none",
                          "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, person))}}]}
            with rig.running(rig.Culvert(net.server, tmp, client, "vless-client",
                                         wait=(("127.0.0.1", PORT + 2),))):
                connection = rig.tcp(net.server, "127.0.0.1", PORT + 2)
                assert rig.socks_handshake(connection, PROXY_IP, WHO_PORT) == 0
                answer = (expected + "\n").encode()
                assert rig.exactly(connection, len(answer)) == answer
                connection.close()


def test_row_037_disabled_and_unknown(net, tmp):
    external = {"externalProxyFile": os.path.join(tmp, "external_proxy.json")}
    config = users_and_proxies(net, tmp, [proxy_of("socks5", MICROSOCKS, enabled=False)],
                               alice="proxy-1", bob="proxy-2")
    with microsocks(net, tmp), rig.running(rig.Culvert(
            net.server, tmp, config, "ways", wait=((rig.SERVER_IP, PORT),), **external)) as (one,):
        assert way_of(net, "alice") == DIRECT_IP
        assert way_of(net, "bob") == 2
        assert re.search(r" error .*external-proxy proxy-2 of user bob\S* does not exist: refused",
                         one.log()), one.log()[-1500:]
        assert one.reason_count("policy_no_proxy") == 1
        users_and_proxies(net, tmp, [proxy_of("socks5", MICROSOCKS)], alice="proxy-1", bob=None)
        reloaded(one)
        assert way_of(net, "alice") == PROXY_IP
        assert way_of(net, "bob") == DIRECT_IP


def test_rows_029_032_034_of_external_proxies(net, tmp, authority):
    """TLS with a ca_file, and the fallback of the file, by the words of external_proxy.json."""
    external = {"externalProxyFile": os.path.join(tmp, "external_proxy.json")}
    proxies = [
        proxy_of("socks5s", STUNNEL, id="good",
                 tls={"server_name": "proxy.test", "ca_file": authority.file}),
        proxy_of("socks5s", STUNNEL, id="wrong-name", fallback="block",
                 tls={"server_name": "other.test", "ca_file": authority.file}),
        proxy_of("socks5s", STUNNEL, id="nobody-signed-it", tls={"server_name": "proxy.test"}),
        proxy_of("http", CLOSED_PORT, id="down", retry={"max_attempts": 2, "backoff_ms": [100]})]
    config = users_and_proxies(net, tmp, proxies, alice="good", bob="wrong-name",
                               carol="nobody-signed-it", dave="down")
    with microsocks(net, tmp), stunnel(net, tmp, authority, MICROSOCKS), rig.running(rig.Culvert(
            net.server, tmp, config, "ways", wait=((rig.SERVER_IP, PORT),), **external)) as (one,):
        assert way_of(net, "alice") == PROXY_IP
        assert way_of(net, "bob") == 1
        assert way_of(net, "carol") == DIRECT_IP
        assert way_of(net, "dave") == DIRECT_IP
        log = one.log()
        assert "external-proxy wrong-name failed after 1 attempt, user bob" in log
        assert re.search("external-proxy nobody-signed-it failed after 1 attempt, user carol\\S*: "
                         "using direct", log)
        assert re.search("external-proxy down failed after 2 attempts, user dave\\S*: using direct",
                         log)


# ---- culvert proxy -------------------------------------------------------------------------------


def culvert_proxy(*arguments, status=0, text="", space=None):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "proxy", *arguments],
                          input=text, capture_output=True, text=True, timeout=90,
                          preexec_fn=space.enter if space else None)
    assert done.returncode == status, "%s: %d\n%s%s" % (arguments, done.returncode, done.stdout,
                                                        done.stderr)
    return done.stdout if status != 2 and done.stdout else done.stderr


def test_row_069_proxies_come_change_and_go(tmp, build):
    path = os.path.join(tmp, "proxies-%s.json" % uuid.uuid4().hex[:8])
    users = written(tmp, "owners.json", json.dumps({"users": [
        {"username": "alice", "external_proxy_id": "mine"}]}))
    place = ["--file", path, "--no-reload"]
    made = json.loads(culvert_proxy("add", "socks5s", "proxy.example", "1080", "--id", "mine",
                                    "--user", NAME, "--password-stdin", "--json", *place,
                                    text=WORD + "\n"))
    assert made["proxy"] == "mine" and os.stat(path).st_mode & 0o777 == 0o600
    assert culvert_proxy("add", "http", "10.0.0.1", "3128", *place) == "proxy-1 added\n"
    for shown in (culvert_proxy("list", *place), culvert_proxy("list", "--json", *place),
                  culvert_proxy("show", "mine", *place)):
        assert "proxy.example" in shown and WORD not in shown
    culvert_proxy("update", "proxy-1", "--type", "https", "--port", "443", "--server-name",
                  "cert.example", "--fallback", "block", *place)
    culvert_proxy("disable", "proxy-1", *place)
    with open(path) as file:
        mine, other = json.load(file)["proxies"]
    assert mine["password"] == WORD and mine["enabled"]
    assert other == {"id": "proxy-1", "type": "https", "address": "10.0.0.1", "port": 443,
                     "enabled": False, "tls": {"server_name": "cert.example"},
                     "fallback": "block"}
    culvert_proxy("enable", "proxy-1", *place)
    culvert_proxy("disable", *place)
    with open(path) as file:
        assert json.load(file)["enabled"] is False
    with open(path) as file:
        before = file.read()
    for wrong, complaint in (
            (("add", "socks4", "a.example", "1"), "expected one of socks5"),
            (("add", "http", "a b", "1"), "expected an IP address or a domain"),
            (("add", "http", "a.example", "0"), "from 1 to 65535"),
            (("add", "http", "a.example", "1", "--id", "mine"), "is there already"),
            (("add", "http", "a.example", "1", "--user", "x"), "or neither"),
            (("add", "https", "a.example", "1", "--server-name", "y"), "a name with a dot"),
            (("update", "nobody", "--port", "1"), "no proxy has this id"),
            (("remove", "mine"), "cannot be told"),
            (("remove", "mine", "--users", users), "user alice goes out through it")):
        assert complaint in culvert_proxy(*wrong, *place, status=1), wrong
    with open(path) as file:
        assert file.read() == before
    assert "usage" in culvert_proxy("add", "http", *place, status=2)
    culvert_proxy("remove", "proxy-1", "--users", users, *place)
    with open(path) as file:
        assert [entry["id"] for entry in json.load(file)["proxies"]] == ["mine"]


def test_row_069_test_through_the_proxy(net, tmp, authority, internet):
    path = os.path.join(tmp, "tried-%s.json" % uuid.uuid4().hex[:8])
    with open(path, "w") as file:
        json.dump({"proxies": [
            proxy_of("socks5", MICROSOCKS, id="plain"),
            proxy_of("socks5s", STUNNEL, id="tls",
                     tls={"server_name": "proxy.test", "ca_file": authority.file}),
            proxy_of("socks5s", STUNNEL, id="nobody-signed-it", tls={"server_name": "proxy.test"}),
            proxy_of("socks5", MICROSOCKS, id="wrong-password", password="guess"),
            proxy_of("http", CLOSED_PORT, id="down")]}, file)
    os.chmod(path, 0o600)
    place = ["--file", path, "--no-reload", "--json", "--http", "%s:80" % PROXY_IP,
             "--https", "localhost:443", "--ca", authority.file]
    # the name in the certificate is the proxy's to resolve: its localhost has the internet's server
    forward = rig.Process(net.internet, [program("socat"), "TCP-LISTEN:443,bind=127.0.0.1,fork,"
                                         "reuseaddr", "TCP:%s:443" % PROXY_IP],
                          os.path.join(tmp, "socat-443.log"))
    rig.wait_for(lambda: rig.accepts(net.internet, "127.0.0.1", 443), 5, "socat listens")
    with rig.running(forward), microsocks(net, tmp), stunnel(net, tmp, authority, MICROSOCKS):
        for name in ("plain", "tls"):
            done = json.loads(culvert_proxy("test", name, *place, space=net.server))
            assert done["status"] == "success" and 0 <= done["latency_ms"] < 5000
            assert done["http"]["http_status"] == 200 and done["https"]["http_status"] == 200
        for name, reason in (("nobody-signed-it", "upstream_certificate"),
                             ("wrong-password", "upstream_credentials"),
                             ("down", "upstream_refused")):
            done = json.loads(culvert_proxy("test", name, *place, space=net.server, status=1))
            assert done["status"] == "failed" and done["http"]["reason"] == reason
            assert done["http"]["tries"] == 3
    with open(path) as file:
        results = {entry["id"]: entry["test_result"] for entry in json.load(file)["proxies"]}
    assert results["tls"]["status"] == "success" and results["tls"]["latency_ms"] >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", results["tls"]["timestamp"])
    assert results["down"]["status"] == "failed"
    assert "success, " in culvert_proxy("list", "--file", path)


def test_row_069_a_running_daemon_takes_it_up(net, tmp):
    config = users_and_proxies(net, tmp, [proxy_of("http", CLOSED_PORT, retry={
        "max_attempts": 1})], alice="proxy-1")
    with microsocks(net, tmp), rig.running(rig.Culvert(
            net.server, tmp, config, "ways", wait=((rig.SERVER_IP, PORT),),
            externalProxyFile=os.path.join(tmp, "external_proxy.json"))) as (one,):
        place = ["-c", one.config_path]
        assert way_of(net, "alice") == DIRECT_IP
        state = json.loads(culvert_proxy("status", "--json", *place))["proxies"][0]
        assert state["state"] == "held down" and 0 < state["held_down_ms"] <= 4000
        assert state["failures_total"] == state["gone_around_total"] == 1
        culvert_proxy("update", "proxy-1", "--type", "socks5", "--port", str(MICROSOCKS), *place)
        assert way_of(net, "alice") == PROXY_IP
        assert "in use" in culvert_proxy("status", *place)
        assert "user alice goes out through it" in culvert_proxy("remove", "proxy-1", *place,
                                                                 status=1)
        culvert_proxy("disable", "proxy-1", *place)
        assert way_of(net, "alice") == DIRECT_IP
        assert "disabled" in culvert_proxy("status", "--control", one.control_path)
