# SPDX-License-Identifier: MIT
"""The load generator (tools/load) through a culvert between client and site: what it counts is what
the site and the daemon count, every kind and way ends with results, failures have names."""

import json
import mmap
import os
import subprocess

import pytest
import rig

ADDRESS = "127.0.0.1"
SOCKS, HTTP, SOCKS_TLS = 6101, 6102, 6103
BULK, TLS, ECHO, UDP_ECHO, STAMP = 6111, 6112, 6113, 6114, 6115
NAME = "load.test"
ACCOUNT = {"user": "u", "pass": "p"}
PLACE = {"socks5": SOCKS, "http": HTTP, "socks5-tls": SOCKS_TLS, "http-tls": SOCKS_TLS}


def load():
    return os.path.join(rig.build_dir(), "load")


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue(NAME)


@pytest.fixture(scope="module")
def site(net, tmp, pair):
    counter = os.path.join(tmp, "load-site-bytes")
    one = rig.Process(net.server, [
        load(), "serve", ADDRESS, "--bulk", str(BULK), "--tls", str(TLS), "--echo", str(ECHO),
        "--udp-echo", str(UDP_ECHO), "--stamp", str(STAMP), "--certificate", pair[0], "--key", pair[1],
        "--counter", counter], os.path.join(tmp, "load-site.log"))
    rig.wait_for(lambda: one.log().startswith("ready"), 20, "the site listens: " + one.log())
    with open(counter, "rb") as file, mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ) as moved:
        one.bytes = lambda: int.from_bytes(moved[:8], "little")
        yield one
        assert one.stop() == 0
        said = json.loads(one.log().splitlines()[-1])
        assert said["bytes"] == one.bytes() and said["cpu_seconds"]["system"] >= 0
        del one.bytes


@pytest.fixture(scope="module")
def daemon(net, tmp, pair, site):
    def inbound(port, protocol, tls=False, **settings):
        made = {"listen": ADDRESS, "port": port, "protocol": protocol, "settings": settings}
        if tls:
            made["streamSettings"] = {"security": "tls", "tlsSettings": {"certificates": [
                {"certificateFile": pair[0], "keyFile": pair[1]}]}}
        return made

    one = rig.Culvert(net.server, tmp, {
        "inbounds": [inbound(SOCKS, "socks", udp=True), inbound(HTTP, "http"),
                     inbound(SOCKS_TLS, "mixed", True, auth="password", accounts=[ACCOUNT])],
        "outbounds": [{"protocol": "freedom", "settings": {"allowPrivate": True}}]},
        "load", wait=[(ADDRESS, port) for port in (SOCKS, HTTP, SOCKS_TLS)], loglevel="warning")
    with rig.running(one):
        yield one


def run(net, kind, way, port=BULK, seconds=0.25, status=0, **more):
    """What the generator says; options as keywords."""
    command = [load(), "run", kind, "--via", way, "--to", "%s:%d" % (ADDRESS, port), "--seconds",
               str(seconds), "--sni", NAME]
    if way in PLACE:
        command += ["--relay", "%s:%d" % (ADDRESS, PLACE[way])]
    if way.endswith("-tls"):
        command += ["--user", ACCOUNT["user"], "--password", ACCOUNT["pass"]]
    for name, value in more.items():
        command += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                          preexec_fn=net.server.enter)
    assert done.returncode == status, done.stderr
    ready, result = done.stdout.splitlines()
    assert ready == "ready"
    return json.loads(result)


@pytest.mark.parametrize("way,options", [
    ("direct", {}), ("socks5", {}), ("http", {}), ("socks5-tls", {}), ("http-tls", {}),
    ("socks5", {"port": TLS, "inner_tls": True})])
def test_what_goes_up_arrives(net, site, daemon, way, options):
    before = site.bytes()
    result = run(net, "upload", way, connections=5, **options)
    assert (result["established"], result["failures"]) == (5, {})
    assert result["bytes"] > rig.MIB
    # what the handshakes of TLS moved is the site's, not the load's
    least, most = result["bytes"], result["bytes"] + (5 * 16384 if "inner_tls" in options else 0)
    rig.wait_for(lambda: least <= site.bytes() - before <= most, 30,
                 "all of it arrives: %d of %d" % (site.bytes() - before, least))


