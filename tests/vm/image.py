# SPDX-License-Identifier: MIT
"""image.py - what a guest is made of: qemu, virtiofsd, a Debian kernel and busybox

qemu and virtiofsd are installed by apt when missing (root; no service is started). Kernels
come from other suites than the machine's: apt fetches them with lists, sources and cache of
its own from the archive that the machine's sources name, signatures checked against
Debian's archive keyring; they are unpacked in the cache folder and never installed. The
machine's apt configuration is not touched.

    CACHE/apt-SUITE/    lists of one suite
    CACHE/kernel-NAME/  tree/ (unpacked packages); complete or not there at all
    CACHE/qemu/         tree/ likewise: qemu 10 where the machine has an older one

qemu before 10 loses one boot in ten unless cmpxchg16b is hidden, and is slow at AES.
"""

import fcntl
import glob
import lzma
import os
import re
import shutil
import subprocess

CACHE = os.environ.get("CULVERT_GUEST_CACHE", "/var/cache/culvert-guest")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
POLICY = "/usr/sbin/policy-rc.d"
SUITES = {"6.1": "bookworm", "6.12": "bookworm-backports", "trixie": "trixie",
          "new": "trixie-backports", "sid": "sid"}
FILE_SERVERS = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
QEMU = "qemu-system-x86_64"
QEMU_SUITE = "bookworm-backports"
QEMU_GOOD = 10
FIRMWARE = ("/usr/share/seabios", "/usr/share/qemu")
CPU = "max,-avx,-avx2,-vaes,-vpclmulqdq"


class Missing(Exception):
    """Why there can be no guest here."""


def run(*command, folder=None, **options):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, **options)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Missing("%s: %s" % (" ".join(command[:2]), last[0] if last else "failed"))
    return done.stdout


def installed(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
                          capture_output=True, text=True)
    return done.stdout == "installed"


def install(packages):
    """As tools/build/deps.sh does it: nothing that is installed here starts to listen."""
    kept = POLICY + ".culvert-guest"
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    lock = ("-q", "-o", "DPkg::Lock::Timeout=300")
    if os.path.exists(POLICY):
        os.rename(POLICY, kept)
    try:
        with open(POLICY, "w") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
        os.chmod(POLICY, 0o755)
        run("apt-get", *lock, "update", env=environment)
        run("apt-get", *lock, "install", "-y", "--no-install-recommends", *packages,
            env=environment)
    finally:
        os.unlink(POLICY)
        if os.path.exists(kept):
            os.rename(kept, POLICY)


def tools():
    wanted = [package for program, package in (("depmod", "kmod"), (QEMU, "qemu-system-x86"))
              if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if not os.path.exists(KEYRING):
        wanted.append("debian-archive-keyring")
    if wanted:
        install(wanted)
    if not any(map(os.path.exists, FILE_SERVERS)):
        # Debian 12 has it among qemu's common files, Debian 13 on its own
        known = subprocess.run(["apt-cache", "show", "virtiofsd"], capture_output=True)
        install(["virtiofsd" if known.returncode == 0 else "qemu-system-common"])


def archive_address():
    """Where this machine gets Debian from; never a security, backports or foreign archive."""
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)",
                 "Created-By: Packages")
    for address, release in (line.split() for line in listed.splitlines()):
        if not re.search("security|updates|backports", release) and \
                re.search(r"/debian/?$|^(mirror|file|copy)", address):
            return address
    raise Missing("no Debian archive in this machine's apt sources")


class Suite:
    """apt as if the machine were of another suite, and had nothing installed."""

    def __init__(self, name):
        home = os.path.join(CACHE, "apt-" + name)
        for folder in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(home, folder), exist_ok=True)
        sources, status = os.path.join(home, "sources.list"), os.path.join(home, "status")
        with open(sources, "w") as made:
            made.write("deb [signed-by=%s] %s %s main\n" % (KEYRING, archive_address(), name))
        open(status, "w").close()
        self.options = []
        for option in ("Dir::Etc::sourcelist=" + sources, "Dir::Etc::sourceparts=/dev/null",
                       "Dir::Etc::preferencesparts=/dev/null", "Dir::State=" + home,
                       "Dir::State::status=" + status, "Dir::Cache=" + home + "/cache",
                       "APT::Sandbox::User=root", "Acquire::Languages=none",
                       "Acquire::Retries=3", "Acquire::AllowInsecureRepositories=false"):
            self.options += ["-o", option]
        run("apt-get", "-q", *self.options, "update")

    def needs(self, package):
        return run("apt-cache", *self.options, "depends", "--recurse", "--no-recommends",
                   "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
                   "--no-enhances", package)

    def unpack(self, packages, name):
        """The packages' files in a folder that becomes CACHE/name when it is complete."""
        made, place = os.path.join(CACHE, "new-" + name), os.path.join(CACHE, name)
        shutil.rmtree(made, ignore_errors=True)
        os.makedirs(made + "/tree")
        run("apt-get", "-q", *self.options, "download", *packages, folder=made)
        for package in glob.glob(made + "/*.deb"):
            run("dpkg-deb", "-x", package, made + "/tree")
            os.unlink(package)
        return made, place


