"""Rules for web pages: which origins may use the service, and which responses their scripts may read (CORS).

A browser sends requests on behalf of any page, from the user's network and with stored credentials. It says where they
come from in `Origin` and `Sec-Fetch-Site`, which pages can't set; other clients send neither.
"""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.config.cors import CORSConfig

from progimage.auth import SIGNATURE
from progimage.problems import Problem

Headers = list[tuple[bytes, bytes]]

TICKET = "ticket"
"""The parameter with an upload ticket, which allows uploads from any page."""
_PUBLIC = "progimage.public"
_FOREIGN = "progimage.foreign"
_READS = frozenset(("GET", "HEAD"))
_OWN_SITES = frozenset((b"same-origin", b"none"))
"""Values of `Sec-Fetch-Site` for our own pages, and for the address bar or a bookmark."""
_OPEN_PATHS = frozenset(("/", "/docs", "/docs/", "/formats", "/parameters", "/healthz", "/readyz"))
_OPEN_FOLDERS = ("/storage/", "/iiif/", "/docs/", "/page/")
_IMAGE_FOLDERS = ("/storage/", "/iiif/")
_METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")
_EXPOSED = (b"access-control-expose-headers", b"Content-Disposition, Content-Range, ETag, X-Request-ID")
_PUBLIC_HEADERS: Headers = [(b"access-control-allow-origin", b"*"), _EXPOSED]
"""The same for every origin, and without one, so that a response cached for one page is right for all."""
_PREFLIGHT = {"access-control-allow-methods": ", ".join(_METHODS), "access-control-max-age": "600"}
_PUBLIC_PREFLIGHT = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, HEAD",
    "access-control-allow-headers": "accept, cache-control, if-match, if-modified-since, if-none-match, if-range,"
    " if-unmodified-since, range, x-request-id",
    "access-control-max-age": "600",
}
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class Browsers:
    """The rules for web pages.

    Args:
        origins: Origins whose pages may use the whole service, such as `https://a.example`; `*` matches any part, and
            alone any origin.
        public_url: The service's public URL, if set; its origin counts as the service's own.
    """

    def __init__(self, origins: list[str], public_url: str | None) -> None:
        self._cors = CORSConfig(allow_origins=origins)
        self._some = bool(origins) and not self._cors.is_allow_all_origins
        self._own = _origin_of(public_url) if public_url else None

    def refusal(
        self, scope: Any, host: bytes | None, origin: bytes | None, site: bytes | None, *, bearer: bool
    ) -> Problem | None:
        """Return why a browser's request is refused; None: it isn't.

        Args:
            scope: ASGI scope of the request; records whether a page of another origin sent it.
            host: Value of `Host`.
            origin: Value of `Origin`.
            site: Value of `Sec-Fetch-Site`.
            bearer: Whether it has a valid key as bearer token, which browsers never add by themselves.
        """
        if bearer or not self._is_foreign(host, origin, site):
            return None
        scope[_FOREIGN] = True
        if scope["method"] == "OPTIONS" or is_public_read(scope["method"], scope["path"]) or _carries_right(scope):
            return None
        parameter, given = ("Origin", origin) if origin is not None else ("Sec-Fetch-Site", site)
        return _not_this_origin(parameter, given or b"")

    def preflight(self, scope: Any, origin: bytes) -> dict[str, str]:
        """Return the headers of the response to a CORS preflight.

        For pages of listed origins, they complement those of `response_headers`.

        Raises:
            Problem: 403, the page may not send the request.
        """
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self._is_listed(origin):
            wanted = asked.get(b"access-control-request-headers")
            return _PREFLIGHT | ({"access-control-allow-headers": wanted} if wanted else {})
        if asked[b"access-control-request-method"] in _READS and _is_below(scope["path"], _IMAGE_FOLDERS):
            return _PUBLIC_PREFLIGHT
        raise _not_this_origin("Origin", origin)

    def response_headers(self, scope: Any, origin: bytes | None) -> Headers:
        """Return the headers by which a response says which pages' scripts may read it."""
        if scope.get(_PUBLIC) and scope["method"] in _READS:
            return _PUBLIC_HEADERS
        varies = [(b"vary", b"Origin")] if self._some else []
        if origin is None or not self._is_listed(origin):
            return varies
        allowed = b"*" if self._cors.is_allow_all_origins else origin
        return [(b"access-control-allow-origin", allowed), _EXPOSED, *varies]

    def _is_listed(self, origin: bytes) -> bool:
        return bool(origin) and self._cors.is_origin_allowed(origin.decode("latin-1"))

    def _is_foreign(self, host: bytes | None, origin: bytes | None, site: bytes | None) -> bool:
        """Return whether a page of an origin that is neither the service's own nor listed sent a request."""
        if origin == b"null":
            return True  # a sandboxed page, a file or a redirect: from anywhere
        if site in _OWN_SITES:
            return False
        if origin is None:
            return site is not None and not self._cors.is_allow_all_origins
        if origin.lower() == self._own or self._is_listed(origin):
            return False
        # Old browsers, and any browser without TLS, don't send the site. The scheme is ignored: a proxy may terminate
        # TLS.
        return site is not None or not _is_of_host(origin, host)


def note_visibility(scope: Any, *, public: bool) -> None:
    """Record whether an image in a response is public; the response is public if all of its images are."""
    scope[_PUBLIC] = scope.get(_PUBLIC, True) and public


def is_public(scope: Any) -> bool:
    """Return whether a response is public, so that scripts of any page may read it."""
    return bool(scope.get(_PUBLIC))


def is_foreign(scope: Any) -> bool:
    """Return whether a request comes from a page of a foreign origin, without a key as bearer token."""
    return bool(scope.get(_FOREIGN))


def is_public_read(method: str, path: str) -> bool:
    """Return whether a request only reads an image, or something that is the same for all callers."""
    return method in _READS and (path in _OPEN_PATHS or _is_below(path, _OPEN_FOLDERS))


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path.startswith(folder) and path[len(folder) :].strip("/") for folder in folders)


def _carries_right(scope: Any) -> bool:
    """Return whether a request has a signature or a ticket, at a path that verifies it."""
    method, (first, *rest) = scope["method"], scope["path"].strip("/").split("/")
    if first != "storage":
        return False
    query = Request[Any, Any, Any](scope).query_params
    if method == "DELETE":
        return SIGNATURE in query
    return (method == "PUT" or (method == "POST" and not rest)) and TICKET in query


def _origin_of(url: str) -> bytes:
    """Return the origin of a URL as browsers write it, without a default port."""
    parts = urlsplit(url.lower())
    authority = parts.netloc.encode().removesuffix(_DEFAULT_PORTS.get(parts.scheme.encode(), b""))
    return parts.scheme.encode() + b"://" + authority


def _is_of_host(origin: bytes, host: bytes | None) -> bool:
    scheme, _, authority = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme, b"")
    return host is not None and authority.removesuffix(port) == host.lower().removesuffix(port)


def _not_this_origin(parameter: str, given: bytes) -> Problem:
    return Problem(
        403, "cross-origin", "Pages of other origins may only read public images.", parameter=parameter,
        given=given[:200].decode("latin-1"), allowed="the service's own origin, an origin in PROGIMAGE_CORS_ORIGINS,"
        " or a request with a signature, a ticket, or an API key as bearer token",
    )  # fmt: skip
