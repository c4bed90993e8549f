"""The routes of the IIIF Image API."""

import hashlib
from dataclasses import replace
from typing import Any

import msgspec
from litestar import get, route
from litestar.response import Redirect
from litestar.types import ASGIApp

from progimage.engine import ImageInfo, RenditionSpec
from progimage.http.iiif.description import CONTEXTS, PROFILES, describe
from progimage.http.iiif.syntax import VERSIONS, Bounds, ImageRequest, parse
from progimage.http.middleware.cors import note_visibility
from progimage.http.params import SIGNABLE, refuse_unsigned, verified_query
from progimage.http.permission import AnyRequest, readable
from progimage.http.responses.images import rendition, representation_of
from progimage.http.responses.representation import (
    Content,
    RepresentationResponse,
    cache_control,
    is_not_modified,
)
from progimage.http.state import ServiceState
from progimage.images.negotiation import accepted_types
from progimage.problems import Problem
from progimage.schemas import image_bytes, problems, response

_JSON, _JSON_LD = "application/json", "application/ld+json"
_DOCUMENT_SECONDS = 3600
"""How long caches may keep an image information document: it contains limits, which can change."""
_ROOT = "/iiif/{version:str}/{reference:str}"


@get(
    _ROOT,
    tags=["iiif"],
    summary="Redirect to info.json",
    description="Redirects the base URI of an image, in version 2 or 3 of the IIIF Image API, to its `info.json`.",
    responses={303: response(None, "See `info.json`."), **problems(404)},
    status_code=303,
)
async def base(request: AnyRequest, state: ServiceState, version: str, reference: str) -> Redirect:
    """Redirect to the image information document."""
    _check_version(version)
    note_visibility(request.scope, public=True)  # the response reveals nothing about the image, and viewers follow it
    return Redirect(f"{_id(request, state, version, reference)}/info.json", status_code=303)


@route(
    f"{_ROOT}/info.json",
    tags=["iiif"],
    http_method=["GET", "HEAD"],
    summary="Get info.json",
    description="Returns the image information document: the size, preferred sizes and tiles, and supported features.",
    responses={
        200: response(dict[str, Any], "The document."),
        **problems(400, 403, 404, 503),
    },
    opt=SIGNABLE,
)
async def information(request: AnyRequest, state: ServiceState, version: str, reference: str) -> ASGIApp:
    """Respond with `info.json`, as JSON or JSON-LD."""
    _check_version(version)
    await verified_query(request, state)
    record = await state.library.current(await readable(request, state, reference))
    document = describe(version, _id(request, state, version, reference), record.blob.info.upright, _bounds(state))
    body = msgspec.json.encode(document)
    linked = _JSON_LD in accepted_types(request.headers.get("accept", ""))
    media_type, links = _JSON, f'<{PROFILES[version]}>;rel="profile"'
    if linked:
        media_type = f'{_JSON_LD};profile="{CONTEXTS[version]}"'
    else:
        links += f', <{CONTEXTS[version]}>;rel="http://www.w3.org/ns/json-ld#context";type="{_JSON_LD}"'
    etag = hashlib.sha256(media_type.encode() + body).hexdigest()[:40]
    representation = representation_of(request, state, record, etag, media_type, vary="Accept", links=links)
    control = cache_control(representation.cache_control, private=False, seconds=_DOCUMENT_SECONDS)
    representation = replace(representation, cache_control=control)
    if is_not_modified(request.headers, representation):
        return RepresentationResponse.not_modified(representation)
    return RepresentationResponse(representation, Content.of_bytes(body))


@route(
    f"{_ROOT}/{{region:str}}/{{size:str}}/{{rotation:str}}/{{quality:str}}",
    tags=["iiif"],
    http_method=["GET", "HEAD"],
    summary="Get an image through IIIF",
    description="- `region`: `full`, `square`, `x,y,w,h` or `pct:x,y,w,h`\n"
    "- `size`: `max`, `w,`, `,h`, `w,h`, `!w,h` or `pct:n`; in version 3 with a leading `^` to enlarge; in version 2"
    " also `full`\n"
    "- `rotation`: degrees clockwise; a leading `!` mirrors the image first\n"
    "- `quality`: `default`, `color`, `gray` or `bitonal`, then a dot and the format",
    responses={200: image_bytes("The image."), **problems(400, 403, 404, 412, 413, 422, 429, 503)},
    opt=SIGNABLE,
)
async def image(
    request: AnyRequest,
    state: ServiceState,
    version: str,
    reference: str,
    region: str,
    size: str,
    rotation: str,
    quality: str,
) -> ASGIApp:
    """Respond with a rendition; for animations and multi-page images, of the first frame or page."""
    _check_version(version)
    await verified_query(request, state)
    record = await state.library.current(await readable(request, state, reference))
    info = record.blob.info
    wanted = parse(version, info.upright, (region, size, rotation, quality), _bounds(state))
    spec = _spec(wanted, info)
    if wanted.query():
        refuse_unsigned(request, ["region, size, rotation and quality"], state.settings)
    uri = f"{_id(request, state, version, reference)}/{wanted.canonical()}"
    links = f'<{PROFILES[version]}>;rel="profile", <{uri}>;rel="canonical"'
    response = await rendition(request, state, record, spec, wanted.extension, links=links)
    # Without a public URL, the response contains the host of this request, which can differ for the next one.
    if state.settings.public_url is not None:
        state.response_cache.keep(request.scope, response)
    return response


def _spec(wanted: ImageRequest, info: ImageInfo) -> RenditionSpec:
    query = wanted.query()
    if info.frames > 1:
        query.append(("page", "1"))
    if info.orientation > 1 and not any(name == "width" for name, _ in query):
        # Not a copy of the original: IIIF viewers may ignore its EXIF orientation.
        query += [("width", str(wanted.size[0])), ("height", str(wanted.size[1])), ("fit", "fill")]
    return RenditionSpec.parse(wanted.format.name, query)


def _check_version(version: str) -> None:
    if version not in VERSIONS:
        raise Problem(
            404, "not-found", "Unsupported version of the IIIF Image API.", parameter="version",
            given=version[:20], allowed=list(VERSIONS),
        )  # fmt: skip


def _bounds(state: ServiceState) -> Bounds:
    settings = state.settings
    return Bounds(settings.iiif_max_side, settings.iiif_max_area, settings.max_pixels)


def _id(request: AnyRequest, state: ServiceState, version: str, reference: str) -> str:
    settings = state.settings
    root = settings.public_url or str(request.base_url)
    return f"{root.rstrip('/')}/iiif/{version}/{reference}"


IIIF: tuple[Any, ...] = (base, information, image)
"""All handlers of this module."""
