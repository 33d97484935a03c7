# SPDX-License-Identifier: MIT
"""What the soak is made of: a server with every door and a client with a port for each way through
it, traffic that checks every byte, and the book that is kept on the daemons."""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid

import crowd
import loadgen
import rig
from crowd import Hostile
from socks_udp import Association
from test_restart import restart
from test_tls_inbound import tls_stream
from test_transports import carried

PEER, FRAIL = 8200, 8300  # the frail peer goes down and comes up again
FRONT, SOCKS, SOCKS_TLS, HTTP_TLS, WS, VLESS_TLS, PLAIN, STATUS = range(4460, 4468)
LOCAL = {"reality": 1101, "ws": 1102, "mux": 1103, "socks-tls": 1104, "http-tls": 1105,
         "plain": 1106}
NAME, WORD = "proxy.test", "secret of the soak"
PEOPLE = ("alice", "bob", "guest")
ATTACKERS = ["10.77.1.%d" % number for number in range(20, 36)]
# rates: of the scripts of one way together, new connections a second
MIX = ("ask:300,ask:20000,close", "give:50000,ask:1000,end", "ask:400000,reset", "final:70000",
       "cut:100000", "half:30000,silent", "slow:300000,end", "wait:900,ask:500,wait:900,ask:50,end",
       "ask:1,give:1,ask:1,give:1,close", "final:0", "half:0,silent", "reset")
WHOLE_CLOSE = ("ws", "mux")  # what they say of an end ends both directions


def mix(way, steps):
    """Scripts of a way."""
    if way not in WHOLE_CLOSE:
        return ["%s,%s" % (steps, rest) for rest in MIX]
    return ["%s,%s" % (steps, rest.replace("end", "close")) for rest in MIX
            if not rest.startswith("half")]


def person(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name + ".soak"))


def stored():
    return subprocess.run(["mkpasswd", "-m", "sha-512", "-R", "1000", WORD], check=True,
                          capture_output=True, text=True).stdout.strip()


def users_file(names, password, flow=rig.VISION):
    return {"users": [{"username": name, "uuid": person(name), "email": name + "@soak",
                       "flow": flow, "proxy_password": password} for name in names]}


def door(tag, port, protocol, settings, stream=None):
    return {"tag": tag, "listen": rig.SERVER_IP if port else "none", "protocol": protocol,
            "settings": settings, "streamSettings": stream or {"network": "raw"},
            **({"port": port} if port else {})}


def server_config(users, target, keys, site, certificate):
    """Edge in front of REALITY and of a site; proxies with and without TLS; VLESS in three ways."""
    password = {"auth": "password", "usersFile": users}
    tls = tls_stream(certificate)
    plain = {"decryption": "none", "clients": [{"id": rig.PLAIN_USER, "email": "plain@soak"}]}
    return {
        "inbounds": [
            {"tag": "front", "listen": rig.SERVER_IP, "port": FRONT, "protocol": "edge"},
            door("reality", 0, "vless", {"decryption": "none", "usersFile": users},
                 rig.reality_stream(keys.private, target.address)),
            door("socks", SOCKS, "socks", dict(password, udp=True)),
            door("socks-tls", SOCKS_TLS, "socks", password, tls),
            door("http-tls", HTTP_TLS, "http", {"usersFile": users}, tls),
            door("ws", WS, "vless", plain, carried("ws", "none")),
            door("mux", VLESS_TLS, "vless", plain, tls),
            door("plain", PLAIN, "vless", plain),
        ],
        "edge": {"routes": [{"to": {"inboundTag": "reality"}},
                            {"names": [rig.WEB], "to": {"backend": "site"}}],
                 "backends": [{"name": "site", "address": site}], "target": target.address},
        "outbounds": [{"tag": "direct", "protocol": "freedom",
                       "settings": {"finalRules": [{"action": "allow"}]}}],
        "policy": {"levels": {"0": {"handshake": 6}}},
    }


