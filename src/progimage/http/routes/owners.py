"""The routes of owners: their usage and quotas."""

from litestar import get, put

from progimage.auth import Caller, Scope, is_owner
from progimage.http.bodies import SMALL_BODY
from progimage.http.permission import AnyRequest, require, requires
from progimage.http.state import ServiceState
from progimage.images.options import check_range
from progimage.problems import Problem
from progimage.schemas import OwnerDocument, OwnerWanted, problems
from progimage.storage import Owner, Quota


@get(
    "/account",
    tags=["access"],
    summary="Show usage and quota",
    description="Returns the number of images and bytes of the key's owner, and its limits. Deleted images count until"
    " they are purged.",
    responses=problems(401, 503),
)
async def account(request: AnyRequest, caller: Caller, state: ServiceState) -> OwnerDocument:
    """Return the owner of the API key."""
    if not caller.principal.owner:
        require(request, Scope.READ)
    return _document(state, await state.library.catalogue.owners.get(caller.principal.owner))


@get(
    "/owners",
    tags=["access"],
    summary="List the owners",
    description="Returns the usage and limits of each owner. Administrators only.",
    responses=problems(401, 403, 503),
    guards=[requires(Scope.ADMIN)],
)
async def list_owners(state: ServiceState) -> list[OwnerDocument]:
    """Return all owners."""
    return [_document(state, owner) for owner in await state.library.catalogue.owners.all()]


@put(
    "/owners/{owner:str}",
    tags=["access"],
    summary="Set the quota of an owner",
    description="Limits the number of images and bytes of an owner, and sets the default lifetime of its images."
    " Omitted members get the deployment's defaults. Administrators only.",
    responses=problems(400, 401, 403, 503),
    status_code=200,
    request_max_body_size=SMALL_BODY,
    guards=[requires(Scope.ADMIN)],
)
async def set_owner(caller: Caller, state: ServiceState, owner: str, data: OwnerWanted) -> OwnerDocument:
    """Set the quota and the retention of an owner."""
    check_owner(owner)
    for name in ("max_images", "max_bytes", "retention_seconds"):
        value = getattr(data, name)
        if value is not None:
            check_range(name, value, 1 if name == "retention_seconds" else 0, 2**62)
    quota = Quota(data.max_images, data.max_bytes)
    return _document(state, await state.library.catalogue.owners.set(caller, owner, quota, data.retention_seconds))


def check_owner(name: str) -> None:
    """Reject an invalid owner name.

    Raises:
        Problem: 400.
    """
    if not is_owner(name):
        raise Problem(
            400, "invalid-parameter", "Invalid owner name.", parameter="owner", given=name[:100],
            allowed="1 to 64 letters, digits and . _ @ -, starting with a letter or digit",
        )  # fmt: skip


def _document(state: ServiceState, owner: Owner) -> OwnerDocument:
    return OwnerDocument.of(owner, state.library.catalogue.owners.quota_of(owner))


OWNERS = (account, list_owners, set_owner)
