# SPDX-License-Identifier: MIT
"""culvert show: every topic, beside daemons that move bytes."""

import contextlib
import fcntl
import json
import os
import pty
import re
import socket
import struct
import subprocess
import termios
import time

import prober
import pytest
import reality_client
import rig
from test_vision import address, arguments

TOPICS = ("sessions", "carriers", "users", "engines", "sni", "backends", "outbounds", "kernel",
          "workers", "reasons")


def show(daemon, *words, status=0):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "show", *words, "--control",
                           daemon if isinstance(daemon, str) else daemon.control_path],
                          capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.returncode == status, "%s: %d\n%s%s" % (words, done.returncode, done.stdout,
                                                        done.stderr)
    return done.stdout if status == 0 else done.stderr


@contextlib.contextmanager
def transfer(net, internet, inner="tls13"):
    """A paced download that goes on meanwhile."""
    running = rig.curl(net.client, *arguments(inner, internet), "--limit-rate", "8M", "-o",
                       "/dev/null", "%s/big" % address(inner), background=True)
    try:
        yield
    finally:
        running.kill()
        running.communicate()


def relaying(daemon, count=1):
    rig.wait_for(lambda: sum(s["state"] == "relay" for s in daemon.sessions()) >= count, 10,
                 "%d sessions relay" % count)


def test_topics(net, internet, pair):
    server, client = pair()
    with transfer(net, internet):
        relaying(server)
        for daemon in (server, client):
            for topic in TOPICS:
                assert json.loads(show(daemon, topic, "--json"))
                assert show(daemon, topic).strip() or topic == "reasons"
    for daemon in (client, server):
        daemon.wait_idle()
        daemon.stop_clean()


def test_rates_and_order(net, internet, pair):
    """curl takes 8 MiB/s: that is what the list says, and the busiest session is its first."""
    server, client = pair()
    with transfer(net, internet), contextlib.closing(rig.tcp(net.client, "127.0.0.1", 1081)):
        relaying(server)
        rig.wait_for(lambda: len(client.sessions()) == 2, 5, "two sessions")
        rates = []
        for _ in range(4):  # curl paces itself in bursts
            listed = json.loads(show(client, "sessions", "--json"))["sessions"]
            rates.append(listed[0]["downlink_bytes_per_s"])
            assert listed[1]["downlink_bytes_per_s"] == 0
        assert 2 << 20 < sum(rates) / len(rates) < 24 << 20, rates
        text = show(client, "sessions", "--limit", "1")
        assert re.search(r"^\(1 more\)$", text, re.M) and re.search(r"\d [kM]B/s", text), text
        users = json.loads(show(server, "users", "--json"))["users"]
        assert any(user["downlink_bytes_per_s"] > 1 << 20 for user in users), users
        one = json.loads(show(server, "sessions", "--user", "vision@test", "--json"))["sessions"]
        none = json.loads(show(server, "sessions", "--user", "nobody", "--json"))["sessions"]
        assert len(one) == 1 and none == []
    server.wait_idle()


def test_one_session(net, internet, pair):
    """Both legs, their layers; handed over: who carries it; not handed over: which layer is why."""
    server, client = pair()
    with transfer(net, internet):
        relaying(server)
        rig.wait_for(lambda: server.sessions()[0]["downlink"]["engine"] == "splice", 10, "spliced")
        name = server.sessions()[0]["id"]
        found = json.loads(show(server, "session", name, "--json"))["sessions"][0]
        assert found["downlink"]["state"].startswith("splice:"), found
        assert found["client_leg"]["local"] == "%s:4443" % rig.SERVER_IP
        assert found["upstream_leg"]["peer"] == "%s:443" % rig.INTERNET_IP
        assert found["client_leg"]["tcp"]["rtt_us"] > 0
        assert "downlink" in show(server, "session", name)
    server.wait_idle()
    with transfer(net, internet, "http"):
        relaying(server)
        rig.wait_for(lambda: server.sessions()[0]["downlink"]["bytes"] > 1 << 20, 10, "bytes")
        found = json.loads(show(server, "session", server.sessions()[0]["id"], "--json"))
        found = found["sessions"][0]
        assert found["downlink"]["state"] == "user space", found
        assert "of the client leg" in found["downlink"]["why_not_faster"], found
        names = [layer["name"] for layer in found["client_leg"]["layers"]]
        assert names and found["upstream_leg"]["layers"] == [], found
    server.wait_idle()
    assert "no session is called 7.7" in show(server, "session", "7.7", status=1)


