"""The paths of access itself: keys, owners, signed requests, the audit log."""

from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from litestar import Response, delete, get, post, put
from litestar.datastructures import State
from litestar.params import Parameter

from progimage import clock
from progimage.auth import EXPIRES, KEY_ID, SIGNATURE, Scope, is_owner
from progimage.engine import RenditionSpec
from progimage.http.params import DOWNLOAD, SIGNED_METHODS, query_of, refuse_query, refuse_unsigned
from progimage.http.permission import AnyRequest, client_of, other_images, owned, require
from progimage.http.routes.uploads import signer_of
from progimage.images.library import ImageLibrary
from progimage.images.options import CURSOR, LIMIT, check_range, cursor_of, date, expiry, page, read_cursor
from progimage.images.requests import parsed, with_preset
from progimage.problems import Problem
from progimage.schemas import (
    EventDocument,
    EventPage,
    KeyDocument,
    KeyRotation,
    KeyWanted,
    NewKeyDocument,
    OwnerDocument,
    OwnerWanted,
    SignatureWanted,
    SignedDocument,
    date_text,
    problems,
)
from progimage.storage import EventFilter, Owner, Quota

_SMALL_BODY = 64 * 1024
_LONGEST = 100 * 366 * 24 * 3600
_NOT_KEPT = {"cache-control": "no-store"}


@get(
    "/keys",
    tags=["access"],
    summary="List the API keys",
    description="Those that were revoked among them. The keys themselves are not kept, only their hashes. For"
    " administrators.",
    responses=problems(401, 403, 503),
)
async def list_keys(request: AnyRequest, state: State, owner: str | None = None) -> list[KeyDocument]:
    """Answer all keys, or those of an owner."""
    require(request, Scope.ADMIN)
    refuse_query(query_of(request), ("owner",))
    library: ImageLibrary = state.library
    return [KeyDocument.of(key) for key in await library.catalogue.keys.all(owner)]


@post(
    "/keys",
    tags=["access"],
    summary="Make an API key",
    description="The answer has the key; it is not shown again. For administrators.",
    responses=problems(400, 401, 403, 503),
    status_code=201,
    request_max_body_size=_SMALL_BODY,
)
async def make_key(request: AnyRequest, state: State, data: KeyWanted) -> Response[NewKeyDocument]:
    """Answer a new key."""
    client = require(request, Scope.ADMIN)
    refuse_query(query_of(request))
    _check_owner(data.owner)
    if not data.scopes:
        raise Problem(400, "invalid-parameter", "A key needs a scope.", parameter="scopes", allowed=list(Scope))
    if len(data.name) > 100 or not data.name.isprintable():
        raise Problem(400, "invalid-parameter", "The name is too long.", parameter="name", allowed="100 characters")
    expires_at = expiry(data.expires) if data.expires is not None else None
    library: ImageLibrary = state.library
    made = await library.catalogue.keys.create(client, data.owner, data.name, frozenset(data.scopes), expires_at)
    return Response(NewKeyDocument.of_new(made.key, made.text), headers=_NOT_KEPT, status_code=201)


@post(
    "/keys/{id:str}/rotate",
    tags=["access"],
    summary="Replace an API key",
    description="The answer has a new key that allows the same; the old one ends after `grace_seconds`. For"
    " administrators.",
    responses=problems(400, 401, 403, 404, 503),
    status_code=201,
    request_max_body_size=_SMALL_BODY,
)
async def rotate_key(request: AnyRequest, state: State, id: str, data: KeyRotation) -> Response[NewKeyDocument]:
    """Answer a new key."""
    client = require(request, Scope.ADMIN)
    refuse_query(query_of(request))
    check_range("grace_seconds", data.grace_seconds, 0, _LONGEST)
    library: ImageLibrary = state.library
    made = await library.catalogue.keys.rotate(client, id, data.grace_seconds)
    library.changes.mark(id)
    return Response(NewKeyDocument.of_new(made.key, made.text), headers=_NOT_KEPT, status_code=201)


