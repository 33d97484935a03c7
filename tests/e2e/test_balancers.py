# SPDX-License-Identifier: MIT
"""Balancers over three real proxies, each with an address of its own; the observatory's probes.

    client -> culvertd -> microsocks 10.77.2.11 | dante 10.77.2.12 | tinyproxy 10.77.2.13 -> who

The server behind them says from which address it is reached.
"""

import collections
import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import threading
import time

import pytest
import rig
from test_upstreams import FREEDOM, dante_config, program, written

PORT, WHO = 1161, 8251
SOCKS_IP, DANTE_IP, TINY_IP = "10.77.2.11", "10.77.2.12", "10.77.2.13"
PORTS = {SOCKS_IP: 3031, DANTE_IP: 3032, TINY_IP: 3033}
TAGS = {SOCKS_IP: "up-a", DANTE_IP: "up-b", TINY_IP: "up-c"}
URL = "http://%s:%d/probe" % (rig.INTERNET_IP, WHO)


@pytest.fixture(scope="module", autouse=True)
def who(net):
    """HTTP: answers GET with the address it is reached from."""
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + self.client_address[0].encode())

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        request_queue_size = 128

    device = net.internet.links[net.server.name]
    for address in PORTS:
        net.internet.ip("addr", "add", address + "/24", "dev", device)
    with net.internet:
        server = Server((rig.INTERNET_IP, WHO), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


def listens(net, address):
    return rig.accepts(net.internet, address, PORTS[address])


class Peers:
    """The three proxies; each can be stopped, started, and made slow."""

    def __init__(self, net, tmp):
        self.net, self.tmp, self.running = net, tmp, {}
        commands = {
            SOCKS_IP: ["microsocks", "-i", SOCKS_IP, "-p", str(PORTS[SOCKS_IP]), "-b", SOCKS_IP],
            DANTE_IP: ["danted", "-f", dante_config(
                tmp, "balanced-danted.conf", DANTE_IP, PORTS[DANTE_IP], DANTE_IP)],
            TINY_IP: ["tinyproxy", "-d", "-c", written(tmp, "balanced-tinyproxy.conf", """
Port %d
Listen %s
Bind %s
Timeout 60
Allow 0.0.0.0/0
""" % (PORTS[TINY_IP], TINY_IP, TINY_IP))]}
        if not rig.find_program("danted"):  # Debian 13 has none
            commands[DANTE_IP] = ["microsocks", "-i", DANTE_IP, "-p", str(PORTS[DANTE_IP]),
                                  "-b", DANTE_IP]
        self.commands = {address: [program(command[0])] + command[1:]
                         for address, command in commands.items()}

    def start(self, *addresses):
        for address in addresses or PORTS:
            self.running[address] = rig.Process(
                self.net.internet, self.commands[address],
                os.path.join(self.tmp, "balanced-%s.log" % address), start_new_session=True)
        for address in addresses or PORTS:
            rig.wait_for(lambda: listens(self.net, address), 20, "%s listens; log:\n%s" % (
                address, self.running[address].log()))

    def stop(self, *addresses):
        for address in addresses or list(self.running):
            process = self.running.pop(address)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # dante has children
            process.child.wait()
            rig.wait_for(lambda: not listens(self.net, address), 10, "%s is gone" % address)


@pytest.fixture
def peers(net, tmp):
    made = Peers(net, tmp)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def outbounds(retry=None):
    retry = retry or {"maxAttempts": 1, "backoffMs": [200], "connectMs": 2000}
    return [{"tag": TAGS[address], "protocol": "http" if address == TINY_IP else "socks",
             "settings": {"address": address, "port": PORTS[address], "fallback": "block",
                          "retry": retry}} for address in PORTS]


def config(strategy, fallback=None, observed=None, interval="1s", **more):
    balancer = {"tag": "all", "selector": ["up-"], "strategy": {"type": strategy}}
    if fallback:
        balancer["fallbackTag"] = fallback
    made = rig.socks_only_config(PORT, listen=rig.SERVER_IP)
    made["outbounds"] = [{"tag": "default", "protocol": "blackhole"}] + outbounds() + [FREEDOM]
    made["routing"] = {"balancers": [balancer],
                       "rules": [{"network": "tcp", "balancerTag": "all"}]}
    if observed:
        made["observatory"] = {"subjectSelector": observed, "probeUrl": URL,
                               "probeInterval": interval}
    return dict(made, **more)


@contextlib.contextmanager
def culvert(net, tmp, made, workers=1):
    daemon = rig.Culvert(net.server, tmp, made, "balancer", wait=((rig.SERVER_IP, PORT),),
                         workers=workers)
    with rig.running(daemon):
        rig.wait_for(lambda: os.path.exists(daemon.control_path), 20, "the control socket")
        yield daemon


def way(net):
    """The address the server was reached from, "" if it was not."""
    connection = rig.tcp(net.client, rig.SERVER_IP, PORT, timeout=20)
    try:
        if rig.socks_handshake(connection, rig.INTERNET_IP, WHO) != 0:
            return ""
        connection.sendall(b"GET /who HTTP/1.0\r\n\r\n")
        text, _ = rig.read_all(connection, 20)
    finally:
        connection.close()
    return text.rpartition(b"\r\n")[2].decode()


def ways(net, count):
    return collections.Counter(way(net) for _ in range(count))


def shown(daemon):
    answer = daemon.ask("outbounds")
    return {o["outbound"]: o for o in answer["outbounds"]}, answer["balancers"][0]


def probed(daemon, state=None, tags=tuple(TAGS.values())):
    """Until every one of tags was probed, and is in that state."""
    rig.wait_for(lambda: all(shown(daemon)[0][tag]["probes_total"] and
                             (not state or shown(daemon)[0][tag]["state"] == state)
                             for tag in tags), 20, "probes (%s)" % state)


def test_round_robin(net, tmp, peers):
    with culvert(net, tmp, config("roundRobin")) as daemon:
        assert ways(net, 30) == {address: 10 for address in PORTS}
        found, balancer = shown(daemon)
        assert [found[tag]["sessions_total"] for tag in TAGS.values()] == [10, 10, 10]
        assert balancer["strategy"] == "roundRobin" and balancer["picks_total"] == 30
        assert sorted(balancer["outbounds"]) == sorted(TAGS.values())


def test_random(net, tmp, peers):
    with culvert(net, tmp, config("random"), workers=2):
        found = ways(net, 60)
        assert set(found) == set(PORTS) and min(found.values()) >= 6, found


def test_one_dies_and_comes_back(net, tmp, peers):
    """Nobody notices: whoever meets the dead one goes on with another, and the next ones avoid it."""
    with culvert(net, tmp, config("roundRobin", observed=["up-"])) as daemon:
        probed(daemon, "in use")
        for address in PORTS:
            peers.stop(address)
            left = set(PORTS) - {address}
            assert set(ways(net, 12)) == left
            probed(daemon, "dead", [TAGS[address]])
            before = shown(daemon)[0][TAGS[address]]["sessions_total"]
            found = ways(net, 12)
            assert set(found) == left and min(found.values()) >= 3, found
            assert shown(daemon)[0][TAGS[address]]["sessions_total"] == before
            peers.start(address)
            probed(daemon, "in use", [TAGS[address]])
            assert set(ways(net, 12)) == set(PORTS)


def test_passive_health_alone(net, tmp, peers):
    """Without probes the sessions themselves find out; of twelve, one or two meet the dead one."""
    peers.stop(DANTE_IP)
    with culvert(net, tmp, config("roundRobin")) as daemon:
        assert set(ways(net, 12)) == {SOCKS_IP, TINY_IP}
        found = shown(daemon)[0]["up-b"]
        assert 1 <= found["failures_total"] <= 2 and found["state"] == "held down", found


def test_all_dead(net, tmp, peers):
    """The outbound called fallbackTag; without one a try at any of them; a blackhole blocks."""
    peers.stop()
    with culvert(net, tmp, config("random", fallback="direct", observed=["up-"])) as daemon:
        assert ways(net, 3) == {rig.SERVER_INNER_IP: 3}  # before a probe has told
        probed(daemon, "dead")
        assert ways(net, 6) == {rig.SERVER_INNER_IP: 6}
        assert shown(daemon)[1]["fallbacks_total"] >= 9
        peers.start(TINY_IP)
        probed(daemon, "in use", ["up-c"])
        assert ways(net, 6) == {TINY_IP: 6}
        peers.stop(TINY_IP)
    with culvert(net, tmp, config("random")):
        assert ways(net, 3) == {"": 3}


class Detour:
    """A port in front of a proxy that holds every block back for a while."""

    def __init__(self, net, address, delay):
        with net.internet:
            self.listener = socket.create_server((address, PORTS[address] + 100), backlog=64)
        self.net, self.address, self.delay = net, address, delay
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with self.net.internet:
                    onward = socket.create_connection((self.address, PORTS[self.address]))
                for pair in ((connection, onward), (onward, connection)):
                    threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                time.sleep(self.delay)
                sink.sendall(block)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_least_ping(net, tmp, peers):
    made = config("leastPing", observed=["up-"])
    for outbound in made["outbounds"]:
        if outbound["tag"] in ("up-a", "up-c"):
            outbound["settings"]["port"] += 100
    detours = [Detour(net, address, 0.06) for address in (SOCKS_IP, TINY_IP)]
    with culvert(net, tmp, made) as daemon:
        probed(daemon, "in use")
        found = shown(daemon)[0]
        assert found["up-a"]["delay_us"] > 100000 > found["up-b"]["delay_us"], found
        assert ways(net, 8) == {DANTE_IP: 8}
        peers.stop(DANTE_IP)  # the fast one: a slow one is better than none
        assert set(ways(net, 4)) <= {SOCKS_IP, TINY_IP}
    for detour in detours:
        detour.close()


def test_reload_keeps_what_is_known(net, tmp, peers):
    peers.stop(SOCKS_IP)
    made = config("roundRobin", observed=["up-"], interval="1h")
    with culvert(net, tmp, made) as daemon:
        probed(daemon)
        before = shown(daemon)[0]
        assert before["up-a"]["state"] == "dead" and before["up-b"]["state"] == "in use"
        with open(daemon.config_path) as file:
            new = json.load(file)
        new["routing"]["balancers"][0]["strategy"]["type"] = "random"
        with open(daemon.config_path, "w") as file:
            json.dump(new, file)
        os.kill(daemon.pid, signal.SIGHUP)
        rig.wait_for(lambda: shown(daemon)[1]["strategy"] == "random", 10, "the reload")
        after = shown(daemon)[0]
        for tag in TAGS.values():
            for key in ("state", "delay_us", "probes_total"):
                assert after[tag][key] == before[tag][key], (tag, key)
        assert set(ways(net, 12)) == {DANTE_IP, TINY_IP}


def test_probes_of_every_kind(net, tmp, keys, target, peers):
    """Directly, through a proxy, through REALITY; a page that is not there is no sign of life."""
    server = rig.Culvert(net.internet, tmp, rig.server_config(
        4491, rig.reality_stream(keys.private, target.address), listen=rig.INTERNET_IP), "probed",
        wait=((rig.INTERNET_IP, 4491),))
    stream = rig.reality_client_stream(keys.public)
    vless = rig.client_config(1, 4491, stream, server=rig.INTERNET_IP)["outbounds"][0]
    wrong = rig.client_config(1, 4491, rig.reality_client_stream(rig.keys()[1]),
                              server=rig.INTERNET_IP)["outbounds"][0]
    made = config("random", observed=["up-", "direct", "vless", "wrong"])
    made["outbounds"] += [dict(vless, tag="vless"), dict(wrong, tag="wrong")]
    with rig.running(server), culvert(net, tmp, made) as daemon:
        probed(daemon, "in use", ["up-a", "up-b", "up-c", "direct", "vless"])
        probed(daemon, "dead", ["wrong"])
        assert not [s for s in daemon.sessions() if s["inbound"] not in ("socks", "observatory")]
    made["observatory"]["probeUrl"] = "http://%s:1/" % rig.INTERNET_IP
    with culvert(net, tmp, made) as daemon:
        probed(daemon, "dead", ["up-a", "up-b", "up-c", "direct"])


@pytest.mark.parametrize("change, says", [
    ({"strategy": {"type": "leastLoad"}}, '"leastLoad" is not supported'),
    ({"strategy": {"type": "fastest"}}, "expected one of random, roundRobin, leastPing"),
    ({"strategy": {"type": "leastPing"}}, "leastPing needs an observatory"),
    ({"selector": ["nobody"]}, "expected 1 to 256 outbounds"),
    ({"fallbackTag": "nobody"}, 'fallbackTag: no outbound is called "nobody"'),
    ({"tag": "other"}, 'balancerTag: no balancer is called "all"'),
])
def test_refused(tmp, change, says):
    made = config("random")
    made["routing"]["balancers"][0].update(change)
    path = written(tmp, "balancer-refused.json", json.dumps(made))
    done = subprocess.run([os.path.join(rig.build_dir(), "culvertd"), "-t", "-c", path],
                          capture_output=True, text=True)
    assert done.returncode == 2 and says in done.stderr, done.stderr
