# SPDX-License-Identifier: MIT
"""The censor's view: our server beside the bare target. No difference is the only good answer.

Each scenario runs against the bare target and against our server, and what came back is compared:
record types and lengths, plain alerts, FIN or RST, and when. Against our server it runs as

    stranger  an ordinary hello                  wrong   sealed for another server's key
    replay    a hello that was let in before     sealed  a hello that is let in, whose client then
                                                         misbehaves: what an attacker in the path
                                                         makes of a genuine client's connection

test_nginx.py and test_go.py each run all of it, with their TARGET.
"""

import concurrent.futures
import copy
import os
import shutil
import socket
import ssl
import subprocess
import time
import types

import prober
import pytest
import reality_client
import rig

ALPNS = {"none": (), "http/1.1": ("http/1.1",), "h2": ("h2", "http/1.1")}
PORTS = {"nginx": 8701, "go": 8702}
TIMEOUT = 7  # the targets' own; longer than what the server watches them for at its start


# ---- targets ------------------------------------------------------------------------------------


def start_nginx(net, tmp, certificate, key):
    root = os.path.join(tmp, "detect-nginx")
    os.makedirs(root)
    with open(root + "/index.html", "w") as file:
        file.write(rig.PAGE)
    return rig.Nginx(net.internet, root, """
        server { listen %s:%d ssl http2; ssl_certificate %s; ssl_certificate_key %s; root %s;
            ssl_protocols TLSv1.2 TLSv1.3; client_header_timeout %d; keepalive_timeout %d; }""" % (
        rig.INTERNET_IP, PORTS["nginx"], certificate, key, root, TIMEOUT, TIMEOUT),
        wait=((rig.INTERNET_IP, PORTS["nginx"]),))


def start_go(net, tmp, certificate, key):
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if not go:
        pytest.skip("Go is not installed")
    program = os.path.join(tmp, "gotarget")
    environment = dict(os.environ, GOFLAGS="-buildvcs=false", GOTOOLCHAIN="local", GOWORK="off",
                       GOCACHE=os.environ.get("GOCACHE") or os.path.join(tmp, "go-cache"))
    subprocess.run([go, "build", "-o", program, "."], check=True, env=environment,
                   cwd=os.path.join(os.path.dirname(os.path.abspath(__file__)), "gotarget"))
    process = rig.Process(net.internet, [program, "%s:%d" % (rig.INTERNET_IP, PORTS["go"]),
                                         certificate, key], program + ".log")
    rig.wait_for(lambda: rig.accepts(net.internet, rig.INTERNET_IP, PORTS["go"]), 10, "Go listens")
    return process


@pytest.fixture(scope="module")
def sides(request, net, tmp, keys, authority):
    """The bare target, seen from the server, and our server, seen from the client."""
    certificate, key = authority.issue(rig.SITE)
    target = request.module.TARGET
    process = {"nginx": start_nginx, "go": start_go}[target](net, tmp, certificate, key)
    port = PORTS[target]
    daemon = rig.Culvert(net.server, tmp, rig.server_config(443, rig.reality_stream(
        keys.private, "%s:%d" % (rig.INTERNET_IP, port))), "detect", wait=((rig.SERVER_IP, 443),))
    public = reality_client.decode_key(keys.public)
    with open(certificate) as file:
        leaf = ssl.PEM_cert_to_DER_cert(file.read())
    with rig.running(daemon):
        yield types.SimpleNamespace(
            name=target, daemon=daemon, leaf=leaf,
            bare=Side("bare", net.server, rig.INTERNET_IP, port, public),
            ours={kind: Side(kind, net.client, rig.SERVER_IP, 443, public)
                  for kind in ("stranger", "wrong", "replay", "sealed")})
        daemon.wait_idle()
    process.stop()


class Connection:
    """A socket that writes in two pieces, if asked to, pauses behind each piece, and never takes a
    reset for a FIN.

    The kernel tells of a reset once: if a send was told, the recv behind the last byte returns b"".
    """

    def __init__(self, connection, segments):
        self._connection, self._segments, self._was_reset = connection, segments, False

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def sendall(self, data):
        cut, pause = self._segments or (len(data), 0)
        try:
            for piece in filter(None, (data[:cut], data[cut:])):
                self._connection.sendall(piece)
                until = time.monotonic() + pause
                while time.monotonic() < until:  # shorter than a sleep can be
                    time.sleep(0.001 if pause > 0.002 else 0)
        except ConnectionResetError:
            self._was_reset = True
            raise

    def recv(self, size):
        data = self._connection.recv(size)
        if not data and self._was_reset:
            raise ConnectionResetError
        return data


