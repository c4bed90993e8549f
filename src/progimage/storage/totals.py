"""How much is kept, counted as rows change, since summing a million of them takes seconds.

The database counts by itself, with triggers (see migration 0012), so that nodes of the version before count, too. A
count is spread over rows, of which a connection to PostgreSQL takes one, so that uploads don't wait for one another.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from progimage.storage.schema import blobs, images, totals


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is kept.

    Attributes:
        images: How many references there are.
        bytes: Of their originals; those that several refer to count once.
        ladder_bytes: Of the smaller copies.
        damaged: How many blobs were found damaged and could not be restored.
    """

    images: int
    bytes: int
    ladder_bytes: int
    damaged: int


def counted(connection: sa.Connection) -> Totals:
    """Return how much is kept, as it was counted."""
    names = ("images", "bytes", "ladder_bytes", "damaged")
    row = connection.execute(sa.select(*(sa.func.sum(totals.c[name]).label(name) for name in names))).one()
    return Totals(*(int(value or 0) for value in row))


def summed(connection: sa.Connection) -> Totals:
    """Return how much is kept, by looking at every row; it takes seconds for a million."""
    used = sa.exists().where(images.c.sha256 == blobs.c.sha256)
    sums = [sa.func.coalesce(sa.func.sum(column), 0) for column in (blobs.c.bytes, blobs.c.ladder_bytes)]
    live = connection.execute(
        sa.select(sa.func.count()).select_from(images).where(images.c.deleted_at.is_(None))
    ).scalar_one()
    damaged = connection.execute(sa.select(sa.func.count()).select_from(blobs).where(blobs.c.damaged)).scalar_one()
    originals, ladders = connection.execute(sa.select(*sums).where(used)).one()
    return Totals(int(live), int(originals), int(ladders), int(damaged))


def recount(connection: sa.Connection) -> None:
    """Make the counts what the rows say, within a transaction."""
    right = summed(connection)
    references = sa.select(sa.func.count()).where(images.c.sha256 == blobs.c.sha256).scalar_subquery()
    connection.execute(sa.update(blobs).where(blobs.c.images != references).values(images=references))
    now = counted(connection)
    more = {
        name: totals.c[name] + getattr(right, name) - getattr(now, name)
        for name in ("images", "bytes", "ladder_bytes", "damaged")
    }
    connection.execute(sa.update(totals).where(totals.c.slot == 0).values(**more))
