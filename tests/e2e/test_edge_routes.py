# SPDX-License-Identifier: MIT
"""The edge as a router: names and what has none to inbounds, backends, the target, nowhere.

The server's own namespace holds the backends, behind addresses of its own; "kernel" and "user" say
who reads the names, as in test_classify.py.
"""

import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import time

import pins
import prober
import pytest
import reality_client
import rig
from test_classify import hello, where  # noqa: F401
from test_reload import reload

PORT = 7600
A, B, OTHER, TLS_SITE = "a.example", "b.example", "unlisted.example", "tls.example"
LOOPBACK = "127.0.0.1"


class Recorder:
    """A TCP service that keeps what each client sent and answers with its own name."""

    def __init__(self, namespace, name, port, address=LOOPBACK, family=socket.AF_INET):
        self.name, self.port, self.heard, self.connections = name, port, [], []
        with namespace:
            self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port) if family == socket.AF_INET else address)
        self.listener.listen(64)
        rig.accept_each(self.listener, self._one)

    def _one(self, connection):
        index = len(self.heard)
        self.heard.append(b"")
        self.connections.append(connection)
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            connection.sendall(self.name.encode())
            while True:
                block = connection.recv(65536)
                if not block:
                    break
                self.heard[index] += block
            connection.sendall(b"bye")

    def hang_up(self):
        """On the last one who came."""
        self.connections[-1].shutdown(socket.SHUT_RDWR)

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@contextlib.contextmanager
def recorders(namespace, **ports):
    made = {name: Recorder(namespace, name, port) for name, port in ports.items()}
    try:
        yield made
    finally:
        for one in made.values():
            one.stop()


def front(edge, *inbounds, port=PORT, **more):
    """A configuration with an inbound that only routes."""
    return dict({"inbounds": [dict({"tag": "front", "listen": rig.SERVER_IP, "port": port,
                                    "protocol": "edge"}, **more)] + list(inbounds),
                 "outbounds": [{"tag": "direct", "protocol": "freedom"}], "edge": edge})


@contextlib.contextmanager
def start(net, tmp, config, where=None, port=PORT, **more):
    daemon = rig.Culvert(net.server, tmp, config, "edge", wait=((rig.SERVER_IP, port),),
                         **dict(where or {}, **more))
    with rig.running(daemon):
        yield daemon


def dial(net, port=PORT):
    return rig.tcp(net.client, rig.SERVER_IP, port)


def backend(port, **more):
    return {"backend": dict({"backend": "%s:%d" % (LOOPBACK, port)}, **more)["backend"], **more}


def answer(connection, seconds=10):
    """What the other side says first."""
    connection.settimeout(seconds)
    try:
        return connection.recv(64).decode(errors="replace")
    except (socket.timeout, TimeoutError):
        return None
    except ConnectionResetError:
        return "rst"


def led_to(net, data, port=PORT, seconds=10):
    with dial(net, port) as one:
        one.sendall(data)
        return answer(one, seconds)


# ---- rows 1 to 5 ---------------------------------------------------------------------------------


def test_row_001_names(net, tmp, where):
    """Exact, wildcard, any case; each backend gets the hello byte for byte; openssl's too."""
    edge = {"routes": [{"names": [A, "*.wild.example"], "to": backend(9601)},
                       {"names": ["x.wild.example"], "to": backend(9602)},
                       {"names": [B], "to": backend(9602)}],
            "target": "%s:9603" % LOOPBACK}
    with recorders(net.server, one=9601, two=9602, site=9603) as made, \
            start(net, tmp, front(edge), where) as daemon:
        for name, wanted in ((A, "one"), ("A.Example", "one"), ("y.wild.example", "one"),
                             ("z.y.WILD.example", "one"), ("x.wild.example", "two"), (B, "two"),
                             ("wild.example", "site"), ("x" + A, "site"), (OTHER, "site")):
            record = hello(name)
            assert led_to(net, record) == wanted, name
            rig.wait_for(lambda: made[wanted].heard[-1:] == [record], 3, "the hello as it was")
        for name, wanted in ((A, "one"), (B, "two"), (A.upper(), "one")):
            child = subprocess.Popen(
                ["openssl", "s_client", "-servername", name, "-connect",
                 "%s:%d" % (rig.SERVER_IP, PORT)], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=net.client.enter)
            before = len(made[wanted].heard)
            rig.wait_for(lambda: any(h.startswith(b"\x16\3\1") for h in
                                     made[wanted].heard[before - 1:]), 5, "openssl's hello")
            child.kill()
            child.communicate()
        shown = {one["class"]: one for one in daemon.ask("sni")["classes"]}
        assert shown[A]["sessions_total"] >= 4 and shown["(other)"]["sessions_total"] == 3
        assert shown[A]["leads_to"] == "backend %s:9601" % LOOPBACK
        assert shown["(other)"]["leads_to"] == shown["(no name)"]["leads_to"] == "target"


def large_hello(name, size):
    """Of about size bytes, padded."""
    one = reality_client.Hello(sni=name)
    one.extensions.append((21, bytes(size - len(one.message()) - 4)))
    return one.message()


def records_of(message, size):
    return b"".join(prober.hello_record(message[at:at + size])
                    for at in range(0, len(message), size))


