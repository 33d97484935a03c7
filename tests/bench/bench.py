#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench.py - culvert beside its peers: the same work in the same run. Measures; asserts nothing.

Client, relay and sink live in network namespaces and control groups of their own (lab.py), the relay on
BENCH_CORES cores. A row (rows.py) is measured in rounds: a direct stream without any relay, then culvert and
each peer, beginning with another one every round. Ratios are taken round by round; median [min .. max].
A round during which other programs used more than 0.3 core is dirty: it is left out if three clean ones
remain, otherwise all count and the line says so.

    make bench                            the usual rows, all peers that are installed
    make bench ROW=list                   the rows there are
    make bench ROW='socks5-*' PEER=dante  some rows, some peers (names or patterns, with commas)
    make bench PEERS="xray=/path sing-box=/path hev=/path"      more peers, which nobody installs
    BENCH_ROUNDS=5 BENCH_SECONDS=0.8 BENCH_CORES=1 BENCH_OUTPUT=build/bench

Writes into build/bench: table.txt, table.md, bench.json, pictures (*.svg) and index.html, which shows them,
anew after every row. `bench.py --markdown [FILE]` prints the table of a bench.json for README.md.
"""
import contextlib
import fnmatch
import glob
import importlib
import json
import os
import signal
import sys
import time

import lab as benchlab
import plot
import report
import rows
import servers

OUTPUT = os.environ.get("BENCH_OUTPUT", os.path.join(benchlab.BUILD, "bench"))
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def all_rows():
    """Of all rows_*.py beside this file, bulk first."""
    here = os.path.dirname(os.path.abspath(__file__))
    names = sorted((os.path.splitext(os.path.basename(path))[0]
                    for path in glob.glob(os.path.join(here, "rows_*.py"))),
                   key=lambda name: (name != "rows_bulk", name))
    found = [row for name in names for row in importlib.import_module(name).ROWS]
    assert len({row.name for row in found}) == len(found), "two rows of one name"
    return found


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def choose(found, wanted):
    """The rows that ROW asks for; without it the usual ones."""
    patterns = [part for part in wanted.split(",") if part]
    chosen = [row for row in found if (matches(row.name, patterns) if patterns else row.usual)]
    if not chosen:
        raise ValueError("ROW=%s: no such row; ROW=list names them" % wanted)
    return chosen


def list_rows(found):
    for row in found:
        print("%-22s %s%s" % (row.name, row.title, "" if row.usual else "  (on request)"))


class Progress:
    """A line for every measurement: how far, which, what came out."""

    def __init__(self, total):
        self.total, self.done, self.begun = total, 0, time.monotonic()

    def tell(self, row, number, count, name, text):
        self.done += 1
        seconds = time.monotonic() - self.begun
        print("[%3d/%d %2d:%02d] %-18s round %d/%d  %-11s %s" % (
            self.done, self.total, seconds // 60, seconds % 60, row.name, number + 1, count, name,
            text), flush=True)


def brief(row, result):
    """The first figures of a measurement, for the progress line."""
    if "failed" in result:
        return "failed: " + result["failed"]
    parts = ["%s %s" % (report.number(result["figures"][figure.name]), figure.unit)
             for figure in row.figures[:2] if result["figures"].get(figure.name) is not None]
    if result.get("dirty"):
        parts.append("(dirty)")
    return ", ".join(parts)


class RowRun:
    """All the rounds of a row."""

    def __init__(self, world, row, chosen, progress):
        self.world, self.row, self.progress = world, row, progress
        self.count = row.turns()
        self.found = {server.name: {"absent": server.absent, "rounds": []} for server in chosen}
        self.present = [server for server in chosen if not server.absent]
        if row.direct:
            self.found["direct"] = {"absent": None, "rounds": []}
        self.places = {}

    def run(self):
        row = self.row
        print("\n%s: %s" % (row.name, row.title), flush=True)
        self.world.forget(row.way)
        try:
            self.open_all()
            for number in range(self.count):
                self.round(number)
        finally:
            for place in self.places.values():
                row.finish(self.world, place)
        return {"name": row.name, "title": row.title, "group": row.group, "summary": row.summary,
                "figures": [figure._asdict() for figure in row.figures],
                "contenders": self.found}

    def open_all(self):
        for server in ([None] if self.row.direct else []) + self.present:
            name = server.name if server else "direct"
            try:
                self.places[name] = self.row.open(self.world, server)
            except (OSError, RuntimeError, ValueError) as error:
                self.found[name]["failed"] = str(error)
                print("  %s failed: %s" % (name, error), flush=True)

    def round(self, number):
        names = [server.name for server in self.present]
        turn = number % max(1, len(names))
        order = (["direct"] if self.row.direct else []) + names[turn:] + names[:turn]
        direct = None
        for name in order:
            if name not in self.places:
                continue
            result = self.measure(name, number)
            if name == "direct":
                direct = result.get("raw")
            elif "raw" in result and (direct or not self.row.direct):
                result["figures"] = self.row.baseline(result["raw"], direct)
            result.pop("raw", None)
            self.found[name]["rounds"].append(result)
            self.progress.tell(self.row, number, self.count, name, brief(self.row, result))

    def measure(self, name, number):
        with self.world.lab.meter() as meter:
            try:
                raw = self.row.measure(self.world, self.places[name], number)
            except (OSError, RuntimeError, ValueError) as error:
                return {"failed": str(error), "figures": {}}
        dirty = raw.pop("dirty", meter.usage.dirty)
        return {"raw": raw, "figures": raw, "dirty": dirty, "details": raw.pop("details", {})}


@contextlib.contextmanager
def laboratory():
    """A lab that is taken down to the end, however often Ctrl-C is pressed."""
    lab = benchlab.Lab()
    try:
        yield lab
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        lab.close()


def run_rows(chosen_rows, available, peers):
    """Measures; the whole result as it is written to bench.json."""
    with laboratory() as lab:
        print("relay on core(s) %s, the load on %s; %s" % (
            lab.relay_cores, lab.load_cores,
            "control groups" if lab.groups else "no control groups: " + lab.groups_why))
        world = servers.World(lab)
        plans = []
        for row in chosen_rows:
            plans.append((row, [server for server in row.contenders(available)
                                if server.name == "culvert" or matches(server.name, peers)]))
        present = [(row, sum(not server.absent for server in chosen) + row.direct)
                   for row, chosen in plans]
        progress = Progress(sum(row.turns() * count for row, count in present))
        result = {"machine": report.machine(lab), "versions": report.versions(available),
                  "settings": {"rounds": rows.ROUNDS, "seconds": rows.SECONDS}, "rows": []}
        for row, chosen in plans:
            result["rows"].append(RowRun(world, row, chosen, progress).run())
            print(report.row_text(result["rows"][-1]), flush=True)
            write(result)
        return result


def write(result):
    """After every row: what is there is worth something if the rest does not come."""
    os.makedirs(OUTPUT, exist_ok=True)
    files = {"bench.json": json.dumps(result, indent=1) + "\n", "table.txt": report.text(result),
             "table.md": report.markdown(result)}
    files.update(plot.files(result))
    for name, content in files.items():
        with open(os.path.join(OUTPUT, name), "w") as f:
            f.write(content)


def ended(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def print_markdown(path):
    with open(path) as f:
        print(report.markdown(json.load(f)), end="")


def main():
    if sys.argv[1:2] == ["--markdown"]:
        print_markdown((sys.argv[2:3] or [os.path.join(OUTPUT, "bench.json")])[0])
        return 0
    found = all_rows()
    wanted = os.environ.get("ROW", "")
    if wanted == "list":
        list_rows(found)
        return 0
    for needed in (benchlab.CULVERTD, benchlab.CULVERT, benchlab.LOAD):
        if not os.path.exists(needed):
            sys.exit(f"bench: {needed} is missing")
    if os.geteuid() != 0:
        sys.exit("bench: needs root (network namespaces)")
    for number in ENDING:
        signal.signal(number, ended)
    try:
        peers = [part for part in os.environ.get("PEER", "*").split(",") if part] or ["*"]
        result = run_rows(choose(found, wanted), servers.every_server(
            servers.parse_peers(os.environ.get("PEERS", ""))), peers)
    except ValueError as error:
        sys.exit("bench: %s" % error)
    except KeyboardInterrupt:
        print("\nbench: ended; what was measured is in %s" % OUTPUT)
        return 130
    print("\nwritten: %s" % ", ".join(sorted(
        os.path.join(OUTPUT, name) for name in os.listdir(OUTPUT))))
    return 0 if result["rows"] else 1


if __name__ == "__main__":
    sys.exit(main())
