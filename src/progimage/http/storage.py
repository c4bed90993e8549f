"""The paths that answer stored images."""

import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import get, route
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.types import ASGIApp

from progimage.access import EXPIRES, SIGNATURE, Scope, Visibility
from progimage.engine import FORMATS, InvalidParameter, RenditionSpec
from progimage.engine.values import whole
from progimage.http.delivery import (
    Delivery,
    Elsewhere,
    Identity,
    NotModified,
    cache_control,
    is_active,
    is_not_modified,
)
from progimage.http.documents import (
    ImageRecord,
    OwnImageRecord,
    PlaceholderDocument,
    SwatchDocument,
    image_bytes,
    problems,
)
from progimage.http.ingest import clean_filename, unless_disconnected
from progimage.http.permission import AnyRequest, client_of, readable, refuse_hidden, visibility_of
from progimage.http.requested import AUTO, DOWNLOAD, refuse_query, spec_of, transformations_of, verified_query
from progimage.library import ImageLibrary
from progimage.rendering import is_original, rendition_digest, result_digest
from progimage.settings import Settings
from progimage.storage import Record

_COLOURS = whole(1, 32)
_USUAL_COLOURS = 6

_DOWNLOAD = Annotated[
    str | None,
    Parameter(
        query="download",
        description="Ask the browser to save the file, under this name if one is given; else under the name that it"
        " was uploaded with.",
    ),
]


@route(
    "/storage/{reference:str}",
    tags=["storage"],
    http_method=["GET", "HEAD"],
    summary="Get an original",
    description="The bytes that were uploaded.",
    responses={
        200: image_bytes("The original."),
        206: image_bytes("A part of it."),
        302: ResponseSpec(None, description="The store of originals has it: see `Location`.", generate_examples=False),
        **problems(400, 401, 403, 404, 412, 416, 429, 503),
    },
)
async def deliver(request: AnyRequest, state: State, reference: str, download: _DOWNLOAD = None) -> ASGIApp:
    """Answer an original or a rendition."""
    reference, dot, extension = reference.partition(".")
    query, signed = verified_query(request, state)
    seen = state.library.changes.state(reference)
    record = await readable(request, state, reference, signed=signed)
    if not dot:
        refuse_query(query, (DOWNLOAD,), "An original takes no such parameter; add an extension.")
        answer = await _original(request, state, record, record.blob.info.media_type, download)
        return _ready(request, state, record, seen, answer)
    asked, extension = transformations_of(request, state, query, signed=signed), extension.lower()
    accept = request.headers.get("accept", "")
    spec = spec_of(extension, asked, record.blob.info, accept, state.settings)
    await refuse_hidden(request, state, spec, asked.droppable, signed=signed)
    answer = await _rendition(request, state, record, spec, extension, download)
    return _ready(request, state, record, seen, answer, None if is_original(record, spec) else spec.format)


@get(
    "/storage/{reference:str}/info",
    tags=["storage"],
    summary="Describe an image",
    description="What is known of a stored image. Width and height are those of the stored pixels, before the EXIF"
    " orientation is applied. Its owner is told more than others.",
    responses=problems(400, 401, 403, 404, 503),
)
async def info(request: AnyRequest, state: State, reference: str) -> OwnImageRecord | ImageRecord:
    """Answer the record of a reference."""
    query, signed = verified_query(request, state)
    refuse_query(query)
    record = await readable(request, state, reference, signed=signed)
    principal = client_of(request).principal
    if principal.may(Scope.READ) and principal.owns(record.owner):
        return OwnImageRecord.of_own(record, state.settings.visibility)
    return ImageRecord.of(record)


@get(
    "/storage/{reference:str}/placeholder",
    tags=["storage"],
    summary="Get placeholders",
    description="What to show until the picture is there: its ThumbHash (base64), its BlurHash, a tiny WebP as a"
    " data URI, and its width and height, upright.",
    responses={
        200: ResponseSpec(PlaceholderDocument, description="The placeholders."),
        **problems(400, 401, 403, 404, 412, 422, 429, 503),
    },
)
async def placeholder(request: AnyRequest, state: State, reference: str) -> ASGIApp:
    """Answer the placeholders of an image."""
    query, signed = verified_query(request, state)
    refuse_query(query)
    record = await readable(request, state, reference, signed=signed)
    return await _described(request, state, record, "placeholder", lambda: state.library.renderer.placeholder(record))


