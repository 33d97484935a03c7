# SPDX-License-Identifier: MIT
"""Floods and dawdlers, while users go on: memory stays within its bounds, every user is served, what
was refused is counted, and afterwards everything is back.

The sizes are a twentieth of what `make soak` does (CULVERT_SOAK=1).
"""

import concurrent.futures
import contextlib
import itertools
import os
import resource
import signal
import socket
import ssl
import subprocess
import time

import crowd
import prober
import pytest
import reality_client
import rig
import test_names
from crowd import Hostile, Users, assert_back, good, socks
from test_tls_inbound import combined, tls_stream
from test_transports import PATH, carried

FULL = bool(os.environ.get("CULVERT_SOAK"))
SCALE = 20 if FULL else 1
LOCAL, PEER = 1086, 8200
REALITY, SOCKS, SOCKS_TLS, HTTP, VLESS, WS, H2, PROXIED = range(4443, 4451)
ALICE, TUNNEL = ("alice", "wonder land"), "tunnel@test"
NAME = "proxy.test"
ATTACKERS = ["10.77.1.%d" % number for number in range(20, 52)]
NOWHERE = "10.98.0.1"  # what is sent there is lost without a word
HANDSHAKE_SECONDS = 20 if FULL else 4
WORKERS = 2
# What one connection may make the daemon hold before it is somebody's: its slot, what was received
# and not yet understood (CV_LEG_IN_LIMIT), its handshake with TLS; the sockets are the kernel's.
SESSION_BYTES = 1024 + 96 * 1024 + 64 * 1024
KEPT_BYTES = 48 * rig.MIB  # buffers of the rings, pools, what malloc keeps


def city(target, authority, keys):
    """Every door that the server has."""
    accounts = [{"user": ALICE[0], "pass": ALICE[1]}]
    site_tls = {"certificates": [{"certificateFile": target.certificate, "keyFile": target.key}]}

    def door(port, protocol, settings, stream=None, **more):
        return dict({"tag": "door-%d" % port, "listen": rig.SERVER_IP, "port": port,
                     "protocol": protocol, "settings": settings,
                     "streamSettings": stream or {"network": "raw"}}, **more)

    def vless(*clients):
        return {"decryption": "none", "clients": list(clients)}

    def password():
        return {"auth": "password", "accounts": accounts}

    plain = {"id": rig.PLAIN_USER, "email": "plain@test"}
    return {
        "inbounds": [
            door(REALITY, "vless", vless(
                {"id": rig.USER, "flow": rig.VISION, "email": TUNNEL}, plain),
                rig.reality_stream(keys.private, target.address)),
            door(SOCKS, "socks", password()),
            door(SOCKS_TLS, "socks", password(), tls_stream(combined(authority, NAME))),
            door(HTTP, "http", {"accounts": accounts}),
            door(VLESS, "vless", vless(plain)),
            door(WS, "vless", vless(plain), carried("ws", "none")),
            door(H2, "vless", vless(plain), carried("h2", "tls", **site_tls)),
            door(PROXIED, "socks", password(),
                 {"network": "raw", "sockopt": {"acceptProxyProtocol": True}}),
        ],
        "outbounds": [{"tag": "direct", "protocol": "freedom",
                       "settings": {"finalRules": [{"action": "allow"}]}}],
        "policy": {"levels": {"0": {"handshake": HANDSHAKE_SECONDS}}},
    }


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    with crowd.many_descriptors():
        yield


@pytest.fixture(scope="module")
def streets(net):
    """Addresses of those who come to harm; a place where everything is lost; what users want."""
    device = net.client.links[net.server.name]
    for address in ATTACKERS:
        net.client.ip("addr", "add", address + "/24", "dev", device)
    net.server.ip("route", "add", "10.98.0.0/16", "via", rig.INTERNET_IP)
    net.server.ip("route", "add", "10.99.0.0/16", "via", rig.CLIENT_IP)  # half-open ones' answers
    peer = subprocess.Popen([crowd.program(), "serve", rig.INTERNET_IP, str(PEER)],
                            stdout=subprocess.PIPE, preexec_fn=net.internet.enter)
    assert peer.stdout.readline() == b"ready\n"
    yield
    Hostile.stop_all()
    peer.terminate()
    peer.wait()
    peer.stdout.close()
    for route in ("10.98.0.0/16", "10.99.0.0/16"):
        net.server.ip("route", "del", route)
    for address in ATTACKERS:
        net.client.ip("addr", "del", address + "/24", "dev", device)