# Where a network, or a relay in between, may cut the same bytes: a record's header, a packet, two
# of our own buffers' sizes.
CUTS = (5, 1448, 16384, 32768)
ALONE = 0.1  # seconds in which a piece is dealt with before the next one arrives
RACES = [(cut, microseconds * 1e-6) for microseconds in (*range(0, 120, 8), 150, 200, 300, 500)
         for cut in CUTS] * 3


class Side:
    """Somebody to connect to, and what kind of hello to show."""

    def __init__(self, kind, namespace, address, port, public):
        self.kind, self.namespace, self.address, self.port = kind, namespace, address, port
        self.public, self.segments = public, None

    def connect(self):
        return Connection(rig.tcp(self.namespace, self.address, self.port), self.segments)

    def segmented(self, cut, pause):
        """The same side, to which long writes arrive in two pieces."""
        other = copy.copy(self)
        other.segments = (cut, pause)
        return other

    def hello(self, **options):
        hello = reality_client.Hello(**options)
        if self.kind == "wrong":
            other = reality_client.raw_public(reality_client.X25519PrivateKey.generate())
            return hello.seal(other, rig.SHORT_ID)
        if self.kind in ("replay", "sealed"):
            hello.seal(self.public, rig.SHORT_ID)
        if self.kind == "replay":  # its first use
            first = reality_client.Client(self.connect(), hello)
            first.send_hello()
            first.read_flight()
            assert first.genuine
            first.connection.close()
        return hello

    def flight(self, **options):
        """A client that has read the server's flight."""
        client = reality_client.Client(self.connect(), self.hello(**options))
        client.send_hello()
        client.read_flight()
        if self.kind != "bare":
            assert client.genuine == (self.kind == "sealed"), self.kind
        return client


def differs(bare, ours, seconds):
    """None, or the first step in which shape, end or time are not alike."""
    assert len(bare) == len(ours)
    for theirs, mine in zip(bare, ours):
        if mine.shape() != theirs.shape() or abs(mine.seconds - theirs.seconds) > seconds:
            return "bare target %s\nours        %s" % (theirs, mine)
    return None


def is_among(bare, ours, seconds):
    return any(differs(one, ours, seconds) is None for one in bare)


def in_time(bare, side, scenario, seconds):
    """What our side does; again where nothing but the time is wrong: a busy machine does that.

    An end that had not come when the scenario stopped waiting is a matter of time as well.
    """
    for _ in range(4):
        ours = scenario(side)
        late = is_among(bare, ours, float("inf")) or ours[-1].end == "open"
        if is_among(bare, ours, seconds) or not late:
            break
    return ours


def compare_cut(sides, kind, scenario, seconds, cut):
    """The same bytes in two pieces: no race is left but for a machine too busy for ALONE."""
    bare = []
    for _ in range(5):
        bare.append(scenario(sides.bare.segmented(cut, ALONE)))
        ours = in_time(bare, sides.ours[kind].segmented(cut, ALONE), scenario, seconds)
        if is_among(bare, ours, seconds):
            return
    raise AssertionError("%s, %s, cut at %d:\n%s" % (sides.name, kind, cut,
                                                     differs(bare[-1], ours, seconds)))


def compare(sides, scenario, kinds=("stranger", "wrong", "replay", "sealed"), seconds=0.7):
    """scenario(side) -> list of Transcript; shapes and ends must be equal, times close.

    Whether a target that closes early ends in FIN or RST hangs on how much of what it will not read
    has arrived by then. So, where we differ, both get the bytes in pieces, and must be alike for
    each cut; and what we did without a cut, at once, must be something that the bare target is seen
    to do while pieces race with its close. Ours has no second chance: now and then is a difference.
    """
    bare = [scenario(sides.bare)]
    for kind in kinds:
        ours = in_time(bare, sides.ours[kind], scenario, seconds)
        if is_among(bare, ours, seconds):
            continue
        for cut in CUTS:
            compare_cut(sides, kind, scenario, seconds, cut)
        for race in RACES:
            if is_among(bare, ours, seconds):
                break
            bare.append(scenario(sides.bare.segmented(*race)))
        else:
            raise AssertionError("%s, %s, of %d tries:\n%s" % (
                sides.name, kind, len(bare), differs(bare[0], ours, seconds)))
    return bare[0]


def watch(connection, seconds=2.0, quiet=0.4, data=b""):
    transcript = prober.Transcript()
    transcript.data = data
    return prober.observe(connection, seconds, quiet, transcript)