@get(
    "/storage/{reference:str}/palette",
    tags=["storage"],
    summary="Get dominant colours",
    description="The dominant colours, the most frequent first, each with the share of the opaque pixels near it.",
    responses={
        200: ResponseSpec(list[SwatchDocument], description="The colours."),
        **problems(400, 401, 403, 404, 412, 422, 429, 503),
    },
)
async def palette(
    request: AnyRequest,
    state: State,
    reference: str,
    colors: Annotated[
        str | None,
        Parameter(query="colors", description=f"The most colours to answer, {_COLOURS.allowed}; usually 6."),
    ] = None,
) -> ASGIApp:
    """Answer the dominant colours of an image."""
    query, signed = verified_query(request, state)
    refuse_query(query, ("colors",))
    record = await readable(request, state, reference, signed=signed)
    count = _USUAL_COLOURS
    if colors is not None:
        try:
            count = int(_COLOURS.parse(colors))
        except ValueError:
            raise InvalidParameter("colors", colors[:100], _COLOURS.allowed) from None
    return await _described(
        request, state, record, f"palette {count}", lambda: state.library.renderer.palette(record, count)
    )


async def _original(
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
    identity = _identity(request, state, record, record.blob.sha256[:40], media_type, name, vary)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    elsewhere = await _elsewhere(request, state, record, identity)
    if elsewhere:
        return elsewhere
    copy = library.original_copy(record)
    if copy:
        return Delivery(identity, record.blob.bytes, copy)
    path = library.original_path(record)
    return Delivery(identity, record.blob.bytes, path, lambda start, end: library.original_stream(record, start, end))


async def _elsewhere(request: AnyRequest, state: State, record: Record, identity: Identity) -> ASGIApp | None:
    """Have an original answered by the store, or by the proxy in front of us, if the settings say so and it can.

    A store knows the media type and nothing else, so that what has a name to be saved under, or that a browser could
    run, is answered from here.
    """
    settings: Settings = state.settings
    library: ImageLibrary = state.library
    if settings.send_originals == "directly" or request.method != "GET":
        return None
    if settings.send_originals == "accel":
        name = record.blob.sha256
        return Elsewhere(identity, 200, "x-accel-redirect", f"{settings.accel_prefix}{name[:2]}/{name}")
    if identity.filename or is_active(identity.media_type):
        return None
    url = await library.original_url(record, settings.redirect_seconds)
    if url is None:
        return None
    control = cache_control(identity.cache_control, private=False, seconds=settings.redirect_seconds // 2)
    return Elsewhere(replace(identity, cache_control=control), 302, "location", url)


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
        return await _original(request, state, record, format.media_type, download, extension, vary)
    name = _download_name(record, download, extension)
    identity = _identity(request, state, record, rendition_digest(record, spec), format.media_type, name, vary)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    path = library.renderer.cached(record, spec)
    if path is None:
        async with state.rates.rendering(client_of(request)):
            path = await unless_disconnected(request.receive, library.renderer.rendition(record, spec))
    return Delivery(identity, path.stat().st_size, path)


def _ready(
    request: AnyRequest, state: State, record: Record, seen: int, answer: ASGIApp, format: str | None = None
) -> ASGIApp:
    """Have an answer ready for the next request, if it is one that anybody may have who knows the URL."""
    keyless = client_of(request).principal.key_id is None
    if keyless and isinstance(answer, Delivery | NotModified):
        ends = _ends_at(request, record)
        until = math.inf if ends is None else ends
        state.ready.add(request.scope, record.reference, seen, answer, format, allowed_until=until)
    return answer


def _ends_at(request: AnyRequest, record: Record) -> float | None:
    """Return when the request's signature or the image's time ends, in seconds since 1970; None: neither does."""
    expires = request.query_params.get(EXPIRES)
    image_ends = None if record.held else record.expires_at
    return min((end for end in (image_ends, float(expires) if expires else None) if end is not None), default=None)


async def _described(
    request: AnyRequest, state: State, record: Record, what: str, describe: Callable[[], Coroutine[Any, Any, Any]]
) -> ASGIApp:
    """Answer what the engine says of an image, as JSON."""
    identity = _identity(request, state, record, result_digest(record, what), MediaType.JSON.value, None)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    async with state.rates.rendering(client_of(request)):
        answer = msgspec.json.encode(await unless_disconnected(request.receive, describe()))

    async def stream(start: int, end: int) -> AsyncIterator[bytes]:
        yield answer[start:end]

    return Delivery(identity, len(answer), None, stream)


def _identity(
    request: AnyRequest,
    state: State,
    record: Record,
    etag: str,
    media_type: str,
    filename: str | None,
    vary: str | None = None,
) -> Identity:
    signed = SIGNATURE in request.query_params
    visibility, ends = visibility_of(state, record), _ends_at(request, record)
    private = visibility is Visibility.KEY or (visibility is Visibility.SIGNED and not signed)
    seconds = None if ends is None else max(0, int(ends - time.time()))
    control = cache_control(state.settings.cache_control, private=private, seconds=seconds)
    header = state.settings.surrogate_header.lower()
    surrogate = (header, record.reference) if header else None
    return Identity(etag, record.uploaded_at, media_type, control, filename, vary, surrogate)


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
