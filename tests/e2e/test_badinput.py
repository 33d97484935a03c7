# SPDX-License-Identifier: MIT
"""Everything that is not as it should be: hellos, headers, targets. Nothing crashes, nothing leaks,
the prober sees the target, the operator sees the reason."""

import os
import random
import socket
import threading
import time
import types

import prober
import pytest
import reality_client
import rig

PORT = 443


def public(keys):
    return reality_client.decode_key(keys.public)


def probe(namespace, address, port, data, size=None, pause=0.0, quiet=0.35, wait=0.0):
    connection = rig.tcp(namespace, address, port)
    time.sleep(wait)
    if size:
        prober.send_pieces(connection, data, size, pause)
    else:
        prober.send_pieces(connection, data, len(data) or 1)
    transcript = prober.observe(connection, 4, quiet)
    connection.close()
    return transcript


@pytest.mark.parametrize("what", prober.malformed_hellos())
def test_malformed_hello(net, server, target, what):
    """Forwarded: the answer is the target's, to the last record and the way it closes."""
    data = prober.malformed_hellos()[what]()
    host, port = target.address.split(":")
    for _ in range(5):  # FIN or RST behind an alert is a race of the bare target, too
        bare = probe(net.server, host, int(port), data)
        ours = probe(net.client, rig.SERVER_IP, PORT, data)
        if ours.shape() == bare.shape():
            break
    assert ours.shape() == bare.shape(), "\nbare target %s\nours        %s" % (bare, ours)
    server.wait_idle()


def sealed(keys, padding=0):
    hello = reality_client.Hello()
    if padding:
        hello.extensions.append((21, bytes(padding)))
    return hello.seal(public(keys), rig.SHORT_ID)


def genuine_after(net, keys, pieces, padding=0):
    """Send a sealed hello as pieces(message) says; True if we were let in."""
    tls = reality_client.Client(rig.tcp(net.client, rig.SERVER_IP, PORT), sealed(keys, padding))
    tls.hello_message = tls.hello.message()
    for piece in pieces(tls.hello_message):
        tls.connection.sendall(piece)
        time.sleep(0.001)
    tls.read_flight()
    tls.finish()
    tls.send(reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80) +
             b"GET / HTTP/1.0\r\n\r\n")
    answer = tls.recv_all()
    tls.connection.close()
    return tls.genuine and answer.endswith(b"the internet\n")


def split(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


def records(message, size):
    return [prober.hello_record(part) for part in split(message, size)]


def test_hello_one_byte_at_a_time(net, server, keys):
    assert genuine_after(net, keys, lambda m: split(prober.hello_record(m), 1))


@pytest.mark.parametrize("size", [1, 5, 38, 100])
def test_hello_split_over_records(net, server, keys, size):
    assert genuine_after(net, keys, lambda m: [b"".join(records(m, size))])


def test_hello_split_over_records_and_segments(net, server, keys):
    assert genuine_after(net, keys, lambda m: split(b"".join(records(m, 17)), 3))


@pytest.mark.parametrize("padding", [3000, 15000, 30000, 64900])
def test_large_hello(net, server, keys, padding):
    assert genuine_after(net, keys, lambda m: [b"".join(records(m, 16384))], padding)


def test_hello_beyond_64_kib(net, server, target, keys):
    message = b"\1" + (70000).to_bytes(3, "big") + sealed(keys, 64900).message()[4:] + bytes(6000)
    data = b"".join(records(message[:70004], 16384))
    host, port = target.address.split(":")
    bare = probe(net.server, host, int(port), data)
    ours = probe(net.client, rig.SERVER_IP, PORT, data)
    assert ours.shape() == bare.shape(), (bare, ours)
    server.wait_idle()


@pytest.mark.parametrize("flow, user", [("", rig.PLAIN_USER), (rig.VISION, rig.USER)])
def test_truncated_vless_header(net, server, keys, flow, user):
    """Cut at every byte, by close_notify and FIN: closed, counted, nothing sent."""
    header = reality_client.vless_header(user, "a-name.test", 80, flow=flow)
    before = server.counter("reality_accepted")
    for length in range(0, len(header), 3 if flow else 1):
        tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, PORT), keys.public)
        tls.send(header[:length])
        tls.close_notify()
        tls.connection.shutdown(socket.SHUT_WR)
        assert tls.recv_all() == b"", length
        tls.connection.close()
    server.wait_reason("truncated")
    assert server.counter("reality_accepted") > before + 5
    server.wait_idle()


