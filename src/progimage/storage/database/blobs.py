"""The inventory: which blobs the store has, and what is known of each."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage import clock
from progimage.engine import INSPECTION, ImageInfo, Ladder, Step
from progimage.storage.blobs.chunk_hashes import Digests
from progimage.storage.database.connections import Database, insert_new, now_of, time_of
from progimage.storage.database.holds import is_held
from progimage.storage.database.schema import blobs, images
from progimage.storage.database.totals import Totals, counted


@dataclass(frozen=True, slots=True)
class Blob:
    """An original's bytes.

    Attributes:
        sha256: Their name, in hexadecimal digits.
        bytes: How many there are.
        info: What the image is like.
        ladder: Its smaller copies, if it has any.
        chunks: The hashes of its chunks, see `storage.blobs.chunk_hashes`; empty if it has only one, or if they are
            not known yet.
        damaged: It was found to be damaged, and could not be restored.
    """

    sha256: str
    bytes: int
    info: ImageInfo
    ladder: Ladder | None = None
    chunks: Digests = b""
    damaged: bool = False

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


class Inventory:
    """The blobs that there are.

    Args:
        database: Where they are listed.
    """

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    async def stored(self, sha256: str, owner: str) -> Blob | None:
        """Return what is known of a blob that is stored durably and whole, and of which an owner has an image.

        What others have is not told: from how fast an upload is, nobody shall learn what they have.
        """
        return await asyncio.to_thread(self._stored, sha256, owner)

    async def claim(self, blob: Blob) -> bool:
        """Announce that a blob is about to be used, so that it is not swept away.

        Returns:
            Whether it is already stored durably.
        """
        return await asyncio.to_thread(self._claim, blob)

    async def reclaim(self, unused_for: float, delete: Callable[[Blob], None]) -> int:
        """Remove the blobs that no record refers to.

        A row stays locked while its bytes are deleted, so that an upload of the same bytes waits, and then stores
        them again. While a backup is made, nothing is removed.

        Args:
            unused_for: For how many seconds at least, counted from the last claim or removal.
            delete: Removes the bytes of a blob; it may find them gone already.

        Returns:
            How many were removed.
        """
        return await asyncio.to_thread(self._reclaim, unused_for, delete)

    async def unchecked(self, since: float, most: int) -> list[Blob]:
        """Return blobs whose bytes were not checked since a time (seconds since 1970), the longest ago first."""
        return await asyncio.to_thread(self._unchecked, since, most)

    async def checked(self, sha256: str, *, damaged: bool, chunks: bytes = b"") -> list[str]:
        """Note that a blob's bytes were checked just now, and what was found.

        Args:
            sha256: Its name.
            damaged: Its bytes are lost.
            chunks: The hashes of its chunks, if they are known now.

        Returns:
            The references of its images, if it was marked as damaged, or is not any more.
        """
        return await asyncio.to_thread(self._checked, sha256, damaged, chunks)

    async def outdated(self, most: int, after: str = "") -> list[Blob]:
        """Return blobs that were described by older rules than today's, in the order of their names, after one."""
        return await asyncio.to_thread(self._outdated, most, after)

    async def referenced(self, most: int, after: str = "") -> list[Blob]:
        """Return stored blobs that images have, deleted ones among them, in the order of their names, after one."""
        return await asyncio.to_thread(self._referenced, most, after)

    async def redescribe(self, blob: Blob) -> None:
        """Note what a blob is like, and its ladder, by today's rules."""
        await asyncio.to_thread(self._update, blob.sha256, **_described(blob))

    async def without_ladder(self, sha256: str) -> None:
        """Note that a blob has no smaller copies any more."""
        await asyncio.to_thread(self._update, sha256, ladder=None, ladder_bytes=0)

    async def known(self, sha256: str) -> Blob | None:
        """Return what is known of a blob, whether it is stored or not."""
        return await asyncio.to_thread(self._known, sha256)

    async def owners_of(self, sha256s: list[str]) -> dict[str, set[str]]:
        """Return whose images that are not deleted have these bytes."""
        return await asyncio.to_thread(self._owners_of, sha256s)

    async def totals(self) -> Totals:
        """Return how much is kept."""
        return await asyncio.to_thread(self._totals)

    def _checked(self, sha256: str, damaged: bool, chunks: bytes) -> list[str]:
        values: dict[str, Any] = {"checked_at": clock.now(), "damaged": damaged}
        if chunks:
            values["chunks"] = chunks
        with self._database.writing() as connection:
            before = connection.execute(sa.select(blobs.c.damaged).where(blobs.c.sha256 == sha256)).scalar()
            connection.execute(sa.update(blobs).where(blobs.c.sha256 == sha256).values(**values))
            if before is None or bool(before) == damaged:
                return []
            return list(connection.execute(sa.select(images.c.reference).where(images.c.sha256 == sha256)).scalars())

    def _stored(self, sha256: str, owner: str) -> Blob | None:
        own = sa.exists().where(images.c.sha256 == sha256, images.c.owner == owner)
        query = sa.select(blobs).where(blobs.c.sha256 == sha256, blobs.c.stored, ~blobs.c.damaged, own)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return blob_of(row) if row else None

    def _known(self, sha256: str) -> Blob | None:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(blobs).where(blobs.c.sha256 == sha256)).first()
        return blob_of(row) if row else None

    def _claim(self, blob: Blob) -> bool:
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

    def _reclaim(self, unused_for: float, delete: Callable[[Blob], None]) -> int:
        # By their count, which has an index, and by what is there, since a count may be wrong.
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
                # Committed first: should what follows fail half-way, nobody takes its bytes for being there.
                connection.execute(sa.update(blobs).where(unused, ~is_held(connection)).values(stored=False))
            with self._database.writing() as connection:
                free = sa.select(blobs).where(unused, ~is_held(connection))
                row = connection.execute(free.with_for_update()).first()
                if row:
                    delete(blob_of(row))
                    connection.execute(sa.delete(blobs).where(blobs.c.sha256 == sha256))
                    removed += 1
        return removed

    def _owners_of(self, sha256s: list[str]) -> dict[str, set[str]]:
        query = sa.select(images.c.sha256, images.c.owner).where(
            images.c.sha256.in_(sha256s), images.c.deleted_at.is_(None)
        )
        found: dict[str, set[str]] = {sha256: set() for sha256 in sha256s}
        with self._database.reading() as connection:
            for sha256, owner in connection.execute(query.distinct()):
                found[sha256].add(owner)
        return found

    def _unchecked(self, since: float, most: int) -> list[Blob]:
        query = (
            sa.select(blobs)
            .where(blobs.c.stored, blobs.c.checked_at < since)
            .order_by(blobs.c.checked_at, blobs.c.sha256)
            .limit(most)
        )
        with self._database.reading() as connection:
            return [blob_of(row) for row in connection.execute(query)]

    def _outdated(self, most: int, after: str) -> list[Blob]:
        query = (
            sa.select(blobs)
            .where(blobs.c.inspection < INSPECTION, blobs.c.stored, ~blobs.c.damaged, blobs.c.sha256 > after)
            .order_by(blobs.c.sha256)
            .limit(most)
        )
        with self._database.reading() as connection:
            return [blob_of(row) for row in connection.execute(query)]

    def _referenced(self, most: int, after: str) -> list[Blob]:
        query = (
            sa.select(blobs)
            .where(blobs.c.stored, blobs.c.sha256 > after, sa.exists().where(images.c.sha256 == blobs.c.sha256))
            .order_by(blobs.c.sha256)
            .limit(most)
        )
        with self._database.reading() as connection:
            return [blob_of(row) for row in connection.execute(query)]

    def _update(self, sha256: str, **values: Any) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.update(blobs).where(blobs.c.sha256 == sha256).values(**values))

    def _totals(self) -> Totals:
        with self._database.reading() as connection:
            return counted(connection)


def _described(blob: Blob) -> dict[str, Any]:
    return {
        "format": blob.info.format,
        "info": msgspec.json.encode(blob.info).decode(),
        "ladder": msgspec.json.encode(blob.ladder).decode() if blob.ladder else None,
        "ladder_bytes": blob.ladder.bytes if blob.ladder else 0,
        "inspection": blob.info.inspection,
    }


def blob_of(row: Any) -> Blob:
    """Make a blob of a row of its table, or of one that is joined with it."""
    info = msgspec.json.decode(row.info, type=ImageInfo)
    ladder = msgspec.json.decode(row.ladder, type=Ladder) if row.ladder else None
    return Blob(row.sha256, row.bytes, info, ladder, row.chunks or b"", bool(row.damaged))
