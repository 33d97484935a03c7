# SPDX-License-Identifier: MIT
"""What the end-to-end tests are made of: certificates, sites, daemons, measurements."""

import contextlib
import datetime
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

SERVER_IP, INTERNET_IP, CLIENT_IP = "10.77.1.1", "10.77.2.2", "10.77.1.2"
SERVER_INNER_IP = "10.77.2.1"
SITE = "site.test"  # what REALITY imitates
WEB = "web.test"  # the internet
USER = "5783a3e7-e373-51cd-8642-c83782b807c5"
PLAIN_USER = "b7502f40-1152-59f2-ba10-69aeed522cdf"
STRANGER = "feb54431-301b-52bb-a6dd-e1e93e81bb9e"
VISION = "xtls-rprx-vision"
SHORT_ID = "0123456789abcdef"
PAGE = "<html><body>camouflage site</body></html>\n"
MIB = 1 << 20
# Another user, no capability, none to be had. A user of this run's own: since Linux 6.14 the rings of
# all processes of a user count against one limit of locked memory.
NOBODY = 20000 + os.getpid() % 40000
UNPRIVILEGED = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
                "--bounding-set=-all", "--no-new-privs")


def build_dir():
    return os.path.abspath(os.environ.get("CULVERT_BUILD", "build"))


def for_others(path, directory):
    """`path`; where other users may not go there (a clone in /root), a copy in `directory`."""
    parent = os.path.dirname(path)
    while parent != "/" and os.stat(parent).st_mode & 1:
        parent = os.path.dirname(parent)
    if parent == "/":
        return path
    copy = os.path.join(directory, os.path.basename(path))
    if not os.path.exists(copy):
        shutil.copy(path, copy)
    return copy


def accept_each(listener, serve):
    """serve(connection) in a thread of its own for each that comes, until the listener is closed."""
    def run():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
    threading.Thread(target=run, daemon=True).start()


def wait_for(condition, seconds, what, pause=0.02):
    """Poll until condition() is true; returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("not within %g s: %s" % (seconds, what))
        time.sleep(pause)


# ---- certificates ------------------------------------------------------------------------------


class Authority:
    """A CA with its files below directory."""

    def __init__(self, directory):
        self.directory = directory
        self.issued = 0
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e CA")])
        builder = self._builder(self.name, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        builder = builder.add_extension(x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False), True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.file = os.path.join(directory, "ca.pem")
        with open(self.file, "wb") as file:
            file.write(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, public_key):
        now = datetime.datetime.utcnow()
        # both key identifiers: Python 3.13 verifies strictly by RFC 5280
        subject_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                .public_key(public_key).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=2))
                .add_extension(subject_id, False).add_extension(issuer_id, False))

    def issue(self, *names, padding_names=0):
        """Files (certificate, key); padding_names makes the certificate larger.

        RSA, because its signatures have one length: record lengths can be compared.
        """
        key = rsa.generate_private_key(65537, 2048)
        more = ["alternative-name-%03d.%s" % (i, names[0]) for i in range(padding_names)]
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]),
                                key.public_key())
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(n) for n in list(names) + more]), False)
        # files of their own: another test's program may still read the last ones for this name
        self.issued += 1
        stem = os.path.join(self.directory, "%s-%d" % (names[0], self.issued))
        with open(stem + ".crt", "wb") as file:
            file.write(builder.sign(self.key, hashes.SHA256())
                       .public_bytes(serialization.Encoding.PEM))
        with open(stem + ".key", "wb") as file:
            file.write(key.private_bytes(serialization.Encoding.PEM,
                                         serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()))
        return stem + ".crt", stem + ".key"


# ---- processes ---------------------------------------------------------------------------------


class Process:
    """A program in a namespace with its output in a file; ended by its own pid."""

    def __init__(self, namespace, command, log, **options):
        self.log_path = log
        with open(log, "wb") as output:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                preexec_fn=namespace.enter if namespace else None, **options)
        self.pid = self.child.pid

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def alive(self):
        return self.child.poll() is None

    def stop(self, seconds=15):
        """SIGTERM; returns the exit status, kills and raises if it does not end."""
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError("pid %d did not end within %g s of SIGTERM; log ends:\n%s"
                                 % (self.pid, seconds, self.log()[-3000:])) from None

    def descriptors(self):
        return {name: _readlink("/proc/%d/fd/%s" % (self.pid, name))
                for name in os.listdir("/proc/%d/fd" % self.pid)}

    def sanitized(self):
        """Built with AddressSanitizer (its shadow makes the address space enormous)."""
        with open("/proc/%d/statm" % self.pid) as file:
            return int(file.read().split()[0]) * 4096 > 1 << 43

    def resident_bytes(self):
        with open("/proc/%d/status" % self.pid) as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024


def _readlink(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def accepts(namespace, address, port):
    with namespace:
        probe = socket.socket()
    with probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def find_program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


class Nginx(Process):
    """nginx with a generated configuration: `http` is the text inside http {}."""

    def __init__(self, namespace, directory, http, main="", wait=()):
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)
        temporary = " ".join("%s_temp_path %s/%s;" % (kind, directory, kind) for kind in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = """
