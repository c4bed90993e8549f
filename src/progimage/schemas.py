"""The JSON documents that requests are answered with, and how the OpenAPI document describes the answers."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from progimage.auth import ApiKey, Scope, Visibility
from progimage.engine import Format, ImageInfo
from progimage.engine.parameters import Parameter
from progimage.storage import Event, Owner, Quota, Record


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """What went wrong (RFC 9457).

    Attributes:
        type: What kind of problem it is: `urn:progimage:problem:` and a name that does not change.
        title: The status in words.
        status: The HTTP status.
        detail: What is wrong, in a sentence.
        parameter: The parameter, field or header that is at fault.
        given: What was given for it.
        allowed: What would have been allowed.
    """

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None
    given: str | int | None = None
    allowed: str | int | list[str] | None = None


class ImageRecord(msgspec.Struct):
    """What is known of a stored image.

    Attributes:
        reference: What it is asked for by.
        filename: What it was called when it was uploaded, if that was said.
        uploaded_at: When (RFC 3339).
        bytes: Of the original.
        sha256: Of the original, in hexadecimal digits.
    """

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
    upright_width: int
    upright_height: int
    page_sizes: list[tuple[int, int]]
    coded_width: int
    coded_height: int
    crop: tuple[int, int, int, int] | None
    floating: bool
    premultiplied: bool
    primaries: str | None
    transfer: str | None
    hdr: bool
    gain_map: bool
    plays: int
    durations: list[int]
    warnings: list[str]
    damaged: bool

    @classmethod
    def of(cls, record: Record) -> "ImageRecord":
        """Make it of a record."""
        return cls(**_described(record))


class OwnImageRecord(ImageRecord, kw_only=True):
    """What is known of a stored image, for whoever may act for its owner.

    Attributes:
        owner: Whose it is.
        visibility: Who may read it.
        expires_at: Until when it is there (RFC 3339), or null.
        deleted_at: When it was deleted, or null.
        held: A legal hold keeps it from being deleted and from expiring.
        labels: To find it by.
        metadata: Names and texts.
    """

    owner: str
    visibility: Visibility
    expires_at: str | None
    deleted_at: str | None
    held: bool
    labels: list[str]
    metadata: dict[str, str]

    @classmethod
    def of_own(cls, record: Record, usual: Visibility) -> "OwnImageRecord":
        """Make it of a record.

        Args:
            record: The record to make it of.
            usual: Who may read an image that says nothing of that.
        """
        return cls(
            **_described(record),
            owner=record.owner,
            visibility=record.visibility or usual,
            expires_at=date_text(record.expires_at),
            deleted_at=date_text(record.deleted_at),
            held=record.held,
            labels=list(record.labels),
            metadata=record.metadata,
        )


def _described(record: Record) -> dict[str, Any]:
    return {
        "reference": record.reference,
        "filename": record.filename,
        "uploaded_at": record.uploaded_at.isoformat(timespec="microseconds"),
        "bytes": record.blob.bytes,
        "sha256": record.blob.sha256,
        **_told(record.blob.info),
    }


def _told(info: ImageInfo) -> dict[str, Any]:
    """Return what clients are told of an image."""
    own = {"inspection"}
    lists = {name: list(getattr(info, name)) for name in ("durations", "page_sizes", "warnings")}
    return {name: getattr(info, name) for name in ImageInfo.__dataclass_fields__ if name not in own} | lists


class ImagePage(msgspec.Struct):
    """A page of a list of images, the newest first.

    Attributes:
        images: Their records.
        next: The `cursor` of the next page; null on the last.
    """

    images: list[OwnImageRecord]
    next: str | None


class ImageChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be changed of an image (RFC 7396): what is left out stays as it is, null removes.

    Attributes:
        expires: A date, such as 2027-01-31, or a duration, such as 30d or P30D.
        labels: All that it is to have.
        metadata: Names and texts; null for a text removes its name.
        held: A legal hold; for administrators.
    """

    visibility: Visibility | msgspec.UnsetType | None = msgspec.UNSET
    expires: str | msgspec.UnsetType | None = msgspec.UNSET
    labels: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, str | None] | msgspec.UnsetType | None = msgspec.UNSET
    held: bool | msgspec.UnsetType = msgspec.UNSET