def haproxy(net, tmp, port, extra=""):
    """The reference: names by the same table, with the inspect-delay that the seed forgot."""
    path = os.path.join(tmp, "router-%d.cfg" % port)
    with open(path, "w") as file:
        file.write("""
global
    maxconn 256
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend router
    bind %s:%d
    tcp-request inspect-delay 5s
    tcp-request content accept if { req_ssl_hello_type 1 }
    acl is_one req_ssl_sni -i %s
    use_backend one if is_one
    default_backend site
backend one
    server one %s:9601
backend site
    server site %s:9603
%s""" % (rig.SERVER_IP, port, A, LOOPBACK, LOOPBACK, extra))
    process = rig.Process(net.server, [rig.find_program("haproxy"), "-db", "-f", path],
                          path + ".log")
    rig.wait_for(lambda: rig.accepts(net.server, rig.SERVER_IP, port) or not process.alive(), 10,
                 "haproxy listens")
    assert process.alive(), process.log()
    return process


def test_row_002_pieces(net, tmp, where):
    """A hello in any pieces, up to 16 KiB, in records of any size; HAProxy leads them likewise."""
    edge = {"routes": [{"names": [A], "to": backend(9601)}], "target": "%s:9603" % LOOPBACK}
    with recorders(net.server, one=9601, site=9603) as made, \
            start(net, tmp, front(edge), where), rig.running(haproxy(net, tmp, 7699)):
        for port in (PORT, 7699):
            for name, wanted in ((A, "one"), (OTHER, "site")):
                for size, piece in ((0, 1), (0, 100), (15000, 1400), (16380, 4000)):
                    if size > 15000 and port != PORT:
                        continue  # more than HAProxy's buffer holds by default
                    message = (large_hello(name, size) if size
                               else reality_client.Hello(sni=name).message())
                    data = prober.hello_record(message)
                    with dial(net, port) as one:
                        prober.send_pieces(one, data, piece, 0.002 if piece > 1 else 0.0005)
                        assert answer(one) == wanted, (port, name, size, piece)
                    rig.wait_for(lambda: made[wanted].heard[-1:] == [data], 3, "all of it")
        # what HAProxy does not put together: hellos over several records
        for size, record in ((0, 1), (0, 60), (16000, 1000), (16384 - 4, 16380)):
            message = (large_hello(A, size) if size else reality_client.Hello(sni=A).message())
            data = records_of(message, record)
            for piece in (len(data), 700):
                with dial(net) as one:
                    prober.send_pieces(one, data, piece, 0.002)
                    assert answer(one) == "one", (size, record, piece)
                rig.wait_for(lambda: made["one"].heard[-1:] == [data], 3, "all of it")
        # a pause below the deadline, and one above it
        data = hello(A)
        for pause, wanted in ((3.5, "one"), (6, "site")):
            with dial(net) as one:
                one.sendall(data[:100])
                time.sleep(pause)
                one.sendall(data[100:])
                assert answer(one) == wanted, pause


def test_row_003_unchanged(net, tmp, internet, where):
    """The backend's own certificate, every byte, half-close; moved by the kernel."""
    edge = {"routes": [{"names": [rig.WEB], "to": {"backend": rig.INTERNET_IP + ":443"}},
                       {"names": [A], "to": backend(9601)}], "unknownName": "drop",
            "noName": "drop", "notTls": "drop", "silence": "drop"}
    with recorders(net.server, one=9601) as made, start(net, tmp, front(edge), where) as daemon:
        status, body, error = rig.curl(
            net.client, "--cacert", internet.ca, "--connect-to",
            "%s:443:%s:%d" % (rig.WEB, rig.SERVER_IP, PORT), "https://%s/big" % rig.WEB)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["big"]
        engines = {one["engine"]: one for one in daemon.ask("engines")["engines"]}
        moved = sum(one["downlink_bytes"] for name, one in engines.items()
                    if name in ("splice", "sockmap", "copy"))
        assert moved > internet.sizes["big"] * 0.9, engines
        data = hello(A) + os.urandom(rig.MIB)
        with dial(net) as one:
            one.sendall(data)
            assert answer(one) == "one"
            prober.half_close(one)
            assert rig.read_all(one) == (b"bye", "fin")
        assert made["one"].heard == [data]


ANSWERS = ("unknownName", "noName", "notTls", "silence")


def without_answer(edge, key):
    return {k: v for k, v in edge.items() if k != key}


def no_name_hello():
    one = reality_client.Hello(sni=A)
    one.extensions = [e for e in one.extensions if e[0] != 0]
    return prober.hello_record(one.message())


SAID = {"unknownName": lambda: hello(OTHER), "noName": no_name_hello,
        "notTls": lambda: b"GET / HTTP/1.0\r\n\r\n", "silence": lambda: b""}


@pytest.mark.parametrize("to", ("target", "drop", "raw80", "backend"))
def test_row_004_answers(net, tmp, where, to):
    """Unknown name, no name, no TLS, silence: each has its answer; default is the target."""
    place = backend(9602) if to == "backend" else to
    edge = {"routes": [{"names": [A], "to": backend(9601)}], "target": "%s:9603" % LOOPBACK,
            "fakeSite": "%s:9604" % LOOPBACK}
    wanted = {"target": "site", "drop": None, "raw80": "fake", "backend": "two"}[to]
    with recorders(net.server, one=9601, two=9602, site=9603, fake=9604) as made, \
            start(net, tmp, front(dict(edge, **dict.fromkeys(ANSWERS, place))), where) as daemon:
        ends = []
        connections = [dial(net) for _ in ANSWERS]
        said = {key: SAID[key]() for key in ANSWERS}
        for key, one in zip(ANSWERS, connections):
            one.sendall(said[key])
        for key, one in zip(ANSWERS, connections):
            if to == "drop":
                found = prober.observe(one, seconds=9)
                assert found.data == b"" and found.end == "fin", (key, found)
                ends.append(found.seconds)
            else:
                assert answer(one, 8) == wanted, key
                rig.wait_for(lambda: said[key] in made[wanted].heard, 3, "what was said")
        assert led_to(net, hello(A)) == "one"
        if to == "drop":
            daemon.wait_idle()
            assert daemon.reason_count("edge_drop") >= 4


