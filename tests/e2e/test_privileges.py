# SPDX-License-Identifier: MIT
"""What the daemon can no longer do once it serves, tried from inside the running process."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import inject
import pytest
import rig

PORT, LOW, LOWER = 1080, 444, 445
# ipc_lock, sys_resource: where rings and pipes are limited without them and no limit can be lifted
KEPT = 1 << 14 | 1 << 24
SANITIZED = os.path.basename(rig.build_dir()) in ("asan", "tsan")
READ, OPEN, SOCKET, BIND, CLONE, EXECVE, KILL, PTRACE, SETUID, MOUNT, UNSHARE = \
    0, 2, 41, 49, 56, 59, 62, 101, 105, 165, 272
PROCESS_VM_WRITEV, BPF, IO_URING_SETUP, CAPSET, INIT_MODULE, PIVOT_ROOT = 311, 321, 425, 126, 175, 155
RDONLY, WRONLY_CREAT = 0, 0o101
CULVERT = os.path.join(rig.build_dir(), "culvert")


def status_of(pid, task=None):
    """/proc/PID/status as a dict."""
    path = "/proc/%d/status" % pid if task is None else "/proc/%d/task/%s/status" % (pid, task)
    with open(path) as file:
        return dict(re.split(r":\s*", line.rstrip("\n"), maxsplit=1) for line in file)


def config_of(*ports, users=None):
    config = rig.socks_only_config(ports[0], listen=rig.SERVER_IP)
    for port in ports[1:]:
        config["inbounds"].append(dict(config["inbounds"][0], port=port, tag="socks-%d" % port))
    if users:
        config["inbounds"][0]["settings"] = {"auth": "password", "usersFile": users}
    return config


def start(net, tmp, config, name="proxy", **more):
    os.chmod(tmp, 0o777)
    return rig.Culvert(net.server, tmp, config, name, bpf="off", drain=1,
                       wait=[(rig.SERVER_IP, inbound["port"]) for inbound in config["inbounds"]],
                       **more)


def rewrite(daemon, config):
    with open(daemon.config_path) as file:
        culvert = json.load(file)["culvert"]
    with open(daemon.config_path, "w") as file:
        json.dump(dict(config, culvert=culvert), file)


def tool(daemon, *words):
    return subprocess.run([CULVERT, *words, "--control", daemon.control_path],
                          capture_output=True, text=True, timeout=90)


def serves(net, port=PORT):
    """The proxy answers: its REP says that nobody listens there."""
    status, _, error = rig.curl(net.client, "--socks5", "%s:%d" % (rig.SERVER_IP, port),
                                "http://%s:1/" % rig.INTERNET_IP)
    return status == 97 or error


def listens(net, port):
    return rig.accepts(net.client, rig.SERVER_IP, port)


def starter_of(pid):
    """The one child of the daemon's, by its arguments."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        children = [int(word) for word in file.read().split()]
    assert len(children) == 1, children
    rig.wait_for(lambda: arguments_of(children[0]) == b"culvert-starter", 10,
                 "the starter has its name, which the daemon does not wait for")
    return children[0]


def arguments_of(pid):
    with open("/proc/%d/cmdline" % pid, "rb") as file:
        return file.read().rstrip(b"\0")


def landlock_abi():
    return inject.libc.syscall(444, None, 0, 1)


@pytest.fixture
def outside(tmp):
    """A file that the configuration names nowhere."""
    directory = tempfile.mkdtemp(prefix="culvert-outside-")
    os.chmod(directory, 0o777)
    path = os.path.join(directory, "secret")
    with open(path, "w") as file:
        file.write("secret")
    os.chmod(path, 0o666)
    yield path
    shutil.rmtree(directory)


@pytest.mark.parametrize("user", ["", "nobody"])
def test_what_is_left(net, tmp, user):
    """No capability in any set of any thread, no new privileges, a filter, and who it is."""
    daemon = start(net, tmp, config_of(PORT, LOW), user=user, workers=2)
    with rig.running(daemon):
        assert listens(net, LOW), "a port below 1024, bound with a right that is gone now"
        for task in os.listdir("/proc/%d/task" % daemon.pid):
            status = status_of(daemon.pid, task)
            for name in ("CapInh", "CapEff", "CapPrm", "CapBnd", "CapAmb"):
                assert int(status[name], 16) & ~KEPT == 0, (name, status[name])
            assert int(status["CapBnd"], 16) == 0
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
            uids, groups = set(status["Uid"].split()), status["Groups"].split()
            if user:
                assert uids == {"65534"} and set(status["Gid"].split()) == {"65534"}
                assert set(groups) <= {"65534"}
            else:
                assert uids == {"0"}
        shown = json.loads(tool(daemon, "show", "kernel", "--json").stdout)["kernel"]["sandbox"]
        assert "user %s," % (user or "root") in shown and "seccomp" in shown
        assert "sandbox: " + shown in daemon.log()
        with open("/proc/%d/limits" % daemon.pid) as file:
            assert re.search(r"Max core file size\s+0\s+0\s", file.read())


