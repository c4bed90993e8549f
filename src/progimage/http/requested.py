"""From a request to a spec: its signature, its preset, what it may ask for, and the format that suits the client."""

from dataclasses import dataclass

from litestar.datastructures import State

from progimage import clock
from progimage.access import EXPIRES, KEY_ID, SIGNATURE, BadSignature, Scope, Signed, Signer
from progimage.engine import FORMATS, Format, ImageInfo, RenditionSpec, by_extension
from progimage.engine.spec import canonical_name
from progimage.http.guard import KeyRing
from progimage.http.negotiation import suitable_format
from progimage.http.permission import AnyRequest, client_of, readable
from progimage.http.problems import Problem
from progimage.settings import Settings

AUTO = "auto"
"""The extension that leaves the choice of the format to us."""
PRESET, DOWNLOAD = "preset", "download"
_SEVERAL = frozenset(("label", "url"))
"""The parameters of which there may be several."""

KEY_UNTIL = "progimage.key_until"
"""Where a signed request's scope has the Unix time, in seconds, when its signature's API key ends; None: never."""

Query = list[tuple[str, str]]
SIGNED_METHODS = {"GET": Scope.READ, "HEAD": Scope.READ, "DELETE": Scope.DELETE}
"""The methods that an API key may have signed, and the scope that it needs for each."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The transformations that are asked for.

    Attributes:
        query: Their names and values.
        droppable: Which of them came from a preset, so that they are left out for a format that does not have them.
    """

    query: Query
    droppable: frozenset[str] = frozenset()


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


def refuse_repeated(query: Query) -> None:
    """Refuse what is given twice, of which one could be meant; the engine does so itself for transformations."""
    names = set()
    for name, value in query:
        if name in names and name not in _SEVERAL:
            raise Problem(
                400, "invalid-parameter", "It is given twice.", parameter=name, given=value[:100], allowed="once"
            )
        names.add(name)


def transformations_of(request: AnyRequest, state: State, query: Query, *, signed: bool) -> Asked:
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
    return with_preset([pair for pair in query if pair[0] != DOWNLOAD], state.settings)


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


def with_preset(query: Query, settings: Settings) -> Asked:
    """Put a preset's transformations in its place; those that the query names itself stay as they are there.

    Raises:
        Problem: There is no such preset, or there are two.
    """
    presets = [value for name, value in query if name == PRESET]
    if not presets:
        return Asked(query)
    if len(presets) > 1:
        raise Problem(
            400, "invalid-parameter", "There are two presets.", parameter=PRESET, given=presets[1], allowed="one preset"
        )
    own = [pair for pair in query if pair[0] != PRESET]
    overridden = {canonical_name(name) for name, _ in own}
    ready = preset(presets[0], settings)
    kept = [pair for pair in ready.query if canonical_name(pair[0]) not in overridden]
    return Asked([*kept, *own], ready.droppable - overridden)


def preset(name: str, settings: Settings) -> Asked:
    """Return the transformations of a preset.

    Raises:
        Problem: There is no such preset.
    """
    known = settings.preset_queries
    if name not in known:
        raise Problem(
            400, "invalid-parameter", "There is no such preset.", parameter=PRESET, given=name[:100],
            allowed=sorted(known),
        )  # fmt: skip
    return Asked(known[name], frozenset(canonical_name(name) for name, _ in known[name]))


def parsed(extension: str, asked: Asked) -> RenditionSpec:
    """Return the spec of what is asked for in the format of an extension, or for `auto` in any that has alpha.

    Raises:
        Problem: No format that can be written has this extension.
        InvalidParameter: A parameter is wrong.
    """
    if extension == AUTO:
        return RenditionSpec.parse("PNG", asked.query, drop_unfit=True)
    return RenditionSpec.parse(writable(extension).name, asked.query, drop_unfit=asked.droppable)


def spec_of(extension: str, asked: Asked, info: ImageInfo, accept: str, settings: Settings) -> RenditionSpec:
    """Return the spec of an image in the format of an extension, or in the one that suits best for `auto`.

    Args:
        extension: Without the dot.
        asked: The transformations.
        info: What the image is like.
        accept: The request's Accept header.
        settings: Has the formats that are preferred.

    Raises:
        Problem: No format that can be written has this extension.
        InvalidParameter: A parameter is wrong.
    """
    wanted, query = parsed(extension, asked), asked.query
    if extension != AUTO:
        return wanted
    format, lossless = suitable_format(wanted, info, accept, settings.auto_formats)
    chosen = {canonical_name(name) for name, _ in query}
    if lossless and not chosen & {"quality", "max_bytes", "lossless"}:
        query = [*query, ("lossless", "true")]
    return RenditionSpec.parse(format, query, drop_unfit=True)


def extensions() -> list[str]:
    """Return every extension that can be asked for."""
    return [AUTO, *sorted(e for f in FORMATS.values() if f.can_write for e in f.extensions)]


def writable(extension: str) -> Format:
    """Return the format that an extension stands for.

    Raises:
        Problem: There is none, or it can't be written.
    """
    format = by_extension(extension)
    if format and format.can_write:
        return format
    allowed, shown = extensions(), extension[:100]
    if format:
        detail = f"{format.name} can be read, but not written."
        raise Problem(400, "format-not-writable", detail, parameter="extension", given=shown, allowed=allowed)
    detail = "No format has this extension."
    raise Problem(400, "unknown-format", detail, parameter="extension", given=shown, allowed=allowed)
