# SPDX-License-Identifier: MIT
"""Network namespaces of the end-to-end tests.

    client 10.77.1.2 ---- 10.77.1.1 server 10.77.2.1 ---- 10.77.2.2 internet

The client cannot reach the internet but through the server's process (no forwarding). Programs are
put into a namespace by setns() between fork and exec; a socket of the test itself belongs to the
namespace it was created in, so `with namespace:` around socket() is enough.
"""

import ctypes
import os
import subprocess
import threading

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, "setns: " + os.strerror(error))


def _run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Namespace:
    """A named network namespace; removed by close()."""

    pins = None  # steering of every culvertd in it, see CULVERT_PINNED in fixtures.py

    def __init__(self, name):
        self.name = name
        self.links = {}  # to another namespace, by its name
        _run("ip", "netns", "add", name)
        self.fd = os.open("/run/netns/" + name, os.O_RDONLY | os.O_CLOEXEC)
        self._outside = threading.local()
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments):
        _run("ip", "-n", self.name, *arguments)

    def enter(self):
        """For preexec_fn: the calling process stays inside."""
        _setns(self.fd)

    def __enter__(self):
        self._outside.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _setns(self.fd)
        return self

    def __exit__(self, *_):
        _setns(self._outside.fd)
        os.close(self._outside.fd)

    def close(self):
        os.close(self.fd)
        subprocess.run(["ip", "netns", "delete", self.name], check=False, stderr=subprocess.DEVNULL)


def connect(left, left_address, right, right_address):
    """A veth pair between two namespaces; addresses with prefix length."""
    left_name, right_name = "to-" + right.name[-8:], "to-" + left.name[-8:]
    _run("ip", "link", "add", left_name, "netns", left.name, "type", "veth",
         "peer", "name", right_name, "netns", right.name)
    left.ip("addr", "add", left_address, "dev", left_name)
    right.ip("addr", "add", right_address, "dev", right_name)
    left.links[right.name], right.links[left.name] = left_name, right_name
    left.ip("link", "set", left_name, "up")
    right.ip("link", "set", right_name, "up")


def usable():
    """None, or the reason why namespaces cannot be made here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = "culvert-probe-%d" % os.getpid()
    try:
        probe = Namespace(name)
    except (OSError, subprocess.CalledProcessError) as error:
        return "no network namespaces here: %s" % error
    probe.close()
    return None
