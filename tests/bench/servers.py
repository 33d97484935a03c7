# SPDX-License-Identifier: MIT
"""servers.py - culvert and its peers: how each is configured for each way, and started as the relay.

A *way* is how the client's traffic reaches the relay. A server class lists the ways that it serves in
`ways` (way -> method that starts it); open_way() gives the Endpoint where `load run` finds it. For the
VLESS ways an adapter stands in between: a culvert client in the client's namespace, the same for every
server. Peers that are not installed are `absent` with a reason and never left out.

Debian's are found in PATH; others by PEERS="xray=/path sing-box=/path hev=/path".
"""
import json
import os
import re
import shutil
import subprocess

import lab as benchlab

SNI = "camouflage.test"  # the sink's certificate is for this name and for localhost
SHORT_ID = "0123456789abcdef"
USER = "b7502f40-1152-59f2-ba10-69aeed522cdf"
VISION = "xtls-rprx-vision"
PATH = "/stream"  # of WebSocket
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"

# way -> (load's --via, kind of adapter or None, what it is called in titles)
WAYS = {
    "direct": ("direct", None, "direct"),
    "sni": ("sni", None, "TLS passed on by SNI"),
    "socks5": ("socks5", None, "SOCKS5"),
    "http": ("http", None, "HTTP CONNECT"),
    "socks5-tls": ("socks5-tls", None, "SOCKS5 over TLS"),
    "http-tls": ("http-tls", None, "HTTP CONNECT over TLS"),
    "vision": ("socks5", "vision", "REALITY+VLESS+Vision"),
    "reality": ("socks5", "reality", "REALITY+VLESS, no flow"),
    "ws-tls": ("socks5", "ws-tls", "VLESS+WebSocket+TLS"),
}


class Endpoint:
    """Where and how `load run` meets a relay; `processes` are the relay's, `adapter` the client end's."""

    def __init__(self, via, address, port, processes=(), adapter=()):
        self.via, self.address, self.port = via, address, port
        self.processes, self.adapter = list(processes), list(adapter)

    def relay_pids(self):
        return benchlab.tree_of(process.pid for process in self.processes)

    def options(self):
        if self.via == "direct":
            return ["--via", "direct"]
        return ["--via", self.via, "--relay", "%s:%d" % (self.address, self.port), "--sni", SNI]


class World:
    """What all rows share in a lab: certificate, keys, and the sink's services."""

    def __init__(self, lab):
        self.lab = lab
        self.certificate, self.key = lab.path("site.crt"), lab.path("site.key")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=" + SNI, "-addext",
             "subjectAltName=DNS:%s,DNS:localhost" % SNI, "-keyout", self.key, "-out",
             self.certificate], check=True, stderr=subprocess.DEVNULL)
        with open(self.certificate) as certificate, open(self.key) as key:
            self.combined = lab.write("combined.pem", certificate.read() + key.read())
        keys = json.loads(subprocess.check_output([benchlab.CULVERT, "keys", "--json"]))
        self.private, self.public = keys["privateKey"], keys["password"]
        self.bulk, self.tls, self.echo, self.udp, self.stamp = (lab.port() for _ in range(5))
        self.opened = {}
        self.serving = lab.sink.start(
            benchlab.LOAD, "serve", "0.0.0.0", "--bulk", self.bulk, "--tls", self.tls, "--echo",
            self.echo, "--udp-echo", self.udp, "--stamp", self.stamp, "--certificate",
            self.certificate, "--key", self.key)
        for port in (self.bulk, self.tls, self.echo):
            lab.sink.wait_port(self.serving, port)

    def endpoint(self, server, way):
        """Starts the server for a way, or gives the one that runs; forget() ends them."""
        key = (server.name if server else "direct", way)
        if key not in self.opened:
            self.opened[key] = open_way(self, server, way)
        return self.opened[key]

    def forget(self, way):
        """Ends the servers of all ways but this one."""
        for key in [key for key in self.opened if key[1] not in (way, "direct")]:
            place = self.opened.pop(key)
            self.lab.stop(*place.processes, *place.adapter)

    def to(self, endpoint, port):
        """The sink as its peer there names it."""
        direct = endpoint.via == "direct"
        return "%s:%d" % (benchlab.SINK_DIRECT if direct else benchlab.SINK, port)


