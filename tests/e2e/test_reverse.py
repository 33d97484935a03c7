# SPDX-License-Identifier: MIT
"""Reverse proxy: a bridge in the "internet" opens tunnels to a portal on the server, where the client
asks for what is behind the bridge. Against v2ray 4.34 in either place, and both our own."""

import concurrent.futures
import contextlib
import hashlib
import os
import signal
import subprocess
import time

import pytest
import rig
from downloads import Downloads
from peers import V2ray, needs_v2ray, socks_in, vmess_in, vmess_out
from socks_udp import Echo, udp_socket
from test_restart import end, restart

PUBLIC, INTERCONN, DUMMY, DATAGRAMS, ECHO = 8088, 1024, 1340, 8089, 9141
DOMAIN = "test.xray.com"
V2RAY_CONTROL = "reverse.internal.v2ray.com"
WEB = "%s:80" % rig.INTERNET_IP


def tunnel(port, tag="external"):
    return {"tag": tag, "listen": rig.SERVER_IP, "port": port, "protocol": "dokodemo-door",
            "settings": {"address": "127.0.0.1", "port": 80, "network": "tcp"}}


def portal_config(domain=DOMAIN, control="reverse", interconn=None, **more):
    portal = {"tag": "portal", "domain": domain}
    if control != "reverse":
        portal["internalDomain"] = control
    return dict({
        "reverse": {"portals": [portal]},
        "inbounds": [tunnel(PUBLIC), interconn or vmess_in(INTERCONN, rig.SERVER_INNER_IP,
                                                           tag="interconn")],
        "routing": {"rules": [
            {"type": "field", "inboundTag": ["external"], "outboundTag": "portal"},
            {"type": "field", "inboundTag": ["interconn"], "outboundTag": "portal"}]}}, **more)


def bridge_config(domain=DOMAIN, web=WEB, interconn=None, **more):
    out = {"tag": "out", "protocol": "freedom", "settings": {"redirect": web}}
    return dict({
        "reverse": {"bridges": [{"tag": "bridge", "domain": domain}]},
        "outbounds": [out, interconn or vmess_out(INTERCONN, rig.SERVER_INNER_IP,
                                                  tag="interconn")],
        "routing": {"rules": [
            {"type": "field", "inboundTag": ["bridge"], "domain": ["full:" + domain],
             "outboundTag": "interconn"},
            {"type": "field", "inboundTag": ["bridge"], "outboundTag": "out"}]}}, **more)


def our_portal(net, tmp, config=None, **more):
    return rig.Culvert(net.server, tmp, config or portal_config(), "portal",
                       wait=((rig.SERVER_IP, PUBLIC),), **more)


def our_bridge(net, tmp, config=None, **more):
    """Listens nowhere."""
    return rig.Culvert(net.internet, tmp, config or bridge_config(), "bridge", **more)


def fetch(net, path="/medium", port=PUBLIC, timeout=30):
    return rig.curl(net.client, "http://%s:%d%s" % (rig.SERVER_IP, port, path), timeout=timeout)


def is_served(net, port=PUBLIC):
    return fetch(net, "/", port, 5)[1] == b"the internet\n"


def wait_served(net, seconds, what, port=PUBLIC):
    rig.wait_for(lambda: is_served(net, port), seconds, what, pause=0.1)


def check(net, internet, *names):
    for name in names or ("small", "medium"):
        status, body, error = fetch(net, "/" + name)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes[name]


def tunnels(daemon):
    """Its sessions that carry others."""
    return [s for s in daemon.sessions() if s["state"] == "carrier"]


def carriers(daemon):
    return daemon.ask("carriers")["carriers"]


# ---- against others -----------------------------------------------------------------------------


def with_datagrams(portal, bridge):
    """A UDP port as well; what comes out goes where it was meant to go."""
    portal["inbounds"].append({
        "tag": "external-udp", "listen": rig.SERVER_IP, "port": DATAGRAMS,
        "protocol": "dokodemo-door",
        "settings": {"address": rig.INTERNET_IP, "port": ECHO, "network": "udp"}})
    portal["routing"]["rules"].append({"type": "field", "inboundTag": ["external-udp"],
                                       "outboundTag": "portal"})
    bridge["outbounds"].append({"tag": "out-udp", "protocol": "freedom", "settings": {
        "finalRules": [{"action": "allow"}]}})
    bridge["routing"]["rules"].insert(1, {
        "type": "field", "inboundTag": ["bridge"], "network": "udp", "outboundTag": "out-udp"})


