"""Totals of the deployment, updated as rows change, since summing a million rows takes seconds.

The database counts with triggers (see migration 0012), so that nodes of the previous version count, too. Counts are
spread over several rows, one per PostgreSQL connection, so that uploads don't wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from progimage.storage.database.connections import insert_new
from progimage.storage.database.schema import blobs, images, owner_totals, owners, totals

_NAMES = ("images", "bytes", "ladder_bytes", "damaged")


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of the deployment.

    Attributes:
        images: Number of references.
        bytes: Size of the originals; one with several references counts once.
        ladder_bytes: Size of the rungs.
        damaged: Number of originals found damaged and not restored.
    """

    images: int
    bytes: int
    ladder_bytes: int
    damaged: int


def counted(connection: sa.Connection) -> Totals:
    """Return the totals as counted."""
    return _totals(connection, [_sum(totals.c[name]) for name in _NAMES])


def summed(connection: sa.Connection) -> Totals:
    """Return the totals by summing all rows, which takes seconds for a million."""
    return _totals(connection, _sums())


@dataclass(frozen=True, slots=True)
class Differences:
    """Errors in the counts.

    Attributes:
        totals: Actual totals minus the counted ones.
        blobs: Number of blobs with a wrong count of images.
        owners: Number of owners with a wrong count of images or bytes.
    """

    totals: Totals
    blobs: int
    owners: int


def differences(connection: sa.Connection) -> Differences:
    """Return the errors in the counts by reading all rows, which takes seconds for a million."""
    _take_time(connection)
    blob_count, owner_count = (
        int(connection.execute(sa.select(sa.func.count()).select_from(wrong)).scalar_one())
        for wrong in (_wrong_blobs(), _wrong_owners())
    )
    return Differences(_missing(connection), blob_count, owner_count)


def recount(connection: sa.Connection) -> None:
    """Correct the counts in a transaction.

    It takes seconds for a million rows; on PostgreSQL a minute if the count of every blob is wrong. Other transactions
    may change rows meanwhile: each statement reads rows and counts in one snapshot, in which neither includes
    uncommitted changes, and it adds the difference, so that concurrent counts aren't lost.
    """
    _take_time(connection)
    wrong = _wrong_blobs()
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql:  # the trigger would update one row of the totals for each blob, ever more slowly
        connection.exec_driver_sql("SET LOCAL progimage.counts_bytes = off")
    more = {"images": blobs.c.images + wrong.c.images}
    connection.execute(sa.update(blobs).where(blobs.c.sha256 == wrong.c.sha256).values(more))
    if is_postgresql:
        connection.exec_driver_sql("SET LOCAL progimage.counts_bytes = on")
    missing = _missing(connection)
    connection.execute(
        sa.update(totals)
        .where(totals.c.slot == 0)
        .values({name: totals.c[name] + getattr(missing, name) for name in _NAMES})
    )
    is_there = sa.exists().where(owners.c.owner == images.c.owner)
    for owner in connection.execute(sa.select(images.c.owner).where(~is_there).distinct()).scalars().all():
        insert_new(connection, owners, owner=owner)
    wrong = _wrong_owners()
    more = {name: owners.c[name] + wrong.c[name] for name in ("images", "bytes")}
    connection.execute(sa.update(owners).where(owners.c.owner == wrong.c.owner).values(more))


def _take_time(connection: sa.Connection) -> None:
    """Turn off the statement timeout for the rest of a transaction."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _sums() -> list[sa.ColumnElement[int]]:
    """Return queries for the actual totals, in their order."""
    used = sa.exists().where(images.c.sha256 == blobs.c.sha256)
    return [
        sa.select(sa.func.count()).select_from(images).where(images.c.deleted_at.is_(None)).scalar_subquery(),
        *(sa.select(_sum(column)).where(used).scalar_subquery() for column in (blobs.c.bytes, blobs.c.ladder_bytes)),
        sa.select(sa.func.count()).select_from(blobs).where(blobs.c.damaged).scalar_subquery(),
    ]


def _missing(connection: sa.Connection) -> Totals:
    counts = (sa.select(_sum(totals.c[name])).scalar_subquery() for name in _NAMES)
    return _totals(connection, [right - count for right, count in zip(_sums(), counts, strict=True)])


def _totals(connection: sa.Connection, queries: Sequence[sa.ColumnElement[int]]) -> Totals:
    """Return the results of four queries as of the same moment."""
    return Totals(*(int(value) for value in connection.execute(sa.select(*queries)).one()))


def _wrong_blobs() -> sa.Subquery:
    """Return a query for the blobs with a wrong count of images, and the difference."""
    found = sa.select(images.c.sha256, sa.func.count().label("images")).group_by(images.c.sha256).subquery("found")
    more = (_known(found.c.images) - blobs.c.images).label("images")
    joined = blobs.outerjoin(found, found.c.sha256 == blobs.c.sha256)
    return sa.select(blobs.c.sha256, more).select_from(joined).where(more != 0).subquery("wrong")


def _wrong_owners() -> sa.Subquery:
    """Return a query for the owners with wrong counts, and the differences of images and bytes."""
    kept = (
        sa.select(images.c.owner, sa.func.count().label("images"), _sum(blobs.c.bytes).label("bytes"))
        .join(blobs)
        .group_by(images.c.owner)
        .subquery("kept")
    )
    apart = (
        sa.select(owner_totals.c.owner, *(_sum(owner_totals.c[name]).label(name) for name in ("images", "bytes")))
        .group_by(owner_totals.c.owner)
        .subquery("apart")
    )
    named = sa.union(sa.select(owners.c.owner), sa.select(kept.c.owner)).subquery("named")
    joined: sa.FromClause = named
    for table in (kept, owners, apart):
        joined = joined.outerjoin(table, table.c.owner == named.c.owner)
    more = [
        (_known(kept.c[name]) - _known(owners.c[name]) - _known(apart.c[name])).label(name)
        for name in ("images", "bytes")
    ]
    wrong = sa.or_(*(one != 0 for one in more))
    return sa.select(named.c.owner, *more).select_from(joined).where(wrong).subquery("wrong")


def _known(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(column, 0)


def _sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.coalesce(sa.func.sum(column), 0), sa.BigInteger)
