# SPDX-License-Identifier: MIT
"""Restarts that nobody notices: new connections and running downloads across a change of daemon."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pins
import pytest
import rig
import slow_client
from test_vision import address, arguments, relay_of

DOWNLOADS, RATE = 500, 210
TRICKLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trickle.py")


@pytest.fixture
def steering(net, tmp):
    reason = pins.usable()
    if reason:
        pytest.skip(reason)
    steering = pins.Pins(net.server, tmp).load("--user", str(pins.NOBODY))
    yield steering
    steering.close()


def script(namespace, *words, **more):
    return subprocess.Popen([sys.executable, TRICKLE] + [str(word) for word in words],
                            stdout=subprocess.PIPE, text=True, preexec_fn=namespace.enter, **more)


def restart(daemon):
    """culvert restart; the successor's pid."""
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "restart", "--json",
                           "--control", daemon.control_path], capture_output=True, text=True,
                          timeout=90)
    assert done.returncode == 0, done.stderr + daemon.log()[-3000:]
    return json.loads(done.stdout)["pid"]


def alive(pid):
    """Running, and not only waiting for its parent to look."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end(pid, seconds=15):
    os.kill(pid, signal.SIGTERM)
    rig.wait_for(lambda: not alive(pid), seconds, "culvertd %d ends" % pid)


def in_proxy(net, tmp, steering, **more):
    config = rig.socks_only_config(1080, listen=rig.SERVER_IP)
    os.chmod(tmp, 0o777)  # the control socket's directory
    return rig.Culvert(net.server, tmp, config, "proxy", workers=2, loglevel="warning", drain=60,
                       pinDirectory=steering.directory, bpf="require", prefix=pins.UNPRIVILEGED,
                       wait=((rig.SERVER_IP, 1080),), **more)


def take_over_by_hand(daemon):
    """A second culvertd with the same pins and --takeover."""
    log = open(daemon.log_path, "ab")
    second = subprocess.Popen(
        list(pins.UNPRIVILEGED) + [os.path.join(rig.build_dir(), "culvertd"), "-c",
                                   daemon.config_path, "--takeover"],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=daemon.namespace.enter)
    log.close()
    return second


def holder(steering, text="%s:1080" % rig.SERVER_IP):
    return steering.addresses()[text]["pid"]


def test_three_restarts_under_load(net, tmp, steering):
    """500 downloads and 200 connections a second: none cut, none refused."""
    daemon = in_proxy(net, tmp, steering)
    source = script(net.internet, "serve", rig.INTERNET_IP, 9000)
    loads = []
    try:
        assert source.stdout.readline() == "ready\n"
        for downloads, rate in ((DOWNLOADS, 0), (0, RATE)):
            loads.append(script(net.client, "load", rig.SERVER_IP, 1080, rig.INTERNET_IP, 9000,
                                downloads, rate, stdin=subprocess.PIPE))
            assert loads[-1].stdout.readline() == "ready\n"
        time.sleep(1.5)
        first = restart(daemon)
        time.sleep(3)
        second = take_over_by_hand(daemon)
        rig.wait_for(lambda: holder(steering) == second.pid or second.poll() is not None, 20,
                     "the second daemon serves")
        assert second.poll() is None, daemon.log()[-3000:]
        time.sleep(3)
        third = restart(daemon)
        assert holder(steering) == third
        time.sleep(3)
        assert alive(daemon.pid), "the first daemon still has its downloads"
        results = [json.loads(load.communicate("\n", timeout=60)[0]) for load in loads]
        print(results)
        assert [result["failures"] for result in results] == [[], []]
        assert results[0]["downloads"] == DOWNLOADS
        connections, rate = results[1]["connections"], results[1]["rate"]
        assert rate > RATE * 0.75, "a machine too busy to make them"
        # who handed over ends by itself, with status 0
        assert daemon.child.wait(15) == 0
        assert second.wait(15) == 0
        rig.wait_for(lambda: not alive(first), 10, "the first successor ends")
        counted = steering.addresses()["%s:1080" % rig.SERVER_IP]
        assert counted["steered"] >= DOWNLOADS + connections and counted["empty"] == 0
        end(third)
        assert steering.addresses() == {}
    finally:
        daemon.stopped = True
        for child in loads + [source]:
            child.kill()
            child.wait()
    log = daemon.log()
    assert "AddressSanitizer" not in log and "runtime error:" not in log, log[-4000:]


@pytest.mark.parametrize("mutation", ["", "retire-accepts"])
def test_handshake_across_the_swap(net, tmp, steering, monkeypatch, mutation):
    """A SYN answered by the old daemon, its ACK after the addresses changed hands: served."""
    if mutation and os.path.basename(rig.build_dir()) != "asan":
        pytest.skip("rules can be left out of the sanitizer builds only")
    monkeypatch.setenv("CULVERT_MUTATION", mutation)
    daemon = in_proxy(net, tmp, steering)
    slow = slow_client.SlowClient(net.client, net.server, rig.SERVER_IP, 1080)
    try:
        slow.send(slow_client.SYN)
        flags, _ = slow.receive(slow_client.SYN | slow_client.RST)
        assert flags == slow_client.SYN | slow_client.ACK
        new = restart(daemon)
        time.sleep(0.5)
        slow.send(slow_client.ACK)
        slow.send(slow_client.ACK | slow_client.PSH, b"\5\1\0")
        flags, payload = slow.receive(slow_client.RST)
        if mutation:
            assert flags & slow_client.RST, "without the rule the client must be reset"
        else:
            assert payload == b"\5\0"
        assert holder(steering) == new
    finally:
        slow.close()
        assert daemon.child.wait(15) == 0
        daemon.stopped = True
    end(new)


def test_failed_restart_changes_nothing(net, tmp, steering):
    """A configuration that does not load: the old daemon goes on, and the reason is told."""
    daemon = in_proxy(net, tmp, steering)
    with rig.running(daemon):
        with open(daemon.config_path) as file:
            good = file.read()
        for bad, said in ((good.replace('"protocol": "socks"', '"protocol": "socksen"'), "socksen"),
                          ("{", "ends inside"),
                          (good.replace(steering.directory, "/nowhere/at/all"), "nothing is pinned")):
            with open(daemon.config_path, "w") as file:
                file.write(bad)
            done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "restart",
                                   "--control", daemon.control_path], capture_output=True,
                                  text=True, timeout=60)
            assert done.returncode == 1 and said in done.stderr, done.stderr
            assert holder(steering) == daemon.pid
            status, body, error = rig.curl(
                net.client, "--socks5", "%s:1080" % rig.SERVER_IP, "http://%s:1/" % rig.INTERNET_IP)
            assert status == 97, error  # the proxy answers: REP, connection refused
        with open(daemon.config_path, "w") as file:
            file.write(good)
        pid = restart(daemon)
        assert daemon.child.wait(15) == 0
        daemon.stopped = True
        assert holder(steering) == pid
        end(pid)


def test_second_daemon_needs_takeover(net, tmp, steering):
    daemon = in_proxy(net, tmp, steering)
    with rig.running(daemon):
        done = subprocess.run(
            list(pins.UNPRIVILEGED) + [os.path.join(rig.build_dir(), "culvertd"), "-c",
                                       daemon.config_path],
            capture_output=True, text=True, timeout=20, preexec_fn=net.server.enter)
        assert done.returncode == 1
        assert "culvertd %d listens on" % daemon.pid in done.stderr and "--takeover" in done.stderr
        assert holder(steering) == daemon.pid


def test_crash_leaves_the_address_free(net, tmp, steering):
    """After SIGKILL the slots are empty: refused by the kernel, free for the next daemon."""
    daemon = in_proxy(net, tmp, steering)
    daemon.child.kill()
    daemon.child.wait()
    rig.wait_for(lambda: not steering.addresses()["%s:1080" % rig.SERVER_IP]["alive"], 5,
                 "the slots empty themselves")
    assert not rig.accepts(net.client, rig.SERVER_IP, 1080)
    assert steering.addresses()["%s:1080" % rig.SERVER_IP]["empty"] > 0
    # another port's listeners must not get into the slots that the dead daemon's port leads to
    other = rig.Culvert(net.server, tmp, rig.socks_only_config(1088, listen=rig.SERVER_IP),
                        "other", pinDirectory=steering.directory, bpf="require",
                        wait=((rig.SERVER_IP, 1088),))
    with rig.running(other):
        assert rig.accepts(net.client, rig.SERVER_IP, 1088)
        assert not rig.accepts(net.client, rig.SERVER_IP, 1080)
        daemon = in_proxy(net, tmp, steering)
        with rig.running(daemon):
            assert rig.accepts(net.client, rig.SERVER_IP, 1080)
            assert set(steering.addresses()) == {"%s:1080" % rig.SERVER_IP,
                                                 "%s:1088" % rig.SERVER_IP}


def test_reality_download_survives(net, tmp, keys, target, internet, steering):
    """A Vision download in the kernel's hands goes on in the old daemon; the new one serves."""
    os.chmod(tmp, 0o777)
    server = rig.Culvert(net.server, tmp, rig.server_config(
        443, rig.reality_stream(keys.private, target.address)), "server", drain=60,
        pinDirectory=steering.directory, bpf="require", prefix=pins.UNPRIVILEGED,
        wait=((rig.SERVER_IP, 443),))
    client = rig.Culvert(net.client, tmp, rig.client_config(
        1081, 443, rig.reality_client_stream(keys.public)), "client", wait=(("127.0.0.1", 1081),))
    with rig.running(client, server):
        download = rig.curl(net.client, *arguments("tls13", internet),
                            "%s/paced/big" % address("tls13"), background=True)
        rig.wait_for(lambda: relay_of(server) and
                     relay_of(server)["downlink"]["kernel_bytes"] > rig.MIB, 15, "a download runs")
        pid = restart(server)
        status, body, error = rig.curl(net.client, *arguments("tls13", internet),
                                       "%s/small" % address("tls13"))
        assert status == 0 and len(body) == internet.sizes["small"], error
        assert download.poll() is None, "the download was over before the restart"
        body, error = download.communicate(timeout=60)
        assert download.returncode == 0 and len(body) == internet.sizes["big"], error
        client.wait_idle()
        assert server.child.wait(15) == 0
        server.stopped = True
        end(pid)


