"""What a taken-over worker would try: tasks for the tests of the sandbox, which workers of a test load instead of ours.

Each attack returns the name of the error that it ran into, or `done` if there was none.
"""

import array
import contextlib
import ctypes
import errno
import mmap
import os
import pickle
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from progimage.workers.protocol import LARGEST_MESSAGE, Done
from progimage.workers.tasks import Nothing, Task
from progimage.workers.worker import CHANNEL

_libc = ctypes.CDLL(None, use_errno=True)
_ARENA_MAX = -8
"""The number of M_ARENA_MAX in glibc's malloc.h."""
KEPT: dict[str, Any] = {}
"""What a taken-over worker keeps from one task to the next."""


class Attack(Task, frozen=True):
    """Runs a function of this module."""

    name: str
    arguments: tuple[str | int, ...] = ()
    result: ClassVar[Any] = str

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> str:
        function: Callable[..., Any] = globals()[self.name]
        try:
            answer = function(*self.arguments, *inputs, *outputs)
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))
        except ValueError as error:  # as resource raises it
            return f"{type(error).__name__}"
        return "done" if answer is None else str(answer)


class Say(Task, frozen=True):
    """Says something to the server that no worker says; then goes on as if nothing were."""

    what: str
    result: ClassVar[Any] = str

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> str:
        with own_channel() as channel:
            for message in MESSAGES[self.what]():
                channel.send(message)
        time.sleep(60)
        return "nobody heard"


def own_channel() -> socket.socket:
    # All that a socket says of itself is given, since the worker may not ask for it.
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(CHANNEL))


class Forever(Task, frozen=True):
    """Uses CPU time until it is stopped."""

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        while True:
            pass


TASKS = Attack | Say | Forever | Nothing


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def _done(result: Any) -> bytes:
    return msgspec.msgpack.encode(Done(msgspec.Raw(msgspec.msgpack.encode(result))))


def _failed(kind: str, details: Any) -> bytes:
    return msgspec.msgpack.encode({"type": "failed", "kind": kind, "details": details})


MESSAGES: dict[str, Callable[[], list[bytes]]] = {
    "a pickle": lambda: [pickle.dumps(Bomb("/tmp/pickle-was-loaded"))],
    "a pickle as a result": lambda: [_done(pickle.dumps(Bomb("/tmp/pickle-was-loaded")))],
    "noise": lambda: [bytes(range(256)) * 4],
    "too much": lambda: [b"\xc1" * LARGEST_MESSAGE, b"\xc1"],
    "a larger message than allowed": lambda: [_done("x" * (LARGEST_MESSAGE + 100))],
    "another type": lambda: [_done({"a": 1})],
    "a number": lambda: [_done(7)],
    "nothing in it": lambda: [msgspec.msgpack.encode({"type": "done"})],
    "another answer": lambda: [msgspec.msgpack.encode({"type": "gone", "result": "x"})],
    "broken text": lambda: [b"\x82\xa4type\xa4done\xa6result\xa2\xff\xfe"],
    "nested": lambda: [b"\x82\xa4type\xa4done\xa6result" + b"\x91" * 100_000 + b"\x00"],
    "a claimed length": lambda: [b"\x82\xa4type\xa4done\xa6result\xdb\xff\xff\xff\xff"],
    "a claimed list": lambda: [b"\x82\xa4type\xa4done\xa6result\xdd\xff\xff\xff\xff"],
    "a timestamp": lambda: [b"\x82\xa4type\xa4done\xa6result\xd6\xff\x00\x00\x00\x00"],
    "an unknown error": lambda: [_failed("SystemExit", ["0"])],
    "an error's name that is code": lambda: [_failed("os.system", ["true"])],
    "an error of other parts": lambda: [_failed("LimitExceeded", ["pixels", "many", "few"])],
    "an error with too many parts": lambda: [_failed("CorruptImage", ["a", "b", "c"])],
    "an error of a long text": lambda: [_failed("CorruptImage", ["a" * 100_000])],
    "an error with a huge number": lambda: [_failed("LimitExceeded", ["pixels", 2**63, 1])],
    "began twice": lambda: [msgspec.msgpack.encode({"type": "began"})] * 2,
    "two results": lambda: [_done("one"), _done("two")],
    "a flood": lambda: [_done("x")] * 5,
}


def environment() -> str:
    return ",".join(sorted(os.environ))


def descriptors() -> str:
    found = []
    for descriptor in range(256):
        try:
            os.fstat(descriptor)
            found.append(str(descriptor))
        except OSError:
            pass
    return ",".join(found)


def print_something() -> None:
    os.write(1, b"from a worker")
    os.write(2, b"from a worker")


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def make(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def names(path: str) -> str:
    return ",".join(os.listdir(path))


def link(source: str, target: str) -> None:
    os.link(source, target)


def reopen(descriptor: int) -> None:
    write(f"/proc/self/fd/{descriptor}")


def write_input(descriptor: int) -> None:
    os.write(descriptor, b"changed")


def map_input(descriptor: int) -> None:
    mmap.mmap(descriptor, 1)


def seek(descriptor: int) -> int:
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, 3, os.SEEK_SET)
    return before


def keep(value: str) -> None:
    KEPT["value"] = value


def kept() -> str:
    return str(KEPT.get("value"))


def write_and_keep(descriptor: int) -> None:
    os.write(descriptor, b"what it wrote")
    KEPT["descriptor"] = os.dup(descriptor)


def write_later() -> None:
    os.pwrite(KEPT["descriptor"], b"changed later", 0)


def send_descriptors() -> None:
    with own_channel() as channel:
        passed = array.array("i", [CHANNEL] * 50)
        channel.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    time.sleep(60)


def make_socket() -> None:
    socket.socket()


def run_program() -> None:
    subprocess.run(["/bin/true"], check=True)


def fork() -> None:
    if not os.fork():
        time.sleep(30)
        os._exit(0)


def start_thread() -> str:
    seen: list[str] = []
    thread = threading.Thread(target=seen.append, args=("ran",))
    thread.start()
    thread.join()
    return seen[0]


def start_many_threads() -> None:
    _libc.mallopt(_ARENA_MAX, 1)  # or the memory that glibc sets aside for each thread ends it early
    threading.stack_size(64 * 1024)
    with contextlib.suppress(RuntimeError):  # a user may have no more, with all that runs beside
        for _ in range(2000):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(60)


def signal_parent() -> None:
    os.kill(os.getppid(), 0)


def raise_cpu_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def raise_soft_cpu_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (resource.getrlimit(resource.RLIMIT_CPU)[1],) * 2)


def map_code() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def call(number: int, *arguments: str | int) -> None:
    """Make a system call by its number."""
    plain = [argument.encode() if isinstance(argument, str) else ctypes.c_long(argument) for argument in arguments]
    if _libc.syscall(ctypes.c_long(number), *plain) < 0:
        raise OSError(ctypes.get_errno(), "")


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino
