# SPDX-License-Identifier: MIT
"""System calls made by somebody else's process: what an intruder in it would get for an answer.

A thread that sleeps in a system call is stopped, sent back to that call's instruction with another
number and other arguments, stepped once, and put back as it was. ptrace(2), x86-64 only.
"""

import ctypes
import os
import platform
import signal
import struct

ATTACH, DETACH, STEP, GETREGS, SETREGS = 16, 17, 9, 12, 13
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss"
             " fs_base gs_base ds es fs gs").split()
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
WALL = 0x40000000
UNUSED = 4096  # bytes below the stack pointer that nothing uses while the thread stands

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def usable():
    """None, or why not."""
    return None if platform.machine() == "x86_64" else "written for x86-64"


def ptrace(request, pid, data=None):
    if libc.ptrace(request, pid, None, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, "ptrace: " + os.strerror(error))


class Killed(Exception):
    """The call ended the process."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Inside:
    """with Inside(pid) as inside: inside.call(NUMBER, argument, b"text\\0", ...)"""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        ptrace(ATTACH, self.pid)
        self._wait()
        self.before = self._registers()
        return self

    def __exit__(self, *_):
        if self.before:
            self._set(self.before)
            ptrace(DETACH, self.pid)

    def _wait(self):
        _, status = os.waitpid(self.pid, WALL)
        if os.WIFSIGNALED(status):
            self.before = None
            raise Killed(os.WTERMSIG(status))
        assert os.WIFSTOPPED(status), status

    def _registers(self):
        buffer = ctypes.create_string_buffer(8 * len(REGISTERS))
        ptrace(GETREGS, self.pid, ctypes.cast(buffer, ctypes.c_void_p))
        return dict(zip(REGISTERS, struct.unpack("%dQ" % len(REGISTERS), buffer.raw)))

    def _set(self, registers):
        buffer = ctypes.create_string_buffer(
            struct.pack("%dQ" % len(REGISTERS), *(registers[name] for name in REGISTERS)))
        ptrace(SETREGS, self.pid, ctypes.cast(buffer, ctypes.c_void_p))

    def call(self, number, *arguments):
        """The call's result; a negative one is -errno. Texts are put into the process."""
        registers = dict(self.before, rax=number, orig_rax=(1 << 64) - 1, rip=self.before["rip"] - 2)
        at = self.before["rsp"] - UNUSED
        with open("/proc/%d/mem" % self.pid, "r+b", buffering=0) as memory:
            memory.seek(registers["rip"])
            assert memory.read(2) == b"\x0f\x05", "the thread is in no system call"
            for name, argument in zip(ARGUMENTS, arguments):
                if isinstance(argument, bytes):
                    memory.seek(at)
                    memory.write(argument)
                    argument, at = at, at + len(argument) + -len(argument) % 8
                registers[name] = argument % (1 << 64)
        self._set(registers)
        ptrace(STEP, self.pid)
        self._wait()
        result = self._registers()["rax"]
        return result - (1 << 64) if result >> 63 else result
