# SPDX-License-Identifier: MIT
"""REALITY: who is let in, and that everybody else meets the target itself."""

import hashlib
import ssl
import time

import pytest
import reality_client
import rig

PORT = 443


def dial(net, hello, **options):
    connection = rig.tcp(net.client, rig.SERVER_IP, options.pop("port", PORT))
    return reality_client.Client(connection, hello)


def public(keys):
    return reality_client.decode_key(keys.public)


def is_target(net, client, authority_file):
    """Finish the handshake with the real site and fetch its page."""
    client.finish()
    client.send(b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % rig.SITE.encode())
    return rig.PAGE.encode() in client.recv_all()


def leaf_of(target):
    with open(target.certificate) as file:
        return ssl.PEM_cert_to_DER_cert(file.read())


def test_row_010_stranger_sees_the_target(net, server, target):
    before = server.reason_count("auth")
    for arguments in ([], ["--http1.1"], ["--tls-max", "1.2"], ["--no-alpn"]):
        status, body, error = rig.curl(
            net.client, *arguments, "--cacert", target.ca, "--resolve",
            "%s:443:%s" % (rig.SITE, rig.SERVER_IP), "https://%s/" % rig.SITE)
        assert status == 0 and body == rig.PAGE.encode(), (arguments, error)
    server.wait_reason("auth", before)
    server.wait_idle()


def test_stranger_downloads_and_the_kernel_carries_it(net, server, target):
    handovers = server.counter("downlink_handovers")
    status, body, error = rig.curl(
        net.client, "--cacert", target.ca, "--resolve", "%s:443:%s" % (rig.SITE, rig.SERVER_IP),
        "https://%s/blob" % rig.SITE)
    assert status == 0, error
    with open(target.root + "/blob", "rb") as file:
        assert hashlib.sha256(body).digest() == hashlib.sha256(file.read()).digest()
    assert server.counter("downlink_handovers") > handovers
    server.wait_idle()


def test_curl_through_the_pair(net, client, server, internet):
    status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1080",
                                   "http://%s/" % rig.INTERNET_IP)
    assert (status, body) == (0, b"the internet\n"), error
    client.wait_idle()
    server.wait_idle()


def test_row_009_independent_client_without_flow(net, server, keys, internet):
    accepted = server.counter("reality_accepted")
    tls = reality_client.connect(rig.tcp(net.client, rig.SERVER_IP, PORT), keys.public)
    assert tls.alpn is None, "REALITY never sends ALPN"
    tls.send(reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80) +
             b"GET /small HTTP/1.0\r\n\r\n")
    answer = tls.recv_all()
    assert answer[:2] == b"\0\0"
    assert hashlib.sha256(answer.split(b"\r\n\r\n", 1)[1]).hexdigest() == internet.hashes["small"]
    assert server.counter("reality_accepted") == accepted + 1
    server.wait_idle()


def test_record_lengths_are_the_targets(net, server, keys, target):
    """The fake flight has the target's record types and lengths, tickets included."""
    for alpn in (("h2", "http/1.1"), ("http/1.1",), ()):
        hello = reality_client.Hello(alpn=alpn)
        host, port = target.address.split(":")
        with net.server:
            real = rig.socket.create_connection((host, int(port)), 10)
        real = reality_client.Client(real, hello)
        real.send_hello()
        real.read_flight()
        real.finish()
        fake = dial(net, reality_client.Hello(alpn=alpn).seal(public(keys), rig.SHORT_ID))
        fake.send_hello()
        fake.read_flight()
        assert fake.genuine
        fake.finish()
        lengths = []
        for side in (real, fake):
            side.connection.settimeout(1.5)
            try:
                while True:
                    side.records.read()
            except (TimeoutError, rig.socket.timeout, reality_client.Ended):
                pass
            lengths.append(side.records.lengths)
            side.connection.close()
        assert lengths[0] == lengths[1], "alpn %s" % (alpn,)
    server.wait_idle()