@pytest.fixture(scope="module")
def town(net, tmp, target, authority, keys, streets):
    """(server, client); both must end cleanly after all of it."""
    server = rig.Culvert(net.server, tmp, city(target, authority, keys), "town", workers=WORKERS,
                         loglevel="warning", stateDirectory="",
                         wait=((rig.SERVER_IP, REALITY), (rig.SERVER_IP, PROXIED)))
    client = rig.Culvert(net.client, tmp, rig.client_config(
        LOCAL, REALITY, rig.reality_client_stream(keys.public)), "villager", workers=WORKERS,
        loglevel="warning", wait=(("127.0.0.1", LOCAL),))
    with rig.running(server, client):
        yield server, client


@pytest.fixture(autouse=True)
def nobody_is_left(streets):
    if FULL:
        signal.alarm(900)
    yield
    Hostile.stop_all()


def users(net):
    """By REALITY, Vision and our client; by SOCKS5."""
    return Users(net.client, (("reality", ("127.0.0.1", LOCAL), socks()),
                              ("socks", (rig.SERVER_IP, SOCKS), socks(ALICE))))


class Watch:
    """A daemon before, during and after."""

    def __init__(self, daemon, what, sessions):
        self.daemon, self.what, self.sessions = daemon, what, sessions
        self.before = crowd.Footprint(daemon)
        self.log_before = len(daemon.log())
        self.reasons_before = daemon.reasons()
        crowd.forget_peak(daemon.pid)
        self.resident_before = crowd.memory(daemon.pid, "VmRSS")[0]

    def reasons(self):
        """What was counted since."""
        now = self.daemon.reasons()
        return {label: count - self.reasons_before.get(label, 0) for label, count in now.items()
                if count > self.reasons_before.get(label, 0)}

    def end(self, seconds=30):
        log = self.daemon.log()[self.log_before:]
        peak = crowd.memory(self.daemon.pid, "VmHWM")[0] - self.resident_before
        bound = self.sessions * SESSION_BYTES + KEPT_BYTES
        print("%s: %s; at most %.1f MiB more (bound %.0f), %d lines of log, %s"
              % (self.what, self.reasons(), peak / rig.MIB, bound / rig.MIB, log.count("\n"),
                 self.before))
        if not self.daemon.sanitized():
            assert peak < bound
        assert log.count("\n") < 1000, log[:3000]
        assert " error " not in log, log[:3000]
        assert_back(self.daemon, self.before, self.what, seconds, 16 * rig.MIB)
        return log


def hello_lines(tmp, name, count, seal=None):
    """A file with a hello in each line; seal: a public key to prove knowledge of the secret with."""
    path = os.path.join(tmp, name)
    with open(path, "w") as file:
        for _ in range(count):
            hello = reality_client.Hello(sni=rig.SITE)
            if seal:
                hello.seal(reality_client.decode_key(seal), rig.SHORT_ID)
            file.write(prober.hello_record(hello.message()).hex() + "\n")
    return path


# ---- many --------------------------------------------------------------------------------------


WAYS = {"socks": ((rig.SERVER_IP, SOCKS), socks(ALICE)), "reality": (("127.0.0.1", LOCAL), socks())}


