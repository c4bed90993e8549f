"""The JSON documents that requests are answered with, and how the OpenAPI document describes the answers."""

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from progimage.engine import Format, ImageInfo
from progimage.storage import Record


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None
    given: str | int | None = None
    allowed: str | int | list[str] | None = None


class ImageRecord(msgspec.Struct):
    """What is known of a stored image."""

    reference: str
    filename: str | None
    uploaded_at: str
    bytes: int
    sha256: str
    format: str
    media_type: str
    width: int
    height: int
    frames: int
    animated: bool
    duration: int
    mode: str
    bit_depth: int
    alpha: bool
    icc: str | None
    orientation: int
    exif: dict[str, str | int | float]
    perceptual_hash: str | None
    line_art: bool

    @classmethod
    def of(cls, record: Record) -> "ImageRecord":
        """Make it of a record."""
        info = {name: getattr(record.blob.info, name) for name in ImageInfo.__dataclass_fields__}
        uploaded_at = record.uploaded_at.isoformat(timespec="microseconds")
        return cls(
            reference=record.reference,
            filename=record.filename,
            uploaded_at=uploaded_at,
            bytes=record.blob.bytes,
            sha256=record.blob.sha256,
            **info,
        )


class InspectedImage(msgspec.Struct):
    """What an image that is not stored is like."""

    bytes: int
    format: str
    media_type: str
    width: int
    height: int
    frames: int
    animated: bool
    duration: int
    mode: str
    bit_depth: int
    alpha: bool
    icc: str | None
    orientation: int
    exif: dict[str, str | int | float]
    perceptual_hash: str | None
    line_art: bool

    @classmethod
    def of(cls, info: ImageInfo, size: int) -> "InspectedImage":
        """Make it of what the engine says, and the size of the file in bytes."""
        return cls(bytes=size, **{name: getattr(info, name) for name in ImageInfo.__dataclass_fields__})


class PlaceholderDocument(msgspec.Struct):
    """What to show until a picture is there."""

    width: int
    height: int
    thumbhash: str
    blurhash: str
    data_uri: str


class SwatchDocument(msgspec.Struct):
    """A dominant colour, and what part of the picture is near to it."""

    color: str
    share: float


class FormatRow(msgspec.Struct):
    """What can be done with a format."""

    name: str
    description: str
    extensions: list[str]
    media_type: str
    can_read: bool
    can_write: bool
    animated: bool
    pages: bool
    alpha: bool
    lossless: bool

    @classmethod
    def of(cls, format: Format) -> "FormatRow":
        """Make it of a row of the table of formats."""
        fields = {name: getattr(format, name) for name in cls.__struct_fields__ if name != "extensions"}
        return cls(extensions=list(format.extensions), **fields)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Describe the errors with which a path may answer."""
    return {
        status: ResponseSpec(
            ProblemDocument,
            description="What is wrong.",
            media_type="application/problem+json",
            generate_examples=False,
        )
        for status in statuses
    }


def image_bytes(description: str) -> ResponseSpec:
    """Describe an answer that is an image."""
    return ResponseSpec(bytes, description=description, media_type="image/*", generate_examples=False)
