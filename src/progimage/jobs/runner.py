"""Run jobs on the event loop of the process that has claimed them.

The outcomes of several jobs are recorded, and new jobs are claimed, in one transaction. If a process dies, another one
runs its jobs again, so jobs must be idempotent.
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
"""Interval of polling the queue."""
_AGAIN_SECONDS = 1.0
_RENEWALS = 5
"""Number of renewals of a lease during its duration."""
_GATHER_SECONDS = 0.02
"""How long outcomes are collected to be recorded together."""
_AHEAD_SECONDS = 0.25
"""A process claims as many jobs ahead as it runs in this time, so that quick jobs are claimed in batches."""
_MOST_AHEAD = 32
_ATTEMPTS = 10
_LONGEST_PAUSE = 300.0
_END_SECONDS = 5.0

Work = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class RetryLater(Exception):
    """A job can't be completed now, and will be retried.

    Args:
        problem: The reason, as a problem document.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail", ""))
        self.problem = problem


class JobFailed(Exception):
    """A job has failed permanently.

    Args:
        problem: The reason, as a problem document.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail", ""))
        self.problem = problem


class JobRunner:
    """Claims jobs and runs them on the event loop of this process.

    Args:
        queue: The queue.
        works: Function for each kind of job. It returns a document, or raises `RetryLater` to be retried.
        at_once: Number of jobs of each kind to run at once; of `ENDLESS` kinds, one among all processes.
        lease_seconds: Duration of a lease.
    """

    def __init__(
        self, queue: JobQueue, works: Mapping[str, Work], at_once: int, lease_seconds: float = LEASE_SECONDS
    ) -> None:
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
        """Start running jobs."""
        self._listening.enter_context(self._queue.wakes.listening(self._woken.set))
        self._turns = asyncio.create_task(self._take_turns())
        self._others = [asyncio.create_task(self._renew_for_ever())]
        url = self._queue.database.url
        if url.startswith("postgresql"):
            self._others.append(asyncio.create_task(listen_to_postgres(url, self._woken.set)))

    async def stop(self) -> None:
        """Stop claiming jobs. Running jobs have a few seconds to finish; the rest are run again by other processes."""
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
            log.warning("failed to give back jobs, their leases have to expire", error=repr(error))

    async def _take_turns(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                wait = await self._take_turn()
            except DatabaseUnavailable as error:
                log.warning("job queue unavailable", error=str(error))
                wait = _AGAIN_SECONDS
            if wait > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), wait)

    async def _take_turn(self) -> float:
        """Record outcomes, claim new jobs, and return in how many seconds to look again."""
        room = {kind: lane.room for kind, lane in self._lanes.items() if lane.room > 0}
        if not self._outcomes:
            # Reading doesn't need SQLite's write lock.
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
            log.warning("job outlived its lease, another process runs it", job=outcome.job.id)
        self._begin()
        # Outcomes that arrive meanwhile are recorded together; and others need the database, too.
        await asyncio.sleep(max(_GATHER_SECONDS, 2 * (time.monotonic() - began)))
        return 0.0

    def _begin(self) -> None:
        """Start claimed jobs, up to the limit of each kind."""
        for lane in self._lanes.values():
            while lane.ahead and len(lane.running) < lane.at_once and not self._stopping:
                job = lane.ahead.popleft()
                held = self._held.get(job.key)
                if held is None or held.surely_until < time.monotonic():
                    self._held.pop(job.key, None)  # this process was frozen, and the lease has expired
                    continue
                if job.attempts > _ATTEMPTS:
                    problem = {"detail": f"The job was started {_ATTEMPTS} times, and its process died each time."}
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
                raise  # the lease was lost
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
            log.warning("job failed", kind=job.kind, job=job.id, error=str(error))
            return Outcome(job, State.FAILED, problem=error.problem)
        except RetryLater as error:
            return _again(job, error.problem)
        except Exception as error:
            log.warning("job failed, retrying", kind=job.kind, job=job.id, error=repr(error))
            return _again(job, {"detail": repr(error)})

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / _RENEWALS)
            try:
                async with self._writing:
                    await self._renew()
            except DatabaseUnavailable as error:
                log.warning("failed to renew leases of jobs", error=str(error))

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
            log.warning("lost the lease of a job, another process runs it", job=held.job.id)
            del self._held[held.job.key]
            if held.task:
                held.task.cancel()


@dataclass(slots=True)
class _Held:
    """A job held by this process, its task, and how long its lease is certain, by the monotonic clock."""

    job: Claimed
    surely_until: float
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Lane:
    """The jobs of one kind: the limit, the running ones, and those claimed ahead."""

    kind: str
    at_once: int
    running: set[asyncio.Task[None]] = field(default_factory=set)
    ahead: deque[Claimed] = field(default_factory=deque)
    mean_seconds: float = 1.0

    @property
    def room(self) -> int:
        """Number of jobs that can be claimed."""
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
    """Return the outcome of a job that this process gives back because it stops."""
    return Outcome(job, State.WAITING, counts=False)
