# SPDX-License-Identifier: MIT
"""The HTTP proxy: tunnels and forwarded requests, plain and behind TLS, as clients see it."""

import base64
import contextlib
import hashlib
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest
import rig
from test_reload import reload
from test_tls_inbound import NAME, combined, tls_stream

PORT, TLS_PORT, OPEN_PORT = 8119, 8118, 8120
USERS = {"alice": "wonder:land", "bob": "builder"}
ECHO = 8090  # an origin that says what it got
ALICE = "Proxy-Authorization: Basic " + base64.b64encode(b"alice:wonder:land").decode()


def http_config(port, accounts=None, stream=None, **settings):
    if accounts:
        settings["accounts"] = [{"user": u, "pass": p} for u, p in accounts.items()]
    inbound = {"tag": "http", "listen": rig.SERVER_IP, "port": port, "protocol": "http",
               "settings": settings}
    if stream:
        inbound["streamSettings"] = stream
    return {"inbounds": [inbound],
            "outbounds": [{"tag": "direct", "protocol": "freedom",
                           "settings": {"finalRules": [{"action": "allow"}]}},
                          {"tag": "block", "protocol": "blackhole"}],
            "routing": {"rules": [{"ip": ["10.77.2.66"], "outboundTag": "block"}]}}


@pytest.fixture(scope="module")
def proxies(net, tmp, authority, internet, echo):
    """One daemon: password on PORT, the same behind TLS on TLS_PORT, nobody asked on OPEN_PORT."""
    config = http_config(PORT, USERS)
    for other in (http_config(TLS_PORT, USERS, tls_stream(combined(authority, NAME))),
                  http_config(OPEN_PORT)):
        other["inbounds"][0]["tag"] = "http-%d" % other["inbounds"][0]["port"]
        config["inbounds"] += other["inbounds"]
    daemon = rig.Culvert(net.server, tmp, config, "http-proxy", loginFailures=0, wait=tuple(
        (rig.SERVER_IP, port) for port in (PORT, TLS_PORT, OPEN_PORT)))
    with rig.running(daemon):
        yield daemon


class Echo:
    """An origin by hand: its answers are chosen by the path, what it got is kept."""

    def __init__(self, net, address, port):
        with net.internet:
            self.listener = socket.create_server((address, port), backlog=64)
        self.heads, self.bodies = [], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            data = b""
            while b"\r\n\r\n" not in data:
                block = connection.recv(65536)
                if not block:
                    return
                data += block
            head, rest = data.split(b"\r\n\r\n", 1)
            self.heads.append(head.decode())
            path = head.split()[1].decode()
            if "/slow-head" in path:
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow":
                    connection.sendall(bytes([byte]))
                    time.sleep(0.005)
                return
            body = self.body(connection, head.decode().lower(), rest)
            self.bodies.append(body)
            connection.sendall(self.ANSWERS.get(path, self.told(head, body)))
            if "/upgrade" in path:
                while True:
                    block = connection.recv(65536)
                    if not block:
                        return
                    connection.sendall(block.upper())

    @staticmethod
    def told(head, body):
        text = head + b"\n" + hashlib.sha256(body).hexdigest().encode() + b" %d\n" % len(body)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Origin: echo\r\n\r\n" % len(text) + text

    @staticmethod
    def body(connection, head, rest):
        if "\r\ntransfer-encoding: chunked" in head:
            while not rest.endswith(b"0\r\n\r\n"):
                rest += connection.recv(65536)
            return unchunk(rest)
        length = re.search("\r\ncontent-length: *([0-9]+)", head)
        while length and len(rest) < int(length.group(1)):
            rest += connection.recv(65536)
        return rest if length else b""

    ANSWERS = {
        "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
                    b"Keep-Alive: timeout=5\r\nConnection: keep-alive, X-Private\r\n"
                    b"X-Private: secret\r\n\r\n5;note=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
        "/until-close": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "/none": b"HTTP/1.1 204 No Content\r\n\r\n",
        "/not-modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        "/interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "/both": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
                 b"2\r\nok\r\n0\r\n\r\n",
        "/garbage": b"\0\0\0\0\r\n\r\n",
        "/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "/nothing": b"",
        "/upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                    b"Upgrade: websocket\r\n\r\nfirst",
    }


def unchunk(data):
    body = b""
    while True:
        size, data = data.split(b"\r\n", 1)
        if int(size, 16) == 0:
            return body
        body += data[:int(size, 16)]
        data = data[int(size, 16) + 2:]


@pytest.fixture(scope="module")
def echo(net):
    server = Echo(net, rig.INTERNET_IP, ECHO)
    yield server
    server.listener.close()


def url(path="/", port=80):
    return "http://%s:%d%s" % (rig.INTERNET_IP, port, path)


