# SPDX-License-Identifier: MIT
"""Steering: which address leads to which inbound and worker, and what is seen of it."""

import json
import re
import socket
import subprocess

import pins
import pytest
import rig

WORKERS = 4


@pytest.fixture
def steered(net, tmp):
    """start(inbounds) -> culvertd in the server's namespace; inbounds: {tag: (listen, port)}."""
    reason = pins.usable()
    if reason:
        pytest.skip(reason)
    steering = pins.Pins(net.server, tmp).load()
    daemons = []
    subprocess.run(["ip", "-n", net.server.name, "addr", "add", "fd77::1/128", "dev", "lo"],
                   check=True)

    def start(inbounds):
        config = rig.socks_only_config(1)
        socks = config["inbounds"][0]
        config["inbounds"] = [dict(socks, tag=tag, listen=listen, port=port)
                              for tag, (listen, port) in inbounds.items()]
        daemons.append(rig.Culvert(net.server, tmp, config, bpf="require", workers=WORKERS,
                                   pinDirectory=steering.directory,
                                   wait=((rig.SERVER_IP, 1),)))
        daemons[-1].steering = steering
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.stop_clean()
    subprocess.run(["ip", "-n", net.server.name, "addr", "del", "fd77::1/128", "dev", "lo"],
                   check=True)
    steering.close()


def connect(namespace, address, port):
    with namespace:
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.settimeout(5)
    try:
        connection.connect((address, port))
    except OSError:
        connection.close()
        return None
    connection.sendall(b"\5")  # a session that waits
    return connection


def inbound_of(daemon, namespace, address, port):
    """The tag that serves a connection to address and port, None if it is refused."""
    connection = connect(namespace, address, port)
    if not connection:
        return None
    with connection:
        own = connection.getsockname()[:2]
        text = ("[%s]:%d" if ":" in own[0] else "%s:%d") % own

        def found():
            return [s["inbound"] for s in daemon.sessions()
                    if s["client"].replace("::ffff:", "").replace("[", "").replace("]", "") ==
                    text.replace("[", "").replace("]", "")]

        rig.wait_for(found, 5, "the session of %s: %s" % (text, daemon.sessions()))
        return found()[0]


def test_addresses(net, steered):
    """Both families, any local address; the most specific address wins; other ports are not."""
    daemon = steered({"all": ("::", 1101), "four": ("0.0.0.0", 1102), "six": ("fd77::1", 1103),
                      "wide": ("0.0.0.0", 1104), "narrow": (rig.SERVER_IP, 1104)})
    here = net.server
    for address in ("127.0.0.1", "127.9.9.9", rig.SERVER_IP, rig.SERVER_INNER_IP, "::1", "fd77::1"):
        assert inbound_of(daemon, here, address, 1101) == "all", address
        assert inbound_of(daemon, here, address, 1102) == (None if ":" in address else "four")
        assert inbound_of(daemon, here, address, 1103) == ("six" if address == "fd77::1" else None)
        assert inbound_of(daemon, here, address, 1104) == (
            None if ":" in address else "narrow" if address == rig.SERVER_IP else "wide")
        assert inbound_of(daemon, here, address, 1105) is None
    assert inbound_of(daemon, net.client, rig.SERVER_IP, 1104) == "narrow"


def listening_ports(pid):
    """Of the sockets that listen, (address, port), in the process's namespace."""
    found = []
    for name, length in (("tcp", 8), ("tcp6", 32)):
        with open("/proc/%d/net/%s" % (pid, name)) as file:
            for line in file.read().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == "0A":
                    found.append((local[:length], int(local.split(":")[1], 16)))
    return found


def test_listeners_are_not_reachable_from_outside(net, steered):
    """They are bound to 127.0.0.1; what is accepted has the address that the client asked for."""
    daemon = steered({"all": ("::", 1101), "four": ("0.0.0.0", 1102)})
    bound = listening_ports(daemon.pid)
    assert len(bound) >= 2 * WORKERS and not {1101, 1102} & {port for _, port in bound}
    for _, port in bound:
        assert connect(net.client, rig.SERVER_IP, port) is None
    with connect(net.client, rig.SERVER_IP, 1101) as one, \
            connect(net.client, rig.SERVER_IP, 1102) as two:
        done = subprocess.run(["ip", "netns", "exec", net.server.name, "ss", "-Htn"], check=True,
                              capture_output=True, text=True).stdout
        for connection, port in ((one, 1101), (two, 1102)):
            client = "%s:%d" % connection.getsockname()
            assert re.search(r"10\.77\.1\.1\]?:%d\s+\S*%s" % (port, re.escape(
                client.split(":")[0])), done), done


def test_workers_share(net, steered):
    """The hash of the client's address and port spreads over all workers; counters add up."""
    daemon = steered({"four": (rig.SERVER_IP, 1102)})
    connections = [connect(net.client, rig.SERVER_IP, 1102) for _ in range(120)]
    accepted = [worker["accepted"] for worker in daemon.ask("workers")["workers"]]
    rig.wait_for(lambda: daemon.counter("accepted") == 120, 5, "all are accepted")
    accepted = [worker["accepted"] for worker in daemon.ask("workers")["workers"]]
    assert len(accepted) == WORKERS and min(accepted) > 120 / WORKERS / 3, accepted
    counted = daemon.steering.addresses()["%s:1102" % rig.SERVER_IP]
    assert (counted["steered"], counted["empty"], counted["errors"]) == (120, 0, 0)
    assert json.dumps(counted).count("four") == 1
    for connection in connections:
        connection.close()


def test_port_of_somebody_else(net, tmp, steered):
    """A bound port is not taken silently, neither as root nor without the right to bind it."""
    with net.server:
        other = socket.create_server((rig.SERVER_IP, 443))
    with other:
        daemon = steered({"one": (rig.SERVER_IP, 1102)})
        daemon.steering.load("--user", str(pins.NOBODY))
        config = rig.socks_only_config(443, listen="0.0.0.0")
        for prefix in ((), pins.UNPRIVILEGED):
            with pytest.raises(AssertionError, match="cannot listen on 0.0.0.0:443: Address"):
                rig.Culvert(net.server, tmp, config, bpf="require", prefix=prefix,
                            pinDirectory=daemon.steering.directory, wait=((rig.SERVER_IP, 9),))