def test_row_004_default(net, tmp):
    """Nothing configured: the target; nothing said at all: closed without a word or a log line."""
    edge = {"target": "%s:9603" % LOOPBACK}
    with recorders(net.server, site=9603), start(net, tmp, front(edge)) as daemon:
        for key in ANSWERS:
            assert led_to(net, SAID[key](), seconds=8) == "site", key
        with dial(net) as one:
            prober.half_close(one)
            assert rig.read_all(one, 3) == (b"", "fin")
        daemon.wait_reason("peer_closed")
        # of a hello that breaks off all that came is passed on, FIN behind it
        with dial(net) as one:
            one.sendall(hello(A)[:50])
            prober.half_close(one)
            assert rig.read_all(one, 3)[0] == b"sitebye"


def site(namespace, tmp, authority, name, port, text):
    certificate, key = authority.issue(name)
    return """
        server { listen %s:%d ssl; server_name %s; return 200 "%s\\n";
            ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3; }""" % (
        LOOPBACK, port, name, text, certificate, key)


def fetch(net, authority, name, port=PORT, *more):
    status, body, error = rig.curl(
        net.client, "--cacert", authority.file, "--resolve",
        "%s:%d:%s" % (name, port, rig.SERVER_IP), "https://%s:%d/" % (name, port), *more)
    assert status == 0, error
    return body.decode().strip()


def test_row_005_sites(net, tmp, authority):
    """Ten sites on 9443 to 9452, each with its own certificate, and a REALITY inbound in front."""
    names = ["site%d.proxy.example" % i for i in range(10)]
    http = "".join(site(net.server, tmp, authority, name, 9443 + i, name)
                   for i, name in enumerate(names))
    nginx = rig.Nginx(net.server, os.path.join(tmp, "ten-sites"), http,
                      wait=((LOOPBACK, 9443), (LOOPBACK, 9452)))
    edge = {"backends": [{"name": name, "address": "%s:%d" % (LOOPBACK, 9443 + i)}
                         for i, name in enumerate(names)],
            "routes": [{"names": [name], "to": {"backend": name}, "class": "sites"}
                       for name in names], "target": "%s:9443" % LOOPBACK}
    with rig.running(nginx), start(net, tmp, front(edge)) as daemon:
        for name in names:
            assert fetch(net, authority, name) == name
        shown = {one["class"]: one for one in daemon.ask("sni")["classes"]}
        assert shown["sites"]["sessions_total"] == 10


# ---- other inbounds, other sockets ---------------------------------------------------------------


def fake_site(net, tmp, port):
    return rig.Nginx(net.server, os.path.join(tmp, "fake-%d" % port), """
        server { listen %s:%d; return 200 "the fake site\n"; }""" % (LOOPBACK, port),
        wait=((LOOPBACK, port),))


def terminator(authority, name, site_port, tag="tls-in"):
    """TLS of its own with the fake site behind it; reached through the edge only."""
    certificate, key = authority.issue(name)
    os.chmod(key, 0o644)
    return {"tag": tag, "listen": "none", "protocol": "vless",
            "settings": {"decryption": "none", "clients": [{"id": rig.PLAIN_USER}],
                         "fallbacks": [{"dest": "%s:%d" % (LOOPBACK, site_port)}]},
            "streamSettings": {"network": "raw", "security": "tls", "tlsSettings": {
                "alpn": ["http/1.1"],
                "certificates": [{"certificateFile": certificate, "keyFile": key}]}}}


def test_row_063_fake_site(net, tmp, authority, where):
    """https by the terminator and http as it comes give the same page, to unknown names too."""
    edge = {"routes": [{"names": [A], "to": backend(9601)}], "fakeSite": "%s:9610" % LOOPBACK,
            "terminateTag": "tls-in", "unknownName": "terminate", "noName": "terminate",
            "notTls": "raw80", "silence": "drop"}
    with rig.running(fake_site(net, tmp, 9610)), \
            start(net, tmp, front(edge, terminator(authority, TLS_SITE, 9610)), where):
        for name in (TLS_SITE, OTHER):
            status, secure, error = rig.curl(
                net.client, "-k", "--resolve", "%s:%d:%s" % (name, PORT, rig.SERVER_IP),
                "https://%s:%d/" % (name, PORT))
            assert status == 0, error
            assert secure == b"the fake site\n"
        assert fetch(net, authority, TLS_SITE) == "the fake site"
        status, plain, error = rig.curl(net.client, "http://%s:%d/" % (rig.SERVER_IP, PORT))
        assert status == 0, error
        assert plain == secure
        with dial(net) as one:  # no name at all
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(one) as secured:
                secured.sendall(b"GET / HTTP/1.0\r\nHost: x\r\nUser-Agent: y\r\n\r\n")
                assert secured.recv(65536).endswith(b"the fake site\n") or \
                    secured.recv(65536).endswith(b"the fake site\n")


def vless_behind(keys, target, **more):
    return dict({"tag": "vless-in", "listen": "none", "protocol": "vless",
                 "settings": {"decryption": "none", "clients": [
                     {"id": rig.USER, "flow": rig.VISION, "email": "vision@test"}]},
                 "streamSettings": rig.reality_stream(keys.private, target)}, **more)


