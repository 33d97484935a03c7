# SPDX-License-Identifier: MIT
"""lab.py - where a benchmark happens, and who is charged for what.

    client 10.99.1.1 ---- 10.99.1.2 relay 10.99.2.1 ---- 10.99.2.2 sink
    client 10.99.3.1 ------------------ direct ---------- 10.99.3.2 sink

Three network namespaces, veth between them (offloads on), each with a control group (v2) of its own; in
the client's namespace a second group, "adapter", for the client ends that tunnels need. The relay is
pinned to BENCH_CORES cores, everything else to the others; on a machine without others they share.

What is charged to a relay, in CPU seconds:

    own      usage of the relay's group
    kernel   kernel threads (kworker, ksoftirqd, ...) of the whole machine, and softirq and irq time that
             is in no task's account: of all cores where the kernel keeps interrupts out of the tasks'
             time (CONFIG_IRQ_TIME_ACCOUNTING), otherwise of the cores where no relay runs, since on its
             own cores they are in its own account already. ksoftirqd counts once: as softirq on cores
             whose softirq is counted, as a thread elsewhere.
    added    (own + kernel) per GB, less the kernel per GB of the direct stream in the same round; with an
             adapter its interrupts are in it, for every server the same

Foreign load is what the machine was busy with (steal included) less all groups, this process and the
kernel; above FOREIGN_CORES the measurement is dirty. Where no control group can be made (no v2 hierarchy,
not writable) processes are accounted from /proc/PID/stat with their children, to 10 ms.
"""
import contextlib
import ctypes
import glob
import gzip
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import netns  # noqa: E402

BUILD = os.path.abspath(os.environ.get("CULVERT_BUILD", "build"))
CULVERT, CULVERTD = os.path.join(BUILD, "culvert"), os.path.join(BUILD, "culvertd")
LOAD = os.path.join(BUILD, "load")
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = int(os.environ.get("BENCH_CORES", "1"))  # of the relay
FOREIGN_CORES = 0.3
PREFIX = "culvert-bench-"
RELAY_FRONT, RELAY_BACK = "10.99.1.2", "10.99.2.1"
SINK, SINK_DIRECT = "10.99.2.2", "10.99.3.2"
PIPE = subprocess.PIPE
KERNEL_THREAD = 0x00200000  # PF_KTHREAD
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


# ---- /proc -------------------------------------------------------------------------------------


def children_of(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(x) for x in f.read().split()]
    return []


def tree_of(pids):
    """The processes and all they started."""
    found = list(pids)
    for pid in found:
        found.extend(children_of(pid))
    return found


def cpu_of(pids):
    """User+system seconds of processes, threads included."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def machine_busy():
    with open("/proc/stat") as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / TICK


def interrupts():
    """Core -> seconds of irq and softirq."""
    found = {}
    with open("/proc/stat") as f:
        for line in f:
            name, *fields = line.split()
            if name.startswith("cpu") and name != "cpu":
                found[int(name[3:])] = (int(fields[5]) + int(fields[6])) / TICK
    return found


def interrupts_are_separate():
    """True if the kernel keeps interrupts out of the time of the tasks they interrupt."""
    release = os.uname().release
    for path, opener in (("/proc/config.gz", gzip.open), ("/boot/config-" + release, open)):
        with contextlib.suppress(OSError), opener(path, "rt") as f:
            return "CONFIG_IRQ_TIME_ACCOUNTING=y\n" in f.read()
    return True  # distributions' kernels mostly do


class KernelThreads:
    """Seconds of all kernel threads, but the ksoftirqd of some cores."""

    def __init__(self, without_cores):
        self.without = {f"ksoftirqd/{core}" for core in without_cores}
        self.known = {}

    def is_counted(self, pid):
        with open(f"/proc/{pid}/stat") as f:
            name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
        return bool(int(rest.split()[6]) & KERNEL_THREAD) and name not in self.without

    def seconds(self):
        total, seen = 0, {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                seen[pid] = self.known[pid] if pid in self.known else self.is_counted(pid)
                if seen[pid]:
                    with open(f"/proc/{pid}/schedstat") as f:
                        total += int(f.read().split()[0])
        self.known = seen
        return total / 1e9


# ---- control groups ----------------------------------------------------------------------------


def group_root():
    """Where groups of version 2 can be made, or None."""
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(place + "/cgroup.procs") and os.access(place, os.W_OK):
            if os.path.exists(place + "/cgroup.subtree_control"):
                return place
    return None


class Group:
    """A control group below the lab's; processes join it before they become what they are."""

    def __init__(self, parent, name):
        self.path = os.path.join(parent, name)
        os.mkdir(self.path)

    def join(self):
        with open(self.path + "/cgroup.procs", "w") as f:
            f.write("0")

    def seconds(self):
        with open(self.path + "/cpu.stat") as f:
            return int(f.readline().split()[1]) / 1e6

    def pids(self):
        with open(self.path + "/cgroup.procs") as f:
            return [int(line) for line in f]

    def memory(self):
        """Bytes charged, the kernel's and sockets' included; None without the controller."""
        with contextlib.suppress(OSError), open(self.path + "/memory.current") as f:
            return int(f.read())
        return None

    def remove(self):
        remove_group(self.path)


