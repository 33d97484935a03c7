# SPDX-License-Identifier: MIT
"""culvert selftest: a good installation is called good; whatever is broken is what fails."""

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import types

import pytest
import rig
from test_users import mkpasswd, user

SOCKS, HTTP, LOCAL, VLESS, STATUS = 1085, 8118, 1086, 4448, 9010
HOST = "proxy.test"
WORD = "the password of the page"


def certificate(directory, name, days, host=HOST):
    """combined.pem of a certificate that signs itself."""
    key, crt, both = (os.path.join(directory, name + end) for end in (".key", ".crt", ".pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), "-subj",
                    "/CN=" + host, "-addext", "subjectAltName=DNS:" + host, "-keyout", key, "-out",
                    crt], check=True, capture_output=True)
    with open(both, "w") as file:
        for part in (crt, key):
            with open(part) as source:
                file.write(source.read())
    os.chmod(both, 0o600)
    return crt, both


@pytest.fixture(scope="module")
def house(net, tmp, keys, target, internet):
    """A directory with all files of a good installation, and its configuration."""
    if net.server.pins:
        pytest.skip("the daemon of another user does not read root's files")
    directory = os.path.join(tmp, "house")
    os.makedirs(directory)
    os.chmod(directory, 0o755)
    crt, pem = certificate(directory, "good", 90)
    users = os.path.join(directory, "users.json")
    with open(users, "w") as file:
        json.dump({"users": [user("alice", socks_password=mkpasswd("sha-512", "word of alice",
                                                                   "-R", "1000"))]}, file)
    os.chmod(users, 0o600)
    tls = {"security": "tls", "tlsSettings": {"certificates": [{"certificateFile": "good.pem"}]}}
    config = {
        "log": {"loglevel": "info", "error": os.path.join(directory, "error.log")},
        "inbounds": [
            {"tag": "socks-in", "listen": rig.SERVER_IP, "port": SOCKS, "protocol": "socks",
             "settings": {"auth": "password", "usersFile": "users.json"}, "streamSettings": tls},
            {"tag": "http-in", "listen": rig.SERVER_IP, "port": HTTP, "protocol": "http",
             "settings": {"usersFile": "users.json"}, "streamSettings": tls},
            {"tag": "local", "listen": "127.0.0.1", "port": LOCAL, "protocol": "mixed",
             "settings": {"usersFile": "users.json", "auth": "password"}},
            {"tag": "vless-in", "listen": rig.SERVER_IP, "port": VLESS, "protocol": "vless",
             "settings": {"decryption": "none", "usersFile": "users.json"},
             "streamSettings": rig.reality_stream(keys.private, target.address)}],
        "outbounds": [{"tag": "direct", "protocol": "freedom"}],
        "culvert": {"workers": 1, "stateDirectory": "", "drainSeconds": 1, "bpf": "off",
                    "controlSocket": os.path.join(directory, "control.sock"),
                    "status": {"port": STATUS, "password": mkpasswd("sha-512", WORD, "-R",
                                                                    "1000")}}}
    return types.SimpleNamespace(directory=directory, config=config, crt=crt, net=net,
                                 path=os.path.join(directory, "culvert.json"), users=users,
                                 log=os.path.join(directory, "error.log"))


def copy(config):
    return json.loads(json.dumps(config))


def without_reality(house):
    """Starts at once: no target is to be learned."""
    config = copy(house.config)
    del config["inbounds"][3]
    return config


def write(house, config, path=None):
    with open(path or house.path, "w") as file:
        json.dump(config, file, indent=1)
    os.chmod(path or house.path, 0o600)


@contextlib.contextmanager
def running(house, config):
    """culvertd by this configuration, which afterwards stands in the file as it was."""
    write(house, config)
    if os.path.exists(house.log):
        os.unlink(house.log)
    daemon = rig.Process(house.net.server, [os.path.join(rig.build_dir(), "culvertd"), "-c",
                                            house.path], os.path.join(house.directory, "output"))
    try:
        rig.wait_for(lambda: not daemon.alive() or os.path.exists(
            house.config["culvert"]["controlSocket"]), 30, "culvertd is ready:\n" + daemon.log())
        assert daemon.alive(), daemon.log()
        yield daemon
    finally:
        status = daemon.stop()
        write(house, house.config)
    assert status == 0, daemon.log()


@pytest.fixture
def good(house):
    with running(house, house.config) as daemon:
        yield daemon


