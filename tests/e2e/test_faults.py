# SPDX-License-Identifier: MIT
"""The system fails culvertd: it serves whom it can, says so, and serves all once that is over.

Both daemons of a pair run with faults.c in front of libc, while downloads go through them that are
compared byte by byte; what fails and how often is switched from here.
"""

import contextlib
import os
import signal
import time
import types

import faults
import pytest
import rig
from downloads import Downloads

STRAIGHT, TUNNEL = 1091, 1092  # on the server: by the kernel; on the client: through both daemons
REALITY = 4445
HITS = 4  # of a fault, then it has been seen
ODDS = (200000, faults.EVER) if os.environ.get("CULVERT_LONG") else (faults.EVER,)


def tunnel(tag, listen, port):
    return {"tag": tag, "listen": listen, "port": port, "protocol": "tunnel",
            "settings": {"address": rig.INTERNET_IP, "port": 80, "network": "tcp"}}


def start_server(net, tmp, keys, target, prefix=(), **more):
    config = rig.server_config(REALITY, rig.reality_stream(keys.private, target.address),
                               log={"loglevel": "warning"})
    config["inbounds"].append(tunnel("straight", rig.SERVER_IP, STRAIGHT))
    return rig.Culvert(net.server, tmp, config, "server", prefix=prefix,
                       wait=((rig.SERVER_IP, REALITY), (rig.SERVER_IP, STRAIGHT)), **more)


def start_client(net, tmp, keys, prefix=(), **more):
    config = rig.client_config(1093, REALITY, rig.reality_client_stream(keys.public),
                               log={"loglevel": "warning"})
    config["inbounds"].append(tunnel("through", "127.0.0.1", TUNNEL))
    return rig.Culvert(net.client, tmp, config, "client", prefix=prefix,
                       wait=(("127.0.0.1", TUNNEL),), **more)


def content_of(internet):
    with open(os.path.join(internet.root, "small"), "rb") as file:
        return file.read()


@pytest.fixture(scope="module")
def world(net, tmp, keys, target, internet):
    """Both daemons with their faults, and downloads that never end."""
    switches = [faults.Faults(tmp), faults.Faults(tmp)]
    content = content_of(internet)
    daemons = [start_server(net, tmp, keys, target, switches[0].prefix)]
    daemons.append(start_client(net, tmp, keys, switches[1].prefix))
    with rig.running(*daemons):
        with Downloads(net.client, (rig.SERVER_IP, STRAIGHT), "/small", content, 6,
                       pause=0.05) as straight, \
                Downloads(net.client, ("127.0.0.1", TUNNEL), "/small", content, 6,
                          pause=0.05) as through:
            yield types.SimpleNamespace(daemons=daemons, server=daemons[0], client=daemons[1],
                                        switches=switches, ways=(straight, through))
        for daemon in daemons:
            daemon.wait_idle()


def serves(world, seconds=20):
    """Both ways, with downloads that begin now."""
    since = time.monotonic()
    for way in world.ways:
        way.wait(lambda: way.last_begun > since, "served again", seconds)
    for daemon in world.daemons:
        assert daemon.alive(), daemon.log()[-3000:]


def fails_everywhere(world, call, error, odds, hits=HITS):
    """In both daemons, until it has failed so often in one of them."""
    before = [switch.hits(call) for switch in world.switches]

    def seen():
        return any(switch.hits(call) >= hit + hits
                   for switch, hit in zip(world.switches, before))

    with contextlib.ExitStack() as stack:
        for switch in world.switches:
            stack.enter_context(switch.failing(call, error, odds=odds))
        rig.wait_for(seen, 20, "%s fails with %s" % (call, error))
    serves(world)


@pytest.mark.parametrize("call,errors", [
    ("socket", "EMFILE ENFILE ENOBUFS ENOMEM"),
    ("ring_accept", "ECONNABORTED ENFILE EMFILE ENOBUFS EPERM ENOMEM"),
    ("ring_connect", "ENETUNREACH EADDRNOTAVAIL ENOBUFS EPERM EINTR"),
    ("ring_send", "ENOMEM ENOBUFS"), ("ring_recv", "ENOMEM ENOBUFS"),
    ("ring_poll", "ENOMEM"), ("ring_enter", "EINTR EBUSY EAGAIN ENOMEM"),
    ("splice", "EAGAIN ENOMEM EINVAL"), ("epoll_ctl", "ENOSPC ENOMEM"),
    ("setsockopt", "ENOBUFS"), ("getsockopt", "ENOBUFS"),
])
def test_calls_fail(world, call, errors):
    """With CULVERT_LONG some of them, then all of them: sessions may end, nobody gets a wrong byte."""
    for error in errors.split():
        for odds in ODDS:
            fails_everywhere(world, call, error, odds)