@pytest.mark.parametrize("way", WAYS)
def test_ten_thousand_sessions(net, town, way):
    """All at once, by SOCKS5, or by client and REALITY; each gets its own bytes, now and later."""
    # each is two descriptors of a daemon; users need some, and pipes
    count = min(500 * SCALE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 2 // 5)
    (to, steps), rate = WAYS[way], 500 if way == "socks" else 200
    daemons = town[:1] if way == "socks" else town
    source = ATTACKERS if way == "socks" else ()
    warm = Hostile(net.client, to, steps + ",ask:4000,end", count=count, at_a_time=200)
    assert good(warm.result())
    watches = [Watch(daemon, "%d sessions by %s, %s" % (count, way, name), count + 100)
               for daemon, name in zip(daemons, ("server", "client"))]
    people = users(net)
    everybody = Hostile(net.client, to, steps + ",ask:4000,meet,give:3000,ask:5000,end",
                        count=count, rate=rate, deadline=600, source=source)
    assert everybody.met() == count, [watch.reasons() for watch in watches]
    if FULL:
        time.sleep(12)  # until what their handshakes used has been given back
    for watch in watches:
        assert watch.daemon.counter("sessions") >= count
        more = crowd.memory(watch.daemon.pid, "RssAnon")[0] - watch.before.memory
        print("%s: %.0f bytes of user memory each" % (watch.what, more / count))
    everybody.go()
    result = everybody.result(300)
    assert good(result), result
    people.end("%d sessions by %s" % (count, way))
    for watch in watches:
        watch.end()


# ---- floods ------------------------------------------------------------------------------------


def test_connection_flood(net, town):
    """Connections without a word, then as many as can be made and dropped."""
    server, client = town
    count = 250 * SCALE
    watch = Watch(server, "connections that say nothing", 8 * count + 100)
    people = users(net)
    silent = [Hostile(net.client, (rig.SERVER_IP, port), "silent", count=count, deadline=30,
                      source=ATTACKERS) for port in range(REALITY, PROXIED + 1)]
    results = [one.result() for one in silent]
    assert all(good(result) for result in results), results
    # instrumented, the daemon is so slow that a second of this uses up its descriptors
    size = {"count": 1200} if server.sanitized() else {"seconds": 8 if FULL else 1}
    for how in ("close", "reset"):
        for port in (REALITY, SOCKS):
            result = Hostile(net.client, (rig.SERVER_IP, port), how, **size,
                             at_a_time=100, deadline=5, source=ATTACKERS).result()
            print("churn by %s on %d: %d connections a second" % (
                how, port, result["done"] / result["seconds"]))
            assert result["done"] > 1000 and result["wrong"] == 0, result
    people.end("connection flood")
    watch.end()


def counters(namespace):
    """nstat of a namespace, the whole of it."""
    text = subprocess.run(["nstat", "-asz"], check=True, capture_output=True, text=True,
                          preexec_fn=namespace.enter).stdout
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()
            if line and not line.startswith("#")}


def test_half_open_flood(net, town):
    """SYNs alone: the kernel answers them with cookies, the daemon never hears of it."""
    server, client = town
    watch = Watch(server, "half-open flood", 100)
    people = users(net)
    before, accepted = counters(net.server), server.counter("accepted")
    flood = subprocess.run(
        [crowd.program(), "syn", rig.SERVER_IP, str(SOCKS), "10.99.0.0", "20000",
         "20" if FULL else "2"], check=True, capture_output=True, text=True, timeout=60,
        preexec_fn=net.client.enter)
    after = counters(net.server)
    cookies = after["TcpExtSyncookiesSent"] - before["TcpExtSyncookiesSent"]
    print("half-open flood: %s, %d cookies" % (flood.stdout.strip(), cookies))
    assert cookies > 1000
    people.end("half-open flood")
    assert server.counter("accepted") - accepted < 2000, "only users were accepted"
    watch.end()


# ---- dawdlers ----------------------------------------------------------------------------------