HEADERS = {
    "version 1": dict(version=1), "command 0": dict(command=0), "command 255": dict(command=255),
    "malformed addons": dict(addons=b"\x0a\xff"), "addons of 255 bytes": dict(addons=bytes(255)),
    "unknown flow": dict(flow="xtls-rprx-direct"), "addons of another type": dict(addons=b"\x09\1"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_wrong_vless_header(net, server, keys, what):
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, PORT), keys.public)
    tls.send(reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80, **HEADERS[what]) +
             b"GET / HTTP/1.0\r\n\r\n")
    assert tls.recv_all() == b""
    server.wait_reason("peer")
    server.wait_idle()


@pytest.mark.parametrize("address", [b"\4" + bytes(16), b"\0", b"\2\0", b"\2\5a b:c", b"\2\3a\0b",
                                     b"\2\xff" + b"a" * 255])
def test_wrong_address(net, server, keys, address):
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, PORT), keys.public)
    tls.send(b"\0" + reality_client.uuid_bytes(rig.PLAIN_USER) + b"\0\1\0\x50" + address)
    tls.connection.settimeout(20)
    assert tls.recv_all() == b""
    server.wait_idle(20)


def test_garbage_records_after_the_handshake(net, server, keys):
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(5), b"\x17\x03\x03\xff\xff", b"\x17\x03\x03\0\x10" +
                 bytes(16), b"\x17\x03\x03\x40\x11" + bytes(16401), b"\x15\x03\x03\0\2\2\x28",
                 reality_client.CCS_RECORD, b"\x16\x03\x03\0\4\1\0\0\0"):
        tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, PORT), keys.public)
        tls.connection.sendall(data)
        tls.connection.shutdown(socket.SHUT_WR)
        _, how = rig.read_all(tls.connection, 5)
        assert how in ("fin", "rst"), data
        tls.connection.close()
    server.wait_idle()


def test_key_update(net, server, keys):
    """KeyUpdate of the client, with and without request, between data."""
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, PORT), keys.public)
    context = tls.transcript.digest()
    secret = reality_client.expand_label(tls.hash, tls.master, b"c ap traffic", context, len(context))
    tls.send(reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80) + b"GET / HT")
    tls.connection.sendall(tls.send_keys.seal(22, b"\x18\0\0\1\0"))
    secret = reality_client.expand_label(tls.hash, secret, b"traffic upd", b"", len(context))
    tls.send_keys = reality_client.Keys(tls.suite, secret)
    tls.send(b"TP/1.0\r\n\r\n")
    assert tls.recv_all().endswith(b"the internet\n")
    tls.connection.close()
    server.wait_idle()


def test_random_damage(net, server, keys):
    """Sealed hellos with random damage, cut anywhere, ended anyhow."""
    source = random.Random(2)
    for number in range(150):
        data = bytearray(prober.hello_record(sealed(keys).message()))
        for _ in range(source.randrange(1, 6)):
            data[source.randrange(len(data))] = source.randrange(256)
        connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
        cut = source.randrange(len(data)) if number % 3 == 0 else len(data)
        prober.send_pieces(connection, bytes(data[:cut]), source.choice([1, 7, 100, 2000]))
        if number % 2:
            rig.reset(connection)
        else:
            connection.close()
    assert server.alive()
    server.wait_idle()