def proxy(port=PORT, credentials="bob:builder@", scheme="http"):
    return ["-x", "%s://%s%s:%d" % (scheme, credentials, rig.SERVER_IP, port)]


class Raw:
    """A connection to the proxy and the responses on it, one by one."""

    def __init__(self, net, port=OPEN_PORT, wrap=lambda connection: connection,
                 address=rig.SERVER_IP):
        self.connection = wrap(rig.tcp(net.client, address, port, timeout=15))
        self.data = b""

    def send(self, *lines, body=b""):
        self.connection.sendall("\r\n".join(lines + ("", "")).encode() + body)

    def more(self):
        block = self.connection.recv(65536)
        if not block:
            raise EOFError(self.data)
        self.data += block

    def response(self, has_body=True):
        """(status, fields, body)"""
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        fields = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip()
                  for line in lines[1:]}
        status, body = int(lines[0].split()[1]), b""
        if not has_body or status in (204, 304) or status < 200:
            pass
        elif "content-length" in fields:
            while len(self.data) < int(fields["content-length"]):
                self.more()
            body = self.data[:int(fields["content-length"])]
            self.data = self.data[len(body):]
        elif fields.get("transfer-encoding") == "chunked":
            while not self.data.endswith(b"0\r\n\r\n"):
                self.more()
            body, self.data = unchunk(self.data), b""
        elif status != 200 or "established" not in lines[0]:
            with contextlib.suppress(EOFError):
                while True:
                    self.more()
            body, self.data = self.data, b""
        return status, fields, body

    def end(self, seconds=15):
        return rig.read_all(self.connection, seconds)


# ---- CONNECT -----------------------------------------------------------------------------------


def test_row_056_connect(net, proxies, internet):
    status, body, error = rig.curl(net.client, "-p", *proxy(), url("/medium"))
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    status, body, error = rig.curl(net.client, *proxy(), "--cacert", internet.ca, "--connect-to",
                                   "web.test:443:%s:443" % rig.INTERNET_IP, "https://web.test/medium")
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    status, body, error = rig.curl(net.client, "-p", *proxy(), "-X", "POST", "-T",
                                   os.path.join(internet.root, "medium"), url("/sink"))
    assert status == 0 and internet.hashes["medium"].encode() in body, error
    proxies.wait_idle()


def test_row_056_openssl(net, proxies, internet):
    done = subprocess.run(
        ["openssl", "s_client", "-proxy", "%s:%d" % (rig.SERVER_IP, OPEN_PORT), "-connect",
         "%s:443" % rig.INTERNET_IP, "-servername", "web.test", "-CAfile", internet.ca,
         "-verify_return_error"], input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=20, preexec_fn=net.client.enter)
    assert done.returncode == 0 and b"Verification: OK" in done.stdout, done.stdout


def test_row_056_git(net, tmp, proxies, internet):
    """git over https through the tunnel, and over http as forwarded requests."""
    origin, run = os.path.join(tmp, "origin"), subprocess.check_call
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.test", "-c", "safe.directory=*"]
    run(git + ["init", "-q", "-b", "main", origin])
    with open(os.path.join(origin, "file"), "w") as file:
        file.write("content\n" * 5000)
    run(git + ["-C", origin, "add", "file"])
    run(git + ["-C", origin, "commit", "-q", "-m", "first"])
    bare = os.path.join(internet.root, "repository.git")
    run(git + ["clone", "-q", "--bare", origin, bare])
    run(git + ["-C", bare, "update-server-info"])
    for number, (address, more) in enumerate((
            ("http://%s/repository.git" % rig.INTERNET_IP, []),
            ("https://%s/repository.git" % rig.INTERNET_IP, ["-c", "http.sslVerify=false"]))):
        copy = os.path.join(tmp, "copy-%d" % number)
        run(git + more + ["-c", "http.proxy=http://bob:builder@%s:%d" % (rig.SERVER_IP, PORT),
                          "clone", "-q", address, copy], preexec_fn=net.client.enter)
        with open(os.path.join(copy, "file")) as file:
            assert file.read() == "content\n" * 5000


def test_row_056_netcat_and_http_1_0(net, proxies, internet):
    done = subprocess.run(
        ["nc", "-X", "connect", "-x", "%s:%d" % (rig.SERVER_IP, OPEN_PORT), "-w", "5",
         rig.INTERNET_IP, "80"], input=b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=15, preexec_fn=net.client.enter)
    assert done.stdout.endswith(b"the internet\n"), done


def test_row_056_early_bytes_and_single_bytes(net, proxies, internet):
    head = ("CONNECT %s:80 HTTP/1.1\r\nHost: %s:80\r\n\r\n" % ((rig.INTERNET_IP,) * 2)).encode()
    everything = head + b"GET / HTTP/1.0\r\n\r\n"
    for step in (len(everything), 1):
        raw = Raw(net)
        for at in range(0, len(everything), step):
            raw.connection.sendall(everything[at:at + step])
        answer, how = raw.end(10)
        assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK")
        assert answer.endswith(b"the internet\n") and how == "fin"
    proxies.wait_idle()