def check_datagrams(net, clients=1):
    echo = Echo(net.internet, rig.INTERNET_IP, ECHO)
    for _ in range(clients):
        with contextlib.closing(udp_socket(net.client)) as udp:
            for i in range(3):
                udp.sendto(b"datagram %d" % i, (rig.SERVER_IP, DATAGRAMS))
                data, source = udp.recvfrom(2048)
                assert data.endswith(b"datagram %d" % i)
                assert source == (rig.SERVER_IP, DATAGRAMS)
    echo.stop()


@needs_v2ray
@pytest.mark.parametrize("carrier", ["vmess", "vless"])
def test_row_082_bridge(net, tmp, internet, carrier):
    """Our bridge, v2ray's portal, which is killed and comes back."""
    interconn_in, interconn_out = interconns(carrier)
    there, here = portal_config(interconn=interconn_in), bridge_config(interconn=interconn_out)
    with_datagrams(there, here)
    portal = V2ray(net.server, tmp, there, (rig.SERVER_IP, PUBLIC))
    bridge = our_bridge(net, tmp, here)
    with rig.running(bridge):
        wait_served(net, 10, "v2ray's portal serves through our bridge")
        check(net, internet)
        check_datagrams(net)
        assert len(tunnels(bridge)) >= 1
        portal.stop()
        portal = V2ray(net.server, tmp, there, (rig.SERVER_IP, PUBLIC))
        wait_served(net, 10, "another one serves")
        portal.stop()


@needs_v2ray
@pytest.mark.parametrize("carrier", ["vmess", "vless"])
def test_row_083_portal(net, tmp, internet, carrier):
    """Our portal, v2ray's bridge, which is killed and comes back."""
    interconn_in, interconn_out = interconns(carrier)
    here = portal_config(control=V2RAY_CONTROL, interconn=interconn_in)
    there = bridge_config(interconn=interconn_out)
    there["inbounds"] = [socks_in(DUMMY)]  # to see that it is there
    with_datagrams(here, there)
    portal = our_portal(net, tmp, here)
    bridge = V2ray(net.internet, tmp, there, ("127.0.0.1", DUMMY))
    with rig.running(portal):
        wait_served(net, 10, "our portal serves through v2ray's bridge")
        check(net, internet)
        check_datagrams(net)
        assert len(tunnels(portal)) >= 1
        bridge.stop()
        rig.wait_for(lambda: not tunnels(portal), 10, "its tunnels are gone")
        bridge = V2ray(net.internet, tmp, there, ("127.0.0.1", DUMMY))
        wait_served(net, 10, "another one serves")
        bridge.stop()


def interconns(carrier, streams=({}, {}), flow=""):
    """What carries the tunnels: (at the portal, at the bridge)."""
    if carrier == "vmess":
        return (vmess_in(INTERCONN, rig.SERVER_INNER_IP, tag="interconn"),
                vmess_out(INTERCONN, rig.SERVER_INNER_IP, tag="interconn"))
    return ({"tag": "interconn", "listen": rig.SERVER_INNER_IP, "port": INTERCONN,
             "protocol": "vless", "streamSettings": streams[0], "settings": {
                 "decryption": "none", "clients": [{"id": rig.USER, "flow": flow}]}},
            {"tag": "interconn", "protocol": "vless", "streamSettings": streams[1], "settings": {
                "vnext": [{"address": rig.SERVER_INNER_IP, "port": INTERCONN, "users": [{
                    "id": rig.USER, "encryption": "none", "flow": flow}]}]}})


@pytest.mark.parametrize("carrier", ["vmess", "vless", "reality"])
def test_row_082_083_ours(net, tmp, internet, target, keys, carrier):
    if carrier == "reality":
        interconn_in, interconn_out = interconns(carrier, (
            rig.reality_stream(keys.private, target.address),
            rig.reality_client_stream(keys.public)), rig.VISION)
    else:
        interconn_in, interconn_out = interconns(carrier)
    with rig.running(our_portal(net, tmp, portal_config(interconn=interconn_in)),
                     our_bridge(net, tmp, bridge_config(interconn=interconn_out))) as daemons:
        wait_served(net, 10, "the portal serves")
        check(net, internet)
        status, _, _ = rig.curl(net.client, "-T", internet.root + "/medium",
                                "http://%s:%d/sink" % (rig.SERVER_IP, PUBLIC))
        assert status == 0
        assert [len(tunnels(d)) for d in daemons] == [1, 1]


