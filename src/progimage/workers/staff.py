"""The worker processes that there are, and which of them may see whose bytes.

A worker that has seen the bytes of one owner never sees those of another: whoever took it over could keep the former
in mind, and paint them into the latter's pictures. So an idle worker is given tasks of its owner only, and replaced
when others need its place. A fresh one, which has seen nothing, is kept ready.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from progimage.workers.processes import ForkServer, Gone, Process

log = structlog.get_logger(__name__)

_TASKS_BEFORE_REPLACEMENT = 1000
"""A worker is replaced after so many tasks, which bounds what a leak in a codec can cost."""
_LIFE_SHARE = 0.5
"""And after this share of the CPU time of its life, so that the kernel's limit does not end it during a task."""
_STARTS = 3
"""How often in a row a worker is asked for while the fork server is killed again and again."""


class _Worker:
    """A worker and what it has seen."""

    def __init__(self, process: Process) -> None:
        self.process, self.owners, self.tasks = process, frozenset[str](), 0


class Staff:
    """Keeps worker processes.

    Args:
        fork_server: Makes them.
        most: How many there may be beside the fresh one.
        life_seconds: The CPU time of a worker's life.
        died: Is told when an idle one dies.
    """

    def __init__(self, fork_server: ForkServer, most: int, life_seconds: float, died: Callable[[str], None]) -> None:
        """Have the fresh one made."""
        self._fork_server, self._most, self._died = fork_server, most, died
        self._life_seconds = life_seconds
        self._idle: list[_Worker] = []  # the one that was used last at the end
        self._busy: dict[Process, _Worker] = {}
        self._fresh: asyncio.Task[Process] = asyncio.create_task(self._fork())

    @property
    def processes(self) -> list[Process]:
        """All workers but the fresh one."""
        return [*self._busy, *(worker.process for worker in self._idle)]

    async def take(self, owners: frozenset[str]) -> Process:
        """Return a worker that has seen no bytes but those of these owners; it has to be given back.

        Raises:
            Gone: None can be made.
        """
        worker = self._suitable(owners) if len(owners) <= 1 else None
        if worker:
            self._idle.remove(worker)
        else:
            worker = _Worker(await self._take_fresh())
        worker.owners |= owners
        self._busy[worker.process] = worker
        while self._idle and len(self._idle) + len(self._busy) > self._most:
            self._idle.pop(0).process.discard()
        return worker.process

    def give_back(self, process: Process, *, healthy: bool) -> None:
        """Take a worker back, for the next task of its owner, or to replace it.

        Args:
            process: The worker.
            healthy: It has answered its task, and nothing else.
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
        """Replace the workers that have not got a library that is seldom needed; those at work once they are back.

        Args:
            library: Its name.
        """
        if library in self._fork_server.libraries:
            return
        log.info("a library that is seldom needed is loaded", library=library)
        self._fork_server.libraries.add(library)
        self._fresh.add_done_callback(_discard)
        self._fresh = asyncio.create_task(self._fork())
        for worker in self._idle:
            worker.process.discard()
        self._idle.clear()

    async def close(self) -> None:
        """End all of them."""
        self._fresh.cancel()
        with suppress(asyncio.CancelledError, Gone):
            (await self._fresh).discard()
        for process in self.processes:
            process.discard()
        self._idle.clear()
        await self._fork_server.close()

    def _suitable(self, owners: frozenset[str]) -> _Worker | None:
        """Return an idle worker for a task, the one that was used last if there are several."""
        for worker in reversed(self._idle):
            if worker.process.ended.done() or (owners and not worker.owners <= owners):
                continue
            if worker.process.is_silent:
                return worker
            log.warning("an idle worker spoke without being asked; it was killed")
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
            except asyncio.CancelledError:  # whoever wanted it has gone
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
