"""Restore a backup into a deployment without images: first the blobs, then all rows in one transaction.

While a restore is unfinished, a table in the database records which backup is restored. The service doesn't start
meanwhile, and an interrupted restore can be continued.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from progimage.backup.copying import copied, each
from progimage.backup.names import Named, Names
from progimage.backup.snapshot import Snapshot
from progimage.backup.target import Manifest, Target
from progimage.storage import BlobDamaged, BlobMissing, BlobStore, Database, ScratchFolder
from progimage.storage.blobs.identity import deployment_id_of
from progimage.storage.database.connections import translated_errors
from progimage.storage.database.migrations import RESTORING, bring_to, newest
from progimage.storage.database.totals import recount

_TRIES = 2
_PART = 500


class CannotRestore(Exception):
    """A backup can't be restored here; the message is the reason."""


@dataclass
class Restored:
    """Result of a restore.

    Attributes:
        id: ID of the backup.
        images: Number of references.
        copied: Number of blobs copied by this run, including rungs.
        copied_bytes: Size of the copied blobs.
        there: Number of blobs copied by an earlier run.
        missing: Number of originals missing or damaged in the backup; their images return 503 `blob-damaged`.
    """

    id: str
    images: int = 0
    copied: int = 0
    copied_bytes: int = 0
    there: int = 0
    missing: int = 0


