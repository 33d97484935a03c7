# SPDX-License-Identifier: MIT
"""The disk is full, or may only be read: the daemon goes on with what it knows, nothing is torn."""

import contextlib
import json
import os
import subprocess

import pytest
import rig
from test_users import config_of, culvert_user, log_in, read_users, socks_inbound

PORT = 1097


@pytest.fixture
def disk(tmp):
    """A file system of 64 KiB, ours alone."""
    path = os.path.join(tmp, "disk-%d" % os.getpid())
    os.mkdir(path)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", path],
                          capture_output=True, text=True)
    if made.returncode:
        os.rmdir(path)
        pytest.skip("no mount here: " + made.stderr.strip())
    yield path
    subprocess.run(["umount", "-l", path], check=True)
    os.rmdir(path)


@contextlib.contextmanager
def full(disk):
    filler = os.path.join(disk, "filler")
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    try:
        yield "No space left on device"
    finally:
        os.unlink(filler)


@contextlib.contextmanager
def read_only(disk):
    """Another mount of it on top: what is open for writing would keep this one from changing."""
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
        yield "Read-only file system"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def used(path):
    with open(path) as file:
        users = json.load(file)["users"]
    return sum(entry["uplinkBytes"] + entry["downlinkBytes"] for entry in users.values())


@pytest.mark.parametrize("fault", [full, read_only])
def test_users_and_quotas(net, tmp, internet, disk, fault):
    users, usage = os.path.join(disk, "users.json"), os.path.join(disk, "usage.json")
    place = ["--file", users, "--no-reload"]
    password = json.loads(culvert_user("add", "alice", "--json", *place))["password"]
    with open(users) as file:
        known = json.load(file)
    known["users"][0]["quotaBytes"] = 1 << 40
    with open(users, "w") as file:
        json.dump(known, file)
    daemon = rig.Culvert(net.server, tmp, config_of(socks_inbound(users, PORT)), "disk",
                         loglevel="warning", wait=((rig.SERVER_IP, PORT),), stateDirectory=disk)

    def fetch():
        status, body, error = rig.curl(
            net.client, "-x", "socks5://alice:%s@%s:%d" % (password, rig.SERVER_IP, PORT),
            "http://%s/small" % rig.INTERNET_IP)
        assert status == 0 and len(body) == internet.sizes["small"], error
        daemon.wait_idle()  # what it moved is accounted

    with rig.running(daemon):
        fetch()
        assert "took_ms" in daemon.ask("reload")  # which writes what was used
        before = used(usage)
        assert before > internet.sizes["small"]
        with open(users, "rb") as file:
            people = file.read()
        with fault(disk) as why:
            assert why in culvert_user("add", "bobby", *place, status=1)
            with open(users, "rb") as file:
                assert file.read() == people
            fetch()
            assert "took_ms" in daemon.ask("reload")
            assert used(usage) == before
            assert "usage.json: cannot be written: %s" % why in daemon.log()
            assert "took_ms" in daemon.ask("reload")
            assert daemon.log().count("cannot be written") == 1
            fetch()
            assert log_in(net, "alice", password, PORT) == 0
        assert sorted(os.listdir(disk)) == ["usage.json", "usage.lock", "users.json",
                                            "users.json.lock"]
        assert "took_ms" in daemon.ask("reload")
        assert "usage.json: written again" in daemon.log()
        assert used(usage) > before + 2 * internet.sizes["small"]
        made = json.loads(culvert_user("add", "bobby", "--json", *place))
        assert list(read_users(users)) == ["alice", "bobby"]
        assert "took_ms" in daemon.ask("reload")
        assert log_in(net, "bobby", made["password"], PORT) == 0


def test_log_and_configuration_gone(net, tmp, internet, disk):
    """A log that cannot be written, then no file at all: what runs runs on."""
    users, log = os.path.join(disk, "users.json"), os.path.join(disk, "log")
    place = ["--file", users, "--no-reload"]
    password = json.loads(culvert_user("add", "alice", "--json", *place))["password"]
    config = dict(config_of(socks_inbound(users, PORT)), log={"loglevel": "info", "error": log})
    daemon = rig.Culvert(net.server, tmp, config, "disk")
    rig.wait_for(lambda: os.path.exists(log) and rig.accepts(net.client, rig.SERVER_IP, PORT), 30,
                 "it listens")
    with rig.running(daemon):
        with full(disk):
            for _ in range(50):
                assert log_in(net, "alice", password, PORT) == 0
        assert "took_ms" in daemon.ask("reload")
        with open(log) as file:
            lines = file.readlines()
        assert "configuration read again" in lines[-1]
        os.unlink(users)
        os.rename(daemon.config_path, daemon.config_path + ".gone")
        assert "No such file" in daemon.ask("reload")["error"]
        assert log_in(net, "alice", password, PORT) == 0
        os.rename(daemon.config_path + ".gone", daemon.config_path)
        assert "users.json" in daemon.ask("reload")["error"]
        assert log_in(net, "alice", password, PORT) == 0
        culvert_user("add", "bobby", *place)
        assert "took_ms" in daemon.ask("reload")
        assert log_in(net, "alice", password, PORT) == 1
