"""The pool of workers: bounded queue, bounded time, and a pool that heals when a worker dies.

Of two workers or more, one is kept for light tasks: a heavy task takes seconds, and those that take milliseconds would
wait for it. Heavy ones may also take no more than half of the queue.
"""

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import pebble
import structlog

from progimage.tracing import past_span, span
from progimage.workers.sandbox import Sandbox
from progimage.workers.tasks import run_task, start_worker

_T = TypeVar("_T")
log = structlog.get_logger(__name__)

# A worker is replaced after so many tasks, which bounds what a leak in a codec can cost.
_TASKS_BEFORE_REPLACEMENT = 1000
# How often a task is begun anew because all processes had to be.
_FRESH_STARTS = 3
# How often a task that is waited for looks whether the pool still works.
_LOOK_SECONDS = 1.0
# How a process ends when the code in it is at fault, rather than somebody who killed it.
_CRASHES = {
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSYS,
    signal.SIGTRAP,
}


class Busy(Exception):
    """The queue is full; nothing was begun.

    Args:
        retry_after: After how many seconds it makes sense to try again.
    """

    def __init__(self, retry_after: int) -> None:
        """Keep the number of seconds."""
        super().__init__(f"All workers are busy and the queue is full; try again in {retry_after} s.")
        self.retry_after = retry_after


class TaskTooLong(Exception):
    """The task was stopped at its time limit."""


class WorkerCrashed(Exception):
    """The worker died of the task: a codec crashed."""


class WorkerKilled(Exception):
    """Somebody or the kernel killed the worker, which says nothing about the task."""


class WorkerPool:
    """Runs functions in isolated worker processes.

    Args:
        workers: How many processes.
        queue: How many tasks may wait for one; more are refused.
        task_seconds: After how many seconds a running task is stopped.
        sandbox: What the processes may do.
        observe: Is told how many tasks are running or waiting, whenever that changes.
        mourn: Is told when a worker dies, and of what: of a task's `time`, `crash` or `kill`, or `idle`.
    """

    def __init__(
        self,
        workers: int,
        queue: int,
        task_seconds: float,
        sandbox: Sandbox,
        observe: Callable[[int], None] = lambda pending: None,
        mourn: Callable[[str], None] = lambda cause: None,
    ) -> None:
        """Start the processes' fork server; the processes start with the first task."""
        self.workers = workers
        self.queue = queue
        self.task_seconds = task_seconds
        self._pending = self._heavy = 0
        self._heavy_workers = max(1, workers - 1)
        self._heavy_turn = asyncio.Semaphore(self._heavy_workers)
        self._observe, self._mourn = observe, mourn
        self._sandbox = sandbox
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["progimage.workers.tasks"])
        self._pool = self._new_pool()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """How many tasks are running or waiting."""
        return self._pending

    async def run(self, function: Callable[..., _T], *args: Any, heavy: bool = False) -> _T:
        """Run a function in a worker and return its result. Cancelling this stops the worker.

        Args:
            function: A function at the top level of a module.
            args: Its arguments; they, the result and any exception must be picklable.
            heavy: It will take a worker for long.

        Raises:
            Busy: The queue is full.
            TaskTooLong: It took longer than `task_seconds`.
            WorkerCrashed: It crashed the worker.
            WorkerKilled: The worker was killed from outside.
            MemoryError: It needed more memory than a worker may have.
            Exception: Whatever the function raises.
        """
        heavy_room = self._heavy_workers + self.queue // 2
        if self._pending >= self.workers + self.queue or (heavy and self._heavy >= heavy_room):
            raise Busy(retry_after=max(1, round(self.queue / self.workers / 10)))
        self._count(1, heavy)
        came = time.time()
        try:
            with span("worker.task", function=function.__name__, heavy=heavy):
                async with self._heavy_turn if heavy else contextlib.nullcontext():
                    result, began, ended = await self._run(function, args)
                past_span("worker.queue", came, began)
                past_span("worker.run", began, ended)
        except concurrent.futures.TimeoutError:
            self._mourn("time")
            raise TaskTooLong(f"It took longer than {self.task_seconds:g} seconds.") from None
        except pebble.ProcessExpired as death:
            number = -(death.exitcode or 0)
            self._mourn("time" if number == signal.SIGXCPU else "crash" if number in _CRASHES else "kill")
            if number == signal.SIGXCPU:
                raise TaskTooLong("It used up its CPU time.") from death
            if number in _CRASHES:
                raise WorkerCrashed(f"The codec crashed ({signal.Signals(number).name}).") from death
            raise WorkerKilled(f"The worker ended with exit code {death.exitcode}.") from death
        finally:
            self._count(-1, heavy)
        return result

    async def _run(self, function: Callable[..., _T], args: tuple[Any, ...]) -> tuple[_T, float, float]:
        for _ in range(_FRESH_STARTS):
            pool = self._pool
            if not pool.active:  # it is broken, too: a task found it so, or none was there to
                self._replace(pool)
                continue
            try:
                future = self._scheduled(pool, function, args)
                result: tuple[_T, float, float] = await self._result(pool, asyncio.wrap_future(future))
                return result
            except BrokenProcessPool:
                self._replace(pool)
        raise WorkerKilled("The workers ended again and again.")

    def _scheduled(self, pool: pebble.ProcessPool, function: Callable[..., _T], args: tuple[Any, ...]) -> Any:
        try:
            return pool.schedule(run_task, args=(function, *args), timeout=self.task_seconds)
        except RuntimeError as error:  # so pebble says that the pool broke a moment ago
            raise BrokenProcessPool from error

    async def _result(self, pool: pebble.ProcessPool, waiting: asyncio.Future[Any]) -> Any:
        """Wait for a task's result; one that came just when the pool broke would be waited for in vain."""
        try:
            while not waiting.done():
                await asyncio.wait((waiting,), timeout=_LOOK_SECONDS)
                if not waiting.done() and not pool.active:
                    raise BrokenProcessPool
            return waiting.result()
        finally:
            waiting.cancel()

    def _replace(self, broken: pebble.ProcessPool) -> None:
        """Begin with new processes, since pebble gives a pool up when an idle one of them was killed."""
        if self._pool is not broken:
            return  # another task was faster
        log.warning("an idle worker was killed; all are started anew")
        self._mourn("idle")
        self._pool = self._new_pool()
        ending = asyncio.create_task(asyncio.to_thread(_end, broken))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _new_pool(self) -> pebble.ProcessPool:
        return pebble.ProcessPool(
            max_workers=self.workers,
            max_tasks=_TASKS_BEFORE_REPLACEMENT,
            initializer=start_worker,
            initargs=(self._sandbox,),
            context=self._context,
        )

    def _count(self, change: int, heavy: bool) -> None:
        self._pending += change
        if heavy:
            self._heavy += change
        self._observe(self._pending)

    async def warm_up(self) -> None:
        """Wait until a worker answers."""
        await self.run(_nothing)

    def close(self) -> None:
        """Let running tasks end, and end the processes. It blocks."""
        self._pool.close()  # type: ignore[no-untyped-call]
        try:
            self._pool.join(timeout=self.task_seconds)
        except concurrent.futures.TimeoutError:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()


def _end(pool: pebble.ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _nothing() -> None:
    """Do nothing: a task to see a worker answer with."""
