# SPDX-License-Identifier: MIT
"""SOCKS5 UDP ASSOCIATE: straight out, through another proxy, and what it must not do."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import pytest
import rig
import socks_udp
from socks_udp import Association, Echo
from test_tls_inbound import NAME, combined, socks_config, tls, tls_stream
from test_upstreams import DANTE, FREEDOM, PROXY_IP, dante, outbound, program

OPEN, PASSWORD, GUARDED, OFF, SECURE, SECURE_UDP = 1295, 1296, 1297, 1298, 1299, 1300
ECHO, BLOCKED, BY_NAME, DNS, WRAPPED = 9101, 9102, 9103, 5353, 5300
SECOND_IP = "10.77.2.3"  # of the internet
STRANGER_IP = "10.77.1.3"  # of the client
ALICE, BOB = ("alice", "wonder land"), ("bob", "builder")


def socks_inbound(port, accounts=(), **settings):
    inbound = rig.socks_only_config(port, dict(accounts), listen=rig.SERVER_IP)["inbounds"][0]
    inbound["settings"].update({"udp": True}, **settings)
    return dict(inbound, tag="socks-%d" % port)


@pytest.fixture(scope="module", autouse=True)
def addresses(net, internet):
    net.internet.ip("addr", "replace", SECOND_IP + "/24", "dev", net.internet.links[net.server.name])
    net.client.ip("addr", "replace", STRANGER_IP + "/24", "dev", net.client.links[net.server.name])


@pytest.fixture(scope="module", autouse=True)
def echoes(net, addresses):
    servers = [Echo(net.internet, rig.INTERNET_IP, ECHO), Echo(net.internet, SECOND_IP, ECHO),
               Echo(net.internet, rig.INTERNET_IP, BLOCKED), Echo(net.server, "127.0.0.1", BY_NAME)]
    yield
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def daemon(net, tmp, internet):
    guarded = socks_inbound(GUARDED)
    config = {
        "inbounds": [socks_inbound(OPEN), socks_inbound(PASSWORD, (ALICE, BOB)), guarded,
                     dict(socks_inbound(OFF), settings={"auth": "noauth"})],
        "outbounds": [FREEDOM, {"tag": "block", "protocol": "blackhole"},
                      {"tag": "guard", "protocol": "freedom"},
                      outbound("http", 3003, tag="http")],
        "routing": {"rules": [
            {"network": "udp", "port": str(BLOCKED), "outboundTag": "block"},
            {"network": "udp", "port": "9104", "outboundTag": "http"},
            {"inboundTag": [guarded["tag"]], "outboundTag": "guard"}]},
    }
    made = rig.Culvert(net.server, tmp, config, "socks-udp", maxUserAssociations=2, wait=tuple(
        (rig.SERVER_IP, port) for port in (OPEN, PASSWORD, GUARDED, OFF)))
    with rig.running(made):
        yield made


def associate(net, port=OPEN, **more):
    made = Association(net.client, (rig.SERVER_IP, port), **more)
    assert made.reply == 0 and made.relay[0] == rig.SERVER_IP and made.relay[1] > 0
    return made


def echoed(data, source=rig.SERVER_INNER_IP):
    return source.encode() + b"\n" + data


@contextlib.contextmanager
def dnsmasq(net, tmp, host=rig.INTERNET_IP):
    process = rig.Process(net.internet, [
        program("dnsmasq"), "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--user=root",
        "--pid-file=", "--log-facility=-", "-p", str(DNS), "--listen-address=" + host,
        "--bind-interfaces", "--host-record=answer.test,192.0.2.77",
        "--txt-record=long.test," + ",".join("x" * 200 for _ in range(5)),
        "--edns-packet-max=4096"], os.path.join(tmp, "dnsmasq.log"))
    try:
        socks_udp.wait_bound(process, DNS)
        yield process
    finally:
        with contextlib.suppress(AssertionError):
            process.stop()


def dig(net, *words):
    return subprocess.run([program("dig"), "@127.0.0.1", "-p", str(WRAPPED), "+short", "+tries=3",
                           "+time=3", "+ignore", *words], capture_output=True, text=True,
                          timeout=30, preexec_fn=net.client.enter).stdout


# ---- what passes ---------------------------------------------------------------------------------


def test_row_048_dig(net, tmp, daemon):
    with dnsmasq(net, tmp), associate(net) as association, \
            socks_udp.Wrapper(association, WRAPPED, rig.INTERNET_IP, DNS):
        for _ in range(3):
            assert dig(net, "answer.test") == "192.0.2.77\n"
        assert dig(net, "+bufsize=4000", "long.test", "TXT").count("x") == 1000
    daemon.wait_idle()


def test_row_048_socat(net, tmp, daemon):
    """Sizes up to what a datagram can hold beside the header."""
    process = rig.Process(net.internet, [
        "socat", "-b", "70000", "UDP4-RECVFROM:9105,bind=%s,fork" % SECOND_IP, "PIPE"],
        os.path.join(tmp, "socat-udp.log"))
    try:
        socks_udp.wait_bound(process, 9105)
        with associate(net) as association:
            for size in (1, 512, 1460, 9000, 60000):
                data = os.urandom(size)
                assert association.ask(SECOND_IP, 9105, data) == (SECOND_IP, 9105, data), size
            session, = daemon.sessions()
            assert session["state"] == "datagrams" and session["outbound"] == "direct"
            assert session["uplink"]["bytes"] >= 70973 <= session["downlink"]["bytes"]
    finally:
        process.stop()
    daemon.wait_idle()


def test_row_048_names(net, daemon):
    """Resolved where the daemon is; several may be under way; the source is an address."""
    with associate(net) as association:
        for n in range(3):
            association.send("localhost", BY_NAME, b"%d" % n)
        got = sorted(association.recv() for _ in range(3))
        assert got == [("127.0.0.1", BY_NAME, echoed(b"%d" % n, "127.0.0.1")) for n in range(3)]
        before = daemon.reason_count("upstream_resolve")
        association.send("nothing.invalid", BY_NAME, b"x")
        daemon.wait_reason("upstream_resolve", before, 12)
        assert association.ask("127.0.0.1", BY_NAME, b"y")[2] == echoed(b"y", "127.0.0.1")
    daemon.wait_idle()


def test_row_048_ipv6(net, daemon):
    """Both families through one association, from one port."""
    try:
        for namespace, peer, end in ((net.server, net.internet, 1), (net.internet, net.server, 2)):
            namespace.ip("addr", "add", "fd77:9::%d/64" % end, "dev", namespace.links[peer.name],
                         "nodad")
        there = socks_udp.udp_socket(net.internet, ("fd77:9::2", 9106))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip("no IPv6 here: %s" % error)
    four = socks_udp.udp_socket(net.internet, (rig.INTERNET_IP, 9106))
    with there, four, associate(net) as association:
        association.send("fd77:9::2", 9106, b"six")
        data, source = there.recvfrom(100)
        assert data == b"six" and source[0] == "fd77:9::1"
        there.sendto(b"back", source)
        assert association.recv() == ("fd77:9::2", 9106, b"back")
        association.send(rig.INTERNET_IP, 9106, b"four")
        data, again = four.recvfrom(100)
        assert data == b"four" and again[1] == source[1]
    daemon.wait_idle()


def test_row_049_full_cone(net, daemon):
    """Two hosts see one port, and whoever sends to it is heard, with its own address."""
    one, other = (socks_udp.udp_socket(net.internet, (host, 9107))
                  for host in (rig.INTERNET_IP, SECOND_IP))
    unasked = socks_udp.udp_socket(net.internet, (SECOND_IP, 9108))
    with one, other, unasked, associate(net) as association:
        association.send(rig.INTERNET_IP, 9107, b"to one")
        data, mapped = one.recvfrom(100)
        assert data == b"to one" and mapped[0] == rig.SERVER_INNER_IP
        for source, data in ((other, b"never asked"), (unasked, b"from another port"),
                             (one, b"the answer")):
            source.sendto(data, mapped)
            assert association.recv() == source.getsockname() + (data,)
        association.send(SECOND_IP, 9107, b"to the other")
        assert other.recvfrom(100) == (b"to the other", mapped)
        with associate(net) as second:  # a port of its own
            second.send(rig.INTERNET_IP, 9107, b"second")
            data, second_mapped = one.recvfrom(100)
            assert data == b"second" and second_mapped[1] != mapped[1]
            one.sendto(b"first's", mapped)
            assert association.recv()[2] == b"first's"
            second.nothing_comes()
    daemon.wait_idle()


# ---- what does not -------------------------------------------------------------------------------


def test_row_049_strangers(net, daemon):
    """Another address; the same one from another port; each is dropped and counted."""
    with associate(net) as association:
        foreign = socks_udp.udp_socket(net.client, (STRANGER_IP, 0))
        before = daemon.reason_count("peer_stranger")
        association.send(rig.INTERNET_IP, ECHO, b"x", via=foreign)
        daemon.wait_reason("peer_stranger", before)
        assert association.ask(rig.INTERNET_IP, ECHO, b"mine")[2] == echoed(b"mine")
        other_port = socks_udp.udp_socket(net.client)
        before = daemon.reason_count("peer_stranger")
        association.send(rig.INTERNET_IP, ECHO, b"y", via=other_port)
        daemon.wait_reason("peer_stranger", before)
        association.nothing_comes()
        assert association.ask(rig.INTERNET_IP, ECHO, b"still mine")[2] == echoed(b"still mine")
        foreign.close()
        other_port.close()
    daemon.wait_idle()


def test_row_049_asked_for(net, daemon):
    """An address in the request is the only one; another than the connection's is refused."""
    with socks_udp.udp_socket(net.client, (rig.CLIENT_IP, 0)) as reserved:
        port = reserved.getsockname()[1]
    with associate(net, asked=(rig.CLIENT_IP, port)) as association:
        before = daemon.reason_count("peer_stranger")
        association.send(rig.INTERNET_IP, ECHO, b"x")  # from another port
        daemon.wait_reason("peer_stranger", before)
        association.udp = socks_udp.udp_socket(net.client, (rig.CLIENT_IP, port))
        assert association.ask(rig.INTERNET_IP, ECHO, b"z")[2] == echoed(b"z")
    refused = Association(net.client, (rig.SERVER_IP, OPEN), asked=(STRANGER_IP, 5000))
    assert refused.reply == 2
    refused.close()
    assert Association(net.client, (rig.SERVER_IP, OFF)).reply == 7
    daemon.wait_idle()


