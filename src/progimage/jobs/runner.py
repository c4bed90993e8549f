"""Doing the jobs, on the event loop of the process that has claimed them.

What came of several jobs is written down, and the next ones are claimed, in one transaction. A job that was under way
when its process died is done again by another, so what it does has to come to the same if it is done twice.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from progimage.jobs.job import ENDLESS, KINDS, State
from progimage.jobs.leases import LEASE_SECONDS, Claimed, Leases, Outcome
from progimage.jobs.queue import JobQueue
from progimage.jobs.wakes import listen_to_postgres
from progimage.storage import DatabaseUnavailable
from progimage.tracing import job_span

log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
"""So often the queue is looked at even if nothing has woken this process."""
_AGAIN_SECONDS = 1.0
_RENEWALS = 5
"""So often a lease is renewed in the time that it lasts."""
_GATHER_SECONDS = 0.02
"""For so long outcomes are gathered, to be written down together."""
_AHEAD_SECONDS = 0.25
"""A process claims as many jobs ahead as it does in this time, so that quick ones are claimed by the dozen."""
_MOST_AHEAD = 32
_ATTEMPTS = 10
_LONGEST_PAUSE = 300.0
_END_SECONDS = 5.0

Work = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Later(Exception):
    """A job can't be done now; it is tried again after a while.

    Args:
        problem: What stands in its way, as a problem document.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        """Keep the document."""
        super().__init__(problem.get("detail", ""))
        self.problem = problem


