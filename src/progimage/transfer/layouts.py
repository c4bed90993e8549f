"""How images lie in a store, and what is known of them there: as plain files, as thumbor keeps them, as an export."""

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

from progimage.auth import is_owner
from progimage.engine import InvalidParameter
from progimage.images.library import Options, Past
from progimage.images.options import checked_labels, metadata
from progimage.transfer.export_format import HEADER, LINES, VERSION, Header, Line
from progimage.transfer.journal import Journal
from progimage.transfer.stores import File, Store, Unreadable

_THUMBOR_ORIGINAL = re.compile(rb"[0-9a-f]{2}/[0-9a-f]{38}")
_THUMBOR_NOTES = re.compile(rb"[0-9a-f]{2}/[0-9a-f]{38}(\.[0-9a-z.]+)")
_URL_METADATA = "url"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Item:
    """A file that is to be an image.

    Attributes:
        file: The file.
        owner: Whose image it will be.
        options: What is said of it.
        filename: What it is called.
        reference: Which it gets; None: a new one.
        sha256: Of its bytes, if that is known.
    """

    file: File
    owner: str
    options: Options
    filename: str | None = None
    reference: str | None = None
    sha256: str | None = None


class Layout(Protocol):
    """Finds the images of a store."""

    def items(self) -> Iterator[Item]:
        """List them, and what is left out. It blocks."""
        ...


class PlainFiles:
    """Every file is an image, which is called what its path is.

    Args:
        store: Where they are.
        owner: Whose they will be.
        options: What is said of all of them.
    """

    def __init__(self, store: Store, owner: str, options: Options) -> None:
        """Store the parts."""
        self._store, self._owner, self._options = store, owner, options

    def items(self) -> Iterator[Item]:
        """List them. It blocks."""
        for file in self._store.files():
            yield Item(file, self._owner, self._options, _printable(file.name.decode(errors="replace")))


class ThumborFiles:
    """The folder of thumbor's file storage: an original is named by the SHA-1 of its URL.

    Args:
        store: Where it is.
        owner: Whose they will be.
        options: What is said of all of them.
        journal: Knows which URL a hash is of; what is known of one becomes the image's name and its metadata.
    """

    def __init__(self, store: Store, owner: str, options: Options, journal: Journal) -> None:
        """Store the parts."""
        self._store, self._owner, self._options, self._journal = store, owner, options, journal

    def items(self) -> Iterator[Item]:
        """List them. It blocks."""
        for file in self._store.files():
            if file.failed or file.skipped or not _THUMBOR_ORIGINAL.fullmatch(file.name):
                notes = _THUMBOR_NOTES.fullmatch(file.name)
                why = file.skipped or ("thumbor's notes on an image" if notes else "not an original of thumbor")
                yield Item(file if file.failed else replace(file, skipped=why), self._owner, self._options)
                continue
            url = self._journal.url_of(file.name.replace(b"/", b"").decode())
            yield self._known(file, url) if url else Item(file, self._owner, self._options)

    def _known(self, file: File, url: str) -> Item:
        try:
            said = metadata({**self._options.metadata, _URL_METADATA: url})
        except InvalidParameter as problem:
            file, said = replace(file, failed=f"Its URL is too long: {problem.allowed}."), {}
        name = _printable(unquote(url.partition("?")[0].partition("://")[2] or url))
        return Item(file, self._owner, replace(self._options, metadata=said), name)


class ExportedFiles:
    """An export of a ProgImage: an image gets what it had there, its reference among it.

    Args:
        store: Where it is.

    Raises:
        ValueError: It is of a version that is not known here.
    """

    def __init__(self, store: Store) -> None:
        """Look at its header."""
        header = b"".join(store.lines(HEADER) or ())
        try:
            version = msgspec.json.decode(header, type=Header).version
        except msgspec.DecodeError as error:
            raise ValueError(f"{HEADER} can't be read: {error}.") from error
        if version != VERSION:
            raise ValueError(f"The export has version {version}; this program knows {VERSION}.")
        lines = store.lines(LINES)
        if lines is None:
            raise ValueError(f"There is no {LINES}: the export was not finished. Run it again.")
        self._store = store

    def items(self) -> Iterator[Item]:
        """List them. It blocks."""
        for number, text in enumerate(self._store.lines(LINES) or (), 1):
            try:
                yield _exported(text)
            except (msgspec.DecodeError, InvalidParameter, Unreadable) as error:
                why = f"{error.parameter}: {error.allowed}" if isinstance(error, InvalidParameter) else error
                yield Item(File(f"{LINES}:{number}".encode(), failed=f"The line can't be used: {why}"), "", Options())


def is_export(store: Store) -> bool:
    """Return whether a store has an export. It blocks."""
    return store.lines(HEADER) is not None


def thumbor_digests(urls: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return the names that thumbor's file storage may have for the images of URLs, and the URL for each.

    thumbor decodes what stands in its own URL, percent-encodes it with all but its slashes, and hashes that; what was
    uploaded to thumbor itself is hashed as it is. The scheme may be left out, and whether a URL that was
    percent-encoded itself was encoded once more is up to whoever wrote thumbor's URL.
    """
    for line in urls:
        url = line.strip()
        if not url:
            continue
        written = {url, url.removeprefix("https://").removeprefix("http://")}
        written |= {unquote(one) for one in written}
        for path in written | {quote(one) for one in written}:
            yield hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest(), url


def _exported(text: bytes) -> Item:
    line = msgspec.json.decode(text, type=Line)
    if not _is_below(line.file):
        raise Unreadable("file: a path below the folder of the export.")
    if not is_owner(line.owner):
        raise Unreadable(f"owner: nobody can be called {line.owner!r}.")
    if not _is_uuid(line.reference):
        raise Unreadable("reference: a UUID in lower case.")
    if not _SHA256.fullmatch(line.sha256):
        raise Unreadable("sha256: 64 hexadecimal digits in lower case.")
    ends = line.expires_at and _aware(line.expires_at)
    file = File(line.file.encode(), line.bytes)
    if ends is not None and ends <= datetime.now(UTC) and not line.held:
        file = replace(file, skipped="expired since")
    past = Past(_aware(line.uploaded_at), None if ends is None else ends.timestamp(), line.held)
    options = Options(
        line.visibility, None, checked_labels(line.labels), metadata(line.metadata), damaged=line.damaged, past=past
    )
    return Item(file, line.owner, options, line.filename and _printable(line.filename), line.reference, line.sha256)


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and path.isprintable()


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _printable(name: str) -> str | None:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name) or None