@pytest.mark.parametrize("how", ["fin", "rst", "half"])
def test_row_050_lifetime(net, daemon, how):
    """The connection's end is the association's: its ports are free within a second, as far as
    the machine has time for us."""
    assert any(end_connection(net, daemon, how) < 1 for _ in range(3))


def end_connection(net, daemon, how):
    """Seconds until the ports of an association are free."""
    daemon.wait_idle()
    before = socks_udp.udp_ports(daemon.pid)
    association = associate(net)
    association.ask(rig.INTERNET_IP, ECHO, b"x")
    assert association.relay[1] in socks_udp.udp_ports(daemon.pid)
    association.connection.sendall(b"what is said here is nobody's" * 1000)
    association.ask(rig.INTERNET_IP, ECHO, b"y")
    began = time.monotonic()
    if how == "rst":
        rig.reset(association.connection)
    elif how == "fin":
        association.connection.close()
    else:
        association.connection.shutdown(socket.SHUT_WR)
    rig.wait_for(lambda: not socks_udp.udp_ports(daemon.pid) - before, 5, "the ports are closed")
    lasted = time.monotonic() - began
    association.send(rig.INTERNET_IP, ECHO, b"z")
    association.nothing_comes()
    association.close()
    daemon.wait_idle()
    return lasted


