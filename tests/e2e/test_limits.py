# SPDX-License-Identifier: MIT
"""What a user may have: counted while it moves, held to on live sessions, for each engine."""

import contextlib
import datetime
import json
import os
import socket
import struct
import subprocess
import threading
import time
import weakref

import pins
import pytest
import rig
from test_restart import end, restart, steering  # noqa: F401

PORT = 1090
SOURCE, SINK = 8101, 8102  # in the internet: sends for ever; swallows for ever
CHUNK = 16384
ERROR_BYTES = 64 * 1024
CUT_SECONDS = 2  # the promise is one


def config(port=PORT, limits=None, **more):
    """SOCKS5 for alice, who has limits, and bob, who has none."""
    accounts = [dict({"user": "alice", "pass": "secret"}, **(limits or {})),
                {"user": "bob", "pass": "secret"}]
    return dict({
        "inbounds": [{"tag": "socks", "listen": rig.SERVER_IP, "port": port, "protocol": "socks",
                      "settings": {"auth": "password", "accounts": accounts}}],
        "outbounds": [{"tag": "direct", "protocol": "freedom",
                       "settings": {"finalRules": [{"action": "allow"}]}}]}, **more)


def engines():
    """Those that this version can be told to use."""
    found = []
    for name in ("copy", "splice", "sockmap"):
        file = "/tmp/culvert-engine-%d.json" % os.getpid()
        with open(file, "w") as output:
            json.dump(dict(config(), culvert={"engine": name}), output)
        known = subprocess.run([os.path.join(rig.build_dir(), "culvertd"), "-t", "-c", file],
                               capture_output=True).returncode == 0
        os.unlink(file)
        if known:
            found.append(name)
    return found


ENGINES = engines()


class Peer:
    """The internet: counts what it has handed to its kernel and what it was given."""

    def __init__(self, namespace):
        self.sent = self.received = 0
        self.pause = 0  # seconds between two chunks of the source
        self.ends = []  # how each connection ended
        self.listeners = []
        for port, serve in ((SOURCE, self.send), (SINK, self.swallow)):
            with namespace:
                listener = socket.create_server((rig.INTERNET_IP, port), backlog=128)
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, serve), daemon=True).start()

    def accept(self, listener, serve):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.guard, args=(connection, serve), daemon=True).start()

    def guard(self, connection, serve):
        try:
            serve(connection)
            self.ends.append("fin")
        except OSError as error:
            self.ends.append("rst" if isinstance(error, ConnectionResetError) else str(error))
        connection.close()

    def send(self, connection):
        wanted = connection.recv(16)  # whoever says nothing wants nothing
        connection.settimeout(30)
        if wanted.isdigit():
            send_for_ever(connection, self, lambda: self.pause, int(wanted))
        elif wanted:
            send_for_ever(connection, self, lambda: self.pause)

    def swallow(self, connection):
        while block := connection.recv(65536):
            self.received += len(block)

    def stop(self):
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def send_for_ever(connection, count, pause, left=1 << 60):
    block, due = bytes(CHUNK), time.monotonic()
    while left > 0:
        connection.sendall(block[:left])
        count.sent += min(left, CHUNK)
        left -= CHUNK
        if pause():
            due += pause()
            time.sleep(max(0, due - time.monotonic()))


@pytest.fixture
def peer(net):
    made = Peer(net.internet)
    yield made
    made.stop()


@pytest.fixture
def state(tmp):
    """A state directory of its own."""
    path = os.path.join(tmp, "state-%d" % time.monotonic_ns())
    yield path


@pytest.fixture
def daemon(net, tmp):
    """start(engine, limits, ...) -> culvertd on the server's PORT."""
    started = []

    def start(engine, limits=None, settings=None, **more):
        more.setdefault("stateDirectory", "")
        one = rig.Culvert(net.server, tmp, config(limits=limits, **(settings or {})), "limits",
                          engine=engine, wait=((rig.SERVER_IP, PORT),), **more)
        started.append(one)
        return one

    yield start
    for one in started:
        if not one.stopped:
            with contextlib.suppress(AssertionError):
                one.stop(10)