def selftest(house, *arguments, ca=True):
    """(exit status, {check: worst verdict}, the answer)."""
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "selftest", "-c", house.path,
                           "--json", *(("--ca", house.crt) if ca else ()), *arguments],
                          capture_output=True, text=True, timeout=60,
                          preexec_fn=house.net.server.enter)
    answer = json.loads(done.stdout)
    worst = {}
    for one in answer["checks"]:
        order = ["ok", "warn", "FAIL"]
        worst[one["check"]] = max(worst.get(one["check"], "ok"), one["verdict"], key=order.index)
    assert answer["good"] == (done.returncode == 0), (done.returncode, done.stdout)
    return done.returncode, worst, answer


def failed(house, *arguments, **more):
    status, worst, answer = selftest(house, *arguments, **more)
    found = [check for check, verdict in worst.items() if verdict == "FAIL"]
    assert (status == 1) == bool(found), answer
    assert not found or "does not keep" in answer["verdict"]
    for one in answer["checks"]:
        assert one["verdict"] == "ok" or len(one["text"]) > 30, one
    return found, json.dumps([one for one in answer["checks"] if one["verdict"] == "FAIL"])


CHECKS = {"configuration", "daemon", "permissions", "log", "plain_ports", "guessing", "passwords",
          "private_targets", "clock", "listeners", "tls", "certificates", "anonymous", "loopback",
          "status", "targets", "strangers"}


def test_row_067_good_and_bad_installations(house, good):
    """The good one is good, by text and by JSON, and no secret is told."""
    status, worst, answer = selftest(house)
    assert status == 0 and answer["verdict"].startswith("Good: "), answer
    assert set(worst) == CHECKS, worst
    bad = {check: verdict for check, verdict in worst.items() if verdict != "ok"}
    assert set(bad) <= {"clock"} and "FAIL" not in bad.values(), (bad, answer)
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "selftest", "-c", house.path,
                           "--ca", house.crt], capture_output=True, text=True, timeout=60,
                          preexec_fn=house.net.server.enter)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("Good: ") and lines[-2] == ""
    assert all(line.split()[0] in ("ok", "warn") and line.split()[1] in CHECKS
               for line in lines[:-2]), done.stdout
    for secret in (user("alice")["uuid"], house.config["culvert"]["status"]["password"],
                   house.config["inbounds"][3]["streamSettings"]["realitySettings"]["privateKey"]):
        assert secret not in done.stdout

    # what is broken around the daemon
    os.chmod(house.users, 0o644)
    assert failed(house)[0] == ["permissions"]
    os.chmod(house.users, 0o600)
    os.chmod(house.path, 0o606)
    assert failed(house)[0] == ["permissions"]
    os.chmod(house.path, 0o600)
    os.chmod(house.directory, 0o777)
    assert failed(house)[0] == ["permissions"]
    os.chmod(house.directory, 0o755)
    with open(house.log, "a") as file:
        file.write("2026 debug somebody logged %s\n" % user("alice")["uuid"])
    found, text = failed(house)
    assert found == ["log"] and user("alice")["uuid"] not in text
    assert failed(house, "--log", os.devnull)[0] == []
    with open(house.log, "w"):
        pass
    later = time.time() + 86400
    os.utime(house.path, (later, later))
    assert failed(house)[0] == ["clock"]
    os.utime(house.path)
    found, text = failed(house, ca=False)
    assert found == ["certificates"] and HOST in text
    assert failed(house, "--name", HOST)[0] == []
    found, text = failed(house, "--name", "other.test")
    assert found == ["certificates"] and "other.test" in text
    forwarder = subprocess.Popen(
        ["socat", "TCP-LISTEN:%d,bind=%s,fork,reuseaddr" % (LOCAL, rig.SERVER_IP),
         "TCP:127.0.0.1:%d" % LOCAL], preexec_fn=house.net.server.enter)
    try:
        rig.wait_for(lambda: rig.accepts(house.net.server, rig.SERVER_IP, LOCAL), 10, "socat")
        found, text = failed(house)
        assert found == ["loopback"] and "%s:%d" % (rig.SERVER_IP, LOCAL) in text
    finally:
        forwarder.kill()
        forwarder.wait()
    localnet(house, "1")
    try:
        assert failed(house)[0] == ["loopback"]
    finally:
        localnet(house, "0")
    assert selftest(house)[0] == 0


