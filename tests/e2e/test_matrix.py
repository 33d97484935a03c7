# SPDX-License-Identifier: MIT
"""Load and violence: 2000 downloads at once, slow receivers, RST and half-close at every stage.

Afterwards nothing may be left: no session, no descriptor, no memory.
"""

import hashlib
import os
import resource
import socket
import threading
import time

import loadgen
import pytest
import reality_client
import rig
from crowd import Footprint, assert_back

COUNT = int(os.environ.get("CULVERT_CONNECTIONS", "2000"))


@pytest.fixture(scope="module", autouse=True)
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8 * COUNT + 1024
    if hard < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, wanted)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("engine", ["splice", "copy", "sockmap"])
def test_many_downloads(net, internet, pair, engine):
    server, client = pair(engine=engine, loglevel="warning", workers=2)
    # the first round touches what is kept: buffers of the rings, pools, slabs, the replay cache
    first = [Footprint(daemon) for daemon in (client, server)]
    warm = loadgen.Load(net.client, 1081, internet.ca, "/small", internet.sizes["small"],
                        internet.hashes["small"], COUNT, plain_every=10).run()
    assert not warm.failures, warm.failures[:5]
    before = [Footprint(daemon) for daemon in (client, server)]
    print("idle at first %s, after one round %s" % (first, before))
    load = loadgen.Load(net.client, 1081, internet.ca, "/small", internet.sizes["small"],
                        internet.hashes["small"], COUNT, plain_every=10, slow_every=20)
    peak = {}

    def watch():
        while not load.seconds:
            for name, daemon in (("client", client), ("server", server)):
                try:
                    count = daemon.counter("sessions")
                except OSError:
                    return
                if count >= peak.get(name, (0, 0))[0]:
                    peak[name] = (count, daemon.resident_bytes())
            time.sleep(0.3)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    load.run(seconds=240)
    watcher.join(5)
    assert not load.failures, "%d of %d failed: %s" % (len(load.failures), COUNT, load.failures[:5])
    assert min(count for count, _ in peak.values()) >= COUNT * 0.95, peak  # three looks a second
    for name, daemon, old in (("client", client, before[0]), ("server", server, before[1])):
        print("%s: %d sessions at once, %.1f MiB then" % (name, peak[name][0],
                                                         peak[name][1] / rig.MIB))
        assert daemon.counter("downlink_handovers") >= COUNT * 0.8
        assert_back(daemon, old, "%s, engine %s" % (name, engine))
    print("%d downloads with SHA-256, engine %s: connected in %.1f s, all in %.1f s"
          % (COUNT, engine, load.connect_seconds, load.seconds))
    client.stop_clean()
    server.stop_clean()


# ---- stages ------------------------------------------------------------------------------------


@pytest.fixture
def rude_upstream(net):
    """:8090 sends 300 KB then RST, :8091 then FIN, :8092 RST at once, :8093 FIN at once,
    :8094 swallows until FIN and answers the count."""
    listeners = []

    def serve(port, connection):
        try:
            if port in (8091, 8093):
                connection.recv(1)  # unread bytes would turn the FIN into a RST
            if port in (8090, 8091):
                connection.sendall(bytes(300000))
            if port == 8094:
                data, how = rig.read_all(connection, 20)
                connection.sendall(b"%d %s" % (len(data), how.encode()))
            if port in (8090, 8092):
                time.sleep(0.05)
                rig.reset(connection)
            connection.close()
        except OSError:
            connection.close()

    def accept(port, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(port, connection), daemon=True).start()

    for port in range(8090, 8095):
        with net.internet:
            listener = socket.create_server((rig.INTERNET_IP, port), backlog=256)
        listeners.append(listener)
        threading.Thread(target=accept, args=(port, listener), daemon=True).start()
    yield
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def end(connection, how):
    try:
        if how == "rst":
            rig.reset(connection)
            return
        if how == "half-close":
            connection.shutdown(socket.SHUT_WR)
            rig.read_all(connection, 0.3)
        connection.close()
    except OSError:
        pass


def socks_stages(net, internet):
    """Each stage of an application at the client's SOCKS5 port, as function(how)."""
    def plain(port=80, request=b"", read=0):
        def stage(how):
            connection = rig.tcp(net.client, "127.0.0.1", 1081)
            rig.socks_handshake(connection, rig.INTERNET_IP, port)
            if request:
                connection.sendall(request)
            if read:
                rig.exactly(connection, read)
            end(connection, how)
        return stage

    def raw(data):
        def stage(how):
            connection = rig.tcp(net.client, "127.0.0.1", 1081)
            connection.sendall(data)
            end(connection, how)
        return stage

    def tls(read):
        def stage(how):
            import ssl
            context = ssl.create_default_context(cafile=internet.ca)
            connection = rig.tcp(net.client, "127.0.0.1", 1081)
            rig.socks_handshake(connection, rig.INTERNET_IP, 443)
            inner = context.wrap_socket(connection, server_hostname=rig.WEB,
                                        suppress_ragged_eofs=True)
            if read:
                inner.sendall(b"GET /big HTTP/1.1\r\nHost: w\r\n\r\n")
                left = read
                while left > 0:
                    left -= len(inner.recv(65536))
            end(inner, how)
        return stage

    request = socket.inet_aton(rig.INTERNET_IP) + b"\0\x50"
    return {
        "connected": raw(b""),
        "half a greeting": raw(b"\5"),
        "greeting": raw(b"\5\1\0"),
        "half a request": raw(b"\5\1\0\5\1\0\1\x0a"),
        "request": raw(b"\5\1\0\5\1\0\1" + request),
        "connected through": plain(),
        "half an inner request": plain(request=b"GET /big HT"),
        "inner request": plain(request=b"GET /big HTTP/1.0\r\n\r\n"),
        "inner answer began": plain(request=b"GET /big HTTP/1.0\r\n\r\n", read=1000),
        "in the middle of plain HTTP": plain(request=b"GET /big HTTP/1.0\r\n\r\n", read=3 * rig.MIB),
        "inner TLS is up": tls(0),
        "just after the handover": tls(20000),
        "in the middle of a handed-over download": tls(5 * rig.MIB),
    }


