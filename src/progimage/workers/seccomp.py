"""The seccomp filter of workers: an allow-list of system calls, with checks of arguments where they matter.

All other calls fail with EPERM. The list contains the calls that `python -m tests.syscalls` has observed while every
format was read and written, and those that other versions of the C library make instead. A worker can't change anything
by path, opens files only for reading, and creates no processes, sockets or executable memory; it writes only to the
descriptors that it was given. Codec threads that try to lower their priority (`setpriority`) get an error, and go on.

Sources: seccomp(2); struct seccomp_data and struct sock_filter of the kernel's include/uapi/linux/seccomp.h and
filter.h; the numbers of its arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h; its
include/uapi/linux/sched.h and asm-generic/fcntl.h.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


@dataclass(frozen=True, slots=True)
class Argument:
    """A condition on an argument of a system call.

    Attributes:
        position: Position of the argument, 0 to 5.
        values: Allowed values.
        without: Bits that must not be set; if given, it is used instead of `values`.
    """

    position: int
    values: tuple[int, ...] = ()
    without: int = 0


# Flags of threads started by the C library: glibc, and musl with CLONE_DETACHED.
_THREAD = Argument(0, (0x3D0F00, 0x7D0F00))
# O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_PATH and O_TMPFILE.
_TO_READ = 0x0001 | 0x0002 | 0x0040 | 0x0200 | 0x0400 | 0x200000 | 0x400000
_NOT_EXECUTABLE = Argument(2, without=0x4)  # PROT_EXEC
_ITSELF = -1
"""Stands for the worker's process ID in `ALLOWED`."""

ALLOWED: dict[str, tuple[int | None, int | None, tuple[Argument, ...]]] = {
    "futex": (202, 98, ()),
    "read": (0, 63, ()),
    "write": (1, 64, ()),
    "pread64": (17, 67, ()),
    "pwrite64": (18, 68, ()),
    "lseek": (8, 62, ()),
    "mmap": (9, 222, (_NOT_EXECUTABLE,)),
    "munmap": (11, 215, ()),
    "mprotect": (10, 226, (_NOT_EXECUTABLE,)),
    "mremap": (25, 216, ()),
    "madvise": (28, 233, ()),
    "brk": (12, 214, ()),
    "close": (3, 57, ()),
    "fstat": (5, 80, ()),
    "newfstatat": (262, 79, ()),
    "openat": (257, 56, (Argument(2, without=_TO_READ),)),
    "recvmsg": (47, 212, ()),
    "sendmsg": (46, 211, ()),
    "fcntl": (72, 25, (Argument(1, (0, 1, 2, 3, 4, 1030)),)),  # F_DUPFD to F_SETFL, F_DUPFD_CLOEXEC
    "ioctl": (16, 29, (Argument(1, (0x5401, 0x5450, 0x5451)),)),  # TCGETS, FIONCLEX, FIOCLEX
    "rt_sigprocmask": (14, 135, ()),
    "rt_sigaction": (13, 134, ()),
    "rt_sigreturn": (15, 139, ()),
    "sigaltstack": (131, 132, ()),
    "clone": (56, 220, (_THREAD,)),
    "set_robust_list": (273, 99, ()),
    "rseq": (334, 293, ()),
    "prctl": (157, 167, (Argument(0, (15,)),)),  # PR_SET_NAME
    "exit": (60, 93, ()),
    "exit_group": (231, 94, ()),
    "readv": (19, 65, ()),
    "writev": (20, 66, ()),
    "ftruncate": (77, 46, ()),
    "fallocate": (285, 47, ()),
    "dup": (32, 23, ()),
    "getdents64": (217, 61, ()),
    "getrandom": (318, 278, ()),
    "clock_gettime": (228, 113, ()),
    "clock_getres": (229, 114, ()),
    "clock_nanosleep": (230, 115, ()),
    "nanosleep": (35, 101, ()),
    "gettimeofday": (96, 169, ()),
    "getpid": (39, 172, ()),
    "gettid": (186, 178, ()),
    "getppid": (110, 173, ()),
    "getuid": (102, 174, ()),
    "geteuid": (107, 175, ()),
    "getgid": (104, 176, ()),
    "getegid": (108, 177, ()),
    "getcwd": (79, 17, ()),
    "sched_yield": (24, 124, ()),
    "sched_getaffinity": (204, 123, ()),
    "getpriority": (140, 141, ()),
    "getrlimit": (97, 163, ()),
    "prlimit64": (302, 261, (Argument(0, (0,)), Argument(2, (0,)))),  # only to read its own limits
    "getrusage": (98, 165, ()),
    "uname": (63, 160, ()),
    "sysinfo": (99, 179, ()),
    "statx": (332, 291, ()),
    "faccessat": (269, 48, ()),
    "faccessat2": (439, 439, ()),
    "readlinkat": (267, 78, ()),
    "fstatfs": (138, 44, ()),
    "recvfrom": (45, 207, ()),
    "sendto": (44, 206, ()),
    "ppoll": (271, 73, ()),
    "futex_waitv": (449, 449, ()),
    "restart_syscall": (219, 128, ()),
    "tgkill": (234, 131, (Argument(0, (_ITSELF,)),)),  # as abort() does
    "getcpu": (309, 168, ()),
    "access": (21, None, ()),
    "open": (2, None, (Argument(1, without=_TO_READ),)),
    "stat": (4, None, ()),
    "lstat": (6, None, ()),
    "readlink": (89, None, ()),
    "poll": (7, None, ()),
    "time": (201, None, ()),
}
"""By name: the numbers on x86_64 and aarch64, and the conditions on arguments. The most frequent calls come first."""

