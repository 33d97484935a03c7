# SPDX-License-Identifier: MIT
"""Rows that are measured: that what is measured works, and that the kernel moves the bytes.

Times are for `make bench`; here a few iterations show that each line of its table comes from connections
that do what the line says.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import rig
from test_vision import address, arguments

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench")
sys.path.insert(0, BENCH)

import latency  # noqa: E402

GIB = 1 << 30
STEPS = {"total_vpn", "total_socks", "total_http", "sni", "reality", "tls_socks", "tls_http", "socks",
         "routing", "up_http", "up_socks", "up_password"}


def test_row_065_every_step_of_a_connection(net, tmp):
    """With a peer where there is one; an upstream costs what its round trips cost."""
    output = os.path.join(tmp, "steps")
    environment = dict(os.environ, ROW="steps", BENCH_OUTPUT=output, BENCH_ROUNDS="1",
                       STEPS_ITERATIONS="1", STEPS_USERS="60", STEPS_RULES="40")
    done = subprocess.run(["/usr/bin/python3", os.path.join(BENCH, "bench.py")], env=environment,
                          capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(os.path.join(output, "bench.json")) as file:
        row, = json.load(file)["rows"]
    assert {figure["name"] for figure in row["figures"]} == STEPS
    has_peer = shutil.which("haproxy") and shutil.which("v2ray")
    assert bool(row["contenders"]["haproxy+v2ray"]["absent"]) != bool(has_peer)
    for name, contender in row["contenders"].items():
        for one in contender["rounds"]:
            assert "failed" not in one, (name, one, done.stdout)
            assert set(one["figures"]) == STEPS
            far = [one["figures"][step] for step in STEPS if step.startswith("up_")]
            assert min(far) >= 3 * latency.DISTANCE_MS, "three round trips at least: %s" % far


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
