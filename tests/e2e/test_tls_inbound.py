# SPDX-License-Identifier: MIT
"""SOCKS5 behind TLS, as programs that know nothing of each other speak it."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from cryptography import x509

import rig

PORT, LOCAL, NAME = 1080, 1085, "proxy.test"
ALICE = ("alice", "wonder land")


def tls_stream(*certificates, **more):
    return {"network": "raw", "security": "tls", "tlsSettings": dict(
        {"certificates": [{"certificateFile": file} for file in certificates]}, **more)}


def combined(authority, *names):
    """Chain and key in one file, as HAProxy reads it."""
    certificate, key = authority.issue(*names)
    path = certificate[:-4] + "-combined.pem"
    with open(path, "wb") as file:
        for part in (certificate, key):
            with open(part, "rb") as source:
                file.write(source.read())
    os.chmod(path, 0o600)
    return path


def socks_config(port, stream, accounts=(ALICE,)):
    config = rig.socks_only_config(port, dict(accounts), listen=rig.SERVER_IP)
    config["inbounds"][0]["streamSettings"] = stream
    return config


@pytest.fixture(scope="module")
def socks5s(net, tmp, authority, internet):
    config = socks_config(PORT, tls_stream(combined(authority, NAME)))
    config["routing"] = {"rules": [{"ip": ["10.77.2.66"], "outboundTag": "block"}]}
    config["outbounds"].append({"tag": "block", "protocol": "blackhole"})
    daemon = rig.Culvert(net.server, tmp, config, "socks5s", loginFailures=0,
                         wait=((rig.SERVER_IP, PORT),))
    with rig.running(daemon):
        yield daemon


def tls(net, authority, port=PORT, timeout=15):
    context = ssl.create_default_context(cafile=authority.file)
    return context.wrap_socket(rig.tcp(net.client, rig.SERVER_IP, port, timeout=timeout),
                               server_hostname=NAME)


def s_client(net, authority, *arguments, port=PORT, input=b""):
    """What openssl s_client says, and its exit status."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "%s:%d" % (rig.SERVER_IP, port), "-servername", NAME,
         "-CAfile", authority.file, "-verify_return_error", "-verify_hostname", NAME, *arguments],
        input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20,
        preexec_fn=net.client.enter)
    return done.returncode, done.stdout.decode(errors="replace")


@contextlib.contextmanager
def socat(net, tmp, authority, port=PORT, local=LOCAL):
    """A plain port on the client's 127.0.0.1 that socat carries to us in TLS it verifies."""
    process = rig.Process(net.client, [
        "socat", "TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork" % local,
        "OPENSSL:%s:%d,verify=1,cafile=%s,commonname=%s" % (
            rig.SERVER_IP, port, authority.file, NAME)], os.path.join(tmp, "socat.log"))
    try:
        rig.wait_for(lambda: rig.accepts(net.client, "127.0.0.1", local), 5, "socat")
        yield process
    finally:
        process.child.terminate()
        process.child.wait()


def through(local, credentials="alice:wonder%20land@", scheme="socks5h"):
    return ["-x", "%s://%s127.0.0.1:%d" % (scheme, credentials, local)]


# ---- TLS ---------------------------------------------------------------------------------------


def test_row_039_tls13_only(net, socks5s, authority):
    for version in ("-tls1", "-tls1_1", "-tls1_2"):
        status, text = s_client(net, authority, version)
        assert status != 0 and "Cipher is (NONE)" in text, text
    assert "protocol version" in s_client(net, authority, "-tls1_2")[1]
    status, text = s_client(net, authority, "-tls1_3")
    assert status == 0 and "Verification: OK" in text, text
    for suite in ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
                  "TLS_AES_128_GCM_SHA256"):
        status, text = s_client(net, authority, "-ciphersuites", suite)
        assert status == 0 and "Cipher is %s" % suite in text, text
    status, text = s_client(net, authority, "-ciphersuites", "TLS_AES_128_CCM_SHA256")
    assert status != 0, text
    assert "Early data was not sent" in s_client(net, authority)[1]


