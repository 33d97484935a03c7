# SPDX-License-Identifier: MIT
"""Hundreds of users and rules, hundreds of live sessions, reloads in between: nobody is dropped.

The same with thousands is a row of `make bench` (tests/bench/scale.py), which measures it.
"""

import json
import os
import subprocess
import sys

import pytest
import rig

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))

import scale  # noqa: E402

USERS, RULES, SESSIONS, RELOADS = 500, 200, 150, 4
PORT, ECHO_PORT = 4501, 4504


@pytest.fixture(scope="module")
def daemon(net, tmp, authority):
    users_path = os.path.join(tmp, "many-users.json")
    scale.write_users(users_path, range(USERS))
    if net.server.pins:
        os.chown(users_path, rig.NOBODY, rig.NOBODY)
    echo = rig.Process(net.server, ["/usr/bin/python3", scale.__file__, "echo", str(ECHO_PORT)],
                       os.path.join(tmp, "echo.log"))
    rig.wait_for(lambda: rig.accepts(net.server, "127.0.0.1", ECHO_PORT), 10, "the echo listens")
    one = rig.Culvert(net.server, tmp, scale.config(
        users_path, PORT, RULES, authority.issue("proxy.test"), (PORT + 1, PORT + 2)), "scale",
        wait=[("127.0.0.1", port) for port in (PORT, PORT + 1, PORT + 2)], loglevel="warning",
        workers=2, stateDirectory="")
    one.users_path = users_path
    with rig.running(one):
        yield one
    echo.child.kill()
    echo.child.wait()


@pytest.fixture
def live(net, daemon):
    change(net, daemon, range(USERS))  # whatever the test before made of them
    assert "error" not in daemon.ask("reload")
    with net.server:  # sockets belong to the namespace they are made in
        sessions = scale.Sessions(PORT, ECHO_PORT, range(SESSIONS))
    yield sessions
    sessions.close()


def change(net, daemon, numbers):
    scale.write_users(daemon.users_path, numbers)
    if net.server.pins:
        os.chown(daemon.users_path, rig.NOBODY, rig.NOBODY)


def reload(daemon, live):
    """While all of them talk."""
    asked = scale.Reload(daemon.control_path)
    live.talk(asked.until, period=0.2)
    answer = asked.result()
    assert "error" not in answer, answer
    live.talk(lambda elapsed: elapsed > 0.3, period=0.2)


def test_reloads_drop_nobody(net, daemon, live):
    assert sum(s["state"] == "relay" for s in daemon.sessions()) == SESSIONS
    for i in range(RELOADS):
        change(net, daemon, range(USERS + 1 + i))
        reload(daemon, live)
    live.settle()
    assert (live.dropped, live.wrong) == (0, 0)
    assert live.answered == live.asked > SESSIONS * RELOADS
    moved = {u["email"]: u["downlink_bytes"] for u in daemon.ask("users")["users"]
             if u["inbound"] == "vless-in"}
    assert len(moved) == USERS + RELOADS
    assert all(moved[scale.user(number)["email"]] > 0 for number in range(SESSIONS))
    with net.server:
        added = scale.Sessions(PORT, ECHO_PORT, [USERS + RELOADS - 1])
    assert (added.dropped, added.answered) == (0, 1), "who was added last is let in"
    added.close()


def test_only_the_removed_ones_end(net, daemon, live):
    change(net, daemon, [n for n in range(USERS) if n % 10])
    reload(daemon, live)
    rig.wait_for(lambda: live.talk(lambda elapsed: elapsed > 0.1, period=0.2) is not None and
                 live.dropped == SESSIONS // 10, 10, "every tenth is gone")
    live.settle()
    assert live.wrong == 0
    assert all(session.connection.fileno() == -1 for session in live.order[::10])
    assert not any(session.connection.fileno() == -1
                   for number, session in enumerate(live.order) if number % 10)


def test_a_bad_file_changes_nothing(net, daemon, live):
    with open(daemon.users_path) as file:
        good = file.read()
    with open(daemon.users_path, "w") as file:
        file.write(good.replace(str(scale.user_id(7)), "no-uuid"))
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "reload", "--control",
                           daemon.control_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "user-00007: expected a UUID" in done.stderr, done.stderr
    live.talk(lambda elapsed: elapsed > 0.5, period=0.2)
    live.settle()
    assert (live.dropped, live.wrong) == (0, 0)
    with open(daemon.users_path, "w") as file:
        json.dump(json.loads(good), file)
