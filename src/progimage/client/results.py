"""What the service answers, as typed values. Fields that a newer service adds are left out."""

import builtins
from datetime import datetime

import msgspec


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a stored image; what only its owner is told is None for others.

    Attributes:
        reference: Its reference.
        filename: What it was called when it was uploaded, if that was said.
        uploaded_at: When.
        bytes: Of the original.
        sha256: Of the original, in hexadecimal digits.
        format: Of the original, such as JPEG.
        media_type: Likewise.
        width: Before it is turned upright, in pixels.
        height: Likewise.
        frames: How many frames or pages it has.
        animated: Its frames are shown one after the other.
        duration: Of an animation, in milliseconds.
        mode: The kind of its pixels, such as RGB.
        bit_depth: Bits a channel, as the file has them.
        alpha: It has transparency.
        icc: The name of its colour profile, if it has one.
        orientation: How it is to be turned upright, 1 to 8 as EXIF counts.
        exif: The usual EXIF fields.
        perceptual_hash: The fewer bits of two differ, the more alike the pictures look.
        line_art: It is drawn rather than photographed.
        upright_width: Once it is turned upright, in pixels.
        upright_height: Likewise.
        page_sizes: Width and height of each page once it is turned upright, where they are not all of one size.
        coded_width: Before the container crops it, in pixels.
        coded_height: Likewise.
        crop: What the container shows of that: left, top, width and height; or None: all of it.
        floating: Its samples are floating point numbers.
        premultiplied: In the file its colours are multiplied by their alpha.
        primaries: What its primaries are called, where the file tells them other than by a profile.
        transfer: What its transfer function is called, likewise.
        hdr: It reaches beyond the white of a page.
        gain_map: It has a gain map.
        plays: How often an animation is played; 0 is without end.
        durations: How long each frame of an animation is shown, in milliseconds.
        warnings: What is to be known of a picture that is not all that the file holds.
        damaged: It has lost pixels, and was accepted as it is.
        owner: Whose it is.
        visibility: public, signed or key.
        expires_at: Until when it is there, if it ends.
        deleted_at: When it was deleted, if it was.
        held: A legal hold keeps it.
        labels: To find it by.
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
    """A page of a list of images."""

    images: list[Image]
    next: str | None = None


class Placeholder(msgspec.Struct, frozen=True):
    """What to show until a picture is there.

    Attributes:
        width: Of the upright picture, in pixels.
        height: Likewise.
        thumbhash: In base64.
        blurhash: As text.
        data_uri: A tiny WebP.
    """

    width: int
    height: int
    thumbhash: str
    blurhash: str
    data_uri: str


class Swatch(msgspec.Struct, frozen=True):
    """A dominant colour: `#rrggbb`, and the share of the pixels that is near to it, 0 to 1."""

    color: str
    share: float


class Format(msgspec.Struct, frozen=True):
    """What can be done with a container format."""

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
    """What the key's owner has, and may have; None is no bound."""

    owner: str
    images: int
    bytes: builtins.int
    max_images: int | None = None
    max_bytes: int | None = None
    retention_seconds: int | None = None


class Ticket(msgspec.Struct, frozen=True):
    """Lets somebody without a key upload once, at its URL."""

    url: str
    expires_at: datetime
    max_bytes: int


class Signed(msgspec.Struct, frozen=True):
    """A signed request."""

    url: str
    expires_at: datetime | None = None


class Rendition(msgspec.Struct, frozen=True, kw_only=True):
    """One of many renditions: where it is, or the problem that it has."""

    reference: str
    preset: str | None = None
    query: str | None = None
    url: str | None = None
    format: str | None = None
    bytes: int | None = None
    problem: dict[str, object] | None = None


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """One of many images that are fetched: its reference, or the problem that it has."""

    url: str
    reference: str | None = None
    problem: dict[str, object] | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """How far work in the background is.

    Attributes:
        id: Of the job.
        state: waiting, running, done or failed.
        total: How many parts it has.
        waiting: How many of them are in this state, and so on.
        parts: What each does, and what came of it.
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
    """Work that goes on in the background: its job, and the references that its images will have."""

    job: str
    url: str
    references: list[str]
