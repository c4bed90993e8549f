"""Check whether database, store and caches agree, while the service runs, and repair what doesn't."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from progimage.backup.copying import hashed
from progimage.backup.names import Named
from progimage.storage import Blob, BlobMissing, BlobStore, Catalogue, Originals, Renditions
from progimage.storage.blobs.store import Entry
from progimage.storage.database.schema import blobs as rows
from progimage.storage.database.totals import differences, recount

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """An inconsistency.

    Attributes:
        kind: `database`: the SQLite file is damaged; `count`: a count doesn't match the rows; `missing-original`,
            `damaged-original`: requests for these images return 503; `unknown-original`: the store has bytes without a
            row; `missing-ladder`, `orphaned-ladder`: rungs that are missing, or have no row; `orphaned-renditions`:
            cached renditions of an original that no longer exists.
        name: Name of the affected thing: the SHA-256 of an original, a file or a count.
        detail: Short explanation.
        repaired: Whether it was repaired.
    """

    kind: str
    name: str
    detail: str = ""
    repaired: bool = False


class _Listing:
    """List of the files in a store, kept in a temporary SQLite file: ten million names would take too much memory."""

    def __init__(self, path: Path, entries: Iterable[Entry]) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE files (name TEXT PRIMARY KEY, bytes INTEGER, changed_at REAL) WITHOUT ROWID; BEGIN"
        )
        rows = ((entry.name, entry.bytes, entry.changed_at) for entry in entries)
        self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def take(self, name: str) -> int | None:
        """Remove a file from the list and return its size in bytes, or None if it isn't listed."""
        row = self._database.execute("DELETE FROM files WHERE name = ? RETURNING bytes", (name,)).fetchone()
        return row[0] if row else None

    def rest(self) -> Iterator[Entry]:
        """Return the remaining files."""
        for row in self._database.execute("SELECT name, bytes, changed_at FROM files ORDER BY name"):
            yield Entry(*row)

    def close(self) -> None:
        self._database.close()