UNKNOWN: dict[str, tuple[int, int]] = {"clone3": (435, 435), "openat2": (437, 437)}
"""Calls that appear not to exist (ENOSYS), since a filter can't check their arguments. The C library falls back to
older calls."""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY = 0x15, 0x35, 0x45
ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE, NOT_THERE = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data, whose words are little-endian

Instruction = tuple[int, int, int, int]
"""Code, number of instructions to skip if true and if false, and operand."""


def is_available() -> bool:
    """Return whether this kernel supports seccomp, and the list has the numbers for this architecture."""
    return platform.machine() in AUDIT_ARCH and Path("/proc/sys/kernel/seccomp").exists()


def install() -> None:
    """Filter the system calls of this process from now on. This requires `no_new_privs`.

    Raises:
        OSError: The kernel rejects the filter.
    """
    if not is_available():
        return
    instructions = program(platform.machine(), os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: an unsigned short, padding, and a pointer.
    header = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


def program(machine: str, process: int) -> list[Instruction]:
    """Return the instructions of the filter.

    Args:
        machine: `x86_64` or `aarch64`.
        process: ID of the process to filter.
    """
    column = list(AUDIT_ARCH).index(machine)
    found: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER_EQUAL, 0, 1, _X32),
        (_RETURN, 0, 0, KILL),
    ]
    for *numbers, arguments in ALLOWED.values():
        number = numbers[column]
        if number is not None:
            block = [*_checks(arguments, process), (_RETURN, 0, 0, ALLOW)]
            found += [(_JUMP_EQUAL, 0, len(block), number), *block]
    for number in (numbers[column] for numbers in UNKNOWN.values()):
        found += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, NOT_THERE)]
    return [*found, (_RETURN, 0, 0, REFUSE)]


def _checks(arguments: Sequence[Argument], process: int) -> list[Instruction]:
    """Return the instructions that reject a call unless its arguments meet all conditions."""
    found: list[Instruction] = []
    for argument in arguments:
        low = _ARGUMENTS + 8 * argument.position
        if argument.without:  # flags are an int; the kernel ignores the upper half
            found += [(_LOAD, 0, 0, low), (_JUMP_ANY, 0, 1, argument.without), (_RETURN, 0, 0, REFUSE)]
            continue
        found += [(_LOAD, 0, 0, low + 4), (_JUMP_EQUAL, 1, 0, 0), (_RETURN, 0, 0, REFUSE), (_LOAD, 0, 0, low)]
        values = [process if value == _ITSELF else value for value in argument.values]
        for left, value in zip(range(len(values), 0, -1), values, strict=True):
            found.append((_JUMP_EQUAL, left, 0, value))  # skip the other values and the rejection
        found.append((_RETURN, 0, 0, REFUSE))
    return found
