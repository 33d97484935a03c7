# SPDX-License-Identifier: MIT
"""Fixtures: three namespaces, an internet, a camouflage site, and a running pair of daemons.

Environment: CULVERT_BUILD (default build), CULVERT_LONG=1 (run tests marked long),
CULVERT_MIB (size of the large file, default 64), CULVERT_PINNED=1 (every culvertd runs as nobody,
without capabilities, and listens through pinned maps).
"""

import os
import secrets
import shutil
import signal
import tempfile
import types

import pytest

import netns
import pins
import rig


@pytest.fixture(scope="session")
def tmp():
    # directly below /tmp: pytest's own directories are closed to nginx's worker
    path = tempfile.mkdtemp(prefix="culvert-e2e-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def build():
    path = rig.build_dir()
    for program in ("culvertd", "culvert"):
        if not os.access(os.path.join(path, program), os.X_OK):
            pytest.fail("%s is not in %s: make first" % (program, path))
    return path


@pytest.fixture(scope="session")
def net(tmp):
    """Namespaces client, server, internet."""
    reason = netns.usable()
    if reason:
        pytest.skip(reason)
    made = []
    try:
        for name in ("client", "server", "internet"):
            made.append(netns.Namespace("cv%s-%s" % (secrets.token_hex(3), name)))
        client, server, internet = made
        netns.connect(client, "10.77.1.2/24", server, "10.77.1.1/24")
        netns.connect(server, "10.77.2.1/24", internet, "10.77.2.2/24")
        client.ip("route", "add", "default", "via", rig.SERVER_IP)
        if os.environ.get("CULVERT_PINNED"):
            os.chmod(tmp, 0o777)  # control sockets and key logs of another user
            for namespace in made:
                namespace.pins = pins.Pins(namespace, tmp).load("--user", str(pins.NOBODY))
        yield types.SimpleNamespace(client=client, server=server, internet=internet)
    finally:
        for namespace in made:
            if namespace.pins:
                namespace.pins.close()
            namespace.close()


@pytest.fixture(scope="session")
def authority(tmp):
    return rig.Authority(tmp)


@pytest.fixture(scope="session")
def keys(build):
    private, public = rig.keys()
    return types.SimpleNamespace(private=private, public=public)


@pytest.fixture(scope="session")
def internet(net, tmp, authority):
    """http :80, TLS 1.3 :443, TLS 1.2 :444; /big /medium /small; POST /sink hashes."""
    root = os.path.join(tmp, "web")
    os.makedirs(root)
    sizes = {"big": int(os.environ.get("CULVERT_MIB", "64")) * rig.MIB, "medium": 8 * rig.MIB,
             "small": 200 * 1024}
    hashes = {name: rig.make_file(os.path.join(root, name), size, name)
              for name, size in sizes.items()}
    with open(os.path.join(root, "index.html"), "w") as file:
        file.write("the internet\n")
    certificate, key = authority.issue(rig.WEB, "localhost")
    sink = rig.Sink(net.internet, rig.INTERNET_IP, 8001)

    def server(listen, tls):
        return """
        server { listen %s:%s; %s root %s; keepalive_timeout 60; reset_timedout_connection on;
            location /sink { proxy_pass http://%s:8001; proxy_request_buffering off;
                             proxy_http_version 1.1; proxy_read_timeout 300; }
            location /paced/ { alias %s/; limit_rate 16m; }
        }""" % (rig.INTERNET_IP, listen, tls, root, rig.INTERNET_IP, root)

    def tls(version):
        return "ssl_certificate %s; ssl_certificate_key %s; ssl_protocols %s;" % (
            certificate, key, version)

    nginx = rig.Nginx(net.internet, os.path.join(tmp, "internet"), "\n".join((
        server("80 backlog=4096", ""), server("443 ssl backlog=4096", tls("TLSv1.3")),
        server("444 ssl backlog=4096", tls("TLSv1.2")))),
        wait=((rig.INTERNET_IP, 80), (rig.INTERNET_IP, 443), (rig.INTERNET_IP, 444)))
    yield types.SimpleNamespace(root=root, sizes=sizes, hashes=hashes, ca=authority.file,
                                access_log=os.path.join(tmp, "internet", "access.log"))
    nginx.stop()
    sink.stop()


@pytest.fixture(scope="session")
def target(net, tmp, authority):
    """The camouflage site: nginx, TLS 1.2 and 1.3, HTTP/2, in the internet namespace :8443."""
    root = os.path.join(tmp, "camouflage")
    os.makedirs(root)
    with open(os.path.join(root, "index.html"), "w") as file:
        file.write(rig.PAGE)
    rig.make_file(os.path.join(root, "blob"), 2 * rig.MIB, "blob")
    certificate, key = authority.issue(rig.SITE)
    nginx = rig.Nginx(net.internet, os.path.join(tmp, "target"), """
        server { listen %s:8443 ssl http2 backlog=4096; server_name %s; root %s;
            ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3;
            client_header_timeout 8; keepalive_timeout 8; }""" % (
        rig.INTERNET_IP, rig.SITE, root, certificate, key), wait=((rig.INTERNET_IP, 8443),))
    yield types.SimpleNamespace(address="%s:8443" % rig.INTERNET_IP, certificate=certificate,
                                key=key, ca=authority.file, root=root)
    nginx.stop()


@pytest.fixture(scope="module")
def server(net, tmp, keys, target, internet):
    """culvertd with REALITY on the server's :443; must end cleanly after the module's tests."""
    daemon = rig.Culvert(net.server, tmp, rig.server_config(
        443, rig.reality_stream(keys.private, target.address)), "server",
        wait=((rig.SERVER_IP, 443),))
    with rig.running(daemon):
        yield daemon


@pytest.fixture(scope="module")
def client(net, tmp, keys, server):
    """culvertd with SOCKS5 on the client's 127.0.0.1:1080, VLESS+Vision+REALITY to server."""
    daemon = rig.Culvert(net.client, tmp, rig.client_config(
        1080, 443, rig.reality_client_stream(keys.public)), "client", wait=(("127.0.0.1", 1080),))
    with rig.running(daemon):
        yield daemon


@pytest.fixture
def pair(net, tmp, keys, target, internet):
    """start(engine=..., flow=..., ...) -> (server, client) on ports 4443 and 1081."""
    started = []

    def start(engine="auto", user=rig.USER, flow=rig.VISION, workers=1, **more):
        one = rig.Culvert(net.server, tmp, rig.server_config(
            4443, rig.reality_stream(keys.private, target.address)), "server", engine=engine,
            workers=workers, wait=((rig.SERVER_IP, 4443),), **more)
        started.append(one)
        two = rig.Culvert(net.client, tmp, rig.client_config(
            1081, 4443, rig.reality_client_stream(keys.public), user=user, flow=flow), "client",
            engine=engine, workers=workers, wait=(("127.0.0.1", 1081),), **more)
        started.append(two)
        if engine == "sockmap" and "engine sockmap: not available" in one.log():
            pytest.skip(one.log().split("copying instead: ")[1].splitlines()[0])
        return one, two

    yield start
    for daemon in started:
        if not daemon.stopped:
            try:
                daemon.stop(10)
            except AssertionError as error:
                print(error)


TEST_SECONDS = 240
LONG_TEST_SECONDS = 900


@pytest.fixture(autouse=True)
def test_ends(request):
    """A test that hangs fails, and those behind it still run."""
    def too_long(*_):
        raise TimeoutError("the test did not end")

    long = request.node.get_closest_marker("long")
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LONG_TEST_SECONDS if long else TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_connection_is_left():
    yield
    rig.close_all()
