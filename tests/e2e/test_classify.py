# SPDX-License-Identifier: MIT
"""Classes of server names: dropped ones vanish in the kernel, and in user space just the same.

Every rule is tried twice: with the program on the listener, and with "bpf": "off".
"""

import contextlib
import hashlib
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import time

import pins
import prober
import pytest
import reality_client
import rig
from test_restart import end, restart

PORT, OTHER_PORT, OTHER = 7443, 7444, "other.test"
EDGE = {"routes": [{"names": ["bad.test", "*.bad.test"], "to": "drop", "class": "bad"},
                   {"names": ["good.bad.test"], "to": "pass", "class": "good"},
                   {"names": ["*.test"], "to": "pass", "class": "tests"}], "notTls": "drop"}
# as the configuration numbers them: what has a meaning of its own, the target, the routes
NOT_TLS, OTHER_NAME, TARGET, BAD, GOOD, TESTS = 2, 4, 8, 9, 10, 11
UNACKED_OFFSET = 24  # struct tcp_info: tcpi_unacked


@pytest.fixture(scope="module", params=["kernel", "user"])
def where(request, net, tmp):
    """Who reads the names."""
    if request.param == "user":
        if net.server.pins:
            pytest.skip("with pins the kernel reads them")
        yield {"bpf": "off"}
        return
    reason = pins.usable()
    if reason:
        pytest.skip(reason)
    if net.server.pins:
        yield {"bpf": "require", "pinDirectory": net.server.pins.directory,
               "prefix": pins.UNPRIVILEGED}
        return
    loaded = pins.Pins(net.server, tmp).load()
    yield {"bpf": "require", "pinDirectory": loaded.directory}
    loaded.close()


def is_kernel(where):
    return where.get("bpf") != "off"


@contextlib.contextmanager
def start(net, tmp, port, stream, where, edge, **more):
    config = rig.server_config(port, stream, edge=edge, **more)
    daemon = rig.Culvert(net.server, tmp, config, "edge", wait=((rig.SERVER_IP, port),), **where)
    with rig.running(daemon):
        yield daemon


@pytest.fixture(scope="module")
def daemon(net, tmp, keys, target, where):
    """REALITY with one target, and EDGE."""
    with start(net, tmp, PORT, rig.reality_stream(keys.private, target.address), where,
               EDGE) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def several(net, tmp, keys, target, authority, where):
    """REALITY with two targets; every other name below test is dropped."""
    certificate, key = authority.issue(OTHER)
    nginx = rig.Nginx(net.internet, os.path.join(tmp, "other-site"), """
        server { listen %s:8453 ssl; server_name %s; return 200 "the other site\n";
            ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3; }""" % (
        rig.INTERNET_IP, OTHER, certificate, key), wait=((rig.INTERNET_IP, 8453),))
    stream = rig.reality_stream(keys.private, target.address, targets=[
        {"target": "%s:8453" % rig.INTERNET_IP, "serverNames": [OTHER]}])
    edge = {"routes": [{"names": ["*.test"], "to": "drop"}]}
    with rig.running(nginx), start(net, tmp, OTHER_PORT, stream, where, edge) as daemon:
        yield daemon


def hello(name):
    return prober.hello_record(reality_client.Hello(sni=name).message())


def dial(net, port=PORT):
    return rig.tcp(net.client, rig.SERVER_IP, port)


def unacknowledged(connection):
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("I", info, UNACKED_OFFSET)[0]


def answers(connection, seconds=15):
    """Does the target's answer to a hello come? Waits no longer than for its first byte."""
    if not select.select([connection], [], [], seconds)[0]:
        return False
    try:
        return connection.recv(65536) != b""
    except ConnectionResetError:
        return False


def counters(where):
    """{(class, counter): n}, summed over the CPUs."""
    text = subprocess.run(
        [rig.find_program("bpftool"), "-j", "map", "dump", "pinned",
         where["pinDirectory"] + "/sni_counters"], capture_output=True, text=True, check=True).stdout
    found = {}
    for entry in json.loads(text):
        entry = entry["formatted"]
        for key in entry["values"][0]["value"]:
            found[entry["key"], key] = sum(cpu["value"][key] for cpu in entry["values"])
    return found


