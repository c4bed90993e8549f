"""The journal of an import: what has become of each file, so that an import that was broken off goes on where it was.

It is a SQLite database of its own, so that it takes no memory however many files there are. A transaction is not
waited for until it is on disk: what a power cut takes from the journal is found in the catalogue again.
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
    """What has become of a file."""

    STORED = "stored"
    """It is an image now."""
    THERE = "there"
    """It was an image before."""
    SKIPPED = "skipped"
    """It was left out on purpose."""
    FAILED = "failed"
    """It is not an image, or could not be stored; the next run tries it again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What has become of a file.

    Attributes:
        outcome: In a word.
        reference: Of the image, if it is one.
        sha256: Of the file, if it was read.
        problem: Why it was left out or failed.
    """

    outcome: Outcome
    reference: str | None = None
    sha256: str | None = None
    problem: str | None = None


class OtherJournal(Exception):
    """The journal is of another import, or another process writes to it."""


class Journal:
    """The journal of one import, which only one process can have at a time.

    Args:
        path: Its file.
        about: What is imported, and to where: names and values.

    Attributes:
        namespace: References are made in it, so that an image gets the same one if it is stored again.

    Raises:
        OtherJournal: It is of something else, or another process has it.
    """

    def __init__(self, path: Path, about: dict[str, str]) -> None:
        """Open it, or begin it."""
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
            raise OtherJournal(f"{path} is no journal of an import: {error}.") from None
        known = dict(self._database.execute("SELECT name, value FROM about"))
        if not known:
            known = {**about, "namespace": str(uuid.uuid4())}
            self._database.executemany("INSERT INTO about VALUES (?, ?)", known.items())
        for name, value in about.items():
            if known.get(name) != value:
                raise OtherJournal(f"{path} is the journal of an import with another {name}: {known.get(name)!r}.")
        self.namespace = uuid.UUID(known["namespace"])

    def is_done(self, file: File) -> bool:
        """Return whether a file was taken in, or left out, and has not changed since."""
        query = "SELECT 1 FROM files WHERE name = ? AND size = ? AND changed_at = ? AND outcome <> 'failed'"
        return self._database.execute(query, (file.name, file.size, file.changed_at)).fetchone() is not None

    def note(self, file: File, entry: Entry) -> None:
        """Write down what has become of a file."""
        self._database.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            (file.name, file.size, file.changed_at, entry.outcome, entry.reference, entry.sha256, entry.problem),
        )

    def know_urls(self, digests: Iterable[tuple[str, str]]) -> None:
        """Keep which URL each digest is of."""
        self._database.execute("BEGIN")
        self._database.execute("DELETE FROM urls")
        self._database.executemany("INSERT OR IGNORE INTO urls VALUES (?, ?)", digests)
        self._database.execute("COMMIT")

    def url_of(self, digest: str) -> str | None:
        """Return the URL that a digest is of, if it is known."""
        row = self._database.execute("SELECT url FROM urls WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row else None

    def report(self) -> Iterator[bytes]:
        """Return a line of JSON for each file: what has become of it, in this run or one before."""
        query = (
            "SELECT name, size, outcome, reference, sha256, problem, url FROM files"
            " LEFT JOIN urls ON digest = replace(CAST(name AS TEXT), '/', '') ORDER BY name"
        )
        for name, size, outcome, *more in self._database.execute(query):
            said = dict(zip(("reference", "sha256", "problem", "url"), more, strict=True))
            line = {"file": shown(name), "outcome": outcome, "bytes": size}
            yield msgspec.json.encode({**line, **{key: value for key, value in said.items() if value}}) + b"\n"

    def close(self) -> None:
        """Close it."""
        self._database.close()
        self._lock.close()