class JobFailed(Exception):
    """A job can't be done.

    Args:
        problem: Why, as a problem document.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        """Keep the document."""
        super().__init__(problem.get("detail", ""))
        self.problem = problem


class JobRunner:
    """Claims jobs, and does them on the event loop of this process.

    Args:
        queue: The queue.
        works: What each kind of job does. It returns a document; it raises `Later` to be tried again.
        at_once: How many jobs of each kind are done at once; those of the `ENDLESS` one at a time, by all processes.
        lease_seconds: How long a lease lasts.
    """

    def __init__(
        self, queue: JobQueue, works: Mapping[str, Work], at_once: int, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """Prepare; nothing is done yet."""
        self._queue, self._works = queue, works
        self._leases, self._lease_seconds = Leases(queue.database, lease_seconds), lease_seconds
        self._lanes = {kind: _Lane(kind, 1 if kind in ENDLESS else at_once) for kind in KINDS}
        self._held: dict[str, _Held] = {}
        self._outcomes: list[Outcome] = []
        self._woken = asyncio.Event()
        self._writing = asyncio.Lock()
        self._turns: asyncio.Task[None] | None = None
        self._others: list[asyncio.Task[None]] = []
        self._listening = ExitStack()
        self._stopping = False

    async def start(self) -> None:
        """Begin to take jobs."""
        self._listening.enter_context(self._queue.wakes.listening(self._woken.set))
        self._turns = asyncio.create_task(self._take_turns())
        self._others = [asyncio.create_task(self._renew_for_ever())]
        url = self._queue.database.url
        if url.startswith("postgresql"):
            self._others.append(asyncio.create_task(listen_to_postgres(url, self._woken.set)))

    async def stop(self) -> None:
        """Take no more; what is under way has a few seconds to end, and what does not is done again by others."""
        self._stopping = True
        self._listening.close()
        self._woken.set()
        running = [task for lane in self._lanes.values() for task in lane.running]
        ending = [task for lane in self._lanes.values() if lane.kind not in ENDLESS for task in lane.running]
        if ending:
            await asyncio.wait(ending, timeout=_END_SECONDS)
        for task in [*running, *self._others]:
            task.cancel()
        await asyncio.gather(*running, *self._others, return_exceptions=True)
        try:
            if self._turns:
                await asyncio.wait_for(self._turns, _END_SECONDS)
            for lane in self._lanes.values():
                self._outcomes += [_given_back(job) for job in lane.ahead]
            if self._outcomes:
                await asyncio.wait_for(asyncio.to_thread(self._leases.settle, self._outcomes, {}), _END_SECONDS)
                self._queue.wakes.wake()
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("jobs can't be given back; others do them when their leases have ended", error=repr(error))

    async def _take_turns(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                wait = await self._take_turn()
            except DatabaseUnavailable as error:
                log.warning("the queue of jobs can't be used", error=str(error))
                wait = _AGAIN_SECONDS
            if wait > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), wait)

    async def _take_turn(self) -> float:
        """Write down what came of jobs, claim new ones, and return in how many seconds to look again."""
        room = {kind: lane.room for kind, lane in self._lanes.items() if lane.room > 0}
        if not self._outcomes:
            # Looking does not need the one lock that SQLite has for writing.
            due = await asyncio.to_thread(self._leases.due_in, room)
            room = {kind: room[kind] for kind, seconds in due.items() if seconds <= 0}
            if not room or self._stopping:
                return min([LOOK_SECONDS, *due.values()])
        began = time.monotonic()
        async with self._writing:
            outcomes = list(self._outcomes)
            claimed, late = await asyncio.to_thread(self._leases.settle, outcomes, room)
            del self._outcomes[: len(outcomes)]
            for outcome in outcomes:
                self._held.pop(outcome.job.key, None)
            for job in claimed:
                self._held[job.key] = _Held(job, began + self._lease_seconds)
                self._lanes[job.kind].ahead.append(job)
        for outcome in late:
            log.warning("a job took longer than its lease, so another process does it", job=outcome.job.id)
        self._begin()
        # What comes meanwhile is written together; and others need the database, too.
        await asyncio.sleep(max(_GATHER_SECONDS, 2 * (time.monotonic() - began)))
        return 0.0

    def _begin(self) -> None:
        """Begin what was claimed ahead, as far as may run at once."""
        for lane in self._lanes.values():
            while lane.ahead and len(lane.running) < lane.at_once and not self._stopping:
                job = lane.ahead.popleft()
                held = self._held.get(job.key)
                if held is None or held.surely_until < time.monotonic():
                    self._held.pop(job.key, None)  # this process was frozen, and the lease has ended
                    continue
                if job.attempts > _ATTEMPTS:
                    problem = {"detail": f"It was begun {_ATTEMPTS} times, and its process died each time."}
                    self._outcomes.append(Outcome(job, State.FAILED, problem=problem))
                    self._woken.set()
                    continue
                held.task = asyncio.create_task(self._do(job, lane))
                lane.running.add(held.task)

    async def _do(self, job: Claimed, lane: "_Lane") -> None:
        began = time.monotonic()
        task = asyncio.current_task()
        assert task is not None
        try:
            self._outcomes.append(await self._attempt(job))
        except asyncio.CancelledError:
            if not self._stopping:
                raise  # its lease is lost
            self._outcomes.append(_given_back(job))
        finally:
            lane.running.discard(task)
            lane.mean_seconds += (time.monotonic() - began - lane.mean_seconds) / 4
            self._begin()
            self._woken.set()

    async def _attempt(self, job: Claimed) -> Outcome:
        try:
            with job_span(f"job {job.kind}", job.trace):
                return Outcome(job, State.DONE, result=await self._works[job.kind](job.arguments))
        except JobFailed as error:
            log.warning("a job failed", kind=job.kind, job=job.id, error=str(error))
            return Outcome(job, State.FAILED, problem=error.problem)
        except Later as error:
            return _again(job, error.problem)
        except Exception as error:
            log.warning("a job failed; it is tried again", kind=job.kind, job=job.id, error=repr(error))
            return _again(job, {"detail": repr(error)})

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / _RENEWALS)
            try:
                async with self._writing:
                    await self._renew()
            except DatabaseUnavailable as error:
                log.warning("the leases of jobs can't be renewed", error=str(error))

    async def _renew(self) -> None:
        now = time.monotonic()
        young = now + self._lease_seconds * (1 - 1 / _RENEWALS)
        old = [held for held in self._held.values() if held.surely_until < young]
        if not old:
            return
        lost = {job.key for job in await asyncio.to_thread(self._leases.renew, [held.job for held in old])}
        for held in old:
            if held.job.key not in lost:
                held.surely_until = now + self._lease_seconds
                continue
            log.warning("the lease of a job was lost, so another process does it", job=held.job.id)
            del self._held[held.job.key]
            if held.task:
                held.task.cancel()


@dataclass(slots=True)
class _Held:
    """A job of this process, with the task that does it, and until when by the monotonic clock its lease is sure."""

    job: Claimed
    surely_until: float
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Lane:
    """The jobs of one kind: how many are done at once, which are, and which are claimed to be done next."""

    kind: str
    at_once: int
    running: set[asyncio.Task[None]] = field(default_factory=set)
    ahead: deque[Claimed] = field(default_factory=deque)
    mean_seconds: float = 1.0

    @property
    def room(self) -> int:
        """For how many more jobs there is room."""
        ahead = 0
        if self.kind not in ENDLESS:
            ahead = min(_MOST_AHEAD, int(self.at_once * _AHEAD_SECONDS / max(self.mean_seconds, 0.001)))
        return self.at_once + ahead - len(self.running) - len(self.ahead)


def _again(job: Claimed, problem: dict[str, Any]) -> Outcome:
    if job.attempts >= _ATTEMPTS:
        return Outcome(job, State.FAILED, problem=problem)
    pause = min(2.0**job.attempts, _LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311
    return Outcome(job, State.WAITING, problem=problem, pause=pause)


def _given_back(job: Claimed) -> Outcome:
    """Return the outcome of a job that this process has not done, since it ends."""
    return Outcome(job, State.WAITING, counts=False)