class Counted:
    """What the daemon and the kernel counted since."""

    def __init__(self, daemon, where):
        self.daemon, self.where = daemon, where
        self.drops = daemon.reason_count("edge_drop")
        self.before = counters(where) if is_kernel(where) else {}

    def dropped(self):
        self.daemon.wait_idle()
        return self.daemon.reason_count("edge_drop") - self.drops

    def connections(self, name="connections"):
        """{class: n} where something was counted; nothing where the kernel does not count."""
        now = counters(self.where) if is_kernel(self.where) else {}
        return {key[0]: n - self.before[key] for key, n in now.items()
                if key[1] == name and n != self.before[key]}

    def expect(self, **more):
        if is_kernel(self.where):
            wanted = {globals()[name.upper()]: n for name, n in more.items()}
            assert self.connections() == wanted
            assert set(self.connections("dropped_segments")) <= {BAD, NOT_TLS}


# ---- what passes, what vanishes ------------------------------------------------------------------


def test_names(net, daemon, where):
    """Exact before wildcard, the longest suffix, any case; an answer comes for all that pass."""
    counted = Counted(daemon, where)
    for name in (rig.SITE, "good.bad.test", "x.test", "unlisted.example", "GOOD.bad.Test",
                 "notbad.test"):
        with dial(net) as one:
            one.sendall(hello(name))
            assert answers(one), name
    for name in ("bad.test", "a.bad.test", "A.Bad.TEST", "x.good.bad.test"):
        with dial(net) as one:
            one.sendall(hello(name))
            assert not answers(one, 0.5), name
            # the kernel does not even acknowledge what it drops
            assert (unacknowledged(one) > 0) == is_kernel(where), name
    assert counted.dropped() == 4
    counted.expect(bad=4, good=2, tests=2, target=1, other_name=1)


@pytest.mark.parametrize("size", (1, 100))
def test_pieces(net, daemon, where, size):
    counted = Counted(daemon, where)
    for name, comes in (("x.bad.test", False), (rig.SITE, True), ("y.test", True)):
        with dial(net) as one:
            prober.send_pieces(one, hello(name), size, 0.001)
            assert answers(one, 15 if comes else 0.7) == comes, name
    assert counted.dropped() == 1
    counted.expect(bad=1, target=1, tests=1)


def test_hello_of_two_segments(net, daemon, where):
    """As large as a browser's with a post-quantum key share."""
    counted = Counted(daemon, where)
    for name, comes in (("x.bad.test", False), (rig.SITE, True)):
        large = reality_client.Hello(sni=name)
        large.extensions.append((21, bytes(1500)))
        with dial(net) as one:
            one.sendall(prober.hello_record(large.message()))
            assert answers(one, 15 if comes else 0.7) == comes, name
    assert counted.dropped() == 1
    counted.expect(bad=1, target=1)


def test_hello_over_records(net, daemon, where):
    """The kernel leaves it to user space, which drops just as well."""
    counted = Counted(daemon, where)
    for name, comes in (("x.bad.test", False), (rig.SITE, True)):
        message = reality_client.Hello(sni=name).message()
        with dial(net) as one:
            one.sendall(prober.hello_record(message[:60]) + prober.hello_record(message[60:]))
            assert answers(one, 15 if comes else 0.7) == comes, name
            assert unacknowledged(one) == 0
    assert counted.dropped() == 1


def test_not_tls(net, daemon, where):
    counted = Counted(daemon, where)
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"G", b"\x16\x7f"):
        with dial(net) as one:
            one.sendall(first)
            assert not answers(one, 0.5)
            assert (unacknowledged(one) > 0) == is_kernel(where)
    assert counted.dropped() == 3
    counted.expect(not_tls=3)


