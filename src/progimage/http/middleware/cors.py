"""What web pages may do: which origins may use the service, and which answers their scripts may read (CORS).

A browser sends requests for any page, with what the user's machine can reach and with the credentials that it keeps. It
says so in `Origin` and `Sec-Fetch-Site`, which no page can write; other clients send neither.
"""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.config.cors import CORSConfig

from progimage.auth import SIGNATURE
from progimage.problems import Problem

Headers = list[tuple[bytes, bytes]]

TICKET = "ticket"
"""The parameter by which whoever has a ticket may upload, from any page."""
_PUBLIC = "progimage.public"
_FOREIGN = "progimage.foreign"
_READS = frozenset(("GET", "HEAD"))
_OWN_SITES = frozenset((b"same-origin", b"none"))
"""Values of `Sec-Fetch-Site`: a page of ours, or the user, by the address bar or a bookmark."""
_OPEN_PATHS = frozenset(("/", "/docs", "/docs/", "/formats", "/parameters", "/healthz", "/readyz"))
_OPEN_FOLDERS = ("/storage/", "/iiif/", "/docs/", "/page/")
_IMAGE_FOLDERS = ("/storage/", "/iiif/")
_METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")
_EXPOSED = (b"access-control-expose-headers", b"Content-Disposition, Content-Range, ETag, X-Request-ID")
_PUBLIC_HEADERS: Headers = [(b"access-control-allow-origin", b"*"), _EXPOSED]
"""Whatever the origin, and also without one: what is cached for one page is right for all."""
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
    """Knows which pages may do what.

    Args:
        origins: The origins of other sites whose pages may use all of the service, such as `https://a.example`, with
            `*` for any part; `*` is all.
        public_url: Where clients reach the service, if that is set: its origin is the service's own.
    """

    def __init__(self, origins: list[str], public_url: str | None) -> None:
        """Note the origins."""
        self._cors = CORSConfig(allow_origins=origins)
        self._some = bool(origins) and not self._cors.is_allow_all_origins
        self._own = _origin_of(public_url) if public_url else None

    def refusal(
        self, scope: Any, host: bytes | None, origin: bytes | None, site: bytes | None, *, bearer: bool
    ) -> Problem | None:
        """Return why the request of a browser is refused, or None: it is not.

        Args:
            scope: Of the request; it is noted there whether a page of another origin sent it.
            host: Its `Host`.
            origin: Its `Origin`.
            site: Its `Sec-Fetch-Site`.
            bearer: It has a valid key as bearer token, which no browser adds by itself.
        """
        if bearer or not self._is_foreign(host, origin, site):
            return None
        scope[_FOREIGN] = True
        if scope["method"] == "OPTIONS" or is_public_read(scope["method"], scope["path"]) or _carries_right(scope):
            return None
        parameter, given = ("Origin", origin) if origin is not None else ("Sec-Fetch-Site", site)
        return _not_this_origin(parameter, given or b"")

    def preflight(self, scope: Any, origin: bytes) -> dict[str, str]:
        """Return what the answer says to a browser that asks what a page may send (a CORS preflight).

        For a listed page it says so beside what `answer_headers` has.

        Raises:
            Problem: 403, the page may not send it.
        """
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self._is_listed(origin):
            wanted = asked.get(b"access-control-request-headers")
            return _PREFLIGHT | ({"access-control-allow-headers": wanted} if wanted else {})
        if asked[b"access-control-request-method"] in _READS and _is_below(scope["path"], _IMAGE_FOLDERS):
            return _PUBLIC_PREFLIGHT
        raise _not_this_origin("Origin", origin)

    def answer_headers(self, scope: Any, origin: bytes | None) -> Headers:
        """Return what an answer says of the pages whose scripts may read it."""
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
        """Return whether a page that is neither the service's own nor a listed one sent a request."""
        if origin == b"null":
            return True  # a sandboxed page, a file, a redirect: it could be anybody's
        if site in _OWN_SITES:
            return False
        if origin is None:
            return site is not None and not self._cors.is_allow_all_origins
        if origin.lower() == self._own or self._is_listed(origin):
            return False
        # An old browser, or a service without TLS, does not say the site. The scheme is left out of account: a proxy
        # may speak TLS for us.
        return site is not None or not _is_of_host(origin, host)


def note_visibility(scope: Any, *, public: bool) -> None:
    """Note whether anybody may have an image that is in the answer to a request; it has to be so of all of them."""
    scope[_PUBLIC] = scope.get(_PUBLIC, True) and public


def is_public(scope: Any) -> bool:
    """Return whether the answer to a request has what anybody may have, so that scripts of any page may read it."""
    return bool(scope.get(_PUBLIC))


def is_foreign(scope: Any) -> bool:
    """Return whether a page sent a request that is neither the service's own, nor a listed one, nor has a key."""
    return bool(scope.get(_FOREIGN))


def is_public_read(method: str, path: str) -> bool:
    """Return whether a request changes nothing and lists nothing: it reads an image, or what is the same for all."""
    return method in _READS and (path in _OPEN_PATHS or _is_below(path, _OPEN_FOLDERS))


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path.startswith(folder) and path[len(folder) :].strip("/") for folder in folders)


def _carries_right(scope: Any) -> bool:
    """Return whether a request has a signature or a ticket, at a path that refuses it if that is not valid."""
    method, (first, *rest) = scope["method"], scope["path"].strip("/").split("/")
    if first != "storage":
        return False
    query = Request[Any, Any, Any](scope).query_params
    if method == "DELETE":
        return SIGNATURE in query
    return (method == "PUT" or (method == "POST" and not rest)) and TICKET in query


def _origin_of(url: str) -> bytes:
    """Return the origin of a URL as browsers write it, without a usual port."""
    parts = urlsplit(url.lower())
    authority = parts.netloc.encode().removesuffix(_DEFAULT_PORTS.get(parts.scheme.encode(), b""))
    return parts.scheme.encode() + b"://" + authority


def _is_of_host(origin: bytes, host: bytes | None) -> bool:
    scheme, _, authority = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme, b"")
    return host is not None and authority.removesuffix(port) == host.lower().removesuffix(port)


def _not_this_origin(parameter: str, given: bytes) -> Problem:
    return Problem(
        403, "cross-origin", "Pages of other origins may read public images, and no more.", parameter=parameter,
        given=given[:200].decode("latin-1"), allowed="the service's own origin, one of PROGIMAGE_CORS_ORIGINS, or a"
        " request with a signature, a ticket, or a key as bearer token",
    )  # fmt: skip