@pytest.mark.parametrize("call,error", [
    ("ring_send", "EINTR"), ("ring_send", "EAGAIN"), ("ring_recv", "EINTR"),
    ("ring_recv", "EAGAIN"), ("splice", "EINTR")])
def test_interrupted_calls_end_nothing(world, call, error):
    serves(world)
    cut = [way.cut for way in world.ways]
    fails_everywhere(world, call, error, 500000, hits=100)
    assert [way.cut for way in world.ways] == cut


def test_lack_of_descriptors_is_told(world):
    """A counter, and one line in ten seconds, whatever is asked for meanwhile."""
    before = [daemon.reason_count("internal_resource") for daemon in world.daemons]
    with contextlib.ExitStack() as stack:
        for switch in world.switches:
            stack.enter_context(switch.failing("ring_accept", "EMFILE"))
            stack.enter_context(switch.failing("socket", "EMFILE"))
        for daemon, count in zip(world.daemons, before):
            daemon.wait_reason("internal_resource", count + 3)
    serves(world)
    for daemon in world.daemons:
        lines = [line for line in daemon.log().splitlines() if "(internal_resource)" in line]
        assert lines and len(lines) < 30, lines


def test_log_cannot_be_written(world):
    """Nobody is served worse for it; what is said later is in the log again."""
    for error in "EIO", "ENOSPC":
        for daemon, switch in zip(world.daemons, world.switches):
            before = switch.hits("write")
            with switch.failing("write", error):
                assert "took_ms" in daemon.ask("reload")
                rig.wait_for(lambda: switch.hits("write") > before, 10, "a line is lost")
            lines = daemon.log().count("configuration read again")
            assert "took_ms" in daemon.ask("reload")
            rig.wait_for(lambda: daemon.log().count("configuration read again") > lines, 10,
                         "the log goes on")
        serves(world)


QUESTIONS = ("sessions", "users", "reasons", "workers", "outbounds", "engines", "kernel",
             "carriers", "backends", "proxies", "sni", "reload")


@pytest.mark.parametrize("odds", [1000, 20000, 200000, faults.EVER])
def test_no_memory(world, odds):
    """Under load, and while it is asked everything there is to ask, reloads included."""
    for switch in world.switches:
        switch.starve(odds)
    before = [switch.get("alloc_hits") for switch in world.switches]
    answers = 0
    for question in QUESTIONS * 2:
        for daemon in world.daemons:
            with contextlib.suppress(OSError, ValueError):  # no answer is one, too
                answers += isinstance(daemon.ask(question), dict)
    for switch, hits in zip(world.switches, before):
        rig.wait_for(lambda: switch.get("alloc_hits") > hits + 2, 20, "allocations fail")
        switch.starve(0)
    assert answers > 0 or odds > 1000
    serves(world)
    for daemon in world.daemons:
        for question in QUESTIONS:
            assert "error" not in daemon.ask(question)


def test_short_transfers(world):
    """No send and no receive moves more than some bytes."""
    for most in (1, 7, 1000):
        for switch in world.switches:
            switch.set(short_bytes=most)
        rig.wait_for(lambda: all(switch.get("short_hits") > 100 for switch in world.switches), 20,
                     "transfers are short")
        for switch in world.switches:
            switch.set(short_bytes=0, short_hits=0)
        serves(world)
    assert not any(way.wrong for way in world.ways)


def test_stopped_and_continued(world):
    """While it stands still the world goes on."""
    for daemon in world.daemons:
        for _ in range(3):
            daemon.child.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            daemon.child.send_signal(signal.SIGCONT)
            time.sleep(0.05)
    serves(world)


DAY_MS = 24 * 3600 * 1000


def test_clocks_are_set(world):
    """Forwards and backwards: who has another time than the server is a stranger, until it is over."""
    server, ours = world.server, world.switches[0]
    for offset in DAY_MS, -DAY_MS:
        before = server.reason_count("peer_clock")
        ours.set(wall_ms=offset)
        server.wait_reason("peer_clock", before)
        since = time.monotonic()
        world.ways[0].wait(lambda: world.ways[0].last_begun > since, "users without a clock")
        ours.set(wall_ms=0)
        serves(world)
        for switch in world.switches:  # all of them together
            switch.set(wall_ms=offset)
        serves(world)
        for switch in world.switches:
            switch.set(wall_ms=0)
        serves(world)