def rest(client, seconds=2.0, quiet=0.4):
    """What comes after the flight, and the flight itself by its record lengths."""
    transcript = watch(client.connection, seconds, quiet, client.records.buffer)
    flight = prober.Transcript()
    flight.end = str(client.records.lengths)
    return [flight, transcript]


# ---- ordinary connections -----------------------------------------------------------------------


@pytest.mark.parametrize("suite", [pytest.param(0x1301, id="AES-128"),
                                   pytest.param(0x1302, id="AES-256"),
                                   pytest.param(0x1303, id="ChaCha20")])
@pytest.mark.parametrize("alpn", ALPNS)
def test_record_lengths(sides, alpn, suite):
    """Flight and post-handshake records of each ALPN class; a ticket is longer with SHA-384."""
    def scenario(side):
        client = side.flight(alpn=ALPNS[alpn], suites=(suite,))
        client.finish()
        return rest(client)
    bare = compare(sides, scenario)
    print("%s, ALPN %s: flight %s, then %s" % (sides.name, alpn, bare[0].end, bare[1].records()))


@pytest.mark.parametrize("alpn", ALPNS)
def test_certificate_alpn_and_page(sides, alpn):
    """Who is not let in meets the target's certificate, ALPN and page."""
    def fetch(side):
        client = side.flight(alpn=ALPNS[alpn])
        assert client.certificate == sides.leaf
        client.finish()
        if alpn == "h2" and client.alpn == b"h2":
            client.connection.close()
            return client.alpn, None
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
        head, _, body = client.recv_all().partition(b"\r\n\r\n")
        names = [line.split(b":")[0] for line in head.split(b"\r\n")]
        return client.alpn, names, body
    bare = fetch(sides.bare)
    for kind in ("stranger", "wrong", "replay"):
        assert fetch(sides.ours[kind]) == bare, kind


def test_first_byte_is_not_late(sides):
    """The detour through our server costs no time a prober could measure over the Internet."""
    def first(side):
        best = 9.0
        for _ in range(5):
            hello = side.hello()
            connection = side.connect()
            time.sleep(0.05)
            start = time.monotonic()
            connection.sendall(prober.hello_record(hello.message()))
            connection.recv(1)
            best = min(best, time.monotonic() - start)
            connection.close()
        return best
    bare = first(sides.bare)
    for kind in ("stranger", "wrong", "sealed"):
        ours = first(sides.ours[kind])
        print("%s, %s: first byte after %.1f ms, bare %.1f ms" % (sides.name, kind, ours * 1e3,
                                                                 bare * 1e3))
        assert ours < bare + 0.05


# ---- change_cipher_spec -------------------------------------------------------------------------


CCS = [(count, True) for count in (0, 1, 2, 3, 8, 15, 16, 17, 18, 19, 31, 32, 33, 34, 35, 40)] + \
    [(count, False) for count in (3, 17, 18, 33, 34)]


@pytest.mark.parametrize("count, together", CCS, ids=[
    "%d %s" % (count, "in one segment" if together else "one by one") for count, together in CCS])
def test_ccs_tolerance(sides, count, together):
    """count records between the hello and Finished: ignored or alerted like the target does."""
    def scenario(side):
        client = side.flight(alpn=("http/1.1",))
        prober.send_pieces(client.connection, reality_client.CCS_RECORD * count,
                           6 * count or 1 if together else 6, 0 if together else 0.005)
        if not together:
            time.sleep(0.1)
        finished = client.finish(ccs=0, send=False)
        prober.send_pieces(client.connection, finished, len(finished))
        return rest(client, quiet=0.3)
    bare = compare(sides, scenario, kinds=("stranger", "sealed"))
    print("%s, %d CCS: %s" % (sides.name, count, bare[1]))


def test_ccs_of_other_content(sides):
    for payload in (b"\0", b"\2", b"\1\1", b""):
        def scenario(side):
            client = side.flight(alpn=("http/1.1",))
            client.connection.sendall(reality_client.record(20, payload))
            return rest(client)
        compare(sides, scenario, kinds=("stranger", "sealed"))


# ---- instead of Finished ------------------------------------------------------------------------