@pytest.mark.parametrize("engine", ["splice", "copy", "sockmap"])
def test_ends_at_every_stage_of_the_client(net, internet, pair, engine, rude_upstream):
    server, client = pair(engine=engine)
    stages = socks_stages(net, internet)
    for stage in stages.values():
        stage("fin")
    before = [(daemon, Footprint(daemon)) for daemon in (client, server)]
    for _ in range(3):
        for name, stage in stages.items():
            for how in ("rst", "fin", "half-close"):
                stage(how)
    for daemon, old in before:
        assert_back(daemon, old, "%s, engine %s" % (daemon.log_path, engine))
    for port, want in ((8090, "rst"), (8091, "fin"), (8092, "any"), (8093, "fin")):
        for _ in range(3):
            connection = rig.tcp(net.client, "127.0.0.1", 1081)
            assert rig.socks_handshake(connection, rig.INTERNET_IP, port) == 0
            connection.sendall(b"x")
            data, how = rig.read_all(connection, 10)
            assert how in ("fin", "rst"), (port, how)
            if port == 8091:
                assert len(data) == 300000 and how == "fin", (len(data), how)
            if port == 8093:
                assert data == b"", (port, data)
            connection.close()
    for size in (0, 1, 100000, 3 * rig.MIB):  # half-close of the client arrives after the last byte
        connection = rig.tcp(net.client, "127.0.0.1", 1081, timeout=20)
        assert rig.socks_handshake(connection, rig.INTERNET_IP, 8094) == 0
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        assert rig.read_all(connection, 20) == (b"%d fin" % size, "fin")
        connection.close()
    for daemon, old in before:
        assert_back(daemon, old, "%s, engine %s, upstream" % (daemon.log_path, engine))
        daemon.stop_clean()


def server_stages(net, keys, port):
    """Each stage of a REALITY client at the server."""
    public = reality_client.decode_key(keys.public)

    def open_client(sealed=True):
        hello = reality_client.Hello()
        if sealed:
            hello.seal(public, rig.SHORT_ID)
        return reality_client.Client(rig.tcp(net.client, rig.SERVER_IP, port), hello)

    def cut_hello(fraction):
        def stage(how):
            client = open_client()
            data = reality_client.record(22, client.hello.message())
            client.connection.sendall(data[:int(len(data) * fraction)])
            end(client.connection, how)
        return stage

    def stranger(how):
        client = open_client(sealed=False)
        client.send_hello()
        client.read_flight()
        end(client.connection, how)

    def flight(finish):
        def stage(how):
            client = open_client()
            client.send_hello()
            client.read_flight()
            if finish is not None:
                data = client.finish(send=False)
                client.connection.sendall(data[:int(len(data) * finish)])
            end(client.connection, how)
        return stage

    def request(data, read=0):
        def stage(how):
            client = open_client().handshake()
            client.send(data)
            if read:
                client.recv_exactly(read)
            end(client.connection, how)
        return stage

    vless = reality_client.vless_header(rig.PLAIN_USER, rig.INTERNET_IP, 80)
    vision = reality_client.vless_header(rig.USER, rig.INTERNET_IP, 80, flow=rig.VISION)
    get = b"GET /big HTTP/1.0\r\n\r\n"
    block = reality_client.vision_block(0, get, 30, rig.USER)
    return {
        "connected": cut_hello(0), "half a hello": cut_hello(0.5), "a whole hello": cut_hello(1),
        "a stranger's hello": stranger, "the flight was read": flight(None),
        "half a Finished": flight(0.6), "Finished": flight(1),
        "half a VLESS header": request(vless[:20]), "a VLESS header": request(vless),
        "a VLESS request": request(vless + get), "a download": request(vless + get, 100000),
        "a Vision header": request(vision), "half a Vision block": request(vision + block[:30]),
        "a Vision download": request(vision + block, 100000),
        "a raw uplink": request(vision + reality_client.vision_block(2, get, 0, rig.USER), 50000),
    }


@pytest.mark.parametrize("engine", ["splice", "copy", "sockmap"])
def test_ends_at_every_stage_of_the_server(net, keys, pair, engine):
    server, client = pair(engine=engine)
    stages = server_stages(net, keys, 4443)
    for stage in stages.values():
        stage("fin")
    before = Footprint(server)
    for _ in range(3):
        for name, stage in stages.items():
            for how in ("rst", "fin", "half-close"):
                stage(how)
    assert_back(server, before, "server, engine %s" % engine)
    client.stop_clean()
    server.stop_clean()


def test_the_peer_daemon_dies(net, internet, pair):
    """The server is killed in the middle of downloads: the client's sessions end."""
    server, client = pair()
    running = [rig.curl(net.client, "-x", "socks5h://127.0.0.1:1081", "-k", "-o", "/dev/null",
                        "https://%s/paced/big" % rig.INTERNET_IP, background=True)
               for _ in range(4)]
    rig.wait_for(lambda: len(client.sessions()) == 4 and all(
        s["downlink"]["bytes"] > rig.MIB for s in client.sessions()), 10, "downloads run")
    server.child.kill()
    server.child.wait()
    server.stopped = True
    for child in running:
        child.communicate(timeout=20)
        assert child.returncode != 0
    client.wait_idle()
    client.stop_clean()