def through(net, tmp, keys, internet, socks_port, port=PORT):
    """Our own client, REALITY and Vision, through what listens on port."""
    client = rig.Culvert(net.client, tmp, rig.client_config(
        socks_port, port, rig.reality_client_stream(keys.public)), "client",
        wait=((LOOPBACK, socks_port),))
    with rig.running(client):
        status, body, error = rig.curl(
            net.client, "-x", "socks5h://%s:%d" % (LOOPBACK, socks_port), "--cacert", internet.ca,
            "--connect-to", "%s:443:%s:443" % (rig.WEB, rig.INTERNET_IP),
            "https://%s/medium" % rig.WEB)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]


OUT = [{"tag": "direct", "protocol": "freedom", "settings": {"finalRules": [{"action": "allow"}]}}]


def test_reality_behind(net, tmp, keys, target, internet, authority, where):
    """The whole system on one port: REALITY by its own server names, sites, TLS, the rest."""
    edge = {"routes": [{"to": {"inboundTag": "vless-in"}, "class": "vless"},
                       {"names": [TLS_SITE], "to": {"inboundTag": "tls-in"}},
                       {"names": [A], "to": backend(9601)}], "target": target.address}
    config = dict(front(edge, vless_behind(keys, target.address),
                        terminator(authority, TLS_SITE, 9610)), outbounds=OUT)
    with recorders(net.server, one=9601), rig.running(fake_site(net, tmp, 9610)), \
            start(net, tmp, config, where) as daemon:
        through(net, tmp, keys, internet, 1091)
        assert fetch(net, authority, TLS_SITE) == "the fake site"
        assert led_to(net, hello(A)) == "one"
        for name in (rig.SITE, OTHER):  # strangers see the target
            status, body, error = rig.curl(
                net.client, "-k", "--resolve", "%s:%d:%s" % (name, PORT, rig.SERVER_IP),
                "https://%s:%d/" % (name, PORT))
            assert (status, body.decode()) == (0, rig.PAGE), error
        shown = {one["class"]: one for one in daemon.ask("sni")["classes"]}
        assert shown["vless"]["sessions_total"] >= 2


def test_reality_in_front(net, tmp, keys, target, internet, where):
    """Routes on the REALITY inbound itself; what has no route meets REALITY as ever."""
    edge = {"routes": [{"names": [A], "to": backend(9601)}]}
    config = rig.server_config(PORT, rig.reality_stream(keys.private, target.address), edge=edge)
    with recorders(net.server, one=9601), start(net, tmp, config, where):
        through(net, tmp, keys, internet, 1092)
        assert led_to(net, hello(A)) == "one"
        with dial(net) as one:
            one.sendall(hello(OTHER))
            assert prober.observe(one, quiet=1).data[:1] == b"\x16"
        assert b" 400 " in rig.exactly(_said(net, b"GET / HTTP/1.1\r\n\r\n"), 16)


def _said(net, data):
    one = dial(net)
    one.sendall(data)
    return one


def test_unix_backend(net, tmp):
    """A backend that is a unix socket, by path and by an abstract name."""
    path = os.path.join(tmp, "backend.sock")
    made = [Recorder(net.server, "path", 0, path, socket.AF_UNIX),
            Recorder(net.server, "name", 0, "\0culvert-test-edge", socket.AF_UNIX)]
    os.chmod(path, 0o666)
    edge = {"routes": [{"names": [A], "to": {"backend": path}},
                       {"names": [B], "to": {"backend": "@culvert-test-edge"}}],
            "target": path}
    with start(net, tmp, front(edge)):
        data = hello(A)
        assert led_to(net, data) == "path"
        assert led_to(net, hello(B)) == "name"
        rig.wait_for(lambda: made[0].heard == [data], 3, "the hello as it was")
    for one in made:
        one.stop()


# ---- health --------------------------------------------------------------------------------------


def backends(daemon):
    return {one["backend"]: one for one in daemon.ask("backends")["backends"]}


def test_health(net, tmp):
    """A backend that dies is noticed once, its clients go elsewhere, and come back with it."""
    check = {"interval": 1, "fall": 2, "rise": 2}
    edge = {"backends": [
        {"name": "first", "address": "%s:9601" % LOOPBACK, "check": check,
         "whenDown": {"backend": "second"}},
        {"name": "second", "address": "%s:9602" % LOOPBACK, "check": check},
        {"name": "alone", "address": "%s:9605" % LOOPBACK, "check": check, "whenDown": "drop"},
        {"name": "unseen", "address": "%s:9606" % LOOPBACK, "whenDown": {"backend": "second"}}],
        "routes": [{"names": [A], "to": {"backend": "first"}},
                   {"names": [B], "to": {"backend": "alone"}},
                   {"names": ["u.example"], "to": {"backend": "unseen"}}],
        "target": "%s:9603" % LOOPBACK}
    with recorders(net.server, one=9601, two=9602, site=9603) as made, \
            start(net, tmp, front(edge)) as daemon:
        # before any check has failed often enough: not to be dialled is as good as down
        assert led_to(net, hello("u.example")) == "two"
        with dial(net) as one:
            one.sendall(hello(B))
            assert rig.read_all(one, 5) == (b"", "fin")
        assert led_to(net, hello(A)) == "one"
        rig.wait_for(lambda: backends(daemon)["alone"]["state"] == "down", 8, "alone is down")
        made["one"].stop()
        assert led_to(net, hello(A)) == "two"  # at once
        rig.wait_for(lambda: backends(daemon)["first"]["state"] == "down", 8, "first is down")
        failed = backends(daemon)["first"]["failed_dials"]
        assert led_to(net, hello(A)) == "two"
        assert backends(daemon)["first"]["failed_dials"] == failed  # not even tried
        made["two"].stop()
        rig.wait_for(lambda: backends(daemon)["second"]["state"] == "down", 8, "second is down")
        assert led_to(net, hello(A)) == "site"  # and then the target
        back = Recorder(net.server, "one", 9601)
        rig.wait_for(lambda: backends(daemon)["first"]["state"] == "up", 8, "first is back")
        assert led_to(net, hello(A)) == "one"
        assert daemon.log().count("backend=first is down after 2") == 1
        assert daemon.log().count("backend=first is up again") == 1
        assert daemon.log().count("backend=alone is down") == 1
        assert daemon.log().count("warning inbound=front backend=unseen") == 1
        text = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "show", "backends",
                               "--control", daemon.control_path], capture_output=True, text=True,
                              check=True).stdout
        assert "first" in text and "backend second" in text and "down" in text
        back.stop()