def remove_group(path):
    """With whatever lives in it; SIGKILL."""
    for _ in range(200):
        with contextlib.suppress(OSError), open(path + "/cgroup.procs") as f:
            for pid in f:
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.rmdir(path)
            return
        time.sleep(0.02)


class Processes:
    """In place of a control group: what was started, and its children."""

    def __init__(self):
        self.started = []

    def join(self):
        pass

    def pids(self):
        return [pid for pid in tree_of(self.started) if os.path.exists(f"/proc/{pid}/stat")]

    def seconds(self):
        """Also of children that ended and were waited for."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
                total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:15]))
        return total / TICK

    def memory(self):
        return None

    def remove(self):
        pass


# ---- places ------------------------------------------------------------------------------------


class Place:
    """A namespace, a group and cores to run programs in."""

    def __init__(self, lab, name, namespace, cores):
        self.lab, self.name, self.namespace, self.cores = lab, name, namespace, cores
        self.group = Group(lab.groups, name) if lab.groups else Processes()

    def enter(self):
        """Between fork and exec."""
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        self.group.join()
        os.sched_setaffinity(0, self.cores)
        self.namespace.enter()

    def start(self, *command, **options):
        """The Popen; its output, unless wanted, is in the lab's folder as NUMBER-program.log."""
        command = [str(part) for part in command]
        self.lab.count += 1
        name = "%03d-%s.log" % (self.lab.count, os.path.basename(command[0]))
        with open(self.lab.path(name), "wb") as log:
            options.setdefault("stdout", log)
            options.setdefault("stderr", log)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=self.enter,
                                       start_new_session=True, **options)
        process.log_path = self.lab.path(name)
        if isinstance(self.group, Processes):
            self.group.started.append(process.pid)
        self.lab.running.append(process)
        return process

    def wait_port(self, process, port, seconds=60):
        """Until something listens on it here; looks at the kernel's table and connects to nothing."""
        wanted, end = ":%04X" % port, time.monotonic() + seconds
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError("%s ended: %s" % (process.args[0], log_of(process)))
            for table in ("tcp", "tcp6"):
                with contextlib.suppress(OSError), open(f"/proc/{process.pid}/net/{table}") as f:
                    if any(fields[3] == "0A" and fields[1].endswith(wanted)
                           for fields in map(str.split, f)):
                        return
            time.sleep(0.002)
        raise RuntimeError("%s does not listen on %d: %s" % (process.args[0], port, log_of(process)))

    def run(self, *command, **options):
        """Of the lab's own, charged to nobody's group."""
        return subprocess.run([str(part) for part in command], preexec_fn=self.namespace.enter,
                              **options)

    def socket_bytes(self):
        """What the kernel holds in this namespace's TCP sockets: data queued, and set aside."""
        text = self.run("ss", "-Htmn", capture_output=True, text=True, check=True).stdout
        total = 0
        for part in text.split("skmem:(")[1:]:
            for field in part.split(")", 1)[0].split(","):
                # r and t: what its queues hold; f: set aside for it
                if field[0] in "rtf" and field[1:].isdigit():
                    total += int(field[1:])
        return total


