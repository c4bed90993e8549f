"""The paths of the API."""

import uuid
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
import prometheus_client
from litestar import Controller, Request, Response, delete, get, post, put, route
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Redirect
from litestar.types import ASGIApp

from progimage.engine import FORMATS, Format, ImageInfo, RenditionSpec, by_extension
from progimage.http.delivery import Delivery, Identity, NotModified, is_not_modified
from progimage.http.ingest import Ingest, clean_filename, unless_disconnected
from progimage.http.observability import BYTES_STORED, IMAGES, metrics_text
from progimage.http.problems import Problem
from progimage.library import ImageLibrary, is_original, rendition_digest
from progimage.storage import Record

AnyRequest = Request[Any, Any, Any]


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


def _problems(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            ProblemDocument,
            description="What is wrong.",
            media_type="application/problem+json",
            generate_examples=False,
        )
        for status in statuses
    }


def _bytes(description: str) -> ResponseSpec:
    return ResponseSpec(bytes, description=description, media_type="image/*", generate_examples=False)


DOWNLOAD = Annotated[
    str | None,
    Parameter(
        query="download",
        description="Ask the browser to save the file, under this name if one is given; else under the name that it"
        " was uploaded with.",
    ),
]


class Storage(Controller):
    """Store images and get them back."""

    path = "/storage"
    tags = ("storage",)

    @put(
        ["/", "/{reference:str}"],
        summary="Upload images",
        description="The body is an image, or a multipart form with one or more fields `data`, which are stored all or"
        " none. The answer is the reference, as plain text with no newline; several are one a line. With"
        " `Accept: application/json` it is the record, or a list of records. A name after `/storage/` is only the"
        " file's name, as `curl -T` adds it.",
        responses={
            200: ResponseSpec(str, description="The references, one a line.", media_type="text/plain"),
            **_problems(400, 405, 413, 422, 503),
        },
        status_code=200,
    )
    async def upload(self, request: AnyRequest, state: State, reference: str | None = None) -> Response[Any]:
        """Store the images of the body; what follows the path is the name of a file, never a reference."""
        if reference is not None and _is_uuid(reference):
            raise Problem(
                405,
                "method-not-allowed",
                "A stored image never changes.",
                headers={"allow": "GET, HEAD, DELETE"},
            )
        return await _upload(request, state, reference)

    @post(
        "/",
        summary="Upload images",
        description="The same as PUT, for HTML forms.",
        responses={
            200: ResponseSpec(str, description="The references, one a line.", media_type="text/plain"),
            **_problems(400, 413, 422, 503),
        },
        status_code=200,
    )
    async def upload_form(self, request: AnyRequest, state: State) -> Response[Any]:
        """Store the images of the body."""
        return await _upload(request, state, None)

    @route(
        "/{reference:str}",
        http_method=["GET", "HEAD"],
        summary="Get an original",
        description="The bytes that were uploaded.",
        responses={
            200: _bytes("The original."),
            206: _bytes("A part of it."),
            **_problems(400, 404, 412, 416, 503),
        },
    )
    async def deliver(self, request: AnyRequest, state: State, reference: str, download: DOWNLOAD = None) -> ASGIApp:
        """Answer an original or a rendition."""
        reference, dot, extension = reference.partition(".")
        record = await state.library.get(reference)
        query = [pair for pair in _query(request) if pair[0] != "download"]
        if not dot:
            if query:
                raise Problem(
                    400, "invalid-parameter", "An original takes no such parameter; add an extension to convert it.",
                    parameter=query[0][0], given=query[0][1], allowed=["download"],
                )  # fmt: skip
            return _original(request, state, record, record.blob.info.media_type, download)
        spec = RenditionSpec.parse(_writable(extension).name, query)
        return await _rendition(request, state, record, spec, extension.lower(), download)

    @delete(
        "/{reference:str}",
        summary="Delete an image",
        description="The reference is unknown from then on. The bytes go with their last reference, after a while.",
        status_code=204,
        responses=_problems(404, 503),
    )
    async def remove(self, state: State, reference: str) -> None:
        """Remove a reference."""
        await state.library.remove(reference)

    @get(
        "/{reference:str}/info",
        summary="Describe an image",
        description="What is known of a stored image. Width and height are those of the stored pixels, before the EXIF"
        " orientation is applied.",
        responses=_problems(404, 503),
    )
    async def info(self, state: State, reference: str) -> ImageRecord:
        """Answer the record of a reference."""
        return ImageRecord.of(await state.library.get(reference))


@get("/formats", tags=["formats"], summary="List the formats", sync_to_thread=False)
def formats() -> list[FormatRow]:
    """Every format that can be read or written."""
    return [FormatRow.of(format) for format in FORMATS.values()]