def localnet(house, value):
    """/proc/sys/net shows the namespace of who opens it."""
    with house.net.server:
        with open("/proc/sys/net/ipv4/conf/lo/route_localnet", "w") as file:
            file.write(value)


def test_broken_settings(house):
    """What the daemon runs by, too, is not as it should be."""
    def broken(change):
        config = without_reality(house)
        change(config)
        return config

    def plain(config):
        del config["inbounds"][0]["streamSettings"]

    def guess(config):
        config["culvert"]["loginFailures"] = 0

    def insecure(config):
        config["outbounds"].append({
            "tag": "up", "protocol": "socks", "settings": {"address": "192.0.2.1", "port": 1},
            "streamSettings": {"security": "tls", "tlsSettings": {"allowInsecure": True}}})

    def old(config):
        config["inbounds"][1]["streamSettings"]["tlsSettings"]["minVersion"] = "1.2"

    def ending(config):
        certificate(house.directory, "ending", 2)
        tls = copy(config["inbounds"][1]["streamSettings"])
        tls["tlsSettings"]["certificates"] = [{"certificateFile": "ending.pem"}]
        config["inbounds"][1]["streamSettings"] = tls

    for change, expected in ((plain, "plain_ports"), (guess, "guessing"), (insecure, "upstreams"),
                             (old, "tls")):
        config = broken(change)
        with running(house, config):
            assert failed(house)[0] == [expected], change
    config = broken(ending)
    with running(house, config):
        both = os.path.join(house.directory, "both.crt")
        with open(both, "w") as file:
            for name in ("good.crt", "ending.crt"):
                with open(os.path.join(house.directory, name)) as part:
                    file.write(part.read())
        found, text = failed(house, "--ca", both, ca=False)
        assert found == ["certificates"] and "ends in " in text, text

    def private(config):
        config["outbounds"][0]["settings"] = {"allowPrivate": True}

    with running(house, broken(private)):
        status, worst, _ = selftest(house)
        assert status == 0 and worst["private_targets"] == "warn"


def test_another_configuration_runs(house, net, target, authority):
    """The file promises what the daemon does not do."""
    base = without_reality(house)

    def others(change):
        config = copy(base)
        change(config)
        return config

    def moved(config):
        config["inbounds"][1]["port"] = HTTP + 1

    def anonymous(config):
        config["inbounds"][2]["settings"] = {"auth": "noauth"}

    def without_status(config):
        del config["culvert"]["status"]

    def another_target(config):
        config["inbounds"][3]["streamSettings"]["realitySettings"]["target"] = \
            "%s:8447" % rig.INTERNET_IP

    with running(house, others(moved)):
        write(house, base)
        found, text = failed(house)
        assert found == ["listeners"] and "http-in" in text
    with running(house, others(anonymous)):
        write(house, base)
        found, text = failed(house)
        assert found == ["anonymous"] and "local" in text
    with running(house, others(without_status)):
        write(house, base)
        assert failed(house)[0] == ["status"]
        with open_page(net.server, STATUS):
            found, text = failed(house)
            assert found == ["status"] and "200" in text
    base = house.config
    crt, key = authority.issue(rig.SITE)
    nginx = rig.Nginx(net.internet, os.path.join(house.directory, "another"), """
        server { listen %s:8447 ssl; ssl_certificate %s; ssl_certificate_key %s;
            ssl_protocols TLSv1.3; }""" % (rig.INTERNET_IP, crt, key),
                      wait=((rig.INTERNET_IP, 8447),))
    try:
        with running(house, others(another_target)):
            write(house, house.config)
            assert failed(house)[0] == ["strangers"]
            assert failed(house, "--offline")[0] == []
            write(house, others(another_target))
            assert failed(house)[0] == []
            nginx.stop()
            assert failed(house)[0] == ["targets"]
    finally:
        nginx.stop()


@contextlib.contextmanager
def open_page(namespace, port):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with namespace:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def test_nobody_runs(house):
    """Without a daemon ports are not looked at; without a configuration nothing is."""
    write(house, house.config)
    found, text = failed(house)
    assert found == ["daemon"] and "does not run" in text
    write(house, {"inbounds": []})
    status, worst, answer = selftest(house)
    assert status == 2 and worst == {"configuration": "FAIL"}, answer
    write(house, house.config)
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "selftest"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "usage:" in done.stderr
    shutil.rmtree(house.directory, ignore_errors=True)