def test_row_039_older_version_by_choice(net, tmp, authority):
    """minVersion 1.2, certificate and key in two files: forward secrecy and AEAD only."""
    certificate, key = authority.issue(NAME)
    stream = tls_stream(minVersion="1.2")
    stream["tlsSettings"]["certificates"] = [{"certificateFile": certificate, "keyFile": key}]
    daemon = rig.Culvert(net.server, tmp, socks_config(PORT + 1, stream), "socks5s-old",
                         wait=((rig.SERVER_IP, PORT + 1),))
    with rig.running(daemon):
        status, text = s_client(net, authority, "-tls1_2", port=PORT + 1)
        assert status == 0 and re.search("Cipher is ECDHE-.*(GCM|CHACHA20)", text), text
        for weak in ("AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA"):
            status, text = s_client(net, authority, "-tls1_2", "-cipher", weak, port=PORT + 1)
            assert status != 0, text


def test_row_041_alpn_is_never_h2(net, socks5s, authority):
    for offered, chosen in (("h2,http/1.1", "ALPN protocol: http/1.1"),
                            ("http/1.1", "ALPN protocol: http/1.1"),
                            ("h2", "No ALPN negotiated"), ("socks", "No ALPN negotiated")):
        status, text = s_client(net, authority, "-alpn", offered)
        assert status == 0 and chosen in text, (offered, text)
    assert "No ALPN negotiated" in s_client(net, authority)[1]


def test_row_041_h2_in_the_configuration_is_left_out(net, tmp, authority):
    stream = tls_stream(combined(authority, NAME), alpn=["h2", "http/1.1"])
    daemon = rig.Culvert(net.server, tmp, socks_config(PORT + 1, stream), "socks5s-h2",
                         wait=((rig.SERVER_IP, PORT + 1),))
    with rig.running(daemon):
        assert "alpn[0]: a proxy does not speak h2" in daemon.log()
        status, text = s_client(net, authority, "-alpn", "h2,http/1.1", port=PORT + 1)
        assert status == 0 and "ALPN protocol: http/1.1" in text, text


@pytest.mark.parametrize("first", [
    b"\5\1\0", b"\5\1\2", b"GET / HTTP/1.1\r\n\r\n", b"\4\1\0\x50" + bytes(5)])
def test_row_042_no_plain_proxy_on_the_tls_port(net, socks5s, first):
    connection = rig.tcp(net.client, rig.SERVER_IP, PORT)
    connection.sendall(first)
    data, how = rig.read_all(connection, 5)
    assert how in ("fin", "rst") and b"\5" not in data[:1], (data, how)
    assert data == b"" or data[0] == 0x15, data  # at most an alert
    socks5s.wait_idle()


# ---- SOCKS5 in it ------------------------------------------------------------------------------


def test_row_043_greeting_and_method(net, socks5s, authority):
    for greeting, answer in ((b"\5\1\2", b"\5\2"), (b"\5\3\0\1\2", b"\5\2"),
                             (b"\5\2\2\0", b"\5\2")):
        with tls(net, authority) as connection:
            connection.sendall(greeting)
            assert rig.exactly(connection, 2) == answer, greeting
    for greeting in (b"\5\1\0", b"\5\0", b"\5\1\1", b"\5\2\x80\xfe"):
        with tls(net, authority) as connection:
            connection.sendall(greeting)
            assert rig.read_all(connection, 5) == (b"\5\xff", "fin"), greeting
    for other in (b"\4\1\0\x50\1\2\3\4\0", b"GET / HTTP/1.1\r\n\r\n", b"\0"):
        with tls(net, authority) as connection:
            connection.sendall(other)
            assert rig.read_all(connection, 5)[0] == b"", other


def test_row_044_password(net, tmp, socks5s, authority, internet):
    with socat(net, tmp, authority):
        status, body, error = rig.curl(net.client, *through(LOCAL), "http://%s/" % rig.INTERNET_IP)
        assert (status, body) == (0, b"the internet\n"), error
        for credentials in ("alice:wrong@", "bob:wonder%20land@", "alice:@"):
            status, body, _ = rig.curl(net.client, *through(LOCAL, credentials),
                                       "http://%s/" % rig.INTERNET_IP)
            assert status == 97 and body == b"", credentials
    with tls(net, authority) as connection:
        connection.sendall(b"\5\1\2" + b"\1\5alice\5wrong")
        assert rig.read_all(connection, 5) == (b"\5\2\1\1", "fin")


