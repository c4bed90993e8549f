"""The queue of jobs, with processes of its own that are killed, frozen and ended, on both databases."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from progimage.jobs import Job, JobQueue, State, Wakes
from progimage.jobs.leases import Leases
from progimage.jobs.runner import LOOK_SECONDS
from progimage.storage import Database
from progimage.storage.database.migrations import migrate
from tests.integration.server import eventually, serving
from tests.servers import Postgres, postgres

_DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres(tmp_path_factory.mktemp("jobs") / "postgres") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite"
    return request.getfixturevalue("server").new_database()


class Shop:
    """A queue, and processes that do its jobs."""

    def __init__(self, url: str, folder: Path, lease_seconds: float = 1.0) -> None:
        migrate(url, folder / "lock")
        self.url, self.folder, self.lease_seconds = url, folder, lease_seconds
        self.queue = JobQueue(Database(url, 3), Wakes(folder / "wakes"))
        self.processes: list[subprocess.Popen] = []

    def start(self) -> subprocess.Popen:
        return self.start_several(1)[0]

    def start_several(self, count: int) -> list[subprocess.Popen]:
        command = [sys.executable, "-m", "tests.job_runner", self.url, str(self.folder), str(self.lease_seconds)]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        self.processes += started
        for process in started:
            assert process.stdout and process.stdout.readline() == "ready\n"
        return started

    def put(self, id: str, kind: str = "import", **arguments: object) -> Path:
        effect = self.folder / f"{id}.effect"
        asyncio.run(self.queue.put(kind, id, "", {"effect": str(effect), **arguments}))
        return effect

    def get(self, id: str) -> Job:
        return asyncio.run(self.queue.get(id))[0]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()
        self.queue.close()


@pytest.fixture
def shop(url: str, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(url, tmp_path)
    yield shop
    shop.close()


def lines(effect: Path) -> list[str]:
    return effect.read_text().splitlines() if effect.exists() else []


def test_no_job_is_lost_whatever_is_killed(shop: Shop) -> None:
    chance = random.Random(17)
    effects = {f"import-{n}": shop.put(f"import-{n}", seconds=chance.uniform(0, 0.15)) for n in range(100)}
    living = shop.start_several(3)

    def done() -> list[Job]:
        return asyncio.run(shop.queue.find(state=State.DONE, limit=1000))

    for killed in range(1, 5):
        eventually(lambda: len(done()) >= 15 * killed)
        victim = living.pop(0)
        victim.send_signal(signal.SIGTERM if killed % 3 == 0 else signal.SIGKILL)
        living.append(shop.start())
    eventually(lambda: len(done()) == len(effects))
    assert {job.id for job in done()} == set(effects)
    for job in done():
        # Its result is of a process that has done it to its end.
        written = lines(effects[job.id])
        assert job.result and "ended" in written and str(job.result["process"]) in written, job


def test_a_frozen_process_loses_its_job_and_does_not_overwrite_the_result(shop: Shop) -> None:
    frozen = shop.start()
    effect = shop.put("import-1", seconds=2)
    eventually(lambda: lines(effect))
    frozen.send_signal(signal.SIGSTOP)
    other = shop.start()
    eventually(lambda: shop.get("import-1").state is State.DONE)
    result = shop.get("import-1").result
    assert result == {"process": other.pid}
    frozen.send_signal(signal.SIGCONT)
    frozen.send_signal(signal.SIGTERM)
    assert frozen.wait(timeout=30) == 0  # all that it had to write is written
    assert shop.get("import-1").result == result


def test_an_outcome_that_comes_after_its_lease_is_not_written(shop: Shop) -> None:
    from progimage.jobs.leases import Outcome

    shop.put("import-1")
    slow, quick = Leases(shop.queue.database, -1), Leases(shop.queue.database, 60)
    ((first,), _), ((second,), _) = slow.settle([], {"import": 1}), quick.settle([], {"import": 1})
    assert slow.renew([first]) == [first] and quick.renew([second]) == []
    late = Outcome(first, State.DONE, result={"of": "the first"})
    assert slow.settle([late], {}) == ([], [late])
    assert quick.settle([Outcome(second, State.DONE, result={"of": "the second"})], {}) == ([], [])
    assert slow.settle([late], {}) == ([], [late])
    assert shop.get("import-1").result == {"of": "the second"}


def test_a_process_that_ends_gives_its_jobs_back_at_once(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path}/jobs.sqlite", tmp_path, lease_seconds=3600)
    try:
        ending = shop.start()
        effects = [shop.put(f"import-{number}", seconds=8 if number < 2 else 0) for number in range(6)]
        eventually(lambda: lines(effects[0]) and lines(effects[1]))
        ending.terminate()
        assert ending.wait(timeout=30) == 0
        shop.start()
        eventually(lambda: all(shop.get(f"import-{number}").state is State.DONE for number in range(2, 6)))
        assert len(lines(effects[0])) >= 2  # begun anew
    finally:
        shop.close()


def test_what_kills_its_process_each_time_fails_in_the_end(shop: Shop) -> None:
    leases = Leases(shop.queue.database, -1)
    effect = shop.put("import-1")
    for _ in range(10):
        assert len(leases.settle([], {"import": 1})[0]) == 1  # and no outcome
    shop.start()
    eventually(lambda: shop.get("import-1").state is State.FAILED)
    problem = shop.get("import-1").problem
    assert problem and "died" in problem["detail"] and not lines(effect)
    asyncio.run(shop.queue.retry([shop.get("import-1")]))
    eventually(lambda: shop.get("import-1").state is State.DONE)


def test_one_job_of_an_endless_kind_runs_at_a_time(shop: Shop) -> None:
    shop.start_several(3)
    effect = shop.folder / "shared"
    for number in range(5):
        asyncio.run(shop.queue.put("scrub", f"scrub-{number}", "", {"effect": str(effect), "seconds": 0.2}))
    eventually(lambda: len(asyncio.run(shop.queue.find(state=State.DONE))) == 5)
    assert lines(effect)[1::2] == ["ended"] * 5  # each of them before the next one began


def test_a_job_wakes_who_does_it(shop: Shop) -> None:
    shop.start()
    shop.put("import-0")
    eventually(lambda: shop.get("import-0").state is State.DONE)
    for number in range(1, 4):
        shop.put(f"import-{number}")
        eventually(lambda: shop.get(f"import-{number}").state is State.DONE, LOOK_SECONDS / 3)


def test_a_job_wakes_other_nodes(server: Postgres, tmp_path: Path) -> None:
    shop = Shop(server.new_database(), tmp_path)
    elsewhere = JobQueue(Database(shop.url, 2), Wakes(tmp_path / "another data folder"))
    try:
        shop.start()
        shop.put("import-0")
        eventually(lambda: shop.get("import-0").state is State.DONE)
        asyncio.run(elsewhere.put("import", "import-1", "", {"effect": str(tmp_path / "effect")}))
        eventually(lambda: shop.get("import-1").state is State.DONE, LOOK_SECONDS / 3)
    finally:
        elsewhere.close()
        shop.close()


def test_there_is_never_a_second_job_of_an_id(shop: Shop) -> None:
    shop.put("import-1", seconds=0)
    shop.start()
    eventually(lambda: shop.get("import-1").state is State.DONE)
    before = shop.get("import-1")
    shop.put("import-1", seconds=99)
    assert shop.get("import-1") == before


def test_lists_and_counts_are_of_what_is_there(shop: Shop) -> None:
    queue = shop.queue
    for owner in ("alice", "bob"):
        asyncio.run(queue.put_parts("import", f"import-{owner}", owner, [{"n": n} for n in range(5)]))
        asyncio.run(queue.put("purge", f"purge-{owner}", owner, {}))
    everything = asyncio.run(queue.find())
    assert len(everything) == 12
    assert [job.created_at for job in everything] == sorted((job.created_at for job in everything), reverse=True)
    pages: list[Job] = []
    while more := asyncio.run(queue.find(limit=5, below=(pages[-1].created_at, pages[-1].id) if pages else None)):
        pages += more
    assert pages == everything
    assert {job.owner for job in asyncio.run(queue.find(owner="bob"))} == {"bob"}
    assert [job.id for job in asyncio.run(queue.find(owner="bob", kind="purge"))] == ["purge-bob"]
    assert [part.arguments["n"] for part in asyncio.run(queue.get("import-alice"))] == [0, 1, 2, 3, 4]
    counts = asyncio.run(queue.counts())
    assert counts["import", State.WAITING] == 10 and counts["purge", State.FAILED] == 0
    shop.start()
    eventually(lambda: asyncio.run(queue.counts())["import", State.WAITING] < 10)  # "effect" is missing: tried again
    assert asyncio.run(queue.forget(0)) == 0  # nothing has ended


def test_no_query_reads_jobs_that_have_ended(server: Postgres, url: str, tmp_path: Path) -> None:
    shop = Shop(url, tmp_path)
    asked: list[tuple[str, Any]] = []
    engine = shop.queue.database._engine
    with engine.begin() as connection:
        numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) "
        columns = "INSERT INTO jobs (id, kind, owner, state, arguments, created_at, updated_at)"
        rows = " SELECT 'x' || n, 'import', 'default', 'done', '{}', n, n FROM n"
        if url.startswith("sqlite"):
            connection.exec_driver_sql(f"{columns} {numbers} {rows}")
        else:
            connection.exec_driver_sql(f"{numbers} {columns} {rows}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    sa.event.listen(
        engine, "before_cursor_execute", lambda c, cursor, statement, values, *_: asked.append((statement, values))
    )
    shop.put("purge-1", "purge")
    leases = Leases(shop.queue.database, 1)
    leases.due_in(("import", "purge", "scrub"))
    (job,), _ = leases.settle([], {"import": 5, "scrub": 5, "purge": 5})
    leases.renew([job])
    ways: list[dict[str, Any]] = [
        {},
        {"owner": "default"},
        {"kind": "purge"},
        {"owner": "default", "state": State.FAILED},
    ]
    for options in ways:
        asyncio.run(shop.queue.find(**options))
    asyncio.run(shop.queue.counts())
    asyncio.run(shop.queue.forget(10**10))
    asyncio.run(shop.queue.get("purge-1"))
    asyncio.run(shop.queue.get("x9"))
    shop.queue.close()
    explain = "EXPLAIN QUERY PLAN " if url.startswith("sqlite") else "EXPLAIN "
    plans = []
    with engine.connect() as connection:
        for statement, values in asked:
            if statement.split()[0] in ("SELECT", "UPDATE", "DELETE") and "jobs" in statement:
                steps = connection.exec_driver_sql(explain + statement, values).all()
                plans.append((statement, "\n".join(str(row[-1]) for row in steps)))
    shop.close()
    assert len(plans) > 10
    for statement, plan in plans:
        assert "Seq Scan on jobs" not in plan and "SCAN jobs" not in plan, f"{statement}\n{plan}"


def _upgraded(folder: Path) -> str:
    connection = sqlite3.connect(folder / "progimage.sqlite")
    connection.executescript((_DATA / "version-0.1-jobs.sqlite.sql").read_text())
    connection.close()
    return f"sqlite:///{folder}/progimage.sqlite"


def _check_adopted(queue: JobQueue) -> None:
    done, failed, running = asyncio.run(queue.get("import-x"))
    assert (done.state, done.owner, done.arguments, done.result) == (
        State.DONE, "alice", {"url": "é"}, {"ok": {"url": "é"}},
    )  # fmt: skip
    assert (failed.state, failed.problem) == (State.FAILED, {"detail": "no", "status": 400})
    assert (running.state, running.arguments) == (State.WAITING, {"slow": 1})
    (waiting,) = asyncio.run(queue.get("prerender-y"))
    assert (waiting.state, waiting.owner, waiting.arguments) == (
        State.WAITING,
        "bob",
        {"reference": "r", "renditions": ["small.webp"]},
    )
    assert asyncio.run(queue.get("sweep-60-1"))[0].created_at == pytest.approx(done.created_at, abs=1)


def test_jobs_of_version_0_1_are_taken_over(tmp_path: Path) -> None:
    shop = Shop(_upgraded(tmp_path), tmp_path)
    assert asyncio.run(shop.queue.adopt()) == 5
    _check_adopted(shop.queue)
    assert asyncio.run(shop.queue.adopt()) == 0
    shop.close()


def test_jobs_of_version_0_1_are_taken_over_on_postgresql(server: Postgres, tmp_path: Path) -> None:
    url = server.new_database()
    server.sql((_DATA / "version-0.1-jobs.postgresql.sql").read_text(), url.rpartition("/")[2])
    shop = Shop(url, tmp_path)
    assert asyncio.run(shop.queue.adopt()) == 5
    _check_adopted(shop.queue)
    shop.close()


def test_what_a_node_of_version_0_1_works_on_is_left_to_it_as_long_as_it_lives(tmp_path: Path) -> None:
    shop = Shop(_upgraded(tmp_path), tmp_path)
    with shop.queue.database.writing() as connection:
        connection.execute(sa.text("UPDATE executors SET seen_at = :now"), {"now": time.time()})
    assert asyncio.run(shop.queue.adopt()) == 4
    with shop.queue.database.writing() as connection:
        connection.execute(sa.text("UPDATE executors SET seen_at = 0"))
    assert asyncio.run(shop.queue.adopt()) == 1
    _check_adopted(shop.queue)
    shop.close()


def test_a_server_goes_on_with_the_jobs_of_version_0_1(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    _upgraded(folder)
    with serving(folder, access="keys", jobs_kept_seconds=10**10) as server:
        admin = server.as_owner("operator", "admin")
        eventually(lambda: admin.get("/jobs/prerender-y").json()["state"] == "done")
        (part,) = admin.get("/jobs/prerender-y").json()["parts"]
        assert part["result"] == {"gone": True}  # the image is not there
        assert admin.get("/jobs/import-x").json()["total"] == 3


def test_a_fifo_of_a_dead_process_is_removed(shop: Shop) -> None:
    process = shop.start()
    process.kill()
    process.wait()
    assert len(list((shop.folder / "wakes").iterdir())) == 1
    shop.queue.wakes.wake()
    assert not list((shop.folder / "wakes").iterdir())
