"""The worker processes, and which of them can process whose data.

A worker that has processed one owner's data never gets another owner's: an attacker who took it over could remember the
former and paint it into the latter's images. So an idle worker only gets tasks of its owner, and is replaced when
others need its place. A fresh worker, which has seen no data, is kept ready.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from progimage.workers.processes import ForkServer, Gone, Process

log = structlog.get_logger(__name__)

_TASKS_BEFORE_REPLACEMENT = 1000
"""A worker is replaced after this many tasks, which limits the effect of memory leaks in codecs."""
_LIFE_SHARE = 0.5
"""A worker is also replaced after this fraction of its total CPU time, so that it doesn't hit the kernel's limit during
a task."""
_STARTS = 3
"""Maximum number of attempts to get a worker while the fork server or its workers are killed repeatedly."""


class _Worker:
    """A worker, the owners whose data it has processed, and its number of tasks."""

    def __init__(self, process: Process) -> None:
        self.process, self.owners, self.tasks = process, frozenset[str](), 0


class Staff:
    """Manages the worker processes.

    Args:
        fork_server: Starts workers.
        max_processes: Maximum number of workers besides the fresh one.
        life_seconds: Maximum CPU time of a worker in seconds, over its whole life.
        died: Called with the cause when an idle worker dies.
    """

    def __init__(
        self, fork_server: ForkServer, max_processes: int, life_seconds: float, died: Callable[[str], None]
    ) -> None:
        self._fork_server, self._max_processes, self._died = fork_server, max_processes, died
        self._life_seconds = life_seconds
        self._idle: list[_Worker] = []  # the most recently used one is the last
        self._busy: dict[Process, _Worker] = {}
        self._fresh: asyncio.Task[Process] = asyncio.create_task(self._fork())

    @property
    def processes(self) -> list[Process]:
        """All workers except the fresh one."""
        return [*self._busy, *(worker.process for worker in self._idle)]

    async def take(self, owners: frozenset[str]) -> Process:
        """Return a worker that has processed no data except that of these owners. It has to be given back.

        Raises:
            Gone: No worker can be started.
        """
        worker = self._suitable(owners) if len(owners) <= 1 else None
        if worker:
            self._idle.remove(worker)
        else:
            worker = _Worker(await self._take_fresh())
        worker.owners |= owners
        self._busy[worker.process] = worker
        while self._idle and len(self._idle) + len(self._busy) > self._max_processes:
            self._idle.pop(0).process.discard()
        return worker.process

    def give_back(self, process: Process, *, healthy: bool) -> None:
        """Give a worker back. It is kept for further tasks of its owner, or discarded.

        Args:
            process: The worker.
            healthy: Whether it has sent the result of its task, and nothing else.
        """
        worker = self._busy.pop(process)
        worker.tasks += 1
        used_up = worker.tasks >= _TASKS_BEFORE_REPLACEMENT or process.cpu_seconds > self._life_seconds * _LIFE_SHARE
        if not healthy or used_up or len(worker.owners) > 1 or process.ended.done():
            process.discard()
            return
        self._idle.append(worker)
        process.ended.add_done_callback(lambda _: self._note_death(worker))

    def need(self, library: str) -> None:
        """Make a rarely used library available: replace idle workers, and busy ones as soon as they need it.

        Args:
            library: Name of the library.
        """
        if library in self._fork_server.libraries:
            return
        log.info("a rarely used library is loaded", library=library)
        self._fork_server.libraries.add(library)
        self._fresh.add_done_callback(_discard)
        self._fresh = asyncio.create_task(self._fork())
        for worker in self._idle:
            worker.process.discard()
        self._idle.clear()

    async def close(self) -> None:
        """End all workers and the fork server."""
        self._fresh.cancel()
        with suppress(asyncio.CancelledError, Gone):
            (await self._fresh).discard()
        for process in self.processes:
            process.discard()
        self._idle.clear()
        await self._fork_server.close()

    def _suitable(self, owners: frozenset[str]) -> _Worker | None:
        """Return the most recently used idle worker that can run a task for these owners, or None."""
        for worker in reversed(self._idle):
            if worker.process.ended.done() or (owners and not worker.owners <= owners):
                continue
            if worker.process.is_silent:
                return worker
            log.warning("an idle worker sent an unexpected message and was killed")
            self._died("lie")
            self._idle.remove(worker)
            worker.process.discard()
            return self._suitable(owners)
        return None

    async def _take_fresh(self) -> Process:
        for _ in range(_STARTS):
            fresh, self._fresh = self._fresh, asyncio.create_task(self._fork())
            try:
                process = await asyncio.shield(fresh)
            except Gone:
                continue
            except asyncio.CancelledError:  # the worker isn't needed any more
                fresh.add_done_callback(_discard)
                raise
            if not process.ended.done():
                return process
            process.discard()
            self._died("idle")
        raise Gone

    async def _fork(self) -> Process:
        return await self._fork_server.fork()

    def _note_death(self, worker: _Worker) -> None:
        if worker in self._idle:
            log.warning("an idle worker was killed")
            self._died("idle")
            self._idle.remove(worker)
            worker.process.discard()


def _discard(fresh: "asyncio.Task[Process]") -> None:
    if not fresh.cancelled() and not fresh.exception():
        fresh.result().discard()
