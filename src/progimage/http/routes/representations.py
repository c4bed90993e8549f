"""The routes of stored images: originals, renditions, records, placeholders and palettes."""

from typing import Annotated

from litestar import get, route
from litestar.params import Parameter
from litestar.types import ASGIApp

from progimage.auth import Scope
from progimage.engine import InvalidParameter
from progimage.engine.values import whole
from progimage.http.middleware.cors import is_foreign, note_visibility
from progimage.http.params import (
    ANY_QUERY,
    DOWNLOAD,
    SIGNABLE,
    refuse_query,
    transformations_of,
    verified_query,
)
from progimage.http.permission import AnyRequest, caller_of, check_other_images, readable
from progimage.http.responses.images import described, original, rendition
from progimage.http.responses.representation import RepresentationResponse
from progimage.http.state import ServiceState
from progimage.images.requests import ImageName, Query, spec_of
from progimage.schemas import (
    ImageRecord,
    OwnImageRecord,
    PlaceholderDocument,
    SwatchDocument,
    image_bytes,
    problems,
    response,
)
from progimage.storage import Record

_COLOURS = whole(1, 32)
_USUAL_COLOURS = 6

_DOWNLOAD = Annotated[
    str | None,
    Parameter(
        query="download",
        description="Make browsers save the file under this name; empty means the file name from its upload.",
    ),
]


@route(
    "/storage/{reference:str}",
    tags=["storage"],
    http_method=["GET", "HEAD"],
    summary="Get an original",
    description="Returns the original: exactly the uploaded bytes.",
    responses={
        200: image_bytes("The original."),
        206: image_bytes("A range of it."),
        302: response(None, "The store of originals delivers it: see `Location`."),
        **problems(400, 401, 403, 404, 412, 416, 429, 503),
    },
    opt=ANY_QUERY,
)
async def deliver(request: AnyRequest, state: ServiceState, reference: str, download: _DOWNLOAD = None) -> ASGIApp:
    """Respond with an original, or with a rendition if the reference has an extension."""
    name = ImageName.parse(reference)
    query = await verified_query(request, state)
    record = await readable(request, state, name.reference)
    if name.extension is None:
        refuse_query(query, (DOWNLOAD,), "Originals can't be transformed; add an extension to get a rendition.")
        response = await original(request, state, record, download)
    else:
        response = await _rendition(request, state, await state.library.current(record), name.extension, query)
    state.response_cache.keep(request.scope, response)
    return response


async def _rendition(
    request: AnyRequest, state: ServiceState, record: Record, extension: str, query: Query
) -> RepresentationResponse:
    asked = transformations_of(request, state, query)
    accept = request.headers.get("accept", "")
    spec = spec_of(extension, asked, record.blob.info, accept, state.settings.auto_formats)
    await check_other_images(request, state, spec, asked.droppable)
    return await rendition(request, state, record, spec, extension, request.query_params.get(DOWNLOAD))


@get(
    "/storage/{reference:str}/info",
    tags=["storage"],
    summary="Get an image's record",
    description="Returns the metadata of a stored image, read from its header at the upload.\n\n"
    "- `width` and `height` are the size before the orientation is applied, `upright_width` and `upright_height` the"
    " size after.\n"
    "- `warnings` lists damage, and contents of the file that renditions don't show.\n"
    "- The image's owner gets more members than other callers.",
    responses=problems(400, 401, 403, 404, 503),
    opt=SIGNABLE,
)
async def info(request: AnyRequest, state: ServiceState, reference: str) -> OwnImageRecord | ImageRecord:
    """Return the record of an image."""
    await verified_query(request, state)
    record = await state.library.current(await readable(request, state, reference))
    principal = caller_of(request).principal
    if principal.may(Scope.READ) and principal.owns(record.owner) and not is_foreign(request.scope):
        note_visibility(request.scope, public=False)  # the record reveals more than the image
        return OwnImageRecord.of_own(record, state.settings.visibility)
    return ImageRecord.of(record)


@get(
    "/storage/{reference:str}/placeholder",
    tags=["storage"],
    summary="Get placeholders",
    description="Returns placeholders to show while the image loads: a ThumbHash (base64), a BlurHash, and a tiny WebP"
    " as a data URI, with the width and height of the upright image.",
    responses={
        200: response(PlaceholderDocument, "The placeholders."),
        **problems(400, 401, 403, 404, 412, 422, 429, 503),
    },
    opt=SIGNABLE,
)
async def placeholder(request: AnyRequest, state: ServiceState, reference: str) -> ASGIApp:
    """Respond with the placeholders of an image."""
    await verified_query(request, state)
    record = await readable(request, state, reference)
    return await described(
        request,
        state,
        record,
        "placeholder",
        lambda: state.library.renderer.placeholder(record, caller_of(request)),
    )


@get(
    "/storage/{reference:str}/palette",
    tags=["storage"],
    summary="Get dominant colours",
    description="Returns the dominant colours, most frequent first, each with the share of opaque pixels close to it.",
    responses={
        200: response(list[SwatchDocument], "The colours."),
        **problems(400, 401, 403, 404, 412, 422, 429, 503),
    },
    opt=SIGNABLE,
)
async def palette(
    request: AnyRequest,
    state: ServiceState,
    reference: str,
    colors: Annotated[
        str | None,
        Parameter(query="colors", description=f"Maximum number of colours: {_COLOURS.allowed}. Default: 6."),
    ] = None,
) -> ASGIApp:
    """Respond with the dominant colours of an image."""
    await verified_query(request, state)
    record = await readable(request, state, reference)
    count = _USUAL_COLOURS
    if colors is not None:
        try:
            count = int(_COLOURS.parse(colors))
        except ValueError:
            raise InvalidParameter("colors", colors[:100], _COLOURS.allowed) from None
    return await described(
        request,
        state,
        record,
        f"palette {count}",
        lambda: state.library.renderer.palette(record, count, caller_of(request)),
    )
