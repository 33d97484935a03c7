# SPDX-License-Identifier: MIT
"""Who goes where: rules by inbound, user, name, address, port; what freedom and blackhole make of it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
import rig

PORTS = {"one": 1101, "two": 1102, "three": 1103}
PEOPLE = ("alice", "bob", "carol")
EXITS = {"red": 8201, "green": 8202, "blue": 8203}
BLOCKED = ("default", "gone")


class Exits:
    """The internet: each port says its name, so that the client learns which way it went."""

    def __init__(self, namespace):
        self.listeners, self.count = [], 0
        for name, port in EXITS.items():
            with namespace:
                listener = socket.create_server((rig.INTERNET_IP, port))
            self.listeners.append(listener)
            threading.Thread(target=self.serve, args=(listener, name), daemon=True).start()

    def serve(self, listener, name):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.count += 1
            with contextlib.suppress(OSError):
                connection.sendall(name.encode())
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
            connection.close()

    def close(self):
        rig.close_listeners(self.listeners)


@pytest.fixture(scope="module")
def exits(net):
    one = Exits(net.internet)
    yield one
    one.close()


def config(rules, **routing):
    """Whatever the client asks for, each outbound leads to one exit; so names need not exist."""
    accounts = [{"user": name, "pass": "secret"} for name in PEOPLE]
    return {
        "inbounds": [{"tag": tag, "listen": rig.SERVER_IP, "port": port, "protocol": "socks",
                      "settings": {"auth": "password", "accounts": accounts}}
                     for tag, port in PORTS.items()],
        "outbounds": [{"tag": "default", "protocol": "blackhole"}] + [
            {"tag": name, "protocol": "freedom", "settings": {
                "redirect": "%s:%d" % (rig.INTERNET_IP, port),
                "finalRules": [{"action": "allow"}]}} for name, port in EXITS.items()],
        "routing": dict({"rules": rules}, **routing)}


@contextlib.contextmanager
def router(net, tmp, rules, **routing):
    with rig.running(rig.Culvert(net.server, tmp, config(rules, **routing), "router",
                                 wait=((rig.SERVER_IP, PORTS["one"]),))) as daemons:
        yield daemons


def way(net, destination, port=80, person="alice", inbound="one"):
    """The name of the exit; "" when the session was closed without a byte."""
    connection = rig.tcp(net.client, rig.SERVER_IP, PORTS[inbound])
    connection.sendall(b"\5\1\2" + b"\1" + bytes([len(person)]) + person.encode() + b"\6secret")
    try:
        host = b"\1" + socket.inet_aton(destination)
    except OSError:
        host = b"\3" + bytes([len(destination)]) + destination.encode()
    if ":" in destination:
        host = b"\4" + socket.inet_pton(socket.AF_INET6, destination)
    connection.sendall(b"\5\1\0" + host + port.to_bytes(2, "big"))
    text = b""
    with contextlib.suppress(ConnectionResetError):
        while block := connection.recv(4096):
            text += block
    connection.close()
    assert text.startswith(b"\5\2\1\0"), text
    return text[14:].decode() if text[4:6] == b"\5\0" else ""


def test_row_023_order_inbound_and_user(net, tmp, exits):
    rules = [{"inboundTag": ["one"], "user": ["alice"], "outboundTag": "red"},
             {"user": ["bob"], "outboundTag": "green"},
             {"inboundTag": ["two", "three"], "user": ["alice", "bob", "carol"],
              "outboundTag": "blue"},
             {"network": "tcp", "outboundTag": "default"}]
    expected = {("one", "alice"): "red", ("one", "bob"): "green", ("one", "carol"): "",
                ("two", "alice"): "blue", ("two", "bob"): "green", ("two", "carol"): "blue",
                ("three", "alice"): "blue", ("three", "bob"): "green", ("three", "carol"): "blue"}
    with router(net, tmp, rules):
        for (inbound, person), name in expected.items():
            assert way(net, "192.0.2.1", 80, person, inbound) == name, (inbound, person)


CASES = [
    ({"domain": ["full:a.example"]}, {"a.example": True, "A.EXAMPLE": True, "b.a.example": False}),
    ({"domain": ["domain:a.example"]}, {"a.example": True, "b.a.example": True,
                                        "ba.example": False}),
    ({"domain": ["keyword:ample"]}, {"a.example": True, "sampler.test": True, "x.test": False}),
    ({"domain": ["ample"]}, {"a.example": True, "x.test": False}),
    ({"domain": [r"regexp:^v\d+\.cdn\.test$"]}, {"v12.cdn.test": True, "v.cdn.test": False,
                                               "v1.cdn.test.org": False}),
    ({"ip": ["203.0.113.0/24", "2001:db8:1::/48"]}, {"203.0.113.9": True, "203.0.114.1": False,
                                                    "2001:db8:1::5": True, "2001:db8:2::": False,
                                                    "a.example": False}),
    ({"ip": ["!203.0.113.0/24"]}, {"203.0.113.9": False, "198.51.100.1": True}),
    ({"port": "80,8000-8010"}, {("a.example", 80): True, ("a.example", 8005): True,
                                ("a.example", 8011): False}),
    ({"network": "tcp"}, {"a.example": True}),
    ({"network": "udp"}, {"a.example": False}),
    ({"source": [rig.CLIENT_IP + "/32"]}, {"a.example": True}),
    ({"source": ["192.0.2.0/24"]}, {"a.example": False}),
    ({"domain": ["full:a.example"], "port": "443"}, {("a.example", 443): True,
                                                    ("a.example", 80): False,
                                                    ("b.example", 443): False}),
]


@pytest.mark.parametrize("rule, asked", CASES, ids=[json.dumps(case[0]) for case in CASES])
def test_row_024_conditions(net, tmp, exits, rule, asked):
    with router(net, tmp, [dict(rule, outboundTag="red")]):
        for destination, matches in asked.items():
            host, port = destination if isinstance(destination, tuple) else (destination, 80)
            assert way(net, host, port) == ("red" if matches else ""), destination


def field(number, payload):
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def site(code, *names):
    items = b"".join(field(2, bytes([8, kind]) + field(2, name.encode()) + b"".join(
        field(3, field(1, attribute.encode()) + b"\x10\1") for attribute in attributes))
        for kind, name, *attributes in names)
    return field(1, field(1, code.encode()) + items)


def country(code, *blocks, reverse=False):
    items = b"".join(field(2, field(1, socket.inet_pton(
        socket.AF_INET6 if ":" in block else socket.AF_INET, block.split("/")[0])) +
        b"\x10" + varint(int(block.split("/")[1]))) for block in blocks)
    return field(1, field(1, code.encode()) + items + (b"\x18\1" if reverse else b""))


@pytest.fixture(scope="module")
def assets(tmp):
    folder = os.path.join(tmp, "assets")
    os.makedirs(folder)
    with open(os.path.join(folder, "geosite.dat"), "wb") as file:
        file.write(site("OTHER", (2, "other.test")))
        file.write(site("SHOP", (2, "shop.test"), (3, "only.test"), (0, "bargain"),
                        (1, r"^buy[0-9]+\."), (2, "ads.test", "ads"), (2, "far.test", "ads", "cn")))
    with open(os.path.join(folder, "geoip.dat"), "wb") as file:
        file.write(country("ZZ", "203.0.113.0/24", "2001:db8:7::/48") +
                   country("YY", "198.51.100.0/24"))
    shutil.copy(os.path.join(folder, "geosite.dat"), os.path.join(folder, "mine.dat"))
    return folder


GEO = [
    ({"domain": ["geosite:shop"]}, ["shop.test", "a.shop.test", "only.test", "a.bargain.org",
                                    "buy7.test", "ads.test"],
     ["a.only.test", "other.test", "buy.test"]),
    ({"domain": ["geosite:shop@ads"]}, ["ads.test", "x.far.test"], ["shop.test", "only.test"]),
    ({"domain": ["geosite:shop@ads@cn"]}, ["far.test"], ["ads.test"]),
    ({"domain": ["ext:mine.dat:other"]}, ["a.other.test"], ["shop.test"]),
    ({"ip": ["geoip:zz"]}, ["203.0.113.1", "2001:db8:7::1"], ["198.51.100.1", "shop.test"]),
    ({"ip": ["!geoip:zz"]}, ["198.51.100.1", "192.0.2.1"], ["203.0.113.1"]),
    ({"ip": ["geoip:!zz", "geoip:!yy"]}, ["192.0.2.1"], ["203.0.113.1", "198.51.100.1"]),
    ({"ip": ["ext:geoip.dat:yy"]}, ["198.51.100.200"], ["203.0.113.1"]),
]


@pytest.mark.parametrize("rule, inside, outside", GEO, ids=[json.dumps(case[0]) for case in GEO])
def test_row_024_lists_from_files(net, tmp, exits, assets, monkeypatch, rule, inside, outside):
    monkeypatch.setenv("XRAY_LOCATION_ASSET", assets)
    with router(net, tmp, [dict(rule, outboundTag="red")]):
        for host in inside:
            assert way(net, host) == "red", host
        for host in outside:
            assert way(net, host) == "", host


def test_row_024_v2ray_reads_the_same_files(assets):
    """Our own encoder above proves nothing alone."""
    if not shutil.which("v2ray"):
        pytest.skip("v2ray is not installed")
    for rule, good in (({"domain": ["geosite:shop"]}, True), ({"domain": ["geosite:none"]}, False),
                       ({"ip": ["geoip:zz"]}, True), ({"ip": ["geoip:xx"]}, False)):
        path = os.path.join(assets, "v2ray.json")
        with open(path, "w") as file:
            json.dump({"outbounds": [{"protocol": "freedom", "tag": "red"}], "routing": {
                "rules": [dict(rule, type="field", outboundTag="red")]}}, file)
        done = subprocess.run(["v2ray", "-test", "-config", path], capture_output=True, timeout=60,
                              env=dict(os.environ, V2RAY_LOCATION_ASSET=assets))
        assert (done.returncode == 0) == good, done.stdout + done.stderr


@pytest.mark.parametrize("rule, says", [
    ({"domain": ["geosite:nobody"]}, "geosite.dat has no list"),
    ({"ip": ["geoip:nobody"]}, "geoip.dat has no list"),
    ({"ip": ["ext:damaged.dat:zz"]}, "damaged.dat is damaged"),
    ({"domain": ["ext:absent.dat:x"]}, "absent.dat: No such file"),
])
def test_row_024_bad_lists(tmp, assets, rule, says):
    with open(os.path.join(assets, "damaged.dat"), "wb") as file:
        file.write(country("YY", "198.51.100.0/24")[:-3])
    path = os.path.join(tmp, "bad-lists.json")
    with open(path, "w") as file:
        json.dump(config([dict(rule, outboundTag="red")]), file)
    done = subprocess.run([os.path.join(rig.build_dir(), "culvertd"), "-t", "-c", path],
                          capture_output=True, text=True,
                          env=dict(os.environ, XRAY_LOCATION_ASSET=assets))
    assert done.returncode == 2 and says in done.stderr and "rules[0]." in done.stderr, done.stderr


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_row_025_a_name_with_both_families(net, tmp, family):
    """localhost is ::1 and 127.0.0.1; only one of them answers, and the client does not wait."""
    with net.server:
        listener = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 8210),
                                        family=family)

    def serve():
        connection, _ = listener.accept()
        connection.sendall(b"here")
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    new = config([])
    new["outbounds"] = [{"protocol": "freedom", "settings": {"finalRules": [{"action": "allow"}]}}]
    with rig.running(rig.Culvert(net.server, tmp, new, "families",
                                 wait=((rig.SERVER_IP, PORTS["one"]),))):
        start = time.monotonic()
        assert way(net, "localhost", 8210) == "here"
        assert time.monotonic() - start < 2
    listener.close()


def test_row_026_redirect(net, tmp, exits):
    """Wherever the client wants to go, also to a name that does not exist."""
    with router(net, tmp, [{"network": "tcp", "outboundTag": "green"}]):
        for host, port in (("192.0.2.1", 22), ("2001:db8::1", 443), ("nowhere.invalid", 1)):
            assert way(net, host, port) == "green"


def test_row_027_blackhole(net, tmp, exits):
    with router(net, tmp, [{"domain": ["full:gone.test"], "outboundTag": "default"},
                           {"network": "tcp", "outboundTag": "blue"}]):
        assert way(net, "there.test") == "blue"
        before, start = exits.count, time.monotonic()
        assert way(net, "gone.test") == ""
        assert time.monotonic() - start < 1
        assert exits.count == before


GUARDED = ["127.0.0.1", "169.254.169.254", "::1", "10.0.0.1", "192.168.1.1", "::ffff:127.0.0.1",
           "localhost", "fe80::1", "0.0.0.0", "64:ff9b::10.0.0.1", "2002:7f00:1::1"]


def reply_to(net, namespace, address, port, destination, preface=b""):
    connection = rig.tcp(namespace, address, port)
    connection.sendall(preface + b"\5\1\0")
    host = b"\3" + bytes([len(destination)]) + destination.encode()
    connection.sendall(b"\5\1\0" + host + (8220).to_bytes(2, "big"))
    text = b""
    while len(text) < 4 and (block := connection.recv(100)):
        text += block
    connection.close()
    return text[3]


def test_row_110_private_targets(net, tmp):
    """Strangers may reach one listener, so its users reach nobody behind the server; at the other
    one they are at home."""
    new = {"inbounds": [{"tag": tag, "listen": listen, "port": port, "protocol": protocol}
                        for tag, listen, port, protocol in (
                            ("public", rig.SERVER_IP, 1111, "socks"),
                            ("home", "127.0.0.1", 1112, "socks"),
                            ("proxy", rig.SERVER_IP, 1113, "http"))],
           "outbounds": [{"protocol": "freedom"}]}
    with net.server:
        there = [socket.create_server(("127.0.0.1", 8220)),
                 socket.create_server(("::1", 8220), family=socket.AF_INET6)]
    daemon = rig.Culvert(net.server, tmp, new, "guard", wait=((rig.SERVER_IP, 1111),))
    with rig.running(daemon):
        for destination in GUARDED:
            assert reply_to(net, net.client, rig.SERVER_IP, 1111, destination) == 2, destination
            name = "[%s]" % destination if ":" in destination else destination
            status, _, error = rig.curl(net.client, "-p", "-x",
                                        "http://%s:1113" % rig.SERVER_IP, "http://%s:8220/" % name)
            assert status != 0 and "403" in error, (destination, error)
        for destination in ("127.0.0.1", "::1", "localhost"):
            assert reply_to(net, net.server, "127.0.0.1", 1112, destination) == 0, destination
        daemon.wait_reason("private", 2 * len(GUARDED) - 1)
    for listener in there:
        listener.close()


def test_row_110_behind_another(net, tmp):
    """An inbound of this machine's own address, to which strangers are led: by the edge, or by a proxy
    that tells who they are."""
    stream = {"network": "raw", "sockopt": {"acceptProxyProtocol": True}}
    new = {"inbounds": [{"tag": "edge", "listen": rig.SERVER_IP, "port": 1114, "protocol": "edge"},
                        {"tag": "led", "listen": "127.0.0.1", "port": 1115, "protocol": "socks"},
                        {"tag": "told", "listen": "127.0.0.1", "port": 1116, "protocol": "socks",
                         "streamSettings": stream},
                        {"tag": "home", "listen": "127.0.0.1", "port": 1117, "protocol": "socks"}],
           "outbounds": [{"protocol": "freedom"}],
           "edge": {"target": "127.0.0.1:1", "notTls": {"inboundTag": "led"}}}
    told = b"PROXY TCP4 198.51.100.9 192.0.2.1 4321 443\r\n"
    with net.server:
        there = socket.create_server(("127.0.0.1", 8220))
    daemon = rig.Culvert(net.server, tmp, new, "guard-behind", wait=((rig.SERVER_IP, 1114),))
    with rig.running(daemon), there:
        for namespace, address, port, preface, rep in (
                (net.client, rig.SERVER_IP, 1114, b"", 2), (net.server, "127.0.0.1", 1115, b"", 2),
                (net.server, "127.0.0.1", 1116, told, 2), (net.server, "127.0.0.1", 1117, b"", 0)):
            assert reply_to(net, namespace, address, port, "127.0.0.1", preface) == rep, port
