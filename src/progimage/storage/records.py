"""The records: which references there are, and what is known of each."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage.engine import ImageInfo, Ladder, Step

metadata = sa.MetaData()

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("info", sa.Text, nullable=False),
    sa.Column("ladder", sa.Text),
    sa.Column("ladder_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("stored", sa.Boolean, nullable=False),
    sa.Column("touched_at", sa.Float, nullable=False, index=True),
)
images = sa.Table(
    "images",
    metadata,
    sa.Column("reference", sa.String(36), primary_key=True),
    sa.Column("sha256", sa.String(64), sa.ForeignKey("blobs.sha256"), nullable=False, index=True),
    sa.Column("filename", sa.Text),
    sa.Column("uploaded_at", sa.Float, nullable=False),
)

_RECORDS = sa.select(images, blobs.c.bytes, blobs.c.info, blobs.c.ladder).join(blobs)


class RecordsUnavailable(Exception):
    """The database is locked, unreachable or failing; trying again later may work."""


@dataclass(frozen=True, slots=True)
class Blob:
    """An original's bytes.

    Attributes:
        sha256: Their name, in hexadecimal digits.
        bytes: How many there are.
        info: What the image is like.
        ladder: Its smaller copies, if it has any.
    """

    sha256: str
    bytes: int
    info: ImageInfo
    ladder: Ladder | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its smaller copies, the largest first."""
        return self.ladder.steps if self.ladder else ()

    @property
    def names(self) -> list[str]:
        """What it and its smaller copies are called in the store."""
        return [self.sha256, *map(self.step_name, self.steps)]

    def step_name(self, step: Step) -> str:
        """Return what a step of the ladder is called in the store."""
        return f"{self.sha256}-{step.side}"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a reference.

    Attributes:
        reference: A UUID.
        blob: The original.
        filename: What the file was called by the client that uploaded it, if it said.
        uploaded_at: When, in UTC.
    """

    reference: str
    blob: Blob
    filename: str | None
    uploaded_at: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is kept.

    Attributes:
        images: How many references there are.
        bytes: Of their originals; those that several refer to count once.
        ladder_bytes: Of the smaller copies.
    """

    images: int
    bytes: int
    ladder_bytes: int


