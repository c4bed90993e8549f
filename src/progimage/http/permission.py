"""Permissions: the caller of a request, what it may do, and which images it may read."""

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from progimage.auth import Caller, Scope, Visibility
from progimage.engine import InvalidParameter, RenditionSpec
from progimage.http.basis import ImageInResponse, basis_of
from progimage.http.middleware.authentication import CALLER, CHALLENGE
from progimage.http.middleware.cors import note_visibility
from progimage.http.state import ServiceState
from progimage.problems import Problem
from progimage.storage import Record, UnknownReference

AnyRequest = Request[Any, Any, Any]
AnyConnection = ASGIConnection[Any, Any, Any, Any]


def caller_of(request: AnyConnection) -> Caller:
    """Return the caller of a request."""
    caller: Caller = request.scope[CALLER]  # type: ignore[literal-required]
    return caller


def requires(scope: Scope) -> Guard:
    """Return a guard that rejects callers without a scope: 401 without an API key, otherwise 403."""

    async def guard(connection: AnyConnection, _: BaseRouteHandler) -> None:  # Litestar runs others in a thread
        require(connection, scope)

    return guard


def require(request: AnyConnection, scope: Scope) -> Caller:
    """Return the caller of a request, if it has a scope.

    Raises:
        Problem: 401 without an API key; 403 with one that doesn't have the scope.
    """
    caller = caller_of(request)
    if caller.principal.may(scope):
        return caller
    if caller.principal.key_id is None:
        raise Problem(
            401, "key-needed", "This request needs an API key.", parameter="Authorization",
            allowed=f"an API key with the scope {scope}", headers={"www-authenticate": CHALLENGE},
        )  # fmt: skip
    raise Problem(
        403, "scope-missing", f"The API key doesn't have the scope {scope}.", parameter="Authorization",
        given=", ".join(sorted(caller.principal.scopes)), allowed=f"an API key with the scope {scope}",
    )  # fmt: skip


async def readable(request: AnyRequest, state: ServiceState, reference: str, parameter: str | None = None) -> Record:
    """Return the record of an image that a request may read.

    Args:
        request: The request; its signature, if any, must have been verified.
        state: The application's state.
        reference: Reference of the image.
        parameter: The parameter that names the image; None: the path names it.

    Raises:
        UnknownReference: There is no such image, or the caller may not read it.
    """
    basis = basis_of(request.scope)
    basis.watch(reference, state.library.changes)
    record = await state.library.get(reference)
    visibility = record.visibility or state.settings.visibility
    note_visibility(request.scope, public=visibility is Visibility.PUBLIC)
    by_signature = basis.is_signed and visibility is Visibility.SIGNED
    if not by_signature and not caller_of(request).principal.reads(record.owner, visibility):
        raise UnknownReference(reference)
    basis.add(ImageInResponse(record, visibility, parameter))
    return record


async def owned(request: AnyRequest, state: ServiceState, reference: str, *, deleted: bool = False) -> Record:
    """Return the record of an image that belongs to the caller's owner.

    Raises:
        UnknownReference: There is no such image, or it belongs to another owner.
    """
    record = await (state.library.deleted(reference) if deleted else state.library.get(reference))
    if not caller_of(request).principal.owns(record.owner):
        raise UnknownReference(reference)
    return record


async def check_other_images(
    request: AnyRequest, state: ServiceState, spec: RenditionSpec, from_preset: frozenset[str] = frozenset()
) -> None:
    """Check that a request may read every other image in a rendition, such as a watermark.

    Args:
        request: The request; its signature, if any, must have been verified.
        state: The application's state.
        spec: The spec of the rendition.
        from_preset: Parameters from a preset; the operator decides who may see their images.

    Raises:
        InvalidParameter: There is no such image, or the caller may not read it.
    """
    for parameter, reference in spec.references().items():
        try:
            if parameter.partition(" ")[0] in from_preset:
                await _of_preset(request, state, parameter, reference)
            else:
                await readable(request, state, reference, parameter)
        except UnknownReference:
            raise _unknown_image(parameter, reference) from None


async def check_readable_again(request: AnyRequest, state: ServiceState) -> None:
    """Check again that a request may read the images in its response, since rendering took a while.

    Raises:
        UnknownReference: The image is gone, or the caller may no longer read it.
        InvalidParameter: The same for another image in the response.
    """
    for reference, image in list(basis_of(request.scope).images.items()):
        try:
            if image.visibility is None:
                await state.library.get(reference)
            else:
                await readable(request, state, reference, image.parameter)
        except UnknownReference:
            if image.parameter is None:
                raise
            raise _unknown_image(image.parameter, reference) from None


async def _of_preset(request: AnyRequest, state: ServiceState, parameter: str, reference: str) -> None:
    basis = basis_of(request.scope)
    basis.watch(reference, state.library.changes)
    basis.add(ImageInResponse(await state.library.get(reference), None, parameter))


def _unknown_image(parameter: str, reference: str) -> InvalidParameter:
    return InvalidParameter(parameter, reference, "the reference of a stored image")