def test_looks_like_silence(net, daemon, where):
    """A dropped client meets what one meets that never said a word: the target's time-out."""
    counted = Counted(daemon, where)
    silent, dropped, no_tls = dial(net), dial(net), dial(net)
    dropped.sendall(hello("bad.test"))
    no_tls.sendall(b"hello\r\n")
    found = [prober.observe(one, seconds=15) for one in (silent, dropped, no_tls)]
    print(found)
    assert found[0].end == "fin"
    for other in found[1:]:
        assert other.shape() == found[0].shape()
    assert counted.dropped() == 2


def test_client_leaves(net, daemon):
    """FIN or RST behind what was dropped: the session ends all the same."""
    for leave in (prober.half_close, rig.reset):
        one = dial(net)
        one.sendall(hello("bad.test"))
        time.sleep(0.3)
        leave(one)
        if leave is prober.half_close:
            assert prober.observe(one, seconds=12).data == b""
        one.close()
        daemon.wait_idle()


# ---- what the daemon does not notice -------------------------------------------------------------


def switches(daemon):
    """How often its threads went to sleep."""
    total = 0
    for task in os.listdir("/proc/%d/task" % daemon.pid):
        with open("/proc/%d/task/%s/status" % (daemon.pid, task)) as file:
            total += int(file.read().split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return total


def woken_by(daemon, connections, name):
    before = switches(daemon)
    for one in connections:
        one.sendall(hello(name))
        time.sleep(0.02)
    time.sleep(0.3)
    return switches(daemon) - before


def test_nobody_wakes(net, daemon, where):
    """40 dropped hellos, and again and again as TCP repeats them: the daemon sleeps on."""
    if not is_kernel(where):
        pytest.skip("only the kernel can keep it asleep")
    counted = Counted(daemon, where)
    dropped, passing = [dial(net) for _ in range(40)], [dial(net) for _ in range(40)]
    time.sleep(0.5)
    quiet = woken_by(daemon, dropped, "bad.test")
    loud = woken_by(daemon, passing, "x.test")
    print("woken by 40 dropped hellos: %d, by 40 others: %d" % (quiet, loud))
    assert loud >= 40
    assert quiet < 30, "timers only"  # which a busy machine gives more time
    assert all(unacknowledged(one) > 0 for one in dropped)
    assert counted.dropped() == 40


# ---- beside all else -----------------------------------------------------------------------------


def test_vision_goes_on(net, tmp, keys, daemon, where, internet):
    """Our own clients, with a filter that is taken off: splice carries them."""
    counted = Counted(daemon, where)
    handovers = daemon.counter("downlink_handovers")
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1083, PORT, rig.reality_client_stream(keys.public)), "client",
        wait=(("127.0.0.1", 1083),))
    with rig.running(client):
        status, body, error = rig.curl(
            net.client, "-x", "socks5h://127.0.0.1:1083", "--cacert", internet.ca, "--connect-to",
            "%s:443:%s:443" % (rig.WEB, rig.INTERNET_IP), "https://%s/medium" % rig.WEB)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    assert daemon.counter("downlink_handovers") > handovers
    assert counted.dropped() == 0
    counted.expect(target=1)


def subject(net, authority, name):
    """The name in the certificate that comes for a name."""
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = False
    with dial(net, OTHER_PORT) as plain, \
            context.wrap_socket(plain, server_hostname=name) as one:
        return one.getpeercert()["subject"][0][0][1]


def test_several_targets(net, authority, several, target, where):
    """The kernel's class chooses as the names do; a server name is in no wildcard."""
    counted = Counted(several, where)
    for _ in range(3):
        assert subject(net, authority, OTHER) == OTHER
        assert subject(net, authority, rig.SITE) == rig.SITE
        assert subject(net, authority, "unlisted.example") == rig.SITE
    # REALITY's names count letter by letter
    with dial(net, OTHER_PORT) as one:
        one.sendall(hello(OTHER.upper()))
        assert answers(one)
        rig.wait_for(lambda: any(s["destination"] == target.address
                                 for s in several.sessions()), 5, "the default target")
    with dial(net, OTHER_PORT) as one:  # nothing else is said of what is no TLS
        one.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b" 400 " in prober.observe(one, seconds=15, quiet=5).data
    with dial(net, OTHER_PORT) as one:
        one.sendall(hello("x.test"))
        found = prober.observe(one, seconds=7)
        assert (found.data, found.end) == (b"", "open")
    assert counted.dropped() == 1
    if is_kernel(where):
        assert counted.connections() == {TARGET: 3, TARGET + 1: 4, OTHER_NAME: 3, NOT_TLS: 1,
                                         TARGET + 2: 1}