def test_watch(net, internet, pair):
    server, client = pair()
    with transfer(net, internet):
        relaying(client)
        text = show(client, "engines", "--watch=0.2", "--repeat", "3")
        assert text.count("ENGINE") == 3 and "\033" not in text
        text = show(client, "sessions", "--watch=0.2", "--repeat", "2")
        assert text.count("DESTINATION") == 2 and "\n\nID" in text
        text = show(client, "workers", "--watch", "0.2", "--repeat", "2")
        assert text.count("ACCEPTED") == 2
        text = show(client, "--watch", "0.2", "workers", "--repeat", "2")
        assert text.count("ACCEPTED") == 2
        name = client.sessions()[0]["id"]
        text = show(client, "session", "--repeat", "2", "--watch", name)
        assert len(re.findall(r"^id +%s$" % re.escape(name), text, re.M)) == 2
    server.wait_idle()


def keys_of(value):
    """Every key of an answer; those of reasons are reasons."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys_of(v) for k, v in value.items() if k != "reasons"))


def test_every_key_is_in_the_manual(net, internet, pair):
    path = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "man", "culvert-show.8")
    with open(path) as page:
        words = set(re.findall(r"\w+", page.read()))
    server, client = pair()
    with transfer(net, internet):
        relaying(server)
        found = set()
        for topic in TOPICS:
            found |= keys_of(json.loads(show(server, topic, "--json")))
        name = server.sessions()[0]["id"]
        found |= keys_of(json.loads(show(server, "session", name, "--json")))
        found |= keys_of(json.loads(show(server, "sessions", "--limit", "1", "--json")))
    assert {"rtt_us", "kernel_bytes", "busy_flows_needed", "origin"} <= found
    assert not found - words, found - words


def on_a_terminal(daemon, words, rows, columns, until):
    """What culvert writes to a terminal of that size until(text); then Ctrl-C; its exit status."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def take_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = subprocess.Popen([os.path.join(rig.build_dir(), "culvert"), "show", *words,
                              "--control", daemon.control_path],
                             stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)
    os.close(slave)
    text, deadline = b"", time.monotonic() + 20
    while not until(text):
        assert time.monotonic() < deadline, text
        text += os.read(master, 65536)
    os.write(master, b"\x03")
    try:
        while True:
            block = os.read(master, 65536)
            if not block:
                break
            text += block
    except OSError:  # the other end is closed
        pass
    os.close(master)
    return text.decode(), child.wait(10)


def test_watch_on_a_terminal(net, internet, pair):
    """Redrawn in place, never more than fits; Ctrl-C is a good end."""
    server, client = pair()
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(contextlib.closing(rig.tcp(net.client, "127.0.0.1", 1081)))
        rig.wait_for(lambda: len(client.sessions()) == 30, 5, "thirty sessions")
        text, status = on_a_terminal(client, ("sessions", "--watch", "0.3"), 12, 40,
                                     lambda seen: seen.count(b"\033[H") >= 3)
    assert status == 0 and "^C" in text, text
    screens = text.split("\033[H")[1:-1]
    for screen in screens:
        lines = screen.replace("\033[K", "").replace("\033[J", "").split("\r\n")
        assert len(lines) == 12, screen
        assert max(map(len, lines)) == 40 and lines[0].startswith("ID"), screen
        assert lines[11] == "(20 more)", screen
    client.wait_idle()


