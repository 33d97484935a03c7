# SPDX-License-Identifier: MIT
"""What faults.c fails for a culvertd, switched by the test while it runs."""

import contextlib
import errno
import mmap
import os
import re
import shlex
import struct
import subprocess

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults.c")
EVER = 1000000  # odds of what always fails
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=77:verify_asan_link_order=0",
              "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=77"}


def _names():
    """(words, calls) as the source has them, in its order."""
    with open(SOURCE) as file:
        text = file.read()
    words = re.findall(r"^\tWORD_(\w+),", text, re.M)
    count = int(re.search(r"WORD_COUNT = (\d+)", text).group(1))
    calls = re.search(r"#define FAULT_CALLS\(X\)((?:.*\\\n)+.*)", text).group(1)
    return {word.lower(): at for at, word in enumerate(words)}, count, re.findall(
        r"X\((\w+)\)", calls)


WORDS, WORD_COUNT, CALLS = _names()


def library(directory):
    """Compiles faults.c; returns the path of the library."""
    path = os.path.join(directory, "faults.so")
    if not os.path.exists(path):
        subprocess.run(shlex.split(os.environ.get("CC", "cc")) + [
            "-shared", "-fPIC", "-ftls-model=initial-exec", "-O1", "-g", "-Wall", "-Wextra",
            "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-D_GNU_SOURCE",
            "-o", path, SOURCE], check=True)
        os.chmod(path, 0o755)
    return path


class Faults:
    """One culvertd's: give .prefix to rig.Culvert."""

    count = 0

    def __init__(self, directory):
        Faults.count += 1
        self.path = os.path.join(directory, "faults-%d" % Faults.count)
        with open(self.path, "w+b") as file:
            file.truncate(8 * (WORD_COUNT + 4 * len(CALLS)))
            self.memory = mmap.mmap(file.fileno(), 0)
        os.chmod(self.path, 0o666)
        known = os.path.join(directory, "lsan.supp")
        with open(known, "w") as file:  # json-c's key, when there is no memory for the member
            file.write("leak:json_object_object_add_ex\n")
        self.prefix = ["env", "LSAN_OPTIONS=suppressions=" + known, "LD_PRELOAD=" + library(directory), "FAULTS=" + self.path] + [
            "%s=%s" % option for option in SANITIZERS.items()]

    def _put(self, at, value):
        struct.pack_into("<q", self.memory, 8 * at, value)

    def _get(self, at):
        return struct.unpack_from("<q", self.memory, 8 * at)[0]

    def set(self, **words):
        for word, value in words.items():
            self._put(WORDS[word], value)

    def get(self, word):
        return self._get(WORDS[word])

    def fail(self, call, error, odds=EVER, left=-1):
        """Calls of that name end with @error (a name of errno's), @left of them at most."""
        at = WORD_COUNT + 4 * CALLS.index(call)
        self._put(at, getattr(errno, error))
        self._put(at + 2, left)
        self._put(at + 1, odds)

    def hits(self, call):
        return self._get(WORD_COUNT + 4 * CALLS.index(call) + 3)

    def heal(self, call):
        self._put(WORD_COUNT + 4 * CALLS.index(call) + 1, 0)

    @contextlib.contextmanager
    def failing(self, call, error, **more):
        """And then no longer."""
        self.fail(call, error, **more)
        try:
            yield
        finally:
            self.heal(call)

    def starve(self, odds, left=-1):
        """That many in a million allocations fail."""
        self.set(alloc_left=left, alloc_odds=odds)
