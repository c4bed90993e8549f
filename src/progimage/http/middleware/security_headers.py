"""Headers that tell browsers what a response may do: content security policies, MIME sniffing, referrers."""

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

ALWAYS: Headers = [(b"cross-origin-resource-policy", b"cross-origin")]
"""On every response: other sites may embed images."""
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_DOCUMENTS = (b"application/json", b"application/problem", b"text/")
_POLICY = b"content-security-policy"
_DOCUMENT_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_PAGE = "/"
_PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOCS = "/docs"
_DOCS_POLICY = (
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    b" font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


def security_headers(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers to add to a response.

    Args:
        path: Path of the request.
        headers: Headers of the response so far; its own policy and `X-Content-Type-Options` are kept.
    """
    present = dict(headers)
    added = [*ALWAYS]
    if b"x-content-type-options" not in present:
        added.append(_NO_SNIFFING)
    if present.get(b"content-type", b"").startswith(_DOCUMENTS) and _POLICY not in present:
        added += [_NO_REFERRER, (_POLICY, _policy(path))]
    return added


def _policy(path: str) -> bytes:
    if path == _PAGE:
        return _PAGE_POLICY
    return _DOCS_POLICY if path.startswith(_DOCS) else _DOCUMENT_POLICY
