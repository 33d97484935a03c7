# SPDX-License-Identifier: MIT
"""`make soak`: two daemons under steady traffic by every way while everything happens to them that
happens to a server in its life; afterwards nothing may be lost, wrong or left.

SOAK_MINUTES (20 by `make soak`) says for how long; without it one short scene of each kind, with
CULVERT_LONG=1 two minutes.
"""

import contextlib
import json
import os
import signal
import subprocess
import time

import crowd
import prober
import pytest
import reality_client
import rig
import soak
from crowd import Hostile
from soak import Daemon, Peer, Traffic
from test_tls_inbound import combined

LONG_MINUTES = 10
MINUTES = float(os.environ.get("SOAK_MINUTES") or (2 if os.environ.get("CULVERT_LONG") else 0))
SCENE_SECONDS = 12 if MINUTES else 3
RATE = 12 if MINUTES else 8  # new connections a second, by each way
SLACK_BYTES, SESSION_SLACK_BYTES = 2 * rig.MIB, 16
ENGINES = (("auto", "splice"), ("sockmap", "copy"))  # of server and client: before, after


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    with crowd.many_descriptors():
        yield


class Soak:
    def __init__(self, net, tmp, keys, target, internet, authority):
        self.net, self.tmp, self.keys, self.target, self.internet = net, tmp, keys, target, internet
        self.began, self.password = time.monotonic(), soak.stored()
        self.sessions = self.requests = self.failures = 0
        self.users = os.path.join(tmp, "soak-users.json")
        self.people("alice", "bob", "guest")
        self.peer, self.frail = Peer(net.internet, soak.PEER), Peer(net.internet, soak.FRAIL)
        device = net.client.links[net.server.name]
        for address in soak.ATTACKERS:
            net.client.ip("addr", "add", address + "/24", "dev", device)
        self.server = self.start("server", net.server, soak.server_config(
            self.users, target, keys, rig.INTERNET_IP + ":443", combined(authority, soak.NAME)),
            0, [(rig.SERVER_IP, soak.FRONT), (rig.SERVER_IP, soak.PLAIN)], status={
                "password": self.password, "port": soak.STATUS})
        self.client = self.start("client", net.client, soak.client_config(keys, authority), 1,
                                 [("127.0.0.1", soak.LOCAL["plain"])])
        self.daemons = (self.server, self.client)
        self.hellos = os.path.join(tmp, "soak-hellos")
        with open(self.hellos, "w") as file:
            for number in range(200):
                hello = reality_client.Hello(sni=rig.SITE if number % 2 else "other.test")
                file.write(prober.hello_record(hello.message()).hex() + "\n")

    def start(self, name, namespace, config, which, wait, **culvert):
        return Daemon(name, rig.Culvert(
            namespace, self.tmp, config, "soak-" + name, engine=ENGINES[0][which], workers=2,
            loglevel="warning", drain=60, stateDirectory="", wait=wait, **culvert))

    def close(self):
        Hostile.stop_all()
        for peer in (self.peer, self.frail):
            with contextlib.suppress(OSError, ValueError):
                peer.stop()
        device = self.net.client.links[self.net.server.name]
        for address in soak.ATTACKERS:
            self.net.client.ip("addr", "del", address + "/24", "dev", device)
        for daemon in self.daemons:
            if not daemon.culvert.stopped or daemon.generation:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(daemon.culvert.pid, signal.SIGKILL)

    def people(self, *names):
        with open(self.users + ".new", "w") as file:
            json.dump(soak.users_file(names, self.password), file)
        os.chmod(self.users + ".new", 0o600)
        os.rename(self.users + ".new", self.users)

    def command(self, daemon, *words):
        done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), *words, "--control",
                               daemon.culvert.control_path], capture_output=True, text=True,
                              timeout=90)
        assert done.returncode == 0, done.stderr + daemon.culvert.log()[-2000:]

    # ---- what happens ----

    def calm(self):
        """Nothing but traffic, and somebody who looks at the status page."""
        for path in ("/", "/status.json", "/metrics"):
            status, body, error = rig.curl(self.net.server, "-u", "culvert:" + soak.WORD,
                                           "http://127.0.0.1:%d%s" % (soak.STATUS, path))
            assert status == 0 and len(body) > 500, error

    def strangers(self):
        """Probes, wrong passwords, and some who dawdle, from addresses that get banned."""
        to = (rig.SERVER_IP, soak.FRONT)
        many = 3 * SCENE_SECONDS * RATE
        wrong = "send:050102,expect:0502,send:0105616c69636503626164,expect:0101,silent"
        crowds = [
            Hostile(self.net.client, to, "sendline:%s,read:7,close" % self.hellos,
                    "send:%s,silent" % b"GET / HTTP/1.1\r\n\r\n".hex(), "reset", "close",
                    "sendline:%s,read:200,reset" % self.hellos, "send:%s,end" % os.urandom(99).hex(),
                    count=many, at_a_time=100, deadline=60, source=soak.ATTACKERS),
            Hostile(self.net.client, (rig.SERVER_IP, soak.SOCKS), wrong, count=many, at_a_time=20,
                    deadline=60, source=soak.ATTACKERS),
            Hostile(self.net.client, (rig.SERVER_IP, soak.WS), "drip:%s:300" % (b"GET " * 99).hex(),
                    count=40, deadline=60, source=soak.ATTACKERS),
            Hostile(self.net.client, (rig.SERVER_IP, soak.SOCKS_TLS),
                    "sendline:%s,silent" % self.hellos, count=40, deadline=60,
                    source=soak.ATTACKERS)]
        results = [one.result(180) for one in crowds]
        assert all(one["late"] == one["wrong"] == 0 for one in results), results

    def comings_and_goings(self):
        """People are added, kicked and removed; those who stay notice nothing."""
        steps = crowd.socks(("guest", soak.WORD))
        guests = Hostile(self.net.client, (rig.SERVER_IP, soak.SOCKS), steps + ",ask:5000,meet,ask:9",
                         count=10, deadline=60)
        assert guests.met() == 10
        assert self.server.culvert.ask("kick guest@soak")["kicked"] == 10
        guests.go()
        result = guests.result()
        assert result["rst"] == 10, result
        self.people("alice", "bob", "guest", "carol")
        self.command(self.server, "reload")
        carol = Hostile(self.net.client, (rig.SERVER_IP, soak.SOCKS), crowd.socks(
            ("carol", soak.WORD)) + ",ask:5000,meet,ask:9", count=5, deadline=60)
        assert carol.met() == 5
        self.people("alice", "bob", "guest")
        self.command(self.server, "reload")
        carol.go()
        result = carol.result()
        assert result["done"] == 0 and result["late"] == 0, result

    def reloads(self):
        """Both read their files again, several times; a file with an error changes nothing."""
        for _ in range(3):
            for daemon in self.daemons:
                self.command(daemon, "reload")
        with open(self.users) as file:
            good = file.read()
        with open(self.users, "w") as file:
            file.write(good.replace('"uuid": "', '"uuid": "no', 1))
        assert "error" in self.server.culvert.ask("reload")
        with open(self.users, "w") as file:
            file.write(good)
        self.command(self.server, "reload")
        return {"server": "uuid|not read again"}

    def destination_dies(self):
        """Where many sessions go is gone for a while, and they with it; nobody waits for ever."""
        def attempt(count):
            return [Hostile(self.net.client, to, steps + ",ask:100,wait:300,ask:300000,end",
                            count=count, deadline=60)
                    for to, steps in soak.ways(soak.FRAIL).values()]

        caught = attempt(10)
        time.sleep(0.2)
        self.frail.stop()
        refused = attempt(5)
        for one in caught + refused:
            result = one.result()
            assert result["late"] == 0, result
            # a refusal is an answer that differs; bytes never do
            assert not any(".%d wrong" % step in where for where in result["where"]
                           for step in range(8, 12)), result
        self.frail.start()
        for one in attempt(5):
            result = one.result()
            assert crowd.good(result), result
        return {"client": "outbound=|refused", "server": "outbound="}

    def target_dies(self):
        """REALITY's site is gone for a moment: who comes then waits or fails, who is there stays."""
        to, steps = soak.ways()["reality"]
        residents = Hostile(self.net.client, to, steps + ",ask:5000,meet,ask:50000,end", count=10,
                            deadline=600)
        assert residents.met() == 10
        self.target.down()
        time.sleep(1)
        knock = Hostile(self.net.client, (rig.SERVER_IP, soak.FRONT), "sendline:%s,silent" %
                        self.hellos, count=20, deadline=60, source=soak.ATTACKERS).result()
        self.target.up()
        assert knock["late"] == 0, knock
        residents.go()
        result = residents.result()
        assert crowd.good(result), result
        rig.wait_for(lambda: crowd.good(Hostile(self.net.client, to, steps + ",ask:50,end",
                                                deadline=30).result()), 30, "it serves again")
        return {"client": "outbound=reality", "server": "target"}

    def restarts(self):
        """`culvert restart` of both, with sessions that were there before and go on afterwards."""
        residents = [Hostile(self.net.client, to, steps + ",ask:5000,meet,ask:50000,give:9000,end",
                             count=10, deadline=600) for to, steps in soak.ways().values()]
        for one in residents:
            assert one.met() == 10
        self.formers = [(daemon, daemon.restart(ENGINES[1][which]))
                        for which, daemon in enumerate(self.daemons)]
        for one in residents:
            one.go()
        for one in residents:
            result = one.result()
            assert crowd.good(result), result

    # ---- the whole ----

    def scene(self, happening):
        """Traffic, and what happens meanwhile."""
        began = time.monotonic()
        may_fail = {"target_dies": ("reality", "TLS by reality", "datagrams by reality")}.get(
            happening.__name__, ())
        traffic = Traffic(self.net, self.internet, RATE)
        allowed = happening() or {}
        time.sleep(max(0, began + SCENE_SECONDS - time.monotonic()))
        sessions, requests, complaints, slowest = traffic.end()
        self.sessions, self.requests = self.sessions + sessions, self.requests + requests
        unexplained = {way: what for way, what in complaints.items() if way not in may_fail}
        self.failures += len(complaints)
        self.report(happening.__name__, sessions, requests, complaints, slowest)
        assert not unexplained, (happening.__name__, unexplained)
        for daemon in self.daemons:
            words = allowed.get(daemon.name, "").split("|")
            bad = [line for line in daemon.errors()
                   if not any(word and word in line for word in words)]
            assert not bad, (happening.__name__, daemon.name, bad[:5])

    def report(self, what, sessions, requests, complaints, slowest):
        held = ["%s: %d sessions, %.1f MiB (%.1f anonymous), %d fds, %d pipe ends" % (
            daemon.name, now["sessions"], now["resident"] / rig.MIB, now["anonymous"] / rig.MIB,
            now["fds"], now["pipes"])
            for daemon, now in ((daemon, daemon.holds()) for daemon in self.daemons)]
        print("%5.1f min %-18s %5d sessions, %5d requests, p50 %.1f p99 %.1f ms, %d failed; %s; "
              "TCP %s" % ((time.monotonic() - self.began) / 60, what, sessions, requests,
                          slowest[0] / 1000, slowest[1] / 1000, len(complaints), "; ".join(held),
                          "%d sockets, %d orphans, %d kB" % soak.kernel_memory(self.net.server)),
              flush=True)

    def life(self, happenings, until):
        """Of one pair of processes: everything, then from a first look to a last one.

        Before a long one everything twice: what the allocator keeps grows to what the worst of
        moments needed, and that is not always in the first round.
        """
        for happening in happenings * (2 if MINUTES >= LONG_MINUTES else 1):
            self.scene(happening)
        if not MINUTES:
            return
        first, sessions, number = self.look("first"), self.sessions, 0
        while time.monotonic() < until:
            self.scene(happenings[number % len(happenings)])
            number += 1
        last = self.look("last")
        for daemon in self.daemons:
            old, new = first[daemon.name], last[daemon.name]
            most = old["anonymous"] + new["buffers"] - old["buffers"] + SLACK_BYTES + \
                SESSION_SLACK_BYTES * (self.sessions - sessions)
            assert new["fds"] - new["pipes"] <= old["fds"] - old["pipes"], (daemon.name, old, new)
            assert new["pipes"] <= old["pipes"] + 256, (daemon.name, old, new)
            assert daemon.sanitized or new["anonymous"] <= most, (daemon.name, old, new)

    def look(self, which):
        """With nobody there."""
        found = {daemon.name: daemon.settle() for daemon in self.daemons}
        for name, held in found.items():
            print("      %s look at %s: %d sessions so far; %.2f MiB anonymous, %.0f MiB of buffers in "
                  "use, %d fds, %d pipe ends" % (
                      which, name, self.sessions, held["anonymous"] / rig.MIB,
                      held["buffers"] / rig.MIB, held["fds"], held["pipes"]), flush=True)
        return found

    def end(self):
        for daemon, pid in self.formers:
            assert daemon.ended(pid) == 0, daemon.culvert.log()[-4000:]
        for daemon in reversed(self.daemons):
            assert daemon.stop() == 0, daemon.culvert.log()[-4000:]
            log = daemon.culvert.log()
            assert "Sanitizer" not in log and "runtime error:" not in log, log[-6000:]
        inuse, orphans, _ = soak.kernel_memory(self.net.server)
        assert inuse <= 2, "sockets are left: %d" % inuse
        print("%d sessions, %d requests in %.1f minutes; nothing lost, nothing left" % (
            self.sessions, self.requests, (time.monotonic() - self.began) / 60), flush=True)


@pytest.fixture
def world(net, tmp, keys, target, internet, authority):
    site = soak.Site(net.internet, tmp, target)
    made = Soak(net, tmp, keys, site, internet, authority)
    yield made
    made.close()
    site.down()


def test_soak(world):
    """Everything, a restart by other engines in the middle, everything again."""
    if MINUTES:
        signal.alarm(int(MINUTES * 60) + 1200)
    soak.adopt_orphans()
    happenings = [world.calm, world.strangers, world.comings_and_goings, world.reloads,
                  world.destination_dies, world.target_dies]
    end = world.began + MINUTES * 60
    world.life(happenings, world.began + MINUTES * 30)
    world.scene(world.restarts)
    world.life(happenings if MINUTES else happenings[:1], end)
    world.end()
