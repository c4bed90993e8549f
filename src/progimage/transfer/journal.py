"""Journal of an import: outcome of each file, so that an interrupted import can be continued.

It is a separate SQLite database, so that any number of files takes no memory. Transactions aren't durable at once: what
a power cut removes from the journal is found in the catalogue.
"""

import fcntl
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from progimage.transfer.stores import File, shown

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    name BLOB PRIMARY KEY, size INTEGER NOT NULL, changed_at INTEGER NOT NULL, outcome TEXT NOT NULL,
    reference TEXT, sha256 TEXT, problem TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS urls (digest TEXT PRIMARY KEY, url TEXT NOT NULL) WITHOUT ROWID;
"""


class Outcome(StrEnum):
    """Outcome of a file."""

    STORED = "stored"
    """Stored as a new image."""
    THERE = "there"
    """Already stored before."""
    SKIPPED = "skipped"
    """Skipped on purpose."""
    FAILED = "failed"
    """Not an image, or could not be stored; the next run tries again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Entry for a file.

    Attributes:
        outcome: Outcome of the file.
        reference: Reference of the image, if there is one.
        sha256: SHA-256 of the file, if it was read.
        problem: Why it was skipped or failed.
    """

    outcome: Outcome
    reference: str | None = None
    sha256: str | None = None
    problem: str | None = None


class OtherJournal(Exception):
    """The journal belongs to another import, or another process is writing to it."""


class Journal:
    """Journal of one import. Only one process can open it at a time.

    Args:
        path: Path of its file.
        about: Source and target of the import, as names and values.

    Attributes:
        namespace: UUID namespace of new references, so that an image gets the same reference if it is stored again.

    Raises:
        OtherJournal: It belongs to another import, or another process is writing to it.
    """

    def __init__(self, path: Path, about: dict[str, str]) -> None:
        self._lock = path.with_name(f"{path.name}.lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise OtherJournal(f"Another import is writing to {path}.") from None
        try:
            self._begin(path, about)
        except BaseException:
            self._lock.close()
            raise

    def _begin(self, path: Path, about: dict[str, str]) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise OtherJournal(f"{path} is not the journal of an import: {error}.") from None
        known = dict(self._database.execute("SELECT name, value FROM about"))
        if not known:
            known = {**about, "namespace": str(uuid.uuid4())}
            self._database.executemany("INSERT INTO about VALUES (?, ?)", known.items())
        for name, value in about.items():
            if known.get(name) != value:
                raise OtherJournal(f"{path} belongs to an import with a different {name}: {known.get(name)!r}.")
        self.namespace = uuid.UUID(known["namespace"])

    def is_done(self, file: File) -> bool:
        """Return whether a file was imported or skipped, and hasn't changed since."""
        query = "SELECT 1 FROM files WHERE name = ? AND size = ? AND changed_at = ? AND outcome <> 'failed'"
        return self._database.execute(query, (file.name, file.size, file.changed_at)).fetchone() is not None

    def note(self, file: File, entry: Entry) -> None:
        """Record the entry of a file."""
        self._database.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            (file.name, file.size, file.changed_at, entry.outcome, entry.reference, entry.sha256, entry.problem),
        )

    def know_urls(self, digests: Iterable[tuple[str, str]]) -> None:
        """Store the URLs of digests, replacing all earlier ones."""
        self._database.execute("BEGIN")
        self._database.execute("DELETE FROM urls")
        self._database.executemany("INSERT OR IGNORE INTO urls VALUES (?, ?)", digests)
        self._database.execute("COMMIT")

    def url_of(self, digest: str) -> str | None:
        """Return the URL of a digest, if known."""
        row = self._database.execute("SELECT url FROM urls WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row else None

    def report(self) -> Iterator[bytes]:
        """Yield a line of JSON for each file, with its outcome in this run or an earlier one."""
        query = (
            "SELECT name, size, outcome, reference, sha256, problem, url FROM files"
            " LEFT JOIN urls ON digest = replace(CAST(name AS TEXT), '/', '') ORDER BY name"
        )
        for name, size, outcome, *more in self._database.execute(query):
            said = dict(zip(("reference", "sha256", "problem", "url"), more, strict=True))
            line = {"file": shown(name), "outcome": outcome, "bytes": size}
            yield msgspec.json.encode({**line, **{key: value for key, value in said.items() if value}}) + b"\n"

    def close(self) -> None:
        """Close the journal."""
        self._database.close()
        self._lock.close()