def open_way(world, server, way):
    via, adapter, _ = WAYS[way]
    if way == "direct":
        return Endpoint("direct", benchlab.SINK_DIRECT, 0)
    port = world.lab.port()
    processes = server.start(world, way, port)
    if not adapter:
        return Endpoint(via, benchlab.RELAY_FRONT, port, processes)
    socks = world.lab.port()
    process = start_culvert(world, world.lab.adapter, "adapter", client_config(
        world, adapter, port, socks), socks)
    return Endpoint(via, "127.0.0.1", socks, processes, [process])


# ---- culvert -----------------------------------------------------------------------------------


def start_culvert(world, place, name, config, port, **culvert):
    config.setdefault("log", {"loglevel": "warning"})
    config["culvert"] = dict({"workers": len(place.cores), "controlSocket": "",
                              "stateDirectory": "", "maxSessions": 65536}, **culvert)
    path = world.lab.write("%s-%d.json" % (name, port), json.dumps(config, indent=1))
    process = place.start(benchlab.CULVERTD, "-c", path)
    place.wait_port(process, port)
    return process


def client_config(world, kind, server_port, socks_port):
    user = {"id": USER, "encryption": "none", "flow": VISION if kind == "vision" else ""}
    if kind == "ws-tls":
        stream = {"network": "ws", "wsSettings": {"path": PATH, "host": SNI}, "security": "tls",
                  "tlsSettings": {"serverName": SNI, "certificates": [
                      {"usage": "verify", "certificateFile": world.certificate}]}}
    else:
        stream = {"network": "raw", "security": "reality", "realitySettings": {
            "serverName": SNI, "password": world.public, "shortId": SHORT_ID,
            "fingerprint": "chrome"}}
    return {
        "inbounds": [{"listen": "127.0.0.1", "port": socks_port, "protocol": "socks",
                      "settings": {"udp": True}}],
        "outbounds": [{"protocol": "vless", "streamSettings": stream, "settings": {"vnext": [
            {"address": benchlab.RELAY_FRONT, "port": server_port, "users": [user]}]}}]}


def xray_stream(world, way, network):
    """streamSettings of a server in Xray's format."""
    tls = {"certificates": [{"certificateFile": world.certificate, "keyFile": world.key}]}
    if way in ("vision", "reality"):
        return {"network": network, "security": "reality", "realitySettings": {
            "target": "%s:%d" % (benchlab.SINK, world.tls), "serverNames": [SNI],
            "privateKey": world.private, "shortIds": [SHORT_ID]}}
    if way == "ws-tls":
        return {"network": "ws", "wsSettings": {"path": PATH}, "security": "tls",
                "tlsSettings": tls}
    if way.endswith("-tls"):
        return {"network": network, "security": "tls", "tlsSettings": tls}
    return None


def xray_inbound(world, way, port, network="raw"):
    """An inbound that culvert, Xray and v2ray understand."""
    inbound = {"tag": "in", "listen": "0.0.0.0", "port": port, "protocol": "vless", "settings": {}}
    stream = xray_stream(world, way, network)
    if stream:
        inbound["streamSettings"] = stream
    if way.startswith("socks5"):
        inbound.update(protocol="socks", settings={"auth": "noauth"})
        if way == "socks5":
            inbound["settings"].update(udp=True, ip=benchlab.RELAY_FRONT)
    elif way.startswith("http"):
        inbound["protocol"] = "http"
    else:
        client = {"id": USER, "email": "bench"}
        if way == "vision":
            client["flow"] = VISION
        inbound["settings"] = {"decryption": "none", "clients": [client]}
    return inbound


class Server:
    """One that is installed has a path; start(world, way, port) returns its processes."""

    name, program, package, ways = "", "", "", ()

    def __init__(self, path=None):
        self.path = path or shutil.which(self.program) or shutil.which(
            self.program, path="/usr/sbin:/sbin")

    @property
    def absent(self):
        """Why it cannot be measured, or None."""
        return None if self.path else (self.program + " is not installed" if self.package else
                                       "not given in PEERS")

    def version(self):
        return first_line([self.path, "--version"])

    def begin(self, world, port, *arguments, **options):
        process = world.lab.relay.start(self.path, *arguments, **options)
        world.lab.relay.wait_port(process, port)
        return process

    def start(self, world, way, port):
        raise NotImplementedError


