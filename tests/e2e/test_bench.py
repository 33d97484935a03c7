# SPDX-License-Identifier: MIT
"""`make bench` works: what it computes, what it writes, and that it leaves nothing behind.

How fast anything is, is not asserted.
"""

import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree

import pytest
import rig

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench")
sys.path.insert(0, BENCH)

import bench  # noqa: E402
import lab  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402

FIGURES = [{"name": "rate", "title": "throughput", "unit": "GB/s", "better": "more"},
           {"name": "p50", "title": "p50", "unit": "us", "better": "less"},
           {"name": "p99", "title": "p99", "unit": "us", "better": "less"},
           {"name": "p999", "title": "p99.9", "unit": "us", "better": "less"}]


def contender(*rounds, absent=None):
    """Rounds of (rate, p50, dirty); None: one that failed."""
    return {"absent": absent, "rounds": [
        {"failed": "no"} if one is None else
        {"figures": dict(zip(("rate", "p50", "p99", "p999"),
                             (one[0], one[1], 2 * one[1], 3 * one[1]))), "dirty": one[2]}
        for one in rounds]}


def row(**contenders):
    return {"name": "a-row", "title": "a < row", "group": "bulk", "figures": FIGURES, "summary": 2,
            "contenders": contenders}


def result_of(*rows):
    return {"rows": list(rows), "versions": {"culvert": "1"}, "settings": {"rounds": 3, "seconds": 1},
            "machine": {"processor": "p", "virtual": "virtual", "cores": 2, "kernel": "6",
                        "relay_cores": [0], "load_cores": [1], "accounting": "control groups"}}


def test_ratios_are_of_the_same_round():
    one = row(culvert=contender((2, 10, 0), (4, 10, 0), (9, 10, 0)),
              slow=contender((1, 20, 0), (1, 20, 0), (3, 5, 0)))
    assert report.ratios_of(one, "slow", "rate") == ([2, 4, 3], True)
    assert report.ratios_of(one, "slow", "p50") == ([0.5, 0.5, 2], True)
    assert report.spread([2, 4, 3]) == (3, 2, 4)


def test_dirty_rounds_are_left_out_while_enough_are_clean():
    assert report.usable([False] * 2) == ([0, 1], True)
    assert report.usable([True, False, False, True, False]) == ([1, 2, 4], True)
    assert report.usable([True, False, False]) == ([0, 1, 2], False)
    ours = contender((2, 1, 1), (2, 1, 0), (2, 1, 0), (2, 1, 0), (8, 1, 0))
    theirs = contender((4, 1, 0), (1, 1, 0), None, (1, 1, 0), (1, 1, 1))
    one = row(culvert=ours, other=theirs)
    assert report.ratios_of(one, "other", "rate") == ([0.5, 2, 2, 8], False)
    assert report.values_of(ours, "rate") == ([2, 2, 2, 8], True)
    assert report.dirty_rounds(one) == (2, 9)


def test_tables_say_what_lost_and_what_is_missing():
    one = row(culvert=contender((1, 10, 0)), fast=contender((4, 5, 1)), gone=contender(
        absent="gone is not installed"), broken=contender(None))
    twice = row(culvert=contender((1, 10, 0), (2, 10, 0)), fast=contender((4, 5, 0), (4, 5, 0)))
    text, markdown = report.text(result_of(one)), report.markdown(result_of(one))
    assert "gone  absent: gone is not installed" in text and "broken  failed: no" in text
    assert "1 of 2 measurements dirty" in text and "culvert / fast" in text
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| a < row | throughput, GB/s | 1 | fast **0.25**\\*, broken failed |",
        "|  | p50, us | 10 | fast **2**\\*, broken failed |"]
    assert "| fast **0.375** (0.25 .. 0.5) |" in report.markdown(result_of(twice))


def test_pictures_are_well_formed():
    one = row(culvert=contender((1, 10, 0), (3, 10, 0)), fast=contender((4, 5, 0), (2, 5, 0)))
    files = plot.files(result_of(one))
    assert sorted(files) == ["index.html", "latency.svg", "ratios-bulk.svg"]
    for name in ("latency.svg", "ratios-bulk.svg"):
        words = [part.text for part in tree.fromstring(files[name]).iter() if part.text]
        assert "a < row" in words and "culvert" in " ".join(words), words
    assert plot.LOSS in files["ratios-bulk.svg"].split("</style>")[1]
    assert "<polyline" in files["latency.svg"]


