#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""datagrams.py - how many datagrams a second pass SOCKS5 -> client -> VLESS over TLS -> server without
loss, and what CPU client and server use for each: ours beside v2ray in the same run, where it is
installed.

Rates rise until more than 0.1 % are lost, or the sender does not keep them up, twice. v2ray 4.34 knows
command 2 only; ours is measured in both forms. One association, one destination,
all on loopback; sender and receiver share the machine.

    BENCH_ONLY=datagrams DATAGRAMS_RATES=10000,50000,100000 DATAGRAMS_SECONDS=3 DATAGRAMS_BYTES=200
"""
import contextlib
import json
import os
import shutil
import subprocess
import time

RATES = [int(n) for n in os.environ.get(
    "DATAGRAMS_RATES", "5000,10000,25000,50000,75000,100000,150000,200000").split(",")]
SECONDS = os.environ.get("DATAGRAMS_SECONDS", "3")
BYTES = os.environ.get("DATAGRAMS_BYTES", "200")
USER = "b7502f40-1152-59f2-ba10-69aeed522cdf"
LOSS = 0.001
SITE = "localhost"  # bench.py has a certificate for it


def configurations(bench, server, socks, packets, ours):
    network = "raw" if ours else "tcp"
    account = {"id": USER, "encryption": "none"}
    listener = {"auth": "noauth", "udp": True}
    freedom = {"protocol": "freedom"}
    more = {"log": {"loglevel": "none"}}
    if ours:
        account["packetEncoding"] = packets
        freedom["settings"] = {"finalRules": [{"action": "allow"}]}
        more = {"log": {"loglevel": "error"},
                "culvert": {"workers": 1, "controlSocket": "", "stateDirectory": ""}}
    else:
        listener["ip"] = "127.0.0.1"
    certificate = {"certificateFile": bench.path(SITE + ".crt"), "keyFile": bench.path(SITE + ".key")}
    trusted = {"certificateFile": bench.path(SITE + ".crt"), "usage": "verify"}
    return (
        dict(more, inbounds=[{
            "listen": "127.0.0.1", "port": server, "protocol": "vless",
            "settings": {"decryption": "none", "clients": [{"id": USER, "email": "bench"}]},
            "streamSettings": {"network": network, "security": "tls",
                               "tlsSettings": {"certificates": [certificate]}}}],
             outbounds=[freedom]),
        dict(more, inbounds=[{
            "listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": listener}],
             outbounds=[{
                 "protocol": "vless",
                 "settings": {"vnext": [{"address": "127.0.0.1", "port": server, "users": [account]}]},
                 "streamSettings": {"network": network, "security": "tls", "tlsSettings": {
                     "serverName": SITE, "certificates": [trusted]}}}]))


@contextlib.contextmanager
def running(bench, program, option, packets):
    """(SOCKS5 port, processes)."""
    server, socks = bench.free_port(), bench.free_port()
    processes = []
    try:
        for port, config in zip((server, socks), configurations(
                bench, server, socks, packets, program == bench.culvertd)):
            path = bench.path("datagrams-%d.json" % port)
            with open(path, "w") as file:
                json.dump(config, file)
            processes.append(bench.start(program, option, path))
            bench.wait_port(port)
        yield socks, processes
    finally:
        for process in processes:
            bench.stop(process)


def measure(bench, socks, rate, processes):
    """(lost, sent per second, CPU us of a datagram)."""
    pids = [process.pid for process in processes]
    before = bench.cpu_of(pids)
    done = subprocess.run([bench.datagrams, str(socks), str(rate), SECONDS, BYTES], check=True,
                          capture_output=True, text=True)
    used = bench.cpu_of(pids) - before
    result = json.loads(done.stdout)
    return (1 - result["received"] / result["sent"], result["sent"] / result["seconds"],
            1e6 * used / max(result["received"], 1))


def most(bench, socks, processes):
    """The highest rate without loss, and what a datagram cost at it."""
    best = None
    for rate in RATES:
        for _ in range(2):
            lost, reached, cost = measure(bench, socks, rate, processes)
            print(f"  {rate:>7}/s: {reached:>8.0f}/s sent, {100 * lost:6.2f} % lost,"
                  f" {cost:5.2f} us CPU each", flush=True)
            passed = lost <= LOSS and reached >= 0.9 * rate
            if passed:
                break
            time.sleep(0.5)
        if not passed:
            break
        best = rate, cost
    return best


def run(bench):
    print(f"datagrams of {BYTES} bytes: SOCKS5, client, VLESS over TLS, server", flush=True)
    ways = [("culvert, XUDP", bench.culvertd, "-c", "xudp"),
            ("culvert, command 2", bench.culvertd, "-c", "none")]
    v2ray = shutil.which("v2ray")
    if v2ray:
        ways.append(("v2ray, command 2", v2ray, "-config", None))
    for name, program, option, packets in ways:
        print(name, flush=True)
        with running(bench, program, option, packets) as (socks, processes):
            best = most(bench, socks, processes)
        print("  without loss: " + (f"{best[0]}/s, {best[1]:.2f} us CPU each" if best
                                    else "none of these"), flush=True)
    if not v2ray:
        print("v2ray is not installed")
