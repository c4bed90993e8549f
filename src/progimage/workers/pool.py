"""The worker pool: schedules tasks, runs them in worker processes, and enforces their limits.

A worker that has processed one owner's data never gets another owner's: an attacker who took it over could remember the
former and paint it into the latter's images. Such a worker is replaced, and a fresh one is kept ready for that.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from progimage.engine import EngineError, LibraryNotLoaded
from progimage.tracing import past_span, span
from progimage.workers.files import own_copy, readable, writable
from progimage.workers.processes import ForkServer, Gone, Process
from progimage.workers.protocol import BadResult, Began, Unexpected, decode_result
from progimage.workers.sandbox import Sandbox
from progimage.workers.staff import Staff
from progimage.workers.tasks import Nothing, Task
from progimage.workers.turns import Turns

log = structlog.get_logger(__name__)

_FRESH_STARTS = 5
"""Maximum number of workers to try if workers die before they receive the task."""
_LOOK_SECONDS = 0.1
"""Interval between checks of a task with a budget of CPU time."""
_SELDOM_SECONDS = 0.5
"""Interval between checks of other tasks."""
_MOST_THREADS = 64
"""Maximum number of threads of a worker; with more, it is killed. The kernel's limit is per user and not for root."""
_END_SECONDS = 5
_CRASHES = {
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP,
}  # fmt: skip
"""Signals that mean that the code in the process crashed, rather than that it was killed from outside."""


class TaskTooLong(Exception):
    """The task exceeded its time limit and was stopped."""


class CpuBudgetExceeded(Exception):
    """The task exceeded its budget of CPU time and was stopped.

    Args:
        seconds: The budget in seconds.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The task took more than {seconds:g} seconds of CPU time.")
        self.seconds = seconds


class WorkerCrashed(Exception):
    """A codec crashed: the worker died of the task, or raised an exception that no image should cause."""


class WorkerKilled(Exception):
    """The worker was killed by an operator or by the kernel, for reasons unrelated to the task."""


@dataclass(frozen=True, slots=True)
class Requester:
    """The caller that a task is run for.

    Attributes:
        caller: API key or network address, for fair scheduling.
        owners: Owners of the data that the task processes; empty if it processes nobody's data.
    """

    caller: str
    owners: frozenset[str] = frozenset()


NOBODY = Requester("")
"""The requester of the service's own tasks, which involve no image."""


class WorkerPool:
    """Runs tasks in isolated worker processes.

    Args:
        workers: Maximum number of concurrent tasks.
        queue: Maximum number of waiting tasks; more are rejected.
        task_seconds: Time limit of a task in seconds.
        sandbox: The limits of the worker processes.
        tasks: Name of the module whose `TASKS` the workers can run.
        observe: Called with the number of running and waiting tasks whenever it changes.
        died: Called with the cause when a worker dies: `time`, `cpu`, `crash`, `lie` or `kill` during a task, or
            `idle`.
        spent: Called with the caller and the CPU time in seconds that a task has used.
    """

    def __init__(
        self,
        workers: int,
        queue: int,
        task_seconds: float,
        sandbox: Sandbox,
        tasks: str = "progimage.workers.tasks",
        observe: Callable[[int], None] = lambda pending: None,
        died: Callable[[str], None] = lambda cause: None,
        spent: Callable[[str, float], None] = lambda caller, seconds: None,
    ) -> None:
        self.workers, self.task_seconds = workers, task_seconds
        self._turns = Turns(workers, queue, observe)
        self._sandbox, self._tasks = sandbox, tasks
        self._died, self._spent = died, spent
        self._staff: Staff
        self._running: set[asyncio.Future[None]] = set()

    def start(self) -> None:
        """Start the fork server. The first worker is ready after about a second; see `warm_up`."""
        fork_server = ForkServer(self._sandbox, self._tasks)
        self._staff = Staff(fork_server, self.workers, self._sandbox.cpu_seconds, self._died)

    async def close(self) -> None:
        """Wait for running tasks, then end the processes."""
        if self._running:
            await asyncio.wait(self._running, timeout=self.task_seconds)
        await self._staff.close()

    @property
    def pending(self) -> int:
        """Number of running and waiting tasks."""
        return self._turns.pending

    async def warm_up(self) -> None:
        """Wait until a worker responds."""
        await self.run(Nothing(), NOBODY)

    async def run(
        self,
        task: Task,
        whom: Requester,
        inputs: Sequence[Path] = (),
        outputs: Sequence[Path] = (),
        *,
        cost: float = 0.05,
        heavy: bool = False,
        cpu_seconds: float | None = None,
    ) -> Any:
        """Run a task in a worker and return its result. Cancelling this stops the worker.

        Args:
            task: The task.
            whom: The caller that the task is run for.
            inputs: The files that the task reads.
            outputs: The files that the task writes. Afterwards they exist, and the worker can't change them any more.
            cost: Estimated CPU time in seconds.
            heavy: Whether the task will occupy a worker for long.
            cpu_seconds: Budget of CPU time in seconds; None means that only `task_seconds` applies.

        Raises:
            Busy: The queue is full.
            TaskTooLong: The task took longer than `task_seconds`.
            CpuBudgetExceeded: The task used more than `cpu_seconds`.
            WorkerCrashed: The task crashed the worker.
            WorkerKilled: The worker was killed from outside.
            MemoryError: The task needed more memory than a worker is allowed.
            EngineError: See the engine's function.
        """
        came = time.time()
        with span("worker.task", task=type(task).__name__, heavy=heavy):
            turn = await self._turns.take(whom.caller, cost, heavy=heavy)
            began, attempt = time.time(), _Attempt(task, inputs, outputs, self.task_seconds, cpu_seconds)
            running = asyncio.get_running_loop().create_future()
            self._running.add(running)
            try:
                result = await self._run(attempt, whom.owners)
            finally:
                self._turns.give_back(turn, attempt.spent)
                self._spent(whom.caller, attempt.spent)
                self._running.discard(running)
                running.set_result(None)
            past_span("worker.queue", came, began)
            past_span("worker.run", began, time.time())
        return result

    async def _run(self, attempt: "_Attempt", owners: frozenset[str]) -> Any:
        for _ in range(_FRESH_STARTS):
            try:
                process = await self._staff.take(owners)
            except Gone:
                continue
            healthy = False
            try:
                outcome = await attempt.made_by(process)
                healthy = not isinstance(outcome, LibraryNotLoaded)
            except _NeverBegan as death:
                log.warning("a worker ended before it received its task; another one gets the task")
                self._died(death.cause)
                continue
            except _Died as death:
                self._died(death.cause)
                raise death.error from None
            finally:
                self._staff.give_back(process, healthy=healthy)
            if isinstance(outcome, LibraryNotLoaded):
                self._staff.need(outcome.library)
                continue
            if isinstance(outcome, Unexpected):
                log.error("a task failed unexpectedly", task=type(attempt.task).__name__, trace=outcome.trace)
                raise WorkerCrashed(f"The codec failed ({outcome.kind}).")
            if isinstance(outcome, Exception):
                raise outcome
            for path in attempt.outputs:
                await own_copy(path)
            return outcome
        raise WorkerKilled("The workers ended repeatedly.")