def test_reload(net, tmp, where):
    """Places and backends change with SIGHUP; who is there stays where it is."""
    check = {"interval": 1, "fall": 1, "rise": 1}
    edge = {"backends": [{"name": "main", "address": "%s:9601" % LOOPBACK, "check": check}],
            "routes": [{"names": [A], "to": {"backend": "main"}}],
            "target": "%s:9603" % LOOPBACK}
    with recorders(net.server, one=9601, two=9602, site=9603) as made, \
            start(net, tmp, front(edge), where) as daemon:
        live = dial(net)
        live.sendall(hello(A))
        assert answer(live) == "one"
        with open(daemon.config_path) as file:
            config = json.load(file)
        config["edge"]["backends"][0]["address"] = "%s:9602" % LOOPBACK
        config["edge"]["unknownName"] = {"backend": "main"}
        with open(daemon.config_path, "w") as file:
            json.dump(config, file)
        answered = daemon.ask("reload")
        assert not answered.get("error"), answered
        assert led_to(net, hello(A)) == "two"
        assert led_to(net, hello(OTHER)) == "two"
        live.sendall(b"still here")
        rig.wait_for(lambda: any(h.endswith(b"still here") for h in made["one"].heard), 3,
                     "the old way")
        live.close()
        rig.wait_for(lambda: backends(daemon)["main"]["checks"] > 1, 5, "the new one is checked")


@pytest.mark.parametrize("hangs_up", (False, True))
def test_late_hello(net, tmp, where, hangs_up):
    """What silence leads to is dialled meanwhile: nobody hears of it who goes elsewhere."""
    edge = {"routes": [{"names": [A], "to": backend(9601)}], "target": "%s:9603" % LOOPBACK}
    with recorders(net.server, one=9601, site=9603) as made, \
            start(net, tmp, front(edge), where) as daemon:
        for name, wanted in ((A, "one"), (OTHER, "site")):
            record = hello(name)
            with dial(net) as late:
                before = len(made["site"].heard)
                rig.wait_for(lambda: len(made["site"].heard) > before, 3, "dialled early")
                if hangs_up and wanted == "one":
                    made["site"].hang_up()
                time.sleep(0.2)
                late.sendall(record)
                assert answer(late) == wanted
                rig.wait_for(lambda: made[wanted].heard[-1] == record, 3, "the hello")
            assert len(made["site"].heard) == before + 1, "and not dialled again"
        daemon.wait_idle()


# ---- rows 7 and 8: beside other proxies ----------------------------------------------------------


def checking_haproxy(net, tmp, ports, send="", port=7699):
    """HAProxy with one server for each of our ports, which it checks; state by its socket."""
    stats = os.path.join(tmp, "haproxy-%d.sock" % port)
    servers = "".join("""
frontend f%d
    bind %s:%d
    default_backend b%d
backend b%d
    server us %s:%d check inter 300ms fall 1 rise 1 %s
""" % (one, rig.SERVER_IP, port + i, one, one, rig.SERVER_IP, one, send)
                      for i, one in enumerate(ports))
    path = os.path.join(tmp, "checks-%d.cfg" % port)
    with open(path, "w") as file:
        file.write("""
global
    maxconn 256
    stats socket %s
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
%s""" % (stats, servers))
    process = rig.Process(net.server, [rig.find_program("haproxy"), "-db", "-f", path],
                          path + ".log")
    rig.wait_for(lambda: rig.accepts(net.server, rig.SERVER_IP, port) or not process.alive(), 10,
                 "haproxy listens")
    assert process.alive(), process.log()
    return process, stats


def server_states(stats):
    """{backend: (status, checks that failed)}"""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(stats)
        one.sendall(b"show stat\n")
        text = b""
        while True:
            block = one.recv(65536)
            if not block:
                break
            text += block
    rows = [line.split(",") for line in text.decode().splitlines() if line]
    columns = rows[0]
    return {row[0].lstrip("# "): (row[columns.index("status")], row[columns.index("chkfail")])
            for row in rows[1:] if row[1] == "us"}


