# SPDX-License-Identifier: MIT
"""inside.py - process 1 of a guest: one job from tests/vm/guest, its output and its end

The job is one line of JSON on the port "control"; "up" goes back before the command starts
and "exit N" when it ended and everything that it wrote has been taken by the host.
The command writes to pipes and not to the ports: a port can be opened only once, and
programs do open /dev/stdout again.
"""

import json
import os
import resource
import signal
import threading
import time

DRAIN_SECONDS = 2
OPEN_FILES = 65536
PORTS = "/sys/class/virtio-ports"


def port(wanted, mode):
    """The ports appear one by one while this starts."""
    for _ in range(200):
        for entry in os.listdir(PORTS) if os.path.isdir(PORTS) else []:
            with open(os.path.join(PORTS, entry, "name")) as name:
                if name.read().strip() == "culvert." + wanted:
                    return os.open("/dev/" + entry, mode)
        time.sleep(0.05)
    raise SystemExit("guest: no port " + wanted)


def write(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]


def relay(source, sink):
    while True:
        data = os.read(source, 1 << 16)
        if not data:
            return
        write(sink, data)


def pipe_to(name):
    source, sink = os.pipe()
    thread = threading.Thread(target=relay, args=(source, port(name, os.O_WRONLY)), daemon=True)
    thread.start()
    return sink, thread


def execute(job, out, err):
    """In the child: never returns."""
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.clear()
        os.environ.update(job["environment"])
        os.chdir(job["folder"])
        os.execvp(job["command"][0], job["command"])
    except OSError as why:
        write(2, ("guest: %s: %s\n" % (job["command"][0], why.strerror)).encode())
        os._exit(127 if isinstance(why, FileNotFoundError) else 126)


def end_of(child):
    """Process 1 also buries what others left behind."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main():
    control = port("control", os.O_RDWR)
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(control, 1 << 16)
    job = json.loads(line)
    out, out_thread = pipe_to("out")
    err, err_thread = pipe_to("err")
    write(control, b"up\n")
    child = os.fork()
    if child == 0:
        execute(job, out, err)
    os.close(out)
    os.close(err)
    code = end_of(child)
    # a daemon that was left behind may hold the pipes
    deadline = time.monotonic() + DRAIN_SECONDS
    for thread in (out_thread, err_thread):
        thread.join(max(0, deadline - time.monotonic()))
    os.sync()
    write(control, b"exit %d\n" % code)
    # the host ends the machine now
    signal.pause()


main()