def test_row_056_half_close(net, proxies):
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8092))

    def upstream():
        connection, _ = listener.accept()
        data, how = rig.read_all(connection, 10)
        time.sleep(0.2)
        connection.sendall(b"%d %s" % (len(data), how.encode()))
        connection.close()

    with listener:
        threading.Thread(target=upstream, daemon=True).start()
        raw = Raw(net)
        raw.send("CONNECT %s:8092 HTTP/1.1" % rig.INTERNET_IP, "Host: x",
                 body=bytes(100000))
        raw.connection.shutdown(socket.SHUT_WR)
        assert raw.response()[0] == 200
        data, how = raw.end(10)
        assert (raw.data + data, how) == (b"100000 fin", "fin")
    proxies.wait_idle()


def test_row_056_engines(net, proxies, internet):
    """A tunnel is moved by the kernel like any other session."""
    raw = Raw(net)
    raw.send("CONNECT %s:80 HTTP/1.1" % rig.INTERNET_IP, "Host: x")
    assert raw.response()[0] == 200
    raw.connection.sendall(b"GET /paced/medium HTTP/1.0\r\n\r\n")
    while len(raw.data) < 300000:
        raw.more()
    session = proxies.sessions()[0]
    assert session["state"] == "relay" and "layers" not in str(session), session
    proxies.wait_idle()


@pytest.mark.parametrize("target, status", [
    ("10.77.2.2:9", 502), ("nothing.invalid:80", 502), ("10.77.2.66:80", 403),
    ("10.77.2.2", 400), ("10.77.2.2:0", 400), ("10.77.2.2:65536", 400), (":80", 400),
    ("[fd77::1:80", 400), ("a b:80", 400), ("10.77.2.2:80/", 400)])
def test_row_056_refused_tunnels(net, proxies, target, status):
    raw = Raw(net)
    raw.send("CONNECT %s HTTP/1.1" % target, "Host: " + target)
    answer, fields, body = raw.response()
    assert answer == status and len(body) == int(fields["content-length"]), (answer, fields)
    if status == 400:
        assert fields["connection"] == "close" and raw.end() == (b"", "fin")
    else:  # and the connection goes on
        raw.send("CONNECT %s:80 HTTP/1.1" % rig.INTERNET_IP, "Host: x")
        assert raw.response()[0] == 200
    proxies.wait_idle()


# ---- forwarded requests ------------------------------------------------------------------------


def test_row_057_absolute_form(net, proxies, internet):
    status, body, error = rig.curl(net.client, *proxy(), url("/medium"))
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    status, body, error = rig.curl(net.client, *proxy(), "-0", url("/"))
    assert (status, body) == (0, b"the internet\n"), error
    status, body, error = rig.curl(net.client, *proxy(), "-I", url("/medium"))
    assert status == 0 and b"Content-Length: %d" % internet.sizes["medium"] in body, body
    proxies.wait_idle()


def test_row_057_two_hosts_on_one_connection(net, proxies, internet, echo):
    status, body, error = rig.curl(
        net.client, *proxy(), "-v", url("/"), url("/other?x=1", ECHO), url("/"))
    assert status == 0, error
    assert body.startswith(b"the internet\nGET /other?x=1 HTTP/1.1\r\nHost: 10.77.2.2:8090")
    assert body.endswith(b"the internet\n")
    assert error.count("Re-using existing") == 2, error
    proxies.wait_idle()


def test_row_057_hop_by_hop(net, proxies, echo):
    raw = Raw(net, PORT)
    raw.send("GET http://user:secret@%s:%d?q HTTP/1.1" % (rig.INTERNET_IP, ECHO), "Host: elsewhere",
             ALICE, "Proxy-Connection: keep-alive", "Connection: X-Mine, keep-alive",
             "X-Mine: private", "Keep-Alive: 5", "TE: trailers", "Upgrade: h2c",
             "Authorization: Basic b3JpZ2lu", "Accept: */*")
    status, fields, body = raw.response()
    text = body.decode()
    assert status == 200 and fields["x-origin"] == "echo", fields
    assert text.startswith("GET /?q HTTP/1.1\r\nHost: %s:%d\r\n" % (rig.INTERNET_IP, ECHO)), text
    assert "Authorization: Basic b3JpZ2lu\r\n" in text and "Accept: */*" in text
    for word in ("proxy-", "x-mine", "keep-alive", "te:", "upgrade", "secret", "elsewhere",
                 "via", "forwarded"):
        assert word not in text.lower(), (word, text)
    raw.send("GET http://%s:%d/chunked HTTP/1.1" % (rig.INTERNET_IP, ECHO), "Host: x", ALICE)
    status, fields, body = raw.response()
    assert (status, body) == (200, b"hello world")
    assert not {"keep-alive", "x-private", "trailer"} & set(fields), fields
    proxies.wait_idle()