class Records:
    """The database.

    Args:
        url: SQLAlchemy's URL of it.
    """

    def __init__(self, url: str) -> None:
        """Prepare the engine; the first connection is made when it is needed."""
        self._engine = make_engine(url)

    async def get(self, reference: str) -> Record | None:
        """Return the record of a reference, if there is one."""
        return await asyncio.to_thread(self._get, reference)

    async def stored_blob(self, sha256: str) -> Blob | None:
        """Return what is known of a blob that is already stored durably, if it is."""
        return await asyncio.to_thread(self._stored_blob, sha256)

    async def claim(self, blob: Blob) -> bool:
        """Announce that a blob is about to be used, so that it is not swept away.

        Returns:
            Whether it is already stored durably.
        """
        return await asyncio.to_thread(self._claim, blob)

    async def add(self, records: list[Record]) -> None:
        """Commit records, all or none; their blobs were claimed and are stored. Durable when it returns."""
        await asyncio.to_thread(self._add, records)

    async def remove(self, reference: str) -> tuple[Record, bool] | None:
        """Remove a record.

        Returns:
            The record and whether it was the last of its blob, or None: there was none.
        """
        return await asyncio.to_thread(self._remove, reference)

    async def reclaim(self, unused_for: float, delete: Callable[[Blob], None]) -> int:
        """Remove the blobs that no record refers to.

        A row stays locked while its bytes are deleted, so that an upload of the same bytes waits, and then stores
        them again.

        Args:
            unused_for: For how many seconds at least, counted from the last claim or removal.
            delete: Removes the bytes of a blob; it may find them gone already.

        Returns:
            How many were removed.
        """
        return await asyncio.to_thread(self._reclaim, unused_for, delete)

    async def check(self) -> None:
        """Raise `RecordsUnavailable` unless the database answers."""
        await asyncio.to_thread(self._check)

    async def totals(self) -> Totals:
        """Return how much is kept."""
        return await asyncio.to_thread(self._totals)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _get(self, reference: str) -> Record | None:
        query = _RECORDS.where(images.c.reference == reference)
        with self._reading() as connection:
            row = connection.execute(query).first()
        return _record(row) if row else None

    def _stored_blob(self, sha256: str) -> Blob | None:
        query = sa.select(blobs).where(blobs.c.sha256 == sha256, blobs.c.stored)
        with self._reading() as connection:
            row = connection.execute(query).first()
        return _blob(row) if row else None

    def _claim(self, blob: Blob) -> bool:
        now = time.time()
        touch = sa.update(blobs).where(blobs.c.sha256 == blob.sha256).values(touched_at=now).returning(blobs.c.stored)
        with self._writing() as connection:
            row = connection.execute(touch).first()
            if row:
                return bool(row.stored)
            values = {
                "info": msgspec.json.encode(blob.info).decode(),
                "ladder": msgspec.json.encode(blob.ladder).decode() if blob.ladder else None,
                "ladder_bytes": blob.ladder.bytes if blob.ladder else 0,
            }
            connection.execute(
                sa.insert(blobs).values(sha256=blob.sha256, bytes=blob.bytes, stored=False, touched_at=now, **values)
            )
            return False

    def _add(self, records: list[Record]) -> None:
        rows = [
            {
                "reference": record.reference,
                "sha256": record.blob.sha256,
                "filename": record.filename,
                "uploaded_at": record.uploaded_at.timestamp(),
            }
            for record in records
        ]
        used = {record.blob.sha256 for record in records}
        with self._writing() as connection:
            connection.execute(sa.insert(images), rows)
            connection.execute(sa.update(blobs).where(blobs.c.sha256.in_(used)).values(stored=True))

    def _remove(self, reference: str) -> tuple[Record, bool] | None:
        query = _RECORDS.where(images.c.reference == reference)
        with self._writing() as connection:
            row = connection.execute(query).first()
            if row is None:
                return None
            connection.execute(sa.delete(images).where(images.c.reference == reference))
            others = sa.select(sa.exists().where(images.c.sha256 == row.sha256))
            last = not connection.execute(others).scalar_one()
            if last:
                touch = sa.update(blobs).where(blobs.c.sha256 == row.sha256).values(touched_at=time.time())
                connection.execute(touch)
        return _record(row), last

    def _reclaim(self, unused_for: float, delete: Callable[[Blob], None]) -> int:
        unused = (blobs.c.touched_at < time.time() - unused_for) & ~sa.exists().where(images.c.sha256 == blobs.c.sha256)
        with self._reading() as connection:
            candidates = connection.execute(sa.select(blobs.c.sha256).where(unused)).scalars().all()
        removed = 0
        for sha256 in candidates:
            with self._writing() as connection:
                locked = sa.select(blobs).where(blobs.c.sha256 == sha256, unused).with_for_update()
                row = connection.execute(locked).first()
                if row:
                    delete(_blob(row))
                    connection.execute(sa.delete(blobs).where(blobs.c.sha256 == sha256))
                    removed += 1
        return removed

    def _check(self) -> None:
        with self._reading() as connection:
            connection.execute(sa.select(images.c.reference).limit(1))

    def _totals(self) -> Totals:
        used = sa.exists().where(images.c.sha256 == blobs.c.sha256)
        sums = [sa.func.coalesce(sa.func.sum(column), 0) for column in (blobs.c.bytes, blobs.c.ladder_bytes)]
        with self._reading() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(images)).scalar_one()
            originals, ladders = connection.execute(sa.select(*sums).where(used)).one()
        return Totals(int(count), int(originals), int(ladders))

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _translated_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with (
            _translated_errors(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection


def make_engine(url: str) -> sa.Engine:
    """Make the SQLAlchemy engine of a database; SQLite is set to be durable and to be shared."""
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 10})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that will write takes the lock at once, since it could not wait for it later.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        raise RecordsUnavailable(f"The database can't be used now: {error.__cause__ or error}") from error


def _record(row: Any) -> Record:
    return Record(row.reference, _blob(row), row.filename, datetime.fromtimestamp(row.uploaded_at, UTC))


def _blob(row: Any) -> Blob:
    info = msgspec.json.decode(row.info, type=ImageInfo)
    return Blob(row.sha256, row.bytes, info, msgspec.json.decode(row.ladder, type=Ladder) if row.ladder else None)
