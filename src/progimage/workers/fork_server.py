"""The fork server: the process that workers are forked from. It has loaded all codecs, and nothing else.

    python -m progimage.workers DESCRIPTOR SANDBOX TASKS

The server starts it as a separate program, with an environment of a few harmless variables, so that neither it nor any
worker ever has a setting, a key or a descriptor of the server. It handles requests from one socket until the server
ends; then it ends together with all workers.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from progimage.engine import use_folder
from progimage.engine.fonts import font_files
from progimage.engine.libraries import LIBRARIES
from progimage.workers import worker
from progimage.workers.protocol import receive, send
from progimage.workers.sandbox import Sandbox, be_ready_to_fork, die_with_parent


class Forked(msgspec.Struct, tag="forked"):
    """A worker was forked. Its pidfd is attached to the message.

    Attributes:
        pid: Process ID of the worker.
    """

    pid: int


class NotForked(msgspec.Struct, tag="not-forked"):
    """No worker could be forked.

    Attributes:
        why: Error message of the operating system.
    """

    why: str


class Ended(msgspec.Struct, tag="ended"):
    """A worker has ended.

    Attributes:
        pid: Process ID of the worker.
        code: Exit code, or the negative number of the signal that killed the worker.
        cpu_seconds: Total CPU time of the worker in seconds.
    """

    pid: int
    code: int
    cpu_seconds: float


FORK = b"fork"
"""The request for a worker, followed by the names of the rarely used libraries that it needs."""


def main() -> None:
    """Fork workers for a server until it ends."""
    die_with_parent(os.getppid())  # even while this process is stopped and can't see that its socket is closed
    control, sandbox, tasks = sys.argv[1:]
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the server ends this process after the last task
        signal.signal(ignored, signal.SIG_IGN)
    types = importlib.import_module(tasks).TASKS
    bounds = msgspec.json.decode(sandbox, type=Sandbox)
    use_folder(Path(bounds.fonts) if bounds.fonts else None)
    font_files()  # cached, so that all workers use the same files
    be_ready_to_fork()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(control)) as server:
        forks = _Forks(server, bounds, types)
        try:
            while forks.go_on():
                pass
        except BrokenPipeError:
            pass  # the server is gone
        finally:
            forks.kill()


class _Forks:
    """The workers of a server."""

    def __init__(self, server: socket.socket, sandbox: Sandbox, tasks: object) -> None:
        self._server, self._sandbox, self._tasks = server, sandbox, tasks
        self._workers: dict[int, int] = {}  # pidfd -> pid
        self._poll = select.poll()
        self._poll.register(server, select.POLLIN)

    def go_on(self) -> bool:
        """Wait for events and handle them; return whether the server is still there."""
        for ready, _ in self._poll.poll():
            if ready in self._workers:
                self._bury(ready)
                continue
            data, channels = receive(self._server)
            if not data:
                return False
            for library in data.removeprefix(FORK).decode().split():
                LIBRARIES[library]()
            self._fork(channels[0])
        return True

    def kill(self) -> None:
        """Kill all workers."""
        for pidfd in self._workers:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _fork(self, channel: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(channel)
            self._say(NotForked(str(error)))
            return
        if not pid:
            try:
                worker.run(channel, self._sandbox, self._tasks)
            finally:  # the server is gone
                os._exit(1)
        os.close(channel)
        pidfd = os.pidfd_open(pid)
        self._workers[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        self._say(Forked(pid), [pidfd])

    def _bury(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        os.close(pidfd)
        pid, status, used = os.wait4(self._workers.pop(pidfd), 0)
        self._say(Ended(pid, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime))

    def _say(self, note: msgspec.Struct, descriptors: Sequence[int] = ()) -> None:
        send(self._server, msgspec.msgpack.encode(note), descriptors)
