"""Snapshots: the rows of a database at one moment, as lines of JSON, compressed by gzip.

The first line is the head: the format's version, the revision of the schema, and the columns of each table. Every other
line is a row: the table's number in the head, then the values, with bytes in Base64. The last line is the number of
rows. So a snapshot goes from SQLite to PostgreSQL and back, and into newer schemas.

Left out is what belongs to the running deployment: its clock, its id, its processes, and what is counted, which is
counted again.
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
"""gzip's level: of a million rows, it takes a third of the time of the usual one, for a tenth more bytes."""


class BadSnapshot(Exception):
    """A snapshot can't be read; the reason is its text."""


class Head(msgspec.Struct):
    """The first line.

    Attributes:
        version: Of the format.
        revision: Of the schema.
        tables: The names of the columns of each table, in the order in which rows refer to one another.
    """

    version: int
    revision: str
    tables: dict[str, list[str]]


class Counts(msgspec.Struct):
    """How much a snapshot names.

    Attributes:
        images: How many references, deleted ones that can be brought back among them.
        blobs: How many originals.
        bytes: Of these.
        rows: Of all tables.
    """

    images: int = 0
    blobs: int = 0
    bytes: int = 0
    rows: int = 0


def write(database: Database, revision: str, file: Path, named: Callable[[list[Named]], None]) -> Counts:
    """Write a snapshot of a database. It blocks.

    Args:
        database: The database.
        revision: Of its schema.
        file: Where to write it.
        named: Is told the blobs that the snapshot names, some at a time.

    Raises:
        DatabaseUnavailable: The database fails.
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
            if table is blobs:  # one that no image has is about to be removed, or not stored yet
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
    """Return the blobs that a row of `blobs` names: the original, and its smaller copies."""
    sha256 = row["sha256"]
    info = msgspec.json.decode(row["info"], type=ImageInfo)
    ladder = msgspec.json.decode(row["ladder"], type=Ladder) if row["ladder"] else None
    steps = ladder.steps if ladder else ()
    return [
        Named(sha256, row["bytes"], sha256, info.media_type),
        *(Named(f"{sha256}-{step.side}", step.bytes, step.sha256, "") for step in steps),
    ]


class Snapshot:
    """A snapshot that is read.

    Args:
        file: Its file.

    Attributes:
        head: Its head.

    Raises:
        BadSnapshot: It can't be read.
    """

    def __init__(self, file: Path) -> None:
        """Read the head."""
        self._file = file
        try:
            self.head = msgspec.json.decode(next(self._lines(), b""), type=Head)
        except msgspec.MsgspecError as error:
            raise BadSnapshot(f"It is no snapshot: {error}") from None
        if self.head.version > VERSION:
            raise BadSnapshot(f"It is of version {self.head.version}, and this program knows version {VERSION}.")

    def rows(self, only: Iterable[str] = ()) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Return tables and some of their rows at a time, in the order in which rows refer to one another.

        Args:
            only: The tables that are wanted; empty: all.

        Raises:
            BadSnapshot: It is not whole.
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
            raise BadSnapshot("It is not whole.")

    def names(self) -> Iterator[Named]:
        """Return the blobs that it names."""
        for _, rows in self.rows(["blobs"]):
            for row in rows:
                yield from names_of(row)

    def _lines(self) -> Iterator[bytes]:
        try:
            with gzip.open(self._file, "rb") as lines:
                yield from lines
        except (EOFError, gzip.BadGzipFile) as error:
            raise BadSnapshot(f"It is not whole: {error}") from None


def _give_up(row: dict[str, Any]) -> None:
    """Have a job that is running in the snapshot done again after a restore."""
    if row["state"] == "running":
        row["state"], row["lease"] = "waiting", None


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _value(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value
