# SPDX-License-Identifier: MIT
"""Another configuration in a process that goes on: SIGHUP, `culvert reload`."""

import json
import os
import signal
import subprocess

import pytest
import reality_client
import rig

PORT = 1094
SOCKS = "socks5h://%s:secret@" + rig.SERVER_IP + ":%d" % PORT


def config(people=("alice", "bob"), port=PORT, outbound=None, **limits):
    accounts = [dict({"user": name, "pass": "secret"},
                     **limits.get(name, {})) for name in people]
    return {"inbounds": [{"tag": "socks", "listen": rig.SERVER_IP, "port": port,
                          "protocol": "socks",
                          "settings": {"auth": "password", "accounts": accounts}}],
            "outbounds": [outbound or {"tag": "direct", "protocol": "freedom",
                                       "settings": {"finalRules": [{"action": "allow"}]}}]}


@pytest.fixture
def daemon(net, tmp):
    one = rig.Culvert(net.server, tmp, config(), "reload", wait=((rig.SERVER_IP, PORT),),
                      workers=2, stateDirectory="")
    yield one
    if not one.stopped:
        one.stop_clean()


def write(daemon, new):
    """The file is replaced as an editor does it; what rig added to it stays."""
    with open(daemon.config_path) as file:
        old = json.load(file)
    text = json.dumps(dict(old, **new), indent=1) if isinstance(new, dict) else new
    with open(daemon.config_path + ".new", "w") as file:
        file.write(text)
    os.rename(daemon.config_path + ".new", daemon.config_path)


def reload(daemon, new):
    write(daemon, new)
    return subprocess.run([os.path.join(rig.build_dir(), "culvert"), "reload", "--control",
                           daemon.control_path], capture_output=True, text=True, timeout=70)


def curl(net, person, *more, path="/small"):
    return rig.curl(net.client, "-o", "/dev/null", "-w", "%{size_download}", "-x", SOCKS % person,
                    *more, "http://%s%s" % (rig.INTERNET_IP, path), background=True)


def fetch(net, person, internet, path="/small"):
    child = curl(net, person, path=path)
    text, complaint = (part.decode() for part in child.communicate())
    return child.returncode == 0 and text == str(internet.sizes[path[1:]]), text + complaint


def relaying(daemon, person):
    return [s for s in daemon.sessions() if s["user"].startswith(person) and s["state"] == "relay"]


def test_row_022_reload_drops_nobody(net, internet, daemon):
    pid = daemon.pid
    alice = curl(net, "alice", "--limit-rate", "1500k", path="/medium")
    bob = curl(net, "bob", "--limit-rate", "3m", path="/big")
    rig.wait_for(lambda: relaying(daemon, "alice") and relaying(daemon, "bob"), 10, "both download")
    done = reload(daemon, config(("alice", "carol")))
    assert done.returncode == 0 and "read again" in done.stdout, done.stderr
    assert fetch(net, "carol", internet)[0], "the new user is let in at once"
    assert not fetch(net, "bob", internet)[0], "the removed one is not"
    assert bob.wait(5) != 0, "its session ends at once"
    bob.communicate()
    assert alice.communicate()[0].decode() == str(internet.sizes["medium"]) and \
        alice.returncode == 0, "the others do not notice"
    assert daemon.pid == pid and daemon.alive()
    assert daemon.reason_count("user_disabled") >= 1
    rig.wait_for(lambda: not daemon.sessions(), 10, "sessions end")


def test_sighup(net, internet, daemon):
    write(daemon, config(("dora",)))
    os.kill(daemon.pid, signal.SIGHUP)
    rig.wait_for(lambda: "configuration read again" in daemon.log(), 10, "said in the log")
    assert fetch(net, "dora", internet)[0] and not fetch(net, "alice", internet)[0]


def test_counts_go_on(net, internet, daemon):
    """Also those of a session that began before: its bytes are the user's under the new one, too."""
    def moved():
        return {u["name"]: u["downlink_bytes"] for u in daemon.ask("users")["users"]}["alice"]

    assert fetch(net, "alice", internet)[0]
    size = internet.sizes["small"]
    live = curl(net, "alice", "--limit-rate", "2m", path="/medium")
    rig.wait_for(lambda: relaying(daemon, "alice"), 10, "downloads")
    before = moved()
    assert before >= size
    for _ in range(3):
        assert reload(daemon, config()).returncode == 0
    assert moved() >= before
    assert live.communicate()[0].decode() == str(internet.sizes["medium"])
    rig.wait_for(lambda: moved() >= size + internet.sizes["medium"], 5, "all of it is counted")
    rig.wait_for(lambda: not daemon.sessions(), 10, "sessions end")


