#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""datagrams.py - how many datagrams a second pass SOCKS5 -> client -> VLESS over TLS -> server without
loss, ours beside v2ray (Debian's package) in the same run, where it is there. Prints; asserts nothing.

Rates rise until more than 0.1 % are lost. v2ray knows command 2 only; ours is measured in both forms.

    BENCH_RATES=5000,10000,20000,50000,100000,150000 BENCH_SECONDS=3 BENCH_BYTES=200
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from bench import BUILD, CULVERTD

PROGRAM = os.path.join(BUILD, "datagrams")
RATES = [int(n) for n in os.environ.get("BENCH_RATES", "5000,10000,20000,50000,100000,150000").split(",")]
SECONDS = os.environ.get("BENCH_SECONDS", "3")
BYTES = os.environ.get("BENCH_BYTES", "200")
USER = "b7502f40-1152-59f2-ba10-69aeed522cdf"
LOSS = 0.001


def certificate(directory):
    files = [os.path.join(directory, name) for name in ("key.pem", "crt.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench.test",
                    "-addext", "subjectAltName=DNS:bench.test", "-keyout", files[0], "-out", files[1]],
                   check=True, capture_output=True)
    return files


def configurations(key, crt, ports, packets, ours):
    server, socks = ports
    network = "raw" if ours else "tcp"
    account = {"id": USER, "encryption": "none"}
    if packets:
        account["packetEncoding"] = packets
    allow = {"settings": {"finalRules": [{"action": "allow"}]}} if ours else {}
    return {
        "inbounds": [{"listen": "127.0.0.1", "port": server, "protocol": "vless", "settings": {
            "decryption": "none", "clients": [{"id": USER, "email": "bench"}]}, "streamSettings": {
                "network": network, "security": "tls", "tlsSettings": {"certificates": [
                    {"certificateFile": crt, "keyFile": key}]}}}],
        "outbounds": [dict({"protocol": "freedom"}, **allow)],
    }, {
        "inbounds": [{"listen": "127.0.0.1", "port": socks, "protocol": "socks", "settings": {
            "auth": "noauth", "udp": True, "ip": "127.0.0.1"}}],
        "outbounds": [{"protocol": "vless", "settings": {"vnext": [{
            "address": "127.0.0.1", "port": server, "users": [account]}]}, "streamSettings": {
                "network": network, "security": "tls", "tlsSettings": {
                    "serverName": "bench.test", "certificates": [
                        {"certificateFile": crt, "usage": "verify"}]}}}],
    }


@contextlib.contextmanager
def running(directory, program, option, configs):
    children = []
    try:
        for number, config in enumerate(configs):
            path = os.path.join(directory, "%s-%d.json" % (os.path.basename(program), number))
            if program == CULVERTD:
                config = dict(config, log={"loglevel": "error"}, culvert={
                    "workers": 1, "controlSocket": "", "stateDirectory": ""})
                for inbound in config["inbounds"]:
                    inbound["settings"].pop("ip", None)
            else:
                config = dict(config, log={"loglevel": "none"})
            with open(path, "w") as file:
                json.dump(config, file)
            children.append(subprocess.Popen([program, option, path], stdout=subprocess.DEVNULL))
        time.sleep(1.5)
        yield
    finally:
        for child in children:
            child.terminate()
            child.wait(10)


def measure(socks):
    best = None
    for rate in RATES:
        done = subprocess.run([PROGRAM, str(socks), str(rate), SECONDS, BYTES], check=True,
                              capture_output=True, text=True)
        result = json.loads(done.stdout)
        lost = 1 - result["received"] / result["sent"]
        reached = result["sent"] / result["seconds"]
        print(f"  {rate:>7}/s asked, {reached:>8.0f}/s sent, {100 * lost:6.2f} % lost", flush=True)
        if lost > LOSS or reached < 0.95 * rate:
            break
        best = rate
        time.sleep(0.5)
    print("  without loss: " + (f"{best}/s" if best else "none of these"))


def main():
    ways = [("culvert, XUDP", CULVERTD, "-c", "xudp"), ("culvert, command 2", CULVERTD, "-c", "none")]
    if shutil.which("v2ray"):
        ways.append(("v2ray, command 2", shutil.which("v2ray"), "-config", None))
    with tempfile.TemporaryDirectory() as directory:
        key, crt = certificate(directory)
        for number, (name, program, option, packets) in enumerate(ways):
            print(name, flush=True)
            ports = 17400 + 2 * number, 17401 + 2 * number
            with running(directory, program, option,
                         configurations(key, crt, ports, packets, program == CULVERTD)):
                measure(ports[1])


if __name__ == "__main__":
    sys.exit(main())
