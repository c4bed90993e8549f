"""Whose turn it is at the workers: fair by CPU time, and who fills the queue is refused."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from progimage.workers.turns import Busy, Turn, Turns


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Line:
    """Turns that are taken as they come, and what became of each."""

    def __init__(self, workers: int, queue: int) -> None:
        self.clock = Clock()
        self.turns = Turns(workers, queue, clock=self.clock)
        self.order: list[str] = []
        self.refused: list[str] = []
        self.held: dict[str, Turn] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, cost: float = 0.1, heavy: bool = False) -> None:
        """Ask for a turn; the client is what stands before the first digit of the name."""

        async def wait() -> None:
            try:
                self.held[name] = await self.turns.take(name.rstrip("0123456789"), cost, heavy=heavy)
                self.order.append(name)
            except Busy:
                self.refused.append(name)

        self.tasks[name] = asyncio.create_task(wait())
        await settle()

    async def end(self, name: str, spent: float | None = None) -> None:
        turn = self.held.pop(name)
        self.turns.give_back(turn, turn.cost if spent is None else spent)
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def in_line(workers: int, queue: int) -> Callable[[Callable[[Line], Awaitable[None]]], None]:
    def run(scenario: Callable[[Line], Awaitable[None]]) -> None:
        async def within() -> None:
            await scenario(Line(workers, queue))

        asyncio.run(within())

    return run


def test_the_client_that_has_used_least_comes_first() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        for name in ("flood1", "flood2", "flood3", "flood4", "guest1"):
            await line.ask(name)
        for name in ("flood1", "guest1", "flood2", "flood3"):
            await line.end(name)
        assert line.order == ["flood1", "guest1", "flood2", "flood3", "flood4"]


def test_what_counts_is_cpu_time_and_not_the_number_of_tasks() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        await line.ask("costly1")
        for name in ("cheap1", "cheap2", "cheap3", "costly2"):
            await line.ask(name)
        await line.end("costly1", spent=10)
        for name in ("cheap1", "cheap2", "cheap3"):
            await line.end(name, spent=0.01)
        assert line.order == ["costly1", "cheap1", "cheap2", "cheap3", "costly2"]


def test_a_task_counts_while_it_runs() -> None:
    @in_line(2, 10)
    async def scenario(line: Line) -> None:
        await line.ask("a1", cost=5)
        await line.ask("b1", cost=0.1)
        for name in ("a2", "b2"):
            await line.ask(name)
        await line.end("b1")
        assert line.order == ["a1", "b1", "b2"]


def test_what_was_used_long_ago_is_forgotten() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        await line.ask("before1")
        await line.end("before1", spent=100)
        line.clock.now += 3600
        await line.ask("busy1", cost=1)
        await line.ask("lately1")
        await line.end("busy1", spent=1)
        await line.end("lately1", spent=0.5)
        await line.ask("busy2", cost=1)
        await line.ask("lately2")
        await line.ask("before2")
        await line.end("busy2")
        assert line.order[-1] == "before2"


def test_who_fills_the_queue_is_refused_and_not_the_others() -> None:
    @in_line(1, 4)
    async def scenario(line: Line) -> None:
        for number in range(1, 8):
            await line.ask(f"flood{number}")
        assert line.refused == ["flood6", "flood7"]
        await line.ask("guest1")
        await line.ask("guest2")
        assert line.refused == ["flood6", "flood7", "flood5", "flood4"]
        await line.ask("guest3")  # as many as the others have by then
        assert line.refused[-1] == "guest3"
        await line.end("flood1")
        assert line.order[-1] == "guest1"


def test_one_worker_is_kept_for_light_tasks() -> None:
    @in_line(2, 10)
    async def scenario(line: Line) -> None:
        for number in (1, 2, 3):
            await line.ask(f"a{number}", heavy=True)
        assert line.order == ["a1"]
        await line.ask("a4")
        assert line.order == ["a1", "a4"]
        await line.end("a4")
        await line.ask("b1")
        await line.end("a1")
        assert line.order == ["a1", "a4", "b1", "a2"]


def test_heavy_tasks_take_no_more_than_half_of_the_queue() -> None:
    @in_line(2, 4)
    async def scenario(line: Line) -> None:
        for number in range(1, 5):
            await line.ask(f"a{number}", heavy=True)
        assert line.refused == ["a4"]
        await line.ask("b1", heavy=True)
        assert line.refused == ["a4", "a3"]
        await line.ask("c1")
        assert "c1" in line.order


def test_a_turn_that_nobody_waits_for_any_more_is_the_next_ones() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        for name in ("a1", "b1", "c1"):
            await line.ask(name)
        line.tasks["b1"].cancel()
        line.turns.give_back(line.held.pop("a1"), 0.1)  # before the cancelled task has noticed
        await settle()
        assert line.order == ["a1", "c1"]
        await line.end("c1")
        assert line.turns.pending == 0


def test_one_that_is_cancelled_when_it_has_just_got_its_turn_gives_it_back() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        for name in ("a1", "b1", "c1"):
            await line.ask(name)
        line.turns.give_back(line.held.pop("a1"), 0.1)
        line.tasks["b1"].cancel()
        await settle()
        assert line.order == ["a1", "c1"]


def test_retrying_makes_sense_when_what_waits_is_done() -> None:
    @in_line(1, 2)
    async def scenario(line: Line) -> None:
        for number in (1, 2, 3):
            await line.ask(f"a{number}", cost=7)
        with pytest.raises(Busy) as refusal:
            await line.turns.take("a", 7, heavy=False)
        assert refusal.value.retry_after == 14
