# SPDX-License-Identifier: MIT
"""Kernel TLS: curl and OpenSSL as the far end of records that the kernel seals and opens.

Where the kernel has no TLS the same transfers run in user space, smaller, and say so; the guests of
tests/vm have it. CULVERT_KTLS_MIB: size of the files (100 with kernel TLS, else 8).
"""

import hashlib
import os
import re
import socket
import ssl
import subprocess
import time

import pytest

import reality_client
import rig

PORT, SOCKS_PORT, WEB_PORT = 455, 1089, 8084


def tls_stream(target):
    return {"network": "raw", "security": "tls", "tlsSettings": {
        "alpn": ["http/1.1"], "certificates": [
            {"certificateFile": target.certificate, "keyFile": target.key}]}}


def support_of(daemon):
    """(usable, keys can be changed, text), from what the daemon's trial said."""
    found = re.search(r"kernel TLS (usable|not used): (.*)", daemon.log())
    assert found, daemon.log()[-2000:]
    return found.group(1) == "usable", "ways, KeyUpdate" in found.group(2), found.group(2)


@pytest.fixture(scope="module")
def server(net, tmp, target, internet):
    """VLESS in TLS; whatever is no VLESS goes to a web server: curl is the far end by itself."""
    daemon = rig.Culvert(net.server, tmp, rig.server_config(
        PORT, tls_stream(target), [{"dest": "%s:80" % rig.INTERNET_IP}]), "ktls", ktls="force",
        wait=((rig.SERVER_IP, PORT),))
    with rig.running(daemon):
        yield daemon


@pytest.fixture(scope="module")
def usable(server):
    return support_of(server)[0]


@pytest.fixture(scope="module")
def big(internet, usable):
    """(path, size, SHA-256) of a large file, at /ktls on the web server."""
    size = int(os.environ.get("CULVERT_KTLS_MIB", "100" if usable else "8")) * rig.MIB
    path = os.path.join(internet.root, "ktls")
    digest = rig.make_file(path, size, "ktls")
    yield path, size, digest
    os.unlink(path)


def engines(daemon, direction):
    return {session[direction]["engine"] for session in daemon.sessions()}


def watch(child, daemons, direction):
    """The engines seen in that direction while child runs; child ends within ten minutes."""
    seen, deadline = set(), time.monotonic() + 600
    while child.poll() is None:
        assert time.monotonic() < deadline
        for daemon in daemons:
            seen |= {(daemon.control_path, engine) for engine in engines(daemon, direction)}
        time.sleep(0.05)
    return seen


def expect_engines(seen, daemons, usable):
    for daemon in daemons:
        mine = {engine for path, engine in seen if path == daemon.control_path}
        assert ("ktls" in mine) == usable, (mine, support_of(daemon))


def curl_to_file(net, path, *arguments):
    return rig.curl(net.client, "-o", path, *arguments, timeout=600, background=True)


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(rig.MIB), b""):
            digest.update(block)
    return digest.hexdigest()


def both_directions(net, tmp, big, daemons, usable, url, *arguments):
    """Down and up again by curl, with checksums, while the engines are watched."""
    path, size, digest = big
    copy = os.path.join(tmp, "ktls-copy")
    for direction, more in (("downlink", [url + "/ktls"]), ("uplink", ["-T", path, url + "/sink"])):
        child = curl_to_file(net, copy, *arguments, *more)
        seen = watch(child, daemons, direction)
        assert child.returncode == 0, child.stderr.read()
        child.stdout.close()
        child.stderr.close()
        expect_engines(seen, daemons, usable)
        if direction == "downlink":
            assert digest_of(copy) == digest
        else:
            with open(copy) as file:
                assert file.read() == "%d %s" % (size, digest)
    os.unlink(copy)
    for daemon in daemons:
        daemon.wait_idle()
        assert not daemon.reason_count("badrecord")


def test_curl_over_tls(net, tmp, server, big, usable, target):
    """curl's own TLS, relayed to a web server."""
    print(support_of(server)[2])
    both_directions(net, tmp, big, [server], usable, "https://%s:%d" % (rig.SITE, PORT),
                    "--cacert", target.ca, "--http1.1", "--resolve",
                    "%s:%d:%s" % (rig.SITE, PORT, rig.SERVER_IP))