class KeyDocument(msgspec.Struct):
    """What is known of an API key.

    Attributes:
        id: Its public part.
        scopes: What it allows.
        expires_at: Until when it is valid, or null.
        revoked_at: When it was revoked, or null.
        active: It is valid now.
    """

    id: str
    owner: str
    name: str
    scopes: list[Scope]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    active: bool

    @classmethod
    def of(cls, key: ApiKey) -> "KeyDocument":
        """Make it of a key."""
        return cls(**_key(key))


class NewKeyDocument(KeyDocument, kw_only=True):
    """A key that was made just now.

    Attributes:
        key: The whole key; it is not shown again.
    """

    key: str

    @classmethod
    def of_new(cls, key: ApiKey, text: str) -> "NewKeyDocument":
        """Make it of a key, and its text."""
        return cls(**_key(key), key=text)


def _key(key: ApiKey) -> dict[str, Any]:
    dates = {name: date_text(getattr(key, name)) for name in ("expires_at", "revoked_at")}
    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": date_text(key.created_at),
        "active": key.is_active,
        **dates,
    }


class KeyWanted(msgspec.Struct, forbid_unknown_fields=True):
    """Which key is to be made.

    Attributes:
        owner: For whose images.
        scopes: What it allows.
        name: To tell it from others.
        expires: A date or a duration; null: never.
    """

    owner: str
    scopes: list[Scope]
    name: str = ""
    expires: str | None = None


class KeyRotation(msgspec.Struct, forbid_unknown_fields=True):
    """How a key is to be replaced.

    Attributes:
        grace_seconds: For how long the old one stays valid.
    """

    grace_seconds: int = 86400


class OwnerDocument(msgspec.Struct):
    """What an owner has, and what it may have; null is no bound.

    Attributes:
        images: How many it has.
        bytes: How many they have.
        retention_seconds: After how long its images expire, unless an upload says otherwise.
    """

    owner: str
    images: int
    bytes: int
    max_images: int | None
    max_bytes: int | None
    retention_seconds: int | None

    @classmethod
    def of(cls, owner: Owner, quota: Quota) -> "OwnerDocument":
        """Make it of an owner, and its quota in effect."""
        return cls(owner.name, owner.images, owner.bytes, quota.images, quota.bytes, owner.retention_seconds)


class OwnerWanted(msgspec.Struct, forbid_unknown_fields=True):
    """What an owner may have; null is what the deployment allows everybody.

    Attributes:
        retention_seconds: After how long its images expire, unless an upload says otherwise.
    """

    max_images: int | None = None
    max_bytes: int | None = None
    retention_seconds: int | None = None


class TicketWanted(msgspec.Struct, forbid_unknown_fields=True):
    """What a ticket is to allow, and what is to be said of its images.

    Attributes:
        max_bytes: The largest upload.
        expires_in: For how many seconds the ticket is valid.
        expires: Until when the image is there: a date or a duration.
        labels: Of the image.
        metadata: Of the image.
    """

    max_bytes: int
    expires_in: int = 600
    visibility: Visibility | None = None
    expires: str | None = None
    labels: list[str] = []
    metadata: dict[str, str] = {}
    damaged: Literal["refuse", "accept"] = "refuse"


class TicketDocument(msgspec.Struct):
    """A ticket.

    Attributes:
        url: Where to PUT or POST the image, once.
        expires_at: Until when (RFC 3339).
    """

    url: str
    expires_at: str
    max_bytes: int


class SignatureWanted(msgspec.Struct, forbid_unknown_fields=True):
    """Which request is to be signed.

    Attributes:
        url: Its path and query.
        expires_in: For how many seconds it is valid; null: for ever.
        method: GET (and with it HEAD) or DELETE.
    """

    url: str
    expires_in: int | None = 3600
    method: str = "GET"


class SignedDocument(msgspec.Struct):
    """A signed request."""

    url: str
    expires_at: str | None


class EventDocument(msgspec.Struct):
    """Something that happened.

    Attributes:
        at: When (RFC 3339).
        action: What, such as upload, delete or refused.
        key_id: With which key, if with one.
        address: From which network address.
        reference: To which image, if to one.
        detail: What else there is to say.
    """

    id: int
    at: str
    action: str
    owner: str | None
    key_id: str | None
    address: str | None
    reference: str | None
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventDocument":
        """Make it of an event."""
        return cls(
            event.id, date_text(event.at) or "", event.action, event.owner, event.key_id, event.address,
            event.reference, event.detail,
        )  # fmt: skip


