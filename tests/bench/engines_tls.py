#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""engines_tls.py - TLS ended in user space against TLS ended in the kernel. Prints; asserts nothing.

curl gets and puts a file through culvertd's HTTP proxy over TLS, on loopback; ways interleaved in
every round. Each figure is also a ratio to user space in the same round: median [min .. max]. Two CPU
figures: the relay's own, and the whole machine's (kernel threads and softirq, but also curl's share of
the same records and the site's). A kernel without TLS is said, and gets user space's figures only.

    BENCH_ROUNDS=3 BENCH_TLS_MIB=1024
"""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lab import CULVERTD, cpu_of, machine_busy
from latency import wait_port
from engines import spread

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
BYTES = int(os.environ.get("BENCH_TLS_MIB", "1024")) << 20
WAYS = {"user space": "off", "kernel": "force"}
SETUP_SECONDS, MOVE_SECONDS = 30, 300


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read_head(client):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError("no request")
        head += piece
    return head.split(b"\r\n\r\n", 1)


def serve(client, file):
    """One request: GET gives the file, PUT takes one like it."""
    with client:
        head, rest = read_head(client)
        if head.startswith(b"GET"):
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % BYTES)
            offset = 0
            while offset < BYTES:
                offset += os.sendfile(client.fileno(), file.fileno(), offset, BYTES - offset)
            return
        left, buffer = BYTES - len(rest), bytearray(1 << 20)
        while left > 0:
            count = client.recv_into(buffer)
            if not count:
                raise ConnectionError("the body ended early")
            left -= count
        client.sendall(b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


def site(file):
    """The port of a web server that lives as long as this process."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, file), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def certificate(folder):
    paths = [os.path.join(folder, name) for name in ("cert.pem", "key.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost", "-out", paths[0], "-keyout", paths[1]],
                   check=True, stderr=subprocess.DEVNULL)
    return paths


class Relay:
    def __init__(self, folder, way):
        self.port, self.log_path = free_port(), os.path.join(folder, "relay.log")
        self.certificate, key = certificate(folder)
        path = os.path.join(folder, "relay.json")
        with open(path, "w") as file:
            json.dump({
                "log": {"loglevel": "info"},
                "culvert": {"engine": "splice", "ktls": WAYS[way], "controlSocket": ""},
                "inbounds": [{
                    "listen": "127.0.0.1", "port": self.port, "protocol": "http",
                    "settings": {"accounts": [{"user": "bench", "pass": "bench"}]},
                    "streamSettings": {"network": "raw", "security": "tls", "tlsSettings": {
                        "certificates": [{"certificateFile": self.certificate, "keyFile": key}]}}}],
                "outbounds": [{"protocol": "freedom", "settings": {"allowPrivate": True}}]}, file)
        os.chmod(path, 0o600)
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([CULVERTD, "-c", path], stdout=log, stderr=log)

    def __enter__(self):
        wait_port(self.port, SETUP_SECONDS)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def says(self):
        """What the daemon's own trial of kernel TLS found."""
        with open(self.log_path) as file:
            found = re.search(r"kernel TLS (usable|not used): (.*)", file.read())
        return (found.group(1) == "usable", found.group(2)) if found else (False, "not tried")


def move(relay, web_port, upload, file):
    """(GB/s, the relay's CPU seconds per GB, the machine's)."""
    command = ["curl", "-sSf", "-o", "/dev/null", "--proxytunnel", "--proxy-user", "bench:bench",
               "--proxy-cacert", relay.certificate, "-x", f"https://localhost:{relay.port}",
               "--max-time", str(MOVE_SECONDS), f"http://127.0.0.1:{web_port}/"]
    if upload:
        command[1:1] = ["-T", file.name, "-H", "Expect:"]
    before = time.monotonic(), cpu_of([relay.process.pid]), machine_busy()
    subprocess.run(command, check=True)
    after = time.monotonic(), cpu_of([relay.process.pid]), machine_busy()
    seconds, own, whole = (b - a for a, b in zip(before, after))
    return BYTES / 1e9 / seconds, own / (BYTES / 1e9), whole / (BYTES / 1e9)


def one_round(ways, web_port, upload, file):
    results = {}
    for way in ways:
        with tempfile.TemporaryDirectory() as folder, Relay(folder, way) as relay:
            results[way] = move(relay, web_port, upload, file)
    return results


def print_direction(name, rounds):
    print(f"\nHTTP proxy over TLS, {name}, {BYTES >> 20} MiB, {len(rounds)} rounds")
    print(f"  {'':11s} {'GB/s':24s} {'relay CPU s/GB':24s} {'machine CPU s/GB':24s} "
          f"{'/ user space: GB/s':24s} relay CPU")
    for way in rounds[0]:
        columns = [spread([results[way][i] for results in rounds]) for i in range(3)]
        columns += [spread([results[way][i] / max(results["user space"][i], 1e-9)
                            for results in rounds]) for i in (0, 1)]
        print(f"  {way:11s} " + " ".join(f"{column:24s}" for column in columns).rstrip())
    sys.stdout.flush()


def main():
    if not os.path.exists(CULVERTD):
        sys.exit(f"engines_tls: {CULVERTD} is missing")
    with tempfile.TemporaryDirectory() as folder, Relay(folder, "kernel") as relay:
        usable, text = relay.says()
    ways = list(WAYS) if usable else ["user space"]
    print(f"\nkernel TLS {'usable' if usable else 'not used'}: {text}")
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.name, BYTES)
        web_port = site(file)
        for name, upload in (("download", False), ("upload", True)):
            print_direction(name, [one_round(ways, web_port, upload, file) for _ in range(ROUNDS)])


if __name__ == "__main__":
    main()