# ---- configuration ------------------------------------------------------------------------------


def test_row_084_pairs_in_one_process(net, tmp, internet):
    """Two pairs, bridge and portal of each in one process; the names need not exist."""
    ports = (PUBLIC, PUBLIC + 1)
    rules, inbounds, outbounds, reverse = [], [], [], {"bridges": [], "portals": []}
    for i, port in enumerate(ports):
        domain = "pair%d.nowhere.invalid" % i
        reverse["bridges"].append({"tag": "bridge%d" % i, "domain": domain})
        reverse["portals"].append({"tag": "portal%d" % i, "domain": domain})
        inbounds += [tunnel(port, "external%d" % i),
                     vmess_in(INTERCONN + i, "127.0.0.1", tag="interconn%d" % i)]
        outbounds += [vmess_out(INTERCONN + i, "127.0.0.1", tag="interconn-out%d" % i),
                      {"tag": "out%d" % i, "protocol": "freedom", "settings": {
                          "redirect": WEB if i == 0 else "%s:8001" % rig.INTERNET_IP}}]
        rules += [{"inboundTag": ["bridge%d" % i], "domain": ["full:" + domain],
                   "outboundTag": "interconn-out%d" % i},
                  {"inboundTag": ["bridge%d" % i], "outboundTag": "out%d" % i},
                  {"inboundTag": ["external%d" % i], "outboundTag": "portal%d" % i},
                  {"inboundTag": ["interconn%d" % i], "outboundTag": "portal%d" % i}]
    config = {"reverse": reverse, "inbounds": inbounds, "outbounds": outbounds,
              "routing": {"domainStrategy": "IPOnDemand", "rules": [
                  {"ip": ["203.0.113.0/24"], "outboundTag": "out0"}] + rules}}
    with rig.running(our_portal(net, tmp, config)) as daemons:
        wait_served(net, 10, "the first pair serves")
        check(net, internet, "medium")
        status, body, error = rig.curl(net.client, "-T", internet.root + "/small",
                                       "http://%s:%d/" % (rig.SERVER_IP, ports[1]))
        assert body.decode() == "%d %s" % (internet.sizes["small"], internet.hashes["small"]), error
        assert len(tunnels(daemons[0])) == 4  # either end of each


OWN = '{ "culvert": {"controlSocket": "", "drainSeconds": 1},'
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conf")


def test_row_090_examples_with_comments(net, tmp, internet):
    """The examples as they are, but for addresses, ports and the id."""
    def example(name, *changes):
        with open(os.path.join(EXAMPLES, name)) as file:
            text = file.read()
        assert text.count("//") > 3
        for old, new in (("USER-ID: what culvert uuid prints, at both ends the same", rig.USER),
                         *changes):
            assert old in text, old
            text = text.replace(old, new)
        path = os.path.join(tmp, name)
        with open(path, "w") as file:
            file.write(text.replace("{", OWN, 1))
        return path

    portal = rig.Process(net.server, [os.path.join(rig.build_dir(), "culvertd"), "-c", example(
        "portal.json", ('"port": 80,\n      "protocol"', '"port": %d,\n      "protocol"' % PUBLIC))],
        os.path.join(tmp, "example-portal.log"))
    bridge = rig.Process(net.internet, [os.path.join(rig.build_dir(), "culvertd"), "-c", example(
        "bridge.json", ("127.0.0.1:80", WEB), ("192.0.2.1", rig.SERVER_INNER_IP))],
        os.path.join(tmp, "example-bridge.log"))
    with rig.running(portal, bridge):
        wait_served(net, 10, "the examples serve; logs:\n" + portal.log() + bridge.log())


# ---- many ---------------------------------------------------------------------------------------