def test_row_007_health_checks(net, tmp, keys, target, authority):
    """HAProxy's checks of a router, REALITY, TLS and SOCKS: always UP, and nothing in the log."""
    seconds = 60 if os.environ.get("CULVERT_LONG") else 6
    tls = dict(terminator(authority, TLS_SITE, 9610), listen=rig.SERVER_IP, port=7602)
    reality = vless_behind(keys, target.address, listen=rig.SERVER_IP, port=7601)
    socks = {"tag": "socks", "listen": rig.SERVER_IP, "port": 7603, "protocol": "socks"}
    config = dict(front({"inboundTag": "front", "target": target.address}, reality, tls, socks),
                  outbounds=OUT)
    with start(net, tmp, config, loglevel="info") as daemon:
        process, stats = checking_haproxy(net, tmp, (PORT, 7601, 7602, 7603))
        with rig.running(process):
            before = daemon.log()
            time.sleep(seconds)
            states = server_states(stats)
            assert len(states) == 4
            assert all(state == ("UP", "0") for state in states.values()), states
            for port in (PORT, 7601, 7602, 7603):  # others send more than a SYN and an RST
                for leave in (rig.reset, socket.socket.close):
                    for _ in range(5):
                        leave(dial(net, port))
            daemon.wait_idle()
            assert daemon.counter("accepted") >= 30
            assert daemon.log() == before
            assert daemon.alive()
        daemon.wait_idle()


def proxy_v2(source="198.51.100.9", port=4321, command=0x21):
    return (b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, 0x11, 0, 12]) + socket.inet_aton(source) +
            socket.inet_aton("192.0.2.1") + port.to_bytes(2, "big") + b"\1\xbb")


HEADERS = {"v1": b"PROXY TCP4 198.51.100.9 192.0.2.1 4321 443\r\n", "v2": proxy_v2(),
           "v1 unknown": b"PROXY UNKNOWN\r\n", "local": proxy_v2(command=0x20)}


def accepting(inbound):
    return dict(inbound, streamSettings=dict(inbound.get("streamSettings", {"network": "raw"}),
                                             sockopt={"acceptProxyProtocol": True}))


def sites_with_proxy(net, tmp, authority, port, name):
    """nginx that wants a PROXY header and tells whom it names."""
    certificate, key = authority.issue(name)
    return rig.Nginx(net.server, os.path.join(tmp, "proxied-%d" % port), """
        server { listen %s:%d ssl proxy_protocol; server_name %s;
            return 200 "$proxy_protocol_addr $proxy_protocol_port\\n";
            ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3; }""" % (
        LOOPBACK, port, name, certificate, key), wait=((LOOPBACK, port),))


@pytest.mark.parametrize("send", ("send-proxy", "send-proxy-v2"))
def test_row_008_through_haproxy(net, tmp, authority, internet, send, where):
    """HAProxy tells us who the client is, and we tell nginx: by both versions, at each end."""
    edge = {"routes": [{"names": [A], "to": {"backend": LOOPBACK + ":9621", "xver": 1}},
                       {"names": [B], "to": {"backend": LOOPBACK + ":9622", "xver": 2}},
                       {"names": [rig.WEB], "to": {"backend": rig.INTERNET_IP + ":443"}}],
            "target": LOOPBACK + ":9603"}
    config = front(edge)
    config["inbounds"][0] = accepting(config["inbounds"][0])
    with rig.running(sites_with_proxy(net, tmp, authority, 9621, A),
                     sites_with_proxy(net, tmp, authority, 9622, B)), \
            start(net, tmp, config, where) as daemon:
        process, stats = checking_haproxy(net, tmp, (PORT,), send)
        with rig.running(process):
            for name in (A, B):
                told = fetch(net, authority, name, 7699).split()
                assert told[0] == rig.CLIENT_IP and int(told[1]) > 1024
            download = rig.curl(net.client, "--cacert", internet.ca, "--limit-rate", "2m",
                                "--connect-to",
                                "%s:443:%s:7699" % (rig.WEB, rig.SERVER_IP),
                                "https://%s/medium" % rig.WEB, background=True)
            rig.wait_for(lambda: any(s["client"].startswith(rig.CLIENT_IP + ":")
                                     for s in daemon.sessions()), 5, "the client's own address")
            body, _ = download.communicate(timeout=60)
            assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
            assert server_states(stats)["b%d" % PORT][0] == "UP"


@pytest.mark.parametrize("kind", sorted(HEADERS))
def test_row_008_headers(net, tmp, kind, where):
    """Any pieces; the address counts for show and for rules; LOCAL and UNKNOWN are the socket's."""
    config = {"inbounds": [accepting({"tag": "socks", "listen": rig.SERVER_IP, "port": PORT,
                                      "protocol": "socks"}),
                           accepting(front({}, port=7601)["inbounds"][0])],
              "outbounds": OUT + [{"tag": "block", "protocol": "blackhole"}],
              "routing": {"rules": [{"source": ["198.51.100.0/24"], "outboundTag": "block"}]},
              "edge": {"routes": [{"names": [A], "to": backend(9601)}],
                       "target": LOOPBACK + ":9603"}}
    is_told = kind in ("v1", "v2")
    with recorders(net.server, one=9601, site=9603) as made, \
            start(net, tmp, config, where) as daemon:
        for size in (1000, 1):
            with dial(net) as one:
                prober.send_pieces(one, HEADERS[kind], size, 0.001)
                reply = rig.socks_handshake(one, rig.SERVER_INNER_IP, 1)
                assert reply == (2 if is_told else 5)  # refused by a rule, or by the port
            data = hello(A)
            with dial(net, 7601) as one:
                prober.send_pieces(one, HEADERS[kind] + data, size, 0.001)
                assert answer(one) == "one"
                assert [s["client"].split(":")[0] for s in daemon.sessions()
                        if s["inbound"] == "front"][-1:] == \
                    ["198.51.100.9" if is_told else rig.CLIENT_IP]
            rig.wait_for(lambda: made["one"].heard[-1:] == [data], 3, "the hello alone")


