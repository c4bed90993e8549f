"""What sweeps destroy, and when: in two sweeps, late enough, slowly. On both databases."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from progimage.auth import Caller
from progimage.auth.caller import OPERATOR
from progimage.storage import Catalogue
from progimage.storage.database.images import PURGES_AN_HOUR
from progimage.storage.database.migrations import migrate
from tests import many
from tests.servers import Postgres

_DAY = 86400.0
_SWEEP = 600.0
_CLIENT = Caller(OPERATOR)


class Shop:
    """A database of images that were deleted."""

    def __init__(self, url: str, folder: Path) -> None:
        migrate(url, folder / "migration.lock")
        self.catalogue = Catalogue(url)
        self.records = self.catalogue.records

    def add(self, count: int, deleted_ago: float, held_by: str = "shop") -> None:
        """Add images that are deleted for so long; all of one blob."""
        now = self.now()
        with self.catalogue.database.writing() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO blobs (sha256, bytes, info, stored, touched_at) VALUES ('00', 1, :info, true, :now)"
                    " ON CONFLICT DO NOTHING"
                ),
                {"now": now, "info": many.INFO},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO images (reference, sha256, owner, uploaded_at, deleted_at)"
                    " VALUES (:reference, '00', :owner, :uploaded, :deleted)"
                ),
                [
                    {"reference": f"{deleted_ago}-{n}", "owner": held_by, "uploaded": now - 9 * _DAY,
                     "deleted": now - deleted_ago}
                    for n in range(count)
                ],
            )  # fmt: skip

    def now(self) -> float:
        return asyncio.run(self.catalogue.clock.look()).now

    def pass_by(self, seconds: float) -> None:
        """Let time pass, for the images."""
        with self.catalogue.database.writing() as connection:
            for column in ("deleted_at", "purge_marked_at"):
                connection.execute(sa.text(f"UPDATE images SET {column} = {column} - :seconds"), {"seconds": seconds})

    def sweep(self, limit: int = 5000) -> list[str]:
        """Mark, and return what is to be purged then."""

        async def sweep() -> list[str]:
            await self.records.mark_for_purge(limit)
            return await self.records.due_for_purge(_DAY, _SWEEP, limit)

        return asyncio.run(sweep())

    def run(self, sql: str) -> None:
        with self.catalogue.database.writing() as connection:
            connection.execute(sa.text(sql))


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'progimage.sqlite'}"
    else:
        database: Postgres = request.getfixturevalue("database")
        url = database.new_database()
    shop = Shop(url, tmp_path)
    yield shop
    shop.catalogue.close()


def test_one_sweep_never_purges_however_long_ago_it_was_deleted(shop: Shop) -> None:
    shop.add(3, deleted_ago=30 * _DAY)
    assert shop.sweep() == []
    shop.pass_by(_DAY - 60)
    assert shop.sweep() == []
    shop.pass_by(120)
    assert len(shop.sweep()) == 3


def test_what_is_brought_back_between_two_sweeps_stays(shop: Shop) -> None:
    shop.add(1, deleted_ago=60)
    shop.sweep()
    assert asyncio.run(shop.records.undelete(_CLIENT, "60-0"))
    shop.pass_by(2 * _DAY)
    assert shop.sweep() == []
    asyncio.run(shop.records.delete(_CLIENT, "60-0"))
    assert shop.sweep() == []  # it has all its time again
    shop.pass_by(2 * _DAY)
    assert shop.sweep() == ["60-0"]


def test_a_mark_that_a_node_of_the_version_before_has_left_does_not_count(shop: Shop) -> None:
    shop.add(1, deleted_ago=60)
    shop.sweep()
    shop.pass_by(2 * _DAY)
    shop.run("UPDATE images SET deleted_at = NULL")  # it knows no marks
    now = shop.now()
    shop.run(f"UPDATE images SET deleted_at = {now}")
    assert shop.sweep() == [] and shop.sweep() == []
    shop.pass_by(2 * _DAY)
    assert shop.sweep() == ["60-0"]


def test_between_looking_and_purging_an_image_may_be_brought_back(shop: Shop) -> None:
    shop.add(1, deleted_ago=2 * _DAY)
    shop.sweep()
    shop.pass_by(2 * _DAY)
    (reference,) = shop.sweep()
    asyncio.run(shop.records.undelete(_CLIENT, reference))
    asyncio.run(shop.records.delete(_CLIENT, reference))
    assert asyncio.run(shop.records.purge(_CLIENT, reference, deleted_for=_DAY)) is None


def test_an_hour_purges_no_more_than_its_bound_and_what_waits_is_counted(shop: Shop) -> None:
    shop.add(PURGES_AN_HOUR + 50, deleted_ago=2 * _DAY)
    shop.sweep()
    shop.pass_by(2 * _DAY)
    if shop.now() % 3600 > 3590:  # not over the end of an hour
        time.sleep(11)
    assert len(shop.sweep(limit=800)) == 800
    assert len(shop.sweep(limit=800)) == PURGES_AN_HOUR - 800
    assert shop.sweep(limit=800) == []
    assert asyncio.run(shop.records.waiting_for_purge(_DAY)) == PURGES_AN_HOUR + 50
    shop.run("UPDATE purges SET hour = hour - 1")
    assert len(shop.sweep(limit=800)) == 800


def test_a_large_store_may_purge_a_share_of_it(shop: Shop) -> None:
    shop.run("INSERT INTO owners (owner, images) VALUES ('shop', 40000)")
    shop.add(2500, deleted_ago=2 * _DAY)
    shop.sweep()
    shop.pass_by(2 * _DAY)
    assert len(shop.sweep()) == 2000