@pytest.mark.parametrize("way,options", [
    ("direct", {}), ("socks5", {}), ("http", {}), ("socks5-tls", {}), ("http-tls", {}),
    ("socks5", {"port": TLS, "inner_tls": True})])
def test_no_more_comes_down_than_was_sent(net, site, daemon, way, options):
    before = site.bytes()
    result = run(net, "download", way, connections=5, warm=0.1, **options)
    sent = site.bytes() - before
    # records of the relay's own TLS are counted as they come
    assert rig.MIB < result["bytes"] <= sent * (1.01 if way.endswith("-tls") else 1)
    assert (result["established"], result["failures"]) == (5, {})


@pytest.mark.parametrize("way,options", [
    ("direct", {}), ("socks5", {}), ("http-tls", {}), ("socks5", {"port": TLS, "inner_tls": True})])
def test_requests_are_answered_whole(net, site, daemon, way, options):
    before = site.bytes()
    result = run(net, "request", way, connections=3, message=1000, **options)
    assert (result["established"], result["failures"]) == (3, {})
    latency = result["latency_us"]
    assert result["requests"] == latency["count"] > 0
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p999"] <= latency["max"]
    assert site.bytes() - before >= 1000 * result["requests"]


def test_a_rate_is_kept_and_no_request_forgotten(net, site, daemon):
    result = run(net, "request", "socks5", connections=4, rate=200, seconds=1)
    assert result["failures"] == {}
    assert 0 < result["requests"] <= 210
    assert result["requests"] + result["unstarted"] + 4 >= 200


def test_short_connections(net, site, daemon):
    for options in ({}, {"port": TLS, "inner_tls": True}):
        before = site.bytes()
        result = run(net, "churn", "socks5", connections=4, **options)
        assert result["failures"] == {} and result["requests"] > 0
        assert site.bytes() - before >= 1000 * result["requests"]


def test_idle_ones_stand_until_told(net, site, daemon):
    command = [load(), "run", "idle", "--via", "socks5", "--relay", "%s:%d" % (ADDRESS, SOCKS), "--to",
               "%s:%d" % (ADDRESS, TLS), "--inner-tls", "--connections", "40", "--seconds", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=net.server.enter) as child:
        assert child.stdout.readline() == b"ready\n"
        assert sum(s["state"] == "relay" for s in daemon.sessions()) == 40
        child.terminate()
        result = json.loads(child.stdout.readline())
    assert (result["established"], result["failures"]) == (40, {})
    rig.wait_for(lambda: not daemon.sessions(), 30, "they are gone")


def test_handshakes_and_decisions(net, site, daemon):
    result = run(net, "handshake", "tls13", port=TLS, connections=2)
    assert result["requests"] > 0 and result["failures"] == {}
    result = run(net, "decision", "direct", port=STAMP, connections=2)
    assert result["requests"] > 0 and result["failures"] == {}
    assert result["latency_us"]["p50"] <= result["since_syn_us"]["p50"]


@pytest.mark.parametrize("way", ["direct", "socks5"])
def test_datagrams_come_back(net, site, daemon, way):
    result = run(net, "udp", way, port=UDP_ECHO, connections=2, rate=2000, message=200)
    assert (result["established"], result["failures"]) == (2, {})
    assert 0 < result["received"] <= result["sent"]
    assert result["latency_us"]["count"] == result["received"]


def test_failures_have_names(net, site, daemon):
    assert run(net, "churn", "direct", port=6119)["failures"].keys() == {"connect"}
    assert run(net, "idle", "socks5", port=6119)["failures"] == {"proxy": 1}
    assert run(net, "handshake", "tls13", port=ECHO)["failures"].keys() == {"tls"}
    refused = subprocess.run([load(), "run", "download", "--via", "nowhere"], capture_output=True,
                             text=True, timeout=20)
    assert refused.returncode == 2 and "not understood: --via" in refused.stderr
