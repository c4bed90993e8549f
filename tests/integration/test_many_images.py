"""Very many images: no query goes through all of them, and what is counted is right."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from progimage.auth import Caller
from progimage.auth.caller import OPERATOR
from progimage.engine import ImageInfo
from progimage.storage import (
    Blob,
    Catalogue,
    EventFilter,
    ImageFilter,
    ListTooSlow,
    Record,
)
from progimage.storage.database.migrations import migrate
from progimage.storage.database.schema import owner_totals, owners
from progimage.storage.database.totals import Differences, Totals, counted, differences, recount, summed
from tests import many
from tests.recorded import recorded
from tests.servers import Postgres

CLIENT = Caller(OPERATOR)
LARGE = ("images", "blobs", "labels", "audit")
"""The tables with a row for each image, or more."""


class Watched:
    """A database whose statements are written down."""

    def __init__(self, url: str) -> None:
        self.catalogue = Catalogue(url)
        self.engine = self.catalogue.database._engine
        self.statements: dict[str, Any] = {}
        sa.event.listen(self.engine, "before_cursor_execute", self._note)

    def _note(self, _: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            self.statements.setdefault(statement, parameters[0] if executemany else parameters)

    def do(self, work: Any) -> Any:
        return asyncio.run(work)

    def plans(self) -> dict[str, list[str]]:
        """How each statement is executed."""
        statements, self.statements = self.statements, {}
        found = {}
        with self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # it may go through a small table, where an index would serve
                connection.exec_driver_sql("SET enable_seqscan = off")
            for statement, parameters in statements.items():
                with suppress(sa.exc.ProgrammingError):  # a setting of the connection
                    found[statement] = many.plan(connection, statement, parameters)
        return found

    def scans(self, *, sorts: bool = True) -> list[str]:
        """Which statements go through a large table, or, unless they may, sort what they find."""
        found = []
        for statement, steps in self.plans().items():
            # The newest of all events are at the end of their table.
            is_end = statement.startswith("SELECT audit") and "WHERE" not in statement and "LIMIT" in statement
            is_sorted = "FROM images" in statement and any("FOR ORDER" in step or "Sort" in step for step in steps)
            is_found = any(self._is_scan(step) for step in steps) or (is_sorted and not sorts)
            if is_found and not is_end:
                found.append("\n".join([statement, *steps]))
        return found

    def _is_scan(self, step: str) -> bool:
        if self.engine.dialect.name == "sqlite":
            # In the order of an index it stops at a LIMIT, as a list of all images does.
            words = step.split()
            return words[0] == "SCAN" and words[1] in LARGE and "INDEX" not in words
        return any(f"Seq Scan on {table}" in step for table in LARGE)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("sqlite", 20_000), id="sqlite"),
        pytest.param(("postgresql", 20_000), id="postgresql"),
        pytest.param(("sqlite", 1_000_000), id="sqlite-million", marks=pytest.mark.endurance),
        pytest.param(("postgresql", 1_000_000), id="postgresql-million", marks=pytest.mark.endurance),
    ],
)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    name, count = request.param
    folder = tmp_path_factory.mktemp("many")
    if name == "sqlite":
        url = f"sqlite:///{folder / 'progimage.sqlite'}"
    else:
        database: Postgres = request.getfixturevalue("database")
        url = database.new_database()
    migrate(url, folder / "migration.lock")
    many.fill(url, count)
    return url, count


@pytest.fixture
def watched(filled: tuple[str, int]) -> Iterator[Watched]:
    watched = Watched(filled[0])
    yield watched
    watched.catalogue.close()


FILTERS = {
    "all": ImageFilter(),
    "of an owner": ImageFilter(owner="default"),
    "of a small owner": ImageFilter(owner="small"),
    "a page": ImageFilter(owner="default", below=(many.BEGAN + 10_000, many.reference_of(10_000))),
    "of a time": ImageFilter(owner="default", after=many.BEGAN + 10, before=many.BEGAN + 9_000),
    "a rare format": ImageFilter(owner="default", format="TIFF"),
    "a common format": ImageFilter(owner="default", format="PNG"),
    "a hash": ImageFilter(owner="default", sha256=many.sha256_of(4325)),
    "a hash of anybody": ImageFilter(sha256=many.sha256_of(4325)),
    "rare sizes": ImageFilter(owner="default", min_bytes=6_000_000),
    "common sizes": ImageFilter(owner="default", min_bytes=100, max_bytes=40_000),
    "a rare label": ImageFilter(owner="default", labels=("rare",)),
    "a common label": ImageFilter(owner="default", labels=("common",)),
    "two labels": ImageFilter(owner="default", labels=("common", "rare")),
    "a label of anybody": ImageFilter(labels=("rare",)),
    "deleted": ImageFilter(owner="default", deleted=True),
    "deleted, of nobody": ImageFilter(owner="nobody", deleted=True),
    "a label and a format": ImageFilter(owner="small", labels=("rare",), format="TIFF"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_no_list_goes_through_all_images(watched: Watched, name: str) -> None:
    found = watched.do(watched.catalogue.records.find(FILTERS[name], 100))
    assert found or name in ("two labels", "deleted, of nobody")
    assert not watched.scans(sorts=any(word in name for word in ("label", "sizes", "hash")))


def test_lists_have_what_they_should(watched: Watched) -> None:
    def found(**wanted: Any) -> list[int]:
        records = watched.do(watched.catalogue.records.find(ImageFilter(**wanted), 1000))
        times = [record.uploaded_at.timestamp() for record in records]
        assert times == sorted(times, reverse=True)
        return sorted(int(record.reference[-12:], 16) for record in records)

    mine = [n for n in range(10 * many.RARE) if n % 10 > 1 and n % 10 != 9]
    assert found(owner="default", labels=("rare",)) == mine
    assert found(owner="default", format="TIFF") == [n for n in mine if n < many.RARE]
    assert found(owner="default", min_bytes=7_000_003) == [3, 4]
    assert found(owner="default", labels=("rare",), format="TIFF", max_bytes=7_000_003) == [2, 3]
    assert found(owner="default", labels=("rare",), deleted=True) == [n for n in range(10 * many.RARE) if n % 10 == 9]
    pages, below = [], None
    while page := watched.do(
        watched.catalogue.records.find(ImageFilter(owner="default", labels=("rare",), below=below), 7)
    ):
        pages += [int(record.reference[-12:], 16) for record in page]
        below = page[-1].uploaded_at.timestamp(), page[-1].reference
    assert pages == mine[::-1]


def test_no_other_query_goes_through_all_images(watched: Watched) -> None:
    catalogue, do = watched.catalogue, watched.do
    records, inventory = catalogue.records, catalogue.inventory
    blob = Blob("f" * 64, 10, _decoded())
    record = Record("ffffffff-0000-4000-8000-000000000000", blob, None, datetime.now(UTC), labels=("a", "b"))
    do(inventory.claim(blob))
    do(inventory.stored(blob.sha256, "default"))
    do(records.add(CLIENT, [record]))
    do(records.get(record.reference))
    do(records.among([record.reference, many.reference_of(5)]))
    do(records.named("default", blob.sha256, None))
    do(records.change(CLIENT, record.reference, {"labels": ["c"], "metadata": {"a": "b"}}))
    do(records.delete(CLIENT, record.reference))
    do(records.undelete(CLIENT, record.reference))
    do(records.delete(CLIENT, record.reference))
    do(records.has_live("default", blob.sha256))
    do(records.expire(500))
    do(records.mark_for_purge(500))
    do(records.due_for_purge(10.0, 10.0, 500))
    do(records.waiting_for_purge(1e12))
    do(records.purge(CLIENT, record.reference))
    do(records.forget_tickets())
    do(inventory.checked(blob.sha256, damaged=True))
    do(inventory.checked(blob.sha256, damaged=False))
    do(inventory.unchecked(many.BEGAN + 5, 100))
    do(inventory.outdated(20))
    do(inventory.owners_of([many.sha256_of(n) for n in range(0, 5000, 100)]))
    do(inventory.totals())
    do(inventory.reclaim(0.0, lambda blob: None))
    do(catalogue.owners.get("default"))
    do(catalogue.owners.all())
    for wanted in (
        EventFilter(), EventFilter(action="hold"), EventFilter(owner="small"),
        EventFilter(reference=many.reference_of(7)), EventFilter(below=1000),
    ):  # fmt: skip
        do(catalogue.audit.find(wanted, 100))
    do(catalogue.audit.trim(many.BEGAN))
    assert len(watched.statements) > 40
    assert not watched.scans()


def test_a_sweep_does_not_look_at_what_is_marked_for_purge_already(watched: Watched) -> None:
    while watched.do(watched.catalogue.records.mark_for_purge(50_000)):
        pass
    watched.statements.clear()
    watched.do(watched.catalogue.records.mark_for_purge(500))
    (steps,) = watched.plans().values()
    assert any("ix_images_unmarked" in step for step in steps)


def _decoded() -> ImageInfo:
    return msgspec.json.decode(many.INFO, type=ImageInfo)


def test_what_is_counted_is_what_there_is(watched: Watched) -> None:
    catalogue, do = watched.catalogue, watched.do
    blob = Blob("e" * 64, 12345, _decoded())
    references = [f"eeeeeeee-0000-4000-8000-{number:012x}" for number in range(3)]

    def right() -> None:
        with catalogue.database.reading() as connection:
            assert counted(connection) == summed(connection)

    right()
    do(catalogue.inventory.claim(blob))
    for reference in references:
        do(catalogue.records.add(CLIENT, [Record(reference, blob, None, datetime.now(UTC))]))
        right()
    do(catalogue.inventory.checked(blob.sha256, damaged=True))
    right()
    do(catalogue.inventory.redescribe(replace(blob, ladder=None)))
    for reference in references:
        do(catalogue.records.delete(CLIENT, reference))
        right()
    do(catalogue.records.undelete(CLIENT, references[0]))
    right()
    do(catalogue.records.delete(CLIENT, references[0]))
    for reference in references:
        do(catalogue.records.purge(CLIENT, reference))
        right()
    do(catalogue.inventory.reclaim(-1.0, lambda blob: None))
    right()
    with catalogue.database.writing() as connection:
        assert differences(connection) == Differences(Totals(0, 0, 0, 0), 0, 0)
        connection.execute(sa.text("UPDATE blobs SET images = 9 WHERE sha256 = :name"), {"name": many.sha256_of(3)})
        connection.execute(sa.text("UPDATE blobs SET images = 0 WHERE sha256 = :name"), {"name": many.sha256_of(4)})
        connection.execute(sa.text("UPDATE totals SET images = images + 7, bytes = bytes - 5 WHERE slot = 0"))
        owned = connection.execute(sa.select(owners).order_by(owners.c.owner)).all()
        connection.execute(sa.text("UPDATE owners SET images = 1 WHERE owner = 'small'"))
        connection.execute(sa.text("DELETE FROM owners WHERE owner = 'medium'"))
        connection.execute(sa.insert(owner_totals).values(owner="small", slot=3, images=1, bytes=1))
        found = differences(connection)
        assert (found.totals.images, found.blobs, found.owners) == (-7, 2, 2)
        assert found.totals.bytes == summed(connection).bytes - counted(connection).bytes != 0
        recount(connection)
        assert differences(connection) == Differences(Totals(0, 0, 0, 0), 0, 0)
        connection.execute(sa.text("DELETE FROM owner_totals WHERE slot = 3"))
        recount(connection)
        assert connection.execute(sa.select(owners).order_by(owners.c.owner)).all() == owned
    right()


def test_what_is_written_while_all_is_counted_anew_is_counted(filled: tuple[str, int]) -> None:
    catalogue = Catalogue(filled[0])
    if catalogue.database.is_sqlite:
        catalogue.close()
        return  # nothing can be written then
    over = threading.Event()

    def write(thread: int) -> None:
        for number in range(10_000):
            if over.is_set():
                break
            blob = Blob(f"{thread}{number % 7}".rjust(64, "c"), 5, _decoded())
            reference = f"cccccccc-0000-4000-8{thread:03}-{number:012x}"
            asyncio.run(catalogue.inventory.claim(blob))
            asyncio.run(catalogue.records.add(CLIENT, [Record(reference, blob, None, datetime.now(UTC))]))
            asyncio.run(catalogue.records.delete(CLIENT, reference))
            asyncio.run(catalogue.records.purge(CLIENT, reference))

    with ThreadPoolExecutor(3) as threads:
        writing = [threads.submit(write, thread) for thread in range(3)]
        for _ in range(5):
            with catalogue.database.writing() as connection:
                recount(connection)
        over.set()
        for one in writing:
            one.result()
    with catalogue.database.reading() as connection:
        assert differences(connection) == Differences(Totals(0, 0, 0, 0), 0, 0)
    catalogue.close()


def test_the_version_before_has_an_index_for_what_it_asks(watched: Watched) -> None:
    version = recorded("0.1").databases[watched.engine.dialect.name]
    expiring = version.operations["expire"][0][0]
    parameters = expiring.parameters if isinstance(expiring.parameters, dict) else tuple(expiring.parameters)
    with watched.engine.connect() as connection:
        connection.exec_driver_sql(expiring.sql, parameters)
        deleted = sa.text("SELECT reference FROM images WHERE deleted_at <= :before LIMIT 500")
        connection.execute(deleted, {"before": many.BEGAN + 50})
    plans = list(watched.plans().values())
    assert any("ix_images_with_expires_at" in step for step in plans[0])
    assert any("ix_images_with_deleted_at" in step for step in plans[1])


def test_a_list_that_takes_too_long_is_given_up(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    database = watched.catalogue.database
    monkeypatch.setattr(database, "list_seconds", 0.05)

    def slow() -> None:
        with database.listing() as connection:
            numbers = (
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
                if database.is_sqlite
                else "SELECT pg_sleep(20)"
            )
            connection.exec_driver_sql(numbers)

    with pytest.raises(ListTooSlow):
        watched.do(database.listed(slow))
    assert watched.do(watched.catalogue.records.find(ImageFilter(owner="small"), 3))  # the connection is as before


def test_slow_lists_do_not_take_the_threads_of_others(watched: Watched) -> None:
    catalogue = watched.catalogue

    async def both() -> float:
        lists = [asyncio.create_task(catalogue.database.listed(time.sleep, 2)) for _ in range(50)]
        await asyncio.sleep(0)
        began = time.monotonic()
        await catalogue.records.get(many.reference_of(2))
        took = time.monotonic() - began
        for task in lists:
            task.cancel()
        return took

    assert watched.do(both()) < 1.5


def test_the_schema_is_what_the_migrations_make(filled: tuple[str, int], tmp_path: Path) -> None:
    from progimage.storage.database.schema import metadata

    engine = sa.create_engine(filled[0])
    inspector = sa.inspect(engine)
    for table in metadata.sorted_tables:
        assert {column.name for column in table.columns} == {
            column["name"] for column in inspector.get_columns(table.name)
        }
    engine.dispose()