def test_row_045_nobody_anonymous(net, tmp, socks5s, authority, internet):
    before = socks5s.reason_count("nomethod")
    with socat(net, tmp, authority):
        status, body, _ = rig.curl(net.client, *through(LOCAL, ""), "http://%s/" % rig.INTERNET_IP)
        assert status == 97 and body == b""
        netcat = subprocess.run(
            ["nc", "-X", "5", "-x", "127.0.0.1:%d" % LOCAL, "-w", "5", rig.INTERNET_IP, "80"],
            input=b"GET / HTTP/1.0\r\n\r\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=15, preexec_fn=net.client.enter)
        assert netcat.returncode != 0 and netcat.stdout == b"", netcat
        assert b"authentication method" in netcat.stderr, netcat
    socks5s.wait_reason("nomethod", before + 1)


@pytest.fixture(scope="module")
def web6(net):
    """IPv6 between server and internet, and something that answers there."""
    for one, other, address in ((net.server, net.internet, "fd77:2::1/64"),
                                (net.internet, net.server, "fd77:2::2/64")):
        one.ip("-6", "addr", "add", address, "nodad", "dev", one.links[other.name])
    with net.internet:
        listener = socket.create_server(("fd77:2::2", 8096), family=socket.AF_INET6)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nsix")
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield "http://[fd77:2::2]:8096/"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_row_046_connect_by_address_and_name(net, tmp, socks5s, authority, internet, web6):
    """curl alone decides what the request holds: --socks5 an address, socks5h the name."""
    with socat(net, tmp, authority):
        for scheme in ("socks5", "socks5h"):
            status, body, error = rig.curl(net.client, *through(LOCAL, scheme=scheme),
                                           "http://%s/" % rig.INTERNET_IP)
            assert (status, body) == (0, b"the internet\n"), error
            status, body, error = rig.curl(net.client, *through(LOCAL, scheme=scheme), web6)
            assert (status, body) == (0, b"six"), error
        with net.server:
            listener = socket.create_server(("127.0.0.1", 8095))
        with listener:
            threading.Thread(target=answer_once, args=(listener,), daemon=True).start()
            status, body, error = rig.curl(net.client, *through(LOCAL), "http://localhost:8095/")
            assert (status, body) == (0, b"named"), error


def answer_once(listener):
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nnamed")
    connection.close()


def test_row_051_reply_codes(net, socks5s, authority, internet):
    def ip(text, port, command=1, kind=1):
        return bytes([5, command, 0, kind]) + socket.inet_aton(text) + port.to_bytes(2, "big")

    login = b"\5\1\2" + b"\1\5alice\x0bwonder land"
    for request, codes in ((ip(rig.INTERNET_IP, 9), (5,)), (ip("192.0.2.1", 80), (3, 4, 6)),
                           (ip("10.77.2.66", 80), (2,)), (ip(rig.INTERNET_IP, 80, 9), (7,)),
                           (ip(rig.INTERNET_IP, 80, 1, 7), (8,)),
                           (ip("10.77.2.99", 80), (4, 6))):
        with tls(net, authority) as connection:
            connection.sendall(login + request)
            assert rig.exactly(connection, 4) == b"\5\2\1\0"
            answer, how = rig.read_all(connection, 15)
            assert answer[:1] == b"\5" and answer[1] in codes and how == "fin", (request, answer)
            assert answer[2:] == b"\0\1" + bytes(6)
    socks5s.wait_idle()


def test_row_052_one_flight_and_single_bytes(net, socks5s, authority, internet):
    """Greeting, password, request and the application's first words: in one record, in one each."""
    http = b"GET / HTTP/1.0\r\nHost: web\r\n\r\n"
    everything = (b"\5\1\2" + b"\1\5alice\x0bwonder land" + b"\5\1\0\1" +
                  socket.inet_aton(rig.INTERNET_IP) + b"\0\x50" + http)
    for step in (len(everything), 1, 7):
        with tls(net, authority) as connection:
            for at in range(0, len(everything), step):
                connection.sendall(everything[at:at + step])
            answer, how = rig.read_all(connection, 10)
            assert answer.startswith(b"\5\2\1\0\5\0\0\1" + bytes(6) + b"HTTP/1.1 200"), answer
            assert answer.endswith(b"the internet\n") and how == "fin"
    socks5s.wait_idle()


def test_row_052_v2ray_as_client(net, tmp, socks5s, authority, internet):
    """v2ray sends greeting and password in one flight."""
    program = rig.find_program("v2ray")
    if not program:
        pytest.skip("v2ray is not here")
    path = os.path.join(tmp, "v2ray-socks.json")
    with open(path, "w") as file:
        json.dump({
            "inbounds": [{"listen": "127.0.0.1", "port": 1086, "protocol": "socks",
                          "settings": {"auth": "noauth"}}],
            "outbounds": [{
                "protocol": "socks",
                "settings": {"servers": [{"address": rig.SERVER_IP, "port": PORT, "users": [
                    {"user": ALICE[0], "pass": ALICE[1]}]}]},
                "streamSettings": {"network": "tcp", "security": "tls", "tlsSettings": {
                    "serverName": NAME, "disableSystemRoot": True, "certificates": [
                        {"usage": "verify", "certificateFile": authority.file}]}}}]}, file)
    peer = rig.Process(net.client, [program, "-config", path], os.path.join(tmp, "v2ray.log"))
    try:
        rig.wait_for(lambda: rig.accepts(net.client, "127.0.0.1", 1086), 15, "v2ray")
        status, body, error = rig.curl(net.client, *through(1086, ""),
                                       "http://%s/medium" % rig.INTERNET_IP)
        assert status == 0, error + peer.log()
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    finally:
        peer.stop()


# ---- end to end --------------------------------------------------------------------------------


def test_row_108_standard_client_through_socat(net, tmp, socks5s, authority, internet):
    """Both directions in bulk, and no byte of it in clear text."""
    with socat(net, tmp, authority):
        status, body, error = rig.curl(net.client, *through(LOCAL),
                                       "http://%s/medium" % rig.INTERNET_IP)
        assert status == 0, error
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
        status, body, error = rig.curl(
            net.client, *through(LOCAL), "-T", os.path.join(internet.root, "medium"), "-X", "POST",
            "http://%s/sink" % rig.INTERNET_IP)
        assert status == 0 and internet.hashes["medium"].encode() in body, (body, error)
    socks5s.wait_idle()


def test_row_108_wrong_name_is_refused_by_the_client(net, tmp, socks5s, authority):
    status, text = s_client(net, authority, "-verify_hostname", "other.test")
    assert status != 0 and "hostname mismatch" in text, text


def test_row_108_proxychains(net, tmp, socks5s, authority, internet):
    program = rig.find_program("proxychains4")
    assert program, "proxychains4 is not here"
    path = os.path.join(tmp, "proxychains.conf")
    with open(path, "w") as file:
        file.write("strict_chain\nproxy_dns\n[ProxyList]\nsocks5 127.0.0.1 %d alice wonder\n" % 1087)
    config = socks_config(PORT + 1, tls_stream(combined(authority, NAME)),
                          accounts=(("alice", "wonder"),))
    daemon = rig.Culvert(net.server, tmp, config, "socks5s-chains",
                         wait=((rig.SERVER_IP, PORT + 1),))
    with rig.running(daemon), socat(net, tmp, authority, PORT + 1, 1087):
        done = subprocess.run([program, "-q", "-f", path, "curl", "-sS", "--max-time", "20",
                               "http://%s/" % rig.INTERNET_IP], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30, preexec_fn=net.client.enter)
        assert done.stdout == b"the internet\n", done


def test_row_108_stunnel_as_client(net, tmp, socks5s, authority, internet):
    program = rig.find_program("stunnel4") or rig.find_program("stunnel")
    assert program, "stunnel4 is not here"
    path = os.path.join(tmp, "stunnel-client.conf")
    with open(path, "w") as file:
        file.write("""foreground = yes
pid =
[socks]
client = yes
accept = 127.0.0.1:1088
connect = %s:%d
sni = %s
CAfile = %s
verifyChain = yes
checkHost = %s
sslVersionMin = TLSv1.3
""" % (rig.SERVER_IP, PORT, NAME, authority.file, NAME))
    peer = rig.Process(net.client, [program, path], os.path.join(tmp, "stunnel.log"))
    try:
        rig.wait_for(lambda: rig.accepts(net.client, "127.0.0.1", 1088), 10, "stunnel")
        status, body, error = rig.curl(net.client, *through(1088),
                                       "http://%s/medium" % rig.INTERNET_IP)
        assert status == 0, error + peer.log()
        assert hashlib.sha256(body).hexdigest() == internet.hashes["medium"]
    finally:
        peer.stop()


def test_half_close_behind_tls(net, socks5s, authority):
    """close_notify one way, words the other way."""
    with net.internet:
        listener = socket.create_server((rig.INTERNET_IP, 8094))
    told = []

    def upstream():
        connection, _ = listener.accept()
        told.append(rig.read_all(connection, 10))
        time.sleep(0.2)
        connection.sendall(b"heard")
        connection.close()

    with listener:
        thread = threading.Thread(target=upstream, daemon=True)
        thread.start()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=authority.file)
        client = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
        with rig.tcp(net.client, rig.SERVER_IP, PORT) as connection:
            pump(connection, client.do_handshake, incoming, outgoing)
            client.write(b"\5\1\2" + b"\1\5alice\x0bwonder land" + b"\5\1\0\1" +
                         socket.inet_aton(rig.INTERNET_IP) + (8094).to_bytes(2, "big") + b"words")
            with contextlib.suppress(ssl.SSLWantReadError):
                client.unwrap()
            connection.sendall(outgoing.read())
            thread.join(10)
            assert told == [(b"words", "fin")]
            answer = b""
            while not answer.endswith(b"heard"):
                answer += pump(connection, lambda: client.read(4096), incoming, outgoing)
        assert answer == b"\5\2\1\0\5\0\0\1" + bytes(6) + b"heard"
    socks5s.wait_idle()


