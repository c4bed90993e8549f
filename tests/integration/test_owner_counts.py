"""What an owner has is counted exactly, and its uploads don't wait for one another where they need not."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from progimage.auth import Caller
from progimage.auth.caller import OPERATOR
from progimage.engine import ImageInfo
from progimage.storage import Blob, Catalogue, Quota, QuotaExceeded, Record
from progimage.storage.database.migrations import migrate
from progimage.storage.database.outbox import NoOutbox
from tests import many
from tests.servers import Postgres

CLIENT = Caller(OPERATOR)
INFO = msgspec.json.decode(many.INFO, type=ImageInfo)


class Waits(NoOutbox):
    """Keeps the transaction of an upload open until it is told to let it go on."""

    def __init__(self) -> None:
        self.is_open, self.goes_on = threading.Event(), threading.Event()

    def added(self, *_: Any) -> None:
        self.is_open.set()
        assert self.goes_on.wait(30)


@pytest.fixture
def url(database: Postgres, tmp_path: Path) -> str:
    url = database.new_database()
    migrate(url, tmp_path / "lock")
    return url


@pytest.fixture
def catalogue(url: str) -> Iterator[Catalogue]:
    catalogue = Catalogue(url, 20)
    yield catalogue
    catalogue.close()


def do(work: Any) -> Any:
    return asyncio.run(work)


def add(catalogue: Catalogue, number: int, owner: str = "default") -> None:
    blob = Blob(f"{number:064x}", 7, INFO)
    do(catalogue.inventory.claim(blob))
    reference = f"00000000-0000-4000-8000-{number:012x}"
    do(catalogue.records.add(CLIENT, [Record(reference, blob, None, datetime.now(UTC), owner)]))


def slot(catalogue: Catalogue) -> int:
    """Of the only connection that a catalogue has."""
    with catalogue.database.reading() as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid() % 16")).scalar_one())


def has(catalogue: Catalogue, owner: str = "default") -> tuple[int, int]:
    found = do(catalogue.owners.get(owner))
    with catalogue.database.reading() as connection:
        rows = connection.execute(
            sa.text("SELECT count(*), coalesce(sum(bytes), 0) FROM images WHERE owner = :owner"), {"owner": owner}
        ).one()
    assert (found.images, found.bytes) == tuple(rows)
    assert found in do(catalogue.owners.all())
    return found.images, found.bytes


@pytest.fixture
def held(url: str, catalogue: Catalogue) -> Iterator[Waits]:
    """An upload that is not committed yet, by a connection that counts in another row than `catalogue`."""
    add(catalogue, 1)
    outbox = Waits()
    others = [Catalogue(url, 1, outbox=outbox)]
    while slot(others[-1]) == slot(catalogue):
        others.append(Catalogue(url, 1, outbox=outbox))
    with ThreadPoolExecutor(1) as thread:
        adding = thread.submit(add, others[-1], 2)
        assert outbox.is_open.wait(30)
        yield outbox
        outbox.goes_on.set()
        adding.result()
    for other in others:
        other.close()


def test_an_upload_does_not_wait_for_another_of_its_owner(catalogue: Catalogue, held: Waits) -> None:
    before = slot(catalogue)
    add(catalogue, 3)
    assert slot(catalogue) == before and has(catalogue) == (2, 14)
    do(catalogue.records.delete(CLIENT, many.reference_of(1)))
    do(catalogue.records.purge(CLIENT, many.reference_of(1)))
    assert has(catalogue) == (1, 7)
    held.goes_on.set()


def test_a_quota_counts_the_uploads_that_began_without_one(catalogue: Catalogue, held: Waits) -> None:
    with ThreadPoolExecutor(1) as thread:
        setting = thread.submit(do, catalogue.owners.set(CLIENT, "default", Quota(2, None), None))
        with pytest.raises(TimeoutError):
            setting.result(0.5)
        held.goes_on.set()
        assert setting.result(30).images == 2
    with pytest.raises(QuotaExceeded):
        add(catalogue, 3)
    assert has(catalogue) == (2, 14)


@pytest.mark.parametrize("usual", [Quota(), Quota(10, None)], ids=["own", "usual"])
def test_quotas_are_exact(url: str, catalogue: Catalogue, usual: Quota) -> None:
    for number in range(3):  # before there was a quota
        add(catalogue, number)
    bounded = Catalogue(url, 20, usual)
    if usual == Quota():
        do(bounded.owners.set(CLIENT, "default", Quota(10, None), None))

    def upload(number: int) -> bool:
        with suppress(QuotaExceeded):
            add(bounded, number)
            return True
        return False

    with ThreadPoolExecutor(20) as threads:
        added = list(threads.map(upload, range(100, 120)))
    assert added.count(True) == 7 and has(bounded) == (10, 70)
    number = 100 + added.index(True)
    do(bounded.records.delete(CLIENT, many.reference_of(number)))
    do(bounded.records.purge(CLIENT, many.reference_of(number)))
    assert upload(200) and not upload(201)
    assert has(bounded) == (10, 70)
    bounded.close()


def test_many_at_once_are_all_counted(catalogue: Catalogue) -> None:
    def upload(number: int) -> None:
        add(catalogue, number, f"owner{number % 2}")
        if number % 3 == 0:
            do(catalogue.records.delete(CLIENT, many.reference_of(number)))
            do(catalogue.records.purge(CLIENT, many.reference_of(number)))

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(upload, range(120)))
    assert has(catalogue, "owner0") == has(catalogue, "owner1") == (40, 280)
    with catalogue.database.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM owner_totals")).scalar_one() > 2
