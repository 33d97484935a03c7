#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""engines.py - the engines against each other, and against no relay at all. Prints; asserts nothing.

A SOCKS5 relay between a sender and a sink, three ways (loopback; veth with segmentation offload; veth
with 1500-byte packets and no offload), three loads (downloads; ping-pong of 64 bytes; idle flows), engines
interleaved in every round. Each figure is a ratio to splice in the same round: median [min .. max].
CPU is the whole machine's, kernel threads and softirq included, less what other programs used in user
space meanwhile; a round in which those used more than 5 % is dirty: it is repeated once, then marked.
Idle flows get one round only: what they cost is memory, and that hardly differs.

    BENCH_ROUNDS=3 BENCH_SECONDS=3 BENCH_WARM=4 BENCH_FLOWS=1,64,1000 BENCH_IDLE=10000
    BENCH_LINKS=loopback,veth,packets BENCH_LOADS=bulk,pingpong,idle BENCH_ENGINES=copy,splice,...
"""
import contextlib
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time

from lab import CULVERTD, LOAD, TICK, children_of, machine_busy

ENGINES = {"copy": "copy", "splice": "splice", "sockmap": "sockmap", "adaptive": "auto"}
LOADS = {"bulk": "download", "pingpong": "request", "idle": "idle"}  # of `load run`
LINKS = {"loopback": "loopback", "veth": "veth, offloads on", "packets": "veth, 1500 B, no offload"}
SOCKS_PORT, SINK_PORT = 1080, 7000
MESSAGE_BYTES = 64
CORES = ",".join(map(str, sorted(os.sched_getaffinity(0))))  # of the generator and the site
DIRTY_SHARE = 0.05


def wanted(name, usual):
    return [part for part in os.environ.get(name, usual).split(",") if part]


ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
WARM = float(os.environ.get("BENCH_WARM", "4"))  # adaptive promotes after some seconds
FIXED_WARM = 1.0  # the others are what they are from the first byte on
IDLE_WARM = 24.0  # by then a daemon has given back what handshakes used
IDLE = int(os.environ.get("BENCH_IDLE", "10000"))
FLOWS = [int(n) for n in wanted("BENCH_FLOWS", "1,64,1000")]


def spread(values):
    def text(value):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return (f"{text(statistics.median(values))} [{text(min(values))} .. {text(max(values))}]"
            if values else "-")


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def user_seconds(pid):
    """User time of one process, threads included; 0 when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[11]) / TICK
    return 0.0


def machine_user():
    with open("/proc/stat") as f:
        fields = f.readline().split()
    return (int(fields[1]) + int(fields[2])) / TICK


