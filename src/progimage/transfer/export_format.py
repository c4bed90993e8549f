"""What an export looks like on disk: `images.ndjson` with a line for each image, and a plain file for each original.

The file of an original is named by its reference, so that no two names differ only in case, and none is a name that
Windows reserves; what the image was called follows, as far as every file system can have it.
"""

import unicodedata
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import msgspec

from progimage.auth import Visibility
from progimage.engine import FORMATS
from progimage.storage import Record

HEADER, LINES = "export.json", "images.ndjson"
VERSION = 1
_LONGEST_NAME = 138
"""In bytes; with `.part` after it, it is the longest that eCryptfs takes, the narrowest file system in wide use."""
_LONGEST_EXTENSION = 12
_UNSAFE = frozenset('<>:"/\\|?*')


class Header(msgspec.Struct, frozen=True):
    """What an export is of.

    Attributes:
        filters: What was asked for: the names of filters, and their values.
        version: Of this format.
    """

    filters: dict[str, Any]
    version: int = VERSION


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an image.

    Attributes:
        reference: Its reference.
        file: Its original, a path below the folder of the export, with `/`.
        sha256: Of the original, in hexadecimal digits.
        bytes: How many the original has.
        format: Of the original, such as JPEG.
        filename: What it was called when it was uploaded, or None.
        owner: Whose it is.
        uploaded_at: When.
        visibility: Who may read it: public, signed or key; None: what the deployment says.
        expires_at: Until when it is there; None: for ever.
        held: A legal hold keeps it.
        labels: To find it by.
        metadata: Names and texts.
        damaged: It had lost pixels when it was uploaded, and was accepted so.
    """

    reference: str
    file: str
    sha256: str
    bytes: int
    format: str
    filename: str | None
    owner: str
    uploaded_at: datetime
    visibility: Visibility | None
    expires_at: datetime | None
    held: bool
    labels: list[str]
    metadata: dict[str, str]
    damaged: bool

    @classmethod
    def of(cls, record: Record) -> "Line":
        """Make it of a record."""
        return cls(
            reference=record.reference,
            file=file_of(record),
            sha256=record.blob.sha256,
            bytes=record.blob.bytes,
            format=record.blob.info.format,
            filename=record.filename,
            owner=record.owner,
            uploaded_at=record.uploaded_at,
            visibility=record.visibility,
            expires_at=None if record.expires_at is None else datetime.fromtimestamp(record.expires_at, UTC),
            held=record.held,
            labels=list(record.labels),
            metadata=record.metadata,
            damaged=record.blob.info.damaged,
        )


def file_of(record: Record) -> str:
    """Return the path of an original below the folder of an export: there are 4,096 folders."""
    name = safe_name(record.filename)
    if not name:
        extensions = FORMATS[record.blob.info.format].extensions
        return f"originals/{record.reference[:3]}/{record.reference}.{extensions[0]}"
    return f"originals/{record.reference[:3]}/{_shortened(f'{record.reference}-{name}')}"


def safe_name(filename: str | None) -> str:
    """Return the last part of a name without what some file system can't have; empty if nothing is left."""
    last = PurePosixPath((filename or "").replace("\\", "/")).name
    kept = (c if c.isprintable() and c not in _UNSAFE else "_" for c in unicodedata.normalize("NFC", last))
    return "".join(kept).strip(" .")


def _shortened(name: str) -> str:
    """Shorten a name to what every file system takes; its extension stays."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > _LONGEST_EXTENSION:
        stem, dot, extension = name, "", ""
    room = _LONGEST_NAME - len(f"{dot}{extension}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + dot + extension