# ---- targets ------------------------------------------------------------------------------------


class FakeTarget:
    """A TCP server in the internet namespace whose every connection runs behave(connection)."""

    def __init__(self, net, port, behave):
        with net.internet:
            self.listener = socket.create_server((rig.INTERNET_IP, port), backlog=64)
        self.behave = behave
        rig.accept_each(self.listener, self._serve)

    def _serve(self, connection):
        try:
            self.behave(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def after_hello(action):
    def behave(connection):
        connection.recv(65536)
        action(connection)
    return behave


def relay_slowly(net, port, delay):
    """The real target behind a slow line: the first answer only after a pause."""
    def behave(connection):
        with net.internet:
            real = socket.create_connection((rig.INTERNET_IP, port))
        first = connection.recv(65536)
        time.sleep(delay)
        real.sendall(first)

        def back():
            while True:
                block = real.recv(300)  # in small pieces
                if not block:
                    break
                connection.sendall(block)
                time.sleep(0.001)
            connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        while True:
            block = connection.recv(65536)
            if not block:
                break
            real.sendall(block)
        real.shutdown(socket.SHUT_WR)
        thread.join(5)
    return behave


@pytest.fixture(scope="module")
def odd_targets(net, tmp, keys, authority, target, internet):
    """One daemon, an inbound for each odd target: ports[name] -> (our port, target's port)."""
    certificate, key = authority.issue(rig.SITE)
    big, big_key = authority.issue(rig.SITE, padding_names=260)
    huge, huge_key = authority.issue(rig.SITE, padding_names=430)
    common = "ssl_certificate %s; ssl_certificate_key %s;"
    nginx = rig.Nginx(net.internet, os.path.join(tmp, "odd-targets"), """
        server { listen %(ip)s:8501 ssl; ssl_protocols TLSv1.2; %(small)s }
        server { listen %(ip)s:8502 ssl; ssl_protocols TLSv1.3; ssl_ecdh_curve secp384r1; %(small)s }
        server { listen %(ip)s:8503 ssl http2; ssl_protocols TLSv1.3; %(big)s }
        server { listen %(ip)s:8504 ssl http2; ssl_protocols TLSv1.3; %(huge)s }
        server { listen %(ip)s:8505; return 200 "plain\n"; }
        server { listen %(ip)s:8506 ssl; ssl_protocols TLSv1.3; ssl_ecdh_curve secp256r1; %(small)s }
        """ % {"ip": rig.INTERNET_IP, "small": common % (certificate, key),
               "big": common % (big, big_key), "huge": common % (huge, huge_key)},
        wait=((rig.INTERNET_IP, 8501), (rig.INTERNET_IP, 8506)))
    alert = b"\x15\x03\x03\0\2\2\x50"
    fakes = [
        FakeTarget(net, 8511, lambda c: (c.sendall(b"SSH-2.0-hello\r\n"), rig.read_all(c, 5))),
        FakeTarget(net, 8512, lambda c: rig.read_all(c, 6)),
        FakeTarget(net, 8513, after_hello(lambda c: None)),
        FakeTarget(net, 8514, after_hello(rig.reset)),
        FakeTarget(net, 8515, after_hello(lambda c: c.sendall(alert))),
        FakeTarget(net, 8516, after_hello(lambda c: c.sendall(os.urandom(3000)))),
        FakeTarget(net, 8517, after_hello(lambda c: c.sendall(b"\x16\3\3\xff\xff" + bytes(70000)))),
        FakeTarget(net, 8518, relay_slowly(net, 8443, 1.0)),
        FakeTarget(net, 8519, rig.reset),
        FakeTarget(net, 8520, after_hello(lambda c: c.sendall(b"\x16\3\3\0\x7a\2"))),
    ]
    names = {"TLS 1.2 only": 8501, "HelloRetryRequest": 8502, "12 KB certificate": 8503,
             "certificate over two records": 8504, "plain HTTP": 8505, "P-256 only": 8506,
             "speaks first": 8511, "silent": 8512, "closes after the hello": 8513,
             "resets after the hello": 8514, "alert": 8515, "random bytes": 8516,
             "record too long": 8517, "slow": 8518, "resets at once": 8519,
             "half a ServerHello, then FIN": 8520, "down": 9}
    config = None
    ports = {}
    for number, (name, port) in enumerate(names.items()):
        ports[name] = (600 + number, port)
        one = rig.server_config(600 + number, rig.reality_stream(
            keys.private, "%s:%d" % (rig.INTERNET_IP, port)))
        one["inbounds"][0]["tag"] = "in-%d" % number
        if config:
            config["inbounds"] += one["inbounds"]
        else:
            config = one
    daemon = rig.Culvert(net.server, tmp, config, "odd-targets",
                         wait=[(rig.SERVER_IP, our) for our, _ in ports.values()])
    with rig.running(daemon):
        yield types.SimpleNamespace(ports=ports, daemon=daemon)
        daemon.wait_idle()
    for fake in fakes:
        fake.stop()
    nginx.stop()


FORWARDED = {
    "TLS 1.2 only": "targetnottls13", "HelloRetryRequest": "targethelloretry",
    "plain HTTP": "targetnottls13", "P-256 only": "target",
    "speaks first": "targetspeaksfirst", "closes after the hello": "target",
    "alert": "targetnottls13", "random bytes": "target", "record too long": "target",
    "half a ServerHello, then FIN": "target",
}


@pytest.mark.parametrize("what", FORWARDED)
def test_unsuitable_target_is_shown_as_it_is(net, keys, odd_targets, what):
    """A sealed hello too meets what the target says, byte for byte up to randomness."""
    our_port, port = odd_targets.ports[what]
    before = odd_targets.daemon.reason_count(FORWARDED[what])
    hello = reality_client.Hello().replace(10, reality_client.vector(2, b"\0\x1d\0\x17\0\x18"))
    hello.seal(public(keys), rig.SHORT_ID)
    data = prober.hello_record(hello.message())
    wait = 0.2 if what == "speaks first" else 0
    bare = probe(net.server, rig.INTERNET_IP, port, data, quiet=0.5, wait=wait)
    ours = probe(net.client, rig.SERVER_IP, our_port, data, quiet=0.5, wait=wait)
    if what == "speaks first":
        assert ours.data == bare.data == b"SSH-2.0-hello\r\n"
    if what == "random bytes":
        assert len(ours.data) == 3000 and ours.end == bare.end
    else:
        assert ours.shape() == bare.shape(), "\nbare target %s\nours        %s" % (bare, ours)
    odd_targets.daemon.wait_reason(FORWARDED[what], before)
    odd_targets.daemon.wait_idle()


@pytest.mark.parametrize("what", ["12 KB certificate", "certificate over two records", "slow"])
def test_suitable_though_odd_target(net, keys, odd_targets, what):
    our_port, _ = odd_targets.ports[what]
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, our_port), keys.public)
    tls.send(reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80) +
             b"GET / HTTP/1.0\r\n\r\n")
    assert tls.recv_all().endswith(b"the internet\n")
    if what == "12 KB certificate":
        assert max(length for _, length in tls.records.lengths) > 8192
    tls.connection.close()