def test_service_manager_follows(net, tmp, steering, monkeypatch):
    """READY, then MAINPID from the old main process, the only one a manager listens to, and no
    STOPPING."""
    path = os.path.join(tmp, "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        os.chmod(path, 0o777)
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", path)

        def message():
            data, ancillary, _, _ = manager.recvmsg(512, 64)
            return data.decode(), struct.unpack("3i", ancillary[0][2])[0]

        daemon = in_proxy(net, tmp, steering)
        old = daemon.pid
        assert message() == ("READY=1\nMAINPID=%d" % old, old)
        new = restart(daemon)
        assert message() == ("MAINPID=%d" % new, old)
        assert message() == ("READY=1\nMAINPID=%d" % new, new)
        assert daemon.child.wait(15) == 0
        daemon.stopped = True
        os.kill(new, signal.SIGTERM)
        assert message() == ("STOPPING=1", new)
        rig.wait_for(lambda: not alive(new), 10, "the successor ends")
    os.unlink(path)


def test_without_pins_sockets_are_inherited(net, tmp):
    """Bound sockets go to the successor itself: nobody is refused, no download is cut."""
    daemon = rig.Culvert(net.server, tmp, rig.socks_only_config(1080, listen=rig.SERVER_IP),
                         "bound", workers=3, loglevel="warning", drain=60, bpf="off",
                         wait=((rig.SERVER_IP, 1080),))
    source = script(net.internet, "serve", rig.INTERNET_IP, 9000)
    load = None
    try:
        assert source.stdout.readline() == "ready\n"
        load = script(net.client, "load", rig.SERVER_IP, 1080, rig.INTERNET_IP, 9000, 100, RATE,
                      stdin=subprocess.PIPE)
        assert load.stdout.readline() == "ready\n"
        pid = daemon.pid
        for workers in (1, 4):  # fewer and more than there are sockets
            with open(daemon.config_path) as file:
                config = json.load(file)
            config["culvert"]["workers"] = workers
            with open(daemon.config_path, "w") as file:
                json.dump(config, file)
            pid = restart(daemon)
            time.sleep(2.5)
        out, _ = load.communicate("\n", timeout=60)
        result = json.loads(out)
        assert result["failures"] == [] and result["downloads"] == 100
        assert result["connections"] > RATE * 4
        assert daemon.child.wait(15) == 0
        end(pid)
        assert not rig.accepts(net.client, rig.SERVER_IP, 1080)
    finally:
        daemon.stopped = True
        for child in (load, source):
            if child:
                child.kill()
                child.wait()


def test_who_comes_after_it_is_the_successors(net, tmp):
    """Bound sockets are shared with it: the old one, which will cut its own, takes none of them."""
    path = os.path.join(tmp, "shared.sock")
    config = rig.socks_only_config(1080, listen=rig.SERVER_IP)
    config["inbounds"].append(dict(config["inbounds"][0], tag="unix", listen=path))
    del config["inbounds"][-1]["port"]
    daemon = rig.Culvert(net.server, tmp, config, "shared", workers=2, loglevel="warning", drain=60,
                         bpf="off", wait=((rig.SERVER_IP, 1080),))
    clients = []
    try:
        for _ in range(2):
            pid = restart(daemon)
            time.sleep(0.2)
            before = len(daemon.sessions())
            for _ in range(20):
                clients.append(rig.tcp(net.client, rig.SERVER_IP, 1080))
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].connect(path)
            rig.wait_for(lambda: len(daemon.sessions()) == before + 40, 3, "the new one has all")
        while clients:
            clients.pop().close()
        end(pid)
        rig.wait_for(lambda: not rig.accepts(net.client, rig.SERVER_IP, 1080), 10, "all have ended")
    finally:
        daemon.stopped = True
        for client in clients:
            client.close()


