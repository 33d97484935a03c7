# SPDX-License-Identifier: MIT
"""The status endpoint: who may ask, what it tells, what it never tells; with curl, a Prometheus
parser and Chromium."""

import base64
import contextlib
import json
import os
import subprocess
import time

import pytest
import rig
from browser import Browser
from socks_udp import Association, Echo
from test_users import mkpasswd

PORT, OTHER, STATUS = 1096, 1097, 9000  # OTHER: of what runs beside the module's daemon
NAME, WORD = "culvert", "over the shoulder"
SITE = "http://127.0.0.1:%d" % STATUS
PEOPLE = ("alice", "bob", "carol")
SECRET = "secret-of-a-user"


@pytest.fixture(scope="module")
def stored():
    return mkpasswd("sha-512", WORD, "-R", "1000")


def config(people=PEOPLE, port=OTHER, **more):
    accounts = [{"user": name, "pass": SECRET} for name in people]
    return dict({"inbounds": [{"tag": "socks", "listen": rig.SERVER_IP, "port": port,
                               "protocol": "socks",
                               "settings": {"auth": "password", "udp": True,
                                            "accounts": accounts}}],
                 "outbounds": [{"tag": "direct", "protocol": "freedom",
                                "settings": {"finalRules": [{"action": "allow"}]}}]}, **more)


def start(net, tmp, stored, one=None, **status):
    one = one or config()
    return rig.Culvert(net.server, tmp, one, "status", workers=2, stateDirectory="",
                       status=dict({"password": stored}, **status),
                       wait=((rig.SERVER_IP, one["inbounds"][0]["port"]),))


@pytest.fixture(scope="module")
def daemon(net, tmp, stored):
    one = start(net, tmp, stored, config(port=PORT))
    with rig.running(one):
        rig.wait_for(lambda: rig.accepts(net.server, "127.0.0.1", STATUS), 10, "the endpoint is up")
        yield one