%s
user root; daemon off; worker_processes 1; worker_rlimit_nofile 16384;
pid %s/pid; error_log %s/error.log;
events { worker_connections 8192; }
http { access_log %s/access.log; %s server_tokens off; client_max_body_size 0; sendfile on;
%s
}
""" % (main, directory, directory, directory, temporary, http)
        file = os.path.join(directory, "nginx.conf")
        with open(file, "w") as output:
            output.write(text)
        super().__init__(namespace, [find_program("nginx"), "-e", directory + "/error.log",
                                     "-c", file], directory + "/output.log")
        for address, port in wait:
            wait_for(lambda: accepts(namespace, address, port) or not self.alive(), 10,
                     "nginx listens on %s:%d" % (address, port))
        assert self.alive(), self.log()


class Sink:
    """HTTP in a thread: POST answers "length sha256"; GET /slow dribbles; raw sockets are cheap."""

    def __init__(self, namespace, address, port):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
                total = left
                while left:
                    block = self.rfile.read1(min(left, 65536))
                    if not block:
                        return
                    digest.update(block)
                    left -= len(block)
                answer = b"%d %s" % (total, digest.hexdigest().encode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_PUT = do_POST

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

            def handle_error(self, *_):
                pass  # peers that reset are part of the tests

        with namespace:
            self.server = Server((address, port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


# ---- culvert -----------------------------------------------------------------------------------


def keys():
    """(private, public) as base64 by `culvert keys`."""
    text = subprocess.run([os.path.join(build_dir(), "culvert"), "keys", "--json"], check=True,
                          capture_output=True, text=True).stdout
    found = json.loads(text)
    flat = {}

    def walk(value):
        for key, item in value.items():
            if isinstance(item, dict):
                walk(item)
            else:
                flat[key.lower()] = item

    walk(found)
    return (flat.get("privatekey") or flat.get("private_key") or flat["private"],
            flat.get("password") or flat.get("publickey") or flat.get("public_key")
            or flat["public"])


class Culvert(Process):
    """culvertd with a configuration given as a dict."""

    count = 0

    def __init__(self, namespace, directory, config, name="culvertd", engine="auto", workers=1,
                 wait=(), loglevel="debug", drain=2, prefix=(), **culvert):
        Culvert.count += 1
        stem = os.path.join(directory, "%s-%d" % (name, Culvert.count))
        self.namespace = namespace
        self.control_path = stem + ".sock"
        if namespace and namespace.pins and "pinDirectory" not in culvert:
            culvert = dict({"pinDirectory": namespace.pins.directory, "bpf": "require"}, **culvert)
            prefix = list(prefix) + list(UNPRIVILEGED)
        config = dict(config)
        config.setdefault("log", {"loglevel": loglevel})
        config["culvert"] = dict({"workers": workers, "engine": engine, "drainSeconds": drain,
                                  "controlSocket": self.control_path}, **culvert)
        self.config_path = stem + ".json"
        with open(self.config_path, "w") as file:
            json.dump(config, file, indent=1)
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:exitcode=77",
                           UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:exitcode=77")
        program = os.path.join(build_dir(), "culvertd")
        if prefix:
            program = for_others(program, directory)
        super().__init__(namespace, list(prefix) + [program, "-c", self.config_path],
                         stem + ".log", env=environment)
        self.stopped = False
        for address, port in wait:
            wait_for(lambda: not self.alive() or self._listening(address, port), 60,
                     "%s listens on %s:%d; log:\n%s" % (name, address, port, self.log()[-2000:]))
        if wait and config["culvert"]["controlSocket"] == self.control_path:
            wait_for(lambda: not self.alive() or os.path.exists(self.control_path), 60,
                     "%s can be asked; log:\n%s" % (name, self.log()[-2000:]))
        assert self.alive(), "culvertd ended at start:\n" + self.log()

    def _listening(self, address, port):
        """Looks at the kernel's table: a connection of ours would be a session of the daemon.

        A steered address is in no table; there the log has to do.
        """
        if " ready: " in self.log():
            return True
        wanted = "%s:%04X" % ("".join("%02X" % int(b) for b in reversed(address.split("."))), port)
        with open("/proc/%d/net/tcp" % self.pid) as file:
            for line in file:
                fields = line.split()
                if fields[3] == "0A" and fields[1] in (wanted, "00000000:%04X" % port):
                    return True
        return False

    def ask(self, command):
        """The JSON answer of the control socket."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(self.control_path)
            control.sendall(command.encode() + b"\n")
            text = b""
            while True:
                block = control.recv(65536)
                if not block:
                    return json.loads(text)
                text += block

    def sessions(self):
        return self.ask("sessions")["sessions"]

    def reasons(self):
        return self.ask("reasons")["reasons"]

    def counter(self, name):
        return sum(worker[name] for worker in self.ask("workers")["workers"])

    def wait_idle(self, seconds=15):
        """Until no session is left; first the test lets go of its own connections."""
        close_all()
        wait_for(lambda: not self.sessions(), seconds,
                 "sessions end (%s)" % [(s["state"], s["destination"]) for s in self.sessions()])

    def wait_reason(self, text, before=0, seconds=20):
        """Until a reason whose label contains text was counted more often than before."""
        wait_for(lambda: self.reason_count(text) > before, seconds,
                 "reason %s counted (%s); log ends:\n%s"
                 % (text, self.reasons(), self.log()[-1500:]))

    def reason_count(self, text):
        text = text.lower().replace("_", "")
        return sum(count for label, count in self.reasons().items()
                   if text in label.lower().replace("_", "").replace("-", ""))

    def stop_clean(self, seconds=15):
        """SIGTERM must end it with status 0 and without complaints of sanitizers."""
        self.stopped = True
        status = self.stop(seconds)
        log = self.log()
        assert status == 0, "status %s after SIGTERM; log ends:\n%s" % (status, log[-4000:])
        assert "AddressSanitizer" not in log and "runtime error:" not in log, log[-6000:]


