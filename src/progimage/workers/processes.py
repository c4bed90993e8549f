"""The server's side of worker processes: starting them, sending them tasks, and ending them."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from progimage.workers.fork_server import FORK, Ended, Forked, NotForked
from progimage.workers.protocol import LARGEST_MESSAGE, Order, channel_pair, receive, send
from progimage.workers.sandbox import Sandbox

log = structlog.get_logger(__name__)
_KEPT = frozenset(("PATH", "TZ"))
_KEPT_PREFIXES = ("LD_", "PYTHON", "MALLOC_", "VIPS_")
"""Prefixes of environment variables that the fork server gets; none of them contains a secret or a setting of ours."""
_END_SECONDS = 5
_FORK_SECONDS = 30
"""A fork server that needs longer to start a worker is assumed to be stopped or stuck."""
_notes = msgspec.msgpack.Decoder(Forked | NotForked | Ended)


class Gone(Exception):
    """The worker ended before it sent a result."""


class Process:
    """A worker process.

    Attributes:
        pid: Process ID.
        ended: Future for the fork server's message about the end of the process.
    """

    def __init__(self, pid: int, pidfd: int, channel: socket.socket, ended: "asyncio.Future[Ended]") -> None:
        self.pid, self.ended = pid, ended
        self._cpu_seconds = 0.0
        self._pidfd, self._channel = pidfd, channel
        channel.setblocking(False)
        ended.add_done_callback(lambda _: os.close(pidfd))

    def tell(self, task: bytes, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Send a task to the process.

        Args:
            task: The encoded task.
            inputs: Descriptors of the files to read.
            outputs: Descriptors of the files to write.

        Raises:
            Gone: The process has ended.
        """
        if self.ended.done():
            raise Gone
        data = msgspec.msgpack.encode(Order(len(inputs), msgspec.Raw(task)))
        try:
            send(self._channel, data, [*inputs, *outputs])
        except OSError as error:
            raise Gone from error

    async def result(self) -> bytes:
        """Wait for the next message from the process.

        Raises:
            Gone: The process has ended or closed its side of the channel.
        """
        loop = asyncio.get_running_loop()
        try:
            data = await loop.sock_recv(self._channel, LARGEST_MESSAGE + 1)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        return data

    @property
    def is_silent(self) -> bool:
        """Whether the process has sent no unexpected message."""
        try:
            return not self._channel.recv(1, socket.MSG_PEEK)  # no data means that the process has ended
        except OSError:
            return True

    @property
    def cpu_seconds(self) -> float:
        """CPU time in seconds that all threads of the process have used so far, according to the kernel."""
        if self.ended.done():
            self._cpu_seconds = max(self._cpu_seconds, self.ended.result().cpu_seconds)
        else:
            # The clock ID of a process, see clock_getcpuclockid(3) and the kernel's include/linux/posix-timers.h.
            with contextlib.suppress(OSError):
                self._cpu_seconds = time.clock_gettime(~self.pid << 3 | 2)
        return self._cpu_seconds

    @property
    def threads(self) -> int:
        """Number of threads of the process; 0 after it has ended."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[17])
        return 0

    async def death(self, seconds: float) -> int:
        """Wait for the end of the process; return its exit code, or the negative number of the signal that killed it.

        Args:
            seconds: Time to wait before it is killed, in case it has only closed its side of the channel.
        """
        await asyncio.wait((self.ended,), timeout=seconds)
        self.kill()
        await asyncio.wait((self.ended,), timeout=seconds)
        # A stopped fork server doesn't report the end of processes.
        return self.ended.result().code if self.ended.done() else -signal.SIGKILL

    def kill(self) -> None:
        """Kill the process."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def discard(self) -> None:
        """Kill the process and close its channel. No call of `result` may be pending."""
        self.kill()
        self._channel.close()


class ForkServer:
    """Starts worker processes; see `progimage.workers.fork_server`. If it is killed, it is restarted.

    Args:
        sandbox: The limits of the workers.
        tasks: Name of the module whose `TASKS` the workers can run.

    Attributes:
        libraries: Names of the rarely used libraries that new workers have.
    """

    def __init__(self, sandbox: Sandbox, tasks: str) -> None:
        self._arguments = [msgspec.json.encode(sandbox).decode(), tasks]
        self.libraries: set[str] = set()
        self._alive: dict[int, asyncio.Future[Ended]] = {}
        self._forking = asyncio.Lock()
        self._forked: asyncio.Future[tuple[int, int]] | None = None
        self._reading: asyncio.Task[None]
        self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        environment = {
            name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
        }
        # There is one worker per core, so threads inside libvips would only take cores from other workers.
        environment |= {"VIPS_CONCURRENCY": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment["LC_ALL"] = "C.UTF-8"  # the locale influences the choice of fonts
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "progimage.workers", str(theirs.fileno()), *self._arguments],
                env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read())

    async def fork(self) -> Process:
        """Start a worker process.

        Raises:
            Gone: The fork server ended, or couldn't start a worker.
        """
        async with self._forking:
            if self._reading.done():
                await asyncio.to_thread(self._process.wait)
                log.warning("the fork server ended and is restarted", code=self._process.returncode)
                self._start()
            ours, theirs = channel_pair()
            self._forked = asyncio.get_running_loop().create_future()
            try:
                with theirs:
                    send(self._control, " ".join([FORK.decode(), *sorted(self.libraries)]).encode(), [theirs.fileno()])
                async with asyncio.timeout(_FORK_SECONDS):
                    pid, pidfd = await self._forked
            except TimeoutError as error:
                ours.close()
                log.warning("the fork server doesn't respond; it and its workers are killed")
                self._process.kill()
                await asyncio.wait((self._reading,))
                raise Gone from error
            except BaseException as error:
                ours.close()
                if isinstance(error, OSError):
                    raise Gone from error
                raise
            finally:
                self._forked = None
            return Process(pid, pidfd, ours, self._alive[pid])

    async def close(self) -> None:
        """End the fork server and all of its workers."""
        self._control.shutdown(socket.SHUT_RDWR)
        await self._reading
        try:
            await asyncio.to_thread(self._process.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._control.close()

    async def _read(self) -> None:
        """Handle messages from the fork server until it ends."""
        loop = asyncio.get_running_loop()
        while True:
            arrived = asyncio.Event()
            loop.add_reader(self._control, arrived.set)
            try:
                await arrived.wait()
            finally:
                loop.remove_reader(self._control)
            try:
                data, descriptors = receive(self._control)
            except OSError:
                data = b""
            if not data:
                break
            note = _notes.decode(data)
            if isinstance(note, Ended):
                self._alive.pop(note.pid).set_result(note)
                continue
            if isinstance(note, NotForked):
                log.error("no worker can be started", why=note.why)
                if self._forked and not self._forked.done():
                    self._forked.set_exception(Gone(note.why))
                continue
            self._alive[note.pid] = loop.create_future()
            if self._forked is None or self._forked.done():  # the worker isn't needed any more
                signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)
                os.close(descriptors[0])
                continue
            self._forked.set_result((note.pid, descriptors[0]))
        # The workers ended with the fork server, so nothing reports how.
        for pid, ended in self._alive.items():
            ended.set_result(Ended(pid, -signal.SIGKILL, 0.0))
        self._alive.clear()
        if self._forked and not self._forked.done():
            self._forked.set_exception(Gone())