def log_in(net, user="alice", source=None):
    """A connection after the login, or None if that was refused."""
    with net.client:
        connection = socket.socket()
    rig._opened.append(weakref.ref(connection))
    connection.settimeout(10)
    if source:
        connection.bind((source, 0))
    connection.connect((rig.SERVER_IP, PORT))
    connection.sendall(b"\5\1\2\1" + bytes([len(user)]) + user.encode() + b"\6secret")
    rig.exactly(connection, 2)
    return connection if rig.exactly(connection, 2)[1] == 0 else None


def connect(net, port, user="alice", source=None):
    connection = log_in(net, user, source)
    assert connection, "%s is refused" % user
    connection.sendall(b"\5\1\0\1" + socket.inet_aton(rig.INTERNET_IP) + struct.pack(">H", port))
    assert rig.exactly(connection, 10)[1] == 0
    return connection


class Download(threading.Thread):
    """Reads what the source sends; how and when it ended."""

    def __init__(self, net, user="alice"):
        super().__init__(daemon=True)
        self.received, self.how, self.ended = 0, None, None
        self.reached = {}  # bytes: when they had come
        self.connection = connect(net, SOURCE, user)
        self.connection.settimeout(20)

    def begin(self, wanted=b"for ever"):
        self.connection.sendall(wanted)
        self.start()
        return self

    def run(self):
        buffer = bytearray(65536)
        try:
            while count := self.connection.recv_into(buffer):
                self.received += count
                for wanted in list(self.reached):
                    if self.received >= wanted and not self.reached[wanted]:
                        self.reached[wanted] = time.monotonic()
            self.how = "fin"
        except ConnectionResetError:
            self.how = "rst"
        except OSError as error:
            self.how = str(error)
        self.ended = time.monotonic()


class Upload(threading.Thread):
    def __init__(self, net, user="alice", pause=0):
        super().__init__(daemon=True)
        self.sent, self.how, self.ended, self.pause = 0, None, None, pause
        self.connection = connect(net, SINK, user)
        self.connection.settimeout(20)

    def begin(self):
        self.start()
        return self

    def run(self):
        try:
            send_for_ever(self.connection, self, lambda: self.pause)
        except ConnectionResetError:
            self.how = "rst"
        except OSError as error:
            self.how = str(error)
        self.ended = time.monotonic()


def handed_over(culvert, engine, direction="downlink", count=1):
    if engine == "sockmap" and direction == "uplink":
        engine = "copy"  # one direction of a session may have it
    rig.wait_for(lambda: sum(s[direction]["engine"] == engine and s["state"] == "relay"
                             for s in culvert.sessions()) >= count, 5,
                 "%d sessions with %s: %s" % (count, engine, culvert.sessions()))


def user_of(culvert, name="alice"):
    return next(u for u in culvert.ask("users")["users"] if u["name"] == name)


# ---- counting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_bytes_are_counted_while_they_move(net, peer, daemon, engine, direction):
    """At any instant the count lies between what had arrived and what had been sent."""
    culvert = daemon(engine)
    peer.pause = 0.001  # 16 MB/s: nothing piles up on the way
    if direction == "downlink":
        transfer, start = Download(net).begin(), None
        arrived, sent = (lambda: transfer.received), (lambda: peer.sent)
    else:
        transfer = Upload(net, pause=0.001).begin()
        arrived, sent = (lambda: peer.received), (lambda: transfer.sent)
    handed_over(culvert, engine, direction)
    worst = width = samples = moved = quiet = 0
    until = time.monotonic() + 4
    while time.monotonic() < until:
        low = arrived()
        session = culvert.sessions()[0][direction]["bytes"]
        high = sent() + CHUNK  # of a chunk that is being sent
        low_user = arrived()
        user = user_of(culvert)[direction + "_bytes"]
        high_user = sent() + CHUNK
        for name, first, count, last in (("session", low, session, high),
                                         ("user", low_user, user, high_user)):
            error = max(first - count, count - last, 0)
            assert error <= ERROR_BYTES, "%s: %d is not in %d to %d" % (name, count, first, last)
            worst, width = max(worst, error), max(width, last - first)
        samples, moved = samples + 1, session
        time.sleep(0.05)
        if samples % 10 == 0:  # alive, but nothing under way: now there is one right answer
            peer.pause = transfer.pause = 0.5
            rig.wait_for(lambda: arrived() == sent(), 5, "all has arrived")
            low, session, high = arrived(), culvert.sessions()[0][direction]["bytes"], sent()
            assert low <= session <= high + CHUNK <= low + ERROR_BYTES, (low, session, high)
            quiet += 1
            peer.pause = transfer.pause = 0.001
    assert moved > 4 * rig.MIB and samples > 10 and quiet > 0, (moved, samples, quiet)
    print("%s %s: %d samples over %.1f MB, at most %d bytes off; bounds at most %d bytes apart"
          % (engine, direction, samples, moved / 1e6, worst, width))
    peer.pause = transfer.pause = 1
    transfer.connection.shutdown(socket.SHUT_RDWR)
    culvert.wait_idle()
    final = user_of(culvert)[direction + "_bytes"]
    assert arrived() <= final <= sent() + CHUNK
    culvert.stop_clean()