def curl(net, path, *arguments, word=WORD, name=NAME):
    """(status, headers in lower case, body)."""
    credentials = ("-u", "%s:%s" % (name, word)) if word is not None else ()
    code, out, error = rig.curl(net.server, "-i", *credentials, *arguments, SITE + path)
    assert code == 0, error
    head, body = out.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    return (int(first.split()[1]),
            {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, body.decode())


def raw(net, data, seconds=10):
    with net.server:
        connection = rig.socket.create_connection(("127.0.0.1", STATUS), 5)
    with connection:
        connection.sendall(data)
        return rig.read_all(connection, seconds)


def metrics(net, **more):
    """{name: {labels as a frozenset: value}} by Prometheus' own parser."""
    parser = pytest.importorskip("prometheus_client.parser")
    status, headers, body = curl(net, "/metrics", **more)
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    found, series = {}, 0
    for family in parser.text_string_to_metric_families(body):
        assert family.documentation and family.type in ("counter", "gauge"), family
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
            series += 1
    lines = [line for line in body.splitlines() if line and not line.startswith("#")]
    assert len(lines) == series == len({line.rsplit(" ", 1)[0] for line in lines})
    return found


def value(found, name, **labels):
    return found.get(name, {}).get(frozenset(labels.items()), 0)


def fetch(net, person, port=PORT, size=200 * 1024):
    """What a session of person sends and gets, byte for byte."""
    connection = rig.tcp(net.client, rig.SERVER_IP, port)
    assert rig.socks_handshake(connection, rig.INTERNET_IP, 80, (person, SECRET)) == 0
    question = b"GET /small HTTP/1.0\r\n\r\n"
    connection.sendall(question)
    answer, end = rig.read_all(connection)
    assert end == "fin" and len(answer) > size
    connection.close()
    return len(question), len(answer)


# ---- who may ask -------------------------------------------------------------------------------


def test_row_072_status_endpoint(net, daemon, internet):
    """curl 127.0.0.1:9000 with and without password."""
    for path in ("/", "/status.json", "/metrics", "/nothing"):
        for word, name in ((None, NAME), ("wrong", NAME)):
            rig.wait_for(lambda: curl(net, path, word=word, name=name)[0] == 401, 10, "401", 0.5)
            status, headers, body = curl(net, path, word=None)
            assert status == 401 and headers["www-authenticate"].startswith("Basic realm=")
            assert body == "401 Unauthorized\n"
    rig.wait_for(lambda: curl(net, "/")[0] == 200, 20, "the right password is heard again", 0.5)
    status, headers, body = curl(net, "/")
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    assert body.startswith("<!DOCTYPE html>") and "http://" not in body and "https://" not in body
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    sent, got = fetch(net, "alice")
    daemon.wait_idle()
    status, headers, body = curl(net, "/status.json")
    assert status == 200 and headers["cache-control"] == "no-store"
    told = json.loads(body)
    alice = [user for user in told["users"] if user["name"] == "alice"][0]
    assert alice["downlink_bytes"] >= got and alice["uplink_bytes"] >= sent
    assert told["pid"] == daemon.pid and told["version"] and told["uptime_ms"] > 0
    assert {"sessions", "engines", "reasons", "outbounds", "workers"} <= set(told)
    assert value(metrics(net), "culvert_user_sessions", user="alice") == 0
    assert curl(net, "/nothing")[0] == 404
    assert curl(net, "/status.json?x=1")[0] == 200


def test_wrong_passwords_are_limited(net, tmp, stored, daemon):
    """Five at once, then 429; the page of whoever was in goes on."""
    assert rig.wait_for(lambda: curl(net, "/")[0] == 200, 20, "let in", 0.5)
    seen = [raw(net, b"GET / HTTP/1.0\r\n%s\r\n" % authorization("wrong %d" % i))[0]
            for i in range(40)]
    assert {answer[9:12] for answer in seen} <= {b"401", b"429"}, seen
    refused = [answer for answer in seen if answer[9:12] == b"429"]
    assert len(refused) > 10 and b"\r\nRetry-After: 2\r\n" in refused[0], refused
    assert curl(net, "/")[0] == 200
    assert curl(net, "/", name="root")[0] in (401, 429)
    rig.wait_for(lambda: curl(net, "/", word="another")[0] == 401, 10, "tokens come back", 0.5)
    assert "status: wrong name or password" in daemon.log() and "wrong 1" not in daemon.log()


# ---- HTTP --------------------------------------------------------------------------------------


def authorization(word=WORD):
    return b"Authorization: Basic %s\r\n" % base64.b64encode(("%s:%s" % (NAME, word)).encode())


def test_methods_and_limits(net, daemon):
    rig.wait_for(lambda: curl(net, "/")[0] == 200, 20, "let in", 0.5)
    head = curl(net, "/", "--head")
    page = curl(net, "/")
    assert head[0] == 200 and head[2] == ""
    assert head[1]["content-length"] == str(len(page[2].encode()))
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get"):
        status, headers, _ = curl(net, "/", "-X", method)
        assert status == 405 and headers["allow"] == "GET, HEAD", method
    assert curl(net, "/", "-d", "x=1")[0] == 413
    assert curl(net, "/", "-H", "X-Long: " + "x" * 9000)[0] == 431
    assert curl(net, "/", "-H", "Transfer-Encoding: chunked")[0] == 413
    for request, status in (
            (b"GET / HTTP/2.0\r\n\r\n", b"505"),
            (b"GET /\r\n\r\n", b"400"),
            (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no Host
            (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
            (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n" + authorization() + b"\r\n", b"405"),
            (b"GET http://127.0.0.1:9000/metrics HTTP/1.1\r\nHost: x\r\n" + authorization() +
             b"\r\n", b"200"),
            (b"GET / HTTP/1.0\r\n" + authorization() + b"\r\n", b"200"),
            (b"GET / HTTP/1.0\r\nAuthorization: Basic !!!\r\n\r\n", b"401"),
            (b"GET / HTTP/1.0\r\nAuthorization: Bearer x\r\n\r\n", b"401")):
        answer, end = raw(net, request)
        assert answer.startswith(b"HTTP/1.1 " + status) and end == "fin", (request, answer[:80])


def test_slow_and_many_clients(net, daemon):
    """Who says nothing, or not enough, holds a place for five seconds; others are served after."""
    rig.wait_for(lambda: curl(net, "/")[0] == 200, 20, "let in", 0.5)
    slow = []
    with net.server:
        for i in range(40):
            connection = rig.socket.create_connection(("127.0.0.1", STATUS), 5)
            connection.sendall(b"GET / HT"[:i % 9])
            slow.append(connection)
    begun = time.monotonic()
    assert curl(net, "/")[0] == 200
    assert time.monotonic() - begun < 30
    for connection in slow[:32]:
        assert rig.read_all(connection, 10) == (b"", "fin")
    for connection in slow:
        connection.close()
    with net.server:  # byte by byte is fine, as long as it ends in time
        connection = rig.socket.create_connection(("127.0.0.1", STATUS), 5)
    with connection:
        for byte in b"HEAD / HTTP/1.0\r\n" + authorization() + b"\r\n":
            connection.sendall(bytes([byte]))
        assert rig.read_all(connection)[0].startswith(b"HTTP/1.1 200")


def test_only_loopback(net, daemon):
    for namespace, address in ((net.client, rig.SERVER_IP), (net.server, rig.SERVER_IP),
                               (net.internet, rig.SERVER_INNER_IP)):
        assert not rig.accepts(namespace, address, STATUS)


# ---- what it tells -----------------------------------------------------------------------------


def test_metrics_rise_by_what_moved(net, daemon, internet):
    rig.wait_for(lambda: curl(net, "/")[0] == 200, 20, "let in", 0.5)
    daemon.wait_idle()
    before = metrics(net)
    sent, got = fetch(net, "bob")
    daemon.wait_idle()
    after = metrics(net)

    def rise(name, **labels):
        return sum(after[name].values()) - sum(before[name].values()) if not labels else \
            value(after, name, **labels) - value(before, name, **labels)

    for name, labels in (("culvert_user_bytes_total", {"user": "bob"}),
                         ("culvert_outbound_bytes_total", {"outbound": "direct"})):
        assert rise(name, direction="uplink", **labels) == sent
        assert rise(name, direction="downlink", **labels) == got
    for name in ("culvert_user_bytes_total", "culvert_outbound_bytes_total",
                 "culvert_engine_bytes_total", "culvert_worker_bytes_total",
                 "culvert_sni_class_bytes_total"):
        assert rise(name) == sent + got or name.startswith("culvert_sni"), name
    assert rise("culvert_outbound_sessions_total", outbound="direct") == 1
    assert rise("culvert_worker_accepted_total") == 1
    assert value(after, "culvert_user_bytes_total", user="alice", direction="uplink") == \
        value(before, "culvert_user_bytes_total", user="alice", direction="uplink")
    assert value(after, "culvert_info", version=json.loads(
        curl(net, "/status.json")[2])["version"]) == 1
    with contextlib.closing(rig.tcp(net.client, rig.SERVER_IP, PORT)) as connection:
        assert rig.socks_handshake(connection, rig.INTERNET_IP, 80, ("bob", SECRET)) == 0
        now = metrics(net)
        assert value(now, "culvert_user_sessions", user="bob") == 1
        told = json.loads(curl(net, "/status.json")[2])
        assert told["session_count"] == 1 and told["sessions"][0]["user"] == "bob"
        assert told["sessions"][0]["destination"] == rig.INTERNET_IP + ":80"
        begun = connection.sendall(b"x") or metrics(net)
        assert value(begun, "culvert_user_bytes_total", user="bob", direction="uplink") >= \
            value(after, "culvert_user_bytes_total", user="bob", direction="uplink")


def test_datagrams_are_counted(net, daemon):
    rig.wait_for(lambda: curl(net, "/")[0] == 200, 20, "let in", 0.5)
    echo = Echo(net.internet, rig.INTERNET_IP, 9199)
    before = metrics(net)
    try:
        with Association(net.client, (rig.SERVER_IP, PORT), credentials=("carol", SECRET)) as one:
            one.send(rig.INTERNET_IP, 9199, b"x" * 1000)
            answer = one.recv()[2]
    finally:
        echo.stop()
    daemon.wait_idle()
    after = metrics(net)
    for name, labels in (("culvert_user_bytes_total", {"user": "carol"}),
                         ("culvert_outbound_bytes_total", {"outbound": "(datagrams)"})):
        for direction, size in (("uplink", 1000), ("downlink", len(answer))):
            labels["direction"] = direction
            assert value(after, name, **labels) - value(before, name, **labels) == size, labels


def test_few_labels_and_strange_ones(net, tmp, stored, internet):
    """maxUsers people have labels, the rest is "other"; any name is a label that can be read."""
    strange = 'ev"il\\per\nson{x="1"} \u00e4\u4eba'
    people = (strange, "two", "other", "four", "five")
    one = start(net, tmp, stored, config(people), maxUsers=2, port=STATUS + 1)
    with rig.running(one):
        site = SITE[:-4] + str(STATUS + 1)
        sent = got = 0
        for person in people:
            up, down = fetch(net, person, OTHER)
            sent, got = sent + up, got + down
        one.wait_idle()
        _, text, _ = rig.curl(net.server, "-u", "%s:%s" % (NAME, WORD), site + "/metrics")
        parser = pytest.importorskip("prometheus_client.parser")
        found = {}
        for family in parser.text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                if sample.name == "culvert_user_bytes_total":
                    found[sample.labels["user"], sample.labels["direction"]] = sample.value
        assert {user for user, _ in found} == {strange, "two", "other"}
        assert found["other", "uplink"] == 3 * found["two", "uplink"]
        assert sum(v for (_, d), v in found.items() if d == "uplink") == sent
        assert sum(v for (_, d), v in found.items() if d == "downlink") == got


def test_no_secret_is_told(net, tmp, stored, keys, target, internet):
    """Neither ids nor passwords nor keys, in no answer and no topic of culvert show."""
    upstream = "password-of-an-upstream"
    people = config(inbounds=config()["inbounds"] + [
        {"tag": "in", "listen": rig.SERVER_IP, "port": 4447, "protocol": "vless",
         "settings": {"decryption": "none", "clients": [
             {"id": rig.USER, "flow": rig.VISION, "email": "vision@test"},
             {"id": rig.PLAIN_USER}]},  # without a name
         "streamSettings": rig.reality_stream(keys.private, target.address)}])
    people["outbounds"].append({"tag": "up", "protocol": "socks", "settings": {
        "address": "10.77.2.2", "port": 9, "user": "me", "pass": upstream}})
    one = start(net, tmp, stored, people, port=STATUS + 2)
    with rig.running(one):
        fetch(net, "alice", OTHER)
        site = SITE[:-4] + str(STATUS + 2)
        answers = [rig.curl(net.server, "-i", "-u", "%s:%s" % (NAME, WORD), site + path)[1].decode()
                   for path in ("/", "/status.json", "/metrics", "/x")]
        answers += [json.dumps(one.ask(topic)) for topic in (
            "sessions", "users", "outbounds", "proxies", "engines", "workers", "sni", "reasons")]
        answers.append(one.log())
        assert '"vision@test"' in answers[1] and '"id:' in answers[1]
        with open(one.config_path) as file:
            text = file.read()
        for secret in (rig.USER, rig.PLAIN_USER, rig.USER.replace("-", ""), keys.private, stored,
                       WORD, SECRET, upstream, rig.SHORT_ID):
            assert secret in text or secret in (WORD, rig.USER.replace("-", "")), secret
            for answer in answers:
                assert secret.lower() not in answer.lower(), (secret, answer[:300])


# ---- life --------------------------------------------------------------------------------------


def test_reload_and_restart(net, tmp, stored):
    """Another password counts after a reload, another port needs a restart, which leaves no gap."""
    one = start(net, tmp, stored, port=STATUS + 3)
    site = SITE[:-4] + str(STATUS + 3)

    def ask(word):
        return rig.curl(net.server, "-o", "/dev/null", "-w", "%{http_code}", "-u",
                        "%s:%s" % (NAME, word), site + "/status.json")[1]

    def command(name):
        return subprocess.run([os.path.join(rig.build_dir(), "culvert"), name, "--control",
                               one.control_path], capture_output=True, text=True, timeout=70)

    def change(**status):
        with open(one.config_path) as file:
            text = json.load(file)
        text["culvert"]["status"].update(status)
        with open(one.config_path, "w") as file:
            json.dump(text, file)

    with rig.running(one):
        fetch(net, "alice", OTHER)
        assert ask(WORD) == b"200"
        change(password=mkpasswd("sha-512", "new", "-R", "1000"))
        assert command("reload").returncode == 0
        assert ask(WORD) == b"401" and ask("new") == b"200"
        _, text, _ = rig.curl(net.server, "-u", NAME + ":new", site + "/metrics")
        assert b'culvert_outbound_sessions_total{outbound="direct"} 1\n' in text
        change(port=STATUS + 4)
        done = command("reload")
        assert done.returncode != 0 and "culvert.status" in done.stderr, done.stderr
        change(port=STATUS + 3)
        done = command("restart")
        assert done.returncode == 0, done.stderr
        rig.wait_for(lambda: ask("new") == b"200", 10, "the successor answers", 0.2)
        successor = json.loads(rig.curl(net.server, "-u", NAME + ":new",
                                        site + "/status.json")[1])["pid"]
        assert successor != one.pid
        os.kill(successor, 15)
        rig.wait_for(lambda: not os.path.exists("/proc/%d" % successor), 20, "it ends")
        one.stopped = True
        one.child.wait(20)


def test_taken_port_and_bad_addresses(net, tmp, stored):
    """Somebody else's port: said, and the daemon serves; an address for others: refused."""
    with net.server:
        taken = rig.socket.create_server(("127.0.0.1", STATUS + 5))
    with taken:
        one = start(net, tmp, stored, port=STATUS + 5)
        with rig.running(one):
            assert "status on 127.0.0.1:%d: Address already in use" % (STATUS + 5) in one.log()
            fetch(net, "alice", OTHER)
    for listen in ("0.0.0.0", "::", rig.SERVER_IP, "example.org", "128.0.0.1", "::ffff:10.0.0.1"):
        text = config()
        text["culvert"] = {"status": {"listen": listen, "password": stored}}
        path = os.path.join(tmp, "bad-status.json")
        with open(path, "w") as file:
            json.dump(text, file, indent=1)
        done = subprocess.run([os.path.join(rig.build_dir(), "culvertd"), "-t", "-c", path],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "bad-status.json:" in done.stderr, done.stderr
        assert 'culvert.status.listen: expected a loopback address' in done.stderr, done.stderr
        assert stored not in done.stderr


# ---- a browser ---------------------------------------------------------------------------------


def test_chromium_shows_the_page(net, tmp, daemon, internet):
    """A live session and a user's bytes, in light and dark; only our own answers are asked for."""
    with Browser(net.server, tmp) as browser:
        running = rig.curl(net.client, "--limit-rate", "4M", "-o", "/dev/null", "-x",
                           "socks5h://alice:%s@%s:%d" % (SECRET, rig.SERVER_IP, PORT),
                           "http://%s/big" % rig.INTERNET_IP, background=True)
        try:
            rig.wait_for(lambda: any(s["state"] == "relay" for s in daemon.sessions()), 10, "relay")
            rig.wait_for(lambda: curl(net, "/")[0] == 200, 20, "let in", 0.5)
            browser.open("http://%s@127.0.0.1:%d/" % (
                "%s:%s" % (NAME, WORD.replace(" ", "%20")), STATUS))
            browser.wait("document.querySelectorAll('#list tbody tr').length === 1", 30)
            row = browser.ask("document.querySelector('#list tbody tr').innerText")
            assert "alice" in row and rig.INTERNET_IP + ":80" in row and "relay" in row, row
            browser.wait("/MB\\/s/.test(document.getElementById('rate-down').textContent)", 30)
            people = browser.ask("document.getElementById('users').innerText")
            assert "alice" in people and "MiB" in people and "bob" in people, people
            asked = browser.ask("performance.getEntriesByType('resource').map(e => e.name)")
            assert set(asked) <= {SITE + "/status.json"}, asked
            assert browser.ask("document.body.className") == ""
            for scheme in ("light", "dark"):
                browser.screenshot(os.path.join(os.environ.get("CULVERT_SHOTS", tmp),
                                                "status-%s.png" % scheme), scheme)
        finally:
            running.kill()
            running.communicate()
        browser.wait("document.querySelectorAll('#list tbody tr').length === 0", 30)
    daemon.wait_idle()


MANY = 72


@pytest.fixture(scope="module")
def many(internet):
    """A page of MANY scripts and as many pictures, each of its own."""
    folder = os.path.join(internet.root, "many")
    os.makedirs(folder, exist_ok=True)
    before = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xfe"
    behind = b"\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    for i in range(MANY):
        with open(os.path.join(folder, "%d.js" % i), "w") as file:
            file.write("loaded.add(%d); //%s\n" % (i, "x" * (i * 997 % 30000)))
        with open(os.path.join(folder, "%d.gif" % i), "wb") as file:
            file.write(before + (b"\x7f" + b"y" * 127) * (i * 7 % 50) + behind)
    with open(os.path.join(folder, "index.html"), "w") as file:
        file.write("<!DOCTYPE html><title>many</title><script>var loaded = new Set();</script>")
        for i in range(MANY):
            file.write("<script async src='%d.js'></script><img src='%d.gif'>" % (i, i))
    return "/many/index.html"


def load_many(browser, url):
    browser.open(url)
    browser.wait("document.readyState === 'complete' && loaded.size === %d" % MANY, 60)
    broken = browser.ask("[...document.images].filter(i => !i.complete || i.naturalWidth !== 1)"
                         ".map(i => i.src)")
    assert broken == [] and browser.ask("document.images.length") == MANY, broken



def test_chromium_through_http_proxy(net, tmp, stored, many):
    """Plain requests and tunnels, with a password that the proxy asks for."""
    one = config()
    one["inbounds"][0].update(protocol="http", settings={"accounts": [
        {"user": "alice", "pass": SECRET}]})
    daemon = start(net, tmp, stored, one, port=STATUS + 6)
    with rig.running(daemon):
        with Browser(net.client, tmp, "http://%s:%d" % (rig.SERVER_IP, OTHER),
                     ("alice", SECRET)) as browser:
            load_many(browser, "http://%s%s" % (rig.INTERNET_IP, many))
            load_many(browser, "https://%s%s" % (rig.INTERNET_IP, many))
        daemon.wait_idle()
        alice = [u for u in daemon.ask("users")["users"] if u["name"] == "alice"][0]
        assert alice["downlink_bytes"] > 2 << 20 and daemon.counter("accepted") > 2


def test_chromium_through_socks_and_reality(net, tmp, client, server, many):
    """The browser's SOCKS5, our client, REALITY with Vision, our server, the web."""
    with Browser(net.client, tmp, "socks5://127.0.0.1:1080") as browser:
        load_many(browser, "https://%s%s" % (rig.INTERNET_IP, many))
        load_many(browser, "http://%s%s" % (rig.INTERNET_IP, many))
    client.wait_idle()
    server.wait_idle()