def many(net, internet, count, name="small"):
    """Answers that are whole."""
    def one(_):
        connection = rig.tcp(net.client, rig.SERVER_IP, PUBLIC, timeout=60)
        with contextlib.closing(connection):
            connection.sendall(b"GET /%s HTTP/1.0\r\n\r\n" % name.encode())
            data, end = rig.read_all(connection, 60)
            body = data.partition(b"\r\n\r\n")[2]
            return end == "fin" and hashlib.sha256(body).hexdigest() == internet.hashes[name]

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        return sum(pool.map(one, range(count)))


def connections(net):
    """Of bridges, at the portal."""
    text = subprocess.run(["ss", "-Htn", "state", "established", "sport", "=", ":%d" % INTERCONN],
                          check=True, capture_output=True, text=True,
                          preexec_fn=net.server.enter).stdout
    return len(text.splitlines())


@pytest.mark.parametrize("workers", [1, 3])
def test_row_085_balance_and_drain(net, tmp, internet, workers):
    """Above 16 streams on each tunnel there is one more; after 256 a tunnel gets no new ones; each
    control message is one that the other end reads."""
    with rig.running(our_portal(net, tmp), our_bridge(net, tmp, workers=workers)) as daemons:
        portal, bridge = daemons
        wait_served(net, 10, "the portal serves")
        assert connections(net) == 1
        held = [rig.tcp(net.client, rig.SERVER_IP, PUBLIC) for _ in range(40)]
        rig.wait_for(lambda: connections(net) >= 3, 20, "40 streams have three tunnels")
        assert len(tunnels(bridge)) == len(tunnels(portal)) == 3
        if workers > 1:  # which share them
            assert {s["worker"] for s in tunnels(bridge)} == {0, 1, 2}
        for connection in held:
            connection.close()
        if workers > 1:
            return
        assert many(net, internet, 800) == 800
        rig.wait_for(lambda: "is drained after 257 streams" in portal.log(), 10,
                     "a tunnel is drained")
        check(net, internet, "medium")
        heard = {c["id"]: c["received_bytes"] for c in carriers(bridge)}
        rig.wait_for(lambda: any(c["received_bytes"] > heard.get(c["id"], float("inf"))
                                 for c in carriers(bridge)), 30,
                     "the portal says that it is there", pause=0.2)


def test_row_085_no_bridge_no_service(net, tmp, internet):
    with rig.running(our_portal(net, tmp)) as daemons:
        connection = rig.tcp(net.client, rig.SERVER_IP, PUBLIC)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data, end = rig.read_all(connection, 10)
        assert data == b"" and end in ("fin", "rst")
        daemons[0].wait_reason("notunnel")


def test_several_workers(net, tmp, internet):
    """A session goes to the worker that has the tunnel; one with layers is led there. When they
    stop, tunnels that nobody uses are no reason to wait."""
    config = portal_config()
    config["inbounds"].append({"tag": "inside", "listen": rig.SERVER_IP, "port": PUBLIC + 1,
                               "protocol": "socks", "settings": {"auth": "noauth"}})
    config["routing"]["rules"].append({"inboundTag": ["inside"], "outboundTag": "portal"})
    with rig.running(our_portal(net, tmp, config, workers=4, drain=60),
                     our_bridge(net, tmp, workers=2, drain=60)) as daemons:
        wait_served(net, 10, "the portal serves")
        assert many(net, internet, 60) == 60
        for _ in range(12):
            status, body, error = rig.curl(
                net.client, "-x", "socks5h://%s:%d" % (rig.SERVER_IP, PUBLIC + 1),
                "http://anything.invalid/small")
            assert status == 0, error
            assert hashlib.sha256(body).hexdigest() == internet.hashes["small"]
        check(net, internet, "medium")
        assert len(tunnels(daemons[0])) == 1


# ---- any order, and again -----------------------------------------------------------------------


def test_row_086_portal_comes_late(net, tmp, internet):
    bridge = our_bridge(net, tmp)
    rig.wait_for(lambda: bridge.log().count("upstream_refused") > 6, 20, "the bridge tries")
    with rig.running(our_portal(net, tmp), bridge):
        wait_served(net, 10, "the bridge finds the portal that came late")


SLOW = 8090  # a web server that takes its time: downloads last some seconds