def pump(connection, action, incoming, outgoing):
    while True:
        try:
            value = action()
            connection.sendall(outgoing.read())
            return value
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            data = connection.recv(65536)
            if not data:
                raise EOFError("ended inside TLS") from None
            incoming.write(data)


def test_row_108_kernel_tls(net, tmp, authority, internet):
    """Where the kernel has TLS, records of a proxy's client are its business; else user space's."""
    config = socks_config(PORT + 2, tls_stream(combined(authority, NAME)))
    daemon = rig.Culvert(net.server, tmp, config, "socks5s-ktls", ktls="force",
                         wait=((rig.SERVER_IP, PORT + 2),))
    with rig.running(daemon):
        found = re.search(r"kernel TLS (usable|not used): ", daemon.log())
        expected = "ktls" if found.group(1) == "usable" else "layers"
        with tls(net, authority, PORT + 2) as connection:
            connection.sendall(b"\5\1\2" + b"\1\5alice\x0bwonder land" + b"\5\1\0\1" +
                               socket.inet_aton(rig.INTERNET_IP) +
                               b"\0\x50GET /paced/medium HTTP/1.0\r\n\r\n")
            got = 0
            while got < 2 * rig.MIB:
                got += len(connection.recv(65536))
            assert daemon.sessions()[0]["downlink"]["engine"] == expected
            assert b"" != rig.read_all(connection, 10)[0]
        daemon.wait_idle()