def test_target_that_is_down(net, keys, odd_targets):
    """Closed without a byte, valid or not, before or after the hello."""
    our_port, _ = odd_targets.ports["down"]
    before = odd_targets.daemon.reason_count("targetunreachable")
    for data in (b"", prober.hello_record(sealed(keys).message())):
        transcript = probe(net.client, rig.SERVER_IP, our_port, data, quiet=2)
        assert transcript.data == b"" and transcript.end in ("fin", "rst"), transcript
    odd_targets.daemon.wait_reason("targetunreachable", before + 1)


@pytest.mark.parametrize("what", ["resets after the hello", "resets at once"])
def test_target_that_resets(net, keys, odd_targets, what):
    our_port, _ = odd_targets.ports[what]
    transcript = probe(net.client, rig.SERVER_IP, our_port,
                       prober.hello_record(sealed(keys).message()), quiet=2)
    assert transcript.data == b"" and transcript.end in ("fin", "rst"), transcript


def test_silent_target(net, keys, odd_targets):
    """Nothing comes, nothing is made up; when the client leaves, everything ends."""
    our_port, _ = odd_targets.ports["silent"]
    for data in (b"", b"\x16\3\1", prober.hello_record(sealed(keys).message())):
        transcript = probe(net.client, rig.SERVER_IP, our_port, data, quiet=1)
        assert transcript.data == b"" and transcript.end == "open", transcript
        # after a whole hello the target has the word: it ends when the target gives up
        odd_targets.daemon.wait_idle(10 if len(data) > 3 else 3)