def test_row_008_without_header(net, tmp):
    """None, a broken one, half of one: closed without a word, within 5 s."""
    config = front({"target": LOOPBACK + ":9603"})
    config["inbounds"][0] = accepting(config["inbounds"][0])
    with recorders(net.server, site=9603) as made, start(net, tmp, config) as daemon:
        for data in (hello(A), b"PROXY TCP4 1.2.3.4\r\n", b"GET / HTTP/1.1\r\n\r\n",
                     b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"):
            with dial(net) as one:
                one.sendall(data)
                assert rig.read_all(one, 3)[0] == b""
        with dial(net) as one:
            one.sendall(HEADERS["v1"][:20])
            data, end = rig.read_all(one, 8)
            assert (data, end) == (b"", "fin")
        assert made["site"].heard == []
        assert "no PROXY header" in daemon.log()


def test_row_008_from_whom(net, tmp):
    """Only proxies that are named may say who the client is; others are closed on. A reload changes
    whom we believe."""
    config = front({"target": LOOPBACK + ":9603"})
    del config["edge"], config["inbounds"][0]
    socks = accepting({"tag": "socks", "listen": rig.SERVER_IP, "port": PORT, "protocol": "socks"})
    sockopt = socks["streamSettings"]["sockopt"]
    config["inbounds"].append(socks)
    with start(net, tmp, config) as daemon:
        assert "proxyProtocolFrom" in daemon.log()  # strangers reach it
        for sources, is_believed in ((None, True), (["192.0.2.0/24", "::1"], False),
                                     (rig.CLIENT_IP, True)):
            if sources:
                sockopt["proxyProtocolFrom"] = sources
                assert reload(daemon, config).returncode == 0
            before = daemon.reason_count("not_trusted")
            with dial(net) as one:
                one.sendall(HEADERS["v1"] + b"\5\1\0")
                assert rig.read_all(one, 1)[0] == (b"\5\0" if is_believed else b"")
            assert daemon.reason_count("not_trusted") == before + (not is_believed)


# ---- row 6: haproxy.cfg in and out ---------------------------------------------------------------

SEED = """
global
    maxconn 4096
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 15s
    timeout client 300s
    timeout server 300s
frontend https_sni_router
    bind %(server)s:%(port)d
    mode tcp
    tcp-request content accept if { req_ssl_hello_type 1 }
    acl is_vless req_ssl_sni -i a.example x.example   # the inbound
    acl is_site req.ssl_sni -i "b.example"
    acl is_tree req_ssl_sni -i -m end .wild.example
    use_backend xray_vless if is_vless
    use_backend nginx_9443 if is_site or is_tree
    default_backend fake_site_fallback
backend xray_vless
    mode tcp
    server xray 127.0.0.1:9601 check inter 1s
backend nginx_9443
    server nginx 127.0.0.1:9602 check inter 1s fall 1
    server spare 127.0.0.1:9604 check backup
backend fake_site_fallback
    server fake 127.0.0.1:9603 check
listen stats
    bind 127.0.0.1:9000
    mode http
"""


def run_culvert(*words):
    return subprocess.run([os.path.join(rig.build_dir(), "culvert")] + list(words),
                          capture_output=True, text=True)


def import_cfg(tmp, text):
    path = os.path.join(tmp, "import.cfg")
    with open(path, "w") as file:
        file.write(text)
    return run_culvert("import", path)


def export_cfg(tmp, config, *more):
    path = os.path.join(tmp, "export.json")
    with open(path, "w") as file:
        json.dump(config, file)
    return run_culvert("export", "haproxy", path, *more)


def write_cfg(tmp, name, text):
    path = os.path.join(tmp, name)
    with open(path, "w") as file:
        file.write(text)
    return path


@contextlib.contextmanager
def running_haproxy(net, tmp, text, port):
    """HAProxy itself finds the file good, without a warning, and runs it."""
    path = write_cfg(tmp, "exported-%d.cfg" % port, text)
    checked = subprocess.run([rig.find_program("haproxy"), "-c", "-f", path], capture_output=True,
                             text=True)
    assert checked.returncode == 0, text + checked.stdout + checked.stderr
    assert "WARNING" not in checked.stderr, text + checked.stderr
    process = rig.Process(net.server, [rig.find_program("haproxy"), "-db", "-f", path],
                          path + ".log")
    rig.wait_for(lambda: rig.accepts(net.server, rig.SERVER_IP, port) or not process.alive(), 10,
                 "haproxy listens")
    assert process.alive(), process.log()
    with rig.running(process):
        yield process


LED = ((hello, A, "one"), (hello, "X.example", "one"), (hello, B, "two"),
       (hello, "y.wild.example", "two"), (hello, "wild.example", "site"), (hello, OTHER, "site"),
       (lambda _: no_name_hello(), "", "site"), (lambda _: b"GET / HTTP/1.0\r\n\r\n", "", "site"),
       (lambda _: b"", "", "site"))


def test_row_006_import(net, tmp):
    """The seed's haproxy.cfg, read; and written again, HAProxy does what we do."""
    text = SEED % {"server": rig.SERVER_IP, "port": PORT}
    found = import_cfg(tmp, text)
    assert found.returncode == 0, found.stderr
    assert "no inspect-delay" in found.stderr and "listen stats is left out" in found.stderr
    config = json.loads(found.stdout)
    ports = dict(one=9601, two=9602, site=9603, spare=9604)
    with recorders(net.server, **ports) as made, start(net, tmp, config) as daemon:
        for say, name, wanted in LED:
            assert led_to(net, say(name), seconds=8) == wanted, (name, wanted)
        with dial(net) as one:  # what HAProxy misleads without the delay
            prober.send_pieces(one, hello(A), 100, 0.05)
            assert answer(one) == "one"
        made["two"].stop()
        rig.wait_for(lambda: backends(daemon)["nginx_9443"]["state"] == "down", 8, "two is down")
        assert led_to(net, hello(B)) == "spare"
    written = export_cfg(tmp, config)
    assert written.returncode == 0, written.stderr
    assert "inspect-delay 5s" in written.stdout
    with recorders(net.server, **ports) as made, \
            running_haproxy(net, tmp, written.stdout, PORT):
        for say, name, wanted in LED:
            assert led_to(net, say(name), seconds=8) == wanted, (name, wanted)
        with dial(net) as one:
            prober.send_pieces(one, hello(A), 100, 0.05)
            assert answer(one) == "one"
        made["two"].stop()
        rig.wait_for(lambda: led_to(net, hello(B)) == "spare", 8, "the backup serves")


def test_row_006_export_in_front(net, tmp, keys, target, internet):
    """Real HAProxy in front of our inbound, by what we wrote: our own client gets through."""
    edge = {"routes": [{"names": [A], "to": backend(9601, xver=2)},
                       {"names": ["good.bad.example"], "to": backend(9602)},
                       {"names": ["*.bad.example"], "to": "drop"}],
            "notTls": "drop", "silence": "drop"}
    ours = rig.server_config(PORT, rig.reality_stream(keys.private, target.address), edge=edge)
    written = export_cfg(tmp, ours, "--behind", "127.0.0.1:7601")
    assert written.returncode == 0, written.stderr
    assert "must listen on 127.0.0.1:7601" in written.stderr
    behind = rig.server_config(7601, rig.reality_stream(keys.private, target.address),
                               listen=LOOPBACK)
    with recorders(net.server, one=9601, two=9602) as made, \
            start(net, tmp, behind, port=7601) as daemon, \
            running_haproxy(net, tmp, written.stdout, PORT):
        through(net, tmp, keys, internet, 1093)
        data = hello(A)
        assert led_to(net, data) == "one"
        rig.wait_for(lambda: made["one"].heard and made["one"].heard[-1].endswith(data), 3, "it")
        assert made["one"].heard[-1].startswith(b"\r\n\r\n\0\r\nQUIT\n")
        assert led_to(net, hello("good.bad.example")) == "two"
        for data in (hello("x.bad.example"), b"GET / HTTP/1.0\r\n\r\n"):
            with dial(net) as one:
                one.sendall(data)
                assert rig.read_all(one, 8)[0] == b""
        with dial(net) as one:  # anybody else meets REALITY's target
            one.sendall(hello(OTHER))
            assert prober.observe(one, quiet=1).data[:1] == b"\x16"
        daemon.wait_idle()


def test_import_refuses(tmp):
    """What would be done otherwise here is said with its line, and nothing is written."""
    good = SEED % {"server": rig.SERVER_IP, "port": PORT}
    for old, new, wanted in (
            ("use_backend xray_vless if is_vless", "use_backend xray_vless if is_vless is_site",
             "line 17: conditions that must hold together"),
            ("if is_vless", "if !is_vless", "negations are not supported"),
            ("if is_vless", "unless is_vless", "expected \"use_backend NAME if CONDITION\""),
            ("if is_vless", "if is_missing", "no acl is called \"is_missing\""),
            ("req_ssl_sni -i a.example", "src 10.0.0.0/8", "only req_ssl_sni decides here"),
            ("-m end .wild.example", "-m reg wild", "expected -i, -m str or -m end"),
            ("-m end .wild.example", "-m end wild.example", "is no whole domain"),
            ("use_backend xray_vless", "use_backend nobody", "no backend is called \"nobody\""),
            ("    server fake 127.0.0.1:9603 check", "", "backend fake_site_fallback has no server"),
            ("127.0.0.1:9603", "fake", "expected host:port or a path"),
            ("mode tcp\n    tcp-request", "mode http\n    tcp-request", "expected mode tcp"),
            ("127.0.0.1:9603 check", "127.0.0.1:9603 ssl", "TLS to a backend is not supported"),
            ("listen stats", "frontend second\n    bind :8443\n    default_backend xray_vless\n"
             "listen stats", "a second frontend that routes by name"),
            (good, "nonsense\n", "before any section"),
            (good, "", "no frontend with a bind line")):
        assert old in good
        found = import_cfg(tmp, good.replace(old, new, 1))
        assert (found.returncode, found.stdout) == (2, ""), (old, new)
        assert wanted in found.stderr, (new, found.stderr)
    for words in (("import",), ("import", "/none"), ("export", "nginx", "x"), ("export",)):
        assert run_culvert(*words).returncode in (1, 2)
    found = export_cfg(tmp, rig.socks_only_config(1080))
    assert found.returncode == 2 and "no inbound routes by name" in found.stderr
    edge = {"routes": [{"names": [A], "to": {"inboundTag": "socks"}}], "target": "x:1"}
    found = export_cfg(tmp, front(edge, {"tag": "socks", "listen": "none", "protocol": "socks"}))
    assert found.returncode == 2 and "inbound socks has no address of its own" in found.stderr
