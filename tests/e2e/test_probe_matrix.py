# SPDX-License-Identifier: MIT
"""Active probing: twelve probes of a stranger, of nginx itself and of every way it stands behind us.

What comes back must be the same, byte for byte: in clear text all of it but the time of day, in TLS
the certificate, what was negotiated, the records' lengths, alerts, and the page. tests/detect goes
deeper into REALITY, and into time.
"""

import concurrent.futures
import os
import re
import ssl
import time
import types

import prober
import pytest
import reality_client
import rig

PORTS = {"reality": 7701, "edge": 7702, "behind": 7703}
NGINX = 8460
SECONDS = 16  # longer than nginx's time-out and our 5 s together


@pytest.fixture(scope="module")
def site(net, tmp, authority):
    certificate, key = authority.issue(rig.SITE)
    os.chmod(key, 0o644)
    root = os.path.join(tmp, "matrix")
    os.makedirs(root)
    with open(root + "/index.html", "w") as file:
        file.write(rig.PAGE)
    nginx = rig.Nginx(net.internet, os.path.join(tmp, "matrix-nginx"), """
        server { listen %(ip)s:%(port)d ssl; server_name %(name)s; root %(root)s;
            ssl_certificate %(certificate)s; ssl_certificate_key %(key)s;
            ssl_protocols TLSv1.2 TLSv1.3; client_header_timeout 4; keepalive_timeout 4; }
        """ % dict(ip=rig.INTERNET_IP, port=NGINX, name=rig.SITE, root=root,
                   certificate=certificate, key=key), wait=((rig.INTERNET_IP, NGINX),))
    yield types.SimpleNamespace(address="%s:%d" % (rig.INTERNET_IP, NGINX), certificate=certificate,
                                key=key)
    nginx.stop()


def start(net, tmp, keys, site, tag, edge, *inbounds):
    """A router called tag, with REALITY behind it under the name inner."""
    def vless(name, port, listen):
        inbound = rig.server_config(port, rig.reality_stream(keys.private, site.address),
                                    listen=listen)["inbounds"][0]
        return dict(inbound, tag=name)

    front = {"tag": tag, "listen": rig.SERVER_IP, "port": PORTS[tag], "protocol": "edge"}
    routes = [{"names": ["inner.example"], "to": {"inboundTag": "inner"}, "class": "inner"},
              {"names": ["other.example"], "to": {"backend": site.address}}]
    config = {"inbounds": [front, vless("inner", 7799, "none")] +
              [vless(one, PORTS[one], rig.SERVER_IP) for one in inbounds],
              "outbounds": [{"tag": "direct", "protocol": "freedom"}],
              "edge": dict({"inboundTag": tag, "routes": routes}, **edge)}
    return rig.Culvert(net.server, tmp, config, "matrix", wait=((rig.SERVER_IP, PORTS[tag]),))


@pytest.fixture(scope="module")
def daemons(net, tmp, keys, site):
    """{way: the daemon that listens there}, for each way that leads to the site."""
    inner = {"inboundTag": "inner"}
    one = start(net, tmp, keys, site, "edge", {"target": site.address}, "reality")
    two = start(net, tmp, keys, site, "behind", {
        "unknownName": inner, "noName": inner, "notTls": inner, "silence": inner})
    with rig.running(one, two):
        yield {"reality": one, "edge": one, "behind": two}


# ---- the probes ----------------------------------------------------------------------------------


def without_time(data):
    return re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: -", data)


def say(data, fin=False, piece=0):
    """Bytes, then what comes back to the end: all of it, or for TLS the records' shape."""
    def probe(dial):
        with dial() as one:
            prober.send_pieces(one, data, piece or max(len(data), 1), 0.001)
            if fin:
                prober.half_close(one)
            found = prober.observe(one, seconds=SECONDS)
        is_tls = found.data[:1] == b"\x16"
        return (found.shape() if is_tls else without_time(found.data)), found.end
    return probe


def page(name, **limits):
    """A TLS client that fetches / : what was negotiated, whose certificate, which bytes."""
    def probe(dial):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        for key, value in limits.items():
            setattr(context, key, value)
        with dial() as plain, context.wrap_socket(plain, server_hostname=name) as one:
            one.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
                        % (name or "x").encode())
            data = b""
            while True:
                block = one.recv(65536)
                if not block:
                    break
                data += block
            return (one.version(), one.cipher(), one.selected_alpn_protocol(),
                    one.getpeercert(binary_form=True), without_time(data))
    return probe


