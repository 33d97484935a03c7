#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""steps.py - what a handshake, an idle session, a reload and each step of a connection cost, on loopback.

Prints; asserts nothing.

    BENCH_ROUNDS=5 BENCH_SECONDS=4 BENCH_IDLE=1000
    BENCH_ONLY=handshakes,idle,routing,scale,latency,datagrams
"""
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import datagrams
import latency
import scale
from lab import BUILD, CULVERT, CULVERTD, cpu_of

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
IDLE_SESSIONS = int(os.environ.get("BENCH_IDLE", "1000"))
ONLY = [part for part in os.environ.get("BENCH_ONLY", "").split(",") if part]
LOADGEN = os.path.join(BUILD, "loadgen")
DATAGRAMS = os.path.join(BUILD, "datagrams")
ROUTING = os.path.join(BUILD, "routing")
SNI = "camouflage.test"
SHORT_ID = "0123456789abcdef"
TIDY_SECONDS = 22  # by then a daemon has given back what handshakes used


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=30, address="127.0.0.1"):
    end = time.time() + seconds
    while time.time() < end:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


class Bench:
    # for the rows that have files of their own
    culvertd, short_id = CULVERTD, SHORT_ID
    free_port, wait_port = staticmethod(free_port), staticmethod(wait_port)
    cpu_of, datagrams = staticmethod(cpu_of), DATAGRAMS

    def __init__(self):
        self.dir = tempfile.mkdtemp()
        self.running = []

    def close(self):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
                continue
            process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, *command, **options):
        options.setdefault("stdout", subprocess.DEVNULL)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)
        self.running.append(process)
        return process

    def stop(self, process):
        self.running.remove(process)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
        process.kill()
        process.wait()

    def site(self):
        """nginx is the target (TLS 1.3), and a site with a small page."""
        for name in (SNI, "localhost"):
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
                 f"subjectAltName=DNS:{name}", "-keyout", self.path(name + ".key"), "-out",
                 self.path(name + ".crt")], check=True, stderr=subprocess.DEVNULL)
        os.mkdir(self.path("root"))
        with open(self.path("root/small"), "wb") as f:
            f.write(b"x" * 1000)
        os.chmod(self.dir, 0o755)
        self.target_port, self.site_port = free_port(), free_port()
        servers = "".join(
            f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {self.path(name)}.crt;"
            f" ssl_certificate_key {self.path(name)}.key; root {self.path('root')};"
            f" keepalive_timeout 600; }}\n"
            for name, port in ((SNI, self.target_port), ("localhost", self.site_port)))
        temps = "".join(f"{t}_temp_path {self.path(t)};" for t in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(self.path("nginx.conf"), "w") as f:
            f.write(f"user root; daemon off; worker_processes 2; pid {self.path('nginx.pid')};"
                    f" worker_rlimit_nofile 65536; events {{ worker_connections 16384; }}"
                    f" http {{ access_log off; {temps} ssl_protocols TLSv1.3;\n{servers} }}")
        self.nginx = self.start("nginx", "-p", self.dir, "-c", self.path("nginx.conf"), "-e",
                                self.path("nginx.log"))
        wait_port(self.target_port)
        self.certificate = (self.path("localhost.crt"), self.path("localhost.key"))

    def endless_site(self):
        self.endless_port = free_port()
        self.endless = self.start(LOADGEN, "site", str(self.endless_port),
                                  self.path(SNI + ".crt"), self.path(SNI + ".key"))
        wait_port(self.endless_port)

    @contextlib.contextmanager
    def target(self, group):
        """Another target for the daemons started meanwhile."""
        usual, self.target_port = self.target_port, free_port()
        process = self.start(LOADGEN, "site", str(self.target_port), self.path(SNI + ".crt"),
                             self.path(SNI + ".key"), group)
        wait_port(self.target_port)
        try:
            yield
        finally:
            self.stop(process)
            self.target_port = usual

    @contextlib.contextmanager
    def daemon(self, name, engine, port, inbounds):
        conf = {
            "log": {"loglevel": "none"},
            "culvert": {"engine": engine, "controlSocket": self.path(name + ".sock")},
            "inbounds": inbounds,
            "outbounds": [{"protocol": "freedom", "settings": {"allowPrivate": True}}]}
        with open(self.path(name + ".json"), "w") as f:
            json.dump(conf, f)
        process = self.start(CULVERTD, "-c", self.path(name + ".json"))
        wait_port(port)
        try:
            yield process
        finally:
            self.stop(process)

    def keys(self):
        keys = json.loads(subprocess.check_output([CULVERT, "keys", "--json"]))
        self.private, self.public = keys["privateKey"], keys["password"]
        self.uuid = subprocess.check_output([CULVERT, "uuid"], text=True).strip()

    def public_hex(self):
        return base64.urlsafe_b64decode(self.public + "=").hex()

    def reality_stream(self):
        return {"network": "raw", "security": "reality", "realitySettings": {
            "target": f"127.0.0.1:{self.target_port}", "serverNames": [SNI],
            "privateKey": self.private, "shortIds": [SHORT_ID]}}

    def reality_client_stream(self):
        return {"network": "raw", "security": "reality", "realitySettings": {
            "serverName": SNI, "password": self.public, "shortId": SHORT_ID}}

    @staticmethod
    def password_hash(password):
        return subprocess.check_output(["openssl", "passwd", "-6", password], text=True).strip()

    @contextlib.contextmanager
    def daemons(self, engine, flow="xtls-rprx-vision", workers=0):
        server_port, socks_port = free_port(), free_port()
        common = {"engine": engine, "workers": workers}
        server = {
            "log": {"loglevel": "none"},
            "culvert": {**common, "controlSocket": self.path("server.sock")},
            "inbounds": [{
                "listen": "127.0.0.1", "port": server_port, "protocol": "vless",
                "settings": {"clients": [{"id": self.uuid, "email": "b", "flow": flow}],
                             "decryption": "none"},
                "streamSettings": self.reality_stream()}],
            "outbounds": [{"protocol": "freedom", "settings": {"allowPrivate": True}}]}
        client = {
            "log": {"loglevel": "none"},
            "culvert": {**common, "controlSocket": self.path("client.sock")},
            "inbounds": [{"listen": "127.0.0.1", "port": socks_port, "protocol": "socks"}],
            "outbounds": [{
                "protocol": "vless",
                "settings": {"vnext": [{"address": "127.0.0.1", "port": server_port, "users": [
                    {"id": self.uuid, "encryption": "none", "flow": flow}]}]},
                "streamSettings": self.reality_client_stream()}]}
        processes = []
        for name, conf in (("server", server), ("client", client)):
            with open(self.path(name + ".json"), "w") as f:
                json.dump(conf, f)
            processes.append(self.start(CULVERTD, "-c", self.path(name + ".json")))
        wait_port(server_port)
        wait_port(socks_port)
        try:
            yield processes, server_port, socks_port
        finally:
            for process in processes:
                self.stop(process)

    def load(self, *arguments, ready=None):
        """The generator's result; ready() is called once its connections are up and have asked."""
        with subprocess.Popen([LOADGEN, *map(str, arguments)], stdout=subprocess.PIPE) as load:
            line = load.stdout.readline()
            if line == b"ready\n":
                if ready:
                    ready(load.pid)
                line = load.stdout.readline()
            return json.loads(line)


