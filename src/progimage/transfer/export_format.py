"""Format of an export: `images.ndjson` with one line per image, and a plain file for each original.

The file name of an original starts with its reference, so that no two names differ only in case, and none is reserved
in Windows. The name of the image follows, reduced to what all file systems support.
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
"""In bytes. With the suffix `.part`, this is the limit of eCryptfs, the strictest file system in wide use."""
_LONGEST_EXTENSION = 12
_UNSAFE = frozenset('<>:"/\\|?*')


class Header(msgspec.Struct, frozen=True):
    """Header of an export.

    Attributes:
        filters: Names and values of the filters.
        version: Version of this format.
    """

    filters: dict[str, Any]
    version: int = VERSION


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Description of an image.

    Attributes:
        reference: Reference of the image.
        file: Path of the original below the folder of the export, with `/`.
        sha256: SHA-256 of the original, in hexadecimal digits.
        bytes: Size of the original in bytes.
        format: Container format of the original, such as JPEG.
        filename: Name given at the upload, or None.
        owner: Owner of the image.
        uploaded_at: Time of the upload.
        visibility: Who may read it: public, signed or key; None: the deployment's default.
        expires_at: When it expires; None: never.
        held: Whether a legal hold protects it.
        labels: Labels.
        metadata: Names and texts.
        damaged: Whether it had lost pixels at the upload and was accepted nevertheless.
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
        """Return the line of a record."""
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
    """Return the path of an original below the folder of an export, in one of 4,096 subfolders."""
    name = safe_name(record.filename)
    if not name:
        extensions = FORMATS[record.blob.info.format].extensions
        return f"originals/{record.reference[:3]}/{record.reference}.{extensions[0]}"
    return f"originals/{record.reference[:3]}/{_shortened(f'{record.reference}-{name}')}"


def safe_name(filename: str | None) -> str:
    """Return the last part of a path, reduced to what all file systems support; empty if nothing is left."""
    last = PurePosixPath((filename or "").replace("\\", "/")).name
    kept = (c if c.isprintable() and c not in _UNSAFE else "_" for c in unicodedata.normalize("NFC", last))
    return "".join(kept).strip(" .")


def _shortened(name: str) -> str:
    """Shorten a name to the limit of all file systems, keeping its extension."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > _LONGEST_EXTENSION:
        stem, dot, extension = name, "", ""
    room = _LONGEST_NAME - len(f"{dot}{extension}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + dot + extension