def twice(probe):
    return lambda dial: (probe(dial), probe(dial))


def leave(dial):
    """Connects and resets; then a connection is served as ever."""
    rig.reset(dial())
    return page(rig.SITE)(dial)


HELLO = prober.hello_record(reality_client.Hello(sni=rig.SITE, alpn=("http/1.1",)).message())
UNKNOWN = prober.hello_record(reality_client.Hello(sni="x" + rig.SITE, alpn=("http/1.1",)).message())
RANDOM = bytes((7 * i * i + 31 * i + 5) % 256 for i in range(600))

PROBES = {
    "1 the site's name": page(rig.SITE),
    "2 an unknown name": page("unknown.example"),
    "3 no name": page(None),
    "4 TLS 1.2": page(rig.SITE, maximum_version=ssl.TLSVersion.TLSv1_2),
    "5 plain HTTP": say(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % rig.SITE.encode()),
    "6 random bytes": say(RANDOM),
    "7 silence": say(b""),
    "8 another protocol": say(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "9 half a hello, FIN": say(HELLO[:120], fin=True),
    "10 a hello byte by byte": say(UNKNOWN, piece=1),
    "11 a hello, replayed": twice(say(HELLO)),
    "12 connect and reset": leave,
}


def run_all(dial):
    """{probe: what came back}, all at once."""
    with concurrent.futures.ThreadPoolExecutor(len(PROBES)) as pool:
        running = {name: pool.submit(probe, dial) for name, probe in PROBES.items()}
        return {name: one.result() for name, one in running.items()}


@pytest.fixture(scope="module")
def bare(net, site):
    return run_all(lambda: rig.tcp(net.server, rig.INTERNET_IP, NGINX, 20))


def test_row_064_nginx_is_what_we_think(bare):
    """The reference says something: pages, its own 400, alerts; so that equality means something."""
    assert len(bare) == 12
    for name in ("1 the site's name", "2 an unknown name", "3 no name", "4 TLS 1.2"):
        assert rig.PAGE.encode() in bare[name][4]
    assert bare["4 TLS 1.2"][0] == "TLSv1.2" and bare["1 the site's name"][0] == "TLSv1.3"
    assert b"400 The plain HTTP request" in bare["5 plain HTTP"][0]
    assert bare["7 silence"] == (b"", "fin")


@pytest.mark.parametrize("way", ("reality", "edge", "behind"))
def test_row_064_matrix(net, daemons, bare, way):
    """REALITY on the port, a router with the target, a router with REALITY behind it."""
    found = run_all(lambda: rig.tcp(net.client, rig.SERVER_IP, PORTS[way], 20))
    assert found.keys() == bare.keys()
    for name in bare:
        assert found[name] == bare[name], name
    daemons[way].wait_idle(30)


@pytest.mark.parametrize("said", (0, 120))
def test_row_064_time_of_silence(net, daemons, said):
    """Nothing, or the beginning of a hello: closed on when nginx itself would, not 5 s later."""
    def seconds(dial):
        with dial() as one:
            one.sendall(HELLO[:said])
            start = time.monotonic()
            assert rig.read_all(one, SECONDS) == (b"", "fin")
            return time.monotonic() - start

    dials = [lambda: rig.tcp(net.server, rig.INTERNET_IP, NGINX, 20)]
    dials += [lambda port=PORTS[way]: rig.tcp(net.client, rig.SERVER_IP, port, 20)
              for way in daemons]
    with concurrent.futures.ThreadPoolExecutor(len(dials)) as pool:
        bare, *found = pool.map(seconds, dials)
    assert 3 < bare < 6
    for way, one in zip(daemons, found):
        assert abs(one - bare) < 1.5, way


@pytest.mark.parametrize("name", ("inner.example", "other.example"))
def test_row_064_routed_names(net, site, daemons, name):
    """A name with a route of its own, to REALITY behind or to nginx as a backend, is nginx too."""
    one = page(name)(lambda: rig.tcp(net.server, rig.INTERNET_IP, NGINX, 20))
    for way in ("edge", "behind"):
        two = page(name)(lambda: rig.tcp(net.client, rig.SERVER_IP, PORTS[way], 20))
        assert two == one, way
