"""Holds a thread at its next call of the kernel, until standard input ends: so hangs who reads a dead disk.

Usage: hold.py TID open|sync. Says "armed", then "held" once it does; or why it cannot.
"""

import ctypes
import os
import platform
import sys

# ptrace(2), waitpid(2)
SEIZE, INTERRUPT, SYSCALL, GET_SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420E
TRACESYSGOOD, ENTRY, ALL_THREADS, SYSCALL_STOP = 1, 1, 0x40000000, 5 | 0x80
# openat and newfstatat or statx; fsync and fdatasync
CALLS = {
    "x86_64": {"open": {257, 262, 332}, "sync": {74, 75}},
    "aarch64": {"open": {56, 79, 291}, "sync": {82, 83}},
}


class Info(ctypes.Structure):
    """struct ptrace_syscall_info, as far as the entry of a call goes."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("nr", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 8),
    ]


thread = int(sys.argv[1])
calls = CALLS[platform.machine()][sys.argv[2]]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, address=None, data=None):
    if libc.ptrace(request, thread, address, data) == -1:
        sys.exit(os.strerror(ctypes.get_errno()))


info = Info()
ptrace(SEIZE, None, TRACESYSGOOD)
ptrace(INTERRUPT)
os.waitpid(thread, ALL_THREADS)
print("armed", flush=True)
while info.op != ENTRY or info.nr not in calls:
    ptrace(SYSCALL)
    info.op = 0
    if os.WSTOPSIG(os.waitpid(thread, ALL_THREADS)[1]) == SYSCALL_STOP:
        ptrace(GET_SYSCALL_INFO, ctypes.sizeof(info), ctypes.addressof(info))
print("held", flush=True)
# The end of who traces it lets it go on.
sys.stdin.read()
