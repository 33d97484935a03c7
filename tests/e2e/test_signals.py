# SPDX-License-Identifier: MIT
"""Stopping: SIGTERM stops accepting and lets transfers finish until the deadline.

Other signals, whoever sends them and how many, end nothing.
"""

import contextlib
import ctypes
import hashlib
import os
import signal
import subprocess
import threading
import time

import pytest
import rig
from downloads import Downloads
from test_faults import STRAIGHT, TUNNEL, start_client, start_server
from test_vision import address, arguments, relay_of


def paced(net, internet):
    return rig.curl(net.client, *arguments("tls13", internet), "%s/paced/big" % address("tls13"),
                    background=True)


def both_relay(*daemons):
    for daemon in daemons:
        rig.wait_for(lambda: relay_of(daemon) and
                     relay_of(daemon)["downlink"]["bytes"] > rig.MIB, 30, "a download runs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drains(net, internet, pair, number):
    """The running download ends whole, new connections are refused, status 0."""
    server, client = pair(drain=60)
    download = paced(net, internet)
    both_relay(client, server)
    for daemon in (client, server):
        daemon.child.send_signal(number)
    rig.wait_for(lambda: not rig.accepts(net.client, "127.0.0.1", 1081), 3, "client stops accepting")
    rig.wait_for(lambda: not rig.accepts(net.client, rig.SERVER_IP, 4443), 3,
                 "server stops accepting")
    assert client.alive() and server.alive()
    body, error = download.communicate(timeout=60)
    assert download.returncode == 0, error
    assert hashlib.sha256(body).hexdigest() == internet.hashes["big"]
    for daemon in (client, server):
        daemon.stopped = True
        assert daemon.child.wait(10) == 0, daemon.log()[-2000:]


def test_cut_at_the_deadline(net, internet, pair):
    server, client = pair(drain=1)
    download = paced(net, internet)
    both_relay(client, server)
    start = time.monotonic()
    server.child.send_signal(signal.SIGTERM)
    server.stopped = True
    assert server.child.wait(10) == 0, server.log()[-2000:]
    assert 0.8 < time.monotonic() - start < 4
    download.communicate(timeout=20)
    assert download.returncode != 0
    client.wait_idle()
    client.stop_clean()


def test_second_signal_cuts_at_once(net, internet, pair):
    server, client = pair(drain=60)
    download = paced(net, internet)
    both_relay(client, server)
    server.child.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert server.alive()
    server.child.send_signal(signal.SIGTERM)
    server.stopped = True
    assert server.child.wait(5) in (0, -signal.SIGTERM), server.log()[-2000:]
    download.communicate(timeout=20)
    assert download.returncode != 0
    client.wait_idle()
    client.stop_clean()


def test_idle_daemon_ends_at_once(net, pair):
    for daemon in pair(drain=60):
        start = time.monotonic()
        daemon.stop_clean()
        assert time.monotonic() - start < 3


def test_half_open_clients_do_not_hold_it(net, keys, pair):
    """Silent connections in every early state end with the drain deadline, not later."""
    server, client = pair(drain=1)
    silent = [rig.tcp(net.client, rig.SERVER_IP, 4443), rig.tcp(net.client, "127.0.0.1", 1081)]
    silent[0].sendall(b"\x16\3\1")
    silent[1].sendall(b"\5")
    rig.wait_for(lambda: server.sessions() and client.sessions(), 3, "sessions")
    for daemon in (server, client):
        daemon.child.send_signal(signal.SIGTERM)
        daemon.stopped = True
    for daemon in (server, client):
        assert daemon.child.wait(6) == 0, daemon.log()[-2000:]


def test_command_line(build):
    """--version and a wrong option."""
    program = build + "/culvertd"
    done = subprocess.run([program, "--nonsense"], capture_output=True, text=True, timeout=10)
    assert done.returncode not in (0, -6, -11) and done.stderr
    done = subprocess.run([build + "/culvert", "version"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0 and "culvert" in done.stdout


TGKILL = {"x86_64": 234}.get(os.uname().machine, 131)
STORM = (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE, signal.SIGSTOP,
         signal.SIGCONT)


class Storm:
    """Signals to every thread of the daemons, again and again; SIGHUP now and then to each."""

    def __init__(self, *daemons):
        self.daemons, self.rounds, self.stopping = daemons, 0, False
        self.libc = ctypes.CDLL(None)
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()

    def _run(self):
        while not self.stopping:
            for daemon in self.daemons:
                with contextlib.suppress(OSError):  # it has ended, as it may have been told to
                    self._round(daemon.pid)
            self.rounds += 1
            time.sleep(0.002)

    def _round(self, pid):
        for thread in os.listdir("/proc/%d/task" % pid):
            for number in STORM:
                self.libc.syscall(TGKILL, pid, int(thread), int(number))
        if self.rounds % 50 == 0:
            os.kill(pid, signal.SIGHUP)


def reloads(daemon):
    return daemon.log().count("configuration read again")


def test_storm(net, tmp, keys, target, internet):
    """Downloads, new ones and long ones, do not notice; then SIGTERM lets the long ones finish."""
    contents = {}
    for name in "small", "medium":
        with open(os.path.join(internet.root, name), "rb") as file:
            contents[name] = file.read()
    server = start_server(net, tmp, keys, target, drain=60)
    client = start_client(net, tmp, keys, drain=60)
    daemons = (server, client)
    with rig.running(*daemons):
        with Downloads(net.client, ("127.0.0.1", TUNNEL), "/small", contents["small"], 3) as many, \
                Downloads(net.client, (rig.SERVER_IP, STRAIGHT), "/small", contents["small"],
                          3) as straight, \
                Storm(*daemons) as storm:
            before = [reloads(daemon) for daemon in daemons]
            rounds = storm.rounds
            for way in many, straight:
                way.wait(lambda: way.whole > 50, "served in a storm")
            rig.wait_for(lambda: storm.rounds > rounds + 500 and all(
                reloads(daemon) > count + 2 for daemon, count in zip(daemons, before)), 30,
                         "the storm")
            for daemon in daemons:
                assert "took_ms" in daemon.ask("reload")
        assert many.cut == straight.cut == 0
        with Downloads(net.client, ("127.0.0.1", TUNNEL), "/paced/medium", contents["medium"],
                       1) as long, Storm(*daemons):
            long.wait(lambda: long.under_way, "a long one")
            for daemon in daemons:
                daemon.stopped = True
                daemon.child.send_signal(signal.SIGTERM)
            long.wait(lambda: long.whole == 1, "the long one is whole")
            for daemon in daemons:
                assert daemon.child.wait(20) == 0, daemon.log()[-2000:]
