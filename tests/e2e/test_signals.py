# SPDX-License-Identifier: MIT
"""Stopping: SIGTERM stops accepting and lets transfers finish until the deadline."""

import hashlib
import signal
import subprocess
import time

import pytest
import rig
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
