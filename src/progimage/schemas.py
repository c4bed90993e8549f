"""The JSON documents of requests and responses, and descriptions of responses for the OpenAPI document."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from progimage.auth import ApiKey, Scope, Visibility
from progimage.engine import Format, ImageInfo
from progimage.engine.parameters import Parameter
from progimage.storage import Event, Owner, Quota, Record


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """An error (RFC 9457).

    Attributes:
        type: The kind of problem: `urn:progimage:problem:` and a name that never changes.
        title: The status in words.
        status: The HTTP status.
        detail: An explanation, in a sentence.
        parameter: The parameter, form field or header field that caused it.
        given: Its value.
        allowed: The allowed values.
    """

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None
    given: str | int | None = None
    allowed: str | int | list[str] | None = None


class ImageRecord(msgspec.Struct):
    """The public record of a stored image.

    Attributes:
        reference: The image's reference, a UUID.
        filename: The file name from the upload, or null.
        uploaded_at: When it was uploaded (RFC 3339).
        bytes: The size of the original in bytes.
        sha256: The SHA-256 of the original, in hexadecimal.
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
        """Return the public record of an image."""
        return cls(**_described(record))


class OwnImageRecord(ImageRecord, kw_only=True):
    """The record of a stored image, for keys of its owner.

    Attributes:
        owner: The image's owner.
        visibility: Who can read it.
        expires_at: When it expires (RFC 3339), or null.
        deleted_at: When it was deleted (RFC 3339), or null.
        held: Whether a legal hold prevents deletion and expiry.
        labels: Labels to filter lists by.
        metadata: The metadata set by its owner: names and string values.
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
        """Return the full record of an image.

        Args:
            record: The record.
            usual: The visibility of images without one of their own.
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
    """Return the public members that describe an image."""
    own = {"inspection"}
    lists = {name: list(getattr(info, name)) for name in ("durations", "page_sizes", "warnings")}
    return {name: getattr(info, name) for name in ImageInfo.__dataclass_fields__ if name not in own} | lists


class ImagePage(msgspec.Struct):
    """A page of a list of images, newest first.

    Attributes:
        images: The records.
        next: The `cursor` of the next page, or null on the last page.
    """

    images: list[OwnImageRecord]
    next: str | None


class ImageChange(msgspec.Struct, forbid_unknown_fields=True):
    """A change to an image (RFC 7396): omitted members stay unchanged, null removes a value.

    Attributes:
        visibility: Who can read the image.
        expires: A date, such as 2027-01-31, or a duration, such as 30d or P30D.
        labels: The labels; they replace all existing ones.
        metadata: Names and string values to set; null as a value removes the name.
        held: Whether a legal hold applies; administrators only.
    """

    visibility: Visibility | msgspec.UnsetType | None = msgspec.UNSET
    expires: str | msgspec.UnsetType | None = msgspec.UNSET
    labels: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, str | None] | msgspec.UnsetType | None = msgspec.UNSET
    held: bool | msgspec.UnsetType = msgspec.UNSET


