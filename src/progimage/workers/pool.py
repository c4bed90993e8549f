"""The pool of workers: whose turn it is, which process does it, in what time, and what becomes of the process after.

A worker that has seen the bytes of one owner never sees those of another: it is replaced, since whoever took it over
could keep the former in mind and paint them into the latter's pictures. A fresh one is kept ready for that.
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
from progimage.workers.protocol import BadAnswer, Began, Unexpected, decode_answer
from progimage.workers.sandbox import Sandbox
from progimage.workers.staff import Staff
from progimage.workers.tasks import Nothing, Task
from progimage.workers.turns import Turns

log = structlog.get_logger(__name__)

_FRESH_STARTS = 5
"""How often a task is given to another worker because the one that it was meant for was killed before."""
_LOOK_SECONDS = 0.1
"""How often a task is looked at that has a budget of CPU time."""
_SELDOM_SECONDS = 0.5
"""How often any other is."""
_MOST_THREADS = 64
"""A worker with more threads is killed. Nothing else bounds them: the kernel's limit is a user's, and not root's."""
_END_SECONDS = 5
_CRASHES = {
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP,
}  # fmt: skip
"""How a process ends when the code in it is at fault, rather than somebody who killed it."""


class TaskTooLong(Exception):
    """The task was stopped at its time limit."""


class CpuBudgetExceeded(Exception):
    """The task was stopped because it used more CPU time than it was given.

    Args:
        seconds: How much it was given.
    """

    def __init__(self, seconds: float) -> None:
        """Keep the number of seconds."""
        super().__init__(f"It took more than {seconds:g} seconds of CPU time.")
        self.seconds = seconds


class WorkerCrashed(Exception):
    """The worker died of the task, or failed at it in a way that no image should make it fail: a codec crashed."""


class WorkerKilled(Exception):
    """Somebody or the kernel killed the worker, which says nothing about the task."""


@dataclass(frozen=True, slots=True)
class For:
    """For whom a task is.

    Attributes:
        client: Whose turn it takes: a key, or else an address.
        owners: Whose bytes the worker gets to see. Without any, it sees nobody's.
    """

    client: str
    owners: frozenset[str] = frozenset()


NOBODY = For("")
"""A task of the service itself, without an image."""


class WorkerPool:
    """Runs tasks in isolated worker processes.

    Args:
        workers: How many tasks run at once.
        queue: How many tasks may wait; more are refused.
        task_seconds: After how many seconds a running task is stopped.
        sandbox: What the processes may do.
        tasks: The name of the module whose `TASKS` they can do.
        observe: Is told how many tasks are running or waiting, whenever that changes.
        died: Is told when a worker dies, and of what: of a task's `time`, `cpu`, `crash`, `lie` or `kill`, or `idle`.
        spent: Is told how many seconds of CPU time a task of a client has used.
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
        spent: Callable[[str, float], None] = lambda client, seconds: None,
    ) -> None:
        """Prepare it; `start` starts the processes."""
        self.workers, self.task_seconds = workers, task_seconds
        self._turns = Turns(workers, queue, observe)
        self._sandbox, self._tasks = sandbox, tasks
        self._died, self._spent = died, spent
        self._staff: Staff
        self._running: set[asyncio.Future[None]] = set()

    def start(self) -> None:
        """Start the fork server. It takes a second until there is a worker; see `warm_up`."""
        fork_server = ForkServer(self._sandbox, self._tasks)
        self._staff = Staff(fork_server, self.workers, self._sandbox.cpu_seconds, self._died)

    async def close(self) -> None:
        """Let running tasks end, and end the processes."""
        if self._running:
            await asyncio.wait(self._running, timeout=self.task_seconds)
        await self._staff.close()

    @property
    def pending(self) -> int:
        """How many tasks are running or waiting."""
        return self._turns.pending

    async def warm_up(self) -> None:
        """Wait until a worker answers."""
        await self.run(Nothing(), NOBODY)

    async def run(
        self,
        task: Task,
        whom: For,
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
            whom: For whom it is.
            inputs: The files that it reads.
            outputs: The files that it writes. They are there at the end, and the worker can't change them any more.
            cost: What it is reckoned to take, in CPU seconds.
            heavy: It will take a worker for long.
            cpu_seconds: After how many CPU seconds it is stopped; None: `task_seconds` is all.

        Raises:
            Busy: The queue is full.
            TaskTooLong: It took longer than `task_seconds`.
            CpuBudgetExceeded: It took more than `cpu_seconds`.
            WorkerCrashed: It crashed the worker.
            WorkerKilled: The worker was killed from outside.
            MemoryError: It needed more memory than a worker may have.
            EngineError: See the engine's function.
        """
        came = time.time()
        with span("worker.task", task=type(task).__name__, heavy=heavy):
            turn = await self._turns.take(whom.client, cost, heavy=heavy)
            began, attempt = time.time(), _Attempt(task, inputs, outputs, self.task_seconds, cpu_seconds)
            running = asyncio.get_running_loop().create_future()
            self._running.add(running)
            try:
                result = await self._run(attempt, whom.owners)
            finally:
                self._turns.give_back(turn, attempt.spent)
                self._spent(whom.client, attempt.spent)
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
                log.warning("a worker ended before it had its task; another one gets it")
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
                log.error("a task failed as none should", task=type(attempt.task).__name__, trace=outcome.trace)
                raise WorkerCrashed(f"The codec failed ({outcome.kind}).")
            if isinstance(outcome, Exception):
                raise outcome
            for path in attempt.outputs:
                await own_copy(path)
            return outcome
        raise WorkerKilled("The workers ended again and again.")


