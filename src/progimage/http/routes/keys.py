"""The routes of API keys."""

from litestar import Response, delete, get, post

from progimage.auth import Caller, Scope
from progimage.http.bodies import SMALL_BODY
from progimage.http.permission import requires
from progimage.http.routes.owners import check_owner
from progimage.http.state import ServiceState
from progimage.images.options import LONGEST_SECONDS, check_range, expiry
from progimage.problems import Problem
from progimage.schemas import KeyDocument, KeyRotation, KeyWanted, NewKeyDocument, problems

_LONGEST_NAME = 100
_NOT_KEPT = {"cache-control": "no-store"}


@get(
    "/keys",
    tags=["access"],
    summary="List the API keys",
    description="Returns all keys, including revoked ones. Only hashes of keys are stored, so the keys themselves can't"
    " be shown. Administrators only.",
    responses=problems(401, 403, 503),
    guards=[requires(Scope.ADMIN)],
)
async def list_keys(state: ServiceState, owner: str | None = None) -> list[KeyDocument]:
    """Return all keys, or those of one owner."""
    return [KeyDocument.of(key) for key in await state.library.catalogue.keys.all(owner)]


@post(
    "/keys",
    tags=["access"],
    summary="Create an API key",
    description="Returns the key, which is never shown again. Administrators only.",
    responses=problems(400, 401, 403, 503),
    status_code=201,
    request_max_body_size=SMALL_BODY,
    guards=[requires(Scope.ADMIN)],
)
async def make_key(caller: Caller, state: ServiceState, data: KeyWanted) -> Response[NewKeyDocument]:
    """Create a key."""
    check_owner(data.owner)
    if not data.scopes:
        raise Problem(
            400, "invalid-parameter", "A key needs at least one scope.", parameter="scopes", allowed=list(Scope)
        )
    if len(data.name) > _LONGEST_NAME or not data.name.isprintable():
        raise Problem(
            400, "invalid-parameter", "Invalid key name.", parameter="name", given=data.name[:_LONGEST_NAME],
            allowed=f"at most {_LONGEST_NAME} printable characters",
        )  # fmt: skip
    expires_at = expiry(data.expires) if data.expires is not None else None
    made = await state.library.catalogue.keys.create(caller, data.owner, data.name, frozenset(data.scopes), expires_at)
    return Response(NewKeyDocument.of_new(made.key, made.text), headers=_NOT_KEPT, status_code=201)


@post(
    "/keys/{id:str}/rotate",
    tags=["access"],
    summary="Replace an API key",
    description="Returns a new key with the same permissions. The old key stays valid for `grace_seconds`."
    " Administrators only.",
    responses=problems(400, 401, 403, 404, 503),
    status_code=201,
    request_max_body_size=SMALL_BODY,
    guards=[requires(Scope.ADMIN)],
)
async def rotate_key(caller: Caller, state: ServiceState, id: str, data: KeyRotation) -> Response[NewKeyDocument]:
    """Create a key that replaces another."""
    check_range("grace_seconds", data.grace_seconds, 0, LONGEST_SECONDS)
    made = await state.library.catalogue.keys.rotate(caller, id, data.grace_seconds)
    state.library.changes.mark(id)
    return Response(NewKeyDocument.of_new(made.key, made.text), headers=_NOT_KEPT, status_code=201)


@delete(
    "/keys/{id:str}",
    tags=["access"],
    summary="Revoke an API key",
    description="The key becomes invalid: on this node at once, on other nodes within five seconds. Administrators"
    " only.",
    responses=problems(401, 403, 404, 503),
    guards=[requires(Scope.ADMIN)],
)
async def revoke_key(caller: Caller, state: ServiceState, id: str) -> None:
    """Revoke a key."""
    await state.library.catalogue.keys.revoke(caller, id)
    state.library.changes.mark(id)


KEYS = (list_keys, make_key, rotate_key, revoke_key)
