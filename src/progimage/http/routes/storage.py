"""The paths that answer stored images."""

from typing import Annotated

from litestar import get, route
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.types import ASGIApp

from progimage.auth import Scope
from progimage.engine import InvalidParameter
from progimage.engine.values import whole
from progimage.http.middleware.cors import is_foreign, note_visibility
from progimage.http.params import DOWNLOAD, readable_again, refuse_query, seen_of, transformations_of, verified_query
from progimage.http.permission import AnyRequest, client_of, other_images, readable
from progimage.http.responses.images import described, keep_ready, original, rendition
from progimage.images.requests import spec_of
from progimage.schemas import (
    ImageRecord,
    OwnImageRecord,
    PlaceholderDocument,
    SwatchDocument,
    image_bytes,
    problems,
    response,
)

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
        302: response(None, "The store of originals has it: see `Location`."),
        **problems(400, 401, 403, 404, 412, 416, 429, 503),
    },
)
async def deliver(request: AnyRequest, state: State, reference: str, download: _DOWNLOAD = None) -> ASGIApp:
    """Answer an original or a rendition."""
    reference, dot, extension = reference.partition(".")
    seen = seen_of(request, state, reference)
    query, signed = await verified_query(request, state)
    record = await readable(request, state, reference, signed=signed)
    if not dot:
        refuse_query(query, (DOWNLOAD,), "An original takes no such parameter; add an extension.")
        answer = await original(request, state, record, download)
        return keep_ready(request, state, record, seen, answer)
    record = await state.library.current(record)
    asked, extension = transformations_of(request, state, query, signed=signed), extension.lower()
    accept = request.headers.get("accept", "")
    spec = spec_of(extension, asked, record.blob.info, accept, state.settings.auto_formats)
    seen |= {other: state.library.changes.state(other) for other in spec.references().values()}
    others = await other_images(request, state, spec, asked.droppable, signed=signed)

    async def check_again() -> None:
        await readable_again(request, state, reference)
        await other_images(request, state, spec, asked.droppable, signed=signed)

    answer = await rendition(request, state, record, spec, extension, download, others=others, check_again=check_again)
    return keep_ready(request, state, record, seen, answer, spec.format, others)


@get(
    "/storage/{reference:str}/info",
    tags=["storage"],
    summary="Describe an image",
    description="What is known of a stored image, read from its header when it was uploaded. `width` and `height` are"
    " those of the picture before it is turned upright, `upright_width` and `upright_height` those after. `warnings`"
    " say what is not all that the file holds. Its owner is told more than others.",
    responses=problems(400, 401, 403, 404, 503),
)
async def info(request: AnyRequest, state: State, reference: str) -> OwnImageRecord | ImageRecord:
    """Answer the record of a reference."""
    query, signed = await verified_query(request, state)
    refuse_query(query)
    record = await readable(request, state, reference, signed=signed)
    record = await state.library.current(record)
    principal = client_of(request).principal
    if principal.may(Scope.READ) and principal.owns(record.owner) and not is_foreign(request.scope):
        note_visibility(request.scope, public=False)  # of the record, which tells more than the image
        return OwnImageRecord.of_own(record, state.settings.visibility)
    return ImageRecord.of(record)


@get(
    "/storage/{reference:str}/placeholder",
    tags=["storage"],
    summary="Get placeholders",
    description="What to show until the picture is there: its ThumbHash (base64), its BlurHash, a tiny WebP as a"
    " data URI, and its width and height, upright.",
    responses={
        200: response(PlaceholderDocument, "The placeholders."),
        **problems(400, 401, 403, 404, 412, 422, 429, 503),
    },
)
async def placeholder(request: AnyRequest, state: State, reference: str) -> ASGIApp:
    """Answer the placeholders of an image."""
    query, signed = await verified_query(request, state)
    refuse_query(query)
    record = await readable(request, state, reference, signed=signed)
    return await described(
        request,
        state,
        record,
        "placeholder",
        lambda: state.library.renderer.placeholder(record, client_of(request)),
        check_again=lambda: readable_again(request, state, reference),
    )


@get(
    "/storage/{reference:str}/palette",
    tags=["storage"],
    summary="Get dominant colours",
    description="The dominant colours, the most frequent first, each with the share of the opaque pixels near it.",
    responses={
        200: response(list[SwatchDocument], "The colours."),
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
    query, signed = await verified_query(request, state)
    refuse_query(query, ("colors",))
    record = await readable(request, state, reference, signed=signed)
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
        lambda: state.library.renderer.palette(record, count, client_of(request)),
        check_again=lambda: readable_again(request, state, reference),
    )
