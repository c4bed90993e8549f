"""Answering stored images: which headers an original or a rendition has, where its bytes come from, who may keep it."""

import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.types import ASGIApp

from progimage import clock
from progimage.auth import EXPIRES, SIGNATURE, Visibility
from progimage.engine import FORMATS, RenditionSpec
from progimage.http.bodies import unless_disconnected
from progimage.http.params import KEY_UNTIL
from progimage.http.permission import AnyRequest, OtherImage, client_of, visibility_of
from progimage.http.responses.representation import (
    Delivery,
    Elsewhere,
    Identity,
    NotModified,
    cache_control,
    is_active,
    is_not_modified,
)
from progimage.images.ingest import clean_filename
from progimage.images.library import ImageLibrary
from progimage.images.renderer import rendition_digest, result_digest
from progimage.images.requests import AUTO
from progimage.settings import Settings
from progimage.storage import Record

CheckAgain = Callable[[], Awaitable[object]]
"""Raises an exception if a request may not see any more what it could see before."""
_WITH_COMMAS = ("cache-tag", "edge-cache-tag")
"""The headers for a CDN that have commas between their tags; in the others there are spaces."""


async def original(
    request: AnyRequest,
    state: State,
    record: Record,
    download: str | None,
) -> ASGIApp:
    """Answer an original.

    Args:
        request: The request.
        state: Of the application.
        record: The image.
        download: What the client wants to save it as; empty: its own name; None: it is to be shown.
    """
    library: ImageLibrary = state.library
    name = _download_name(record, download, "")
    media_type, encoding = record.blob.info.media_type, FORMATS[record.blob.info.format].content_encoding
    if encoding and name:  # a browser would save it decoded, under the name of what is encoded
        media_type, encoding = f"application/{encoding}", ""
    identity = identity_of(request, state, record, record.blob.sha256[:40], media_type, name)
    identity = replace(identity, encoding=encoding)
    library.originals.require_whole(record.blob)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    elsewhere = await _elsewhere(request, state, record, identity)
    if elsewhere:
        return elsewhere
    return Delivery(
        identity,
        record.blob.bytes,
        library.original_copy(record) or library.original_path(record),
        lambda start, end: library.original_stream(record, start, end),
        lambda body: library.originals.is_right(record.blob, body),
    )


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
        location = f"{settings.accel_prefix}{library.original_key(record)}"
        return Elsewhere(identity, 200, "x-accel-redirect", location)
    if identity.filename or is_active(identity.media_type):
        return None
    url = await library.original_url(record, settings.redirect_seconds)
    if url is None:
        return None
    control = cache_control(identity.cache_control, private=False, seconds=settings.redirect_seconds // 2)
    return Elsewhere(replace(identity, cache_control=control), 302, "location", url)


async def rendition(
    request: AnyRequest,
    state: State,
    record: Record,
    spec: RenditionSpec,
    extension: str,
    download: str | None,
    links: str | None = None,
    others: Sequence[OtherImage] = (),
    *,
    check_again: CheckAgain,
) -> ASGIApp:
    """Answer a rendition.

    Args:
        request: The request to answer.
        state: Of the application.
        record: The image.
        spec: What to make of it.
        extension: That was asked for.
        download: See `original`.
        links: What `Link` is to say, if anything.
        others: The other images in it.
        check_again: Settles once more what the request may see, since it may have changed while the picture was made.
    """
    library: ImageLibrary = state.library
    vary = None
    format = FORMATS[spec.format]
    if extension == AUTO:
        vary, extension = "Accept", format.extensions[0]
    name = _download_name(record, download, extension)
    digest = rendition_digest(record, spec)
    identity = identity_of(request, state, record, digest, format.media_type, name, vary, links, others)
    for one in (record, *(other.record for other in others)):
        library.originals.require_whole(one.blob)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    path = await library.renderer.cached(record, spec)
    if path is None:
        client = client_of(request)
        async with state.rates.rendering(client):
            path = await unless_disconnected(request.receive, library.renderer.rendition(record, spec, client))
        await check_again()
    return Delivery(identity, path.stat().st_size, path, is_right=lambda body: library.renderer.is_right(path, body))


def keep_ready(
    request: AnyRequest,
    state: State,
    record: Record,
    seen: dict[str, int],
    answer: ASGIApp,
    format: str | None = None,
    others: Sequence[OtherImage] = (),
) -> ASGIApp:
    """Have an answer ready for the next request, if it is one that anybody may have who knows the URL.

    Args:
        request: The request.
        state: Of the application.
        record: The image.
        seen: The state of the changes of every image in it, before that was looked up.
        answer: The answer.
        format: Of a rendition; None for an original.
        others: The other images in it.
    """
    keyless = client_of(request).principal.key_id is None
    if keyless and isinstance(answer, Delivery | NotModified):
        ends = _ends_at(request, [record, *(other.record for other in others)])
        until = math.inf if ends is None else ends
        state.ready.add(request.scope, seen, answer, format, allowed_until=until)
    return answer


def _ends_at(request: AnyRequest, records: Sequence[Record]) -> float | None:
    """Return when the request's signature, its key or the time of an image ends, as a Unix time; None: none does."""
    expires = request.query_params.get(EXPIRES)
    ends = [None if record.held else record.expires_at for record in records]
    ends += [float(expires) if expires else None, request.scope.get(KEY_UNTIL)]  # type: ignore[list-item]
    return min((end for end in ends if end is not None), default=None)


async def described(
    request: AnyRequest,
    state: State,
    record: Record,
    what: str,
    describe: Callable[[], Coroutine[Any, Any, Any]],
    *,
    check_again: CheckAgain,
) -> ASGIApp:
    """Answer what the engine says of an image, as JSON; for `check_again`, see `rendition`."""
    identity = identity_of(request, state, record, result_digest(record, what), MediaType.JSON.value, None)
    state.library.originals.require_whole(record.blob)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    async with state.rates.rendering(client_of(request)):
        answer = msgspec.json.encode(await unless_disconnected(request.receive, describe()))
    await check_again()
    return Delivery.of_bytes(identity, answer)


def identity_of(
    request: AnyRequest,
    state: State,
    record: Record,
    etag: str,
    media_type: str,
    filename: str | None,
    vary: str | None = None,
    links: str | None = None,
    others: Sequence[OtherImage] = (),
) -> Identity:
    """Return what is known of an answer, and who may keep it for how long: no longer than its strictest image."""
    signed = SIGNATURE in request.query_params
    ends = _ends_at(request, [record, *(other.record for other in others)])
    # Whom a preset shows its mark to is for the operator to say, who did.
    visibilities = {visibility_of(state, one) for one in (record, *(o.record for o in others if not o.of_preset))}
    private = Visibility.KEY in visibilities or (Visibility.SIGNED in visibilities and not signed)
    seconds = None if ends is None else max(0, int(ends - clock.now()))
    control = cache_control(state.settings.cache_control, private=private, seconds=seconds)
    header = state.settings.surrogate_header.lower()
    references = dict.fromkeys([record.reference, *(other.record.reference for other in others)])
    separator = "," if header in _WITH_COMMAS else " "
    surrogate = (header, separator.join(references)) if header else None
    return Identity(etag, record.uploaded_at, media_type, control, filename, vary, surrogate, links)


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