class _NeverBegan(Exception):
    """The worker died before it received the task.

    Args:
        cause: The cause; see `WorkerPool`.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Died(Exception):
    """The worker died of the task, or has to be killed.

    Args:
        cause: The cause; see `WorkerPool`.
        error: The error to raise.
    """

    def __init__(self, cause: str, error: Exception) -> None:
        super().__init__(cause)
        self.cause, self.error = cause, error


class _Attempt:
    """A task that is given to one process after the other until one of them receives it.

    Attributes:
        spent: CPU time used so far, in seconds.
    """

    def __init__(
        self,
        task: Task,
        inputs: Sequence[Path],
        outputs: Sequence[Path],
        task_seconds: float,
        cpu_seconds: float | None,
    ) -> None:
        self.task, self.outputs, self.spent = task, outputs, 0.0
        self._inputs = inputs
        self._task_seconds, self._cpu_seconds = task_seconds, cpu_seconds

    async def made_by(self, process: Process) -> Any:
        """Run the task in a process.

        Returns:
            The result of the task, or the error that it raised.
        """
        before = process.cpu_seconds
        began = False
        try:
            with ExitStack() as files:
                # Opened separately for each process, since processes with the same descriptor share its position.
                inputs = [await readable(path, files) for path in self._inputs]
                outputs = [writable(path, files) for path in self.outputs]
                process.tell(msgspec.msgpack.encode(self.task), inputs, outputs)
            began = isinstance(await self._message(process, before, None), Began)
            if not began:
                raise BadResult("a result before it had begun")
            outcome = await self._message(process, before, self.task)
            if not process.is_silent:
                raise BadResult("more than one result")
        except Gone:
            death = await process.death(_END_SECONDS)
            if not began and -death in (0, signal.SIGKILL, signal.SIGTERM):
                raise _NeverBegan("idle") from None
            raise _death(death) from None
        except BadResult as lie:
            log.warning("a worker returned an invalid result and was killed", result=str(lie))
            if not began:  # the message belongs to the previous task
                raise _NeverBegan("lie") from None
            raise _Died("lie", WorkerCrashed("The codec returned an invalid result.")) from None
        finally:
            self.spent += max(0.0, process.cpu_seconds - before)
        return outcome

    async def _message(self, process: Process, before: float, task: Task | None) -> Any:
        """Wait for the next message within the task's limits."""
        end = time.monotonic() + self._task_seconds
        waiting = asyncio.ensure_future(process.result())
        try:
            while not waiting.done():
                pause = _SELDOM_SECONDS if self._cpu_seconds is None else _LOOK_SECONDS
                await asyncio.wait((waiting,), timeout=min(pause, max(0.0, end - time.monotonic())))
                if process.threads > _MOST_THREADS:
                    raise _Died("lie", WorkerCrashed("The codec started too many threads."))
                if waiting.done():
                    break
                if time.monotonic() >= end and task is None:  # the process is stopped and hasn't received the task
                    raise _NeverBegan("time")
                if time.monotonic() >= end:
                    raise _Died("time", TaskTooLong(f"The task took longer than {self._task_seconds:g} seconds."))
                if self._cpu_seconds is not None and process.cpu_seconds - before > self._cpu_seconds:
                    raise _Died("cpu", CpuBudgetExceeded(self._cpu_seconds))
            data = waiting.result()
        finally:
            waiting.cancel()
        try:
            said = decode_result(data, task.result if task else None)
            if task:
                if isinstance(said, Began):
                    raise BadResult("it began twice")
                task.check(said)
        except (EngineError, MemoryError, OSError, Unexpected) as error:
            return error
        return said


def _death(code: int) -> _Died:
    """Return the cause of a worker's death and the error to raise for it."""
    number = -code
    if number == signal.SIGXCPU:
        return _Died("time", TaskTooLong("The task used up its CPU time."))
    if number in _CRASHES:
        return _Died("crash", WorkerCrashed(f"The codec crashed ({signal.Signals(number).name})."))
    return _Died("kill", WorkerKilled(f"The worker ended with exit code {code}."))
