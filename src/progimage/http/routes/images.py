"""The routes that manage images: list, change, delete, undelete."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.enums import MediaType
from litestar.params import Parameter

from progimage.auth import Caller, Scope
from progimage.http.basis import basis_of
from progimage.http.bodies import SMALL_BODY
from progimage.http.paging import CURSOR, CURSOR_PARAMETER, LIMIT, LIMIT_PARAMETER, Page
from progimage.http.params import SIGNABLE, query_of, verified_query
from progimage.http.permission import AnyRequest, caller_of, owned, require, requires
from progimage.http.state import ServiceState
from progimage.images.options import checked_labels, expiry, flag, image_filter, metadata
from progimage.problems import Problem
from progimage.schemas import ImageChange, ImagePage, OwnImageRecord, problems, response

_PERMANENTLY = "permanently"


def _parameter(name: str, description: str) -> Any:
    return Parameter(query=name, description=description)


@get(
    "/storage",
    tags=["storage"],
    summary="List images",
    description="Returns the images of the key's owner in pages, newest first. For the next page, pass `next` as"
    " `cursor`.",
    responses=problems(400, 401, 403, 503),
    guards=[requires(Scope.READ)],
)
async def list_images(
    request: AnyRequest,
    caller: Caller,
    state: ServiceState,
    format: Annotated[str | None, _parameter("format", "Only images in this format, such as `JPEG`.")] = None,
    sha256: Annotated[str | None, _parameter("sha256", "Only images whose original has this SHA-256.")] = None,
    min_bytes: Annotated[str | None, _parameter("min_bytes", "Minimum size of the original in bytes.")] = None,
    max_bytes: Annotated[str | None, _parameter("max_bytes", "Maximum size of the original in bytes.")] = None,
    after: Annotated[str | None, _parameter("after", "Only images uploaded at or after this date.")] = None,
    before: Annotated[str | None, _parameter("before", "Only images uploaded before this date.")] = None,
    label: Annotated[
        str | None, _parameter("label", "Only images with this label; if repeated, with all of these labels.")
    ] = None,
    deleted: Annotated[str | None, _parameter("deleted", "List deleted images that can still be restored.")] = None,
    owner: Annotated[str | None, _parameter("owner", "List the images of this owner; administrators only.")] = None,
    cursor: CURSOR_PARAMETER = None,
    limit: LIMIT_PARAMETER = None,
) -> ImagePage:
    """Return a page of records."""
    page = Page[tuple[float, str]].asked_for(limit, cursor, tuple[float, str])
    wanted = image_filter(pair for pair in query_of(request) if pair[0] not in (CURSOR, LIMIT))
    wanted = replace(wanted, owner=wanted.owner or caller.principal.owner, below=page.after)
    if not caller.principal.owns(str(wanted.owner)):
        raise Problem(
            403, "not-allowed", "Only administrators may list the images of other owners.", parameter="owner",
            given=str(wanted.owner)[:100], allowed=caller.principal.owner,
        )  # fmt: skip
    records, following = page.cut(
        await state.library.records.find(wanted, page.limit + 1),
        lambda record: (record.uploaded_at.timestamp(), record.reference),
    )
    return ImagePage([OwnImageRecord.of_own(record, state.settings.visibility) for record in records], following)


@patch(
    "/storage/{reference:str}",
    tags=["storage"],
    summary="Change an image's record",
    description="The body is a merge patch (RFC 7396). The bytes of the original never change.\n\n"
    "- `visibility`, `expires`, `labels`, `metadata`: null restores the default. `visibility` also requires"
    " the scope `read`, and `expires` the scope `delete`.\n"
    "- `held`: places or lifts a legal hold, which prevents deletion and expiry. Administrators only.\n\n"
    "Without the scope `read`, the response is 204 without a record.",
    responses={
        200: response(OwnImageRecord, "The changed record."),
        204: response(None, "The record was changed."),
        **problems(400, 401, 403, 404, 503),
    },
    request_max_body_size=SMALL_BODY,
    guards=[requires(Scope.UPLOAD)],
)
async def change(
    request: AnyRequest, caller: Caller, state: ServiceState, reference: str, data: ImageChange
) -> Response[Any]:
    """Change the record of an image."""
    record = await owned(request, state, reference)
    values: dict[str, Any] = {}
    if data.visibility is not msgspec.UNSET:
        require(request, Scope.READ)  # otherwise a key that may not read could make the image public
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
        record = await state.library.change(caller, reference, values)
    return _record_for(caller, OwnImageRecord.of_own(record, state.settings.visibility))


@delete(
    "/storage/{reference:str}",
    tags=["storage"],
    summary="Delete an image",
    description="The reference becomes unknown. The image can be restored for a while.\n\n"
    "With `permanently`, it can't be restored; this also purges an image that is already deleted. The bytes are deleted"
    " with their last reference.",
    status_code=204,
    responses=problems(400, 401, 403, 404, 409, 503),
    opt=SIGNABLE,
)
async def remove(
    request: AnyRequest,
    state: ServiceState,
    reference: str,
    permanently: Annotated[str | None, _parameter(_PERMANENTLY, "Purge the image: it can't be restored.")] = None,
) -> None:
    """Delete an image; signed requests don't need an API key."""
    await verified_query(request, state)
    purges = permanently is not None and flag(_PERMANENTLY, permanently)
    caller = caller_of(request)
    if not basis_of(request.scope).is_signed:
        caller = require(request, Scope.DELETE)
        already = purges and await state.library.records.get(reference, deleted=True) is not None
        await owned(request, state, reference, deleted=already)
    await state.library.remove(caller, reference, permanently=purges)


@post(
    "/storage/{reference:str}/undelete",
    tags=["storage"],
    summary="Restore a deleted image",
    description="Restores the image as it was. Without the scope `read`, the response is 204 without a record.",
    responses={
        200: response(OwnImageRecord, "The record."),
        204: response(None, "The image was restored."),
        **problems(400, 401, 403, 404, 503),
    },
    status_code=200,
    guards=[requires(Scope.DELETE)],
)
async def undelete(request: AnyRequest, caller: Caller, state: ServiceState, reference: str) -> Response[Any]:
    """Restore a deleted image."""
    await owned(request, state, reference, deleted=True)
    record = await state.library.undelete(caller, reference)
    return _record_for(caller, OwnImageRecord.of_own(record, state.settings.visibility))


def _record_for(caller: Caller, record: OwnImageRecord) -> Response[Any]:
    """Respond with a record to callers that may read it, and with 204 to others."""
    if caller.principal.may(Scope.READ):
        return Response(record, media_type=MediaType.JSON, status_code=200)
    return Response(None, status_code=204)