@pytest.mark.parametrize("carrier", ["vmess", "vless"])
def test_row_086_killed_under_load(net, tmp, internet, carrier):
    """300 downloads while each side is killed and comes back: within 3 s, and nothing is wrong."""
    interconn_in, interconn_out = interconns(carrier)
    config = {"portal": portal_config(interconn=interconn_in),
              "bridge": bridge_config(web="%s:%d" % (rig.INTERNET_IP, SLOW),
                                      interconn=interconn_out)}
    start = {"portal": lambda: our_portal(net, tmp, config["portal"], workers=2),
             "bridge": lambda: our_bridge(net, tmp, config["bridge"], workers=2)}
    with open(os.path.join(internet.root, "small"), "rb") as file:
        content = file.read()
    slow = rig.Nginx(net.internet, os.path.join(tmp, "slow-" + carrier), """
        server { listen %s:%d backlog=4096; root %s; limit_rate 64k; }""" % (
        rig.INTERNET_IP, SLOW, internet.root), wait=((rig.INTERNET_IP, SLOW),))
    daemons = {name: start[name]() for name in ("portal", "bridge")}
    try:
        with Downloads(net.client, (rig.SERVER_IP, PUBLIC), "/small", content, 300) as downloads:
            for who in ("bridge", "portal", "bridge", "portal"):
                downloads.wait(lambda: downloads.under_way > 280, "300 are under way")
                cut = downloads.cut
                daemons[who].child.kill()
                daemons[who].child.wait()
                daemons[who] = start[who]()
                downloads.come_back(time.monotonic(), "back after the %s was killed" % who)
                assert downloads.cut > cut
            whole = downloads.whole
            downloads.wait(lambda: downloads.whole >= whole + 300, "300 more")
        assert not downloads.wrong, downloads.wrong
    finally:
        for daemon in daemons.values():
            daemon.stop()
        slow.stop()


def test_reload_keeps_service(net, tmp, internet):
    """Nothing of what goes on all the time breaks when either end reads its configuration again."""
    with open(os.path.join(internet.root, "small"), "rb") as file:
        content = file.read()
    with rig.running(our_portal(net, tmp, workers=2), our_bridge(net, tmp, workers=2)) as daemons:
        wait_served(net, 10, "the portal serves")
        with Downloads(net.client, (rig.SERVER_IP, PUBLIC), "/small", content, 4,
                       pause=0.2) as downloads:
            for daemon in daemons[1], daemons[0], daemons[1]:
                before = {s["id"] for s in tunnels(daemons[1])}
                daemon.ask("reload")
                if daemon is daemons[1]:
                    rig.wait_for(lambda: not before & {s["id"] for s in tunnels(daemons[1])},
                                 20, "its tunnels are other ones")
                whole = downloads.whole
                downloads.wait(lambda: downloads.whole > whole + 20, "downloads go on")
        assert downloads.cut == 0


def test_restart_keeps_service(net, tmp, internet):
    """A successor of the bridge takes over without a download being cut; one of the portal has to
    wait for its first tunnel, which is soon there."""
    with open(os.path.join(internet.root, "small"), "rb") as file:
        content = file.read()
    daemons = our_portal(net, tmp, workers=2), our_bridge(net, tmp, workers=2)
    pids = []
    try:
        wait_served(net, 10, "the portal serves")
        with Downloads(net.client, (rig.SERVER_IP, PUBLIC), "/small", content, 4,
                       pause=0.2) as downloads:
            pids.append(restart(daemons[1]))
            assert daemons[1].child.wait(30) == 0
            downloads.wait(lambda: downloads.whole > 20, "downloads go on")
            assert downloads.cut == 0
            pids.append(restart(daemons[0]))
            downloads.come_back(time.monotonic(), "a successor of the portal serves")
            assert daemons[0].child.wait(30) == 0
            whole = downloads.whole
            downloads.wait(lambda: downloads.whole > whole + 20, "downloads go on")
            print("%d cut" % downloads.cut)
        while pids:
            end(pids.pop())
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for daemon in daemons:
            daemon.stop()


def test_datagrams_through_a_tunnel(net, tmp, internet):
    """A UDP port at the portal, an answer from behind the bridge; the clients' worker need not be
    the tunnel's."""
    config, behind = portal_config(), bridge_config()
    with_datagrams(config, behind)
    with rig.running(our_portal(net, tmp, config, workers=4),
                     our_bridge(net, tmp, behind)) as daemons:
        rig.wait_for(lambda: tunnels(daemons[0]), 10, "a tunnel")
        check_datagrams(net, 12)