# ---- quota and expiry --------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_quota(net, peer, daemon, engine, state):
    quota = 20 * rig.MIB
    culvert = daemon(engine, {"quotaBytes": quota}, stateDirectory=state)
    peer.pause = 0.001
    bobs = Download(net, "bob").begin()
    idle = connect(net, SOURCE)
    transfer = Download(net)
    transfer.reached[quota] = None
    transfer.begin()
    handed_over(culvert, engine, count=2)
    transfer.join(20)
    assert transfer.how == "rst", transfer.how
    late = transfer.ended - (transfer.reached[quota] or transfer.ended)
    print("%s: cut %.3f s after the last byte of the quota, %d bytes too many"
          % (engine, late, transfer.received - quota))
    assert late < CUT_SECONDS
    assert rig.read_all(idle, 2)[1] == "rst"
    assert culvert.reason_count("policy_quota") == 2
    assert log_in(net) is None
    assert bobs.how is None and log_in(net, "bob")
    before = bobs.received
    rig.wait_for(lambda: bobs.received > before + rig.MIB, 5, "bob goes on")
    bobs.connection.shutdown(socket.SHUT_RDWR)
    culvert.wait_idle()
    culvert.stop_clean()
    with open(os.path.join(state, "usage.json")) as file:
        kept = json.load(file)["users"]
    assert list(kept) == ["alice"] and kept["alice"]["downlinkBytes"] >= quota
    again = daemon(engine, {"quotaBytes": quota}, stateDirectory=state)
    assert log_in(net) is None and log_in(net, "bob")
    again.stop_clean()
    more = daemon(engine, {"quotaBytes": 2 * quota}, stateDirectory=state)
    assert log_in(net)
    more.stop_clean()


def test_quota_across_a_restart(net, tmp, peer, steering, state):
    """Two daemons at once: what each of them moved is in the file, once."""
    os.mkdir(state)
    for path in (state, tmp):
        os.chmod(path, 0o777)
    culvert = rig.Culvert(net.server, tmp, config(limits={"quotaBytes": 1 << 40}), "limits",
                          stateDirectory=state, pinDirectory=steering.directory, bpf="require",
                          drain=30, prefix=pins.UNPRIVILEGED, wait=((rig.SERVER_IP, PORT),))
    culvert.stopped = True
    peer.pause = 0.001
    first = Download(net).begin(b"40000000")
    rig.wait_for(lambda: first.received > rig.MIB, 5, "the first download runs")
    successor = restart(culvert)
    second = Download(net).begin(b"70000000")
    rig.wait_for(lambda: second.received > rig.MIB, 5, "the second download runs")
    assert first.how is None and culvert.alive()
    for transfer, wanted in ((first, 40000000), (second, 70000000)):
        transfer.join(30)
        assert (transfer.how, transfer.received) == ("fin", wanted)
        transfer.connection.close()
    assert culvert.child.wait(15) == 0
    end(successor)
    with open(os.path.join(state, "usage.json")) as file:
        kept = json.load(file)["users"]["alice"]
    assert (kept["uplinkBytes"], kept["downlinkBytes"]) == (16, 110000000)