def test_new_quota_holds_for_a_live_session(net, internet, daemon):
    """Also for one whose user had no limit at all when it began."""
    live = curl(net, "alice", "--limit-rate", "3m", path="/big")
    rig.wait_for(lambda: relaying(daemon, "alice"), 10, "downloads")
    assert reload(daemon, config(alice={"quotaBytes": 65536})).returncode == 0
    assert live.wait(10) != 0, "cut by the quota that is new"
    live.communicate()
    assert not fetch(net, "alice", internet)[0]
    assert reload(daemon, config(alice={"quotaBytes": 1 << 40})).returncode == 0
    assert fetch(net, "alice", internet)[0], "more quota lets in again"


@pytest.mark.parametrize("what, new, says", [
    ("not JSON", "{", ".json:1:"),
    ("a bad value", dict(config(), outbounds=[{"protocol": "nonsense"}]), "outbounds[0].protocol"),
    ("another port", config(port=PORT + 1), "culvert restart"),
    ("an inbound more", dict(config(), inbounds=config()["inbounds"] +
                             config(port=PORT + 1)["inbounds"][:0] + [
                                 {"tag": "more", "listen": rig.SERVER_IP, "port": PORT + 1,
                                  "protocol": "socks"}]), "culvert restart"),
    ("another engine", dict(config(), culvert={"engine": "copy"}), "culvert"),
])
def test_nothing_is_half_applied(net, internet, daemon, what, new, says):
    done = reload(daemon, new)
    assert done.returncode == 1 and says in done.stderr, done.stdout + done.stderr
    assert fetch(net, "alice", internet)[0] and fetch(net, "bob", internet)[0], what
    assert "the old one goes on" in daemon.log()


def test_routing_is_new(net, internet, daemon):
    assert fetch(net, "alice", internet)[0]
    assert reload(daemon, config(outbound={"tag": "no", "protocol": "blackhole"})).returncode == 0
    assert not fetch(net, "alice", internet)[0]
    assert reload(daemon, config()).returncode == 0
    assert fetch(net, "alice", internet)[0]


def test_old_configurations_do_not_pile_up(net, internet, daemon):
    """500 people, 60 reloads, sessions in between: memory stays where it was after the first ten."""
    people = ["alice"] + ["user%d" % i for i in range(500)]
    after_ten = 0
    for number in range(60):
        assert reload(daemon, config(people)).returncode == 0
        if number % 10 == 0:
            assert fetch(net, "alice", internet)[0]
        if number == 10:
            daemon.wait_idle()
            after_ten = daemon.resident_bytes()
    daemon.wait_idle()
    if daemon.sanitized():
        return  # a sanitizer keeps freed memory on purpose; that nothing leaks it says itself
    rig.wait_for(lambda: daemon.resident_bytes() < after_ten + 6 * rig.MIB, 10,
                 "%d bytes, %d after ten" % (daemon.resident_bytes(), after_ten))


def test_replays_are_remembered(net, tmp, keys, target, internet):
    new = rig.server_config(4461, rig.reality_stream(keys.private, target.address))
    daemon = rig.Culvert(net.server, tmp, new, "reload", wait=((rig.SERVER_IP, 4461),))
    with rig.running(daemon):
        hello = reality_client.Hello(alpn=("http/1.1",)).seal(
            reality_client.decode_key(keys.public), rig.SHORT_ID)

        def genuine():
            tls = reality_client.Client(rig.tcp(net.client, rig.SERVER_IP, 4461), hello)
            tls.send_hello()
            tls.read_flight()
            tls.connection.close()
            return tls.genuine

        assert genuine() and not genuine()
        done = reload(daemon, new)
        assert done.returncode == 0, done.stderr
        assert not genuine(), "a hello of before the reload is a replay after it"
        assert "learning" not in daemon.log().split("read again")[-1]