class KeyDocument(msgspec.Struct):
    """An API key, without its secret part.

    Attributes:
        id: The public part of the key.
        owner: The owner whose images it gives access to.
        name: A name to recognize it by.
        scopes: Its scopes.
        created_at: When it was created (RFC 3339).
        expires_at: When it expires (RFC 3339), or null.
        revoked_at: When it was revoked (RFC 3339), or null.
        active: Whether it is valid now.
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
        """Describe a key."""
        return cls(**_key(key))


class NewKeyDocument(KeyDocument, kw_only=True):
    """A new API key.

    Attributes:
        key: The full key. It is never shown again.
    """

    key: str

    @classmethod
    def of_new(cls, key: ApiKey, text: str) -> "NewKeyDocument":
        """Describe a new key, with its text."""
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
    """The API key to create.

    Attributes:
        owner: The owner whose images it gives access to.
        scopes: Its scopes.
        name: A name to recognize it by.
        expires: When it expires: a date or a duration; null means never.
    """

    owner: str
    scopes: list[Scope]
    name: str = ""
    expires: str | None = None


class KeyRotation(msgspec.Struct, forbid_unknown_fields=True):
    """How to replace an API key.

    Attributes:
        grace_seconds: How long the old key stays valid, in seconds.
    """

    grace_seconds: int = 86400


class OwnerDocument(msgspec.Struct):
    """The usage and limits of an owner; null means no limit.

    Attributes:
        owner: The owner's name.
        images: The number of images.
        bytes: Their total size in bytes.
        max_images: The maximum number of images.
        max_bytes: The maximum total size in bytes.
        retention_seconds: Default lifetime of its images in seconds; an upload can set another.
    """

    owner: str
    images: int
    bytes: int
    max_images: int | None
    max_bytes: int | None
    retention_seconds: int | None

    @classmethod
    def of(cls, owner: Owner, quota: Quota) -> "OwnerDocument":
        """Describe an owner with its effective quota."""
        return cls(owner.name, owner.images, owner.bytes, quota.images, quota.bytes, owner.retention_seconds)


class OwnerWanted(msgspec.Struct, forbid_unknown_fields=True):
    """The limits of an owner; null means the deployment's default.

    Attributes:
        max_images: The maximum number of images.
        max_bytes: The maximum total size in bytes.
        retention_seconds: Default lifetime of its images in seconds; an upload can set another.
    """

    max_images: int | None = None
    max_bytes: int | None = None
    retention_seconds: int | None = None


class TicketWanted(msgspec.Struct, forbid_unknown_fields=True):
    """The ticket to create, and the options of the images uploaded with it.

    Attributes:
        max_bytes: The maximum size of the upload in bytes.
        expires_in: How long the ticket is valid, in seconds.
        visibility: Who can read the images.
        expires: When the images expire: a date or a duration.
        labels: Labels of the images.
        metadata: Metadata of the images: names and string values.
        damaged: Images that have lost pixels: `refuse` rejects them, `accept` stores what can be decoded.
    """

    max_bytes: int
    expires_in: int = 600
    visibility: Visibility | None = None
    expires: str | None = None
    labels: list[str] = []
    metadata: dict[str, str] = {}
    damaged: Literal["refuse", "accept"] = "refuse"


class TicketDocument(msgspec.Struct):
    """An upload ticket.

    Attributes:
        url: The path and query to PUT or POST the image to, once.
        expires_at: When the ticket expires (RFC 3339).
        max_bytes: The maximum size of the upload in bytes.
    """

    url: str
    expires_at: str
    max_bytes: int


class SignatureWanted(msgspec.Struct, forbid_unknown_fields=True):
    """The request to sign.

    Attributes:
        url: The path and query to sign.
        expires_in: How long the signature is valid, in seconds; null means indefinitely.
        method: `GET`, which includes `HEAD`, or `DELETE`.
    """

    url: str
    expires_in: int | None = 3600
    method: str = "GET"


class SignedDocument(msgspec.Struct):
    """A signed request.

    Attributes:
        url: The path and query with the signature.
        expires_at: When the signature expires (RFC 3339), or null.
    """

    url: str
    expires_at: str | None


class EventDocument(msgspec.Struct):
    """An event in the audit log.

    Attributes:
        id: The number of the event.
        at: When it happened (RFC 3339).
        action: What happened, such as `upload`, `delete` or `refused`.
        owner: The owner concerned, or null.
        key_id: The id of the API key that was used, or null.
        address: The network address of the caller, or null.
        reference: The reference of the image, or null.
        detail: More details.
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
        """Describe an event."""
        return cls(
            event.id, date_text(event.at) or "", event.action, event.owner, event.key_id, event.address,
            event.reference, event.detail,
        )  # fmt: skip


