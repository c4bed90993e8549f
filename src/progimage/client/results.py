"""Responses of the service as typed values. Unknown fields of a newer service are ignored."""

import builtins
from datetime import datetime

import msgspec


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """Description of a stored image. Fields that only its owner may see are None for others.

    Attributes:
        reference: Reference of the image.
        filename: Name given at the upload, if any.
        uploaded_at: Time of the upload.
        bytes: Size of the original.
        sha256: SHA-256 of the original, in hexadecimal digits.
        format: Container format of the original, such as JPEG.
        media_type: Media type of the original.
        width: Width in pixels, before it is turned upright.
        height: Height in pixels, before it is turned upright.
        frames: Number of frames or pages.
        animated: Whether the frames are an animation.
        duration: Duration of an animation, in milliseconds.
        mode: Kind of pixels, such as RGB.
        bit_depth: Bits per channel in the file.
        alpha: Whether it has transparency.
        icc: Name of its colour profile, if any.
        orientation: EXIF orientation, 1 to 8.
        exif: Common EXIF fields.
        perceptual_hash: Hash of its appearance: the fewer bits differ between two images, the more similar they look.
        line_art: Whether it is drawn rather than photographed.
        upright_width: Width in pixels, when turned upright.
        upright_height: Height in pixels, when turned upright.
        page_sizes: Upright width and height of each page, if they differ.
        coded_width: Width in pixels, before the container crops it.
        coded_height: Height in pixels, before the container crops it.
        crop: Part shown by the container: left, top, width and height; None for all.
        floating: Whether its samples are floating point numbers.
        premultiplied: Whether the colours in the file are multiplied by alpha.
        primaries: Name of its primaries, if the file specifies them without a profile.
        transfer: Name of its transfer function, if the file specifies it without a profile.
        hdr: Whether it is brighter than the white of a page (HDR).
        gain_map: Whether it has a gain map.
        plays: How many times an animation plays; 0 for an infinite loop.
        durations: Duration of each frame of an animation, in milliseconds.
        warnings: What the image doesn't show of the contents of the file.
        damaged: Whether it lost pixels and was accepted nevertheless.
        owner: Owner of the image.
        visibility: public, signed or key.
        expires_at: When it expires, if ever.
        deleted_at: When it was deleted, if it was.
        held: Whether a legal hold protects it.
        labels: Labels.
        metadata: Names and texts.
    """

    reference: str
    filename: str | None
    uploaded_at: datetime
    bytes: int
    sha256: str
    format: str
    media_type: str
    width: int
    height: int
    frames: int = 1
    animated: bool = False
    duration: int = 0
    mode: str = ""
    bit_depth: int = 8
    alpha: bool = False
    icc: str | None = None
    orientation: int = 1
    exif: dict[str, str | int | float] = {}
    perceptual_hash: str | None = None
    line_art: bool = False
    upright_width: int = 0
    upright_height: int = 0
    coded_width: int = 0
    coded_height: int = 0
    page_sizes: list[tuple[int, int]] = []
    crop: tuple[int, int, int, int] | None = None
    floating: bool = False
    premultiplied: bool = False
    primaries: str | None = None
    transfer: str | None = None
    hdr: bool = False
    gain_map: bool = False
    plays: int = 0
    durations: list[int] = []
    warnings: list[str] = []
    damaged: bool = False
    owner: str | None = None
    visibility: str | None = None
    expires_at: datetime | None = None
    deleted_at: datetime | None = None
    held: bool = False
    labels: list[str] = []
    metadata: dict[str, str] = {}


class Page(msgspec.Struct, frozen=True):
    """Page of a list of images."""

    images: list[Image]
    next: str | None = None


class Placeholder(msgspec.Struct, frozen=True):
    """Placeholders to show until an image has loaded.

    Attributes:
        width: Width of the upright image, in pixels.
        height: Height of the upright image, in pixels.
        thumbhash: ThumbHash in base64.
        blurhash: BlurHash.
        data_uri: Tiny WebP as a data URI.
    """

    width: int
    height: int
    thumbhash: str
    blurhash: str
    data_uri: str


class Swatch(msgspec.Struct, frozen=True):
    """Dominant colour: `#rrggbb`, and the share of pixels near it, from 0 to 1."""

    color: str
    share: float


class Format(msgspec.Struct, frozen=True):
    """Container format and its capabilities."""

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


class Account(msgspec.Struct, frozen=True):
    """Usage and quotas of the key's owner. None means no limit."""

    owner: str
    images: int
    bytes: builtins.int
    max_images: int | None = None
    max_bytes: int | None = None
    retention_seconds: int | None = None


class Ticket(msgspec.Struct, frozen=True):
    """Upload ticket: lets a client without a key upload one image to its URL."""

    url: str
    expires_at: datetime
    max_bytes: int


class Signed(msgspec.Struct, frozen=True):
    """Signed request."""

    url: str
    expires_at: datetime | None = None


class Rendition(msgspec.Struct, frozen=True, kw_only=True):
    """One of several renditions: its URL, or its problem."""

    reference: str
    preset: str | None = None
    query: str | None = None
    url: str | None = None
    format: str | None = None
    bytes: int | None = None
    problem: dict[str, object] | None = None


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """One of several fetched images: its reference, or its problem."""

    url: str
    reference: str | None = None
    problem: dict[str, object] | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """State of a background job.

    Attributes:
        id: ID of the job.
        state: waiting, running, done or failed.
        total: Number of parts.
        waiting: Number of waiting parts.
        running: Number of running parts.
        done: Number of finished parts.
        failed: Number of failed parts.
        parts: Work and result of each part.
    """

    id: str
    state: str
    total: int = 1
    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    parts: list[dict[str, object]] = []


class Begun(msgspec.Struct, frozen=True):
    """Work started in the background: its job, and the references of its future images."""

    job: str
    url: str
    references: list[str]