class ConsistencyCheck:
    """Compares database, store and caches.

    Args:
        catalogue: The database.
        blobs: The store of originals.
        originals: Marks and restores damaged originals.
        renditions: The rendition cache.
        grace_seconds: Younger files are skipped: they can belong to an upload in progress.
        deep: Read all originals and rungs, and verify their hashes.
        repair: Repair what can be repaired.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        blobs: BlobStore,
        originals: Originals,
        renditions: Renditions,
        grace_seconds: float,
        *,
        deep: bool = False,
        repair: bool = False,
    ) -> None:
        self._database, self._inventory = catalogue.database, catalogue.inventory
        self._blobs, self._originals, self._renditions = blobs, originals, renditions
        self._grace_seconds, self._deep, self._repair = grace_seconds, deep, repair

    async def run(self, scratch: Path) -> AsyncIterator[Fault]:
        """Yield all faults.

        Args:
            scratch: Path for a temporary file; must not exist yet.

        Raises:
            DatabaseUnavailable: The database is unavailable.
            StoreError: The store is unavailable.
        """
        for fault in await asyncio.to_thread(self._counts):
            yield fault
        # List the files first: an upload after that has a row but no listed file, and the file is looked up again.
        listing = await asyncio.to_thread(_Listing, scratch, self._blobs.entries())
        try:
            after = ""
            while page := await self._inventory.referenced(_PAGE, after):
                for blob in page:
                    async for fault in self._blob(blob, listing):
                        yield fault
                after = page[-1].sha256
            async for fault in self._unnamed(listing):
                yield fault
        finally:
            listing.close()
        async for fault in self._cached():
            yield fault

    def _counts(self) -> list[Fault]:
        faults = []
        with self._database.reading() as connection:
            if self._database.is_sqlite:
                faults = [Fault("database", "progimage.sqlite", text) for text in _damage(connection)]
            wrong = differences(connection)
        if self._repair:
            with self._database.writing(bounded=False) as connection:
                recount(connection)
        totals = {
            f"total of {name.replace('_', ' of ')}": f"{more:+d}"
            for name in ("images", "bytes", "ladder_bytes", "damaged")
            if (more := getattr(wrong.totals, name))
        }
        if wrong.blobs:
            totals["images of originals"] = f"of {wrong.blobs} originals"
        if wrong.owners:
            totals["totals of owners"] = f"of {wrong.owners} owners"
        return faults + [Fault("count", name, detail, self._repair) for name, detail in totals.items()]

    async def _blob(self, blob: Blob, listing: _Listing) -> AsyncIterator[Fault]:
        fault = await self._original(blob, listing.take(blob.sha256))
        if fault and self._repair:
            fault = replace(fault, repaired=not (await self._originals.check(blob)).is_lost)
        if fault:
            yield fault
        wrong = [
            rung.side
            for rung in blob.rungs
            if not await self._is_right(
                Named(blob.rung_name(rung), rung.bytes, rung.sha256, ""), listing.take(blob.rung_name(rung))
            )
        ]
        if wrong and await self._inventory.known(blob.sha256) == blob:  # otherwise its row has changed meanwhile
            if self._repair:
                await self._inventory.without_ladder(blob.sha256)
            yield Fault("missing-ladder", blob.sha256, f"rungs of {wrong} pixels", self._repair)

    async def _original(self, blob: Blob, listed: int | None) -> Fault | None:
        named = Named(blob.sha256, blob.bytes, blob.sha256, "")
        if await self._is_right(named, listed):
            return Fault("damaged-original", blob.sha256, "marked as damaged") if blob.damaged else None
        if await self._inventory.known(blob.sha256) is None:
            return None  # purged meanwhile
        try:
            size = await self._blobs.size(blob.sha256)
        except BlobMissing:
            return Fault("missing-original", blob.sha256, f"{blob.bytes} bytes")
        detail = "content differs" if size == blob.bytes else f"{size} bytes instead of {blob.bytes}"
        return Fault("damaged-original", blob.sha256, detail)

    async def _is_right(self, named: Named, listed: int | None) -> bool:
        if listed != named.bytes:
            with suppress(BlobMissing):
                listed = await self._blobs.size(named.name)
        if listed != named.bytes:
            return False
        if not self._deep or not named.sha256:
            return True
        return await hashed(self._blobs, named) == named.sha256

    async def _unnamed(self, listing: _Listing) -> AsyncIterator[Fault]:
        """Yield files without a row."""
        before = await asyncio.to_thread(self._database.time) - self._grace_seconds
        for entry in listing.rest():
            sha256, _, side = entry.name.partition("-")
            if entry.changed_at > before or not await asyncio.to_thread(self._blobs.has, entry.name):
                continue
            blob = await self._inventory.known(sha256)
            if blob and entry.name in blob.names:
                continue  # a sweep will remove it, or an upload has just stored it
            if not side:
                yield Fault("unknown-original", sha256, f"{entry.bytes} bytes")
                continue
            if self._repair:
                await asyncio.to_thread(self._remove_rung, entry.name, sha256)
            yield Fault("orphaned-ladder", entry.name, f"{entry.bytes} bytes", self._repair)

    def _remove_rung(self, name: str, sha256: str) -> None:
        """Remove a rung while the row of its original is locked."""
        with self._database.writing() as connection:
            connection.execute(sa.select(rows.c.sha256).where(rows.c.sha256 == sha256).with_for_update())
            self._blobs.delete(name)

    async def _cached(self) -> AsyncIterator[Fault]:
        """Yield originals that no longer exist, but have cached renditions."""
        here = await asyncio.to_thread(self._renditions.files.originals)
        shared = {sha256 async for sha256 in self._renditions.shared_originals()}
        found = sorted(shared.union(here))
        for first in range(0, len(found), _PAGE):
            owners = await self._inventory.owners_of(found[first : first + _PAGE])
            for sha256 in (sha256 for sha256, names in owners.items() if not names):
                if self._repair:
                    await self._renditions.remove_all(sha256)
                yield Fault("orphaned-renditions", sha256, "", self._repair)


def _damage(connection: sa.Connection) -> list[str]:
    """Return the errors that SQLite finds in its file."""
    found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(20)") if row[0] != "ok"]
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return found + [f"{row[0]}: a row refers to a missing row of {row[2]}" for row in broken[:20]]