def first_line(command):
    """Of what a program says about its version."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=20)
    return next((line.strip() for line in done.stdout.splitlines()
                 if re.search(r"\d\.\d|\d{4}", line)), "")


class Culvert(Server):
    name, program = "culvert", "culvertd"
    ways = ("sni", "socks5", "http", "socks5-tls", "http-tls", "vision", "reality", "ws-tls")

    def __init__(self):
        super().__init__(benchlab.CULVERTD)

    def config(self, world, way, port):
        config = {"outbounds": [{"tag": "direct", "protocol": "freedom", "settings": {
            "finalRules": [{"action": "allow"}]}}]}
        if way != "sni":
            config["inbounds"] = [xray_inbound(world, way, port)]
            return config
        backend = "%s:%d" % (benchlab.SINK, world.tls)
        config["inbounds"] = [{"tag": "in", "listen": "0.0.0.0", "port": port, "protocol": "edge"}]
        config["edge"] = {"inboundTag": ["in"], "target": backend, "routes": [
            {"names": [SNI], "to": {"backend": backend}}]}
        return config

    def start(self, world, way, port, **culvert):
        """Keys of the section "culvert" may be given, as engine="copy"."""
        return [start_culvert(world, world.lab.relay, "culvert", self.config(world, way, port),
                              port, **culvert)]


# ---- Debian's ----------------------------------------------------------------------------------


def haproxy_text(threads, idle_seconds, more):
    """A configuration for TCP, up to its frontends and backends."""
    return """
global
    nbthread %d
    maxconn 4000
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 5s
    timeout client %ds
    timeout server %ds
%s""" % (threads, idle_seconds, idle_seconds, more)


class HAProxy(Server):
    """TCP with splice by SNI; in front of a SOCKS5 server it ends TLS."""

    name = program = package = "haproxy"
    ways = ("sni", "socks5-tls")

    def version(self):
        return first_line([self.path, "-v"])

    def start(self, world, way, port):
        if way == "sni":
            front = """bind :%d
    tcp-request inspect-delay 5s
    tcp-request content accept if { req_ssl_hello_type 1 }
    use_backend site if { req_ssl_sni -i %s }""" % (port, SNI)
            return [self.proxy(world, port, front, "%s:%d" % (benchlab.SINK, world.tls))]
        inner, process = behind(world)
        front = "bind :%d ssl crt %s\n    default_backend site" % (port, world.combined)
        return [self.proxy(world, port, front, "127.0.0.1:%d" % inner), process]

    def proxy(self, world, port, front, backend):
        path = world.lab.write("haproxy-%d.cfg" % port, haproxy_text(
            len(world.lab.relay.cores), 600, """\
    option splice-auto
frontend front
    %s
backend site
    server site %s
""" % (front, backend)))
        return self.begin(world, port, "-db", "-f", path)


def behind(world):
    """A plain SOCKS5 server for those that only end TLS: (port, process). microsocks copies a KiB at a
    time and would be all that is measured."""
    inner = Dante() if Dante().path else Microsocks()
    if inner.absent:
        raise RuntimeError("neither dante nor microsocks is installed, which have to do the SOCKS5")
    port = world.lab.port()
    return port, inner.start(world, "socks5", port)[0]


class NginxStream(Server):
    name, program, package, ways = "nginx", "nginx", "nginx-light", ("sni",)

    @property
    def absent(self):
        if self.path and not os.path.exists(NGINX_STREAM):
            return "nginx has no stream module (libnginx-mod-stream)"
        return super().absent

    def version(self):
        return first_line([self.path, "-v"])

    def start(self, world, way, port):
        path = world.lab.write("nginx-%d.conf" % port, """
load_module %s;
user root; daemon off; worker_processes %d; worker_rlimit_nofile 65536;
pid %s/nginx-%d.pid; error_log %s/nginx.log;
events { worker_connections 32768; }
stream {
    map $ssl_preread_server_name $site { %s %s:%d; }
    server { listen %d backlog=4096; ssl_preread on; proxy_pass $site; }
}
""" % (NGINX_STREAM, len(world.lab.relay.cores), world.lab.dir, port, world.lab.dir, SNI, benchlab.SINK,
            world.tls, port))
        return [self.begin(world, port, "-e", world.lab.path("nginx.log"), "-c", path)]


class V2ray(Server):
    name = program = package = "v2ray"
    ways = ("socks5", "http", "ws-tls")
    network, option, freedom = "tcp", ("-config",), {}

    def version(self):
        return first_line([self.path, "-version"])

    def start(self, world, way, port):
        path = world.lab.write("%s-%d.json" % (self.name, port), json.dumps({
            "log": {"loglevel": "none"},
            "inbounds": [xray_inbound(world, way, port, self.network)],
            "outbounds": [{"protocol": "freedom", "settings": self.freedom}]}))
        return [self.begin(world, port, *self.option, path)]


class Dante(Server):
    name, program, package, ways = "dante", "danted", "dante-server", ("socks5",)

    def version(self):
        return first_line([self.path, "-v"])

    def start(self, world, way, port):
        path = world.lab.write("danted-%d.conf" % port, """