@pytest.fixture(scope="module")
def tls_stream(authority):
    certificate, key = authority.issue(rig.SITE)
    os.chmod(key, 0o644)
    return {"network": "raw", "security": "tls", "tlsSettings": {
        "certificates": [{"certificateFile": certificate, "keyFile": key}]}}


def test_tls_inbound(net, tmp, tls_stream, where):
    """Names of an inbound with TLS of its own: a dropped one ends as a silent one does."""
    with start(net, tmp, 7445, tls_stream, where, EDGE,
               policy={"levels": {"0": {"handshake": 2}}}) as daemon:
        counted = Counted(daemon, where)
        with dial(net, 7445) as one:
            one.sendall(hello(rig.SITE))
            assert answers(one)
        silent, dropped = dial(net, 7445), dial(net, 7445)
        dropped.sendall(hello("bad.test"))
        found = [prober.observe(one, seconds=8) for one in (silent, dropped)]
        assert found[0].end == "fin" and found[0].shape() == found[1].shape(), found
        assert counted.dropped() == 1


def drops(net, in_kernel):
    with dial(net, 7446) as good, dial(net, 7446) as bad:
        bad.sendall(hello("bad.test"))
        good.sendall(hello(rig.SITE))
        assert answers(good)
        assert not answers(bad, 0.5)
        assert (unacknowledged(bad) > 0) == in_kernel


@pytest.mark.parametrize("how", ("pins", "loaded", "user"))
def test_restart(net, tmp, tls_stream, how):
    """Names go on being dropped while daemons follow each other, with shared maps or each its own."""
    if how != "user" and pins.usable():
        pytest.skip(pins.usable())
    if net.server.pins and how != "pins":
        pytest.skip("with pins all share them")
    loaded = pins.Pins(net.server, tmp).load() if how == "pins" and not net.server.pins else None
    options = {"pins": {"bpf": "require"}, "loaded": {}, "user": {"bpf": "off"}}[how]
    options["pinDirectory"] = (loaded or net.server.pins).directory if how == "pins" else "/none"
    # whoever leaves behind a dropped hello is not seen to: only the deadline ends that session
    config = rig.server_config(7446, tls_stream, edge=EDGE,
                               policy={"levels": {"0": {"handshake": 6}}})
    daemon = rig.Culvert(net.server, tmp, config, "edge", drain=30, wait=((rig.SERVER_IP, 7446),),
                         prefix=pins.UNPRIVILEGED if net.server.pins else (), **options)
    last = None
    try:
        drops(net, how != "user")
        for _ in range(2):
            last = restart(daemon)
            drops(net, how != "user")
        assert daemon.child.wait(15) == 0
        drops(net, how != "user")
    finally:
        daemon.stopped = True
        if daemon.alive():
            daemon.stop()
        if last:
            end(last)
        if loaded:
            loaded.close()


def test_required_but_not_to_be_had(net, tmp, tls_stream):
    config = rig.server_config(7447, tls_stream, edge=EDGE)
    path = os.path.join(tmp, "required.json")
    config["culvert"] = {"bpf": "require", "steer": False, "pinDirectory": "/none",
                         "controlSocket": ""}
    with open(path, "w") as file:
        json.dump(config, file)
    done = subprocess.run(
        list(pins.UNPRIVILEGED) + [os.path.join(rig.build_dir(), "culvertd"), "-c", path],
        capture_output=True, text=True, timeout=30, preexec_fn=net.server.enter)
    assert done.returncode == 1
    assert "names cannot be read in the kernel, which is required" in done.stderr