def reality_settings(key, target, names=(SITE,), short_ids=(SHORT_ID,), **more):
    return dict({"target": target, "serverNames": list(names), "privateKey": key,
                 "shortIds": list(short_ids), "maxTimeDiff": 60000}, **more)


def server_config(port, stream, fallbacks=None, listen=SERVER_IP, clients=None, outbounds=None,
                  **more):
    """VLESS in; out to anywhere, private addresses included (the tests' internet is one)."""
    settings = {"decryption": "none", "clients": clients or [
        {"id": USER, "flow": VISION, "email": "vision@test"},
        {"id": PLAIN_USER, "flow": "", "email": "plain@test"}]}
    if fallbacks is not None:
        settings["fallbacks"] = fallbacks
    return dict({
        "inbounds": [{"tag": "in", "listen": listen, "port": port, "protocol": "vless",
                      "settings": settings, "streamSettings": stream}],
        "outbounds": outbounds or [{"tag": "direct", "protocol": "freedom",
                                    "settings": {"finalRules": [{"action": "allow"}]}}]}, **more)


def reality_stream(key, target, **more):
    return {"network": "raw", "security": "reality",
            "realitySettings": reality_settings(key, target, **more)}


def client_config(socks_port, server_port, stream, user=USER, flow=VISION, listen="127.0.0.1",
                  server=SERVER_IP, socks=None, **more):
    return dict({
        "inbounds": [{"tag": "socks", "listen": listen, "port": socks_port, "protocol": "socks",
                      "settings": socks or {"auth": "noauth"}}],
        "outbounds": [{"tag": "proxy", "protocol": "vless", "streamSettings": stream,
                       "settings": {"vnext": [{"address": server, "port": server_port, "users": [
                           {"id": user, "flow": flow, "encryption": "none"}]}]}}]}, **more)


def reality_client_stream(public, short_id=SHORT_ID, name=SITE, fingerprint="chrome", **more):
    return {"network": "raw", "security": "reality", "realitySettings": dict(
        {"serverName": name, "password": public, "shortId": short_id, "fingerprint": fingerprint,
         "spiderX": "/"}, **more)}