def test_row_057_framing_of_responses(net, proxies, echo):
    raw = Raw(net)

    def get(path, *more, method="GET", version="1.1"):
        raw.send("%s http://%s:%d%s HTTP/%s" % (method, rig.INTERNET_IP, ECHO, path, version),
                 "Host: x", *more)
        return raw.response(has_body=method != "HEAD")

    assert get("/until-close")[2] == b"until the end"
    assert get("/none")[0] == 204
    assert get("/not-modified")[0] == 304
    assert get("/slow-head")[2] == b"slow"
    assert get("/both")[2] == b"ok"
    assert get("/chunked", method="HEAD")[0] == 200
    status, fields, _ = get("/interim")
    assert (status, fields) == (103, {"link": "</a>"})
    assert raw.response()[2] == b"ok"
    assert get("/x", method="OPTIONS")[2].startswith(b"OPTIONS /x HTTP/1.1\r\n")
    status, fields, body = get("/chunked", "Connection: keep-alive", version="1.0")
    assert (status, body, fields.get("connection")) == (200, b"hello world", "close")
    proxies.wait_idle()


def test_row_057_bad_origins(net, proxies, echo):
    for path in ("/garbage", "/two-lengths", "/nothing"):
        raw = Raw(net)
        raw.send("GET http://%s:%d%s HTTP/1.1" % (rig.INTERNET_IP, ECHO, path), "Host: x")
        assert raw.response()[0] == 502, path
        assert raw.end()[1] == "fin"
    raw = Raw(net)
    raw.send("GET http://%s:%d/short HTTP/1.1" % (rig.INTERNET_IP, ECHO), "Host: x")
    data, how = raw.end()
    assert data.endswith(b"short") and how == "rst"  # must not look whole
    proxies.wait_idle()


def test_row_057_bodies(net, proxies, internet, echo):
    data = os.urandom(300000)
    digest = hashlib.sha256(data).hexdigest()
    for more in (["--data-binary", "@-"], ["-T", "-"], ["-T", "-", "-H", "Expect: 100-continue"],
                 ["--data-binary", "@-", "-H", "Expect:"]):
        done = subprocess.run(["curl", "-sS", "--max-time", "20", *proxy(), *more,
                               url("/post", ECHO)], input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=net.client.enter)
        assert ("%s %d\n" % (digest, len(data))).encode() in done.stdout, (more, done)
    status, body, error = rig.curl(net.client, *proxy(), "-X", "POST", "-T",
                                   os.path.join(internet.root, "medium"), url("/sink"))
    assert status == 0 and internet.hashes["medium"].encode() in body, error
    proxies.wait_idle()


def test_row_057_pipelined_and_single_bytes(net, proxies, internet, echo):
    one = "GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n" % rig.INTERNET_IP
    two = ("POST http://%s:%d/p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
           "3;x\r\nabc\r\n0\r\nX-T: 1\r\n\r\n" % (rig.INTERNET_IP, ECHO))
    everything = (one + two + one).encode()
    for step in (len(everything), 1):
        raw = Raw(net)
        for at in range(0, len(everything), step):
            raw.connection.sendall(everything[at:at + step])
        assert raw.response()[2] == b"the internet\n"
        assert hashlib.sha256(b"abc").hexdigest().encode() in raw.response()[2]
        assert raw.response()[2] == b"the internet\n"
    proxies.wait_idle()


def test_row_057_answers_wait_for_their_reader(net, proxies):
    """Whoever asks and asks and reads nothing gets every answer later, and is not asked for more."""
    count, raw = 8000, Raw(net, PORT)
    asking = threading.Thread(
        target=raw.connection.sendall, args=(b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * count,), daemon=True)
    asking.start()
    time.sleep(1)
    with contextlib.suppress(EOFError):
        while raw.data.count(b"HTTP/1.1 407 ") < count:
            raw.more()
    assert raw.data.count(b"HTTP/1.1 407 ") == count
    proxies.wait_idle()


def test_row_057_reload_ends_persistence(net, tmp, internet):
    """Else a browser would go on with people, passwords and ways of before."""
    port = OPEN_PORT + 4
    daemon = rig.Culvert(net.server, tmp, http_config(port, USERS), "http-reload", loginFailures=0,
                         wait=((rig.SERVER_IP, port),))
    with rig.running(daemon):
        raw = Raw(net, port)
        for reloaded in (False, True):
            raw.send("GET %s HTTP/1.1" % url(), "Host: x", ALICE)
            status, fields, body = raw.response()
            assert (status, body) == (200, b"the internet\n")
            assert fields.get("connection") == ("close" if reloaded else None), fields
            done = reload(daemon, http_config(port, {"alice": "new"}))
            assert done.returncode == 0, done.stderr
        assert raw.end() == (b"", "fin")
        raw = Raw(net, port)
        raw.send("GET %s HTTP/1.1" % url(), "Host: x", ALICE)
        assert raw.response()[0] == 407
        daemon.wait_idle()


