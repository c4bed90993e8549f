"""Whose turn it is: tasks that wait for a worker, and the clients that they are of.

Turns are fair by CPU time: the next task is of the client that has used least of it lately. So a client that floods
the service waits for itself, and not the others for it. When the queue is full, the client that fills it is refused.

Of two workers or more, one is kept for light tasks: a heavy task takes seconds, and those that take milliseconds would
wait for it. Heavy ones may also take no more than half of the queue.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_HALF_LIFE = 60.0
"""After so many seconds half of what a client has used is forgotten."""
_FORGOTTEN = 0.001
"""A client that has used no more CPU seconds than that is as good as one that has used none."""
_FIRST_SWEEP = 10_000
"""From so many clients on, those that have used as good as nothing are forgotten now and then."""


class Busy(Exception):
    """The queue is full; nothing was begun.

    Args:
        retry_after: After how many seconds it makes sense to try again.
    """

    def __init__(self, retry_after: int) -> None:
        """Store the number of seconds."""
        super().__init__(f"All workers are busy and the queue is full; try again in {retry_after} s.")
        self.retry_after = retry_after


@dataclass(eq=False, slots=True)
class Turn:
    """A task's place in the queue, and then its right to a worker.

    Attributes:
        client: Who asked for it.
        heavy: It will take a worker for long.
        cost: What it is reckoned to take, in CPU seconds.
        granted: Is done when it has its turn.
    """

    client: str
    heavy: bool
    cost: float
    granted: "asyncio.Future[None]"


class Usage:
    """The CPU seconds that clients have used lately; what was used long ago counts less.

    Args:
        clock: Tells the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start empty."""
        self._clock = clock
        self._used: dict[str, tuple[float, float]] = {}  # client -> seconds, and as of when
        self._swept_at = _FIRST_SWEEP

    def of(self, client: str) -> float:
        """Return what a client has used."""
        used, at = self._used.get(client, (0.0, 0.0))
        return used * math.exp2((at - self._clock()) / _HALF_LIFE)

    def add(self, client: str, seconds: float) -> None:
        """Add to what a client has used; less than nothing takes away."""
        self._used[client] = max(0.0, self.of(client) + seconds), self._clock()
        if len(self._used) > self._swept_at:
            self._used = {name: used for name, used in self._used.items() if self.of(name) > _FORGOTTEN}
            self._swept_at = max(_FIRST_SWEEP, 2 * len(self._used))


class Turns:
    """Gives out the right to use a worker.

    Args:
        workers: How many tasks run at once.
        queue: How many may wait.
        observe: Is told how many tasks are running or waiting, whenever that changes.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        workers: int,
        queue: int,
        observe: Callable[[int], None] = lambda pending: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with no tasks."""
        self._workers, self._queue = workers, queue
        self._heavy_workers = max(1, workers - 1)
        self._observe, self._usage = observe, Usage(clock)
        self._waiting: dict[bool, dict[str, deque[Turn]]] = {False: {}, True: {}}
        self._count = {False: 0, True: 0}  # of those that wait
        self._running = {False: 0, True: 0}

    @property
    def pending(self) -> int:
        """How many tasks are running or waiting."""
        return sum(self._running.values()) + sum(self._count.values())

    async def take(self, client: str, cost: float, *, heavy: bool) -> Turn:
        """Wait for a turn. Each one that was taken has to be given back.

        Args:
            client: Who asks.
            cost: What the task is reckoned to take, in CPU seconds.
            heavy: It will take a worker for long.

        Raises:
            Busy: The queue is full, and of nobody as much as of this client; or it has become so while this waited.
        """
        turn = Turn(client, heavy, cost, asyncio.get_running_loop().create_future())
        if not self._can_run(heavy):
            self._make_room(turn)
        self._waiting[heavy].setdefault(client, deque()).append(turn)
        self._count[heavy] += 1
        self._grant()
        self._observe(self.pending)
        try:
            await turn.granted
        except BaseException:
            if turn.granted.cancelled() or turn.granted.exception():
                self._withdraw(turn)
            else:
                self.give_back(turn, 0)  # it came just when the task was cancelled
            raise
        return turn

    def give_back(self, turn: Turn, spent: float) -> None:
        """End a turn.

        Args:
            turn: The turn.
            spent: How many CPU seconds the task has used.
        """
        self._running[turn.heavy] -= 1
        self._usage.add(turn.client, spent - turn.cost)
        self._grant()
        self._observe(self.pending)

    def _can_run(self, heavy: bool) -> bool:
        if sum(self._running.values()) >= self._workers:
            return False
        return not heavy or self._running[True] < self._heavy_workers

    def _grant(self) -> None:
        """Give turns to those that wait, as long as there are any to give."""
        while True:
            candidates = [
                (self._usage.of(client), heavy, client)
                for heavy, clients in self._waiting.items()
                if self._can_run(heavy)
                for client in clients
            ]
            if not candidates:
                return
            _, heavy, client = min(candidates, key=lambda candidate: candidate[:2])
            turn = self._waiting[heavy][client][0]
            self._withdraw(turn)
            if not turn.granted.done():  # else its task was cancelled just now
                self._running[heavy] += 1
                self._usage.add(client, turn.cost)
                turn.granted.set_result(None)

    def _make_room(self, turn: Turn) -> None:
        """Refuse the last task of the client that fills the queue, if it is full.

        Raises:
            Busy: That client is the one that wants in.
        """
        if turn.heavy and self._count[True] >= self._queue // 2:
            lanes = [self._waiting[True]]
        elif sum(self._count.values()) >= self._queue:
            lanes = list(self._waiting.values())
        else:
            return

        def share(client: str) -> int:
            return sum(len(clients.get(client, ())) for clients in lanes)

        fullest = max((client for clients in lanes for client in clients), key=share, default=turn.client)
        if share(turn.client) + 1 >= share(fullest):
            raise Busy(self._retry_after())
        last = max((clients.get(fullest, deque()) for clients in lanes), key=len)[-1]
        self._withdraw(last)
        if not last.granted.done():
            last.granted.set_exception(Busy(self._retry_after()))

    def _withdraw(self, turn: Turn) -> None:
        clients = self._waiting[turn.heavy]
        waiting = clients.get(turn.client, deque())
        if turn in waiting:
            waiting.remove(turn)
            self._count[turn.heavy] -= 1
            if not waiting:
                del clients[turn.client]

    def _retry_after(self) -> int:
        waiting = (turn for clients in self._waiting.values() for turns in clients.values() for turn in turns)
        return max(1, round(sum(turn.cost for turn in waiting) / self._workers))