def user_bytes(pids):
    """Proportional set size of processes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024
    return total


def log_of(process, size=2000):
    with contextlib.suppress(OSError), open(process.log_path, errors="replace") as f:
        return f.read()[-size:]
    return ""


def read_line(process, seconds):
    """A line of a program's output; "" when none came in time, or it ended."""
    end, text = time.monotonic() + seconds, b""
    while not text.endswith(b"\n") and time.monotonic() < end:
        if select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            byte = os.read(process.stdout.fileno(), 1)
            if not byte:
                break
            text += byte
    return text.decode().strip()


def count_syscalls(pids, seconds):
    """System calls of processes in that time, which passes here; None where perf cannot count them."""
    perf = shutil.which("perf")
    if not perf or not pids:
        return None
    done = subprocess.run(
        [perf, "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", ",".join(map(str, pids)),
         "--", "sleep", str(seconds)], capture_output=True, text=True, check=False)
    for line in done.stderr.splitlines():
        value, _, name = line.split(",")[:3] if line.count(",") > 2 else ("", "", "")
        if name.startswith("raw_syscalls") and value.isdigit():
            return int(value)
    return None


# ---- measuring ---------------------------------------------------------------------------------


class Sample:
    """All the counters at one moment."""

    def __init__(self, lab):
        self.at = time.monotonic()
        self.cpu = {name: place.group.seconds() for name, place in lab.places.items()}
        self.interrupts = interrupts()
        self.kernel_threads = lab.kernel_threads.seconds()
        self.busy, self.self_seconds = machine_busy(), time.process_time()
        self.wire = lab.wire_bytes()


class Usage:
    """What happened between two samples; seconds of CPU unless named otherwise."""

    def __init__(self, lab, first, last):
        self.seconds = last.at - first.at
        self.cpu = {name: last.cpu[name] - first.cpu[name] for name in first.cpu}
        self.relay = self.cpu["relay"]
        self.load = self.cpu["client"] + self.cpu["sink"] + self.cpu["adapter"]
        outside = sum(last.interrupts[core] - first.interrupts[core] for core in lab.counted_cores)
        threads = last.kernel_threads - first.kernel_threads
        self.kernel = threads + outside
        ours = sum(self.cpu.values()) + threads + last.self_seconds - first.self_seconds
        if lab.separate:
            ours += outside
        self.foreign_cores = max(0.0, (last.busy - first.busy - ours) / max(self.seconds, 1e-3))
        self.dirty = self.foreign_cores > FOREIGN_CORES
        self.wire = {name: last.wire[name] - first.wire[name] for name in first.wire}


class Meter:
    """`with lab.meter() as meter: ...`; then meter.usage."""

    def __init__(self, lab):
        self.lab, self.usage = lab, None

    def __enter__(self):
        self.first = Sample(self.lab)
        return self

    def __exit__(self, *_):
        self.usage = Usage(self.lab, self.first, Sample(self.lab))


