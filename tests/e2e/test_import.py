# SPDX-License-Identifier: MIT
"""culvert import: nodes in the style of Clash, and links, become a client that works."""

import hashlib
import json
import os
import subprocess

import pytest
import rig

PORT = 1330

# as the project publishes them: tcp, ws, http; the server name spelled both ways
TCP = """
name: plain
type: vless
server: %s
port: %d
uuid: %s
udp: true
network: tcp
tls: true
servername: %s
skip-cert-verify: false
""" % (rig.SERVER_IP, PORT, rig.PLAIN_USER, rig.SITE)
WS = TCP.replace("network: tcp", "network: ws\nws-opts:\n  path: /secret\n  headers:\n"
                                 "    Host: %s" % rig.SITE)
HTTP = TCP.replace("network: tcp", "network: http")
SAMPLES = [(TCP, "raw"), (WS, "ws"), (HTTP, "h2")]


def imported(*arguments, text=""):
    return subprocess.run([os.path.join(rig.build_dir(), "culvert"), "import", *arguments],
                          input=text, capture_output=True, text=True, timeout=60)


def result_of(tmp, text, name="node.yaml"):
    path = os.path.join(tmp, name)
    with open(path, "w") as file:
        file.write(text)
    done = imported(path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("spelling", ["servername", "serverName", "sni"])
@pytest.mark.parametrize("text,network", SAMPLES, ids=["tcp", "ws", "http"])
def test_row_078_samples(build, tmp, text, network, spelling):
    config = result_of(tmp, text.replace("servername", spelling))
    assert config["inbounds"] == [{"listen": "127.0.0.1", "port": 1080, "protocol": "socks",
                                   "settings": {"udp": True}}]
    outbound, = config["outbounds"]
    assert outbound["tag"] == "plain" and outbound["protocol"] == "vless"
    assert outbound["settings"]["id"] == rig.PLAIN_USER
    stream = outbound["streamSettings"]
    assert stream["network"] == network and stream["security"] == "tls"
    assert stream["tlsSettings"] == {"serverName": rig.SITE}
    if network == "ws":
        assert stream["wsSettings"] == {"path": "/secret", "host": rig.SITE}


def works(net, tmp, config, internet, ca):
    config["outbounds"][0]["streamSettings"]["tlsSettings"]["certificates"] = [
        {"certificateFile": ca, "usage": "verify"}]
    with rig.running(rig.Culvert(net.client, tmp, config, "imported",
                                 wait=(("127.0.0.1", 1080),))):
        status, body, error = rig.curl(net.client, "-x", "socks5h://127.0.0.1:1080",
                                       "http://%s/medium" % rig.INTERNET_IP)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]


def imported_from(net, tmp, target, network):
    """The server that all these nodes mean."""
    stream = {"network": network, "security": "tls", "tlsSettings": {
        "certificates": [{"certificateFile": target.certificate, "keyFile": target.key}]}}
    if network == "ws":
        stream["wsSettings"] = {"path": "/secret", "host": rig.SITE}
    return rig.Culvert(net.server, tmp, rig.server_config(PORT, stream), "imported-from",
                       wait=((rig.SERVER_IP, PORT),))


@pytest.mark.parametrize("text,network", SAMPLES, ids=["tcp", "ws", "http"])
def test_row_078_works(net, tmp, target, internet, text, network):
    with rig.running(imported_from(net, tmp, target, network)):
        works(net, tmp, result_of(tmp, text), internet, target.ca)


def test_row_078_link_works(net, tmp, target, internet):
    link = "vless://%s@%s:%d?type=ws&path=%%2Fsecret&host=%s&security=tls&sni=%s#a%%20link" % (
        rig.PLAIN_USER, rig.SERVER_IP, PORT, rig.SITE, rig.SITE)
    with rig.running(imported_from(net, tmp, target, "ws")):
        for done in (imported(link), imported("-", text=link.replace("&sni=", "&serverName="))):
            assert done.returncode == 0, done.stderr
            works(net, tmp, json.loads(done.stdout), internet, target.ca)


def test_row_078_what_is_wrong_has_a_line(build, tmp):
    path = os.path.join(tmp, "wrong.yaml")
    with open(path, "w") as file:
        file.write(TCP.replace("port: %d" % PORT, "port: many") + "grpc-opts: {a: b}\n")
    done = imported(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "wrong.yaml: error: 5: port: expected a number" in done.stderr, done.stderr
    assert "grpc-opts: not supported" in done.stderr
    assert imported("vless://x@").returncode == 2
    public = imported("vless://%s@1.1.1.1:443?security=none" % rig.PLAIN_USER)
    assert (public.returncode, public.stdout) == (2, "")
    assert "anybody on the way could read it" in public.stderr, public.stderr
    assert imported("/none.yaml").returncode == 1
    assert imported().returncode == 2