def test_row_057_upgrade(net, proxies, echo):
    """A WebSocket through a forwarded request: raw in both directions after 101."""
    raw = Raw(net)
    raw.send("GET http://%s:%d/upgrade HTTP/1.1" % (rig.INTERNET_IP, ECHO), "Host: x",
             "Connection: Upgrade", "Upgrade: websocket")
    status, fields, _ = raw.response()
    assert status == 101 and fields["upgrade"] == "websocket", fields
    raw.connection.sendall(b"frame")
    while len(raw.data) < 10:
        raw.more()
    assert raw.data == b"firstFRAME"
    raw.connection.shutdown(socket.SHUT_WR)
    assert raw.end() == (b"", "fin")
    proxies.wait_idle()


@pytest.mark.parametrize("address, status", [
    ("http://10.77.2.2:9/", 502), ("http://nothing.invalid/", 502), ("http://10.77.2.66/", 403),
    ("https://10.77.2.2/", 400), ("ftp://10.77.2.2/", 400), ("/", 400), ("*", 400),
    ("http:///", 400), ("http://10.77.2.2/#fragment", 400), ("http://10.77.2.2:x/", 400)])
def test_row_057_refused_requests(net, proxies, internet, address, status):
    raw = Raw(net)
    raw.send("GET %s HTTP/1.1" % address, "Host: x")
    assert raw.response()[0] == status
    if status != 400:
        raw.send("GET %s HTTP/1.1" % url(), "Host: x")
        assert raw.response()[2] == b"the internet\n"
    proxies.wait_idle()


def test_row_057_timeout_is_504(net, tmp, internet):
    """An origin that never answers."""
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8091))
    config = http_config(OPEN_PORT + 1, policy={})
    del config["inbounds"][0]["settings"]["policy"]
    config["policy"] = {"levels": {"0": {"connIdle": 1, "handshake": 1}}}
    daemon = rig.Culvert(net.server, tmp, config, "http-idle",
                         wait=((rig.SERVER_IP, OPEN_PORT + 1),))
    with rig.running(daemon), listener:
        raw = Raw(net, OPEN_PORT + 1)
        raw.send("GET http://%s:8091/ HTTP/1.1" % rig.INTERNET_IP, "Host: x")
        assert raw.response()[0] == 504
        raw = Raw(net, OPEN_PORT + 1)  # and a client that never finishes its head
        raw.connection.sendall(b"GET http://")
        assert raw.response()[0] == 408 and raw.end() == (b"", "fin")
        daemon.wait_idle()


# ---- Basic -------------------------------------------------------------------------------------


def test_row_058_basic(net, proxies, internet):
    for tunnel in ([], ["-p"]):
        for more in ([], ["--proxy-anyauth"], ["--proxy-basic"]):
            accepted = proxies.counter("accepted")
            status, body, error = rig.curl(net.client, *tunnel, *more, "-v", *proxy(), url())
            assert (status, body) == (0, b"the internet\n"), error
            if more == ["--proxy-anyauth"]:  # asked, then on the same connection
                assert "HTTP/1.1 407" in error and "Connection #1" not in error, error
                assert proxies.counter("accepted") == accepted + 1
        status, body, error = rig.curl(net.client, *tunnel, "-v",
                                       *proxy(credentials="alice:wonder%3Aland@"), url())
        assert (status, body) == (0, b"the internet\n"), error
        for credentials in ("bob:wrong@", "nobody:builder@", "bob:@", ""):
            status, body, error = rig.curl(net.client, *tunnel, "-v", "-o", "/dev/null", "-w",
                                           "%{http_code} %{http_connect}",
                                           *proxy(credentials=credentials), url())
            assert b"407" in body, (credentials, body, error)
            assert 'Proxy-Authenticate: Basic realm="proxy", charset="UTF-8"' in error, error
    proxies.wait_idle()


def test_row_058_connection_survives_407(net, proxies, internet):
    raw = Raw(net, PORT)
    raw.send("GET %s HTTP/1.1" % url(), "Host: x")
    assert raw.response()[0] == 407
    raw.send("POST %s HTTP/1.1" % url("/sink"), "Host: x", "Content-Length: 5", body=b"GET /")
    assert raw.response()[0] == 407
    raw.send("GET %s HTTP/1.1" % url(), "Host: x", "Proxy-Authorization: Basic !!!")
    assert raw.response()[0] == 407
    raw.send("GET %s HTTP/1.1" % url(), "Host: x", ALICE)
    assert raw.response()[2] == b"the internet\n"
    raw.send("GET %s HTTP/1.1" % url(), "Host: x")  # every request for itself
    assert raw.response()[0] == 407
    proxies.wait_idle()


