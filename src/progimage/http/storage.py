"""The paths of stored images."""

import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
from litestar import Controller, Response, delete, get, post, put, route
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.types import ASGIApp

from progimage.access import EXPIRES
from progimage.engine import FORMATS, InvalidParameter, RenditionSpec
from progimage.engine.values import whole
from progimage.http.delivery import Delivery, Identity, NotModified, is_not_modified
from progimage.http.documents import (
    ImageRecord,
    PlaceholderDocument,
    SwatchDocument,
    image_bytes,
    problems,
)
from progimage.http.ingest import Ingest, clean_filename, unless_disconnected
from progimage.http.problems import Problem
from progimage.http.requested import AUTO, AnyRequest, refuse_query, spec_of, transformations_of
from progimage.library import ImageLibrary, is_original, rendition_digest, result_digest
from progimage.storage import Record

_COLOURS = whole(1, 32)
_USUAL_COLOURS = 6

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
            **problems(400, 405, 413, 422, 503),
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
            **problems(400, 413, 422, 503),
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
            200: image_bytes("The original."),
            206: image_bytes("A part of it."),
            **problems(400, 404, 412, 416, 503),
        },
    )
    async def deliver(self, request: AnyRequest, state: State, reference: str, download: DOWNLOAD = None) -> ASGIApp:
        """Answer an original or a rendition."""
        reference, dot, extension = reference.partition(".")
        seen = state.library.deletions.state(reference)
        record = await state.library.get(reference)
        if not dot:
            refuse_query(request, ("download",), "An original takes no such parameter; add an extension.")
            answer = _original(request, state, record, record.blob.info.media_type, download)
            return _ready(request, state, record, seen, answer)
        asked, extension = transformations_of(request, state), extension.lower()
        accept = request.headers.get("accept", "")
        spec = spec_of(extension, asked, record.blob.info, accept, state.settings)
        answer = await _rendition(request, state, record, spec, extension, download)
        return _ready(request, state, record, seen, answer, None if is_original(record, spec) else spec.format)

    @delete(
        "/{reference:str}",
        summary="Delete an image",
        description="The reference is unknown from then on. The bytes go with their last reference, after a while.",
        status_code=204,
        responses=problems(404, 503),
    )
    async def remove(self, state: State, reference: str) -> None:
        """Remove a reference."""
        await state.library.remove(reference)

    @get(
        "/{reference:str}/info",
        summary="Describe an image",
        description="What is known of a stored image. Width and height are those of the stored pixels, before the EXIF"
        " orientation is applied.",
        responses=problems(404, 503),
    )
    async def info(self, state: State, reference: str) -> ImageRecord:
        """Answer the record of a reference."""
        return ImageRecord.of(await state.library.get(reference))

    @get(
        "/{reference:str}/placeholder",
        summary="Get placeholders",
        description="What to show until the picture is there: its ThumbHash (base64), its BlurHash, a tiny WebP as a"
        " data URI, and its width and height, upright.",
        responses={
            200: ResponseSpec(PlaceholderDocument, description="The placeholders."),
            **problems(400, 404, 412, 422, 503),
        },
    )
    async def placeholder(self, request: AnyRequest, state: State, reference: str) -> ASGIApp:
        """Answer the placeholders of an image."""
        refuse_query(request)
        record = await state.library.get(reference)
        return await _described(request, state, record, "placeholder", lambda: state.library.placeholder(record))

    @get(
        "/{reference:str}/palette",
        summary="Get dominant colours",
        description="The dominant colours, the most frequent first, each with the share of the opaque pixels near it.",
        responses={
            200: ResponseSpec(list[SwatchDocument], description="The colours."),
            **problems(400, 404, 412, 422, 503),
        },
    )
    async def palette(
        self,
        request: AnyRequest,
        state: State,
        reference: str,
        colors: Annotated[
            str | None,
            Parameter(query="colors", description=f"The most colours to answer, {_COLOURS.allowed}; usually 6."),
        ] = None,
    ) -> ASGIApp:
        """Answer the dominant colours of an image."""
        refuse_query(request, ("colors",))
        record = await state.library.get(reference)
        count = _USUAL_COLOURS
        if colors is not None:
            try:
                count = int(_COLOURS.parse(colors))
            except ValueError:
                raise InvalidParameter("colors", colors[:100], _COLOURS.allowed) from None
        return await _described(
            request, state, record, f"palette {count}", lambda: state.library.palette(record, count)
        )


async def _upload(request: AnyRequest, state: State, filename: str | None) -> Response[Any]:
    refuse_query(request)
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
    vary: str | None = None,
) -> ASGIApp:
    library: ImageLibrary = state.library
    name = _download_name(record, download, extension)
    identity = _identity(state, record, record.blob.sha256[:40], media_type, name, vary)
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
    vary = None
    format = FORMATS[spec.format]
    if extension == AUTO:
        vary, extension = "Accept", format.extensions[0]
    if is_original(record, spec):
        return _original(request, state, record, format.media_type, download, extension, vary)
    name = _download_name(record, download, extension)
    identity = _identity(state, record, rendition_digest(record, spec), format.media_type, name, vary)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    path = await unless_disconnected(request.receive, library.rendition(record, spec))
    return Delivery(identity, path.stat().st_size, path)


def _ready(
    request: AnyRequest, state: State, record: Record, seen: int, answer: ASGIApp, format: str | None = None
) -> ASGIApp:
    """Have an answer ready for the next request."""
    if isinstance(answer, Delivery | NotModified):
        expires = request.query_params.get(EXPIRES)
        state.ready.add(
            request.scope, record.reference, seen, answer, format, allowed_until=int(expires) if expires else None
        )
    return answer


async def _described(
    request: AnyRequest, state: State, record: Record, what: str, describe: Callable[[], Coroutine[Any, Any, Any]]
) -> ASGIApp:
    """Answer what the engine says of an image, as JSON."""
    identity = _identity(state, record, result_digest(record, what), MediaType.JSON.value, None)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    answer = msgspec.json.encode(await unless_disconnected(request.receive, describe()))

    async def stream(start: int, end: int) -> AsyncIterator[bytes]:
        yield answer[start:end]

    return Delivery(identity, len(answer), None, stream)


def _identity(
    state: State, record: Record, etag: str, media_type: str, filename: str | None, vary: str | None = None
) -> Identity:
    return Identity(etag, record.uploaded_at, media_type, state.settings.cache_control, filename, vary)


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