def dawdlers(tmp, count, keys):
    """{phase: (port, script)}: each stops, or says a byte now and then, somewhere else."""
    sealed = hello_lines(tmp, "sealed", count, keys.public)
    stranger = hello_lines(tmp, "strangers", 8)
    login = b"\1\5alice\x0bwonder land"
    logged_in = "send:050102,expect:0502,send:%s,expect:0100" % login.hex()
    vless = reality_client.vless_header(rig.PLAIN_USER, "x" * 200 + ".test", 80)
    mux = reality_client.vless_header(rig.PLAIN_USER, "", 0, command=3)
    upgrade = ("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               % (PATH, rig.SITE)).encode()
    head = b"CONNECT %s:80 HTTP/1.1\r\nX-Padding: %s" % (rig.INTERNET_IP.encode(), b"x" * 400)
    half = b"\x16\3\1\2\0\1\0\1\xfc\3\3"
    return {
        "REALITY: half a hello": (REALITY, "send:%s,silent" % half.hex()),
        "REALITY: a hello, byte by byte": (REALITY, "dripline:%s:100" % stranger),
        "REALITY: a stranger's hello": (REALITY, "sendline:%s,silent" % stranger),
        "REALITY: no Finished": (REALITY, "sendline:%s,silent" % sealed),
        "TLS: a hello, byte by byte": (SOCKS_TLS, "dripline:%s:100" % stranger),
        "TLS: no Finished": (SOCKS_TLS, "sendline:%s,silent" % stranger),
        "SOCKS5: half a greeting": (SOCKS, "send:05,silent"),
        "SOCKS5: a greeting, byte by byte": (SOCKS, "drip:05ff%s:300" % ("02" * 255)),
        "SOCKS5: login, byte by byte": (SOCKS, "send:050102,expect:0502,drip:01ff%s:300" %
                                        ("61" * 300)),
        "SOCKS5: no request": (SOCKS, logged_in + ",silent"),
        "SOCKS5: a request, byte by byte": (SOCKS, "%s,drip:05010003ff%s:300" %
                                            (logged_in, "61" * 300)),
        "SOCKS5: an upstream that never answers": (
            SOCKS, "%s,%s,silent" % (logged_in, crowd.connect_request(NOWHERE, 80))),
        "HTTP: a head, byte by byte": (HTTP, "drip:%s:300" % head.hex()),
        "VLESS: a header, byte by byte": (VLESS, "drip:%s:100" % vless.hex()),
        "VLESS: half a header": (VLESS, "send:%s,silent" % vless[:20].hex()),
        "WebSocket: a request, byte by byte": (WS, "drip:%s:300" % upgrade.hex()),
        "HTTP/2: TLS, then nothing": (H2, "sendline:%s,silent" % stranger),
        "PROXY: a header, byte by byte": (PROXIED, "drip:%s:300" % (b"PROXY TCP4 " * 9).hex()),
        "mux: a frame's head, byte by byte": (
            VLESS, "send:%s,drip:%s:400,close" % (mux.hex(), "0010000101" + "00" * 20)),
    }


def test_dawdlers(net, tmp, town, keys):
    """In each phase of each handshake, all at once: every one of them is ended."""
    server, client = town
    count = 20 * SCALE
    phases = dawdlers(tmp, count, keys)
    watch = Watch(server, "dawdlers", len(phases) * count + 100)
    people = users(net)
    started = {phase: Hostile(net.client, (rig.SERVER_IP, port), script, count=count,
                              deadline=60, source=ATTACKERS)
               for phase, (port, script) in phases.items()}
    for phase, one in started.items():
        result = one.result()
        print("%-40s %s, at most %.1f s" % (phase, result["where"], result["longest_ms"] / 1000))
        assert result["late"] == result["wrong"] == result["refused"] == 0, (phase, result)
        last = phases[phase][1].count(",") - phases[phase][1].count(",close")
        assert any(int(where.split()[0][2:]) >= last for where in result["where"]), (phase, result)
    people.end("dawdlers")
    assert watch.reasons().get("peer_timeout", 0) >= 8 * count, watch.reasons()
    watch.end()


# ---- probes ------------------------------------------------------------------------------------


def test_probes(net, tmp, town, keys):
    """Whatever strangers send: the target's business, and no more than a counter of ours."""
    server, client = town
    count = 5000 * SCALE
    stranger = hello_lines(tmp, "probes", 500)
    other = os.path.join(tmp, "other-names")
    with open(other, "w") as file:
        for number in range(100):
            file.write(prober.hello_record(reality_client.Hello(
                sni="other-%d.test" % number).message()).hex() + "\n")
    late = os.path.join(tmp, "late")  # whoever made these knows the key, but not the hour
    with open(late, "w") as file:
        for _ in range(100):
            hello = reality_client.Hello(sni=rig.SITE)
            hello.seal(reality_client.decode_key(keys.public), rig.SHORT_ID, skew=-86400)
            file.write(prober.hello_record(hello.message()).hex() + "\n")
    watch = Watch(server, "%d probes" % count, 400 + 100)
    people = users(net)
    result = Hostile(
        net.client, (rig.SERVER_IP, REALITY),
        "send:%s,end" % os.urandom(300).hex(), "send:%s,end" % b"GET / HTTP/1.1\r\n\r\n".hex(),
        "sendline:%s,read:500,close" % stranger, "sendline:%s,read:7,end" % other,
        "sendline:%s,read:200,reset" % stranger, "send:%s,end" % b"SSH-2.0-probe\r\n".hex(),
        "sendline:%s,read:500,close" % late, "reset",
        count=count, at_a_time=200, deadline=30, source=ATTACKERS).result(600)
    print("probes: %d a second, %s" % (result["done"] / result["seconds"], result["where"]))
    print("probes: %s" % watch.reasons())
    # the target has deadlines and a queue of its own, and is as busy
    assert result["done"] > 0.99 * count and result["wrong"] == result["late"] == 0, result
    people.end("probes")
    log = watch.end()
    assert 0 < log.count("peer_clock") < 40 + result["seconds"] * 10, log[:2000]


# ---- HTTP/2 ------------------------------------------------------------------------------------


def h2_frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def h2_floods():
    """{name: what follows the preface, in blocks without an end}"""
    headers = b"\x82\x87\x84\x41" + bytes([len(rig.SITE)]) + rig.SITE.encode()

    def continuations():
        yield h2_frame(1, 0, 1, headers)
        while True:
            yield h2_frame(9, 0, 1, (b"\x10\1x\x7f\x81\x7c" + b"y" * 16000)[:16000])

    def resets():
        for stream in itertools.count(1, 2):
            yield h2_frame(1, 5, stream, headers) + h2_frame(3, 0, stream, b"\0\0\0\x08")

    return {"CONTINUATION": continuations(), "reset streams": resets(),
            "SETTINGS": itertools.repeat(h2_frame(4, 0, 0) * 100),
            "PING": itertools.repeat(h2_frame(6, 0, 0, b"12345678") * 100),
            "empty DATA": itertools.chain([h2_frame(1, 4, 1, headers)],
                                          itertools.repeat(h2_frame(0, 0, 1) * 100))}


def h2_flood(net, target, blocks, most):
    """How it ended, and after how many bytes."""
    context = ssl.create_default_context(cafile=target.ca)
    context.set_alpn_protocols(["h2"])
    sent = 0
    with context.wrap_socket(rig.tcp(net.client, rig.SERVER_IP, H2, timeout=5),
                             server_hostname=rig.SITE) as connection:
        try:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0))
            while sent < most:
                block = next(blocks)
                connection.sendall(block)
                sent += len(block)
            while connection.recv(65536):
                pass
        except (socket.timeout, TimeoutError):
            return "is left alone", sent
        except OSError as error:
            return "ended (%s)" % error, sent
    return "ended", sent


