# SPDX-License-Identifier: MIT
"""Many at once: connections that follow a script (build/hostile), users who go on meanwhile, and
what a daemon holds before and afterwards."""

import contextlib
import json
import os
import re
import resource
import socket
import subprocess

import rig

REQUEST = 9  # bytes of a request to the peer: kind, length, seed; see tests/load/peer.c
PERIOD = 65521


def program():
    """The plain one where there is one: sanitizers are for the daemon."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "hostile")
    return here if os.access(here, os.X_OK) else os.path.join(rig.build_dir(), "hostile")


@contextlib.contextmanager
def many_descriptors(wanted=60000):
    """For this process and those it starts."""
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, wanted), max(hard, wanted)))
    if resource.getrlimit(resource.RLIMIT_NOFILE) == before:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    # what this process has open stays below; who raised a hard limit may lower it again
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def sequence(seed, offset, length):
    """length bytes of the stream of seed, as tests/load/sequence.c makes it."""
    at, rest = (seed + offset) % PERIOD, b""
    while len(rest) < length:
        rest += _table()[at:at + length - len(rest)]
        at = 0
    return rest


def _table(made=[]):
    if not made:
        state, table = 1, bytearray()
        for _ in range(PERIOD):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            table.append(state >> 24)
        made.append(bytes(table))
    return made[0]


# ---- scripts -----------------------------------------------------------------------------------


def socks(user=None, host=rig.INTERNET_IP, port=8200):
    """Steps of a SOCKS5 client until the stream begins."""
    steps = ["send:050100", "expect:0500"]
    if user:
        name, word = (text.encode() for text in user)
        steps = ["send:050102", "expect:0502", "send:" + (
            bytes([1, len(name)]) + name + bytes([len(word)]) + word).hex(), "expect:0100"]
    return ",".join(steps + [connect_request(host, port), "expect:050000", "read:7"])


def connect_request(host, port, verb="send", more=""):
    try:
        where = b"\1" + socket.inet_aton(host)
    except OSError:
        where = b"\3" + bytes([len(host)]) + host.encode()
    return "%s:%s%s" % (verb, (b"\5\1\0" + where + port.to_bytes(2, "big")).hex(), more)


class Hostile:
    """hostile run: connections of a namespace to (address, port), each by one of the scripts."""

    running = []

    def __init__(self, namespace, to, *scripts, source=(), **options):
        words = [program(), "run", "--to", to[0], "--port", str(to[1])]
        if source:
            words += ["--from", ",".join(source)]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        self.child = subprocess.Popen(words + list(scripts), stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, preexec_fn=namespace.enter)
        Hostile.running.append(self)

    def met(self):
        """Waits until all are there; how many that is."""
        words = self.child.stdout.readline().split()
        assert words[:1] == [b"met"], words
        return int(words[1])

    def go(self):
        """They may go on; or no more shall come, where they come for a time."""
        self.child.stdin.write(b"go\n")
        self.child.stdin.flush()

    def result(self, seconds=120):
        out, _ = self.child.communicate(timeout=seconds)
        assert self.child.returncode == 0, self.child.returncode
        return json.loads(out.splitlines()[-1])

    @classmethod
    def stop_all(cls):
        while cls.running:
            child = cls.running.pop().child
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()


def good(result):
    """Every connection came to the end of its script."""
    return result["done"] == result["connections"] > 0


# ---- users -------------------------------------------------------------------------------------


class Users:
    """Real requests all along, by each of the ways: (name, (address, port), first steps).

    Some come and go, some have been there since before; every answer is checked byte for byte.
    """

    def __init__(self, namespace, ways, rate=10):
        self.short = [(name, Hostile(
            namespace, to, "%s,ask:20000,give:5000,ask:300,end" % steps, at_a_time=200, rate=rate,
            seconds=3600, deadline=30)) for name, to, steps in ways]
        self.long = [(name, Hostile(namespace, to, "%s,ask:1000,meet,ask:30000,give:20000,end" %
                                    steps, count=5, deadline=240)) for name, to, steps in ways]
        for _, one in self.long:
            assert one.met() == 5

    def end(self, what):
        """Each request was answered; prints how fast."""
        for _, one in self.long + self.short:
            one.go()
        for name, one in self.long + self.short:
            result = one.result()
            assert good(result), "%s, user by %s: %s" % (what, name, result)
            if result["lives"]["count"] > 5:
                print("%s: %d users by %s, requests p50 %.1f ms, p99 %.1f ms, most %.1f ms; whole "
                      "sessions p99 %.1f ms" % (what, result["done"], name, *(
                          result["asks"][key] / 1000 for key in ("p50_us", "p99_us", "max_us")),
                          result["lives"]["p99_us"] / 1000))


# ---- what a daemon holds -----------------------------------------------------------------------


def memory(pid, *keys):
    """Bytes of VmRSS, VmHWM, RssAnon ..."""
    with open("/proc/%d/status" % pid) as file:
        text = file.read()
    return [int(re.search(r"^%s:\s+(\d+) kB" % key, text, re.M).group(1)) * 1024 for key in keys]


def forget_peak(pid):
    with open("/proc/%d/clear_refs" % pid, "w") as file:
        file.write("5")


class Footprint:
    """What a daemon holds when idle."""

    def __init__(self, daemon):
        daemon.wait_idle(30)
        descriptors = list(daemon.descriptors().values())
        self.sockets = sum(d.startswith("socket:") for d in descriptors)
        self.pipes = sum(d.startswith("pipe:") for d in descriptors)
        self.others = len(descriptors) - self.sockets - self.pipes
        self.memory = memory(daemon.pid, "RssAnon")[0]

    def __repr__(self):
        return "%d sockets, %d pipe ends, %d others, %.1f MiB" % (
            self.sockets, self.pipes, self.others, self.memory / rig.MIB)


def assert_back(daemon, before, what, seconds=20, slack=4 * rig.MIB):
    """The daemon holds again what it held before; idle pipes of the pool may be kept for a while."""
    sanitized = daemon.sanitized()  # then freed memory is kept on purpose

    def back():
        now = Footprint(daemon)
        return now.sockets <= before.sockets and now.others <= before.others and \
            now.pipes <= before.pipes + 64 and \
            (sanitized or now.memory <= before.memory + slack)

    try:
        rig.wait_for(back, seconds, "", pause=0.5)
    except AssertionError:
        raise AssertionError("%s: before %s, now %s" % (what, before, Footprint(daemon))) from None
    print("%s: before %s, now %s" % (what, before, Footprint(daemon)))
