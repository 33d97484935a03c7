# SPDX-License-Identifier: MIT
"""culvert's pins in a bpffs of the test's own, steering one network namespace."""

import json
import os
import subprocess
import tempfile

import rig

NOBODY, UNPRIVILEGED = rig.NOBODY, rig.UNPRIVILEGED


class Pins:
    """Mounts a bpffs below tmp; load() fills it, close() takes everything away again."""

    def __init__(self, namespace, tmp, mode="1777"):
        self.namespace = namespace
        self.mount = tempfile.mkdtemp(prefix="bpffs-", dir=tmp)
        subprocess.run(["mount", "-t", "bpf", "-o", "mode=" + mode, "bpf", self.mount], check=True)
        self.directory = os.path.join(self.mount, "culvert")

    def culvert(self, command, *arguments, prefix=()):
        """CompletedProcess of culvert COMMAND --directory ..., in the namespace."""
        return subprocess.run(
            list(prefix) + [os.path.join(rig.build_dir(), "culvert"), command, "--directory",
                            self.directory] + list(arguments),
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
            preexec_fn=self.namespace.enter)

    def load(self, *arguments, prefix=()):
        done = self.culvert("load", *arguments, prefix=prefix)
        assert done.returncode == 0, done.stderr
        return self

    def status(self):
        done = self.culvert("status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def addresses(self):
        return {entry["address"]: entry for entry in self.status()["addresses"]}

    def ids(self):
        """{(kind, id)} of everything that is pinned."""
        return {(pin["kind"], pin["id"]) for part in self.status()["parts"]
                for pin in part["pins"]}

    def close(self):
        if os.path.isdir(self.directory):
            self.culvert("unload", "--force")
        subprocess.run(["umount", self.mount], check=True)
        os.rmdir(self.mount)


def usable():
    """None, or why no sk_lookup program can be loaded here."""
    done = subprocess.run([os.path.join(rig.build_dir(), "culvert"), "version", "--json"],
                          capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["features"].get("BPF sk_lookup")
    return None if found == "yes" else "no sk_lookup here: %s" % found


def bpf_ids(kind):
    """{(kind, id)} of what the kernel has; kind: prog, map or link."""
    done = subprocess.run([rig.find_program("bpftool"), "-j", kind, "list"], capture_output=True,
                          text=True, check=True)
    word = {"prog": "program"}.get(kind, kind)
    return {(word, entry["id"]) for entry in json.loads(done.stdout or "[]")}


def all_bpf_ids():
    return bpf_ids("prog") | bpf_ids("map") | bpf_ids("link")
