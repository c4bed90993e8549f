"""Layouts of images in a store, with their metadata: plain files, the file storage of thumbor, or an export."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

from progimage.auth import is_owner
from progimage.engine import InvalidParameter
from progimage.engine.values import is_reference
from progimage.images.library import ImportedHistory, UploadOptions
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
    """A file to import as an image.

    Attributes:
        file: The file.
        owner: Owner of the image.
        options: Options of the image.
        filename: Name of the image.
        reference: Reference of the image; None for a new one.
        sha256: SHA-256 of the file, if known.
    """

    file: File
    owner: str
    options: UploadOptions
    filename: str | None = None
    reference: str | None = None
    sha256: str | None = None


class Layout(Protocol):
    """Finds the images of a store."""

    def items(self) -> Iterator[Item]:
        """Yield all files, including skipped ones. Blocks."""
        ...


class PlainFiles:
    """Plain files: each file is an image with its path as the name.

    Args:
        store: The store.
        owner: Owner of the images.
        options: Options of all images.
    """

    def __init__(self, store: Store, owner: str, options: UploadOptions) -> None:
        self._store, self._owner, self._options = store, owner, options

    def items(self) -> Iterator[Item]:
        """Yield all files. Blocks."""
        for file in self._store.files():
            yield Item(file, self._owner, self._options, _printable(file.name.decode(errors="replace")))


class ThumborFiles:
    """Folder of thumbor's file storage, in which an original is named by the SHA-1 of its URL.

    Args:
        store: The store.
        owner: Owner of the images.
        options: Options of all images.
        journal: Maps hashes to URLs. A known URL becomes the name of the image, and part of its metadata.
    """

    def __init__(self, store: Store, owner: str, options: UploadOptions, journal: Journal) -> None:
        self._store, self._owner, self._options, self._journal = store, owner, options, journal

    def items(self) -> Iterator[Item]:
        """Yield all files. Blocks."""
        for file in self._store.files():
            if file.failed or file.skipped or not _THUMBOR_ORIGINAL.fullmatch(file.name):
                notes = _THUMBOR_NOTES.fullmatch(file.name)
                why = file.skipped or ("thumbor metadata of an image" if notes else "not an original of thumbor")
                yield Item(file if file.failed else replace(file, skipped=why), self._owner, self._options)
                continue
            url = self._journal.url_of(file.name.replace(b"/", b"").decode())
            yield self._known(file, url) if url else Item(file, self._owner, self._options)

    def _known(self, file: File, url: str) -> Item:
        try:
            said = metadata({**self._options.metadata, _URL_METADATA: url})
        except InvalidParameter as problem:
            file, said = replace(file, failed=f"The URL is too long: {problem.allowed}."), {}
        name = _printable(unquote(url.partition("?")[0].partition("://")[2] or url))
        return Item(file, self._owner, replace(self._options, metadata=said), name)


class ExportedFiles:
    """Export of a deployment. Images keep their properties, including the reference.

    Args:
        store: The store.

    Raises:
        ValueError: The export is incomplete, or has an unknown version.
    """

    def __init__(self, store: Store) -> None:
        header = b"".join(store.lines(HEADER) or ())
        try:
            version = msgspec.json.decode(header, type=Header).version
        except msgspec.DecodeError as error:
            raise ValueError(f"{HEADER} can't be read: {error}.") from error
        if version != VERSION:
            raise ValueError(f"The export has version {version}; this program supports version {VERSION}.")
        lines = store.lines(LINES)
        if lines is None:
            raise ValueError(f"{LINES} is missing: the export is incomplete. Run the export again.")
        self._store = store

    def items(self) -> Iterator[Item]:
        """Yield all files. Blocks."""
        for number, text in enumerate(self._store.lines(LINES) or (), 1):
            try:
                yield _exported(text)
            except (msgspec.DecodeError, InvalidParameter, Unreadable) as error:
                why = f"{error.parameter}: {error.allowed}" if isinstance(error, InvalidParameter) else error
                yield Item(File(f"{LINES}:{number}".encode(), failed=f"Invalid line: {why}"), "", UploadOptions())


def is_export(store: Store) -> bool:
    """Return whether a store contains an export. Blocks."""
    return store.lines(HEADER) is not None


def thumbor_digests(urls: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the possible names of images in thumbor's file storage with their URLs.

    thumbor decodes the path in its own URL, percent-encodes it except slashes, and hashes the result. Names of images
    uploaded to thumbor are hashed unchanged. The scheme can be missing, and a percent-encoded URL may have been encoded
    again in thumbor's URL. So each URL has several possible names.
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
        raise Unreadable("file: must be a path below the folder of the export.")
    if not is_owner(line.owner):
        raise Unreadable(f"owner: invalid name {line.owner!r}.")
    if not is_reference(line.reference):
        raise Unreadable("reference: must be a UUID in lower case.")
    if not _SHA256.fullmatch(line.sha256):
        raise Unreadable("sha256: must be 64 hexadecimal digits in lower case.")
    ends = line.expires_at and _aware(line.expires_at)
    file = File(line.file.encode(), line.bytes)
    if ends is not None and ends <= datetime.now(UTC) and not line.held:
        file = replace(file, skipped="expired")
    past = ImportedHistory(_aware(line.uploaded_at), None if ends is None else ends.timestamp(), line.held)
    options = UploadOptions(
        line.visibility, None, checked_labels(line.labels), metadata(line.metadata), damaged=line.damaged, past=past
    )
    return Item(file, line.owner, options, line.filename and _printable(line.filename), line.reference, line.sha256)


def _is_below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and path.isprintable()


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _printable(name: str) -> str | None:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name) or None