@pytest.mark.parametrize("what, reason", [
    ("TLS 1.2 only", "upstream"), ("HelloRetryRequest", "upstream"), ("speaks first", "upstream"),
    ("closes after the hello", "upstream"), ("down", "upstream"), ("random bytes", "upstream"),
    ("alert", "upstream"), ("resets after the hello", "upstream")])
def test_our_client_meets_an_unsuitable_target(net, tmp, keys, odd_targets, what, reason):
    """The client never sends its request; curl fails; the reason is counted."""
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1095, odd_targets.ports[what][0], rig.reality_client_stream(keys.public)), "client",
        wait=(("127.0.0.1", 1095),))
    with rig.running(client):
        status, _, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1095",
                                "http://%s/" % rig.INTERNET_IP, timeout=20)
        assert status not in (0, 28), status
        client.wait_reason(reason)
        client.wait_idle()


def test_our_client_meets_the_real_site(net, tmp, keys, server, target, authority):
    """Wrong shortId: the real certificate verifies for nobody here, so it is refused with an alert."""
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1096, PORT, rig.reality_client_stream(keys.public, short_id="fedcba9876543210")), "client",
        wait=(("127.0.0.1", 1096),))
    with rig.running(client):
        status, _, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1096",
                                "http://%s/" % rig.INTERNET_IP, timeout=20)
        assert status not in (0, 28), status
        client.wait_reason("certificate")
    server.wait_idle()


def test_our_client_browses_the_real_site(net, tmp, keys, server, target):
    """Wrong shortId and a certificate that verifies: the client behaves like a browser on the real
    site, never sends its request, and reports it."""
    trust = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', target.ca,
             "/etc/ssl/certs/ca-certificates.crt"]
    log = os.path.join(tmp, "target", "access.log")
    before = os.path.getsize(log)
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1097, PORT, rig.reality_client_stream(keys.public, short_id="fedcba9876543210")), "client",
        wait=(("127.0.0.1", 1097),), prefix=trust)
    with rig.running(client):
        status, _, _ = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1097",
                                "http://%s/" % rig.INTERNET_IP, timeout=20)
        assert status not in (0, 28), status
        # logged at once, counted when the visit is over
        rig.wait_for(lambda: "upstream_real_certificate" in client.log(), 3, "the reason is logged")

        def visits():
            with open(log) as file:
                file.seek(before)
                return file.read()

        rig.wait_for(lambda: '"GET / HTTP/2.0" 200' in visits(), 5, "a visit: " + visits())
    server.wait_idle()


def test_nothing_is_left(net, server):
    server.wait_idle()

    def sockets():
        return [d for d in server.descriptors().values() if d.startswith("socket:")]

    # connections of the spider and of learning are no sessions: they end on their own clocks
    rig.wait_for(lambda: len(sockets()) <= 8, 60, "8 sockets")
    assert not [r for r in server.reasons() if "internal" in r.lower()], server.reasons()
