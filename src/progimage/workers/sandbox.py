"""The sandbox of a worker process, enforced by the kernel.

A worker decodes hostile files with large C libraries, so we assume that it can be taken over. It keeps limited memory
and CPU time, the descriptors that come with a task, and read access to the program's own code and to fonts. It loses
access to all other files and the network, and can't start programs, or signal or trace other processes.

Each defence is applied if the kernel supports it; `available_defences` returns which ones it supports.

Sources: landlock(7), prctl(2), setrlimit(2) of the Linux man-pages; struct layouts from the kernel's
include/uapi/linux/landlock.h. The filter of system calls is in `seccomp`.
"""

import ctypes
import os
import resource
import signal
import site
import struct
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from progimage.workers import seccomp

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 1, 38, 4

# The same numbers on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_FS_READ_FILE, _FS_READ_DIR = 1 << 2, 1 << 3
# Number of file-system rights in each version of Landlock; the bits are assigned in order.
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16}
_NET_RIGHTS, _SCOPES = 0b11, 0b11  # TCP bind and connect (from 4); abstract sockets and signals (from 6)

_MOST_FILES = 128
_KILLED_AFTER = 5
"""CPU seconds between SIGXCPU, which a taken-over worker can ignore, and SIGKILL from the kernel."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The limits of a worker.

    Attributes:
        memory: Maximum address space in bytes.
        cpu_seconds: Maximum CPU time of all threads over the worker's whole life, in seconds.
        file_bytes: Maximum size of a file that it writes, in bytes.
        code: Additional folders that it can read, besides those of the program and its libraries.
        fonts: Folder with additional fonts, if any.
    """

    memory: int
    cpu_seconds: int
    file_bytes: int
    code: tuple[str, ...] = ()
    fonts: str | None = None

    def enter(self) -> None:
        """Permanently drop all rights that a worker doesn't need. Call it in the worker before its first task."""
        die_with_parent(os.getppid())
        _prctl(_PR_SET_DUMPABLE, 0)
        resource.setrlimit(resource.RLIMIT_AS, (self.memory, self.memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_bytes, self.file_bytes))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds + _KILLED_AFTER))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing too large a file raises an error
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if landlock_version() > 0:
            fonts = (self.fonts,) if self.fonts else ()
            _landlock(map(Path, (*_own_code(), *self.code, *fonts)))
        seccomp.install()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends for any reason.

    Args:
        parent: Process ID of the parent.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent ended just before


def be_ready_to_fork() -> None:
    """Prepare the process that workers will be forked from.

    Raises:
        RuntimeError: The process has several threads. A fork would have only one, and locks that are never released.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise RuntimeError(f"a process with {threads} threads can't be forked")
    _prctl(_PR_SET_DUMPABLE, 0)


def available_defences() -> dict[str, bool]:
    """Return by name which of the kernel's defences are available on this machine."""
    return {
        "limits": True,
        "landlock": landlock_version() > 0,
        "seccomp": seccomp.is_available(),
    }


def landlock_version() -> int:
    """Return the kernel's version of Landlock; 0 if it has none."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    return max(0, int(version))


def _own_code() -> Iterable[str]:
    paths = sysconfig.get_paths()
    return {
        sys.prefix,
        sys.base_prefix,
        *(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        str(Path(__file__).resolve().parents[2]),  # src, in an editable install
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/etc/ld.so.cache",
        "/dev/null",
        "/dev/urandom",
    }


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        _raise("prctl")


def _landlock(readable: Iterable[Path]) -> None:
    """Restrict the process to opening files below some folders for reading."""
    version = landlock_version()
    handled = (1 << _FS_RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("=QQQ", handled, _NET_RIGHTS if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes[:size], ctypes.c_size_t(size), 0)
    if ruleset < 0:
        _raise("landlock_create_ruleset")
    for path in readable:
        _allow_beneath(ruleset, path, _FS_READ_FILE | _FS_READ_DIR)
    if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
        _raise("landlock_restrict_self")
    os.close(ruleset)


def _allow_beneath(ruleset: int, path: Path, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not path.is_dir():
        rights &= _FS_READ_FILE
    rule = struct.pack("=Qi", rights, folder)
    if _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0) != 0:
        _raise("landlock_add_rule")
    os.close(folder)


def _raise(call: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")
