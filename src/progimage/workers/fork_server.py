"""The process whose copies the workers are: it has loaded every codec, and nothing else.

    python -m progimage.workers DESCRIPTOR SANDBOX TASKS

It is started by a server as a program of its own, with an environment of a few harmless variables, so that neither it
nor a worker has ever had a setting, a key, or a descriptor of the server. It reads requests from one socket and answers
them there, until the server is gone; then it ends, and all workers with it.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys

import msgspec

from progimage.workers import worker
from progimage.workers.protocol import receive, send
from progimage.workers.sandbox import Sandbox, be_ready_to_fork


class Forked(msgspec.Struct, tag="forked"):
    """A worker was made. The message brings a pidfd of it along.

    Attributes:
        pid: Its process id.
    """

    pid: int


class NotForked(msgspec.Struct, tag="not-forked"):
    """No worker could be made.

    Attributes:
        why: What the operating system said.
    """

    why: str


class Ended(msgspec.Struct, tag="ended"):
    """A worker has ended.

    Attributes:
        pid: Its process id.
        code: Its exit code, or the negative number of the signal that killed it.
        cpu_seconds: The CPU time that it has used in all its life.
    """

    pid: int
    code: int
    cpu_seconds: float


def main() -> None:
    """Make workers for a server."""
    control, sandbox, tasks = sys.argv[1:]
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the server sees to its end, after the last task
        signal.signal(ignored, signal.SIG_IGN)
    types = importlib.import_module(tasks).TASKS
    be_ready_to_fork()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(control)) as server:
        _serve(server, msgspec.json.decode(sandbox, type=Sandbox), types)


def _serve(server: socket.socket, sandbox: Sandbox, tasks: object) -> None:
    workers: dict[int, int] = {}  # pidfd -> pid
    poll = select.poll()
    poll.register(server, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in workers:
                poll.unregister(ready)
                os.close(ready)
                pid, status, used = os.wait4(workers.pop(ready), 0)
                ended = Ended(pid, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)
                send(server, msgspec.msgpack.encode(ended))
                continue
            data, channels = receive(server)
            if not data:
                for pidfd in workers:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return
            try:
                pid = os.fork()
            except OSError as error:
                send(server, msgspec.msgpack.encode(NotForked(str(error))))
                os.close(channels[0])
                continue
            if not pid:
                try:
                    worker.run(channels[0], sandbox, tasks)
                finally:  # the server is gone
                    os._exit(1)
            os.close(channels[0])
            pidfd = os.pidfd_open(pid)
            workers[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            send(server, msgspec.msgpack.encode(Forked(pid)), [pidfd])