def client_config(keys, authority):
    tls = {"network": "raw", "security": "tls", "tlsSettings": {
        "serverName": NAME, "certificates": [{"certificateFile": authority.file,
                                              "usage": "verify"}]}}

    def vless(tag, port, stream, user=rig.PLAIN_USER, flow="", **more):
        return dict({"tag": tag, "protocol": "vless", "streamSettings": stream, "settings": {
            "vnext": [{"address": rig.SERVER_IP, "port": port, "users": [
                {"id": user, "flow": flow, "encryption": "none"}]}]}}, **more)

    def proxy(tag, port, protocol):
        return {"tag": tag, "protocol": protocol, "streamSettings": tls, "settings": {
            "address": rig.SERVER_IP, "port": port, "user": "bob", "pass": WORD,
            "fallback": "block"}}

    return {
        "inbounds": [{"tag": "in-" + way, "listen": "127.0.0.1", "port": port, "protocol": "socks",
                      "settings": {"auth": "noauth", "udp": way == "reality"}}
                     for way, port in LOCAL.items()],
        "outbounds": [
            vless("reality", FRONT, rig.reality_client_stream(keys.public), person("alice"),
                  rig.VISION),
            vless("ws", WS, carried("ws", "none")),
            vless("mux", VLESS_TLS, tls, mux={"enabled": True, "concurrency": 8}),
            vless("plain", PLAIN, {"network": "raw"}),
            proxy("socks-tls", SOCKS_TLS, "socks"), proxy("http-tls", HTTP_TLS, "http")],
        "routing": {"rules": [{"inboundTag": ["in-" + way], "outboundTag": way} for way in LOCAL]},
    }


# ---- daemons -----------------------------------------------------------------------------------


def adopt_orphans():
    """A successor's exit status is ours to see."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Daemon:
    """A culvertd and its successors, and what is known of the one that serves."""

    def __init__(self, name, culvert):
        self.name, self.culvert, self.generation = name, culvert, 0
        self.sanitized = culvert.sanitized()
        self.log_read = 0

    def restart(self, engine):
        """By another engine; the predecessor ends by itself, with nothing left."""
        with open(self.culvert.config_path) as file:
            config = json.load(file)
        config["culvert"]["engine"] = engine
        with open(self.culvert.config_path, "w") as file:
            json.dump(config, file)
        former, self.culvert.pid = self.culvert.pid, restart(self.culvert)
        self.culvert.stopped = True
        self.generation += 1
        return former

    def ended(self, pid, seconds=60):
        """Waits for a process of this daemon; its exit status."""
        if pid == self.culvert.child.pid:
            return self.culvert.child.wait(seconds)
        status = []

        def gone():
            found, value = os.waitpid(pid, os.WNOHANG)
            return found == pid and status.append(os.waitstatus_to_exitcode(value)) is None

        rig.wait_for(gone, seconds, "%s, process %d, ends" % (self.name, pid))
        return status[0]

    def stop(self):
        self.culvert.stopped = True
        os.kill(self.culvert.pid, signal.SIGTERM)
        return self.ended(self.culvert.pid)

    def errors(self):
        """Lines of level error since the last look."""
        log = self.culvert.log()
        new, self.log_read = log[self.log_read:], len(log)
        return [line for line in new.splitlines() if " error " in line]

    def holds(self):
        files = list(self.culvert.descriptors().values())
        anonymous, resident = crowd.memory(self.culvert.pid, "RssAnon", "VmRSS")
        return {"sessions": self.culvert.counter("sessions"), "fds": len(files),
                "pipes": sum(file.startswith("pipe:") for file in files),
                "anonymous": anonymous, "resident": resident,
                "buffers": self.culvert.counter("receive_buffer_bytes")}

    def settle(self, seconds=60):
        """What it holds when nobody is there and the memory of handshakes has been given back."""
        rig.wait_for(lambda: self.culvert.counter("sessions") == 0 and
                     self.culvert.counter("associations") == 0, seconds,
                     "%s: every session ends: %s" % (self.name, self.culvert.sessions()[:5]))
        time.sleep(22 if not self.sanitized else 1)
        return self.holds()


def kernel_memory(namespace):
    """(TCP sockets of the namespace, orphans, kilobytes of buffers of this machine's TCP)."""
    text = subprocess.run(["cat", "/proc/self/net/sockstat"], check=True, capture_output=True,
                          text=True, preexec_fn=namespace.enter).stdout
    found = re.search(r"TCP: inuse (\d+) orphan (\d+) tw \d+ alloc \d+ mem (\d+)", text)
    return int(found.group(1)), int(found.group(2)), int(found.group(3)) * 4


# ---- traffic -----------------------------------------------------------------------------------


class Peer:
    """hostile serve, which may go away and come back."""

    def __init__(self, namespace, port):
        self.namespace, self.port = namespace, port
        self.start()

    def start(self):
        self.child = subprocess.Popen(
            [crowd.program(), "serve", rig.INTERNET_IP, str(self.port)], stdout=subprocess.PIPE,
            preexec_fn=self.namespace.enter)
        assert self.child.stdout.readline() == b"ready\n"

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


class Site:
    """What REALITY imitates; it may be gone for a moment, too."""

    def __init__(self, namespace, tmp, target):
        self.namespace, self.directory = namespace, os.path.join(tmp, "soak-site")
        self.address, self.nginx = "%s:8450" % rig.INTERNET_IP, None
        self.http = """
            server { listen %s ssl http2 backlog=4096; server_name %s; root %s;
                ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3;
                client_header_timeout 8; keepalive_timeout 8; }""" % (
            self.address, rig.SITE, target.root, target.certificate, target.key)
        self.up()

    def up(self):
        self.nginx = rig.Nginx(self.namespace, self.directory, self.http,
                               wait=((rig.INTERNET_IP, 8450),))

    def down(self):
        if self.nginx:
            self.nginx.stop()
        self.nginx = None


def ways(port=PEER):
    """{way: (address, first steps)}"""
    found = {way: (("127.0.0.1", local), crowd.socks(port=port)) for way, local in LOCAL.items()}
    found["socks"] = ((rig.SERVER_IP, SOCKS), crowd.socks(("alice", WORD), port=port))
    return found


class Datagrams(threading.Thread):
    """An association that asks an echo now and then."""

    def __init__(self, namespace, name, server, credentials=None):
        super().__init__(daemon=True)
        self.way, self.asked, self.failure, self.over = name, 0, None, threading.Event()
        self.association = Association(namespace, server, credentials=credentials)
        self.start()

    def run(self):
        try:
            with self.association as one:
                while not self.over.wait(0.2):
                    wanted = os.urandom(8) + bytes(self.asked % 1200)
                    host, port, data = one.ask(rig.INTERNET_IP, PEER, wanted)
                    while data != wanted:  # of an attempt that was given up
                        host, port, data = one.recv()
                    self.asked += 1
        except Exception as error:  # the scene says so
            self.failure = "%s: %s" % (type(error).__name__, error)


class Tls(threading.Thread):
    """Programs that speak TLS inside, so that the kernel gets both directions; some read slowly."""

    def __init__(self, net, internet, way, count=6):
        super().__init__(daemon=True)
        self.way, self.rounds, self.failures, self.over = way, 0, [], threading.Event()
        self.make = lambda: loadgen.Load(net.client, LOCAL[way], internet.ca, "/small",
                                         internet.sizes["small"], internet.hashes["small"], count,
                                         slow_every=3)
        self.count = count
        self.start()

    def run(self):
        while not self.over.is_set() and not self.failures:
            load = self.make().run()
            self.rounds += self.count
            self.failures += load.failures
            self.over.wait(0.3)


class Browser(threading.Thread):
    """Browsers of the site behind the edge."""

    def __init__(self, net, internet):
        super().__init__(daemon=True)
        self.net, self.internet = net, internet
        self.way, self.rounds, self.failures, self.over = "edge", 0, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.3) and not self.failures:
            status, body, error = rig.curl(
                self.net.client, "--cacert", self.internet.ca, "--resolve",
                "%s:%d:%s" % (rig.WEB, FRONT, rig.SERVER_IP), "https://%s:%d/small" % (
                    rig.WEB, FRONT))
            if status or hashlib.sha256(body).hexdigest() != self.internet.hashes["small"]:
                self.failures.append(error or "%d bytes" % len(body))
            self.rounds += 1