def test_order(net, internet, pair):
    server, client = pair()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(contextlib.closing(rig.tcp(net.client, "127.0.0.1", 1081)))
            time.sleep(0.1)
        rig.wait_for(lambda: len(client.sessions()) == 3, 5, "three sessions")
        listed = json.loads(show(client, "sessions", "--sort", "age", "--json", "--limit", "2"))
        ids = [s["id"] for s in listed["sessions"]]
        oldest = sorted(s["id"] for s in client.sessions())[:2]
        assert ids == oldest and listed["left_out"] == 1
    client.wait_idle()


def test_engines_add_up(net, internet, pair):
    server, client = pair()
    with transfer(net, internet):
        relaying(server)
        rig.wait_for(lambda: server.sessions()[0]["downlink"]["engine"] == "splice", 10, "spliced")
        found = {e["engine"]: e for e in json.loads(show(server, "engines", "--json"))["engines"]}
        assert found["splice"]["downlink_flows"] == 1 and found["splice"]["downlink_bytes"] > 0
        flows = sum(e["uplink_flows"] + e["downlink_flows"] for e in found.values())
        assert flows == 2 * len(server.sessions())
    server.wait_idle()


@pytest.mark.parametrize("words", [(), ("sessions", "x"), ("session",), ("nonsense",),
                                   ("sessions", "--watch=0"), ("sessions", "--watch", "0"),
                                   ("sessions", "--watch", "1", "2"), ("sessions", "--sort", "x"),
                                   ("sessions", "--user", ""), ("sessions", "--user", "a\nkick b"),
                                   ("sessions", "--limit", "x"),
                                   ("users", "--user", "x")])
def test_usage(words):
    assert "usage:" in show("/nonexistent", *words, status=2)


def test_no_daemon(tmp_path):
    error = show(str(tmp_path / "none.sock"), "sessions", status=1)
    assert "none.sock" in error and "running" in error


def test_a_slow_reader_holds_nobody(net, internet, pair):
    """Clients that say nothing, or do not take their answer, keep nobody from theirs."""
    server, client = pair()
    with contextlib.ExitStack() as stack:
        for n in range(40):
            idler = stack.enter_context(socket.socket(socket.AF_UNIX))
            idler.connect(server.control_path)
            if n % 2:
                idler.sendall(b"kernel\n")
        start = time.monotonic()
        for _ in range(5):
            assert json.loads(show(server, "workers", "--json"))
        assert time.monotonic() - start < 1.5
    server.stop_clean()


def test_only_whole_commands_are_run(net, internet, pair):
    """A client that dies within its line, or never ends it, changes nothing."""
    server, client = pair()
    with transfer(net, internet):
        relaying(server)
        with socket.socket(socket.AF_UNIX) as half:
            half.connect(server.control_path)
            half.sendall(b"kick vision@test")
            half.shutdown(socket.SHUT_WR)
            assert half.recv(1000) == b""
        assert "too long" in server.ask("kick " + "x" * 600)["error"]
        assert "expected one of" in server.ask("nonsense")["error"]
        assert "expected one of" in server.ask("users x")["error"]
        assert len(server.sessions()) == 1
    server.wait_idle()


def test_more_clients_than_slots(net, internet, pair):
    """More connections than the daemon holds at a time: all get their answers."""
    server, client = pair()
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(100):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.connect(server.control_path)
            one.settimeout(10)
            one.sendall(b"workers\n")
            waiting.append(one)
        for one in waiting:
            assert one.recv(100).startswith(b'{"workers"')