def test_bound_then_steered_then_bound(net, tmp, steering):
    """Pins that come, and a configuration that leaves them, change hands as well."""
    daemon = rig.Culvert(net.server, tmp, rig.socks_only_config(1080, listen=rig.SERVER_IP),
                         "both", loglevel="warning", pinDirectory="/nowhere", drain=5,
                         wait=((rig.SERVER_IP, 1080),))
    source = script(net.internet, "serve", rig.INTERNET_IP, 9000)
    load = None
    try:
        assert source.stdout.readline() == "ready\n"
        load = script(net.client, "load", rig.SERVER_IP, 1080, rig.INTERNET_IP, 9000, 1, RATE,
                      stdin=subprocess.PIPE)
        assert load.stdout.readline() == "ready\n"
        for directory in (steering.directory, "/nowhere"):
            with open(daemon.config_path) as file:
                config = json.load(file)
            config["culvert"]["pinDirectory"] = directory
            with open(daemon.config_path, "w") as file:
                json.dump(config, file)
            pid = restart(daemon)
            time.sleep(3)  # the old one accepts for two more seconds
            assert any(entry["alive"] for entry in steering.addresses().values()) == \
                (directory == steering.directory)
            assert not [f for f in os.listdir(tmp) if f.startswith("both") and
                        f.endswith(".sock.%d" % pid)]
        out, _ = load.communicate("\n", timeout=60)
        result = json.loads(out)
        # the one download began in a daemon that has five seconds to end it: it is not looked at
        assert [f for f in result["failures"] if not f.startswith("download")] == []
        end(pid)
    finally:
        daemon.stopped = True
        for child in (load, source):
            if child:
                child.kill()
                child.wait()
