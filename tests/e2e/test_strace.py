# SPDX-License-Identifier: MIT
"""The promise itself: after the handover no payload byte passes through either daemon's memory.

strace is attached to both daemons while a download and an upload through inner TLS 1.3 run; every
system call that could move payload is looked at, and the bytes that splice moved must be all there
are: what io_uring would move behind strace's back would be missing from the sum.
"""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import rig
from test_vision import address, arguments, relay_of

DATA_CALLS = ("read|readv|pread64|preadv2?|write|writev|pwrite64|pwritev2?|recvfrom|recvmsg|recvmmsg|"
              "sendto|sendmsg|sendmmsg|sendfile|copy_file_range|vmsplice|tee")
CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(?:[\d.:]+ )?(\w+)\((.*)\) += (-?\d+)")
RESUMED = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(?:[\d.:]+ )?<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)")


class Strace:
    def __init__(self, daemon, path):
        self.path = path
        self.child = subprocess.Popen(
            ["strace", "-f", "-yy", "-s", "0", "-o", path, "-p", str(daemon.pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rig.wait_for(lambda: self._attached(daemon.pid) or self.child.poll() is not None, 5,
                     "strace attaches")

    @staticmethod
    def _attached(pid):
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/status" % (pid, task)) as file:
                if re.search(r"TracerPid:\s+0$", file.read(), re.M):
                    return False
        return True

    def stop(self):
        self.child.send_signal(signal.SIGINT)
        self.child.wait(10)
        with open(self.path, errors="replace") as file:
            return file.read().splitlines()


def calls(lines):
    """(name, arguments, result) of every finished call; halves of interrupted ones are joined."""
    unfinished = {}
    for line in lines:
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            unfinished[thread] = line[:-len("<unfinished ...>")]
            continue
        match = RESUMED.match(line)
        if match and thread in unfinished:
            start = unfinished.pop(thread)
            line = start + match.group(2) + ") = " + match.group(3)
        match = CALL.match(line)
        if match:
            yield match.group(1), match.group(2), int(match.group(3))


def judge(lines, moved_bytes, name):
    into_pipe, out_of_pipe, names = 0, 0, {}
    for call, text, result in calls(lines):
        names[call] = names.get(call, 0) + 1
        if call == "splice" and result > 0:
            source = text.split(",")[0]
            if "TCP" in source:
                into_pipe += result
            else:
                out_of_pipe += result
        elif re.fullmatch(DATA_CALLS, call) and result > 0:
            assert "TCP" not in text.split(",")[0] and "pipe:" not in text.split(",")[0], \
                "%s moved payload: %s(%s) = %d" % (name, call, text, result)
    assert names.get("splice"), "%s made no splice: %s" % (name, names)
    # the counters are read a little outside of the traced time, so a margin on one side only
    assert into_pipe >= 0.9 * moved_bytes and out_of_pipe >= 0.9 * moved_bytes, \
        "%s: %d bytes moved, splice took %d and gave %d: %s" % (
            name, moved_bytes, into_pipe, out_of_pipe, names)
    print("%s: %d bytes moved while traced, splice in %d out %d, calls %s"
          % (name, moved_bytes, into_pipe, out_of_pipe, names))
    payload_calls = set(names) - {"splice"}
    allowed = {"io_uring_enter", "poll", "ppoll", "epoll_wait", "epoll_pwait", "getsockopt", "ioctl",
               "fcntl", "read", "write", "recvfrom", "sendto", "recvmsg", "sendmsg", "accept",
               "accept4", "epoll_ctl", "epoll_wait", "close", "restart_syscall", "futex", "clock_gettime", "madvise", "mmap",
               "munmap", "brk", "getpeername", "openat", "pipe2", "shutdown", "setsockopt",
               "clock_nanosleep", "nanosleep", "mprotect", "gettid", "getpid", "newfstatat", "fstat",
               "rt_sigprocmask", "rt_sigreturn", "eventfd2", "io_uring_register", "getsockname"}
    assert payload_calls <= allowed, payload_calls - allowed


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_only_splice_touches_the_payload(net, tmp, internet, pair):
    server, client = pair(engine="splice")
    down = rig.curl(net.client, *arguments("tls13", internet), "-o", "/dev/null",
                    "%s/paced/big" % address("tls13"), background=True)
    up = rig.curl(net.client, *arguments("tls13", internet), "--limit-rate", "12M", "-T",
                  internet.root + "/big", "%s/sink" % address("tls13"), background=True)

    def both_handed_over(daemon):
        found = {d for s in daemon.sessions() for d in ("uplink", "downlink")
                 if s[d]["kernel_bytes"] > rig.MIB and s[d]["engine"] == "splice"}
        return len(found) == 2

    try:
        for daemon in (client, server):
            rig.wait_for(lambda: both_handed_over(daemon), 10, "both directions are handed over")

        def moved(daemon):
            return sum(s[d]["kernel_bytes"] for s in daemon.sessions()
                       for d in ("uplink", "downlink"))

        tracers = [(d, n, Strace(d, os.path.join(tmp, "strace-" + n)))
                   for d, n in ((client, "client"), (server, "server"))]
        before = [moved(daemon) for daemon, _, _ in tracers]
        time.sleep(1.5)
        after = [moved(daemon) for daemon, _, _ in tracers]
        assert relay_of(client) and relay_of(server), "the transfers ended before the trace did"
        lines = [tracer.stop() for _, _, tracer in tracers]
        for number, (daemon, name, _) in enumerate(tracers):
            assert after[number] - before[number] > 4 * rig.MIB, "%s: too little traffic" % name
            judge(lines[number], after[number] - before[number], name)
        for running in (down, up):
            out, error = running.communicate(timeout=90)
            assert running.returncode == 0, error
        assert out.decode() == "%d %s" % (internet.sizes["big"], internet.hashes["big"])
    finally:
        for running in (down, up):
            if running.poll() is None:
                running.kill()
                running.wait()
    client.wait_idle()
    server.wait_idle()
    client.stop_clean()
    server.stop_clean()