def test_row_050_fragments(net, daemon):
    with associate(net) as association:
        good = socks_udp.address(rig.INTERNET_IP, ECHO)
        for number in (1, 2, 0x81, 0xff):
            before = daemon.reason_count("peer_fragment")
            association.udp.sendto(b"\0\0" + bytes([number]) + good + b"part", association.relay)
            daemon.wait_reason("peer_fragment", before)
        association.nothing_comes()
        assert association.ask(rig.INTERNET_IP, ECHO, b"whole")[2] == echoed(b"whole")
    daemon.wait_idle()


def test_row_050_malformed(net, daemon):
    good = socks_udp.address(rig.INTERNET_IP, ECHO)
    with associate(net) as association:
        for reason, datagram in (
                ("peer_decode", b""), ("peer_decode", b"\0\0"), ("peer_decode", b"\0\1\0" + good),
                ("peer_decode", b"\0\0\0\1\1\2\3"), ("peer_decode", b"\0\0\0\4" + bytes(17)),
                ("peer_decode", b"\0\0\0\3\xffshort"), ("peer_address", b"\0\0\0\2" + bytes(6)),
                ("peer_address", b"\0\0\0\3\0\0\x50"), ("peer_address", b"\0\0\0\3\3a b\0\x50"),
                ("peer_address", b"\0\0\0" + socks_udp.address(rig.INTERNET_IP, 0) + b"x")):
            before = daemon.reason_count(reason)
            association.udp.sendto(datagram, association.relay)
            daemon.wait_reason(reason, before)
        association.nothing_comes()
        assert association.ask(rig.INTERNET_IP, ECHO, b"")[2] == echoed(b"")
    daemon.wait_idle()