@delete(
    "/keys/{id:str}",
    tags=["access"],
    summary="Revoke an API key",
    description="It is valid no more, on this node at once, on others after five seconds at most. For administrators.",
    responses=problems(401, 403, 404, 503),
)
async def revoke_key(request: AnyRequest, state: State, id: str) -> None:
    """End a key."""
    client = require(request, Scope.ADMIN)
    refuse_query(query_of(request))
    library: ImageLibrary = state.library
    await library.catalogue.keys.revoke(client, id)
    library.changes.mark(id)


@get(
    "/account",
    tags=["access"],
    summary="What the key's owner has",
    description="How many images and bytes, and how many it may have; deleted images count until they are gone for"
    " good.",
    responses=problems(401, 503),
)
async def account(request: AnyRequest, state: State) -> OwnerDocument:
    """Answer the owner of the key."""
    refuse_query(query_of(request))
    principal = client_of(request).principal
    if not principal.owner:
        require(request, Scope.READ)
    library: ImageLibrary = state.library
    return _document(state, await library.catalogue.owners.get(principal.owner))


@get(
    "/owners",
    tags=["access"],
    summary="List the owners",
    description="What each has, and may have. For administrators.",
    responses=problems(401, 403, 503),
)
async def list_owners(request: AnyRequest, state: State) -> list[OwnerDocument]:
    """Answer all owners."""
    require(request, Scope.ADMIN)
    refuse_query(query_of(request))
    library: ImageLibrary = state.library
    return [_document(state, owner) for owner in await library.catalogue.owners.all()]


@put(
    "/owners/{owner:str}",
    tags=["access"],
    summary="Set what an owner may have",
    description="How many images and bytes, and after how many seconds its images expire unless an upload says"
    " otherwise. What is left out is what the deployment allows everybody. For administrators.",
    responses=problems(400, 401, 403, 503),
    status_code=200,
    request_max_body_size=_SMALL_BODY,
)
async def set_owner(request: AnyRequest, state: State, owner: str, data: OwnerWanted) -> OwnerDocument:
    """Answer the owner as it is then."""
    client = require(request, Scope.ADMIN)
    refuse_query(query_of(request))
    _check_owner(owner)
    for name in ("max_images", "max_bytes", "retention_seconds"):
        value = getattr(data, name)
        if value is not None:
            check_range(name, value, 1 if name == "retention_seconds" else 0, 2**62)
    library: ImageLibrary = state.library
    quota = Quota(data.max_images, data.max_bytes)
    return _document(state, await library.catalogue.owners.set(client, owner, quota, data.retention_seconds))


@post(
    "/sign",
    tags=["access"],
    summary="Sign a request",
    description="Whoever has the signed URL can make just that request, without a key, until `expires_in` seconds are"
    " over (null, for GET only: for ever) or the key is revoked: read an image of the key's owner, or delete it.",
    responses=problems(400, 401, 403, 404, 503),
    status_code=200,
    request_max_body_size=_SMALL_BODY,
)
async def sign(request: AnyRequest, state: State, data: SignatureWanted) -> Response[SignedDocument]:
    """Answer the signed URL."""
    refuse_query(query_of(request))
    method = data.method.upper()
    if method not in SIGNED_METHODS:
        raise Problem(
            400, "invalid-parameter", "This method can't be signed.", parameter="method", given=data.method[:100],
            allowed=list(SIGNED_METHODS),
        )  # fmt: skip
    require(request, SIGNED_METHODS[method])
    if data.expires_in is not None:
        check_range("expires_in", data.expires_in, 1, _LONGEST)
    elif method == "DELETE":
        raise Problem(
            400, "invalid-parameter", "A signature that deletes has to end.", parameter="expires_in", given="null",
            allowed=f"1 to {_LONGEST}",
        )  # fmt: skip
    signer = signer_of(state)
    path, query = await _own_url(request, state, data.url)
    until = int(clock.now()) + data.expires_in if data.expires_in is not None else None
    url = signer.sign(path, query, until, method, client_of(request).principal.key_id)
    return Response(SignedDocument(url, date_text(until)), headers=_NOT_KEPT, status_code=200)