BAD = {
    "wrong key": (dict(key="wrong"), "auth"),
    "wrong shortId": (dict(short_id="fedcba9876543210"), "shortid"),
    "prefix of the shortId": (dict(short_id="01234567"), "shortid"),
    "empty shortId": (dict(short_id=""), "shortid"),
    "clock behind": (dict(skew=-70), "clock"),
    "clock ahead": (dict(skew=70), "clock"),
    "time zero": (dict(skew=-time.time()), "clock"),
    "not sealed": (dict(key=None), "auth"),
    "SNI not listed": (dict(sni="other.test"), "sni"),
    "SNI in capitals": (dict(sni="SITE.TEST"), "sni"),
    "no SNI": (dict(sni=None), "sni"),
    "no TLS 1.3": (dict(versions=(0x0303,)), "tls13"),
    "session id of 31 bytes": (dict(cut=31), "session"),
    "empty session id": (dict(cut=0), "session"),
    "bit of the session id flipped": (dict(flip="session"), "auth"),
    "bit of the random flipped": (dict(flip="random"), "auth"),
    "extension changed after sealing": (dict(flip="extension"), "auth"),
}


@pytest.mark.parametrize("what", BAD)
def test_row_011_not_ours_meets_the_target(net, server, keys, target, what):
    options, reason = BAD[what]
    options = dict(options)
    before = server.reason_count(reason)
    stranger = reality_client.raw_public(reality_client.X25519PrivateKey.generate())
    key = {"right": public(keys), "wrong": stranger, None: None}[options.pop("key", "right")]
    cut, flip = options.pop("cut", None), options.pop("flip", None)
    seal = {name: options.pop(name) for name in ("short_id", "skew") if name in options}
    hello = reality_client.Hello(alpn=("http/1.1",), **options)
    if key:
        hello.seal(key, seal.pop("short_id", rig.SHORT_ID), **seal)
    if cut is not None:
        hello.session_id = hello.session_id[:cut]
    if flip == "session":
        hello.session_id = bytes([hello.session_id[0] ^ 1]) + hello.session_id[1:]
    elif flip == "random":
        hello.random = hello.random[:31] + bytes([hello.random[31] ^ 1])
    elif flip == "extension":
        hello.replace(45, b"\x02\x01\x00")
    tls = dial(net, hello)
    tls.send_hello()
    if "versions" in options:
        header, payload = tls.records.read()
        assert header[0] == 22 and payload[0] == 2, "no TLS 1.2 ServerHello of the target"
    else:
        tls.read_flight()
        assert not tls.genuine and tls.certificate == leaf_of(target)
        assert is_target(net, tls, target.ca)
    tls.connection.close()
    server.wait_reason(reason, before)
    server.wait_idle()


def test_replay_meets_the_target(net, server, keys, target):
    hello = reality_client.Hello(alpn=("http/1.1",)).seal(public(keys), rig.SHORT_ID)
    first = dial(net, hello).handshake()
    assert first.genuine
    before = server.reason_count("replay")
    for _ in range(3):
        again = dial(net, hello)
        again.send_hello()
        again.read_flight()
        assert not again.genuine and again.certificate == leaf_of(target)
        assert is_target(net, again, target.ca)
        again.connection.close()
    server.wait_reason("replay", before + 2)
    first.connection.close()
    server.wait_idle()


def test_row_011_clock_within_the_window(net, server, keys):
    for skew in (-50, 50):
        tls = dial(net, reality_client.Hello().seal(public(keys), rig.SHORT_ID, skew=skew))
        tls.handshake()
        assert tls.genuine
        tls.connection.close()
    server.wait_idle()


def test_client_versions(net, tmp, keys, target, internet):
    daemon = rig.Culvert(net.server, tmp, rig.server_config(445, rig.reality_stream(
        keys.private, target.address, minClientVer="26.3.27", maxClientVer="27.0.0")), "versions",
        wait=((rig.SERVER_IP, 445),))
    with rig.running(daemon):
        for version, genuine in (((26, 3, 27), True), ((26, 3, 26), False), ((1, 8, 0), False),
                                 ((27, 0, 0), True), ((27, 0, 1), False), ((26, 200, 0), True)):
            tls = dial(net, reality_client.Hello().seal(public(keys), rig.SHORT_ID, version=version),
                       port=445)
            tls.send_hello()
            tls.read_flight()
            assert tls.genuine == genuine, version
            tls.connection.close()
        daemon.wait_reason("version", 2)
        daemon.wait_idle()