def test_row_058_two_people_on_one_connection(net, proxies, internet):
    bob = "proxy-authorization: bAsIc " + base64.b64encode(b"bob:builder").decode()
    raw = Raw(net, PORT)
    for who, name in ((ALICE, "alice"), (bob, "bob"), (bob, "bob")):
        raw.send("GET %s HTTP/1.1" % url(), "Host: x", who)
        assert raw.response()[2] == b"the internet\n"
        assert proxies.sessions()[0]["user"] == name
    proxies.wait_idle()


def test_row_058_origin_form_without_credentials(net, proxies):
    raw = Raw(net, PORT)
    raw.send("GET / HTTP/1.1", "Host: x")
    assert raw.response()[0] == 407


def test_row_058_hidden(net, tmp, authority, internet):
    """With `hide` a browser that is no proxy's client meets a web server."""
    config = http_config(TLS_PORT + 10, USERS, tls_stream(combined(authority, NAME)),
                         hide="%s:80" % rig.INTERNET_IP)
    config["inbounds"].append(dict(http_config(OPEN_PORT + 2, USERS, hide="%s:80" % rig.INTERNET_IP)
                                   ["inbounds"][0], tag="plain"))
    daemon = rig.Culvert(net.server, tmp, config, "http-hidden",
                         wait=((rig.SERVER_IP, TLS_PORT + 10), (rig.SERVER_IP, OPEN_PORT + 2)))
    with rig.running(daemon):
        resolve = ["--cacert", authority.file, "--resolve",
                   "%s:%d:%s" % (NAME, TLS_PORT + 10, rig.SERVER_IP)]
        status, body, error = rig.curl(net.client, *resolve, "https://%s:%d/" % (NAME, TLS_PORT + 10))
        assert (status, body) == (0, b"the internet\n"), error
        for more in ([], ["-p"]):
            status, body, error = rig.curl(
                net.client, *more, *resolve, "--proxy-cacert", authority.file, "-x",
                "https://bob:builder@%s:%d" % (NAME, TLS_PORT + 10), url())
            assert (status, body) == (0, b"the internet\n"), error
        status, body, error = rig.curl(net.client, "http://%s:%d/small" % (rig.SERVER_IP, OPEN_PORT + 2))
        assert hashlib.sha256(body).hexdigest() == internet.hashes["small"], error
        raw = Raw(net, OPEN_PORT + 2)
        raw.connection.sendall(b"\0nonsense\r\n\r\n")
        assert b"nginx" in raw.end()[0]
        daemon.wait_idle()


# ---- smuggling ---------------------------------------------------------------------------------

SMUGGLED = {
    "length and chunks": ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
    "chunks and length": ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
    "two lengths": ("Content-Length: 3\r\nContent-Length: 4\r\n", 400),
    "list of lengths": ("Content-Length: 3, 3\r\n", 400),
    "signed length": ("Content-Length: +3\r\n", 400),
    "hexadecimal length": ("Content-Length: 0x3\r\n", 400),
    "huge length": ("Content-Length: 99999999999999999999\r\n", 400),
    "empty length": ("Content-Length: \r\n", 400),
    "space before colon": ("Transfer-Encoding : chunked\r\n", 400),
    "unknown coding": ("Transfer-Encoding: gzip, chunked\r\n", 501),
    "coding not last": ("Transfer-Encoding: chunked, identity\r\n", 501),
    "xchunked": ("Transfer-Encoding: xchunked\r\n", 501),
    "vertical tab": ("Transfer-Encoding: \x0bchunked\r\n", 400),
    "two codings": ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
    "folded line": ("X: a\r\n b\r\n", 400),
    "LF": ("X: a\nContent-Length: 3\r\n", 400),
    "CR": ("X: a\rContent-Length: 3\r\n", 400),
    "NUL": ("X: a\0b\r\n", 400),
    "no colon": ("Content-Length\r\n", 400),
    "empty name": (": 3\r\n", 400),
    "two hosts": ("Host: y\r\n", 400),
    "Connection deletes length": ("Connection: content-length\r\nContent-Length: 3\r\n", 400),
    "Connection deletes Host": ("Connection: host\r\n", 400),
    "too many fields": ("X: y\r\n" * 101, 431),
    "head too long": ("X: " + "y" * 17000 + "\r\n", 431),
}


@pytest.mark.parametrize("what", SMUGGLED)
def test_row_059_smuggling(net, proxies, echo, what):
    fields, status = SMUGGLED[what]
    before = len(echo.heads)
    raw = Raw(net)
    raw.connection.sendall(("POST http://%s:%d/smuggled HTTP/1.1\r\nHost: x\r\n%s\r\n0\r\n\r\n"
                            % (rig.INTERNET_IP, ECHO, fields)).encode("latin-1"))
    answer, named, _ = raw.response()
    assert answer == status and named["connection"] == "close", (answer, named)
    assert raw.end()[1] == "fin" and len(echo.heads) == before