INSTEAD = {
    "a record that does not authenticate": reality_client.record(23, os.urandom(53)),
    "a short record": reality_client.record(23, bytes(16)),
    "an empty record": reality_client.record(23, b""),
    "a record beyond the limit": b"\x17\3\3\x41\x01" + bytes(16641),
    "a record far beyond the limit": b"\x17\3\3\xff\xff" + bytes(20000),
    "a plain handshake record": reality_client.record(22, b"\x14\0\0\x20" + bytes(32)),
    "a second hello": None,
    "a plain close_notify": reality_client.record(21, b"\1\0"),
    "a plain fatal alert": reality_client.record(21, b"\2\x28"),
    "a malformed alert": reality_client.record(21, b"\2"),
    "a record of type 24": reality_client.record(24, b"\1\0\3abc"),
    "a record of type 0": reality_client.record(0, b"abc"),
    "version 0400": b"\x17\4\0\0\x20" + bytes(32),
    "HTTP": b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "half a record": b"\x17\3\3\0\x35" + bytes(20),
    "five bytes": b"\x17\3\3\0\x35",
    "garbage": bytes(range(200, 250)) * 3,
}


@pytest.mark.parametrize("what", INSTEAD)
def test_instead_of_finished(sides, what):
    def scenario(side):
        client = side.flight(alpn=("http/1.1",))
        data = INSTEAD[what]
        if data is None:
            data = prober.hello_record(reality_client.Hello().message())
        prober.send_pieces(client.connection, data, len(data))
        return rest(client)
    compare(sides, scenario, kinds=("stranger", "sealed"))


def test_reset_is_not_late(sides):
    """A target's RST follows its alert at once; the best of some tries does not depend on load."""
    def seconds(side):
        best = 9.0
        for _ in range(8):
            client = side.flight(alpn=("http/1.1",))
            data = INSTEAD["a record far beyond the limit"]
            prober.send_pieces(client.connection, data, len(data))
            best = min(best, watch(client.connection).seconds)
        return best
    bare = seconds(sides.bare)
    for kind in ("stranger", "sealed"):
        ours = seconds(sides.ours[kind])
        print("%s, %s: ended after %.1f ms, bare %.1f ms" % (sides.name, kind, ours * 1e3,
                                                            bare * 1e3))
        assert ours < bare + 0.02


def test_wrong_finished(sides):
    def scenario(side):
        client = side.flight(alpn=("http/1.1",))
        client.finish(wrong=True)
        return rest(client)
    compare(sides, scenario, kinds=("stranger", "sealed"))


def test_encrypted_but_not_finished(sides):
    """Handshake keys, wrong message: Certificate, application data, close_notify, a fatal alert.

    Not with a sealed hello: who has the keys of a connection that is let in is no prober.
    """
    for kind, data in ((22, b"\x0b\0\0\4\0\0\0\0"), (23, b"GET / HTTP/1.1\r\n\r\n"), (21, b"\1\0"),
                       (21, b"\2\x28"), (22, b"\x18\0\0\1\0"), (20, b"\1"), (24, b"x")):
        def scenario(side):
            client = side.flight(alpn=("http/1.1",))
            keys = reality_client.Keys(client.suite, client.client_secret)
            client.connection.sendall(reality_client.CCS_RECORD + keys.seal(kind, data))
            return rest(client)
        compare(sides, scenario, kinds=("stranger", "wrong"))


def test_finished_in_pieces(sides):
    """Finished over two records, and one byte per segment."""
    def scenario(side):
        client = side.flight(alpn=("http/1.1",))
        flight = client.finish(send=False)
        prober.send_pieces(client.connection, flight, 1, 0.001)
        return rest(client)
    compare(sides, scenario)


# ---- half-close, silence ------------------------------------------------------------------------


STAGES = {
    "nothing": lambda side: side.connect(),
    "half a hello": lambda side: started(side, 0.5),
    "a hello but one byte": lambda side: started(side, -1),
    "the flight read": lambda side: side.flight(alpn=("http/1.1",)),
    "CCS sent": lambda side: after_flight(side, reality_client.CCS_RECORD),
}


def started(side, fraction):
    connection = side.connect()
    data = prober.hello_record(side.hello().message())
    connection.sendall(data[:int(len(data) * fraction)] if fraction > 0 else data[:-1])
    return connection


def after_flight(side, data):
    client = side.flight(alpn=("http/1.1",))
    client.connection.sendall(data)
    return client


@pytest.mark.parametrize("stage", STAGES)
def test_half_close(sides, stage):
    def scenario(side):
        reached = STAGES[stage](side)
        connection = getattr(reached, "connection", reached)
        prober.half_close(connection)
        if connection is reached:
            return [watch(connection)]
        return rest(reached)
    compare(sides, scenario)


