"""Many renditions of stored images with one request: references times transformations."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qsl, quote

import msgspec
from litestar import post
from litestar.datastructures import State
from litestar.types import ASGIApp

from progimage.auth import Scope
from progimage.engine import FORMATS
from progimage.http.bodies import read_body
from progimage.http.params import query_of, refuse_query, refuse_unsigned
from progimage.http.permission import AnyRequest, client_of, other_images, readable, require
from progimage.http.responses.streams import NDJSON, Result, Streamed, as_ndjson, as_zip, preferred, results
from progimage.images.library import ImageLibrary
from progimage.images.renderer import rendition_digest
from progimage.images.requests import AUTO, PRESET, RenditionRequest, parsed, preset, spec_of, writable
from progimage.problems import Problem
from progimage.schemas import problems
from progimage.settings import Settings

_LARGEST_BODY = 1024 * 1024


class RenditionsWanted(msgspec.Struct, forbid_unknown_fields=True):
    """Which renditions are wanted: each reference in each preset and in each query, in the format of an extension."""

    references: list[str]
    extension: str
    presets: list[str] = []
    queries: list[str] = []


@post(
    "/storage/renditions",
    tags=["storage"],
    summary="Make many renditions",
    description="Every reference in every preset and every query (a string such as `width=300&fit=inside`; neither is"
    " the plain image), in the format of the extension. They are made a few at a time and cached. The answer is a"
    " stream with a result for each: lines of JSON with the rendition's `url`, or, with `Accept: application/zip`, the"
    " files and `results.ndjson`. One that fails has its problem there, and harms no other.",
    responses=problems(400, 401, 403, 406, 408, 413, 429),
    status_code=200,
)
async def several_renditions(request: AnyRequest, state: State) -> ASGIApp:
    """Answer a stream of results."""
    require(request, Scope.TRANSFORM)
    refuse_query(query_of(request))
    kind = preferred(request, NDJSON)
    settings: Settings = state.settings
    library: ImageLibrary = state.library
    wanted = await _wanted(request)
    variants = _variants(request, wanted, settings)
    count = len(wanted.references) * len(variants)
    if not 0 < count <= settings.max_batch:
        raise Problem(
            413 if count else 400, "too-many-renditions" if count else "invalid-parameter",
            "There are too many renditions." if count else "There is no reference.", parameter="references",
            given=count, allowed=f"1 to {settings.max_batch} renditions",
        )  # fmt: skip
    accept = request.headers.get("accept", "")
    works = [
        (
            {"reference": reference, **variant.described},
            partial(_rendered, request, state, reference, wanted.extension, variant, accept),
        )
        for reference in wanted.references
        for variant in variants
    ]
    items = results(works, library.renderer.pool.workers)
    chunks = as_ndjson(items, lambda result: result.document) if kind == NDJSON else as_zip(items)
    return Streamed(chunks, kind, ExitStack())


async def _wanted(request: AnyRequest) -> RenditionsWanted:
    body = await read_body(request, _LARGEST_BODY)
    try:
        wanted = msgspec.json.decode(body, type=RenditionsWanted)
    except msgspec.DecodeError as error:
        raise Problem(
            400, "invalid-body", f"The body is not what it should be: {error}.", parameter="body",
            allowed='JSON such as {"references": ["…"], "extension": "webp", "presets": ["avatar"]}',
        ) from None  # fmt: skip
    if wanted.extension != AUTO:
        writable(wanted.extension)
    return wanted


@dataclass(frozen=True, slots=True)
class _Variant:
    """One of the shapes that each image is wanted in."""

    asked: RenditionRequest
    described: dict[str, str]
    suffix: str
    preset: str | None = None


def _variants(request: AnyRequest, wanted: RenditionsWanted, settings: Settings) -> list[_Variant]:
    if wanted.queries:
        refuse_unsigned(request, ["queries"], settings)
    named = [
        _Variant(preset(name, settings.preset_queries), {PRESET: name}, f"-{name}", name) for name in wanted.presets
    ]
    texts = wanted.queries or ([] if wanted.presets else [""])
    plain = [
        _Variant(
            RenditionRequest(parse_qsl(text, keep_blank_values=True)), {"query": text}, f"-{number}" if text else ""
        )
        for number, text in enumerate(texts, 1)
    ]
    for variant in (*named, *plain):
        parsed(wanted.extension, variant.asked)  # a mistake in one is one in all of its renditions
    return [*named, *plain]


async def _rendered(
    request: AnyRequest, state: State, reference: str, extension: str, variant: _Variant, accept: str
) -> Result:
    library: ImageLibrary = state.library
    record = await library.current(await readable(request, state, reference))
    spec = spec_of(extension.lower(), variant.asked, record.blob.info, accept, state.settings.auto_formats)
    await other_images(request, state, spec, variant.asked.droppable, signed=False)
    format = FORMATS[spec.format]
    own = format.extensions[0]
    asked = f"{PRESET}={variant.preset}" if variant.preset else spec.canonical().partition("?")[2]
    document = {
        "format": format.name,
        "media_type": format.media_type,
        "url": f"/storage/{quote(reference)}.{own}" + (f"?{asked}" if asked else ""),
    }
    name = f"{reference}{variant.suffix}.{own}"
    async with state.rates.rendering(client_of(request)):
        path = await library.renderer.rendition(record, spec, client_of(request))
    await readable(request, state, reference)  # and so its others: that may have changed while it was made
    await other_images(request, state, spec, variant.asked.droppable, signed=False)
    return Result({**document, "bytes": path.stat().st_size, "etag": rendition_digest(record, spec)}, path, name)
