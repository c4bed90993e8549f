"""The paths by which owners look after their images: list, change, delete, bring back."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.params import Parameter

from progimage.auth import Client, Scope
from progimage.http.params import query_of, refuse_query, verified_query
from progimage.http.permission import AnyRequest, client_of, owned, require
from progimage.images.library import ImageLibrary
from progimage.images.options import (
    CURSOR,
    FILTERS,
    LIMIT,
    MOST_LISTED,
    USUALLY_LISTED,
    checked_labels,
    cursor_of,
    expiry,
    flag,
    image_filter,
    metadata,
    page,
    read_cursor,
)
from progimage.problems import Problem
from progimage.schemas import ImageChange, ImagePage, OwnImageRecord, problems, response

_PERMANENTLY = "permanently"
_SMALL_BODY = 64 * 1024


def _parameter(name: str, description: str) -> Any:
    return Parameter(query=name, description=description)


@get(
    "/storage",
    tags=["storage"],
    summary="List images",
    description="The images of the key's owner, the newest first, a page at a time; `next` is the `cursor` of the next"
    " page.",
    responses=problems(400, 401, 403, 503),
)
async def list_images(
    request: AnyRequest,
    state: State,
    format: Annotated[str | None, _parameter("format", "Their container format, such as JPEG.")] = None,
    sha256: Annotated[str | None, _parameter("sha256", "Those whose originals have this hash.")] = None,
    min_bytes: Annotated[str | None, _parameter("min_bytes", "The smallest originals.")] = None,
    max_bytes: Annotated[str | None, _parameter("max_bytes", "The largest originals.")] = None,
    after: Annotated[str | None, _parameter("after", "Uploaded since this date.")] = None,
    before: Annotated[str | None, _parameter("before", "Uploaded before this date.")] = None,
    label: Annotated[str | None, _parameter("label", "With this label; several: with all of them.")] = None,
    deleted: Annotated[str | None, _parameter("deleted", "Those that can be brought back.")] = None,
    owner: Annotated[str | None, _parameter("owner", "Of another owner; for administrators.")] = None,
    cursor: Annotated[str | None, _parameter("cursor", "The `next` of the page before.")] = None,
    limit: Annotated[
        str | None, _parameter("limit", f"How many, 1 to {MOST_LISTED}; usually {USUALLY_LISTED}.")
    ] = None,
) -> ImagePage:
    """Answer a page of records; the query is read as a whole."""
    principal = require(request, Scope.READ).principal
    query = query_of(request)
    refuse_query(query, (*FILTERS, CURSOR, LIMIT))
    most, last = page(query)
    wanted = image_filter(pair for pair in query if pair[0] not in (CURSOR, LIMIT))
    wanted = replace(wanted, owner=wanted.owner or principal.owner)
    if not principal.owns(str(wanted.owner)):
        raise Problem(
            403, "not-allowed", "Only administrators list what others have.", parameter="owner",
            given=str(wanted.owner)[:100], allowed=principal.owner,
        )  # fmt: skip
    if last is not None:
        wanted = replace(wanted, below=read_cursor(last, tuple[float, str]))
    library: ImageLibrary = state.library
    records = await library.records.find(wanted, most + 1)
    more = len(records) > most
    records = records[:most]
    following = cursor_of((records[-1].uploaded_at.timestamp(), records[-1].reference)) if more else None
    return ImagePage([OwnImageRecord.of_own(record, state.settings.visibility) for record in records], following)


@patch(
    "/storage/{reference:str}",
    tags=["storage"],
    summary="Change what is known of an image",
    description="A merge patch (RFC 7396): `visibility`, `expires`, `labels`, `metadata`; null makes them what they are"
    " if an upload says nothing. `held` sets or ends a legal hold, which keeps an image from being deleted and from"
    " expiring; for administrators. `visibility` needs the scope `read`, too, and `expires` the scope `delete`. The"
    " original's bytes never change. A key without the scope `read` gets no record, but 204.",
    responses={
        200: response(OwnImageRecord, "The record as it is then."),
        204: response(None, "It was changed."),
        **problems(400, 401, 403, 404, 503),
    },
    request_max_body_size=_SMALL_BODY,
)
async def change(request: AnyRequest, state: State, reference: str, data: ImageChange) -> Response[Any]:
    """Answer the record as it is then."""
    client = require(request, Scope.UPLOAD)
    refuse_query(query_of(request))
    record = await owned(request, state, reference)
    values: dict[str, Any] = {}
    if data.visibility is not msgspec.UNSET:
        require(request, Scope.READ)  # or a key that may not read could make the image readable to everybody
        values["visibility"] = data.visibility
    if data.expires is not msgspec.UNSET:
        require(request, Scope.DELETE)
        if data.expires is None:
            owner = await state.library.catalogue.owners.get(record.owner)
            values["expires_at"] = owner.end_of(record.uploaded_at.timestamp())
        else:
            values["expires_at"] = expiry(data.expires)
    if data.labels is not msgspec.UNSET:
        values["labels"] = checked_labels(data.labels or [])
    if data.metadata is not msgspec.UNSET:
        merged = {**record.metadata, **(data.metadata or {})} if data.metadata is not None else {}
        values["metadata"] = metadata({name: value for name, value in merged.items() if value is not None})
    if data.held is not msgspec.UNSET:
        require(request, Scope.ADMIN)
        values["held"] = data.held
    if values:
        record = await state.library.change(client, reference, values)
    return _told(client, OwnImageRecord.of_own(record, state.settings.visibility))


@delete(
    "/storage/{reference:str}",
    tags=["storage"],
    summary="Delete an image",
    description="The reference is unknown from then on. For a while the image can be brought back, unless"
    " `permanently` is said; an image that was deleted already is then removed for good. The bytes go with their last"
    " reference.",
    status_code=204,
    responses=problems(400, 401, 403, 404, 409, 503),
)
async def remove(
    request: AnyRequest,
    state: State,
    reference: str,
    permanently: Annotated[str | None, _parameter(_PERMANENTLY, "It can't be brought back.")] = None,
) -> None:
    """Remove a reference; a signed request may do so, too."""
    query, signed = await verified_query(request, state)
    refuse_query(query, (_PERMANENTLY,))
    for_good = permanently is not None and flag(_PERMANENTLY, permanently)
    library: ImageLibrary = state.library
    client = client_of(request)
    if not signed:
        client = require(request, Scope.DELETE)
        already = for_good and await library.records.get(reference, deleted=True) is not None
        await owned(request, state, reference, deleted=already)
    await library.remove(client, reference, for_good=for_good)


@post(
    "/storage/{reference:str}/undelete",
    tags=["storage"],
    summary="Bring a deleted image back",
    description="It is there again, as it was. A key without the scope `read` gets no record, but 204.",
    responses={
        200: response(OwnImageRecord, "The record."),
        204: response(None, "It is there again."),
        **problems(400, 401, 403, 404, 503),
    },
    status_code=200,
)
async def undelete(request: AnyRequest, state: State, reference: str) -> Response[Any]:
    """Answer the record."""
    client = require(request, Scope.DELETE)
    refuse_query(query_of(request))
    await owned(request, state, reference, deleted=True)
    record = await state.library.undelete(client, reference)
    return _told(client, OwnImageRecord.of_own(record, state.settings.visibility))


def _told(client: Client, record: OwnImageRecord) -> Response[Any]:
    """Answer a record to a client that may read it, and to others only that all is well."""
    if client.principal.may(Scope.READ):
        return Response(record, media_type=MediaType.JSON, status_code=200)
    return Response(None, status_code=204)
