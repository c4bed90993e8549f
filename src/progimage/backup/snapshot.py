"""Snapshots: all rows of a database at one moment, as JSON lines compressed with gzip.

The first line is the head: the version of the format, the revision of the schema, and the columns of each table. Each
other line is a row: the number of the table in the head, then the values, with bytes in Base64. The last line is the
number of rows. A snapshot can be restored from SQLite to PostgreSQL, the other way round, and to newer schemas.

State of the running deployment is left out: its clock, ID, processes, and counts, which are counted again.
"""

import base64
import gzip
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage.backup.names import Named
from progimage.engine import ImageInfo, Ladder
from progimage.storage import Database
from progimage.storage.database.connections import translated_errors
from progimage.storage.database.schema import blobs, images, metadata

VERSION = 1
_LEFT_OUT = {"clock", "deployment", "executors", "totals", "owner_totals", "purges", "backups"}
_COUNTED = {("blobs", "images")}
_PAGE = 1000
_FASTEST = 3
"""Level of gzip: for a million rows, it takes a third of the time of the default, for a tenth more bytes."""


class BadSnapshot(Exception):
    """A snapshot can't be read; the message is the reason."""


class Head(msgspec.Struct):
    """First line of a snapshot.

    Attributes:
        version: Version of the format.
        revision: Revision of the schema.
        tables: Names of the columns of each table. Tables come after those that they refer to.
    """

    version: int
    revision: str
    tables: dict[str, list[str]]


class Counts(msgspec.Struct):
    """Counts of a snapshot.

    Attributes:
        images: Number of references, including deleted ones that can be restored.
        blobs: Number of originals.
        bytes: Size of the originals.
        rows: Number of rows of all tables.
    """

    images: int = 0
    blobs: int = 0
    bytes: int = 0
    rows: int = 0


def write(database: Database, revision: str, file: Path, named: Callable[[list[Named]], None]) -> Counts:
    """Write a snapshot of a database. Blocks.

    Args:
        database: The database.
        revision: Revision of its schema.
        file: File to write to.
        named: Called with the blobs of the snapshot, in batches.

    Raises:
        DatabaseUnavailable: The database is unavailable.
        OSError: The file can't be written.
    """
    tables = [table for table in metadata.sorted_tables if table.name not in _LEFT_OUT]
    columns = {
        table.name: [column for column in table.columns if (table.name, column.name) not in _COUNTED]
        for table in tables
    }
    names = {str(name): [str(column.name) for column in found] for name, found in columns.items()}
    head = Head(VERSION, revision, names)
    counts = Counts()
    with gzip.open(file, "wb", _FASTEST) as lines, database.snapshot() as connection:
        lines.write(msgspec.json.encode(head) + b"\n")
        for number, table in enumerate(tables):
            query = sa.select(*columns[table.name])
            if table is blobs:  # blobs without images are about to be removed, or not stored yet
                query = query.where(sa.exists().where(images.c.sha256 == blobs.c.sha256))
            with translated_errors():
                for page in connection.execute(query.execution_options(yield_per=_PAGE)).partitions():
                    rows = [dict(row._mapping) for row in page]
                    if table is blobs:
                        named([one for row in rows for one in names_of(row)])
                        counts.blobs += len(rows)
                        counts.bytes += sum(row["bytes"] for row in rows)
                    elif table is images:
                        counts.images += len(rows)
                    for row in rows:
                        if table.name == "jobs":
                            _give_up(row)
                        lines.write(msgspec.json.encode([number, *map(_plain, row.values())]) + b"\n")
                    counts.rows += len(rows)
        lines.write(msgspec.json.encode(counts.rows) + b"\n")
    return counts


def names_of(row: dict[str, Any]) -> list[Named]:
    """Return the blobs of a row of `blobs`: the original and its rungs."""
    sha256 = row["sha256"]
    info = msgspec.json.decode(row["info"], type=ImageInfo)
    ladder = msgspec.json.decode(row["ladder"], type=Ladder) if row["ladder"] else None
    rungs = ladder.rungs if ladder else ()
    return [
        Named(sha256, row["bytes"], sha256, info.media_type),
        *(Named(f"{sha256}-{rung.side}", rung.bytes, rung.sha256, "") for rung in rungs),
    ]


class Snapshot:
    """Reader of a snapshot.

    Args:
        file: The file.

    Attributes:
        head: First line.

    Raises:
        BadSnapshot: The head can't be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self.head = msgspec.json.decode(next(self._lines(), b""), type=Head)
        except msgspec.MsgspecError as error:
            raise BadSnapshot(f"The file is not a snapshot: {error}") from None
        if self.head.version > VERSION:
            raise BadSnapshot(
                f"The snapshot has version {self.head.version}; this program supports up to version {VERSION}."
            )

    def rows(self, only: Iterable[str] = ()) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield the names of tables with batches of their rows. Tables come after those that they refer to.

        Args:
            only: Tables to read; empty for all.

        Raises:
            BadSnapshot: The snapshot is truncated or damaged.
        """
        names, wanted = list(self.head.tables), set(only)
        count, current, rows = 0, "", list[dict[str, Any]]()
        total: int | None = None
        lines = self._lines()
        next(lines)
        for line in lines:
            values = msgspec.json.decode(line)
            if isinstance(values, int):
                total = values
                break
            count += 1
            table = names[values[0]]
            if wanted and table not in wanted:
                continue
            if rows and (table != current or len(rows) >= _PAGE):
                yield current, rows
                rows = []
            current = table
            rows.append(dict(zip(self.head.tables[table], map(_value, values[1:]), strict=True)))
        if rows:
            yield current, rows
        if total != count:
            raise BadSnapshot("The snapshot is incomplete.")

    def names(self) -> Iterator[Named]:
        """Yield the blobs of the snapshot."""
        for _, rows in self.rows(["blobs"]):
            for row in rows:
                yield from names_of(row)

    def _lines(self) -> Iterator[bytes]:
        try:
            with gzip.open(self._file, "rb") as lines:
                yield from lines
        except (EOFError, gzip.BadGzipFile) as error:
            raise BadSnapshot(f"The snapshot is damaged: {error}") from None


def _give_up(row: dict[str, Any]) -> None:
    """Reset a job that is running in the snapshot, so that it runs again after a restore."""
    if row["state"] == "running":
        row["state"], row["lease"] = "waiting", None


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _value(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value
