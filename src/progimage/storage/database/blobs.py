"""Inventory of the blobs in the store, with their descriptions."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage import clock
from progimage.engine import INSPECTION_VERSION, ImageInfo, Ladder, Rung
from progimage.storage.blobs.chunk_hashes import Digests
from progimage.storage.database.connections import Database, insert_new, now_of, time_of
from progimage.storage.database.holds import is_held
from progimage.storage.database.schema import blobs, images
from progimage.storage.database.totals import Totals, counted
from progimage.storage.threads import in_thread


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of an original.

    Attributes:
        sha256: SHA-256 of the bytes in hexadecimal digits, which is also their name.
        bytes: Size in bytes.
        info: Metadata of the image.
        ladder: Its smaller copies, if any.
        chunks: Hashes of its chunks, see `storage.blobs.chunk_hashes`; empty if it has only one, or if they are
            unknown.
        damaged: Whether it was found damaged and could not be restored.
    """

    sha256: str
    bytes: int
    info: ImageInfo
    ladder: Ladder | None = None
    chunks: Digests = b""
    damaged: bool = False

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Rungs of the ladder, largest first."""
        return self.ladder.rungs if self.ladder else ()

    @property
    def names(self) -> list[str]:
        """Names of the original and its rungs in the store."""
        return [self.sha256, *map(self.rung_name, self.rungs)]

    def rung_name(self, rung: Rung) -> str:
        """Return the name of a rung in the store."""
        return f"{self.sha256}-{rung.side}"


class Inventory:
    """The blobs.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @in_thread
    def stored(self, sha256: str, owner: str) -> Blob | None:
        """Return a blob that is durably stored, not damaged, and used by an image of an owner, or None.

        Blobs of other owners are not returned: the speed of an upload must not reveal what they have.
        """
        own = sa.exists().where(images.c.sha256 == sha256, images.c.owner == owner)
        query = sa.select(blobs).where(blobs.c.sha256 == sha256, blobs.c.stored, ~blobs.c.damaged, own)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return blob_of(row) if row else None

    @in_thread
    def claim(self, blob: Blob) -> bool:
        """Claim a blob that is about to be used, so that no sweep removes it.

        Returns:
            Whether it is already stored durably.
        """
        values = {
            "bytes": blob.bytes,
            **_described(blob),
            "stored": False,
            "chunks": blob.chunks or None,
            "checked_at": clock.now(),
        }
        with self._database.writing() as connection:
            now = now_of(connection)
            if insert_new(connection, blobs, sha256=blob.sha256, touched_at=now, **values):
                return False
            touch = sa.update(blobs).where(blobs.c.sha256 == blob.sha256).values(touched_at=now)
            return bool(connection.execute(touch.returning(blobs.c.stored)).scalar_one())

    @in_thread
    def reclaim(self, unused_for: float, delete: Callable[[Blob], None]) -> int:
        """Remove blobs without references.

        A row stays locked while its bytes are deleted, so that an upload of the same bytes waits and then stores them
        again. During a backup, nothing is removed.

        Args:
            unused_for: Minimum time since the last claim or removal of a reference, in seconds.
            delete: Removes the bytes of a blob, which may already be gone.

        Returns:
            Number of removed blobs.
        """
        # Use the count, which has an index, and then the rows, since a count can be wrong.
        unreferenced = (blobs.c.images <= 0) & ~sa.exists().where(images.c.sha256 == blobs.c.sha256)
        with self._database.reading() as connection:
            before = time_of(connection) - unused_for
            unused = (blobs.c.touched_at < before) & unreferenced
            candidates = connection.execute(sa.select(blobs.c.sha256).where(unused)).scalars().all()
        removed = 0
        for sha256 in candidates:
            with self._database.writing() as connection:
                unused = (
                    (blobs.c.sha256 == sha256) & (blobs.c.touched_at < time_of(connection) - unused_for) & unreferenced
                )
                # Commit this first: if deleting fails half-way, nobody assumes that the bytes exist.
                connection.execute(sa.update(blobs).where(unused, ~is_held(connection)).values(stored=False))
            with self._database.writing() as connection:
                free = sa.select(blobs).where(unused, ~is_held(connection))
                row = connection.execute(free.with_for_update()).first()
                if row:
                    delete(blob_of(row))
                    connection.execute(sa.delete(blobs).where(blobs.c.sha256 == sha256))
                    removed += 1
        return removed

    @in_thread
    def unchecked(self, since: float, limit: int) -> list[Blob]:
        """Return blobs whose bytes weren't checked since a time (Unix timestamp), the longest unchecked first."""
        query = (
            sa.select(blobs)
            .where(blobs.c.stored, blobs.c.checked_at < since)
            .order_by(blobs.c.checked_at, blobs.c.sha256)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [blob_of(row) for row in connection.execute(query)]

    @in_thread
    def checked(self, sha256: str, *, damaged: bool, chunks: bytes = b"") -> list[str]:
        """Record the result of checking the bytes of a blob.

        Args:
            sha256: SHA-256 of the blob.
            damaged: Whether its bytes are lost.
            chunks: Hashes of its chunks, if they are known now.

        Returns:
            References of its images if the mark "damaged" changed, otherwise an empty list.
        """
        values: dict[str, Any] = {"checked_at": clock.now(), "damaged": damaged}
        if chunks:
            values["chunks"] = chunks
        with self._database.writing() as connection:
            before = connection.execute(sa.select(blobs.c.damaged).where(blobs.c.sha256 == sha256)).scalar()
            connection.execute(sa.update(blobs).where(blobs.c.sha256 == sha256).values(**values))
            if before is None or bool(before) == damaged:
                return []
            return list(connection.execute(sa.select(images.c.reference).where(images.c.sha256 == sha256)).scalars())

    @in_thread
    def outdated(self, limit: int, after: str = "") -> list[Blob]:
        """Return blobs described by an older version of the inspection, sorted by name, after a given name."""
        query = (
            sa.select(blobs)
            .where(blobs.c.inspection < INSPECTION_VERSION, blobs.c.stored, ~blobs.c.damaged, blobs.c.sha256 > after)
            .order_by(blobs.c.sha256)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [blob_of(row) for row in connection.execute(query)]

    @in_thread
    def referenced(self, limit: int, after: str = "") -> list[Blob]:
        """Return stored blobs with references, including deleted ones, sorted by name, after a given name."""
        query = (
            sa.select(blobs)
            .where(blobs.c.stored, blobs.c.sha256 > after, sa.exists().where(images.c.sha256 == blobs.c.sha256))
            .order_by(blobs.c.sha256)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [blob_of(row) for row in connection.execute(query)]

    async def redescribe(self, blob: Blob) -> None:
        """Store a new description and ladder of a blob."""
        await asyncio.to_thread(self._update, blob.sha256, **_described(blob))

    async def without_ladder(self, sha256: str) -> None:
        """Record that a blob no longer has a ladder."""
        await asyncio.to_thread(self._update, sha256, ladder=None, ladder_bytes=0)

    @in_thread
    def known(self, sha256: str) -> Blob | None:
        """Return a blob, whether it is stored or not, or None if it is unknown."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(blobs).where(blobs.c.sha256 == sha256)).first()
        return blob_of(row) if row else None

    @in_thread
    def owners_of(self, sha256s: list[str]) -> dict[str, set[str]]:
        """Return the owners of images with these bytes that aren't deleted, by SHA-256."""
        query = sa.select(images.c.sha256, images.c.owner).where(
            images.c.sha256.in_(sha256s), images.c.deleted_at.is_(None)
        )
        found: dict[str, set[str]] = {sha256: set() for sha256 in sha256s}
        with self._database.reading() as connection:
            for sha256, owner in connection.execute(query.distinct()):
                found[sha256].add(owner)
        return found

    @in_thread
    def totals(self) -> Totals:
        """Return the totals of the deployment."""
        with self._database.reading() as connection:
            return counted(connection)

    def _update(self, sha256: str, **values: Any) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.update(blobs).where(blobs.c.sha256 == sha256).values(**values))


def _described(blob: Blob) -> dict[str, Any]:
    return {
        "format": blob.info.format,
        "info": msgspec.json.encode(blob.info).decode(),
        "ladder": msgspec.json.encode(blob.ladder).decode() if blob.ladder else None,
        "ladder_bytes": blob.ladder.bytes if blob.ladder else 0,
        "inspection": blob.info.inspection,
    }


def blob_of(row: Any) -> Blob:
    """Return the blob of a row of its table, or of a table joined with it."""
    info = msgspec.json.decode(row.info, type=ImageInfo)
    ladder = msgspec.json.decode(row.ladder, type=Ladder) if row.ladder else None
    return Blob(row.sha256, row.bytes, info, ladder, row.chunks or b"", bool(row.damaged))
