"""The paths of the IIIF Image API."""

import hashlib
from dataclasses import replace
from typing import Any

import msgspec
from litestar import get, route
from litestar.datastructures import State
from litestar.response import Redirect
from litestar.types import ASGIApp

from progimage.engine import ImageInfo, RenditionSpec
from progimage.http.iiif.description import CONTEXTS, PROFILES, describe
from progimage.http.iiif.syntax import VERSIONS, Bounds, ImageRequest, parse
from progimage.http.middleware.cors import note_visibility
from progimage.http.params import readable_again, refuse_query, refuse_unsigned, seen_of, verified_query
from progimage.http.permission import AnyRequest, readable
from progimage.http.responses.images import identity_of, keep_ready, rendition
from progimage.http.responses.representation import Delivery, NotModified, cache_control, is_not_modified
from progimage.images.negotiation import accepted_types
from progimage.problems import Problem
from progimage.schemas import image_bytes, problems, response
from progimage.settings import Settings

_JSON, _JSON_LD = "application/json", "application/ld+json"
_DOCUMENT_SECONDS = 3600
"""For how long a description may be kept: it tells of limits, which may change."""
_ROOT = "/iiif/{version:str}/{reference:str}"


@get(
    _ROOT,
    tags=["iiif"],
    summary="Find an image's description",
    description="The base URI of an image, in version 2 or 3 of the IIIF Image API.",
    responses={303: response(None, "See `info.json`."), **problems(404)},
    status_code=303,
)
async def base(request: AnyRequest, state: State, version: str, reference: str) -> Redirect:
    """Send the client to the description."""
    _check_version(version)
    note_visibility(request.scope, public=True)  # it tells nothing of the image, and viewers follow it
    return Redirect(f"{_id(request, state, version, reference)}/info.json", status_code=303)


@route(
    f"{_ROOT}/info.json",
    tags=["iiif"],
    http_method=["GET", "HEAD"],
    summary="Describe an image as IIIF does",
    description="Its size, in which sizes and tiles it is best asked for, and what else is possible.",
    responses={
        200: response(dict[str, Any], "The document."),
        **problems(400, 403, 404, 503),
    },
)
async def information(request: AnyRequest, state: State, version: str, reference: str) -> ASGIApp:
    """Answer `info.json`, as JSON or JSON-LD."""
    _check_version(version)
    query, signed = await verified_query(request, state)
    refuse_query(query)
    record = await state.library.current(await readable(request, state, reference, signed=signed))
    document = describe(version, _id(request, state, version, reference), record.blob.info.upright, _bounds(state))
    body = msgspec.json.encode(document)
    linked = _JSON_LD in accepted_types(request.headers.get("accept", ""))
    media_type, links = _JSON, f'<{PROFILES[version]}>;rel="profile"'
    if linked:
        media_type = f'{_JSON_LD};profile="{CONTEXTS[version]}"'
    else:
        links += f', <{CONTEXTS[version]}>;rel="http://www.w3.org/ns/json-ld#context";type="{_JSON_LD}"'
    etag = hashlib.sha256(media_type.encode() + body).hexdigest()[:40]
    identity = identity_of(request, state, record, etag, media_type, None, "Accept", links)
    control = cache_control(identity.cache_control, private=False, seconds=_DOCUMENT_SECONDS)
    identity = replace(identity, cache_control=control)
    if is_not_modified(request.headers, identity):
        return NotModified(identity)
    return Delivery.of_bytes(identity, body)


@route(
    f"{_ROOT}/{{region:str}}/{{size:str}}/{{rotation:str}}/{{quality:str}}",
    tags=["iiif"],
    http_method=["GET", "HEAD"],
    summary="Get an image as IIIF asks for it",
    description="`region` is `full`, `square`, `x,y,w,h` or `pct:x,y,w,h`; `size` is `max`, `w,`, `,h`, `w,h`, `!w,h`"
    " or `pct:n`, in version 3 with a `^` before it to enlarge; `rotation` is degrees clockwise, with a `!` before them"
    " to mirror first; the last part is the quality (`default`, `color`, `gray`, `bitonal`), a dot, and the format.",
    responses={200: image_bytes("The image."), **problems(400, 403, 404, 412, 413, 422, 429, 503)},
)
async def image(
    request: AnyRequest,
    state: State,
    version: str,
    reference: str,
    region: str,
    size: str,
    rotation: str,
    quality: str,
) -> ASGIApp:
    """Answer a rendition; an animation, or several pages, are known by the first."""
    _check_version(version)
    seen = seen_of(request, state, reference)
    query, signed = await verified_query(request, state)
    refuse_query(query)
    record = await state.library.current(await readable(request, state, reference, signed=signed))
    info = record.blob.info
    wanted = parse(version, info.upright, (region, size, rotation, quality), _bounds(state))
    spec = _spec(wanted, info)
    if not signed and wanted.query():
        refuse_unsigned(request, ["region, size, rotation and quality"], state.settings)
    uri = f"{_id(request, state, version, reference)}/{wanted.canonical()}"
    links = f'<{PROFILES[version]}>;rel="profile", <{uri}>;rel="canonical"'
    answer = await rendition(
        request,
        state,
        record,
        spec,
        wanted.extension,
        None,
        links,
        check_again=lambda: readable_again(request, state, reference),
    )
    if state.settings.public_url is None:
        return answer  # it names the host that was asked, which the next request may not
    return keep_ready(request, state, record, seen, answer, spec.format)


def _spec(wanted: ImageRequest, info: ImageInfo) -> RenditionSpec:
    query = wanted.query()
    if info.frames > 1:
        query.append(("page", "1"))
    if info.orientation > 1 and not any(name == "width" for name, _ in query):
        # Not the original's own bytes: who reads them may not know that they are to be turned.
        query += [("width", str(wanted.size[0])), ("height", str(wanted.size[1])), ("fit", "fill")]
    return RenditionSpec.parse(wanted.format.name, query)


def _check_version(version: str) -> None:
    if version not in VERSIONS:
        raise Problem(
            404, "not-found", "There is no such version of the IIIF Image API here.", parameter="version",
            given=version[:20], allowed=list(VERSIONS),
        )  # fmt: skip


def _bounds(state: State) -> Bounds:
    settings: Settings = state.settings
    return Bounds(settings.iiif_max_side, settings.iiif_max_area, settings.max_pixels)


def _id(request: AnyRequest, state: State, version: str, reference: str) -> str:
    settings: Settings = state.settings
    root = settings.public_url or str(request.base_url)
    return f"{root.rstrip('/')}/iiif/{version}/{reference}"


IIIF: tuple[Any, ...] = (base, information, image)
"""All handlers of this module."""