def test_reality_without_flow(net, tmp, keys, target, internet, big, usable):
    """Our client and our server, each with the kernel's TLS on its REALITY leg."""
    one = rig.Culvert(net.server, tmp, rig.server_config(
        PORT + 1, rig.reality_stream(keys.private, target.address)), "server", ktls="force",
        wait=((rig.SERVER_IP, PORT + 1),))
    two = rig.Culvert(net.client, tmp, rig.client_config(
        SOCKS_PORT, PORT + 1, rig.reality_client_stream(keys.public), user=rig.PLAIN_USER,
        flow=""), "client", ktls="force", wait=(("127.0.0.1", SOCKS_PORT),))
    with rig.running(one, two):
        both_directions(net, tmp, big, [one, two], usable, "http://" + rig.INTERNET_IP,
                        "-x", "socks5h://127.0.0.1:%d" % SOCKS_PORT)
        moved = one.ask("users")["users"]
        mine = [user for user in moved if user["email"] == "plain@test"][0]
        assert mine["uplink_bytes"] >= big[1] and mine["downlink_bytes"] >= big[1]


def test_vless_over_tls_both_ends(net, tmp, server, target, internet, big, usable):
    """Our client over TLS (our records) to the TLS inbound (libssl's handshake)."""
    client = rig.Culvert(net.client, tmp, rig.client_config(SOCKS_PORT, PORT, {
        "network": "raw", "security": "tls", "tlsSettings": {
            "serverName": rig.SITE, "fingerprint": "chrome",
            "certificates": [{"certificateFile": target.ca, "usage": "verify"}]}},
        user=rig.PLAIN_USER, flow=""), "client", ktls="force", wait=(("127.0.0.1", SOCKS_PORT),))
    with rig.running(client):
        both_directions(net, tmp, big, [server, client], usable, "http://" + rig.INTERNET_IP,
                        "-x", "socks5h://127.0.0.1:%d" % SOCKS_PORT)


def test_vision(net, tmp, keys, target, internet, usable):
    """DIRECT goes raw on sockets without the protocol; after END the kernel does the records."""
    one = rig.Culvert(net.server, tmp, rig.server_config(
        PORT + 1, rig.reality_stream(keys.private, target.address)), "server", ktls="force",
        wait=((rig.SERVER_IP, PORT + 1),))
    two = rig.Culvert(net.client, tmp, rig.client_config(
        SOCKS_PORT, PORT + 1, rig.reality_client_stream(keys.public)), "client", ktls="force",
        wait=(("127.0.0.1", SOCKS_PORT),))
    with rig.running(one, two):
        for scheme, engine in (("https", "splice"), ("http", "ktls")):
            child = curl_to_file(net, "/dev/null", "-k", "-x",
                                 "socks5h://127.0.0.1:%d" % SOCKS_PORT,
                                 "--limit-rate", "4m", "%s://%s/medium" % (scheme, rig.INTERNET_IP))
            seen = watch(child, [one, two], "downlink")
            assert child.returncode == 0, child.stderr.read()
            child.stdout.close()
            child.stderr.close()
            for daemon in (one, two):
                mine = {e for path, e in seen if path == daemon.control_path}
                assert ("ktls" in mine) == (engine == "ktls" and usable), (scheme, mine)
                if engine == "splice":
                    assert mine & {"splice", "sockmap"}, mine
            one.wait_idle()
            two.wait_idle()


# ---- openssl s_client as a VLESS client ---------------------------------------------------------


def s_client(net, *more):
    return subprocess.Popen(
        ["openssl", "s_client", "-connect", "%s:%d" % (rig.SERVER_IP, PORT), "-tls1_3",
         "-servername", rig.SITE, "-quiet", "-nocommands"] + list(more), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=net.client.enter)


def request(method, path, *headers):
    return reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80) + "\r\n".join(
        ("%s %s HTTP/1.0" % (method, path),) + headers + ("", "")).encode()