def test_h2_floods(net, town, target):
    """Frames that cost their sender nothing."""
    server, _ = town
    watch = Watch(server, "HTTP/2 floods", 100)
    people = users(net)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        ends = {name: pool.submit(h2_flood, net, target, blocks, (8 if FULL else 1) * rig.MIB)
                for name, blocks in h2_floods().items()}
    for name, end in ends.items():
        print("HTTP/2, %-14s %s after %d bytes" % (name, *end.result()))
    assert ends["CONTINUATION"].result()[0].startswith("ended")
    people.end("HTTP/2 floods")
    watch.end()


# ---- names -------------------------------------------------------------------------------------


class Deaf(test_names.Dns):
    """Hears some questions, and not others."""

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                query, source = self.socket.recvfrom(4096)
                if b"silent" not in query:
                    self.socket.sendto(self.answer(query), source)


def test_names_that_nobody_answers(net, tmp, streets, monkeypatch):
    """Who asks for them waits alone: other names and addresses are served meanwhile."""
    good_names = {"good-%d.test" % number: ([rig.INTERNET_IP], []) for number in range(40)}
    monkeypatch.setattr(test_names, "NAMES", good_names)
    port, dns = SOCKS + 21, Deaf(net.server)
    server = rig.Culvert(net.server, tmp, rig.socks_only_config(
        port, dict([ALICE]), listen=rig.SERVER_IP), "names", loglevel="warning",
        stateDirectory="", wait=((rig.SERVER_IP, port),), prefix=test_names.own_resolver(tmp))
    files = {}
    for kind, names in (("silent-20", ["silent-%d.test" % n for n in range(20)]),
                        ("silent-40", ["silent-%d.test" % n for n in range(20, 40)]),
                        ("good", list(good_names))):
        files[kind] = os.path.join(tmp, kind)
        with open(files[kind], "w") as file:
            file.writelines(crowd.connect_request(name, PEER).split(":")[1] + "\n"
                            for name in names)
    login = socks(ALICE).rsplit(",send:", 1)[0]
    with rig.running(server):
        people = Users(net.client, [("addresses", (rig.SERVER_IP, port), socks(ALICE))])
        waiting = []
        for count in (20, 40):  # when the first ones give up, others are in the queue
            waiting.append(Hostile(net.client, (rig.SERVER_IP, port), "%s,sendline:%s,silent" % (
                login, files["silent-%d" % count]), count=20, deadline=60))
            rig.wait_for(lambda: sum(s["state"] != "relay" for s in server.sessions()) >= count, 10,
                         "%d wait for a name" % count)
            time.sleep(5 if count == 20 else 0)
        result = Hostile(net.client, (rig.SERVER_IP, port), "%s,sendline:%s,expect:050000,read:7,"
                         "ask:500,end" % (login, files["good"]), count=40, rate=20,
                         deadline=30).result()
        print("names beside them: %s" % result)
        assert good(result), result
        assert all(good(one.result()) for one in waiting), "they are told"
        people.end("names that nobody answers")
        server.wait_idle()
    dns.close()