@pytest.mark.parametrize("engine", ENGINES)
def test_expiry(net, peer, daemon, engine):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    culvert = daemon(engine, {"expiresAt": at.isoformat()})
    peer.pause = 0.001
    transfers = [Download(net).begin(), Upload(net, pause=0.001).begin()]
    handed_over(culvert, engine, count=2)
    for transfer in transfers:
        transfer.join(10)
        now = datetime.datetime.now(datetime.timezone.utc)
        late = (now - at).total_seconds()
        assert transfer.how == "rst", transfer.how
        print("%s: cut %.3f s after the end" % (engine, late))
        assert 0 <= late < CUT_SECONDS
    assert culvert.reason_count("policy_expired") == 2
    assert log_in(net) is None and log_in(net, "bob")
    rig.wait_for(lambda: peer.ends.count("rst") == 2, 5, "the other side sees it: %s" % peer.ends)
    culvert.stop_clean()


# ---- rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_rate(net, peer, daemon, engine, count, direction):
    """Of all sessions together, whichever worker has them; idle ones take nothing away."""
    rate = {"uplink": 3_000_000, "downlink": 8_000_000}[direction]
    culvert = daemon(engine, {direction + "BytesPerSecond": rate}, workers=2)
    idle = [connect(net, SOURCE) for _ in range(3)]
    transfers = [(Download if direction == "downlink" else Upload)(net) for _ in range(count)]

    def arrived():
        return peer.received if direction == "uplink" else sum(t.received for t in transfers)

    time.sleep(0.5)  # until it is clear that all of them are idle
    for transfer in transfers:
        transfer.begin()
    start, before = time.monotonic(), arrived()
    handed_over(culvert, engine, direction, count)
    for _ in range(4):  # on a busy machine not every five seconds will do
        time.sleep(max(0, start + 5 - time.monotonic()))
        measured = (arrived() - before) / (time.monotonic() - start)
        assert measured < 1.1 * rate
        if measured > 0.9 * rate:
            break
        start, before = time.monotonic(), arrived()
    shares = sorted((s[direction]["bytes"] for s in culvert.sessions()), reverse=True)[:count]
    print("%s %s, %d sessions: %.0f of %d bytes per second (%+.1f %%), shares %.2f to %.2f MB"
          % (engine, direction, count, measured, rate, (measured / rate - 1) * 100,
             shares[-1] / 1e6, shares[0] / 1e6))
    assert measured > 0.9 * rate
    if count > 1:
        assert shares[-1] > shares[0] / 2, shares
    other = {"uplink": "downlink", "downlink": "uplink"}[direction]
    free = (Upload if direction == "downlink" else Download)(net).begin()  # has no limit
    seconds_moved = []
    while len(seconds_moved) < 10 and not any(moved > 2 * rate for moved in seconds_moved):
        before = sum(s[other]["bytes"] for s in culvert.sessions())
        time.sleep(1)  # on a busy machine not every second will do
        seconds_moved.append(sum(s[other]["bytes"] for s in culvert.sessions()) - before)
    assert max(seconds_moved) > 2 * rate, seconds_moved
    for transfer in transfers + [free]:
        rig.reset(transfer.connection)  # what still waits would need its time
    for connection in idle:
        connection.close()
    culvert.wait_idle()
    culvert.stop_clean()


# ---- how many ----------------------------------------------------------------------------------


def test_sessions_at_a_time(net, peer, daemon):
    culvert = daemon("auto", {"maxSessions": 3}, workers=2)
    open_ones = [connect(net, SOURCE) for _ in range(3)]
    assert log_in(net) is None and log_in(net, "bob")
    culvert.wait_reason("policy_user_sessions")
    open_ones.pop().close()
    rig.wait_for(lambda: log_in(net), 5, "a place is free")
    culvert.stop_clean()