def socks_only_config(port, accounts=None, listen="127.0.0.1", **more):
    """SOCKS5 straight out."""
    settings = {"auth": "noauth"}
    if accounts:
        settings = {"auth": "password",
                    "accounts": [{"user": u, "pass": p} for u, p in accounts.items()]}
    return dict({
        "inbounds": [{"tag": "socks", "listen": listen, "port": port, "protocol": "socks",
                      "settings": settings}],
        "outbounds": [{"tag": "direct", "protocol": "freedom",
                       "settings": {"finalRules": [{"action": "allow"}]}}]}, **more)


# ---- clients -----------------------------------------------------------------------------------


def curl(namespace, *arguments, timeout=60, background=False, **options):
    """(status, stdout bytes, stderr text); background: the running Popen."""
    command = ["curl", "-sS", "--max-time", str(timeout)] + list(arguments)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, preexec_fn=namespace.enter, **options)
    if background:
        return child
    out, err = child.communicate(timeout=timeout + 10)
    return child.returncode, out, err.decode(errors="replace")


def tcp(namespace, address, port, timeout=10):
    with namespace:
        connection = socket.socket()
    connection.settimeout(timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _opened.append(weakref.ref(connection))
    connection.connect((address, port))
    return connection


_opened = []


def close_all():
    """Close what tcp() opened and nobody closed; a failed test's traceback would keep it open."""
    while _opened:
        connection = _opened.pop()()
        if connection is not None:
            connection.close()


def reset(connection):
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def close_listeners(listeners):
    """Whoever waits in accept() wakes up."""
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def read_all(connection, seconds=10):
    """(bytes, "fin" | "rst" | "timeout")."""
    data, deadline = b"", time.monotonic() + seconds
    while True:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            block = connection.recv(65536)
        except (socket.timeout, TimeoutError):
            return data, "timeout"
        except (ConnectionResetError, BrokenPipeError):
            return data, "rst"
        if not block:
            return data, "fin"
        data += block


def socks_handshake(connection, host, port, credentials=None):
    """Returns REP; the connection then carries the stream."""
    connection.sendall(b"\5\1\2" if credentials else b"\5\1\0")
    method = exactly(connection, 2)
    if method[1] == 2 and credentials:
        name, word = (text.encode() for text in credentials)
        connection.sendall(bytes([1, len(name)]) + name + bytes([len(word)]) + word)
        if exactly(connection, 2)[1] != 0:
            return None
    elif method[1] != 0:
        return None
    try:
        address = b"\1" + socket.inet_aton(host)
        if host.count(".") != 3:
            raise OSError
    except OSError:
        address = bytes([3, len(host)]) + host.encode()
    connection.sendall(b"\5\1\0" + address + port.to_bytes(2, "big"))
    reply = exactly(connection, 4)
    exactly(connection, {1: 6, 4: 18}[reply[3]])
    return reply[1]


def exactly(connection, length):
    data = b""
    while len(data) < length:
        block = connection.recv(length - len(data))
        if not block:
            raise EOFError("ended after %d of %d bytes" % (len(data), length))
        data += block
    return data


def make_file(path, size, seed):
    """A reproducible random file; returns its SHA-256."""
    source, digest = random.Random(seed), hashlib.sha256()
    with open(path, "wb") as file:
        while size:
            block = source.randbytes(min(size, MIB))
            digest.update(block)
            file.write(block)
            size -= len(block)
    os.chmod(path, 0o644)
    return digest.hexdigest()


def end_restarted(daemon, successor, is_gone):
    """Kills a daemon, and the one that has taken its place: a pid, or None."""
    daemon.stopped = True
    daemon.child.kill()
    daemon.child.wait()
    if successor:
        os.kill(successor, signal.SIGKILL)
        wait_for(is_gone, 10, "the successor has ended")


@contextlib.contextmanager
def running(*processes):
    """Stops what was started; culvertd must end cleanly unless the test already failed."""
    try:
        yield processes
    except BaseException:
        for process in processes:
            if isinstance(process, Culvert):
                print("\n---- log of %s ends:\n%s" % (process.log_path, process.log()[-2500:]))
            with contextlib.suppress(AssertionError):
                process.stop(5)
        raise
    with contextlib.ExitStack() as stack:  # each, whatever becomes of the others
        for process in reversed(processes):
            if not isinstance(process, Culvert):
                stack.callback(process.stop)
            elif not process.stopped:
                stack.callback(process.stop_clean)
