"""Owners of images: usage and quotas.

Quotas are exact: an upload for an owner with a quota locks the owner's row and counts there. On PostgreSQL, each upload
would then wait until the previous one is durable. So the usage of owners without a quota is counted in additional rows,
one per connection. The usage of an owner is the sum of all these rows.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from progimage.auth import Caller
from progimage.storage.database.audit import Event, write_events
from progimage.storage.database.connections import Database, insert_new
from progimage.storage.database.schema import owner_totals, owners
from progimage.storage.threads import in_thread

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
    """The quota of an owner would be exceeded.

    Args:
        what: `images` or `bytes`.
        wanted: Usage that the owner would have.
        allowed: Its quota.
    """

    def __init__(self, what: str, wanted: int, allowed: int) -> None:
        super().__init__(f"The quota of {what} is exceeded.")
        self.what, self.wanted, self.allowed = what, wanted, allowed


@dataclass(frozen=True, slots=True)
class Quota:
    """Quota of an owner. None means no limit.

    Attributes:
        images: Maximum number of images.
        bytes: Maximum size of all originals; each reference counts in full.
    """

    images: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner.

    Attributes:
        name: Name of the owner.
        images: Number of its images. Deleted ones count until they can no longer be restored.
        bytes: Size of their originals.
        quota: Its own quota; None stands for the deployment's default.
        retention_seconds: Time after which its images expire, unless the upload sets another; None: never.
    """

    name: str
    images: int = 0
    bytes: int = 0
    quota: Quota = Quota()
    retention_seconds: int | None = None

    def end_of(self, uploaded_at: float) -> float | None:
        """Return the default expiry of an image uploaded at a given time; both are Unix timestamps."""
        return None if self.retention_seconds is None else uploaded_at + self.retention_seconds


class Owners:
    """The owners.

    Args:
        database: The database.
        usual: Default quota.
    """

    def __init__(self, database: Database, usual: Quota = Quota()) -> None:
        self._database = database
        self.usual = usual

    @in_thread
    def get(self, name: str) -> Owner:
        """Return an owner. An unknown one is returned with no usage and no quota."""
        with self._database.reading() as connection:
            row = connection.execute(_OWNERS.where(owners.c.owner == name)).first()
        return _owner(row) if row else Owner(name)

    @in_thread
    def all(self) -> list[Owner]:
        """Return all owners that have or had images, or have their own quota."""
        with self._database.reading() as connection:
            return [_owner(row) for row in connection.execute(_OWNERS)]

    @in_thread
    def set(self, caller: Caller, name: str, quota: Quota, retention_seconds: int | None) -> Owner:
        """Set the quota and the retention of an owner, and return the owner."""
        values = {"max_images": quota.images, "max_bytes": quota.bytes, "retention_seconds": retention_seconds}
        with self._database.writing() as connection:
            if connection.dialect.name == "postgresql":
                # Waits for uploads that counted without a quota, which uploads with a quota would not see yet.
                connection.exec_driver_sql("LOCK TABLE owner_totals IN SHARE MODE")
            insert_new(connection, owners, owner=name)
            connection.execute(sa.update(owners).where(owners.c.owner == name).values(**values))
            write_events(connection, [Event.by(caller, "owner-set", name, detail=values)])
            return _owner(connection.execute(_OWNERS.where(owners.c.owner == name)).one())

    def quota_of(self, owner: Owner) -> Quota:
        """Return the effective quota of an owner."""
        own, usual = owner.quota, self.usual
        return Quota(
            usual.images if own.images is None else own.images, usual.bytes if own.bytes is None else own.bytes
        )

    def admit(self, owner: Owner, images: int, size: int) -> None:
        """Raise `QuotaExceeded` unless the quota of an owner allows more images and bytes."""
        quota = self.quota_of(owner)
        for what, wanted, allowed in (
            ("images", owner.images + images, quota.images),
            ("bytes", owner.bytes + size, quota.bytes),
        ):
            if allowed is not None and wanted > allowed:
                raise QuotaExceeded(what, wanted, allowed)

    def take(self, connection: sa.Connection, name: str, images: int, size: int) -> None:
        """Add images to the usage of an owner, in the transaction that stores them.

        Raises:
            QuotaExceeded: The quota doesn't allow them.
        """
        if self._count_apart(connection, name, images, size):
            return
        insert_new(connection, owners, owner=name)
        mine = owners.c.owner == name
        connection.execute(sa.select(owners.c.owner).where(mine).with_for_update())
        # A separate statement sees what was committed while the previous one waited for the lock.
        self.admit(_owner(connection.execute(_OWNERS.where(mine)).one()), images, size)
        _count(connection, name, images, size)

    def give_back(self, connection: sa.Connection, name: str, images: int, size: int) -> None:
        """Subtract images from the usage of an owner, in the transaction that removes them."""
        if not self._count_apart(connection, name, -images, -size):
            _count(connection, name, -images, -size)

    def _count_apart(self, connection: sa.Connection, name: str, images: int, size: int) -> bool:
        """Count in a row of this connection if the owner exists and has no quota, and return whether it did."""
        if connection.dialect.name != "postgresql" or self.usual != Quota():
            return False
        from sqlalchemy.dialects.postgresql import insert

        # The same statement checks that there is no quota: `_set` makes it wait while that may change.
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


def images_of_all(connection: sa.Connection) -> int:
    """Return the number of images of all owners."""
    sums = (sa.select(sa.func.coalesce(sa.func.sum(table.c.images), 0)) for table in (owners, owner_totals))
    return sum(int(connection.execute(query).scalar_one()) for query in sums)


def _count(connection: sa.Connection, name: str, images: int, size: int) -> None:
    more = {"images": owners.c.images + images, "bytes": owners.c.bytes + size}
    connection.execute(sa.update(owners).where(owners.c.owner == name).values(**more))


def _owner(row: Any) -> Owner:
    quota = Quota(row.max_images, row.max_bytes)
    return Owner(row.owner, int(row.images), int(row.bytes), quota, row.retention_seconds)