class Kernel:
    def __init__(self, folder):
        self.root = os.path.join(folder, "tree")
        found = glob.glob(self.root + "/usr/lib/modules/*") + glob.glob(self.root + "/lib/modules/*")
        if not found:
            raise Missing("no modules in the kernel package")
        self.modules, self.release = os.path.split(found[0])
        images = glob.glob(self.root + "/boot/vmlinuz-*") + glob.glob(found[0] + "/vmlinuz")
        if not images:
            raise Missing("no kernel in the kernel package")
        self.kernel = images[0]

    def busybox(self):
        for path in ("/usr/bin/busybox", "/bin/busybox"):
            if os.path.exists(self.root + path):
                with open(self.root + path, "rb") as program:
                    return program.read()
        raise Missing("no busybox in busybox-static")

    def with_dependencies(self, names):
        """The modules and what they need, unpacked, in the order in which they load."""
        paths = []
        for name in names:
            listed = run("/sbin/modprobe", "-d", self.root, "-S", self.release,
                         "--show-depends", name)
            paths += [line.split()[1] for line in listed.splitlines()
                      if line.startswith("insmod ")]
        return [module_bytes(path) for path in dict.fromkeys(paths)]


def module_bytes(path):
    if path.endswith(".xz"):
        with lzma.open(path) as module:
            return module.read()
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    with open(path, "rb") as module:
        return module.read()


def fetch_kernel(name):
    suite = Suite(SUITES[name])
    # newer packages are split into image, binary and modules
    packages = re.findall(r"^linux-(?:image|binary|modules)-\d\S*",
                          suite.needs("linux-image-cloud-amd64"), re.M)
    if not packages:
        raise Missing("no cloud kernel in " + SUITES[name])
    made, place = suite.unpack(sorted(set(packages)) + ["busybox-static"], "kernel-" + name)
    if not os.path.exists(made + "/tree/lib"):
        # where kmod looks
        os.symlink("usr/lib", made + "/tree/lib")
    run("/sbin/depmod", "-b", made + "/tree", Kernel(made).release)
    os.rename(made, place)


def qemu_is_good(program):
    try:
        version = re.search(r"version (\d+)", run(program, "--version"))
    except (Missing, OSError):
        return False
    return bool(version) and int(version.group(1)) >= QEMU_GOOD


def fetch_qemu():
    """Runs on the libraries of Debian 12, which is where it is missing."""
    try:
        made, place = Suite(QEMU_SUITE).unpack(["qemu-system-x86", "qemu-system-data"], "qemu")
        if qemu_is_good(made + "/tree/usr/bin/" + QEMU):
            os.rename(made, place)
    except Missing:
        # the machine's own works too, more slowly
        return


def emulator():
    unpacked = os.path.join(CACHE, "qemu", "tree")
    if qemu_is_good(QEMU):
        return [QEMU, "-cpu", CPU]
    if not os.path.exists(unpacked):
        return [QEMU, "-cpu", CPU + ",-cx16"]
    command = [unpacked + "/usr/bin/" + QEMU, "-cpu", CPU]
    for folder in (unpacked + "/usr/share/qemu",) + FIRMWARE:
        command += ["-L", folder]
    return command


def file_server_command(listener):
    """Two programs of one name: in C (before Debian 13), then in Rust."""
    program = next(filter(os.path.exists, FILE_SERVERS))
    if program == FILE_SERVERS[0]:
        return [program, "--fd=%d" % listener, "--shared-dir=/", "--sandbox=chroot",
                "--cache=auto"]
    return [program, "--fd=%d" % listener, "-o", "source=/,sandbox=chroot,cache=auto", "-f"]


def prepare(name):
    """The kernel of that name and everything else that a guest needs, fetched if missing."""
    place = os.path.join(CACHE, "kernel-" + name)
    if os.geteuid() != 0:
        raise Missing("needs root")
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tools()
        if not os.path.exists(place):
            fetch_kernel(name)
        if not qemu_is_good(QEMU) and not os.path.exists(os.path.join(CACHE, "qemu")):
            fetch_qemu()
    return Kernel(place)
