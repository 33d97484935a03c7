# SPDX-License-Identifier: MIT
"""Rows that are measured: that what is measured works, and that the kernel moves the bytes.

Times are for `make bench`; here a few iterations show that each line of its table comes from connections
that do what the line says.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys

import pytest
import rig
from test_vision import address, arguments

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))

import steps as benchmark  # noqa: E402
import latency  # noqa: E402

GIB = 1 << 30
LINES = ("SNI routing", "REALITY handshake, the server's CPU", "TLS 1.3 handshake, SOCKS5",
         "TLS 1.3 handshake, HTTP", "SOCKS5: greeting, password, CONNECT",
         "routing: what 60 users, 40 rules add", "total direct, VPN",
         "total direct, SOCKS5 over TLS", "total direct, HTTP proxy over TLS",
         "upstream 50 ms away, HTTP CONNECT", "upstream 50 ms away, SOCKS5",
         "upstream 50 ms away, SOCKS5 with a password")


def test_row_065_every_line_of_the_table(net):
    """With a peer where there is one; an upstream costs what its round trips cost."""
    one, printed = benchmark.Bench(), io.StringIO()
    with net.server, contextlib.redirect_stdout(printed):
        try:
            one.site()
            one.keys()
            latency.run(one, iterations=2, users=60, rules=40)
        finally:
            one.close()
    text = printed.getvalue()
    table = {}
    for line in text.splitlines():
        found = re.match(r"  (\S.*?) +< +(\d+) +(-?[\d.]+) \( *-?[\d.]+\) +(-?[\d.]+|-)", line)
        if found:
            table[found.group(1)] = [None if figure == "-" else float(figure)
                                     for figure in found.groups()[1:]]
    assert sorted(table) == sorted(LINES), text
    has_peer = shutil.which("haproxy") and shutil.which("v2ray")
    for title, (budget, ours, peer) in table.items():
        assert (peer is not None) == bool(has_peer), text
        assert budget > 0 and ours == ours
        if title.startswith("upstream"):
            assert ours >= 3 * latency.DISTANCE_MS, "three round trips at least: " + text


@pytest.fixture(scope="module")
def huge(internet):
    """A GiB that takes no room: a page of random bytes in each MiB, zeros between."""
    path, digest = os.path.join(internet.root, "huge"), hashlib.sha256()
    zeros = bytes(rig.MIB - 4096)
    with open(path, "wb") as file:
        for number in range(GIB // rig.MIB):
            block = os.urandom(4096)
            digest.update(block)
            digest.update(zeros)
            file.write(block)
            file.seek(number * rig.MIB + rig.MIB)
        file.truncate(GIB)
    os.chmod(path, 0o644)
    yield digest.hexdigest()
    os.unlink(path)


def cpu_ticks(daemon):
    """User, system."""
    with open("/proc/%d/stat" % daemon.pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


@pytest.mark.parametrize("engine", ["splice", "sockmap", "auto"])
def test_row_066_the_kernel_moves_the_bytes(net, internet, pair, huge, engine):
    """A GiB of the browser's own TLS through client and server, not a per cent of it in user space."""
    server, client = pair(engine=engine)
    before = {daemon: cpu_ticks(daemon) for daemon in (server, client)}
    curl = rig.curl(net.client, *arguments("tls13", internet), address("tls13") + "/huge",
                    timeout=200, background=True)
    done = subprocess.run(["sha256sum"], stdin=curl.stdout, capture_output=True, text=True,
                          timeout=220)
    assert curl.wait(10) == 0, curl.stderr.read()
    assert done.stdout.split()[0] == huge
    for daemon in (server, client):
        moved = {one["engine"]: one["downlink_bytes"] for one in daemon.ask("engines")["engines"]}
        kernel = moved["splice"] + moved["sockmap"]
        assert kernel > GIB and kernel > 0.99 * sum(moved.values()), moved
        if engine != "auto":
            assert moved[engine] > 0.99 * sum(moved.values()), moved
        user, system = (now - then for now, then in zip(cpu_ticks(daemon), before[daemon]))
        print("%s, %s: %d bytes by the kernel of %d; CPU ticks: %d user, %d system" % (
            engine, daemon.log_path, kernel, sum(moved.values()), user, system))
