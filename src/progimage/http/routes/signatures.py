"""The route that signs requests."""

from urllib.parse import parse_qsl, unquote, urlsplit

from litestar import Response, post

from progimage import clock
from progimage.auth import EXPIRES, KEY_ID, SIGNATURE, Signer
from progimage.http.bodies import SMALL_BODY
from progimage.http.params import SIGNED_METHODS, transformations_of
from progimage.http.permission import AnyRequest, check_other_images, owned, require
from progimage.http.state import ServiceState
from progimage.images.options import LONGEST_SECONDS, check_range
from progimage.images.requests import ImageName, Query, parsed
from progimage.problems import Problem
from progimage.schemas import SignatureWanted, SignedDocument, date_text, problems

_ROOT = "/storage/"


@post(
    "/sign",
    tags=["access"],
    summary="Sign a request",
    description="Returns a signed URL. Anyone who has it can make exactly this request without an API key: read an"
    " image of the key's owner, or delete it. It is valid for `expires_in` seconds (null, for GET only: indefinitely),"
    " or until the key is revoked.",
    responses=problems(400, 401, 403, 404, 503),
    status_code=200,
    request_max_body_size=SMALL_BODY,
)
async def sign(request: AnyRequest, state: ServiceState, data: SignatureWanted) -> Response[SignedDocument]:
    """Return a signed URL."""
    method = data.method.upper()
    if method not in SIGNED_METHODS:
        raise Problem(
            400, "invalid-parameter", "This method can't be signed.", parameter="method", given=data.method[:100],
            allowed=list(SIGNED_METHODS),
        )  # fmt: skip
    caller = require(request, SIGNED_METHODS[method])
    if data.expires_in is not None:
        check_range("expires_in", data.expires_in, 1, LONGEST_SECONDS)
    elif method == "DELETE":
        raise Problem(
            400, "invalid-parameter", "A signed DELETE must expire.", parameter="expires_in", given="null",
            allowed=f"1 to {LONGEST_SECONDS}",
        )  # fmt: skip
    signer = signer_of(state)
    path, query = await _own_image(request, state, data.url)
    until = int(clock.now()) + data.expires_in if data.expires_in is not None else None
    url = signer.sign(path, query, until, method, caller.principal.key_id)
    return Response(SignedDocument(url, date_text(until)), headers={"cache-control": "no-store"}, status_code=200)


def signer_of(state: ServiceState) -> Signer:
    """Return the signer of requests and tickets.

    Raises:
        Problem: 403, no signing key is configured.
    """
    if not state.signer.can_sign:
        raise Problem(403, "no-signing-key", "This deployment can't sign: PROGIMAGE_SIGNING_KEYS is empty.")
    return state.signer


async def _own_image(request: AnyRequest, state: ServiceState, url: str) -> tuple[str, Query]:
    """Return the path and query of an image's URL, if the image belongs to the caller's owner.

    Raises:
        Problem: 400, the URL isn't that of an image, or is already signed.
        UnknownReference: There is no such image, or it belongs to another owner.
        InvalidParameter: The same for another image in it, such as a watermark.
    """
    parts = urlsplit(url)
    path, query = unquote(parts.path), parse_qsl(parts.query, keep_blank_values=True)
    for parameter, value in query:
        if parameter in (SIGNATURE, EXPIRES, KEY_ID):
            raise Problem(
                400, "invalid-parameter", f"The URL already has the parameter `{parameter}`.", parameter="url",
                given=value[:100], allowed="a URL without a signature",
            )  # fmt: skip
    name = ImageName.parse(path.removeprefix(_ROOT).partition("/")[0])
    if not path.startswith(_ROOT) or not name.reference:
        raise Problem(
            400, "invalid-parameter", "Not the URL of an image.", parameter="url", given=url[:200],
            allowed="/storage/{reference}…",
        )  # fmt: skip
    await owned(request, state, name.reference)
    if name.extension is not None:
        asked = transformations_of(request, state, query)
        await check_other_images(request, state, parsed(name.extension, asked), asked.droppable)
    return path, query