def test_row_048_rules(net, daemon):
    """Each destination is routed: blackhole, an outbound without datagrams, the rest goes out."""
    with associate(net) as association:
        for reason, port in (("policy_blocked", BLOCKED), ("policy_no_datagrams", 9104)):
            for _ in range(2):
                before = daemon.reason_count(reason)
                association.send(rig.INTERNET_IP, port, b"x")
                daemon.wait_reason(reason, before)
        association.nothing_comes()
        assert association.ask(rig.INTERNET_IP, ECHO, b"x")[2] == echoed(b"x")
    # the guard of private targets, for a name as well
    with associate(net, GUARDED) as association:
        for host in (rig.INTERNET_IP, "localhost", "127.0.0.1", "::1", "224.0.0.1",
                     "169.254.169.254"):
            before = daemon.reason_count("policy_private_target")
            association.send(host, ECHO, b"x")
            daemon.wait_reason("policy_private_target", before)
        association.nothing_comes()
    daemon.wait_idle()


def test_row_048_reload(net, tmp, internet):
    """An association goes on over a reload, by the rules it began with; on a mixed inbound too."""
    config = {"inbounds": [dict(socks_inbound(1303), protocol="mixed")],
              "outbounds": [FREEDOM, {"tag": "block", "protocol": "blackhole"}]}
    made = rig.Culvert(net.server, tmp, config, "udp-reload", wait=((rig.SERVER_IP, 1303),))
    with rig.running(made):
        with associate(net, 1303) as before:
            assert before.ask(rig.INTERNET_IP, ECHO, b"1")[2] == echoed(b"1")
            with open(made.config_path) as file:
                config = json.load(file)
            config["routing"] = {"rules": [{"network": "udp", "outboundTag": "block"}]}
            with open(made.config_path, "w") as file:
                json.dump(config, file)
            assert "error" not in made.ask("reload")
            with associate(net, 1303) as after:
                after.send(rig.INTERNET_IP, ECHO, b"2")
                made.wait_reason("policy_blocked")
                after.nothing_comes()
                assert before.ask(SECOND_IP, ECHO, b"3")[2] == echoed(b"3")
        made.wait_idle()


def test_row_048_users(net, daemon):
    """Bytes are the user's; so is the number of associations, by maxUserAssociations."""
    def alice():
        return next(u for u in daemon.ask("users")["users"] if u["name"] == "alice")

    before = alice()
    with associate(net, PASSWORD, credentials=ALICE) as first, \
            associate(net, PASSWORD, credentials=ALICE):
        assert first.ask(rig.INTERNET_IP, ECHO, b"x" * 1000)[2] == echoed(b"x" * 1000)
        after = alice()
        assert after["uplink_bytes"] - before["uplink_bytes"] == 1000
        assert after["downlink_bytes"] - before["downlink_bytes"] == 1000 + len("10.77.2.1\n")
        third = Association(net.client, (rig.SERVER_IP, PASSWORD), credentials=ALICE)
        assert third.reply == 1
        associate(net, PASSWORD, credentials=BOB).close()
    daemon.wait_idle()
    associate(net, PASSWORD, credentials=ALICE).close()
    daemon.wait_idle()


def test_row_048_many_destinations(net, daemon):
    """More than the table holds: none is kept from passing."""
    with associate(net) as association, \
            socks_udp.udp_socket(net.internet, (SECOND_IP, 9109)) as last:
        for port in range(20000, 20600):
            association.send(rig.INTERNET_IP, port, b"x")
            if port % 50 == 0:  # no faster than a slow machine takes them
                association.ask(rig.INTERNET_IP, ECHO, b"%d" % port)
        association.send(SECOND_IP, 9109, b"y")
        data, mapped = last.recvfrom(100)
        last.sendto(b"z", mapped)
        assert data == b"y" and association.recv() == (SECOND_IP, 9109, b"z")
    daemon.wait_idle()