logoutput: %s/danted.log
internal: 0.0.0.0 port = %d
external: wire2
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
""" % (world.lab.dir, port))
        return [self.begin(world, port, "-f", path, "-p", world.lab.path("danted-%d.pid" % port))]


class Microsocks(Server):
    name = program = package = "microsocks"
    ways = ("socks5",)

    def version(self):
        return first_line(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", self.package])

    def start(self, world, way, port):
        return [self.begin(world, port, "-i", "0.0.0.0", "-p", str(port))]


class Stunnel(Server):
    """Ends TLS in front of a SOCKS5 server."""

    name, program, package, ways = "stunnel", "stunnel4", "stunnel4", ("socks5-tls",)

    def version(self):
        return first_line([self.path, "-version"])

    def start(self, world, way, port):
        inner, process = behind(world)
        path = world.lab.write("stunnel-%d.conf" % port, """
foreground = yes
pid =
debug = 3
sslVersionMin = TLSv1.3
[socks]
accept = 0.0.0.0:%d
connect = 127.0.0.1:%d
cert = %s
""" % (port, inner, world.combined))
        return [self.begin(world, port, path), process]


# ---- by PEERS ----------------------------------------------------------------------------------


class Xray(V2ray):
    name, program, package = "xray", "xray", ""
    ways = ("vision", "reality", "socks5", "http", "socks5-tls", "ws-tls")
    network, option = "raw", ("run", "-c")
    freedom = {"finalRules": [{"action": "allow"}]}

    def __init__(self, path=None):
        super().__init__(path)
        self.path = path  # only as given

    def version(self):
        return first_line([self.path, "version"])


class SingBox(Server):
    name, program, package = "sing-box", "sing-box", ""
    ways = ("vision", "reality", "socks5", "http", "ws-tls")

    def __init__(self, path=None):
        super().__init__(path)
        self.path = path

    def version(self):
        return first_line([self.path, "version"])

    def inbound(self, world, way, port):
        inbound = {"type": {"socks5": "socks", "http": "http"}.get(way, "vless"),
                   "listen": "0.0.0.0", "listen_port": port}
        if way in ("socks5", "http"):
            return inbound
        inbound["users"] = [{"uuid": USER, "flow": VISION if way == "vision" else ""}]
        inbound["tls"] = tls = {"enabled": True, "server_name": SNI}
        if way == "ws-tls":
            tls.update(certificate_path=world.certificate, key_path=world.key)
            inbound["transport"] = {"type": "ws", "path": PATH}
        else:
            tls["reality"] = {"enabled": True, "private_key": world.private, "short_id": [SHORT_ID],
                              "handshake": {"server": benchlab.SINK, "server_port": world.tls}}
        return inbound

    def start(self, world, way, port):
        path = world.lab.write("sing-box-%d.json" % port, json.dumps({
            "log": {"level": "error"}, "inbounds": [self.inbound(world, way, port)],
            "outbounds": [{"type": "direct"}]}))
        return [self.begin(world, port, "run", "-c", path)]


class Hev(Server):
    name, program, package, ways = "hev", "hev-socks5-server", "", ("socks5",)

    def __init__(self, path=None):
        super().__init__(path)
        self.path = path

    def start(self, world, way, port):
        path = world.lab.write("hev-%d.yml" % port, """
main:
  workers: %d
  port: %d
  listen-address: '0.0.0.0'
misc:
  log-level: error
  limit-nofile: 65535
""" % (len(world.lab.relay.cores), port))
        return [self.begin(world, port, path)]


DEBIAN = (HAProxy, NginxStream, V2ray, Dante, Microsocks, Stunnel)
GIVEN = (Xray, SingBox, Hev)


def parse_peers(text):
    """PEERS="name=path ..." -> {name: path}."""
    found = {}
    for part in text.split():
        name, equals, path = part.partition("=")
        if not equals or name not in {peer.name for peer in GIVEN}:
            raise ValueError("PEERS: %r is not one of %s=PATH" % (
                part, ", ".join(peer.name for peer in GIVEN)))
        if not os.access(path, os.X_OK):
            raise ValueError("PEERS: %s cannot be run" % path)
        found[name] = os.path.abspath(path)
    return found


def every_server(given):
    """culvert first, then the peers: {name: Server}."""
    servers = [Culvert()] + [peer() for peer in DEBIAN]
    servers += [peer(given.get(peer.name)) for peer in GIVEN]
    return {server.name: server for server in servers}
