# SPDX-License-Identifier: MIT
"""A SOCKS5 association as a client sees it, and what answers at the other end."""

import contextlib
import ipaddress
import select
import socket
import threading

import rig

SO_RCVBUFFORCE = 33


def address(host, port):
    """ATYP, address, port; a name stays one."""
    try:
        packed = ipaddress.ip_address(host).packed
        head = (b"\1" if len(packed) == 4 else b"\4") + packed
    except ValueError:
        head = b"\3" + bytes([len(host)]) + host.encode()
    return head + port.to_bytes(2, "big")


def parse(data):
    """(host, port, rest) behind an ATYP."""
    size = {1: 4, 4: 16}[data[0]]
    host = str(ipaddress.ip_address(data[1:1 + size]))
    return host, int.from_bytes(data[1 + size:3 + size], "big"), data[3 + size:]


def read_reply(connection):
    """(REP, host, port) of a reply."""
    head = rig.exactly(connection, 4)
    assert head[0] == 5 and head[2] == 0, head
    rest = rig.exactly(connection, {1: 6, 4: 18}[head[3]])
    host, port, _ = parse(head[3:] + rest)
    return head[1], host, port


def request(connection, command, host="0.0.0.0", port=0, credentials=None):
    """Greets, logs in, asks; (REP, host, port)."""
    connection.sendall(b"\5\1\2" if credentials else b"\5\1\0")
    assert rig.exactly(connection, 2) == (b"\5\2" if credentials else b"\5\0")
    if credentials:
        name, word = (text.encode() for text in credentials)
        connection.sendall(b"\1" + bytes([len(name)]) + name + bytes([len(word)]) + word)
        assert rig.exactly(connection, 2) == b"\1\0"
    connection.sendall(bytes([5, command, 0]) + address(host, port))
    return read_reply(connection)


class Association:
    """UDP ASSOCIATE over a connection (made here, or given), and a socket to use it with."""

    def __init__(self, namespace, server, connection=None, asked=("0.0.0.0", 0), credentials=None,
                 local=("0.0.0.0", 0)):
        self.namespace = namespace
        self.connection = connection or rig.tcp(namespace, *server)
        self.reply, host, port = request(self.connection, 3, *asked, credentials=credentials)
        self.relay = (host, port)
        self.udp = udp_socket(namespace, local)

    def send(self, host, port, data, via=None):
        (via or self.udp).sendto(b"\0\0\0" + address(host, port) + data, self.relay)

    def recv(self, seconds=5):
        """(host, port, data)."""
        self.udp.settimeout(seconds)
        data, source = self.udp.recvfrom(65536)
        assert source == self.relay and data[:3] == b"\0\0\0", (source, data[:10])
        return parse(data[3:])

    def ask(self, host, port, data, tries=5):
        """An answer to data; UDP may lose either."""
        for _ in range(tries):
            self.send(host, port, data)
            with contextlib.suppress(socket.timeout, TimeoutError):
                return self.recv(2)
        raise AssertionError("no answer from %s:%d" % (host, port))

    def nothing_comes(self, seconds=0.3):
        assert not select.select([self.udp], [], [], seconds)[0]

    def close(self):
        self.udp.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def udp_socket(namespace, local=("0.0.0.0", 0)):
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    with namespace:
        made = socket.socket(family, socket.SOCK_DGRAM)
    with contextlib.suppress(OSError):  # a busy machine leaves us waiting for long
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    made.bind(local)
    made.settimeout(5)
    return made


def udp_ports(pid):
    """Local UDP ports of the namespace a process lives in."""
    ports = set()
    for name in ("udp", "udp6"):
        with contextlib.suppress(FileNotFoundError), open("/proc/%d/net/%s" % (pid, name)) as file:
            for line in list(file)[1:]:
                ports.add(int(line.split()[1].rsplit(":", 1)[1], 16))
    return ports


class Echo:
    """Answers each datagram with the address it came from, a line, and the datagram."""

    def __init__(self, namespace, host, port):
        self.socket = udp_socket(namespace, (host, port))
        self.ends = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        self.socket.settimeout(0.1)
        while not self.ends:
            with contextlib.suppress(socket.timeout, TimeoutError):
                data, source = self.socket.recvfrom(65536)
                self.socket.sendto(source[0].encode() + b"\n" + data, source)
        self.socket.close()

    def stop(self):
        self.ends = True
        self.thread.join()


class Wrapper:
    """A local port whose datagrams go through an association to one destination: for programs that
    know nothing of SOCKS5."""

    def __init__(self, association, port, host, to_port):
        self.association, self.target = association, (host, to_port)
        self.local = udp_socket(association.namespace, ("127.0.0.1", port))
        self.ends = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        client = None
        while not self.ends:
            ready = select.select([self.local, self.association.udp], [], [], 0.1)[0]
            if self.local in ready:
                data, client = self.local.recvfrom(65536)
                self.association.send(*self.target, data)
            if self.association.udp in ready:
                self.local.sendto(self.association.recv()[2], client)

    def stop(self):
        self.ends = True
        self.thread.join()
        self.local.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def wait_bound(process, port, seconds=10):
    rig.wait_for(lambda: port in udp_ports(process.pid) or not process.alive(), seconds,
                 "UDP port %d; log:\n%s" % (port, process.log()))
    assert process.alive(), process.log()