@pytest.mark.parametrize("line, status", [
    ("GET http://10.77.2.2:8090/ HTTP/2.0", 505), ("GET http://10.77.2.2:8090/ HTTP/1.1x", 400),
    ("GET  http://10.77.2.2:8090/ HTTP/1.1", 400), ("GET http://10.77.2.2:8090/ http/1.1", 400),
    ("GET http://10.77.2.2:8090/", 400), ("G@T http://10.77.2.2:8090/ HTTP/1.1", 400),
    ("GET\thttp://10.77.2.2:8090/ HTTP/1.1", 400), ("\x16\x03\x01\x02\x00", 400),
    ("CONNECT 10.77.2.2:8090 HTTP/1.1\r\nContent-Length: 5", 400),
    ("CONNECT 10.77.2.2:8090 HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
    ("POST http://10.77.2.2:8090/ HTTP/1.0\r\nTransfer-Encoding: chunked", 400)])
def test_row_059_first_lines(net, proxies, echo, line, status):
    before = len(echo.heads)
    raw = Raw(net)
    raw.send(line, "Host: x")
    assert raw.response()[0] == status and len(echo.heads) == before


@pytest.mark.parametrize("body", [b"zz\r\n", b"\r\n", b"-1\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n",
                                  b"1" * 17 + b"\r\n", b"3 \0\r\nabc\r\n0\r\n\r\n",
                                  b"0\r\nX\n\r\n\r\n"])
def test_row_059_bad_chunks(net, proxies, echo, body):
    """Nothing of what follows them is a request."""
    raw = Raw(net)
    raw.send("POST http://%s:%d/chunks HTTP/1.1" % (rig.INTERNET_IP, ECHO), "Host: x",
             "Transfer-Encoding: chunked",
             body=body + ("GET http://%s:%d/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
                          % (rig.INTERNET_IP, ECHO)).encode())
    assert raw.response()[0] == 400
    raw.end()
    assert not any("/smuggled" in head for head in echo.heads)
    proxies.wait_idle()


# ---- behind TLS --------------------------------------------------------------------------------


def test_row_060_https_proxy(net, proxies, authority, internet):
    through = ["--proxy-cacert", authority.file, "--resolve",
               "%s:%d:%s" % (NAME, TLS_PORT, rig.SERVER_IP), "-x",
               "https://bob:builder@%s:%d" % (NAME, TLS_PORT)]
    for more in ([], ["-p"]):
        status, body, error = rig.curl(net.client, *through, *more, url("/medium"))
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
        status, body, error = rig.curl(net.client, *through, *more, "-X", "POST", "-T",
                                       os.path.join(internet.root, "medium"), url("/sink"))
        assert status == 0 and internet.hashes["medium"].encode() in body, error
    status, body, error = rig.curl(net.client, *through, "--cacert", internet.ca, "--connect-to",
                                   "web.test:443:%s:443" % rig.INTERNET_IP, "https://web.test/medium")
    assert status == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    status, body, error = rig.curl(net.client, *through, "-v", url("/"), url("/small"), url("/"))
    assert status == 0 and error.count("Re-using existing") == 2, error
    proxies.wait_idle()


def test_row_060_only_http_1_and_only_tls_13(net, proxies, authority):
    context = ssl.create_default_context(cafile=authority.file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    raw = Raw(net, TLS_PORT, lambda plain: context.wrap_socket(plain, server_hostname=NAME))
    assert raw.connection.selected_alpn_protocol() == "http/1.1"
    assert raw.connection.version() == "TLSv1.3"
    raw.send("GET / HTTP/1.1", "Host: x")
    assert raw.response()[0] == 407
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        Raw(net, TLS_PORT, lambda plain: context.wrap_socket(plain, server_hostname=NAME))
    plain = Raw(net, TLS_PORT)
    plain.send("GET / HTTP/1.1", "Host: x")
    assert b"HTTP" not in plain.end()[0]


def test_row_060_early_bytes_behind_tls(net, proxies, authority, internet):
    context = ssl.create_default_context(cafile=authority.file)
    raw = Raw(net, TLS_PORT, lambda plain: context.wrap_socket(plain, server_hostname=NAME))
    raw.send("CONNECT %s:80 HTTP/1.1" % rig.INTERNET_IP, "Host: x", ALICE,
             body=b"GET / HTTP/1.0\r\n\r\n")
    data, how = raw.end()
    assert data.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK"), data
    assert data.endswith(b"the internet\n") and how == "fin"
    raw.connection.close()
    proxies.wait_idle()


def test_row_060_half_a_record(net, proxies, authority, internet):
    """A client that leaves in the middle of its body, and of a record, is not waited for."""
    context = ssl.create_default_context(cafile=authority.file)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
    connection = rig.tcp(net.client, rig.SERVER_IP, TLS_PORT)
    while True:
        try:
            peer.do_handshake()
            break
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))
    peer.write(("POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: 5000\r\n\r\nbegun"
                % (url("/sink"), ALICE)).encode())
    connection.sendall(outgoing.read())
    rig.wait_for(lambda: [s for s in proxies.sessions() if s["state"] == "http-exchange"], 5,
                 "the request is on its way")
    peer.write(bytes(1000))
    connection.sendall(outgoing.read()[:500])
    connection.shutdown(socket.SHUT_WR)
    rig.wait_for(lambda: not proxies.sessions(), 10, "the session ends")