# ---- limits ------------------------------------------------------------------------------------


def test_users_fill_the_house(net, tmp, streets):
    """Where users have nearly all descriptors, those who come at once do not cost each other theirs."""
    server = rig.Culvert(net.server, tmp, rig.socks_only_config(
        SOCKS + 22, dict([ALICE]), listen=rig.SERVER_IP), "crowded", loglevel="warning",
        wait=((rig.SERVER_IP, SOCKS + 22),), stateDirectory="",
        prefix=("prlimit", "--nofile=400:400"))
    steps = socks(ALICE) + ",ask:4000,meet,ask:5000,end"
    with rig.running(server):
        for_long = Hostile(net.client, (rig.SERVER_IP, SOCKS + 22), steps, count=145, rate=100)
        assert for_long.met() == 145
        at_once = Hostile(net.client, (rig.SERVER_IP, SOCKS + 22), steps, count=25)
        assert at_once.met() == 25, server.reasons()
        for one in (at_once, for_long):
            one.go()
            assert good(one.result())
        server.wait_idle()


@pytest.mark.parametrize("what, reason", [("slots", "policy_session_limit"),
                                          ("descriptors", "internal_resource")])
def test_full_house(net, tmp, streets, what, reason):
    """When there is no room left those leave who have not said who they are, the oldest first."""
    more = {"maxSessions": 200} if what == "slots" else {
        "prefix": ("prlimit", "--nofile=400:400")}
    server = rig.Culvert(net.server, tmp, rig.socks_only_config(
        SOCKS + 20, dict([ALICE]), listen=rig.SERVER_IP), "full", loglevel="warning",
        wait=((rig.SERVER_IP, SOCKS + 20),), stateDirectory="", **more)
    with rig.running(server):
        people = Users(net.client, [("socks", (rig.SERVER_IP, SOCKS + 20), socks(ALICE))])
        result = Hostile(net.client, (rig.SERVER_IP, SOCKS + 20), "silent", count=1500, rate=500,
                         deadline=4, source=ATTACKERS).result()
        assert result["refused"] == 0 and result["done"] > 800, result
        people.end("no %s left" % what)
        assert server.reason_count(reason) > 800, server.reasons()
        told = server.log().count("(%s)" % reason)
        assert 1 <= told < 5, server.log()
        server.wait_idle()