def test_half_close_after_the_request(sides):
    """An ordinary page fetch whose client says FIN early gets its page."""
    def scenario(side):
        client = side.flight(alpn=("http/1.1",))
        client.finish()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        client.connection.shutdown(socket.SHUT_WR)
        return [watch(client.connection, data=client.records.buffer)]
    compare(sides, scenario, kinds=("stranger", "wrong", "replay"))


def until_the_end(reached):
    connection = getattr(reached, "connection", reached)
    if connection is reached:
        return [watch(connection, TIMEOUT + 3, None)]
    return rest(reached, TIMEOUT + 3, None)


def shaken_hands(side):
    client = side.flight(alpn=("http/1.1",))
    client.finish()
    return client


def test_time_outs(sides):
    """Silence is ended by the target's own clock, also where we speak for it. All at once."""
    stages = dict(STAGES, **{"the handshake done": shaken_hands})
    kinds = {stage: ["stranger", "sealed"] for stage in STAGES}
    kinds["nothing"] = ["stranger"]
    kinds["the handshake done"] = ["stranger", "wrong", "replay"]
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        jobs = {(stage, side.kind): pool.submit(lambda s, v: until_the_end(stages[s](v)), stage, side)
                for stage in stages
                for side in [sides.bare] + [sides.ours[kind] for kind in kinds[stage]]}
    for (stage, kind), job in jobs.items():
        bare, ours = jobs[(stage, "bare")].result(), job.result()
        print("%s, %s, %s: %s" % (sides.name, kind, stage, ours[-1]))
        for theirs, mine in zip(bare, ours):
            assert mine.shape() == theirs.shape() and abs(mine.seconds - theirs.seconds) < 1.2, \
                "%s, %s, %s:\nbare target %s\nours        %s" % (sides.name, stage, kind, theirs, mine)


# ---- other hellos -------------------------------------------------------------------------------


HELLOS = {
    "SNI not listed": dict(sni="other.test"),
    "SNI in capitals": dict(sni="SITE.TEST"),
    "no SNI": dict(sni=None),
    "no TLS 1.3": dict(versions=(0x0303,)),
    "one suite": dict(suites=(0x1303,)),
    "AES-256": dict(suites=(0x1302,)),
    "unknown suites": dict(suites=(0x1399, 0x0A0A)),
}


@pytest.mark.parametrize("what", HELLOS)
def test_other_hellos(sides, what):
    def scenario(side):
        connection = side.connect()
        connection.sendall(prober.hello_record(side.hello(**HELLOS[what]).message()))
        return [watch(connection)]
    sealed = () if what in ("no TLS 1.3", "SNI not listed", "SNI in capitals", "no SNI") \
        else ("sealed",)
    if what == "unknown suites":
        sealed = ()
    compare(sides, scenario, ("stranger", "wrong") + sealed)


def test_one_byte_segments(sides):
    def scenario(side):
        connection = side.connect()
        prober.send_pieces(connection, prober.hello_record(side.hello().message()), 1, 0.0005)
        return [watch(connection)]
    compare(sides, scenario, seconds=1.5)


def test_hello_over_many_records(sides):
    def scenario(side):
        connection = side.connect()
        message = side.hello().message()
        connection.sendall(b"".join(prober.hello_record(message[i:i + 40])
                                    for i in range(0, len(message), 40)))
        return [watch(connection)]
    compare(sides, scenario)


@pytest.mark.parametrize("what", prober.malformed_hellos())
def test_malformed(sides, what):
    def scenario(side):
        connection = side.connect()
        data = prober.malformed_hellos()[what]()
        prober.send_pieces(connection, data, len(data))
        return [watch(connection, quiet=0.3)]
    compare(sides, scenario, ("stranger",))


def test_data_behind_the_hello(sides):
    """Early bytes in the segment of the hello: 0-RTT that nobody offered."""
    for more in (reality_client.record(23, os.urandom(60)), b"GET / HTTP/1.1\r\n\r\n",
                 reality_client.CCS_RECORD, reality_client.CCS_RECORD * 3):
        def scenario(side):
            connection = side.connect()
            connection.sendall(prober.hello_record(side.hello().message()) + more)
            return [watch(connection)]
        compare(sides, scenario)


def test_many_probes_leave_nothing(sides):
    """After everything above nothing hangs around, but for probes that are soon over."""
    def sockets():
        return [d for d in sides.daemon.descriptors().values() if d.startswith("socket:")]
    sides.daemon.wait_idle()
    rig.wait_for(lambda: len(sockets()) <= 8, 20, "sockets closed: %s" % sides.daemon.descriptors())