def test_limits(net, tmp, internet):
    """A rate holds for datagrams; quota, idleness, a kick and the daemon's end end associations."""
    inbound = socks_inbound(1301, (ALICE, BOB))
    inbound["settings"]["accounts"][0]["uplinkBytesPerSecond"] = 20000
    inbound["settings"]["accounts"][1]["quotaBytes"] = 5000
    config = {"inbounds": [inbound], "outbounds": [FREEDOM],
              "policy": {"levels": {"0": {"connIdle": 3}}}}
    made = rig.Culvert(net.server, tmp, config, "udp-limits", drain=0, maxAssociations=2,
                       stateDirectory="", wait=((rig.SERVER_IP, 1301),))
    with rig.running(made):
        with associate(net, 1301, credentials=ALICE) as association, \
                associate(net, 1301, credentials=ALICE):
            assert Association(net.client, (rig.SERVER_IP, 1301), credentials=ALICE).reply == 1
            for _ in range(150):
                association.send(rig.INTERNET_IP, ECHO, b"x" * 1000)
            made.wait_reason("policy_rate")
            moved = sum(s["uplink"]["bytes"] for s in made.sessions())
            assert 20000 <= moved < 120000, moved
            made.ask("kick alice")
            assert rig.read_all(association.connection, 5)[1] == "rst"
            rig.wait_for(lambda: socks_udp.udp_ports(made.pid) == {BY_NAME}, 3, "closed ports")
        with associate(net, 1301, credentials=BOB) as association:
            assert association.ask(rig.INTERNET_IP, ECHO, b"x" * 500)[2] == echoed(b"x" * 500)
            for _ in range(10):
                association.send(rig.INTERNET_IP, ECHO, b"x" * 500)
            assert rig.read_all(association.connection, 5) == (b"", "rst")
            made.wait_reason("policy_quota")
        with associate(net, 1301, credentials=ALICE) as association:
            assert rig.read_all(association.connection, 10)[0] == b""
            made.wait_reason("policy_idle")
        made.wait_idle()
        assert sum(w["associations"] for w in made.ask("workers")["workers"]) == 0
        last = associate(net, 1301, credentials=ALICE)
        last.send("localhost", ECHO, b"x")
        made.stop_clean()


# ---- behind TLS ----------------------------------------------------------------------------------


def test_row_109_tls(net, tmp, authority, internet):
    """Off where TLS would promise what datagrams do not have; on with an address for them."""
    certificate = combined(authority, NAME)
    config = socks_config(SECURE, tls_stream(certificate))
    for port, settings in ((SECURE_UDP, {"udp_ip": rig.SERVER_IP}), (SECURE_UDP + 1, {"udp": True}),
                           (SECURE_UDP + 2, {"udp": True, "ip": "192.0.2.9"})):
        inbound = socks_config(port, tls_stream(certificate))["inbounds"][0]
        inbound["settings"].update(settings)
        config["inbounds"].append(dict(inbound, tag="tls-%d" % port))
    made = rig.Culvert(net.server, tmp, config, "socks5s-udp",
                       wait=((rig.SERVER_IP, SECURE_UDP + 2),))
    with rig.running(made):
        for port in (SECURE, SECURE_UDP + 1):
            with tls(net, authority, port) as connection:
                assert socks_udp.request(connection, 3, credentials=ALICE)[0] == 7
        with tls(net, authority, SECURE_UDP) as connection:
            association = Association(net.client, None, connection, credentials=ALICE)
            assert association.reply == 0 and association.relay[0] == rig.SERVER_IP
            assert association.ask(rig.INTERNET_IP, ECHO, b"x")[2] == echoed(b"x")
            port = association.relay[1]
            connection.unwrap()  # close_notify, and the answer to it
        rig.wait_for(lambda: port not in socks_udp.udp_ports(made.pid), 3, "the port is closed")
        # an address that a router in front of us has: it is told, and the port is ours
        with tls(net, authority, SECURE_UDP + 2) as connection:
            association = Association(net.client, None, connection, credentials=ALICE)
            assert association.relay[0] == "192.0.2.9"
            association.relay = (rig.SERVER_IP, association.relay[1])
            assert association.ask(rig.INTERNET_IP, ECHO, b"x")[2] == echoed(b"x")
        made.wait_idle()


