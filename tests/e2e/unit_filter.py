#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""unit_filter.py UNIT PROGRAM ARGUMENT... - run a program behind the SystemCallFilter= of a unit

As systemd makes it of the same lines: the first allows, those with "~" take away, later ones add
again; what is not allowed fails with EPERM. Groups are what systemd-analyze says they are.
"""

import ctypes
import errno
import os
import subprocess
import sys


def group(name, known={}):
    """The system calls of "@name"."""
    if not known:
        title = None
        for line in subprocess.run(["systemd-analyze", "syscall-filter"], check=True, text=True,
                                   capture_output=True).stdout.splitlines():
            if line.startswith("@"):
                title = known.setdefault(line.strip(), [])
            elif title is not None and line.strip() and not line.strip().startswith("#"):
                title.append(line.strip())
    return set().union(*(group(word) if word.startswith("@") else {word} for word in known[name]))


def calls_of(unit):
    calls = set()
    with open(unit) as file:
        for line in file:
            key, _, value = line.strip().partition("=")
            if key != "SystemCallFilter":
                continue
            found = set().union(*(group(word) if word.startswith("@") else {word}
                                  for word in value.lstrip("~").split()))
            calls = calls - found if value.startswith("~") else calls | found
    return calls | group("@default") | {"execve"}


def enter(calls):
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(0x00050000 | errno.EPERM))
    for name in sorted(calls):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            error = library.seccomp_rule_add(context, 0x7fff0000, number, 0)
            assert error == 0, (name, error)
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    enter(calls_of(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