class EventPage(msgspec.Struct):
    """A page of the audit log, the newest first.

    Attributes:
        events: What happened.
        next: The `cursor` of the next page; null on the last.
    """

    events: list[EventDocument]
    next: str | None


class ImportWanted(msgspec.Struct, forbid_unknown_fields=True):
    """Which images are to be fetched and stored; in the background, if the answer is not waited for.

    Attributes:
        urls: From where.
        background: Answer at once, with a job.
        expires: Until when the images are there: a date or a duration.
    """

    urls: list[str]
    background: bool = False
    visibility: Visibility | None = None
    expires: str | None = None
    labels: list[str] = []
    metadata: dict[str, str] = {}
    damaged: Literal["refuse", "accept"] = "refuse"


class BegunDocument(msgspec.Struct):
    """Work that goes on in the background.

    Attributes:
        job: The id of its job.
        url: Where to see how far it is.
        references: Of what will be stored, in the order of the request.
    """

    job: str
    url: str
    references: list[str]


def date_text(seconds: float | None) -> str | None:
    """Return a time in seconds since 1970 as text (RFC 3339)."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


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
    upright_width: int
    upright_height: int
    page_sizes: list[tuple[int, int]]
    coded_width: int
    coded_height: int
    crop: tuple[int, int, int, int] | None
    floating: bool
    premultiplied: bool
    primaries: str | None
    transfer: str | None
    hdr: bool
    gain_map: bool
    plays: int
    durations: list[int]
    warnings: list[str]
    damaged: bool

    @classmethod
    def of(cls, info: ImageInfo, size: int) -> "InspectedImage":
        """Make it of what the engine says, and the size of the file in bytes."""
        return cls(bytes=size, **_told(info))


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
    """What can be done with a format.

    Attributes:
        extensions: In URLs; the first is the usual one.
        animated: It can have frames that are shown one after the other.
        writes_animations: Animations are written in it.
        pages: It can have several pages.
        alpha: It can have transparency.
        lossless: It can keep every pixel as it is.
        hdr: HDR is written in it.
    """

    name: str
    description: str
    extensions: list[str]
    media_type: str
    can_read: bool
    can_write: bool
    animated: bool
    writes_animations: bool
    pages: bool
    alpha: bool
    lossless: bool
    hdr: bool

    @classmethod
    def of(cls, format: Format) -> "FormatRow":
        """Make it of a format."""
        other: dict[str, Any] = {"extensions": list(format.extensions), "hdr": format.cicp}
        return cls(**other, **{name: getattr(format, name) for name in cls.__struct_fields__ if name not in other})


class ParameterRow(msgspec.Struct):
    """A parameter of a rendition: what it does, and how its value is written.

    Attributes:
        doc: What it does.
        allowed: In words.
        unit: Of its value; empty if it has none.
        default: Empty if there is none.
        aliases: Its other names.
        needs: Another parameter without which it means nothing.
        schema: The JSON schema of its value.
    """

    name: str
    group: str
    doc: str
    allowed: str
    unit: str
    default: str
    aliases: list[str]
    needs: str | None
    schema: dict[str, Any]

    @classmethod
    def of(cls, one: Parameter) -> "ParameterRow":
        """Make it of a declaration."""
        return cls(
            one.name, one.group, one.doc, one.kind.allowed, one.unit, one.default_text, list(one.aliases), one.needs,
            one.kind.schema(),
        )  # fmt: skip


def response(body: Any, description: str, media_type: str = "application/json") -> ResponseSpec:
    """Describe an answer, without an example: Litestar would make one up at every start, of random letters.

    Args:
        body: The type of what it has; None: nothing.
        description: When it is given, and what it says.
        media_type: Of the body.
    """
    return ResponseSpec(body, description=description, media_type=media_type, generate_examples=False)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Describe the errors with which a path may answer."""
    return dict.fromkeys(statuses, response(ProblemDocument, "What is wrong.", "application/problem+json"))


def image_bytes(description: str) -> ResponseSpec:
    """Describe an answer that is an image."""
    return response(bytes, description, "image/*")