def test_deadlines_all_come_at_once(world):
    """As after a pause of the machine that the steady clock counted."""
    for _ in range(2):
        for switch in world.switches:
            switch.set(steady_ms=switch.get("steady_ms") + DAY_MS)
        serves(world)


# ---- daemons of their own ----------------------------------------------------------------------


def ends_at_start(namespace, tmp, config, switch, what):
    """With status 1 and a line that says why."""
    with pytest.raises(AssertionError) as told:
        rig.Culvert(namespace, tmp, config, "server", prefix=switch.prefix,
                    wait=((rig.SERVER_IP, STRAIGHT + 10),))
    assert what in str(told.value)


def straight_config(**more):
    return dict({"inbounds": [tunnel("straight", rig.SERVER_IP, STRAIGHT + 10)],
                 "log": {"loglevel": "warning"},
                 "outbounds": [{"protocol": "freedom", "tag": "direct", "settings": {
                     "finalRules": [{"action": "allow"}]}}]}, **more)


def test_no_ring(net, tmp):
    """RLIMIT_MEMLOCK too small, io_uring switched off: not started, and told."""
    for error, what in (("ENOMEM", "ulimit -l"), ("EPERM", "Operation not permitted"),
                        ("ENOSYS", "Function not implemented")):
        switch = faults.Faults(tmp)
        switch.fail("ring_setup", error)
        ends_at_start(net.server, tmp, straight_config(), switch, what)


@pytest.mark.parametrize("what", [
    "small rings", "no pipes", pytest.param("few pipes", marks=pytest.mark.long),
    pytest.param("no buffer rings", marks=pytest.mark.long)])
def test_goes_with_less(net, tmp, internet, what):
    switch = faults.Faults(tmp)
    if what == "small rings":
        switch.set(ring_entries=2)
    elif what == "no buffer rings":
        switch.fail("ring_buffers", "EINVAL")
    else:
        switch.fail("pipe2", "EMFILE", odds=faults.EVER if what == "no pipes" else 700000)
    daemon = rig.Culvert(net.server, tmp, straight_config(), "server", prefix=switch.prefix,
                         wait=((rig.SERVER_IP, STRAIGHT + 10),))
    with rig.running(daemon):
        with Downloads(net.client, (rig.SERVER_IP, STRAIGHT + 10), "/small", content_of(internet),
                       40) as way:
            way.wait(lambda: way.whole > 100, "served with %s" % what)
            for _ in range(3):  # what has come meanwhile is told all at once
                daemon.child.send_signal(signal.SIGSTOP)
                time.sleep(0.2)
                daemon.child.send_signal(signal.SIGCONT)
                time.sleep(0.05)
            whole = way.whole
            way.wait(lambda: way.whole > whole + 50, "served on")
            assert way.cut == 0
        assert what != "small rings" or switch.get("overflows") > 0
        daemon.wait_idle()


def test_map_is_full(net, tmp, internet):
    """Sessions that sockmap has no room for are copied, and counted; later ones have it again."""
    switch = faults.Faults(tmp)
    daemon = rig.Culvert(net.server, tmp, straight_config(), "server", prefix=switch.prefix,
                         engine="sockmap", wait=((rig.SERVER_IP, STRAIGHT + 10),))

    def carried():
        return next(engine["downlink_flows_total"] for engine in daemon.ask("engines")["engines"]
                    if engine["engine"] == "sockmap")

    with rig.running(daemon):
        if "engine sockmap: not available" in daemon.log():
            pytest.skip("no sockmap here")
        with Downloads(net.client, (rig.SERVER_IP, STRAIGHT + 10), "/small", content_of(internet),
                       4, pause=0.05) as way:
            way.wait(lambda: carried() > 0, "sockmap carries")
            with switch.failing("bpf_map_update_elem", "E2BIG"):
                daemon.wait_reason("internal_refused", 3)
                whole = way.whole
                way.wait(lambda: way.whole > whole + 10, "copied")
            before = carried()
            way.wait(lambda: carried() > before + 5, "sockmap carries again")
            assert way.cut == 0
        daemon.wait_idle()
