"""How many jobs a second the queue takes, with one, two and three processes that do them.

    python -m bench.jobs

The jobs wait 5 ms, and each process does two at once, so that the queue itself is measured: at most 400 a second for
each process. On SQLite, uploads' transactions are measured beside it, since all share one lock for writing.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tests.servers import postgres

from progimage.jobs import JobQueue, JobRunner, State, Wakes
from progimage.storage import Database
from progimage.storage.database.connections import after_commit, make_engine
from progimage.storage.database.migrations import migrate
from progimage.storage.database.schema import used_tickets

_JOB_SECONDS = 0.005
_AT_ONCE = 2


def opened(url: str, folder: Path) -> JobQueue:
    return JobQueue(Database(url, 3), Wakes(folder / "wakes"))


def do_jobs(url: str, folder: Path, over: Event) -> None:
    async def work(_: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(_JOB_SECONDS)
        return {}

    async def run() -> None:
        queue = opened(url, folder)
        runner = JobRunner(queue, {"import": work}, _AT_ONCE)
        await runner.start()
        await asyncio.to_thread(over.wait)
        await runner.stop()
        queue.close()

    asyncio.run(run())


@contextmanager
def runners(url: str, folder: Path, count: int) -> Iterator[None]:
    over = multiprocessing.Event()
    processes = [multiprocessing.Process(target=do_jobs, args=(url, folder, over)) for _ in range(count)]
    for process in processes:
        process.start()
    time.sleep(1)  # they import what they need
    try:
        yield
    finally:
        over.set()
        for process in processes:
            process.join()


def throughput(url: str, folder: Path, processes: int, jobs: int) -> float:
    """Jobs a second."""
    migrate(url, folder / "lock")
    queue = opened(url, folder)
    engine = make_engine(url)
    unfinished = sa.text("SELECT count(*) FROM (SELECT 1 FROM jobs WHERE due_at IS NOT NULL LIMIT 1) AS first")
    with runners(url, folder, processes):
        began = time.monotonic()
        asyncio.run(queue.put_parts("import", f"import-{began}", "", [{}] * jobs))
        while True:
            with engine.connect() as connection:
                if not connection.execute(unfinished).scalar():
                    break
            time.sleep(0.02)
        seconds = time.monotonic() - began
    queue.close()
    assert len(asyncio.run(opened(url, folder).find(state=State.DONE, limit=100))) == 100
    return jobs / seconds


def delay(url: str, folder: Path) -> float:
    """Median milliseconds from a job that is put into an idle queue to its end."""
    queue, found = opened(url, folder), []
    engine = make_engine(url)
    with runners(url, folder, 1):
        for number in range(20):
            began = time.monotonic()
            id = f"import-{began}-{number}"
            asyncio.run(queue.put("import", id, "", {}))
            while True:
                with engine.connect() as connection:
                    query = sa.text("SELECT count(*) FROM jobs WHERE id = :id AND state = 'done'")
                    if connection.execute(query, {"id": id}).scalar():
                        break
                time.sleep(0.001)
            found.append(time.monotonic() - began)
            time.sleep(0.1)
    return statistics.median(found) * 1000


def commits(url: str, folder: Path, processes: int) -> tuple[float, float]:
    """Milliseconds of a transaction like an upload's, median and 99th percentile, while so many processes do jobs."""
    database, queue, found = Database(url), opened(url, folder), []
    with runners(url, folder, processes):
        if processes:
            asyncio.run(queue.put_parts("import", f"import-{time.monotonic()}", "", [{}] * 20_000))
        for number in range(200):
            began = time.monotonic()
            with database.writing() as connection:
                values = {"id": f"{began}-{number}", "expires_at": began}
                connection.execute(sa.insert(used_tickets).values(values))
                after_commit(connection, queue.wakes.wake)
            found.append(time.monotonic() - began)
            time.sleep(0.01)
    with database.writing() as connection:
        connection.execute(sa.text("DELETE FROM jobs"))
    return statistics.median(found) * 1000, statistics.quantiles(found, n=100)[98] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="progimage-jobs-") as name, postgres(Path(name) / "postgres") as server:
        folder = Path(name)
        urls = {"SQLite": f"sqlite:///{folder}/jobs.sqlite", "PostgreSQL": server.new_database()}
        for database, url in urls.items():
            for processes in (1, 2, 3):
                rate = throughput(url, folder, processes, options.jobs)
                print(f"{database:<12} {processes} processes: {rate:>6.0f} jobs a second", flush=True)
            print(f"{database:<12} put to done in an idle queue: {delay(url, folder):.1f} ms", flush=True)
            for processes in (0, 1, 2):
                median, slow = commits(url, folder, processes)
                print(f"{database:<12} a commit beside {processes}: {median:.1f} ms, 99th {slow:.1f} ms", flush=True)


if __name__ == "__main__":
    main()