def refusals(daemon, outside):
    """(what, result, the errors that will do) of calls that fail and leave the daemon running."""
    families = ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW),
                (socket.AF_NETLINK, socket.SOCK_RAW | 0), (40, socket.SOCK_STREAM))
    refused = (errno.ENOSYS,)
    reached = (errno.EACCES,)
    with inject.Inside(daemon.pid) as inside:
        inside_fd = inside.call(SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0)
        assert inside_fd > 0, "what the daemon needs is still allowed"
        if not SANITIZED:  # where all is allowed but what is deadly
            yield "a raw socket", inside.call(SOCKET, *families[0], 0), refused
            yield "a raw IP socket", inside.call(SOCKET, *families[1], 6), refused
            yield "audit", inside.call(SOCKET, *families[2], 9), refused
            yield "vsock", inside.call(SOCKET, *families[3], 0), refused
            yield "a BPF program", inside.call(BPF, 5, b"\0" * 128, 128), refused
            yield "a ring", inside.call(IO_URING_SETUP, 8, b"\0" * 120), refused
            yield "a signal to init", inside.call(KILL, 1, 0), refused
        if landlock_abi() >= 1:
            name = outside.encode() + b"\0"
            yield "writing", inside.call(OPEN, name, WRONLY_CREAT, 0o600), reached
            yield "making", inside.call(OPEN, name[:-1] + b"2\0", WRONLY_CREAT, 0o600), reached
            yield "writing to /etc", inside.call(OPEN, b"/etc/motd\0", WRONLY_CREAT, 0o600), reached
            if not SANITIZED:
                yield "reading", inside.call(OPEN, name, RDONLY), reached
        if landlock_abi() >= 4:
            address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 20803) + b"\0" * 12
            yield "another port", inside.call(BIND, inside_fd, address, 16), reached
        if status_of(daemon.pid)["Uid"].split()[0] != "0":
            yield "passwords", inside.call(OPEN, b"/etc/shadow\0", RDONLY), reached
        inside.call(3, inside_fd)


@pytest.mark.parametrize("user", ["", "nobody"])
def test_what_is_refused(net, tmp, outside, user):
    """Each attempt fails, and the proxy goes on."""
    if inject.usable():
        pytest.skip(inject.usable())
    daemon = start(net, tmp, config_of(PORT), user=user)
    with rig.running(daemon):
        assert serves(net) is True
        tried = list(refusals(daemon, outside))
        assert len(tried) >= 3
        for what, result, errors in tried:
            assert -result in errors, (what, result)
        assert serves(net) is True
        assert open(outside).read() == "secret"


def test_what_kills(net, tmp):
    """What no library ever asks for ends the process before it has its effect."""
    if inject.usable():
        pytest.skip(inject.usable())
    shell = b"/bin/sh\0"
    attempts = {
        "a program": (EXECVE, shell, 0, 0), "another user": (SETUID, 0),
        "capabilities": (CAPSET, b"\0" * 8, b"\0" * 24), "a module": (INIT_MODULE, shell, 1, shell),
        "a mount": (MOUNT, shell, b"/\0", b"tmpfs\0", 0, 0), "a namespace": (UNSHARE, 0x10000000),
        "another root": (PIVOT_ROOT, b"/\0", b"/\0"),
        "another's memory": (PROCESS_VM_WRITEV, 1, shell, 1, shell, 1, 0),
    }
    if not SANITIZED:  # there for LeakSanitizer
        attempts.update({"a process": (CLONE, signal.SIGCHLD, 0, 0, 0, 0), "tracing": (PTRACE, 16, 1)})
    for what, call in attempts.items():
        daemon = start(net, tmp, config_of(PORT))
        starter = starter_of(daemon.pid)
        try:
            with pytest.raises(inject.Killed) as killed, inject.Inside(daemon.pid) as inside:
                print(what, inside.call(*call))
            assert killed.value.signal == signal.SIGSYS, what
        finally:
            daemon.child.kill()
            daemon.child.wait()
            daemon.stopped = True
        rig.wait_for(lambda: not os.path.exists("/proc/%d" % starter), 10, "the starter has ended")