def test_classes_of_names(net, tmp, keys, target):
    """What passes and what is dropped, with and without the kernel's help."""
    for bpf in ("auto", "off"):
        config = rig.server_config(4445, rig.reality_stream(keys.private, target.address))
        config["edge"] = {"notTls": "drop", "routes": [
            {"names": ["bad.test", "*.bad.test"], "to": "drop", "class": "unwanted"},
            {"names": ["good.test"], "to": "pass"}]}
        daemon = rig.Culvert(net.server, tmp, config, "edge", bpf=bpf, wait=((rig.SERVER_IP, 4445),))
        with rig.running(daemon), contextlib.ExitStack() as stack:
            before = classes_of(daemon)
            assert before["unwanted"]["names"] == 2 and before["unwanted"]["action"] == "drop"
            assert before["good.test"]["action"] == "pass"
            assert before["(not TLS)"]["action"] == "drop"
            for name in ("good.test", "x.bad.test", "x.bad.test", "elsewhere.test"):
                one = stack.enter_context(rig.tcp(net.client, rig.SERVER_IP, 4445))
                one.sendall(prober.hello_record(reality_client.Hello(sni=name).message()))
            rig.wait_for(lambda: classes_of(daemon)["good.test"]["downlink_bytes"] > 0 and
                         classes_of(daemon)["(other)"]["sessions_total"] == 1, 5,
                         "classes counted: %s" % classes_of(daemon))
            now = classes_of(daemon)
            assert now["good.test"]["sessions"] == now["good.test"]["sessions_total"] == 1
            assert {s["sni_class"] for s in daemon.sessions()} >= {"good.test", "(other)"}
            in_kernel = daemon.ask("sni")["in_kernel"]
            grown = now["unwanted"]["kernel_connections"] - before["unwanted"]["kernel_connections"]
            assert grown == (2 if in_kernel else 0), now
            assert in_kernel or bpf == "off" or os.geteuid() != 0
            assert re.search(r"^\d+ +unwanted +drop +2 ", show(daemon, "sni"), re.M)
            stack.close()
            rig.close_all()
            rig.wait_for(lambda: classes_of(daemon)["unwanted"]["sessions_total"] == 2, 15,
                         "dropped ones are counted when they end")


def classes_of(daemon):
    return {entry["class"]: entry for entry in daemon.ask("sni")["classes"]}


def culvert_kick(daemon, user, status=0):
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "kick", user, "--control",
                           daemon.control_path], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_kick(net, internet, pair):
    """By name, case aside; the download ends at once, others stay, a second kick finds nobody."""
    server, client = pair()
    with transfer(net, internet), transfer(net, internet):
        relaying(server, 2)
        assert "no user is called nobody@test" in culvert_kick(server, "nobody@test", status=1)
        assert len(server.sessions()) == 2
        assert "2 sessions of Vision@test ended" in culvert_kick(server, "Vision@test")
        server.wait_idle(20)
        client.wait_idle(20)
        assert server.reason_count("policy_kicked") == 2
    assert "0 sessions" in culvert_kick(server, "vision@test", status=1)


def test_more_sessions_than_a_worker_shows_at_once(net, tmp, internet):
    """500 sessions of two users: each listed once, and only whom the operator means is ended, while
    the list that is walked through gets shorter."""
    config = rig.socks_only_config(1085, {"alice": "a", "bob": "b"})
    daemon = rig.Culvert(net.server, tmp, config, "many", wait=(("127.0.0.1", 1085),))
    with rig.running(daemon), contextlib.ExitStack() as stack:
        for n in range(500):
            one = stack.enter_context(rig.tcp(net.server, "127.0.0.1", 1085))
            who = ("alice", "a") if n % 5 else ("bob", "b")
            assert rig.socks_handshake(one, rig.INTERNET_IP, 80, who) == 0
        rig.wait_for(lambda: len(daemon.sessions()) == 500, 5, "500 sessions")
        assert len({s["id"] for s in daemon.sessions()}) == 500
        assert len(daemon.ask("sessions BOB")["sessions"]) == 100
        start = time.monotonic()
        assert len(daemon.sessions()) == 500
        assert time.monotonic() - start < 1
        assert "400 sessions of alice ended" in culvert_kick(daemon, "alice")
        rig.wait_for(lambda: len(daemon.sessions()) == 100, 5, "bob's stay")
        assert {s["user"] for s in daemon.sessions()} == {"bob"}
        assert "100 sessions of bob ended" in culvert_kick(daemon, "bob")
        daemon.wait_idle()


