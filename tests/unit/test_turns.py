"""Whose turn it is at the workers: fair by CPU time, and who fills the queue is refused."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from progimage.workers.turns import Busy, Turn, Turns, Usage


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


def test_so_many_tasks_run_at_once_as_there_are_workers() -> None:
    @in_line(3, 10)
    async def scenario(line: Line) -> None:
        for number in range(1, 6):
            await line.ask(f"a{number}")
        assert line.order == ["a1", "a2", "a3"] and line.turns.pending == 5
        await line.end("a2")
        assert line.order == ["a1", "a2", "a3", "a4"] and line.turns.pending == 4


def test_a_single_worker_takes_heavy_tasks_too() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        await line.ask("a1", heavy=True)
        await line.ask("b1")
        await line.ask("c1", heavy=True)
        assert line.order == ["a1"]
        await line.end("a1")
        await line.end("b1")
        assert line.order == ["a1", "b1", "c1"]


def test_of_several_workers_all_but_one_take_heavy_tasks() -> None:
    @in_line(4, 20)
    async def scenario(line: Line) -> None:
        for number in range(1, 6):
            await line.ask(f"a{number}", heavy=True)
        assert line.order == ["a1", "a2", "a3"]
        await line.ask("b1")
        assert line.order[-1] == "b1"
        await line.ask("b2")
        await line.end("a1")  # the light one has used less
        assert line.order == ["a1", "a2", "a3", "b1", "b2"]
        await line.end("b2")
        assert line.order[-1] == "a4"
        await line.end("b1")
        assert line.order[-1] == "a4"  # though a worker is free
        await line.end("a2")
        assert line.order[-1] == "a5"


def test_of_clients_that_have_used_as_much_the_light_task_comes_first() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        await line.ask("a1")
        await line.ask("b1", heavy=True)
        await line.ask("c1")
        await line.end("a1")
        assert line.order[-1] == "c1"


def test_the_tasks_of_one_client_keep_their_order() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        for number in range(1, 5):
            await line.ask(f"a{number}")
        for number in range(1, 4):
            await line.end(f"a{number}")
        assert line.order == ["a1", "a2", "a3", "a4"]


def test_a_light_queue_that_is_full_takes_no_heavy_task_and_the_other_way_round() -> None:
    @in_line(1, 4)
    async def scenario(line: Line) -> None:
        for name in ("r1", "a1", "a2", "b1", "b2"):
            await line.ask(name)
        assert line.refused == []
        await line.ask("a3", heavy=True)
        assert line.refused == ["a3"]
        await line.ask("c1", heavy=True)  # whoever has none yet takes the last place of one that has two
        assert len(line.refused) == 2 and "c1" not in line.refused


def test_half_of_an_odd_queue_is_rounded_down_for_heavy_tasks() -> None:
    @in_line(1, 5)
    async def scenario(line: Line) -> None:
        for name in ("r1", "a1", "a2"):
            await line.ask(name, heavy=True)
        assert line.refused == []
        await line.ask("a3", heavy=True)
        assert line.refused == ["a3"]
        await line.ask("a4")
        assert line.refused == ["a3"]


def test_the_last_task_of_who_fills_the_queue_is_refused_of_the_longer_of_its_lines() -> None:
    @in_line(1, 6)
    async def scenario(line: Line) -> None:
        await line.ask("r1")
        for number, heavy in enumerate((True, True, False, False, False, False), 1):
            await line.ask(f"a{number}", heavy=heavy)
        await line.ask("b1")
        assert line.refused == ["a6"]


def test_a_refused_task_is_told_how_long_the_others_will_take() -> None:
    @in_line(2, 2)
    async def scenario(line: Line) -> None:
        for name, cost in (("r1", 1), ("r2", 1), ("a1", 6), ("a2", 3)):
            await line.ask(name, cost=cost)
        with pytest.raises(Busy) as refusal:
            await line.turns.take("a", 1, heavy=False)
        assert refusal.value.retry_after == round((6 + 3) / 2) and "try again in 4 s" in str(refusal.value)

    @in_line(2, 0)
    async def without_a_queue(line: Line) -> None:
        for name in ("r1", "r2"):
            await line.ask(name, cost=100)
        with pytest.raises(Busy) as refusal:
            await line.turns.take("a", 1, heavy=False)
        assert refusal.value.retry_after == 1  # never at once


def test_whoever_watches_is_told_how_much_there_is_to_do() -> None:
    seen: list[int] = []

    async def scenario() -> None:
        turns = Turns(1, 5, seen.append)
        first = await turns.take("a", 1, heavy=False)
        waiting = asyncio.create_task(turns.take("b", 1, heavy=True))
        await settle()
        turns.give_back(first, 1)
        turns.give_back(await waiting, 1)

    asyncio.run(scenario())
    assert seen == [1, 2, 1, 0]


def test_half_of_what_was_used_is_forgotten_after_a_minute() -> None:
    clock = Clock()
    usage = Usage(clock)
    clock.now = 1000
    usage.add("a", 8)
    for minutes, left in ((0, 8), (1, 4), (2, 2), (10, 8 / 1024)):
        clock.now = 1000 + 60 * minutes
        assert usage.of("a") == pytest.approx(left)
    clock.now = 1060
    usage.add("a", 1)
    assert usage.of("a") == pytest.approx(5) and usage.of("b") == 0


def test_nobody_has_used_less_than_nothing() -> None:
    usage = Usage(Clock())
    usage.add("a", 3)
    usage.add("a", -5)
    assert usage.of("a") == 0
    usage.add("a", 2)
    assert usage.of("a") == 2


def test_what_a_task_was_reckoned_at_counts_until_it_is_known_what_it_took() -> None:
    @in_line(1, 10)
    async def scenario(line: Line) -> None:
        await line.ask("a1", cost=9)
        await line.end("a1", spent=1)
        await line.ask("b1", cost=2)
        for name in ("a2", "b2"):
            await line.ask(name, cost=1)
        await line.end("b1", spent=2)
        assert line.order == ["a1", "b1", "a2"]


def test_clients_that_have_used_as_good_as_nothing_are_forgotten_now_and_then() -> None:
    clock = Clock()
    usage = Usage(clock)
    for number in range(10_000):
        usage.add(f"old{number}", 0.5)
    assert len(usage._used) == 10_000
    clock.now = 3600
    usage.add("new", 1)
    assert set(usage._used) == {"new"} and usage.of("new") == 1


def test_without_a_queue_a_free_worker_is_still_used() -> None:
    @in_line(2, 0)
    async def scenario(line: Line) -> None:
        for name in ("a1", "a2"):
            await line.ask(name)
        assert line.order == ["a1", "a2"] and line.refused == []
        await line.ask("a3")
        assert line.refused == ["a3"]
