"""What a request may do, and which images it may see."""

from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.datastructures import State

from progimage.auth import Client, Scope, Visibility
from progimage.engine import InvalidParameter, RenditionSpec
from progimage.http.middleware.cors import note_visibility
from progimage.http.middleware.guard import CHALLENGE, CLIENT
from progimage.images.library import ImageLibrary
from progimage.problems import Problem
from progimage.storage import Record, UnknownReference

AnyRequest = Request[Any, Any, Any]


def client_of(request: AnyRequest) -> Client:
    """Return who sent a request."""
    client: Client = request.scope[CLIENT]  # type: ignore[literal-required]
    return client


def require(request: AnyRequest, scope: Scope) -> Client:
    """Return who sent a request, if that may do what has a scope.

    Raises:
        Problem: 401, there is no key, or 403, it does not have the scope.
    """
    client = client_of(request)
    if client.principal.may(scope):
        return client
    if client.principal.key_id is None:
        raise Problem(
            401, "key-needed", "This needs an API key.", parameter="Authorization",
            allowed=f"an API key with the scope {scope}", headers={"www-authenticate": CHALLENGE},
        )  # fmt: skip
    raise Problem(
        403, "scope-missing", "The API key does not allow this.", parameter="Authorization",
        given=", ".join(sorted(client.principal.scopes)), allowed=f"an API key with the scope {scope}",
    )  # fmt: skip


def visibility_of(state: State, record: Record) -> Visibility:
    """Return who may read an image."""
    usual: Visibility = state.settings.visibility
    return record.visibility or usual


async def readable(request: AnyRequest, state: State, reference: str, *, signed: bool = False) -> Record:
    """Return the record of an image that a request may read.

    Args:
        request: The request.
        state: Of the application.
        reference: Of the image.
        signed: The request has a valid signature.

    Raises:
        UnknownReference: There is none, or the request may not know of it.
    """
    library: ImageLibrary = state.library
    record = await library.get(reference)
    visibility = visibility_of(state, record)
    note_visibility(request.scope, public=visibility is Visibility.PUBLIC)
    if client_of(request).principal.reads(record.owner, visibility) or (signed and visibility is Visibility.SIGNED):
        return record
    raise UnknownReference(reference)


async def owned(request: AnyRequest, state: State, reference: str, *, deleted: bool = False) -> Record:
    """Return the record of an image for whose owner a request may act.

    Raises:
        UnknownReference: There is none, or it is another's.
    """
    library: ImageLibrary = state.library
    record = await (library.deleted(reference) if deleted else library.get(reference))
    if not client_of(request).principal.owns(record.owner):
        raise UnknownReference(reference)
    return record


@dataclass(frozen=True, slots=True)
class OtherImage:
    """Another image in a rendition, such as a watermark.

    Attributes:
        record: Of it.
        of_preset: It is there because the operator's preset says so, whoever may read it by itself.
    """

    record: Record
    of_preset: bool


async def other_images(
    request: AnyRequest, state: State, spec: RenditionSpec, of_preset: frozenset[str], *, signed: bool
) -> tuple[OtherImage, ...]:
    """Return the other images in a rendition, if a request may see all of them.

    Args:
        request: The request.
        state: Of the application.
        spec: What is to be rendered.
        of_preset: The parameters that came from a preset: what they refer to, the operator wants to be seen.
        signed: The request has a valid signature.

    Raises:
        InvalidParameter: There is no such image, or the request may not know of it.
    """
    library: ImageLibrary = state.library
    found = []
    for parameter, reference in spec.references().items():
        by_preset = parameter.partition(" ")[0] in of_preset
        try:
            if by_preset:
                record = await library.get(reference)
            else:
                record = await readable(request, state, reference, signed=signed)
        except UnknownReference:
            raise InvalidParameter(parameter, reference, "the reference of a stored image") from None
        found.append(OtherImage(record, by_preset))
    return tuple(found)
