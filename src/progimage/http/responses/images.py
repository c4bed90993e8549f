"""Responses with stored images: their headers, the source of their bytes, and who may cache them."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import msgspec
from litestar.enums import MediaType
from litestar.types import ASGIApp

from progimage import clock
from progimage.engine import FORMATS, RenditionSpec
from progimage.http.basis import basis_of
from progimage.http.bodies import unless_disconnected
from progimage.http.params import verified_query
from progimage.http.permission import AnyRequest, caller_of, check_readable_again
from progimage.http.responses.representation import (
    Content,
    Representation,
    RepresentationResponse,
    cache_control,
    is_active,
    is_not_modified,
)
from progimage.http.state import ServiceState
from progimage.images.ingest import clean_filename
from progimage.images.renderer import Rendition, result_digest
from progimage.images.requests import AUTO
from progimage.storage import Record

_COMMA_SEPARATED = ("cache-tag", "edge-cache-tag")
"""The CDN headers whose tags are separated by commas; in others they are separated by spaces."""


async def original(
    request: AnyRequest, state: ServiceState, record: Record, download: str | None
) -> RepresentationResponse:
    """Respond with an original.

    Args:
        request: The request.
        state: The application's state.
        record: Record of the image.
        download: File name to save it under; empty: the name from its upload; None: browsers show it.

    Raises:
        BlobDamaged: The original is damaged.
        Problem: 412, a precondition doesn't hold.
    """
    library, blob = state.library, record.blob
    filename = _filename(record, download, "")
    media_type, encoding = blob.info.media_type, FORMATS[blob.info.format].content_encoding
    if encoding and filename:  # a browser would save it decoded, but under the name of the encoded file
        media_type, encoding = f"application/{encoding}", ""
    representation = representation_of(request, state, record, blob.sha256[:40], media_type, filename)
    representation = replace(representation, encoding=encoding)
    library.originals.require_whole(blob)
    if is_not_modified(request.headers, representation):
        return RepresentationResponse.not_modified(representation)
    elsewhere = await _elsewhere(request, state, record, representation)
    if elsewhere:
        return elsewhere
    originals = library.originals
    content = Content(
        blob.bytes,
        originals.blobs.copy(blob.sha256) or originals.blobs.local_path(blob.sha256),
        lambda start, end: originals.stream(blob, start, end),
        lambda body: originals.is_right(blob, body),
    )
    return RepresentationResponse(representation, content)


async def _elsewhere(
    request: AnyRequest, state: ServiceState, record: Record, representation: Representation
) -> RepresentationResponse | None:
    """Return a response that makes the store, or the proxy in front of the service, send an original, if it can.

    A store knows only the media type. So the service itself sends originals that need a file name, or that browsers
    could run as a page.
    """
    settings = state.settings
    if settings.send_originals == "directly" or request.method != "GET":
        return None
    if settings.send_originals == "accel":
        path = f"{settings.accel_prefix}{state.library.originals.blobs.local_key(record.blob.sha256)}"
        return RepresentationResponse(representation, location=("x-accel-redirect", path))
    if representation.filename or is_active(representation.media_type):
        return None
    url = await state.library.originals.blobs.signed_url(record.blob.sha256, settings.redirect_seconds)
    if url is None:
        return None
    control = cache_control(representation.cache_control, private=False, seconds=settings.redirect_seconds // 2)
    representation = replace(representation, cache_control=control)
    return RepresentationResponse(representation, status=302, location=("location", url))


async def rendition(
    request: AnyRequest,
    state: ServiceState,
    record: Record,
    spec: RenditionSpec,
    extension: str,
    download: str | None = None,
    links: str | None = None,
) -> RepresentationResponse:
    """Respond with a rendition, from the cache or newly rendered.

    Args:
        request: The request.
        state: The application's state.
        record: Record of the image.
        spec: The spec of the rendition.
        extension: The requested extension.
        download: See `original`.
        links: Value of `Link`, if any.

    Raises:
        BlobDamaged: The original, or another image in the rendition, is damaged.
        Problem: 412, a precondition doesn't hold.
        UnknownReference: The image was deleted or hidden from the caller while it was rendered.
    """
    renderer = state.library.renderer
    vary = None
    format = FORMATS[spec.format]
    if extension == AUTO:
        vary, extension = "Accept", format.extensions[0]
    wanted = Rendition.of(record, spec)
    filename = _filename(record, download, extension)
    representation = representation_of(request, state, record, wanted.digest, format.media_type, filename, vary, links)
    representation = replace(representation, format=spec.format)
    for image in basis_of(request.scope).images.values():
        state.library.originals.require_whole(image.record.blob)
    if is_not_modified(request.headers, representation):
        return RepresentationResponse.not_modified(representation)
    path = await renderer.cached(wanted)
    if path is None:
        caller = caller_of(request)
        async with state.rates.rendering(caller):
            path = await unless_disconnected(request.receive, renderer.render(wanted, caller))
        await _check_again(request, state)
    content = Content(path.stat().st_size, path, is_right=lambda body: renderer.is_right(path, body))
    return RepresentationResponse(representation, content)


async def described(
    request: AnyRequest,
    state: ServiceState,
    record: Record,
    what: str,
    describe: Callable[[], Coroutine[Any, Any, Any]],
) -> ASGIApp:
    """Respond with a JSON document that the engine derives from an image.

    Args:
        request: The request.
        state: The application's state.
        record: Record of the image.
        what: Name of the document, see `result_digest`.
        describe: Returns the document.

    Raises:
        BlobDamaged: The original is damaged.
        Problem: 412, a precondition doesn't hold.
        UnknownReference: The image was deleted or hidden from the caller in the meantime.
    """
    digest = result_digest(record, what)
    representation = representation_of(request, state, record, digest, MediaType.JSON.value)
    state.library.originals.require_whole(record.blob)
    if is_not_modified(request.headers, representation):
        return RepresentationResponse.not_modified(representation)
    async with state.rates.rendering(caller_of(request)):
        document = msgspec.json.encode(await unless_disconnected(request.receive, describe()))
    await _check_again(request, state)
    return RepresentationResponse(representation, Content.of_bytes(document))


async def _check_again(request: AnyRequest, state: ServiceState) -> None:
    """Check again that a request may get its response, since permissions may have changed in the meantime."""
    await verified_query(request, state)
    await check_readable_again(request, state)


def representation_of(
    request: AnyRequest,
    state: ServiceState,
    record: Record,
    etag: str,
    media_type: str,
    filename: str | None = None,
    vary: str | None = None,
    links: str | None = None,
) -> Representation:
    """Return a representation of an image; its lifetime in caches is that of the strictest image in it."""
    basis = basis_of(request.scope)
    ends_at = basis.ends_at
    seconds = None if ends_at is None else max(0, int(ends_at - clock.now()))
    control = cache_control(state.settings.cache_control, private=basis.is_private, seconds=seconds)
    header = state.settings.surrogate_header.lower()
    separator = "," if header in _COMMA_SEPARATED else " "
    surrogate = (header, separator.join(basis.images)) if header else None
    return Representation(etag, record.uploaded_at, media_type, control, filename, vary, surrogate, links)


def _filename(record: Record, download: str | None, extension: str) -> str | None:
    if download is None:
        return None
    given = clean_filename(download)
    if given:
        return given
    name = clean_filename(record.filename) or record.reference
    if not extension:
        usual = FORMATS[record.blob.info.format].extensions
        return name if "." in name or not usual else f"{name}.{usual[0]}"
    stem = name.rpartition(".")[0] or name
    return f"{stem}.{extension}"