def test_source_addresses_at_a_time(net, peer, daemon):
    second, third = "10.77.1.21", "10.77.1.22"
    device = json.loads(subprocess.run(
        ["ip", "-n", net.client.name, "-j", "route", "get", rig.SERVER_IP], check=True,
        capture_output=True).stdout)[0]["dev"]
    for address in (second, third):
        net.client.ip("addr", "add", address + "/24", "dev", device)
    try:
        culvert = daemon("auto", {"maxSourceAddresses": 2}, workers=2)
        first = [connect(net, SOURCE) for _ in range(4)]
        other = connect(net, SOURCE, source=second)
        assert log_in(net, source=third) is None
        culvert.wait_reason("policy_user_addresses")
        assert log_in(net, "bob", source=third)
        for connection in first:
            connection.close()
        rig.wait_for(lambda: log_in(net, source=third), 5, "the first address is gone")
        other.close()
        culvert.stop_clean()
    finally:
        for address in (second, third):
            net.client.ip("addr", "del", address + "/24", "dev", device)


# ---- kick --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_kick(net, peer, daemon, engine):
    """Sessions of all workers at once, in the middle of their bytes; others go on."""
    culvert = daemon(engine, workers=2)
    bobs = Download(net, "bob").begin()
    transfers = [(Download, Upload)[i % 2](net).begin() for i in range(8)]
    handed_over(culvert, engine, count=9)
    start = time.monotonic()
    assert culvert.ask("kick alice")["kicked"] == 8
    for transfer in transfers:
        transfer.join(5)
        assert transfer.how == "rst", transfer.how
    late = max(transfer.ended for transfer in transfers) - start
    print("%s: all 8 cut within %.3f s" % (engine, late))
    assert late < 1
    rig.wait_for(lambda: peer.ends.count("rst") == 8, 2, "the other side: %s" % peer.ends)
    assert culvert.reason_count("policy_kicked") == 8
    before = bobs.received
    rig.wait_for(lambda: bobs.received > before + rig.MIB, 5, "bob goes on")
    assert log_in(net), "a kick is no ban"
    bobs.connection.shutdown(socket.SHUT_RDWR)
    culvert.wait_idle()
    culvert.stop_clean()


# ---- idle --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_only_idle_sessions_are_idle(net, peer, daemon, engine):
    """A trickle in one direction keeps a session that the kernel carries; silence does not."""
    culvert = daemon(engine, settings={"policy": {"levels": {"0": {"connIdle": 2}}}})
    peer.pause = 0.5
    idle, busy = connect(net, SOURCE), Download(net).begin()
    handed_over(culvert, engine, count=2)
    started = time.monotonic()
    assert rig.read_all(idle, 10) == (b"", "fin")
    assert 1.5 < time.monotonic() - started < 4
    time.sleep(3)
    assert busy.how is None and culvert.reason_count("policy_idle") == 1
    peer.pause = 3600
    busy.join(6)
    assert busy.how == "fin" and culvert.reason_count("policy_idle") == 2
    culvert.stop_clean()


# ---- REALITY and Vision ------------------------------------------------------------------------


def test_quota_of_a_reality_user(net, tmp, keys, target, internet, peer, state):
    """The same through REALITY and Vision: cut, refused afterwards, others served."""
    clients = [{"id": rig.USER, "flow": rig.VISION, "email": "vision@test",
                "quotaBytes": 12 * rig.MIB},
               {"id": rig.PLAIN_USER, "flow": "", "email": "plain@test"}]
    server = rig.Culvert(net.server, tmp, rig.server_config(
        4443, rig.reality_stream(keys.private, target.address), clients=clients), "server",
        wait=((rig.SERVER_IP, 4443),), stateDirectory=state)
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1081, 4443, rig.reality_client_stream(keys.public)), "client",
        wait=(("127.0.0.1", 1081),))
    with rig.running(client, server):
        url = "https://%s/paced/big" % rig.INTERNET_IP
        arguments = ("-x", "socks5h://127.0.0.1:1081", "-k", "-o", "/dev/null")
        status, _, text = rig.curl(net.client, *arguments, url)
        assert status != 0, "not cut"
        assert server.reason_count("policy_quota") == 1, (status, text)
        status, _, text = rig.curl(net.client, *arguments, "https://%s/" % rig.INTERNET_IP)
        assert status != 0, "not refused"
        server.wait_reason("policy_quota", before=1)
        assert "vision@test: policy_quota" in server.log()
        assert rig.USER not in server.log()
        client.wait_idle()
        server.wait_idle()
