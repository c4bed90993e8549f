"""The route that makes many renditions of stored images in one request."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qsl, quote

import msgspec
from litestar import post
from litestar.types import ASGIApp

from progimage.auth import Scope
from progimage.engine import FORMATS
from progimage.http.bodies import LARGE_BODY, read_body
from progimage.http.params import refuse_unsigned
from progimage.http.permission import AnyRequest, caller_of, check_other_images, readable, requires
from progimage.http.responses.streams import NDJSON, Result, StreamedResponse, as_ndjson, as_zip, preferred, results
from progimage.http.state import ServiceState
from progimage.images.renderer import Rendition
from progimage.images.requests import AUTO, PRESET, RenditionRequest, parsed, preset, spec_of, writable
from progimage.problems import Problem
from progimage.schemas import problems
from progimage.settings import Settings


class RenditionsWanted(msgspec.Struct, forbid_unknown_fields=True):
    """The requested renditions: each reference with each preset and each query, in one format."""

    references: list[str]
    extension: str
    presets: list[str] = []
    queries: list[str] = []


@post(
    "/storage/renditions",
    tags=["storage"],
    summary="Make many renditions",
    description="Makes a rendition of every reference with every preset and every query (a string such as"
    " `width=300&fit=inside`), in the format of the extension. Without presets and queries, images are only"
    " converted. Renditions are made a few at a time and cached.\n\n"
    "The response is a stream with one result per rendition: JSON lines, each with the rendition's `url`, or, with"
    " `Accept: application/zip`, a ZIP of the files and `results.ndjson`. If one fails, its result is a problem; the"
    " others are not affected.",
    responses=problems(400, 401, 403, 406, 408, 413, 429),
    status_code=200,
    guards=[requires(Scope.TRANSFORM)],
)
async def several_renditions(request: AnyRequest, state: ServiceState) -> ASGIApp:
    """Respond with a stream of results."""
    kind = preferred(request, NDJSON)
    settings = state.settings
    wanted = await _wanted(request)
    variants = _variants(request, wanted, settings)
    count = len(wanted.references) * len(variants)
    if not 0 < count <= settings.max_batch:
        raise Problem(
            413 if count else 400, "too-many-renditions" if count else "invalid-parameter",
            "Too many renditions." if count else "The list of references is empty.", parameter="references",
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
    items = results(works, state.library.renderer.pool.workers)
    chunks = as_ndjson(items, lambda result: result.document) if kind == NDJSON else as_zip(items)
    return StreamedResponse(chunks, kind, ExitStack())


async def _wanted(request: AnyRequest) -> RenditionsWanted:
    body = await read_body(request, LARGE_BODY)
    try:
        wanted = msgspec.json.decode(body, type=RenditionsWanted)
    except msgspec.DecodeError as error:
        raise Problem(
            400, "invalid-body", f"Invalid body: {error}.", parameter="body",
            allowed='JSON such as {"references": ["…"], "extension": "webp", "presets": ["avatar"]}',
        ) from None  # fmt: skip
    if wanted.extension != AUTO:
        writable(wanted.extension)
    return wanted


@dataclass(frozen=True, slots=True)
class _Variant:
    """One of the variants to make of each image."""

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
        parsed(wanted.extension, variant.asked)  # an error here would fail all of its renditions
    return [*named, *plain]


async def _rendered(
    request: AnyRequest, state: ServiceState, reference: str, extension: str, variant: _Variant, accept: str
) -> Result:
    record = await state.library.current(await readable(request, state, reference))
    spec = spec_of(extension.lower(), variant.asked, record.blob.info, accept, state.settings.auto_formats)
    await check_other_images(request, state, spec, variant.asked.droppable)
    format = FORMATS[spec.format]
    own = format.extensions[0]
    asked = f"{PRESET}={variant.preset}" if variant.preset else spec.canonical().partition("?")[2]
    document = {
        "format": format.name,
        "media_type": format.media_type,
        "url": f"/storage/{quote(reference)}.{own}" + (f"?{asked}" if asked else ""),
    }
    name = f"{reference}{variant.suffix}.{own}"
    wanted, caller = Rendition.of(record, spec), caller_of(request)
    async with state.rates.rendering(caller):
        path = await state.library.renderer.rendition(wanted, caller)
    # Permissions may have changed while the rendition was made.
    await readable(request, state, reference)
    await check_other_images(request, state, spec, variant.asked.droppable)
    return Result({**document, "bytes": path.stat().st_size, "etag": wanted.digest}, path, name)