class Lab:
    """Everything of one run; close() leaves nothing behind."""

    def __init__(self):
        self.spaces, self.places, self.running, self.count = {}, {}, [], 0
        self.groups, self.groups_why, self.next_port = None, "", 10000
        self.dir = tempfile.mkdtemp(prefix="%s%d-" % (PREFIX, os.getpid()))
        os.chmod(self.dir, 0o755)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        try:
            remove_stale()
            self.share_cores()
            self.make_groups()
            self.make_network()
        except BaseException:
            self.close()
            raise

    def share_cores(self):
        every = sorted(os.sched_getaffinity(0))
        self.relay_cores = every[:max(1, CORES)]
        self.load_cores = every[len(self.relay_cores):] or every
        self.separate = interrupts_are_separate()
        self.counted_cores = [core for core in interrupts()
                              if self.separate or core not in self.relay_cores]
        self.kernel_threads = KernelThreads(self.counted_cores)

    def make_groups(self):
        root = group_root()
        if not root:
            self.groups_why = "no writable hierarchy of version 2"
            return
        try:
            groups = os.path.join(root, PREFIX + str(os.getpid()))
            os.mkdir(groups)
            self.groups = groups
            with contextlib.suppress(OSError), open(groups + "/cgroup.subtree_control", "w") as f:
                f.write("+memory")
        except OSError as error:
            self.groups_why = str(error)

    def make_network(self):
        for name in ("client", "relay", "sink"):
            self.spaces[name] = netns.Namespace("%s%d-%s" % (PREFIX, os.getpid(), name))
            with self.spaces[name], open("/proc/sys/net/ipv4/tcp_tw_reuse", "w") as f:
                f.write("1")  # short connections must not run out of ports
        self.wire("client", "relay", 1)
        self.wire("relay", "sink", 2)
        self.wire("client", "sink", 3)
        for name, space, cores in (("client", "client", self.load_cores),
                                   ("adapter", "client", self.load_cores),
                                   ("relay", "relay", self.relay_cores),
                                   ("sink", "sink", self.load_cores)):
            self.places[name] = Place(self, name, self.spaces[space], cores)
        self.client, self.adapter, self.relay, self.sink = (
            self.places[name] for name in ("client", "adapter", "relay", "sink"))

    def wire(self, left, right, number):
        name = "wire%d" % number
        subprocess.run(["ip", "link", "add", name, "netns", self.spaces[left].name, "type", "veth",
                        "peer", name, "netns", self.spaces[right].name], check=True)
        for side, host in ((left, 1), (right, 2)):
            self.spaces[side].ip("addr", "add", "10.99.%d.%d/24" % (number, host), "dev", name)
            self.spaces[side].ip("link", "set", name, "up")

    def wire_bytes(self):
        """Bytes that the sink's ends of the wires sent and received, headers included (one for each
        packet of up to 64 KiB)."""
        found = {}
        with self.spaces["sink"], open("/proc/thread-self/net/dev") as f:
            for line in f:
                name, _, fields = line.partition(":")
                if name.strip() in ("wire2", "wire3"):
                    fields = fields.split()
                    kind = "relay" if name.strip() == "wire2" else "direct"
                    found[kind + " in"], found[kind + " out"] = int(fields[0]), int(fields[8])
        return found

    def meter(self):
        return Meter(self)

    def port(self):
        """One that nobody else in the lab uses."""
        self.next_port += 1
        return self.next_port

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        """The path of a new file in the lab's folder."""
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def stop(self, *processes):
        """SIGTERM to them and whatever they started, SIGKILL to what does not end."""
        for process in processes:
            self.running.remove(process)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()

    def close(self):
        self.stop(*self.running[:])
        for place in self.places.values():
            place.group.remove()
        if self.groups:
            with contextlib.suppress(OSError):
                os.rmdir(self.groups)
        for space in self.spaces.values():
            space.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def remove_stale():
    """What a run left that was killed without a chance to tidy up."""
    for folder in ("/run/netns", group_root(), tempfile.gettempdir()):
        for path in glob.glob("%s/%s*" % (folder, PREFIX)):
            pid = os.path.basename(path)[len(PREFIX):].split("-")[0]
            if not pid.isdigit() or os.path.exists("/proc/" + pid):
                continue
            if folder == "/run/netns":
                subprocess.run(["ip", "netns", "delete", os.path.basename(path)], check=False,
                               stderr=subprocess.DEVNULL)
            elif folder == tempfile.gettempdir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                for group in [entry.path for entry in os.scandir(path) if entry.is_dir()] + [path]:
                    remove_group(group)