class EventPage(msgspec.Struct):
    """A page of the audit log, newest first.

    Attributes:
        events: The events.
        next: The `cursor` of the next page, or null on the last page.
    """

    events: list[EventDocument]
    next: str | None


class ImportWanted(msgspec.Struct, forbid_unknown_fields=True):
    """The images to fetch and store.

    Attributes:
        urls: The URLs of the images.
        background: Whether to return immediately and fetch the images in a background job.
        visibility: Who can read the images.
        expires: When the images expire: a date or a duration.
        labels: Labels of the images.
        metadata: Metadata of the images: names and string values.
        damaged: Images that have lost pixels: `refuse` rejects them, `accept` stores what can be decoded.
    """

    urls: list[str]
    background: bool = False
    visibility: Visibility | None = None
    expires: str | None = None
    labels: list[str] = []
    metadata: dict[str, str] = {}
    damaged: Literal["refuse", "accept"] = "refuse"


class BegunDocument(msgspec.Struct):
    """A background job that was started.

    Attributes:
        job: The id of the job.
        url: The path to get its progress from.
        references: The references that the images will have, in the order of the request.
    """

    job: str
    url: str
    references: list[str]


def date_text(seconds: float | None) -> str | None:
    """Return a Unix timestamp as text (RFC 3339)."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


class InspectedImage(msgspec.Struct):
    """The metadata of an image that is not stored.

    Attributes:
        bytes: The size of the file in bytes.
    """

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
        """Return the engine's metadata of an image, with the size of its file in bytes."""
        return cls(bytes=size, **_told(info))


class PlaceholderDocument(msgspec.Struct):
    """Placeholders to show while an image loads."""

    width: int
    height: int
    thumbhash: str
    blurhash: str
    data_uri: str


class SwatchDocument(msgspec.Struct):
    """A dominant colour, and the share of the image close to it."""

    color: str
    share: float


class FormatRow(msgspec.Struct):
    """A format and its capabilities.

    Attributes:
        name: The name of the format.
        description: A short description.
        extensions: The extensions that select it in URLs; the first is the preferred one.
        media_type: The media type of its files.
        can_read: Whether images in this format can be uploaded.
        can_write: Whether renditions can be made in this format.
        animated: Whether the format supports animations.
        writes_animations: Whether renditions in this format can be animated.
        pages: Whether the format supports multiple pages.
        alpha: Whether renditions in this format can be transparent.
        lossless: Whether renditions in this format can be lossless.
        hdr: Whether renditions in this format can be HDR.
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
        """Describe a format."""
        other: dict[str, Any] = {"extensions": list(format.extensions), "hdr": format.cicp}
        return cls(**other, **{name: getattr(format, name) for name in cls.__struct_fields__ if name not in other})


class ParameterRow(msgspec.Struct):
    """A parameter of a rendition.

    Attributes:
        name: The name of the parameter.
        group: The group it belongs to.
        doc: What it does.
        allowed: The allowed values, in words.
        unit: The unit of its value, or empty.
        default: The default value, or empty.
        aliases: Other names of the parameter.
        needs: Another parameter that it requires, or null.
        schema: The JSON Schema of its value.
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
        """Describe a declared parameter."""
        return cls(
            one.name, one.group, one.doc, one.kind.allowed, one.unit, one.default_text, list(one.aliases), one.needs,
            one.kind.schema(),
        )  # fmt: skip


def response(body: Any, description: str, media_type: str = "application/json") -> ResponseSpec:
    """Describe a response, without an example: Litestar would generate one from random letters at every start.

    Args:
        body: The type of the body; None for a response without one.
        description: The description in the OpenAPI document.
        media_type: The media type of the body.
    """
    return ResponseSpec(body, description=description, media_type=media_type, generate_examples=False)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Describe the error responses of a path."""
    return dict.fromkeys(statuses, response(ProblemDocument, "An error.", "application/problem+json"))


def image_bytes(description: str) -> ResponseSpec:
    """Describe a response that is an image."""
    return response(bytes, description, "image/*")
