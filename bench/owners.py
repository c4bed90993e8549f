"""What it costs that a worker sees the bytes of one owner only: tasks of one owner, and of a new owner each time.

    make owners

One worker, and a rendition of 300 px of a stored copy of 1024: the shortest task that there usually is. Two rounds of
each kind alternate, so that what else the machine does falls on both.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.codecs import picture
from progimage.engine import Limits, RenditionSpec
from progimage.workers import Requester, Sandbox, WorkerPool
from progimage.workers.tasks import RenderTask

_TASKS, _ROUNDS = 60, 7


async def measure(source: Path, target: Path) -> dict[str, list[float]]:
    """Return the milliseconds of a task, round by round, for each kind of series."""
    pool = WorkerPool(1, 10, 30, Sandbox(4 << 30, 600, 1 << 30))
    pool.start()
    await pool.warm_up()
    task = RenderTask(RenditionSpec("JPEG", width=300).canonical(), Limits())
    found: dict[str, list[float]] = {"one owner": [], "a new owner each time": []}
    number = 0
    for _ in range(_ROUNDS):
        for kind, rounds in found.items():
            started = time.perf_counter()
            for _ in range(_TASKS):
                number += 1
                owner = "one" if kind == "one owner" else f"owner {number}"
                await pool.run(task, Requester("bench", frozenset((owner,))), [source], [target])
            rounds.append((time.perf_counter() - started) / _TASKS * 1000)
    await pool.close()
    return found


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.jpg"
        picture(1024, 683).jpegsave(str(source), Q=90)
        found = asyncio.run(measure(source, Path(folder) / "target"))
    for kind, rounds in found.items():
        print(f"{kind:24} {statistics.median(rounds):6.2f} ms a task ({min(rounds):.2f} to {max(rounds):.2f})")


if __name__ == "__main__":
    main()
