"""The names of blobs, in a file, so that ten million of them take no memory."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Named:
    """A blob that a snapshot names.

    Attributes:
        name: What it is called in a store.
        bytes: How many it has.
        sha256: Their hash, in hexadecimal digits; empty: it is not known.
        media_type: What a store says of it.
    """

    name: str
    bytes: int
    sha256: str
    media_type: str

    @property
    def is_original(self) -> bool:
        """Whether it is an original, not a smaller copy of one."""
        return self.name == self.sha256


class Names:
    """Blobs that are to be copied, or to be kept.

    Args:
        path: A scratch file, which does not exist.
    """

    def __init__(self, path: Path) -> None:
        """Make the file."""
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE names (name TEXT PRIMARY KEY, bytes INTEGER, sha256 TEXT, media_type TEXT) WITHOUT ROWID"
        )

    def add(self, names: Iterable[Named]) -> None:
        """Add some; one that is there is replaced."""
        rows = ((one.name, one.bytes, one.sha256, one.media_type) for one in names)
        self._many("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", rows)

    def remove(self, names: Iterable[tuple[str, int]]) -> None:
        """Remove those that have these names and numbers of bytes."""
        self._many("DELETE FROM names WHERE name = ? AND bytes = ?", names)

    def clear(self) -> None:
        """Remove all."""
        self._database.execute("DELETE FROM names")

    def has(self, name: str) -> bool:
        """Return whether one of this name is among them."""
        return self._database.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone() is not None

    def count(self) -> tuple[int, int]:
        """Return how many there are, and their bytes."""
        count, size = self._database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM names").fetchone()
        return count, size

    def all(self) -> Iterator[Named]:
        """Return all, in the order of their names; those may be removed meanwhile."""
        last = ""
        while True:
            query = "SELECT * FROM names WHERE name > ? ORDER BY name LIMIT ?"
            rows = self._database.execute(query, (last, _AT_ONCE)).fetchall()
            if not rows:
                return
            yield from (Named(*row) for row in rows)
            last = rows[-1][0]

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(statement, rows)
        self._database.execute("COMMIT")