@get(
    "/audit",
    tags=["access"],
    summary="Read the audit log",
    description="Who uploaded, changed, deleted, changed keys and quotas, was refused; the newest first, a page at a"
    " time. For administrators.",
    responses=problems(400, 401, 403, 503),
)
async def read_audit(
    request: AnyRequest,
    state: State,
    action: Annotated[str | None, Parameter(query="action", description="Such as upload, delete, refused.")] = None,
    owner: str | None = None,
    reference: str | None = None,
    after: Annotated[str | None, Parameter(query="after", description="Since this date.")] = None,
    before: Annotated[str | None, Parameter(query="before", description="Before this date.")] = None,
    cursor: str | None = None,
    limit: str | None = None,
) -> EventPage:
    """Answer a page of events."""
    require(request, Scope.ADMIN)
    query = query_of(request)
    refuse_query(query, ("action", "owner", "reference", "after", "before", CURSOR, LIMIT))
    most, last = page(query)
    wanted = EventFilter(
        action,
        owner,
        reference,
        date("after", after) if after is not None else None,
        date("before", before) if before is not None else None,
    )
    if last is not None:
        wanted = replace(wanted, below=read_cursor(last, tuple[int])[0])
    library: ImageLibrary = state.library
    events = await library.catalogue.audit.find(wanted, most + 1)
    following = cursor_of((events[most - 1].id,)) if len(events) > most else None
    return EventPage([EventDocument.of(event) for event in events[:most]], following)


async def _own_url(request: AnyRequest, state: State, url: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the path and query of a URL, if the image that it is of belongs to whoever asks.

    Raises:
        Problem: It is of no image.
        UnknownReference: The image is another's.
        InvalidParameter: So is a watermark or mask.
    """
    parts = urlsplit(url)
    path, query = unquote(parts.path), parse_qsl(parts.query, keep_blank_values=True)
    name = path.removeprefix("/storage/").partition("/")[0]
    reference, dot, extension = name.partition(".")
    for parameter, value in query:
        if parameter in (SIGNATURE, EXPIRES, KEY_ID):
            raise Problem(
                400, "invalid-parameter", f"The URL has {parameter} already.", parameter="url", given=value[:100],
                allowed="a URL that is not signed",
            )  # fmt: skip
    if not path.startswith("/storage/") or not reference:
        raise Problem(
            400, "invalid-parameter", "It is no path of an image.", parameter="url", given=url[:200],
            allowed="/storage/{reference}…",
        )  # fmt: skip
    await owned(request, state, reference)
    if dot:
        refuse_unsigned(request, [name for name, _ in query], state.settings)
        asked = with_preset([pair for pair in query if pair[0] != DOWNLOAD], state.settings.preset_queries)
        spec: RenditionSpec = parsed(extension.lower(), asked)
        await other_images(request, state, spec, asked.droppable, signed=False)
    return path, query


def _document(state: State, owner: Owner) -> OwnerDocument:
    library: ImageLibrary = state.library
    return OwnerDocument.of(owner, library.catalogue.owners.quota_of(owner))


def _check_owner(name: str) -> None:
    if not is_owner(name):
        raise Problem(
            400, "invalid-parameter", "No owner can be called so.", parameter="owner", given=name[:100],
            allowed="1 to 64 letters, digits and . _ @ -, the first one a letter or digit",
        )  # fmt: skip


ACCESS: tuple[Any, ...] = (
    list_keys,
    make_key,
    rotate_key,
    revoke_key,
    account,
    list_owners,
    set_owner,
    sign,
    read_audit,
)
"""All handlers of this module."""
