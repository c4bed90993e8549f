"""Names of blobs in a temporary SQLite file: ten million would take too much memory."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Named:
    """A blob in a snapshot.

    Attributes:
        name: Name in the store.
        bytes: Size in bytes.
        sha256: SHA-256 in hexadecimal digits; empty if unknown.
        media_type: Media type in the store.
    """

    name: str
    bytes: int
    sha256: str
    media_type: str

    @property
    def is_original(self) -> bool:
        """Whether it is an original, not a rung."""
        return self.name == self.sha256


class Names:
    """Set of blobs to copy or to keep.

    Args:
        path: Path for a scratch file; must not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE names (name TEXT PRIMARY KEY, bytes INTEGER, sha256 TEXT, media_type TEXT) WITHOUT ROWID"
        )

    def add(self, names: Iterable[Named]) -> None:
        """Add blobs, replacing existing ones of the same name."""
        rows = ((one.name, one.bytes, one.sha256, one.media_type) for one in names)
        self._many("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", rows)

    def remove(self, names: Iterable[tuple[str, int]]) -> None:
        """Remove the blobs with these names and sizes."""
        self._many("DELETE FROM names WHERE name = ? AND bytes = ?", names)

    def clear(self) -> None:
        """Remove all blobs."""
        self._database.execute("DELETE FROM names")

    def has(self, name: str) -> bool:
        """Return whether there is a blob with this name."""
        return self._database.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone() is not None

    def count(self) -> tuple[int, int]:
        """Return the number of blobs and their total size in bytes."""
        count, size = self._database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM names").fetchone()
        return count, size

    def all(self) -> Iterator[Named]:
        """Yield all blobs, sorted by name. Blobs may be removed meanwhile."""
        last = ""
        while True:
            query = "SELECT * FROM names WHERE name > ? ORDER BY name LIMIT ?"
            rows = self._database.execute(query, (last, _AT_ONCE)).fetchall()
            if not rows:
                return
            yield from (Named(*row) for row in rows)
            last = rows[-1][0]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(statement, rows)
        self._database.execute("COMMIT")