def test_rows_and_peers_are_chosen():
    found = bench.all_rows()
    assert [one.name for one in bench.choose(found, "socks5-1,sni-[0-9]*")] == [
        "sni-1", "sni-64", "sni-1000", "socks5-1"]
    assert all(one.usual for one in bench.choose(found, ""))
    with pytest.raises(ValueError):
        bench.choose(found, "no-such-row")
    with pytest.raises(ValueError):
        servers.parse_peers("haproxy=/bin/true")
    assert servers.parse_peers("xray=/bin/true") == {"xray": "/bin/true"}
    every = servers.every_server({"xray": "/bin/true"})
    assert every["hev"].absent and not every["xray"].absent


def test_processes_are_accounted_without_groups():
    group = lab.Processes()
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    child = subprocess.Popen(["sh", "-c", "%s -c '%s'; sleep 60" % (sys.executable, burn)],
                             start_new_session=True)
    group.started.append(child.pid)
    try:
        rig.wait_for(lambda: group.seconds() >= 0.25, 30, "its child's time is counted")
        assert child.pid in group.pids()
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def left_behind(pid):
    """What a run with that pid has not removed."""
    return [path for folder in ("/run/netns", lab.group_root(), tempfile.gettempdir())
            for path in glob.glob("%s/%s%d*" % (folder, lab.PREFIX, pid))]


def start_bench(tmp, **more):
    output = os.path.join(tmp, "bench")
    environment = dict(os.environ, BENCH_OUTPUT=output, BENCH_SECONDS="0.3", PEERS="", **more)
    with open(os.path.join(tmp, "bench.log"), "w") as log:
        return output, subprocess.Popen(
            ["/usr/bin/python3", os.path.join(BENCH, "bench.py")], env=environment, stdout=log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def log_of(tmp):
    with open(os.path.join(tmp, "bench.log")) as file:
        return file.read()


def test_two_cells(net, tmp):
    """One with a peer and TLS, one without."""
    output, process = start_bench(tmp, ROW="sni-1,socks5-1", PEER="haproxy", BENCH_ROUNDS="1")
    assert process.wait(120) == 0, log_of(tmp)
    assert not left_behind(process.pid)
    with open(os.path.join(output, "bench.json")) as file:
        result = json.load(file)
    assert [one["name"] for one in result["rows"]] == ["sni-1", "socks5-1"]
    for one in result["rows"]:
        for name, some in one["contenders"].items():
            if some["absent"]:
                continue
            assert not report.why_not(some), (one["name"], name, log_of(tmp))
            figures = some["rounds"][0]["figures"]
            assert figures["rate"] > 0 and some["rounds"][0]["dirty"] in (True, False)
            if name != "direct":
                assert figures["own"] > 0 and figures["user_mib"] > 0 and "added" in figures
    assert bool(rig.find_program("haproxy")) == ("culvert / haproxy" in open(
        os.path.join(output, "table.txt")).read())
    tree.parse(os.path.join(output, "ratios-bulk.svg")).getroot()
    assert "culvert" in open(os.path.join(output, "index.html")).read()


def test_ended_early(net, tmp):
    """SIGINT in the middle of a measurement."""
    _, process = start_bench(tmp, ROW="socks5-1", PEER="none", BENCH_ROUNDS="1000")
    try:
        rig.wait_for(lambda: " round 2/" in log_of(tmp), 60, "it measures; " + log_of(tmp))
        assert left_behind(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, log_of(tmp)
    finally:
        process.kill()
    assert not left_behind(process.pid)


def test_killed(net, tmp):
    """SIGKILL leaves everything to the next run."""
    _, process = start_bench(tmp, ROW="socks5-1", PEER="dante", BENCH_ROUNDS="1000")
    try:
        rig.wait_for(lambda: " round 1/" in log_of(tmp), 60, "it measures; " + log_of(tmp))
        assert left_behind(process.pid)
    finally:
        process.kill()
        process.wait()
    lab.remove_stale()
    assert not left_behind(process.pid)
