"""Fair scheduling of the tasks that wait for a worker.

Scheduling is fair by CPU time: the next task is one of the caller that has used the least lately. So a caller who
floods the service delays only itself. When the queue is full, tasks of the caller that fills it are rejected.

If there are two workers or more, one is reserved for light tasks, so that tasks of milliseconds don't wait for heavy
tasks of seconds. Heavy tasks can also take at most half of the queue.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_HALF_LIFE = 60.0
"""Half-life in seconds of the recorded usage of a caller."""
_FORGOTTEN = 0.001
"""Usage in CPU seconds up to which a caller can be forgotten."""
_FIRST_SWEEP = 10_000
"""Number of callers from which those with negligible usage are forgotten from time to time."""


class Busy(Exception):
    """The queue is full; the task wasn't started.

    Args:
        retry_after: Seconds after which it makes sense to try again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"All workers are busy and the queue is full; try again in {retry_after} s.")
        self.retry_after = retry_after


@dataclass(eq=False, slots=True)
class Turn:
    """A task's place in the queue, and then its right to a worker.

    Attributes:
        caller: The caller of the task.
        heavy: Whether the task will occupy a worker for long.
        cost: Estimated CPU time in seconds.
        granted: Done when the task gets its turn.
    """

    caller: str
    heavy: bool
    cost: float
    granted: "asyncio.Future[None]"


class Usage:
    """The recent CPU time of callers, which decays exponentially.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: dict[str, tuple[float, float]] = {}  # caller -> CPU seconds, and the time of that value
        self._swept_at = _FIRST_SWEEP

    def of(self, caller: str) -> float:
        """Return the recent usage of a caller in CPU seconds."""
        used, at = self._used.get(caller, (0.0, 0.0))
        return used * math.exp2((at - self._clock()) / _HALF_LIFE)

    def add(self, caller: str, seconds: float) -> None:
        """Add CPU seconds to the usage of a caller; negative values reduce it, but not below 0."""
        self._used[caller] = max(0.0, self.of(caller) + seconds), self._clock()
        if len(self._used) > self._swept_at:
            self._used = {name: used for name, used in self._used.items() if self.of(name) > _FORGOTTEN}
            self._swept_at = max(_FIRST_SWEEP, 2 * len(self._used))


class Turns:
    """Grants tasks the right to use a worker.

    Args:
        workers: Maximum number of concurrent tasks.
        queue: Maximum number of waiting tasks.
        observe: Called with the number of running and waiting tasks whenever it changes.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        workers: int,
        queue: int,
        observe: Callable[[int], None] = lambda pending: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers, self._queue = workers, queue
        self._heavy_workers = max(1, workers - 1)
        self._observe, self._usage = observe, Usage(clock)
        self._waiting: dict[bool, dict[str, deque[Turn]]] = {False: {}, True: {}}
        self._count = {False: 0, True: 0}  # number of waiting tasks
        self._running = {False: 0, True: 0}

    @property
    def pending(self) -> int:
        """Number of running and waiting tasks."""
        return sum(self._running.values()) + sum(self._count.values())

    async def take(self, caller: str, cost: float, *, heavy: bool) -> Turn:
        """Wait for a turn. Every turn has to be given back.

        Args:
            caller: The caller of the task.
            cost: Estimated CPU time in seconds.
            heavy: Whether the task will occupy a worker for long.

        Raises:
            Busy: The queue is full and this caller has the most tasks in it, now or while the task waited.
        """
        turn = Turn(caller, heavy, cost, asyncio.get_running_loop().create_future())
        if not self._can_run(heavy):
            self._make_room(turn)
        self._waiting[heavy].setdefault(caller, deque()).append(turn)
        self._count[heavy] += 1
        self._grant()
        self._observe(self.pending)
        try:
            await turn.granted
        except BaseException:
            if turn.granted.cancelled() or turn.granted.exception():
                self._withdraw(turn)
            else:
                self.give_back(turn, 0)  # the turn was granted just when the task was cancelled
            raise
        return turn

    def give_back(self, turn: Turn, spent: float) -> None:
        """End a turn.

        Args:
            turn: The turn.
            spent: CPU time in seconds that the task has used.
        """
        self._running[turn.heavy] -= 1
        self._usage.add(turn.caller, spent - turn.cost)
        self._grant()
        self._observe(self.pending)

    def _can_run(self, heavy: bool) -> bool:
        if sum(self._running.values()) >= self._workers:
            return False
        return not heavy or self._running[True] < self._heavy_workers

    def _grant(self) -> None:
        """Grant turns to waiting tasks as long as workers are available."""
        while True:
            candidates = [
                (self._usage.of(caller), heavy, caller)
                for heavy, callers in self._waiting.items()
                if self._can_run(heavy)
                for caller in callers
            ]
            if not candidates:
                return
            _, heavy, caller = min(candidates, key=lambda candidate: candidate[:2])
            turn = self._waiting[heavy][caller][0]
            self._withdraw(turn)
            if not turn.granted.done():  # otherwise its task was cancelled just now
                self._running[heavy] += 1
                self._usage.add(caller, turn.cost)
                turn.granted.set_result(None)

    def _make_room(self, turn: Turn) -> None:
        """If the queue is full, reject the last task of the caller that has the most tasks in it.

        Raises:
            Busy: The caller with the most tasks is that of the new task.
        """
        if turn.heavy and self._count[True] >= self._queue // 2:
            lanes = [self._waiting[True]]
        elif sum(self._count.values()) >= self._queue:
            lanes = list(self._waiting.values())
        else:
            return

        def share(caller: str) -> int:
            return sum(len(callers.get(caller, ())) for callers in lanes)

        fullest = max((caller for callers in lanes for caller in callers), key=share, default=turn.caller)
        if share(turn.caller) + 1 >= share(fullest):
            raise Busy(self._retry_after())
        last = max((callers.get(fullest, deque()) for callers in lanes), key=len)[-1]
        self._withdraw(last)
        if not last.granted.done():
            last.granted.set_exception(Busy(self._retry_after()))

    def _withdraw(self, turn: Turn) -> None:
        callers = self._waiting[turn.heavy]
        waiting = callers.get(turn.caller, deque())
        if turn in waiting:
            waiting.remove(turn)
            self._count[turn.heavy] -= 1
            if not waiting:
                del callers[turn.caller]

    def _retry_after(self) -> int:
        waiting = (turn for callers in self._waiting.values() for turns in callers.values() for turn in turns)
        return max(1, round(sum(turn.cost for turn in waiting) / self._workers))