def spread(values):
    return (f"{statistics.median(values):7.3f}  [{min(values):.3f} .. {max(values):.3f}]"
            if values else "-")


def bench_handshakes(bench):
    primitives = bench.load("primitives")
    print("\nREALITY handshakes, one worker, target on loopback")
    print("  primitives alone, CPU us: " + ", ".join(f"{k[:-3]} {v}" for k, v in primitives.items()))
    public = bench.public_hex()
    rates = {"X25519": [], "X25519MLKEM768": []}
    for _ in range(ROUNDS):
        for group, found in rates.items():
            rate = handshake_round(bench, group, public)
            if rate:
                found.append(rate)
    for group, found in rates.items():
        print(f"  {group}, handshakes per second of server CPU: {spread(found)}")
        print(f"  {group}, server CPU us per handshake:         {spread([1e6 / r for r in found])}")


def handshake_round(bench, group, public):
    """Handshakes per CPU second of the server; its target speaks this group only."""
    with bench.target(group), bench.daemons("splice", workers=1) as (processes, server_port, _):
        before = cpu_of([processes[0].pid])
        result = bench.load("reality", server_port, SNI, public, SHORT_ID, SECONDS)
        used = cpu_of([processes[0].pid]) - before
        if result["failed"]:
            print(f"  {group}: {result['failed']} handshakes failed")
        return result["handshakes"] / used if used else None


def memory_of(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith("Pss_Anon:") or line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    return 0


def bench_idle(bench):
    """What a session adds: some are there already, so that what is used once is not counted."""
    first, wait = max(100, IDLE_SESSIONS // 4), TIDY_SECONDS + 3
    print(f"\n{IDLE_SESSIONS} idle sessions after the handover (Vision, splice), beside {first}")
    with bench.daemons("splice", workers=1) as (processes, _, socks_port):
        pids, memory, results = [p.pid for p in processes], [], []
        with contextlib.ExitStack() as stack:
            loads = []
            for count, seconds in ((first, 2 * wait + 10), (IDLE_SESSIONS, wait + 5)):
                loads.append(stack.enter_context(subprocess.Popen(
                    [str(a) for a in (LOADGEN, "idle", socks_port, bench.site_port, count, seconds,
                                      "/small")], stdout=subprocess.PIPE)))
                time.sleep(wait)
                memory.append([memory_of(pid) for pid in pids])
            workers = json.loads(subprocess.check_output(
                [CULVERT, "show", "workers", "--control", bench.path("server.sock"), "--json"]))
            results = [json.loads(load.communicate()[0].split(b"\n")[-2]) for load in loads]
        established = results[1]["established"]
        print(f"  established {established}, failed {results[0]['failed'] + results[1]['failed']}; "
              f"a session's slot is {workers['workers'][0]['session_slot_bytes']} bytes")
        for name, before, after in zip(("server", "client"), *memory):
            print(f"  {name}: {(after - before) / max(1, established):.0f} bytes of user memory per "
                  "idle session (growth of anonymous memory)")


def bench_routing(bench):
    """Decisions of a router with many rules and names; no network."""
    del bench
    print("\nrouting: 1000 rules, 100 000 names", flush=True)
    subprocess.run([ROUTING], check=True)


def main():
    for needed in (LOADGEN, DATAGRAMS, CULVERT, CULVERTD, ROUTING):
        if not os.path.exists(needed):
            sys.exit(f"bench: {needed} is missing")
    bench = Bench()
    try:
        bench.site()
        bench.endless_site()
        bench.keys()
        for name, part in (("handshakes", bench_handshakes), ("idle", bench_idle),
                           ("routing", bench_routing), ("scale", scale.run), ("latency", latency.run),
                           ("datagrams", datagrams.run)):
            if not ONLY or name in ONLY:
                part(bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