# ---- through another proxy -----------------------------------------------------------------------


@contextlib.contextmanager
def through(net, tmp, *outbounds):
    config = {"inbounds": [socks_inbound(1302)], "outbounds": list(outbounds) + [FREEDOM]}
    made = rig.Culvert(net.server, tmp, config, "udp-up", wait=((rig.SERVER_IP, 1302),))
    with rig.running(made):
        yield made


def end_children(net, name):
    """Programs of that name in the internet's namespace."""
    there = os.fstat(net.internet.fd).st_ino
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open("/proc/%s/comm" % pid) as file:
                if file.read().strip() == name and os.stat(
                        "/proc/%s/ns/net" % pid).st_ino == there:
                    os.kill(int(pid), signal.SIGKILL)


def test_row_038_dante(net, tmp):
    """Every datagram leaves from the proxy's address; the proxy's end ends the mapping."""
    up = outbound("socks", DANTE, retry={"maxAttempts": 2, "backoffMs": [100, 1000]})
    with through(net, tmp, up) as made:
        with dante(net, tmp), dnsmasq(net, tmp, SECOND_IP), associate(net, 1302) as association:
            for n in range(3):
                answer = association.ask(SECOND_IP, ECHO, b"%d" % n)
                assert answer == (SECOND_IP, ECHO, echoed(b"%d" % n, PROXY_IP)), answer
            with socks_udp.Wrapper(association, WRAPPED, SECOND_IP, DNS):
                assert dig(net, "answer.test") == "192.0.2.77\n"
            # the connection to dante is ours as long as the association is
            assert made.sessions()[0]["outbound"] == "up"
            association.close()
            made.wait_idle()
        with associate(net, 1302) as association:  # dante is gone
            before = made.reason_count("upstream_failed")
            association.send(SECOND_IP, ECHO, b"x")
            made.wait_reason("upstream_failed", before, 20)
            association.nothing_comes()
            with dante(net, tmp):
                deadline = time.monotonic() + 20
                while True:
                    association.send(SECOND_IP, ECHO, b"again")
                    with contextlib.suppress(socket.timeout, TimeoutError):
                        assert association.recv(0.5)[2] == echoed(b"again", PROXY_IP)
                        break
                    assert time.monotonic() < deadline
                end_children(net, "danted")  # else they live as long as we do
            rig.wait_for(lambda: "the association for datagrams ended" in made.log(), 10, "its end")
        made.wait_idle()


def test_row_038_fallback(net, tmp):
    """Nobody listens there: out directly where that is wanted."""
    up = outbound("socks", 3999, fallback="direct", retry={"maxAttempts": 1})
    with through(net, tmp, up) as made, associate(net, 1302) as association:
        assert association.ask(rig.INTERNET_IP, ECHO, b"x")[2] == echoed(b"x")
        made.wait_reason("upstream_gone_around")


def test_row_038_not_over_tls(net, tmp):
    """What the proxy is reached by in TLS must not leave in clear text."""
    up = outbound("socks", 3998, tls={"serverName": "proxy.test"})
    with through(net, tmp, up) as made, associate(net, 1302) as association:
        association.send(rig.INTERNET_IP, ECHO, b"x")
        made.wait_reason("policy_no_datagrams")
        association.nothing_comes()
    up["settings"]["udpOverTls"] = "direct"
    with through(net, tmp, up) as made, associate(net, 1302) as association:
        assert association.ask(rig.INTERNET_IP, ECHO, b"x")[2] == echoed(b"x")
        assert made.sessions()[0]["outbound"] == "up"
    del up["settings"]["udpOverTls"]
    # where nothing carries datagrams, that is the answer to the request
    config = {"inbounds": [socks_inbound(1302)], "outbounds": [up, outbound("http", 3003, tag="h")]}
    made = rig.Culvert(net.server, tmp, config, "udp-none", wait=((rig.SERVER_IP, 1302),))
    with rig.running(made):
        assert Association(net.client, (rig.SERVER_IP, 1302)).reply == 7