class _NeverBegan(Exception):
    """The worker was gone before it had the task.

    Args:
        cause: Of what; see `WorkerPool`.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Died(Exception):
    """The worker has died of the task, or had to.

    Args:
        cause: Of what; see `WorkerPool`.
        error: What is raised for it.
    """

    def __init__(self, cause: str, error: Exception) -> None:
        super().__init__(cause)
        self.cause, self.error = cause, error


class _Attempt:
    """A task that one process after the other may be given, until one of them has it.

    Attributes:
        spent: How many seconds of CPU time it has used.
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
        """Have a process do it.

        Returns:
            Its result, or the error that it raised.
        """
        before = process.cpu_seconds
        began = False
        try:
            with ExitStack() as files:
                # Opened anew for each process: whoever shares a descriptor's position can move it.
                inputs = [await readable(path, files) for path in self._inputs]
                outputs = [writable(path, files) for path in self.outputs]
                process.tell(msgspec.msgpack.encode(self.task), inputs, outputs)
            began = isinstance(await self._message(process, before, None), Began)
            if not began:
                raise BadAnswer("a result before it had begun")
            outcome = await self._message(process, before, self.task)
            if not process.is_silent:
                raise BadAnswer("more than one result")
        except Gone:
            death = await process.death(_END_SECONDS)
            if not began and -death in (0, signal.SIGKILL, signal.SIGTERM):
                raise _NeverBegan("idle") from None
            raise _death(death) from None
        except BadAnswer as lie:
            log.warning("a worker gave an answer that none gives; it was killed", answer=str(lie))
            if not began:  # what it says is of the task before
                raise _NeverBegan("lie") from None
            raise _Died("lie", WorkerCrashed("The codec answered nonsense.")) from None
        finally:
            self.spent += max(0.0, process.cpu_seconds - before)
        return outcome

    async def _message(self, process: Process, before: float, task: Task | None) -> Any:
        """Wait for the next message, within the task's time."""
        end = time.monotonic() + self._task_seconds
        waiting = asyncio.ensure_future(process.answer())
        try:
            while not waiting.done():
                pause = _SELDOM_SECONDS if self._cpu_seconds is None else _LOOK_SECONDS
                await asyncio.wait((waiting,), timeout=min(pause, max(0.0, end - time.monotonic())))
                if process.threads > _MOST_THREADS:
                    raise _Died("lie", WorkerCrashed("The codec started too many threads."))
                if waiting.done():
                    break
                if time.monotonic() >= end and task is None:  # it is stopped, and has not seen the task
                    raise _NeverBegan("time")
                if time.monotonic() >= end:
                    raise _Died("time", TaskTooLong(f"It took longer than {self._task_seconds:g} seconds."))
                if self._cpu_seconds is not None and process.cpu_seconds - before > self._cpu_seconds:
                    raise _Died("cpu", CpuBudgetExceeded(self._cpu_seconds))
            data = waiting.result()
        finally:
            waiting.cancel()
        try:
            said = decode_answer(data, task.result if task else None)
            if task:
                if isinstance(said, Began):
                    raise BadAnswer("it began twice")
                task.check(said)
        except (EngineError, MemoryError, OSError, Unexpected) as error:
            return error
        return said


def _death(code: int) -> _Died:
    """Return what it means that a worker has ended."""
    number = -code
    if number == signal.SIGXCPU:
        return _Died("time", TaskTooLong("It used up its CPU time."))
    if number in _CRASHES:
        return _Died("crash", WorkerCrashed(f"The codec crashed ({signal.Signals(number).name})."))
    return _Died("kill", WorkerKilled(f"The worker ended with exit code {code}."))
