"""The owners of images: what each has stored, and how much it may.

A quota is exact: who adds an image to an owner with one locks the owner's row, and counts there. On PostgreSQL an
upload would so wait for the one before to be durable; so what an owner without a quota has is counted in further rows,
of which a connection takes one. The figures of an owner are the sum of all these.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from progimage.auth import Client
from progimage.storage.database.audit import Event, write_events
from progimage.storage.database.connections import Database, insert_new
from progimage.storage.database.schema import owner_totals, owners

_SLOTS = 16
_OWNERS = (
    sa.select(
        owners.c.owner,
        *(
            (owners.c[name] + sa.func.coalesce(sa.func.sum(owner_totals.c[name]), 0)).label(name)
            for name in ("images", "bytes")
        ),
        owners.c.max_images,
        owners.c.max_bytes,
        owners.c.retention_seconds,
    )
    .outerjoin(owner_totals, owner_totals.c.owner == owners.c.owner)
    .group_by(owners.c.owner)
    .order_by(owners.c.owner)
)


class QuotaExceeded(Exception):
    """An owner would have more than it may.

    Args:
        what: `images` or `bytes`.
        wanted: How many it would have.
        allowed: How many it may have.
    """

    def __init__(self, what: str, wanted: int, allowed: int) -> None:
        """Store the parts."""
        super().__init__(f"The quota of {what} is used up.")
        self.what, self.wanted, self.allowed = what, wanted, allowed


@dataclass(frozen=True, slots=True)
class Quota:
    """How much an owner may have; None is no bound.

    Attributes:
        images: How many.
        bytes: Of originals; each reference counts in full.
    """

    images: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner.

    Attributes:
        name: What it is called.
        images: How many it has; deleted ones count until they can't be brought back any more.
        bytes: Of their originals.
        quota: How much it may have; None is what the deployment allows everybody.
        retention_seconds: After how long its images expire, unless an upload says otherwise; None: never.
    """

    name: str
    images: int = 0
    bytes: int = 0
    quota: Quota = Quota()
    retention_seconds: int | None = None

    def end_of(self, uploaded_at: float) -> float | None:
        """Return when an image expires whose upload said nothing of that; both in seconds since 1970."""
        return None if self.retention_seconds is None else uploaded_at + self.retention_seconds


class Owners:
    """The owners.

    Args:
        database: Where they are.
        usual: What owners may have whose own quota says nothing.
    """

    def __init__(self, database: Database, usual: Quota = Quota()) -> None:
        """Keep the database."""
        self._database = database
        self.usual = usual

    async def get(self, name: str) -> Owner:
        """Return an owner; one that has nothing yet has nothing."""
        return await asyncio.to_thread(self._get, name)

    async def all(self) -> list[Owner]:
        """Return all owners that have or had something, or a quota of their own."""
        return await asyncio.to_thread(self._all)

    async def set(self, client: Client, name: str, quota: Quota, retention_seconds: int | None) -> Owner:
        """Set what an owner may have, and for how long, and return it."""
        return await asyncio.to_thread(self._set, client, name, quota, retention_seconds)

    def quota_of(self, owner: Owner) -> Quota:
        """Return how much an owner may have in effect."""
        own, usual = owner.quota, self.usual
        return Quota(
            usual.images if own.images is None else own.images, usual.bytes if own.bytes is None else own.bytes
        )

    def admit(self, owner: Owner, images: int, size: int) -> None:
        """Raise `QuotaExceeded` unless an owner may have so many images and bytes more."""
        quota = self.quota_of(owner)
        for what, wanted, allowed in (
            ("images", owner.images + images, quota.images),
            ("bytes", owner.bytes + size, quota.bytes),
        ):
            if allowed is not None and wanted > allowed:
                raise QuotaExceeded(what, wanted, allowed)

    def take(self, connection: sa.Connection, name: str, images: int, size: int) -> None:
        """Count images in, within the transaction that stores them.

        Raises:
            QuotaExceeded: It may not have so many.
        """
        if self._count_apart(connection, name, images, size):
            return
        insert_new(connection, owners, owner=name)
        mine = owners.c.owner == name
        connection.execute(sa.select(owners.c.owner).where(mine).with_for_update())
        # With a statement of its own, which sees what was committed while this one waited for the lock.
        self.admit(_owner(connection.execute(_OWNERS.where(mine)).one()), images, size)
        _count(connection, name, images, size)

    def give_back(self, connection: sa.Connection, name: str, images: int, size: int) -> None:
        """Count images out, within the transaction that removes them."""
        if not self._count_apart(connection, name, -images, -size):
            _count(connection, name, -images, -size)

    def _count_apart(self, connection: sa.Connection, name: str, images: int, size: int) -> bool:
        """Count in a row of this connection, if the owner is there and has no quota; return whether it was."""
        if connection.dialect.name != "postgresql" or self.usual != Quota():
            return False
        from sqlalchemy.dialects.postgresql import insert

        # Whether there is a quota is asked by the same statement: `_set` keeps it waiting while that may change.
        slot, more = sa.func.pg_backend_pid() % _SLOTS, {"images": images, "bytes": size}
        row = sa.select(owners.c.owner, slot, *(sa.literal(value, sa.BigInteger) for value in more.values())).where(
            owners.c.owner == name, owners.c.max_images.is_(None), owners.c.max_bytes.is_(None)
        )
        statement = insert(owner_totals).from_select(["owner", "slot", *more], row)
        statement = statement.on_conflict_do_update(
            index_elements=["owner", "slot"],
            set_={column: owner_totals.c[column] + value for column, value in more.items()},
        )
        return connection.execute(statement.returning(owner_totals.c.owner)).first() is not None

    def _get(self, name: str) -> Owner:
        with self._database.reading() as connection:
            row = connection.execute(_OWNERS.where(owners.c.owner == name)).first()
        return _owner(row) if row else Owner(name)

    def _all(self) -> list[Owner]:
        with self._database.reading() as connection:
            return [_owner(row) for row in connection.execute(_OWNERS)]

    def _set(self, client: Client, name: str, quota: Quota, retention_seconds: int | None) -> Owner:
        values = {"max_images": quota.images, "max_bytes": quota.bytes, "retention_seconds": retention_seconds}
        with self._database.writing() as connection:
            if connection.dialect.name == "postgresql":
                # Waits for uploads that have counted without a quota, which those with one would not see before.
                connection.exec_driver_sql("LOCK TABLE owner_totals IN SHARE MODE")
            insert_new(connection, owners, owner=name)
            connection.execute(sa.update(owners).where(owners.c.owner == name).values(**values))
            write_events(connection, [Event.by(client, "owner-set", name, detail=values)])
            return _owner(connection.execute(_OWNERS.where(owners.c.owner == name)).one())


def images_of_all(connection: sa.Connection) -> int:
    """Return how many images all owners have."""
    sums = (sa.select(sa.func.coalesce(sa.func.sum(table.c.images), 0)) for table in (owners, owner_totals))
    return sum(int(connection.execute(query).scalar_one()) for query in sums)


def _count(connection: sa.Connection, name: str, images: int, size: int) -> None:
    more = {"images": owners.c.images + images, "bytes": owners.c.bytes + size}
    connection.execute(sa.update(owners).where(owners.c.owner == name).values(**more))


def _owner(row: Any) -> Owner:
    quota = Quota(row.max_images, row.max_bytes)
    return Owner(row.owner, int(row.images), int(row.bytes), quota, row.retention_seconds)