class Traffic:
    """All ways at once until end(): what was done, and what went wrong by each way."""

    def __init__(self, net, internet, rate):
        self.net, self.internet = net, internet
        self.steady = {way: Hostile(net.client, to, *mix(way, steps), rate=rate, seconds=36000, at_a_time=1000, deadline=60)
                       for way, (to, steps) in ways().items()}
        self.tls = [Tls(net, internet, way) for way in ("reality", "plain")]
        self.udp = [Datagrams(net.client, "reality", ("127.0.0.1", LOCAL["reality"])),
                    Datagrams(net.client, "socks", (rig.SERVER_IP, SOCKS), ("alice", WORD))]
        self.site = Browser(net, internet)

    def end(self):
        """(sessions, requests, {way: complaint}, worst p50 and p99 in us)."""
        for one in self.steady.values():
            one.go()
        for one in self.tls + self.udp + [self.site]:
            one.over.set()
        sessions = requests = 0
        complaints, slowest = {}, [0, 0]
        for way, one in self.steady.items():
            result = one.result(120)
            sessions += result["connections"]
            requests += result["asks"]["count"]
            slowest = [max(slowest[0], result["asks"]["p50_us"]),
                       max(slowest[1], result["asks"]["p99_us"])]
            if not crowd.good(result):
                complaints[way] = {key: result[key] for key in ("where", "connections")}
        for one in self.tls + [self.site]:
            one.join(120)
            sessions += one.rounds
            requests += one.rounds
            if one.failures or one.is_alive():
                complaints["TLS by " + one.way] = one.failures[:3] or "does not end"
        for one in self.udp:
            one.join(60)
            sessions, requests = sessions + 1, requests + one.asked
            if one.failure or not one.asked:
                complaints["datagrams by " + one.way] = one.failure or "none"
        return sessions, requests, complaints, slowest
