# SPDX-License-Identifier: MIT
"""A TCP client by hand, which takes its time between SYN and ACK.

Its address belongs to nobody, so that no kernel answers for it; the server's neighbour table is told
where it is.
"""

import json
import random
import socket
import struct
import subprocess
import time

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def _link(namespace):
    """(name, MAC) of the namespace's first veth."""
    text = subprocess.run(["ip", "-n", namespace.name, "-j", "link", "show", "type", "veth"],
                          check=True, capture_output=True, text=True).stdout
    first = json.loads(text)[0]
    return first["ifname"], first["address"]


def _sum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class SlowClient:
    def __init__(self, client, server, address, port, source="10.77.1.77"):
        self.name, mac = _link(client)
        server_name, server_mac = _link(server)
        subprocess.run(["ip", "-n", server.name, "neigh", "replace", source, "lladdr", mac, "dev",
                        server_name, "nud", "permanent"], check=True)
        self.mac = bytes.fromhex(server_mac.replace(":", ""))
        self.source, self.address = socket.inet_aton(source), socket.inet_aton(address)
        self.port, self.own_port = port, random.randrange(20000, 60000)
        self.sequence, self.acknowledged = random.randrange(1 << 31), 0
        with client:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self.socket.bind((self.name, 0x0800))

    def send(self, flags, payload=b""):
        tcp = struct.pack("!HHIIBBHHH", self.own_port, self.port, self.sequence, self.acknowledged,
                          5 << 4, flags, 65000, 0, 0) + payload
        pseudo = self.source + self.address + struct.pack("!BBH", 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", _sum(pseudo + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + self.source + \
            self.address
        ip = ip[:10] + struct.pack("!H", _sum(ip)) + ip[12:]
        self.socket.sendto(ip + tcp, (self.name, 0x0800, 0, 0, self.mac))
        self.sequence += len(payload) + (1 if flags & (SYN | FIN) else 0)

    def receive(self, wanted, seconds=20):
        """(flags, payload) of the first segment for us with one of the wanted flags or a payload."""
        deadline = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            packet = self.socket.recv(65536)
            if packet[9] != 6 or packet[12:16] != self.address or packet[16:20] != self.source:
                continue
            tcp = packet[(packet[0] & 15) * 4:struct.unpack("!H", packet[2:4])[0]]
            source, own, sequence, _, offset, flags = struct.unpack("!HHIIBB", tcp[:14])
            if (source, own) != (self.port, self.own_port):
                continue
            payload = tcp[(offset >> 4) * 4:]
            if flags & wanted or payload:
                self.acknowledged = sequence + len(payload) + (1 if flags & (SYN | FIN) else 0)
                return flags, payload

    def close(self):
        self.send(RST | ACK)
        self.socket.close()