class Restorer:
    """Restores one backup. No other process or node may use the deployment meanwhile.

    Args:
        database: The database.
        blobs: The store of originals.
        scratch: For scratch files; if the store is a folder, on its file system.
        target: Target of the backup.
        manifest: The backup.
        at_once: Number of blobs to copy at once.
        told: Called with a message for each original that can't be restored.
        advance: Called with the additional numbers of blobs and bytes that are done.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        scratch: ScratchFolder,
        target: Target,
        manifest: Manifest,
        at_once: int,
        told: Callable[[str], None],
        advance: Callable[[int, int], None],
    ) -> None:
        self._database, self._blobs = database, blobs
        self._scratch, self._target, self._manifest = scratch, target, manifest
        self._at_once, self._told, self._advance = at_once, told, advance
        self._lost: set[str] = set()
        self._without_ladder: set[str] = set()
        self._restored = Restored(manifest.id, manifest.images)

    async def restore(self, begun: Callable[[int, int], None], identify: Callable[[], object]) -> Restored:
        """Restore the backup.

        Args:
            begun: Called with the numbers of blobs and bytes to copy.
            identify: Makes database and store one deployment.

        Raises:
            CannotRestore: The deployment has images, or the backup was made by a newer version.
            BadTarget, BadSnapshot: The backup can't be read.
            DatabaseUnavailable: The database is unavailable.
            StoreError: A store is unavailable.
            OSError: A file can't be written.
        """
        if self._manifest.revision > newest():
            raise CannotRestore("The backup was made by a newer version of ProgImage; use that version to restore it.")
        # Locked, so that no backup removes this one meanwhile.
        with (
            self._target.locked(reading=True),
            self._scratch.file(self._scratch.incoming) as file,
            translated_errors(),
        ):
            await asyncio.to_thread(self._target.fetch_snapshot, self._manifest, file)
            snapshot = Snapshot(file)
            await asyncio.to_thread(self._begin)
            if not await asyncio.to_thread(self._has_rows):
                await asyncio.to_thread(self._make_tables)
                await self._copy_blobs(snapshot, file.with_name("names"), begun)
                await asyncio.to_thread(self._write_rows, snapshot)
            await asyncio.to_thread(bring_to, self._database.url, newest())
            await asyncio.to_thread(self._recount)
            await asyncio.to_thread(identify)
            await asyncio.to_thread(self._end)
        return self._restored

    def _begin(self) -> None:
        """Record that this backup is being restored, unless that is already recorded."""
        with self._database.writing(bounded=False) as connection:
            if sa.inspect(connection).has_table(RESTORING):
                there = connection.execute(sa.text(f"SELECT backup FROM {RESTORING}")).scalar_one()  # noqa: S608
                if there != self._manifest.id:
                    raise CannotRestore(f"The restore of backup {there} is unfinished; continue with that one.")
                return
            self._require_empty(connection)
            connection.execute(sa.text(f"CREATE TABLE {RESTORING} (backup VARCHAR(64), has_rows INTEGER)"))
            connection.execute(
                sa.text(f"INSERT INTO {RESTORING} VALUES (:backup, 0)"),  # noqa: S608
                {"backup": self._manifest.id},
            )

    def _make_tables(self) -> None:
        """Create the tables again, with the schema of the backup."""
        for revision in ("base", self._manifest.revision):
            bring_to(self._database.url, revision)

    def _require_empty(self, connection: sa.Connection) -> None:
        found = sa.inspect(connection)
        for table in ("images", "blobs"):
            if found.has_table(table) and connection.execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1")).first():  # noqa: S608
                raise CannotRestore("The database has images. Restore into a new deployment.")
        there = self._blobs.marker()
        own = deployment_id_of(connection) if found.has_table("deployment") else None
        if (there and there != own) or self._blobs.has_blobs():
            raise CannotRestore("The store of originals is not empty. Restore into a new deployment.")

    def _has_rows(self) -> bool:
        with self._database.reading() as connection:
            return bool(connection.execute(sa.text(f"SELECT has_rows FROM {RESTORING}")).scalar_one())  # noqa: S608

    async def _copy_blobs(self, snapshot: Snapshot, names_file: Path, begun: Callable[[int, int], None]) -> None:
        names = Names(names_file)
        try:
            await asyncio.to_thread(names.add, snapshot.names())
            count, _ = names.count()
            await asyncio.to_thread(names.remove, ((one.name, one.bytes) for one in self._blobs.entries()))
            self._restored.there = count - names.count()[0]
            begun(*names.count())
            await each(names.all(), self._at_once, self._copy)
        finally:
            names.close()

    async def _copy(self, named: Named) -> None:
        for _ in range(_TRIES):
            with suppress(BlobMissing, BlobDamaged):
                await copied(self._target.blobs, self._blobs, self._scratch, named)
                self._restored.copied += 1
                self._restored.copied_bytes += named.bytes
                break
        else:
            original = named.name.partition("-")[0]
            if named.is_original:
                self._lost.add(original)
                self._restored.missing += 1
                self._told(f"{original}: the original is missing from the backup; its images will return 503")
            else:
                self._without_ladder.add(original)
        self._advance(1, named.bytes)

    def _write_rows(self, snapshot: Snapshot) -> None:
        """Write all rows in one transaction."""
        schema = sa.MetaData()
        with self._database.writing(bounded=False) as connection:
            schema.reflect(connection, only=list(snapshot.head.tables))
            tables = [schema.tables[name] for name in snapshot.head.tables]
            is_postgresql = connection.dialect.name == "postgresql"
            if is_postgresql:  # triggers would count each row, ever more slowly; all are counted at the end
                _switch_triggers(connection, tables, "DISABLE")
            for name, rows in snapshot.rows():
                for row in rows:
                    self._mend(name, row)
                for first in range(0, len(rows), _PART):
                    connection.execute(sa.insert(schema.tables[name]), rows[first : first + _PART])
            if is_postgresql:
                _switch_triggers(connection, tables, "ENABLE")
                connection.execute(
                    sa.text(
                        "SELECT setval(pg_get_serial_sequence('audit', 'id'), coalesce(max(id), 0) + 1, false)"
                        " FROM audit"
                    )
                )
            connection.execute(sa.text(f"UPDATE {RESTORING} SET has_rows = 1"))  # noqa: S608

    def _mend(self, table: str, row: dict[str, Any]) -> None:
        if table == "blobs":
            if row["sha256"] in self._lost:
                row["damaged"] = True
            if row["sha256"] in self._without_ladder:
                row["ladder"], row["ladder_bytes"] = None, 0
        elif table == "images" and "purge_marked_at" in row:
            row["purge_marked_at"] = None  # so that deleted images can be restored for a while

    def _recount(self) -> None:
        with self._database.writing(bounded=False) as connection:
            recount(connection)

    def _end(self) -> None:
        with self._database.writing(bounded=False) as connection:
            connection.execute(sa.text(f"DROP TABLE {RESTORING}"))


def _switch_triggers(connection: sa.Connection, tables: list[sa.Table], how: str) -> None:
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table.name} {how} TRIGGER USER")