def test_wrong_finished(net, server, keys):
    before = server.reason_count("finished")
    tls = dial(net, reality_client.Hello().seal(public(keys), rig.SHORT_ID))
    tls.send_hello()
    tls.read_flight()
    tls.finish(wrong=True)
    data, how = rig.read_all(tls.connection, 5)
    assert how in ("fin", "rst")
    server.wait_reason("finished", before)
    server.wait_idle()


def test_target_timeout_is_mirrored(net, server, keys, target):
    """The target gives up on a client that never finishes; so do we, at the same time."""
    tls = dial(net, reality_client.Hello().seal(public(keys), rig.SHORT_ID))
    tls.send_hello()
    tls.read_flight()
    start = time.monotonic()
    _, how = rig.read_all(tls.connection, 14)
    assert how in ("fin", "rst") and 6 < time.monotonic() - start < 11
    server.wait_idle()


def test_require_mlkem(net, tmp, keys, target, internet):
    """The knob of the newest servers: a hello without the hybrid share is not ours."""
    daemon = rig.Culvert(net.server, tmp, rig.server_config(446, rig.reality_stream(
        keys.private, target.address, requireMLKEM=True)), "mlkem", wait=((rig.SERVER_IP, 446),))
    ours = rig.Culvert(net.client, tmp, rig.client_config(
        1086, 446, rig.reality_client_stream(keys.public)), "client", wait=(("127.0.0.1", 1086),))
    with rig.running(daemon, ours):
        tls = dial(net, reality_client.Hello().seal(public(keys), rig.SHORT_ID), port=446)
        tls.send_hello()
        tls.read_flight()
        assert not tls.genuine
        tls.connection.close()
        daemon.wait_reason("mlkem")
        status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1086",
                                       "http://%s/" % rig.INTERNET_IP)
        assert (status, body) == (0, b"the internet\n"), error
        assert daemon.counter("reality_hybrid") == 1


def test_xver_and_several_targets(net, tmp, keys, authority, target, internet):
    """PROXY protocol towards the target; a unix socket target; two targets by SNI."""
    import os
    other = os.path.join(tmp, "second-site")
    os.makedirs(other)
    unix = os.path.join(tmp, "target.sock")
    certificate, key = authority.issue("second.test")
    nginx = rig.Nginx(net.server, other, """
        log_format peer "$proxy_protocol_addr";
        server { listen unix:%s ssl proxy_protocol; ssl_certificate %s; ssl_certificate_key %s;
            ssl_protocols TLSv1.3; access_log %s/peer.log peer;
            location / { return 200 "second $proxy_protocol_addr"; } }""" % (
        unix, certificate, key, other))
    rig.wait_for(lambda: os.path.exists(unix), 5, "nginx listens on its socket")
    for xver in (1, 2):
        daemon = rig.Culvert(net.server, tmp, rig.server_config(447, rig.reality_stream(
            keys.private, unix, names=("second.test",), xver=xver)), "xver",
            wait=((rig.SERVER_IP, 447),))
        with rig.running(daemon):
            status, body, error = rig.curl(
                net.client, "--cacert", target.ca, "--resolve",
                "second.test:447:%s" % rig.SERVER_IP, "https://second.test:447/")
            assert (status, body) == (0, b"second " + rig.CLIENT_IP.encode()), error
            tls = dial(net, reality_client.Hello(sni="second.test").seal(
                public(keys), rig.SHORT_ID), port=447)
            tls.handshake()
            assert tls.genuine, "xver %d" % xver
            tls.connection.close()
            daemon.wait_idle()
    nginx.stop()


def test_no_descriptor_is_left(net, server, client, internet):
    """After everything above: sessions 0, and only the descriptors of an idle daemon."""
    for daemon in (server, client):
        daemon.wait_idle()
        # connections of the spider and of learning are no sessions: they end on their own clocks
        rig.wait_for(lambda: sum(d.startswith("socket:") for d in daemon.descriptors().values()) <= 8,
                     60, "8 sockets")