def test_row_060_wrong_certificate_is_the_clients_error(net, proxies, authority):
    status, _, _ = rig.curl(net.client, "-x", "https://bob:builder@%s:%d" % (rig.SERVER_IP, TLS_PORT),
                            "--proxy-cacert", authority.file, url())
    assert status == 60


# ---- people ------------------------------------------------------------------------------------


def test_limits_hold_for_forwarded_requests(net, tmp, internet):
    """Rate, sessions and counters of a user, over several requests of one connection."""
    config = http_config(OPEN_PORT + 3)
    config["inbounds"][0]["settings"]["accounts"] = [
        {"user": "bob", "pass": "builder", "downlinkBytesPerSecond": 4 * rig.MIB,
         "maxSessions": 1}]
    daemon = rig.Culvert(net.server, tmp, config, "http-limits", loginFailures=0,
                         stateDirectory=tmp, wait=((rig.SERVER_IP, OPEN_PORT + 3),))
    with rig.running(daemon):
        begun = time.monotonic()
        status, body, error = rig.curl(net.client, "-v", *proxy(OPEN_PORT + 3), url("/medium"),
                                       url("/medium"))
        elapsed = time.monotonic() - begun
        assert status == 0 and "Re-using existing" in error, error
        assert len(body) == 2 * internet.sizes["medium"]
        assert 2.5 < elapsed < 8, elapsed  # 16 MiB at 4 MiB/s
        daemon.wait_idle()
        people = daemon.ask("users")["users"]
        assert people[0]["downlink_bytes"] >= len(body), people
        bob = "Proxy-Authorization: Basic " + base64.b64encode(b"bob:builder").decode()
        first, second = Raw(net, OPEN_PORT + 3), Raw(net, OPEN_PORT + 3)
        first.send("GET %s HTTP/1.1" % url(), "Host: x", bob)
        assert first.response()[0] == 200
        second.send("GET %s HTTP/1.1" % url(), "Host: x", bob)
        assert second.response()[0] == 407
        first.connection.close()
        rig.wait_for(lambda: len(daemon.sessions()) == 1, 5, "the first session's end")
        second.send("GET %s HTTP/1.1" % url(), "Host: x", bob)
        assert second.response()[0] == 200
        daemon.wait_idle()


def test_idle_connections_take_no_share(net, tmp, internet):
    """A person's rate is divided among the connections that carry something, not those that wait for
    their next request."""
    port, rate = OPEN_PORT + 5, 512 * 1024
    config = http_config(port)
    config["inbounds"][0]["settings"]["accounts"] = [
        {"user": "bob", "pass": "builder", "uplinkBytesPerSecond": rate}]
    daemon = rig.Culvert(net.server, tmp, config, "http-idle-share", loginFailures=0,
                         stateDirectory=tmp, wait=((rig.SERVER_IP, port),))
    bob = "Proxy-Authorization: Basic " + base64.b64encode(b"bob:builder").decode()

    def post(raw, size):
        raw.send("POST %s HTTP/1.1" % url("/sink"), "Host: x", bob, "Content-Length: %d" % size,
                 body=bytes(size))
        assert raw.response()[0] == 200

    with rig.running(daemon):
        idle = [Raw(net, port) for _ in range(9)]
        for raw in idle:
            post(raw, 10)
        raw = Raw(net, port)
        raw.connection.settimeout(60)
        begun = time.monotonic()
        post(raw, 2 * rate)
        assert time.monotonic() - begun < 10  # two seconds; twenty if nine others had their share
        daemon.wait_idle()


def test_many_at_once(net, proxies, internet):
    """What a browser does with a page: many connections, many requests on each."""
    failed = []

    def page():
        try:
            raw = Raw(net, PORT)
            for _ in range(10):
                raw.send("GET %s HTTP/1.1" % url("/small"), "Host: x", ALICE)
                status, _, body = raw.response()
                if status != 200 or hashlib.sha256(body).hexdigest() != internet.hashes["small"]:
                    failed.append((status, len(body)))
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=page) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    proxies.wait_idle()
