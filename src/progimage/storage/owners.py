"""The owners of images: what each has stored, and how much it may."""

import asyncio
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from progimage.access import Client
from progimage.storage.audit import Event, write_events
from progimage.storage.database import Database, insert_new
from progimage.storage.schema import owners


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
        insert_new(connection, owners, owner=name)
        row = connection.execute(sa.select(owners).where(owners.c.owner == name).with_for_update()).one()
        self.admit(_owner(row), images, size)
        _count(connection, name, images, size)

    def give_back(self, connection: sa.Connection, name: str, images: int, size: int) -> None:
        """Count images out, within the transaction that removes them."""
        _count(connection, name, -images, -size)

    def _get(self, name: str) -> Owner:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(owners).where(owners.c.owner == name)).first()
        return _owner(row) if row else Owner(name)

    def _all(self) -> list[Owner]:
        with self._database.reading() as connection:
            return [_owner(row) for row in connection.execute(sa.select(owners).order_by(owners.c.owner))]

    def _set(self, client: Client, name: str, quota: Quota, retention_seconds: int | None) -> Owner:
        values = {"max_images": quota.images, "max_bytes": quota.bytes, "retention_seconds": retention_seconds}
        with self._database.writing() as connection:
            insert_new(connection, owners, owner=name)
            connection.execute(sa.update(owners).where(owners.c.owner == name).values(**values))
            write_events(connection, [Event.by(client, "owner-set", name, detail=values)])
            return _owner(connection.execute(sa.select(owners).where(owners.c.owner == name)).one())


def _count(connection: sa.Connection, name: str, images: int, size: int) -> None:
    more = {"images": owners.c.images + images, "bytes": owners.c.bytes + size}
    connection.execute(sa.update(owners).where(owners.c.owner == name).values(**more))


def _owner(row: Any) -> Owner:
    quota = Quota(row.max_images, row.max_bytes)
    return Owner(row.owner, int(row.images), int(row.bytes), quota, row.retention_seconds)