def slab_bytes():
    """What the kernel holds in slabs and for sockets."""
    total = 0
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("Slab:"):
                total += int(line.split()[1]) * 1024
    with open("/proc/net/sockstat") as f:
        for line in f:
            if line.startswith("TCP:"):
                total += int(line.split()[-1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    return 0


class Link:
    """Where sender, relay and sink live, and how they reach each other."""

    def __init__(self, kind):
        self.kind = kind
        self.spaces = {}
        names = ("all",) if kind == "loopback" else ("client", "relay", "sink")
        for name in names:
            self.spaces[name] = f"culvert-bench-{os.getpid()}-{name}"
            run("ip", "netns", "add", self.spaces[name])
            run("ip", "-n", self.spaces[name], "link", "set", "lo", "up")
        if kind == "loopback":
            self.relay_address = self.sink_address = self.direct_address = "127.0.0.1"
            return
        self.wire("client", "relay", 1)
        self.wire("relay", "sink", 2)
        self.wire("client", "sink", 3)
        self.relay_address, self.sink_address, self.direct_address = (
            "10.99.1.2", "10.99.2.2", "10.99.3.2")

    def wire(self, left, right, number):
        name = f"bench{number}"
        run("ip", "link", "add", name, "netns", self.spaces[left], "type", "veth", "peer", name,
            "netns", self.spaces[right])
        for side, host in ((left, 1), (right, 2)):
            space = self.spaces[side]
            run("ip", "-n", space, "addr", "add", f"10.99.{number}.{host}/24", "dev", name)
            if self.kind == "packets":
                run("ip", "netns", "exec", space, "ethtool", "-K", name, "tso", "off", "gso", "off",
                    "gro", "off", "tx", "off", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            run("ip", "-n", space, "link", "set", name, "up")

    def inside(self, name, *command):
        return ("ip", "netns", "exec", self.spaces.get(name, self.spaces.get("all")),
                *map(str, command))

    def remove(self):
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "del", space], check=False)


class Cell:
    """One measurement: an engine (None = no relay), a link, a load, a number of flows."""

    def __init__(self, link, engine, load, flows, folder):
        self.link, self.engine, self.load, self.flows = link, engine, load, flows
        self.folder = folder
        self.processes = []

    def start(self, *command, **options):
        process = subprocess.Popen(command, **options)
        self.processes.append(process)
        return process

    def start_relay(self):
        path = os.path.join(self.folder, "relay.json")
        with open(path, "w") as f:
            json.dump({
                "log": {"loglevel": "none"},
                "culvert": {"engine": ENGINES[self.engine], "controlSocket": "",
                            "maxSessions": 65536},
                "inbounds": [{"listen": "0.0.0.0", "port": SOCKS_PORT, "protocol": "socks"}],
                "outbounds": [{"protocol": "freedom", "settings": {"allowPrivate": True}}]}, f)
        return self.start(*self.link.inside("relay", CULVERTD, "-c", path),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_relay(self):
        for _ in range(400):
            answer = subprocess.run(self.link.inside(
                "relay", "ss", "-Hltn", f"sport = :{SOCKS_PORT}"), capture_output=True, check=True)
            if answer.stdout.strip():
                return
            time.sleep(0.05)
        raise RuntimeError("the relay does not listen")

    def measure(self):
        """{'rate', 'cpu', ...} or None when the load could not be set up."""
        counter_path = os.path.join(self.folder, "counter")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(counter_path)
        try:
            relay = None
            if self.engine:
                relay = self.start_relay()
                self.wait_relay()
            site = self.start(*self.link.inside(
                "sink", LOAD, "serve", "0.0.0.0", "--bulk", SINK_PORT, "--cores", CORES, "--counter",
                counter_path), stdout=subprocess.PIPE)
            if site.stdout.readline() != b"ready\n":
                raise RuntimeError("the site does not come up")
            with open(counter_path, "r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
                return self.observe(relay, counter)
        finally:
            for process in reversed(self.processes):
                process.terminate()
            for process in self.processes:
                process.wait()

    def observe(self, relay, counter):
        if self.engine:
            where = ("--via", "socks5", "--to", f"{self.link.sink_address}:{SINK_PORT}",
                     "--relay", f"{self.link.relay_address}:{SOCKS_PORT}")
        else:
            where = ("--via", "direct", "--to", f"{self.link.direct_address}:{SINK_PORT}")
        warm = IDLE_WARM if self.load == "idle" else WARM if self.engine == "adaptive" else \
            min(WARM, FIXED_WARM)
        slab, anonymous = slab_bytes(), anonymous_bytes(relay.pid) if relay else 0
        load = self.start(*self.link.inside(
            "client", LOAD, "run", LOADS[self.load], *where, "--connections", self.flows, "--message",
            MESSAGE_BYTES, "--cores", CORES, "--seconds", warm + SECONDS + 0.5),
            stdout=subprocess.PIPE)
        if load.stdout.readline() != b"ready\n":
            return None
        time.sleep(warm)

        def sample():
            # "ip netns exec" becomes the program it starts: the pids are the programs'
            ours = sum(user_seconds(p) for process in self.processes
                       for p in [process.pid, *children_of(process.pid)])
            return (time.monotonic(), int.from_bytes(counter[:8], "little"), machine_busy(),
                    machine_user() - ours)

        first = sample()
        time.sleep(SECONDS)
        seconds, moved, busy, foreign = (b - a for a, b in zip(first, sample()))
        grown = (slab_bytes() - slab,
                 (anonymous_bytes(relay.pid) - anonymous) if relay else 0)
        result = json.loads(load.stdout.readline())
        if result["failed"]:
            print(f"    {self.engine}: {result['failed']} of {self.flows} flows failed")
        latency = result.get("latency_us", {})
        whole = result["requests"] / result["seconds"] * seconds
        return {
            "seconds": seconds, "dirty": foreign > DIRTY_SHARE * seconds * os.cpu_count(),
            "rate": moved / 1e9 / seconds, "operations": whole / seconds,
            "cpu": max(0.0, busy - max(0.0, foreign)), "moved": moved, "whole": whole,
            "p50_us": latency.get("p50", 0), "p99_us": latency.get("p99", 0),
            "slab": grown[0], "anonymous": grown[1],
        }


def measure(link, engine, load, flows, folder):
    for attempt in (1, 2):
        result = Cell(link, engine, load, flows, folder).measure()
        if result is None:
            raise RuntimeError(f"{engine}: {flows} flows could not be set up")
        if not result["dirty"] or attempt == 2:
            return result
    return None


def figures(load, result):
    """What is compared: the first should be high, the second low."""
    if load == "bulk":
        return result["rate"], result["cpu"] / max(result["moved"] / 1e9, 1e-9)
    return result["operations"], 1e6 * result["cpu"] / max(result["whole"], 1)


def print_cell(link, load, flows, rounds):
    names = ("GB/s", "CPU s/GB") if load == "bulk" else ("op/s", "CPU us/op")
    dirty = sum(result["dirty"] for results in rounds for result in results.values())
    print(f"\n{LINKS[link]}, {load}, {flows} flow(s), {len(rounds)} rounds of {SECONDS:g} s"
          + (f", {dirty} measurements dirty" if dirty else ""))
    print(f"  {'':9s} {names[0]:26s} {names[1]:24s} {'/ splice: ' + names[0]:24s} {names[1]}")
    for engine in rounds[0]:
        own = [figures(load, results[engine]) for results in rounds]
        base = [figures(load, results["splice"]) for results in rounds if "splice" in results]
        ratios = [[a[i] / b[i] for a, b in zip(own, base) if b[i]] for i in (0, 1)]
        line = (f"  {engine or 'direct':9s} {spread([f[0] for f in own]):26s} "
                f"{spread([f[1] for f in own]):24s} {spread(ratios[0]):24s} {spread(ratios[1])}")
        if load == "pingpong":
            worst = max(results[engine]["p99_us"] for results in rounds)
            middle = sorted(results[engine]["p50_us"] for results in rounds)[len(rounds) // 2]
            line += f"   p50 {middle:.0f} us, p99 at most {worst:.0f} us"
        print(line)
    sys.stdout.flush()


def print_idle(link, rounds):
    print(f"\n{LINKS[link]}, {IDLE} idle flows, {len(rounds)} rounds of {SECONDS:g} s")
    for engine in rounds[0]:
        cpu = [results[engine]["cpu"] / results[engine]["seconds"] for results in rounds]
        slab = [results[engine]["slab"] / IDLE for results in rounds]
        own = [results[engine]["anonymous"] / IDLE for results in rounds]
        print(f"  {engine or 'direct':10s} machine's CPU {spread(cpu)}   kernel bytes per flow, all "
              f"sockets {spread(slab)}   relay's own bytes per flow {spread(own)}")
    sys.stdout.flush()


def main():
    for needed in (LOAD, CULVERTD):
        if not os.path.exists(needed):
            sys.exit(f"bench-engines: {needed} is missing")
    if os.geteuid() != 0:
        sys.exit("bench-engines: needs root (network namespaces)")
    engines = [None, *wanted("BENCH_ENGINES", ",".join(ENGINES))]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for kind in wanted("BENCH_LINKS", ",".join(LINKS)):
            link = Link(kind)
            try:
                for load in wanted("BENCH_LOADS", ",".join(LOADS)):
                    for flows in [IDLE] if load == "idle" else FLOWS:
                        rounds = [{engine: measure(link, engine, load, flows, folder)
                                   for engine in engines}
                                  for _ in range(1 if load == "idle" else ROUNDS)]
                        if load == "idle":
                            print_idle(kind, rounds)
                        else:
                            print_cell(kind, load, flows, rounds)
            finally:
                link.remove()


if __name__ == "__main__":
    main()