def serial_of(net, authority, port):
    text = s_client(net, authority, port=port)[1]
    certificate = text[text.index("-----BEGIN"):text.index("-----END") + 25].encode()
    return x509.load_pem_x509_certificate(certificate).serial_number


def test_row_040_certificate_is_read_again(net, tmp, authority, internet):
    """The file is replaced, SIGHUP: new connections see the new one, a live one goes on."""
    path = combined(authority, NAME)
    daemon = rig.Culvert(net.server, tmp, socks_config(PORT + 3, tls_stream(path)), "socks5s-renew",
                         stateDirectory="", wait=((rig.SERVER_IP, PORT + 3),))
    with rig.running(daemon):
        before = serial_of(net, authority, PORT + 3)
        with tls(net, authority, PORT + 3) as connection:
            connection.sendall(b"\5\1\2" + b"\1\5alice\x0bwonder land" + b"\5\1\0\1" +
                               socket.inet_aton(rig.INTERNET_IP) + b"\0\x50")
            assert rig.exactly(connection, 14)[:6] == b"\5\2\1\0\5\0"
            with open(path, "rb") as file:
                good = file.read()
            with open(path, "wb") as file:
                file.write(b"nothing of use\n")
            os.kill(daemon.pid, signal.SIGHUP)
            rig.wait_for(lambda: "not usable" in daemon.log() or "keyFile" in daemon.log(), 10,
                         "a complaint")
            assert serial_of(net, authority, PORT + 3) == before
            os.replace(combined(authority, NAME), path)
            os.kill(daemon.pid, signal.SIGHUP)
            rig.wait_for(lambda: serial_of(net, authority, PORT + 3) != before, 10, "the new one")
            assert good != open(path, "rb").read()
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert rig.read_all(connection, 10)[0].endswith(b"the internet\n")
        daemon.wait_idle()