def test_restart_gets_what_the_daemon_gave_up(net, tmp, outside):
    """A port and a directory that it could not reach itself; the reload says why it cannot."""
    users = os.path.join(os.path.dirname(outside), "users.json")
    daemon = start(net, tmp, config_of(PORT), user="nobody")
    successor = None
    try:
        with open(users, "w") as file:
            json.dump({"users": []}, file)
        os.chmod(users, 0o640)
        shutil.chown(users, group="nogroup")
        if landlock_abi() >= 1 and not SANITIZED:
            rewrite(daemon, config_of(PORT, users=users))
            done = tool(daemon, "reload")
            assert done.returncode == 1 and "culvert restart" in done.stderr, done.stderr
            assert serves(net) is True
        second = config_of(PORT, LOWER)
        second["inbounds"][1]["settings"] = {"auth": "password", "usersFile": users}
        rewrite(daemon, second)
        starter = starter_of(daemon.pid)
        done = tool(daemon, "restart", "--json")
        assert done.returncode == 0, done.stderr + daemon.log()
        successor = json.loads(done.stdout)["pid"]
        assert listens(net, LOWER) and serves(net) is True
        assert status_of(successor)["Uid"].split()[0] == "65534"
        assert int(status_of(successor)["CapEff"], 16) & ~KEPT == 0
        assert daemon.child.wait(20) == 0
        rig.wait_for(lambda: not os.path.exists("/proc/%d" % starter), 10, "the starter has ended")
        done = tool(daemon, "reload")
        assert done.returncode == 0, done.stderr
    finally:
        rig.end_restarted(daemon, successor, lambda: not listens(net, LOWER))


def test_reload_finds_replaced_files(net, tmp):
    """A file that is another one under the same name, as editors and certbot leave it."""
    users = os.path.join(tmp, "people.json")
    with open(users, "w") as file:
        json.dump({"users": [{"username": "ann", "socks_password": "b"}]}, file)
    config = config_of(PORT)
    config["inbounds"][0]["settings"] = {"auth": "password", "usersFile": users, "allowPlain": True}
    daemon = start(net, tmp, config)
    with rig.running(daemon):
        for name in ("bob", "eve"):
            with open(users + ".new", "w") as file:
                json.dump({"users": [{"username": name, "socks_password": "b"}]}, file)
            os.rename(users + ".new", users)
            done = tool(daemon, "reload")
            assert done.returncode == 0, done.stderr
            for person, welcome in ((name, True), ("ann", False)):
                _, _, error = rig.curl(
                    net.client, "--proxy-user", person + ":b", "--socks5",
                    "%s:%d" % (rig.SERVER_IP, PORT), "http://%s:1/" % rig.INTERNET_IP)
                assert ("rejected" not in error) == welcome, (person, error)


def test_what_its_user_may_not_read_is_said(net, tmp):
    """Before it listens, and not by the first reload."""
    users = os.path.join(tmp, "closed.json")
    with open(users, "w") as file:
        json.dump({"users": []}, file)
    os.chmod(users, 0o600)
    os.chmod(tmp, 0o777)
    with pytest.raises(AssertionError) as raised:
        start(net, tmp, config_of(PORT, users=users), user="nobody")
    assert "culvert.user: nobody may not read %s" % users in str(raised.value)
    with pytest.raises(AssertionError) as raised:
        start(net, tmp, config_of(PORT), user="no-such-user")
    assert "cannot become no-such-user: no such user" in str(raised.value)


def test_off(net, tmp):
    """All as before, for who needs a debugger."""
    daemon = start(net, tmp, config_of(PORT), sandbox="off")
    with rig.running(daemon):
        status = status_of(daemon.pid)
        assert status["Seccomp"] == "0" and status["NoNewPrivs"] == "0"
        assert int(status["CapEff"], 16) == int(status_of(os.getpid())["CapEff"], 16)
        assert json.loads(tool(daemon, "show", "kernel", "--json").stdout)["kernel"]["sandbox"] == "off"
        assert serves(net) is True