def test_users_show_their_limits(net, tmp, keys, target):
    config = rig.server_config(4444, rig.reality_stream(keys.private, target.address))
    config["inbounds"][0]["settings"]["clients"][0].update(
        quotaBytes=10 ** 9, expiresAt="2099-12-31T18:00:00+02:00", maxSessions=7)
    daemon = rig.Culvert(net.server, tmp, config, "limited", wait=((rig.SERVER_IP, 4444),))
    with rig.running(daemon):
        users = json.loads(show(daemon, "users", "--json"))["users"]
        assert users[0]["limits"] == {
            "used_bytes": 0, "quota_bytes": 10 ** 9, "left_bytes": 10 ** 9,
            "quota_resets": "never", "expires": "2099-12-31T16:00:00Z", "max_sessions": 7,
            "sessions": 0}
        assert users[0]["state"] == "ok" and "limits" not in users[1]
        text = show(daemon, "users")
        assert re.search(r"0 of 7 .* 953.7 MiB of 953.7 MiB .* 2099-12-31 16:00$", text, re.M), text



def test_sni(net, tmp, keys, target):
    """A class for each route and target, and what the kernel decided where it does."""
    edge = {"routes": [{"names": ["bad.test"], "to": "drop", "class": "bad"}]}
    config = rig.server_config(4445, rig.reality_stream(keys.private, target.address), edge=edge)
    daemon = rig.Culvert(net.server, tmp, config, "sni", wait=((rig.SERVER_IP, 4445),))
    with rig.running(daemon):
        connections = [rig.tcp(net.client, rig.SERVER_IP, 4445) for _ in range(2)]
        for connection, name in zip(connections, ("bad.test", rig.SITE)):
            connection.sendall(prober.hello_record(reality_client.Hello(sni=name).message()))
        assert connections[1].recv(1)  # the target's answer
        answer = json.loads(show(daemon, "sni", "--json"))
        found = {entry["class"]: entry for entry in answer["classes"]}
        site = next(entry for name, entry in found.items() if target.address in name)
        assert site["sessions"] == 1 and site["downlink_bytes"] > 0, found
        assert {"(undecided)", "(not TLS)", "(no name)", "(other)"} < set(found)
        assert answer["in_kernel"] == (answer["why_not_in_kernel"] == "")
        if answer["in_kernel"]:
            assert found["bad"]["kernel_connections"] == site["kernel_connections"] == 1, found
            assert found["bad"]["kernel_dropped_segments"] >= 1, found
        assert re.search(r"^ *%d +bad " % found["bad"]["number"], show(daemon, "sni"), re.M)
        for connection in connections:
            connection.close()


def test_parts_of_use(net, tmp):
    """A BPF part costs CPU and memory: without pins only those are loaded that the configuration uses."""
    if net.server.pins:
        pytest.skip("with pins all are there")
    of_no_use = "not loaded: the configuration has no use for it"
    socks = {"listen": rig.SERVER_IP, "port": 4446, "protocol": "socks"}
    edge = {"tag": "edge", "listen": rig.SERVER_IP, "port": 4447, "protocol": "edge"}
    backend = "%s:80" % rig.INTERNET_IP
    names = {"inboundTag": ["edge"], "target": backend, "routes": [{"names": ["bad.test"], "to": "drop"}]}
    for engine, more in (("auto", {"inbounds": [socks]}),
                         ("splice", {"inbounds": [socks, edge], "edge": names})):
        config = dict({"outbounds": [{"protocol": "freedom"}]}, **more)
        daemon = rig.Culvert(net.server, tmp, config, "parts", engine=engine, drain=0,
                             wait=((rig.SERVER_IP, 4446),))
        with rig.running(daemon):
            shown = json.loads(show(daemon, "kernel", "--json"))["kernel"]["bpf"]
        assert (shown["relay"] == of_no_use) == (engine == "splice"), (engine, shown)
        assert (shown["classify"] == of_no_use) == ("edge" not in more), (engine, shown)
        assert shown["steer"].startswith("nothing is pinned in "), shown