def finish(child, kill=True):
    if kill:
        child.kill()
    child.wait(30)
    for stream in (child.stdin, child.stdout, child.stderr):
        stream.close()


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                   "TLS_CHACHA20_POLY1305_SHA256"])
def test_openssl(net, server, internet, usable, suite):
    """8 MiB each way under each cipher suite."""
    size, seen = internet.sizes["medium"], set()
    child = s_client(net, "-ciphersuites", suite)
    child.stdin.write(request("GET", "/medium"))
    child.stdin.flush()
    digest, got, head = hashlib.sha256(), 0, b""
    while b"\r\n\r\n" not in head:
        head += child.stdout.read1(65536)
    assert head[:2] == b"\0\0", head
    body = head.split(b"\r\n\r\n", 1)[1]
    while True:
        digest.update(body)
        got += len(body)
        if got >= size:
            break
        body = child.stdout.read1(65536)
        assert body
        if got > rig.MIB and not seen:
            seen = engines(server, "downlink")
    assert (got, digest.hexdigest()) == (size, internet.hashes["medium"])
    assert ("ktls" in seen) == usable, seen
    finish(child)

    child = s_client(net, "-ciphersuites", suite)
    with open(internet.root + "/medium", "rb") as file:
        content = file.read()
    child.stdin.write(request("POST", "/sink", "Content-Length: %d" % size))
    child.stdin.write(content)
    child.stdin.flush()
    seen = engines(server, "uplink")
    answer = b""
    while not answer.endswith(internet.hashes["medium"].encode()):
        block = child.stdout.read1(65536)
        assert block, (answer, child.stderr.read())
        answer += block
    finish(child)
    server.wait_idle()
    assert not server.reason_count("badrecord")


def slow_download(net, *more):
    """A client that has got 256 KiB of a paced download and asks for more."""
    child = subprocess.Popen(
        ["openssl", "s_client", "-connect", "%s:%d" % (rig.SERVER_IP, PORT), "-tls1_3",
         "-servername", rig.SITE] + list(more), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=net.client.enter)
    child.stdin.write(request("GET", "/paced/medium"))
    child.stdin.flush()
    got = 0
    while got < 256 * 1024:
        got += len(child.stdout.read1(65536))
    return child


def test_key_update(net, server, usable):
    """A client that asks for new keys: followed where the kernel can, a counted end elsewhere."""
    followed = not usable or support_of(server)[1]
    before = server.reason_count("keyupdate")
    child = slow_download(net)
    for command in (b"K\n", b"k\n"):
        child.stdin.write(command)
        child.stdin.flush()
        got = 0
        while followed and got < 512 * 1024:
            block = child.stdout.read1(65536)
            assert block, child.stderr.read()
            got += len(block)
        if not followed:
            break
        time.sleep(0.1)
    if not followed:
        server.wait_reason("keyupdate", before)
    assert server.reason_count("badrecord") == 0
    finish(child)
    server.wait_idle()


def test_close_notify_and_truncation(net, server, usable):
    """An end that is one, and a FIN out of nowhere."""
    before = server.reason_count("noclosenotify")
    child = slow_download(net)
    child.stdin.write(b"Q\n")
    child.stdin.flush()
    while child.stdout.read1(65536):
        pass
    finish(child, kill=False)
    server.wait_idle()
    assert server.reason_count("noclosenotify") == before

    raw = rig.tcp(net.client, rig.SERVER_IP, PORT)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = context.wrap_socket(raw, server_hostname=rig.SITE)
    tls.sendall(request("GET", "/medium"))
    got = 0
    while got < 256 * 1024:
        got += len(tls.recv(65536))
    socket.socket.shutdown(tls, socket.SHUT_WR)  # FIN without close_notify
    server.wait_reason("noclosenotify", before)
    tls.close()
    server.wait_idle()


def test_switched_off(net, tmp, target, internet):
    daemon = rig.Culvert(net.server, tmp, rig.server_config(
        PORT + 2, tls_stream(target), [{"dest": "%s:80" % rig.INTERNET_IP}]), "off", ktls="off",
        wait=((rig.SERVER_IP, PORT + 2),))
    with rig.running(daemon):
        assert support_of(daemon) == (False, False, "switched off by the configuration")
        child = curl_to_file(net, "/dev/null", "--cacert", target.ca, "--http1.1", "--resolve",
                             "%s:%d:%s" % (rig.SITE, PORT + 2, rig.SERVER_IP), "--limit-rate",
                             "16m", "https://%s:%d/medium" % (rig.SITE, PORT + 2))
        seen = watch(child, [daemon], "downlink")
        child.communicate()
        assert child.returncode == 0
        assert {engine for _, engine in seen} == {"layers"}
