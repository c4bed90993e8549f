"""The query of a request: its signature, allowed parameters, and transformations."""

from functools import cache

from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from progimage import clock
from progimage.auth import EXPIRES, KEY_ID, SIGNATURE, BadSignature, Scope, Signed
from progimage.http.basis import basis_of
from progimage.http.permission import AnyConnection, AnyRequest, caller_of
from progimage.http.state import ServiceState
from progimage.images.requests import PRESET, Query, RenditionRequest, refuse_repeated, with_preset
from progimage.problems import Problem
from progimage.settings import Settings

DOWNLOAD = "download"
SIGNED_METHODS = {"GET": Scope.READ, "HEAD": Scope.READ, "DELETE": Scope.DELETE}
"""The methods that can be signed, and the scope that an API key needs to sign each."""

ANY_QUERY = {"any_query": True}
"""`opt` of handlers that accept any query: they ignore it, or check it themselves."""
SIGNABLE = {"signable": True}
"""`opt` of handlers that accept signed requests; they verify the signature with `verified_query`."""


async def known_query(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Reject parameters that a handler doesn't declare, and repeated ones; a guard for all handlers.

    For signed requests, `verified_query` does this after it has verified the signature.

    Raises:
        Problem: 400.
    """
    if not connection.query_params or (handler.opt.get("signable") and SIGNATURE in connection.query_params):
        return
    _refuse_undeclared(query_of(connection), handler)


def _refuse_undeclared(query: Query, handler: BaseRouteHandler) -> None:
    if not handler.opt.get("any_query"):
        refuse_query(query, _declared(handler))


@cache
def _declared(handler: BaseRouteHandler) -> tuple[str, ...]:
    """Return the names of a handler's query parameters."""
    declared = handler.parsed_fn_signature.parameters.values()
    in_path = {name for path in handler.paths for name in path.replace("}", "{").split("{")[1::2]}
    in_path = {name.partition(":")[0] for name in in_path}
    return tuple(
        (one.kwarg_definition.query if isinstance(one.kwarg_definition, ParameterKwarg) else None) or one.name
        for one in declared
        if one.name not in in_path and one.name not in _NOT_IN_QUERY
    )


_NOT_IN_QUERY = frozenset(("request", "state", "caller", "data"))


def query_of(request: AnyConnection) -> Query:
    """Return the names and values in a request's query, in their order."""
    return list(request.query_params.items())


async def verified_query(request: AnyRequest, state: ServiceState) -> Query:
    """Verify a request's signature, if it has one, and return its query without the signature.

    The response's basis records the signature.

    Raises:
        Problem: 403, the signature is invalid; 400, another parameter is unknown.
    """
    query = query_of(request)
    if not any(name == SIGNATURE for name, _ in query):
        return query
    try:
        signed = state.signer.verify(request.method, request.scope["path"], query)
        await _check_signing_key(signed, request, state)
    except BadSignature as error:
        raise Problem(403, "bad-signature", str(error), parameter=error.parameter) from None
    basis = basis_of(request.scope)
    basis.is_signed = True
    expires = request.query_params.get(EXPIRES)
    if expires:
        basis.ends.append(float(expires))
    _refuse_undeclared(signed.query, request.scope["route_handler"])
    return signed.query


async def _check_signing_key(signed: Signed, request: AnyRequest, state: ServiceState) -> None:
    """Check that the API key for which a signature was made is still active, and still allows the request.

    Raises:
        BadSignature: It isn't or doesn't, or the signature doesn't name a key.
    """
    settings = state.settings
    if not signed.is_named and clock.utc_now().date() > settings.unnamed_signatures_until:
        raise BadSignature(
            f"The signature doesn't name a key; such signatures expired on {settings.unnamed_signatures_until}.", KEY_ID
        )
    if signed.key_id is None:
        return
    basis = basis_of(request.scope)
    basis.watch(signed.key_id, state.library.changes)
    key = await state.key_ring.find(signed.key_id)
    if key is None:
        raise BadSignature("The API key that the signature was made for is no longer active.", KEY_ID)
    if not key.principal.may(SIGNED_METHODS.get(request.method, Scope.ADMIN)):
        raise BadSignature("The API key that the signature was made for no longer allows this.", KEY_ID)
    if key.expires_at is not None:
        basis.ends.append(key.expires_at)


def refuse_query(query: Query, known: tuple[str, ...] = (), detail: str = "Unknown parameter.") -> None:
    """Reject parameters other than the known ones, and repeated ones.

    Raises:
        Problem: 400.
        InvalidParameter: A parameter is repeated.
    """
    for name, value in query:
        if name not in known:
            raise Problem(400, "invalid-parameter", detail, parameter=name, given=value, allowed=list(known))
    refuse_repeated(query)


def transformations_of(request: AnyRequest, state: ServiceState, query: Query) -> RenditionRequest:
    """Return the transformations in a query, including those of its preset, without `download`.

    Args:
        request: The request; its signature, if any, must have been verified.
        state: The application's state.
        query: Query of the request, without its signature.

    Raises:
        InvalidParameter: The preset is unknown, or a parameter is repeated.
        Problem: 403, the request needs a signature.
    """
    refuse_repeated([pair for pair in query if pair[0] == DOWNLOAD])
    refuse_unsigned(request, [name for name, _ in query], state.settings)
    return with_preset([pair for pair in query if pair[0] != DOWNLOAD], state.settings.preset_queries)


def refuse_unsigned(request: AnyRequest, names: list[str], settings: Settings) -> None:
    """Reject transformations other than presets where `PROGIMAGE_TRANSFORMATIONS` is `presets`.

    Signed requests and API keys with the scope `transform` may use any.

    Raises:
        Problem: 403.
    """
    principal = caller_of(request).principal
    may_transform = principal.key_id and principal.may(Scope.TRANSFORM)
    if settings.transformations == "any" or basis_of(request.scope).is_signed or may_transform:
        return
    for name in names:
        if name not in (PRESET, DOWNLOAD):
            raise Problem(
                403, "not-allowed", "Unsigned requests may only use presets.", parameter=name,
                allowed=[PRESET, DOWNLOAD, SIGNATURE, EXPIRES],
            )  # fmt: skip