@get(
    "/healthz",
    tags=["operation"],
    summary="Is the process alive?",
    media_type=MediaType.TEXT,
    sync_to_thread=False,
)
def healthz() -> str:
    """Answer as long as the process can answer at all."""
    return "ok"


@get(
    "/readyz",
    tags=["operation"],
    summary="Can requests be served?",
    media_type=MediaType.TEXT,
    responses=_problems(503),
)
async def readyz(state: State) -> str:
    """Answer whether database and store can be used."""
    await state.library.check()
    return "ready"


@get("/metrics", tags=["operation"], summary="Prometheus metrics", media_type=MediaType.TEXT)
async def metrics(state: State) -> Response[bytes]:
    """The metrics of all HTTP processes, in Prometheus' text format."""
    images, stored = await state.library.records.totals()
    IMAGES.set(images)
    BYTES_STORED.set(stored)
    return Response(metrics_text(), headers={"content-type": prometheus_client.CONTENT_TYPE_LATEST})


@get("/", include_in_schema=False, sync_to_thread=False)
def home() -> Redirect:
    """Show the interactive documentation."""
    return Redirect("/docs")


ROUTES = (Storage, formats, healthz, readyz, metrics, home)


async def _upload(request: AnyRequest, state: State, filename: str | None) -> Response[Any]:
    _refuse_query(request)
    ingest: Ingest = state.ingest
    library: ImageLibrary = state.library
    with ExitStack() as files:
        uploads = await ingest.receive(request, files, filename)
        records = await unless_disconnected(request.receive, library.add(uploads))
    if _prefers_json(request):
        documents = [ImageRecord.of(record) for record in records]
        return Response(documents if len(documents) > 1 else documents[0], media_type=MediaType.JSON, status_code=200)
    text = "\n".join(record.reference for record in records)
    return Response(text, media_type=MediaType.TEXT, status_code=200)


def _original(
    request: AnyRequest,
    state: State,
    record: Record,
    media_type: str,
    download: str | None,
    extension: str = "",
) -> ASGIApp:
    library: ImageLibrary = state.library
    name = _download_name(record, download, extension)
    identity = _identity(state, record, record.blob.sha256[:40], media_type, name)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    path = library.original_path(record)
    return Delivery(identity, record.blob.bytes, path, lambda start, end: library.original_stream(record, start, end))


async def _rendition(
    request: AnyRequest,
    state: State,
    record: Record,
    spec: RenditionSpec,
    extension: str,
    download: str | None,
) -> ASGIApp:
    library: ImageLibrary = state.library
    media_type = FORMATS[spec.format].media_type
    if is_original(record, spec):
        return _original(request, state, record, media_type, download, extension)
    name = _download_name(record, download, extension)
    identity = _identity(state, record, rendition_digest(record, spec), media_type, name)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    path = await unless_disconnected(request.receive, library.rendition(record, spec))
    return Delivery(identity, path.stat().st_size, path)


def _identity(state: State, record: Record, etag: str, media_type: str, filename: str | None) -> Identity:
    return Identity(etag, record.uploaded_at, media_type, state.settings.cache_control, filename)


def _writable(extension: str) -> Format:
    format = by_extension(extension)
    if format and format.can_write:
        return format
    writable = sorted(e for f in FORMATS.values() if f.can_write for e in f.extensions)
    if format:
        detail = f"{format.name} can be read, but not written."
        raise Problem(400, "format-not-writable", detail, parameter="extension", given=extension, allowed=writable)
    raise Problem(
        400,
        "unknown-format",
        "No format has this extension.",
        parameter="extension",
        given=extension,
        allowed=writable,
    )


def _query(request: AnyRequest) -> list[tuple[str, str]]:
    return list(request.query_params.multi_items())


def _refuse_query(request: AnyRequest) -> None:
    for name, value in _query(request):
        raise Problem(
            400,
            "invalid-parameter",
            "An upload takes no query parameters.",
            parameter=name,
            given=value,
            allowed=[],
        )


def _download_name(record: Record, download: str | None, extension: str) -> str | None:
    if download is None:
        return None
    given = clean_filename(download)
    if given:
        return given
    original = record.blob.info.format
    name = clean_filename(record.filename) or record.reference
    if not extension:
        usual = FORMATS[original].extensions
        return name if "." in name or not usual else f"{name}.{usual[0]}"
    stem = name.rpartition(".")[0] or name
    return f"{stem}.{extension}"


def _prefers_json(request: AnyRequest) -> bool:
    return request.accept.best_match(["text/plain", "application/json"]) == "application/json"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
