"""The parameters of a request: its signature, and which transformations it asks for and may ask for."""

from litestar.datastructures import State

from progimage import clock
from progimage.auth import EXPIRES, KEY_ID, SIGNATURE, BadSignature, Scope, Signed, Signer
from progimage.http.middleware.guard import KeyRing
from progimage.http.permission import AnyRequest, client_of, readable
from progimage.images.requests import PRESET, Query, RenditionRequest, refuse_repeated, with_preset
from progimage.problems import Problem
from progimage.settings import Settings

DOWNLOAD = "download"
KEY_UNTIL = "progimage.key_until"
"""Where a signed request's scope has the Unix time, in seconds, when its signature's API key ends; None: never."""

SIGNED_METHODS = {"GET": Scope.READ, "HEAD": Scope.READ, "DELETE": Scope.DELETE}
"""The methods that an API key may have signed, and the scope that it needs for each."""


def query_of(request: AnyRequest) -> Query:
    """Return the names and values of a request's query."""
    return list(request.query_params.multi_items())


async def verified_query(request: AnyRequest, state: State) -> tuple[Query, bool]:
    """Return a request's query without what belongs to its signature, and whether it has one.

    Raises:
        Problem: 403, the signature is not valid.
    """
    query = query_of(request)
    if not any(name == SIGNATURE for name, _ in query):
        return query, False
    signer: Signer = state.signer
    try:
        signed = signer.verify(request.method, request.scope["path"], query)
        await _check_key(signed, request, state)
    except BadSignature as error:
        raise Problem(403, "bad-signature", str(error), parameter=error.parameter) from None
    return signed.query, True


async def _check_key(signed: Signed, request: AnyRequest, state: State) -> None:
    """Hold a signature against the key that it stands or falls with, and note when that ends.

    Raises:
        BadSignature: The key is not valid any more, or does not allow this; or the signature names none.
    """
    settings: Settings = state.settings
    if not signed.is_named and clock.utc_now().date() > settings.unnamed_signatures_until:
        raise BadSignature(
            f"The signature names no key; such signatures worked until {settings.unnamed_signatures_until}.", KEY_ID
        )
    if signed.key_id is None:
        return
    key_ring: KeyRing = state.key_ring
    key = await key_ring.find(signed.key_id)
    if key is None:
        raise BadSignature("The API key that the signature was made for is not valid any more.", KEY_ID)
    if not key.principal.may(SIGNED_METHODS.get(request.method, Scope.ADMIN)):
        raise BadSignature("The API key that the signature was made for does not allow this any more.", KEY_ID)
    request.scope[KEY_UNTIL] = key.expires_at  # type: ignore[literal-required]


async def readable_again(request: AnyRequest, state: State, reference: str) -> None:
    """Refuse a request that may not read an image any more, since work for it has taken a while.

    Raises:
        Problem: 403, its signature is not valid any more.
        UnknownReference: The image is gone, or hidden from it.
    """
    _, signed = await verified_query(request, state)
    await readable(request, state, reference, signed=signed)


def seen_of(request: AnyRequest, state: State, reference: str) -> dict[str, int]:
    """Return the state of the changes of what a request depends on, before any of it is looked up.

    Args:
        request: The request.
        state: Of the application.
        reference: Of the image.
    """
    changes = state.library.changes
    key_id = request.query_params.get(KEY_ID)
    return {name: changes.state(name) for name in (reference, key_id) if name}


def refuse_query(query: Query, known: tuple[str, ...] = (), detail: str = "There is no such parameter here.") -> None:
    """Refuse what a query has beyond some parameters, and what it says twice.

    Raises:
        Problem: 400.
    """
    for name, value in query:
        if name not in known:
            raise Problem(400, "invalid-parameter", detail, parameter=name, given=value, allowed=list(known))
    refuse_repeated(query)


def transformations_of(request: AnyRequest, state: State, query: Query, *, signed: bool) -> RenditionRequest:
    """Return the transformations that a request asks for, with those of its preset; `download` is left out.

    Args:
        request: The request.
        state: Of the application.
        query: The request's, see `verified_query`.
        signed: It has a signature.

    Raises:
        Problem: The preset is unknown, the request is not allowed without a signature, or it has two names to save as.
    """
    refuse_repeated([pair for pair in query if pair[0] == DOWNLOAD])
    if not signed:
        refuse_unsigned(request, [name for name, _ in query], state.settings)
    return with_preset([pair for pair in query if pair[0] != DOWNLOAD], state.settings.preset_queries)


def refuse_unsigned(request: AnyRequest, names: list[str], settings: Settings) -> None:
    """Refuse transformations that only a signed request may ask for, or one with a key that allows them.

    Raises:
        Problem: 403.
    """
    principal = client_of(request).principal
    if settings.transformations == "any" or (principal.key_id and principal.may(Scope.TRANSFORM)):
        return
    for name in names:
        if name not in (PRESET, DOWNLOAD):
            raise Problem(
                403, "not-allowed", "Here only presets can be asked for without a signature.", parameter=name,
                allowed=[PRESET, DOWNLOAD, SIGNATURE, EXPIRES],
            )  # fmt: skip
