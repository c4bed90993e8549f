"""Conversion of internationalized URLs (IRIs) to the ASCII that HTTP needs."""

from urllib.parse import quote, urlsplit, urlunsplit

import idna

_KEPT = "!#$%&'()*+,/:;=?@[]~"
"""Unchanged characters besides letters, digits, -, . and _: the reserved ones of RFC 3986, and the percent sign."""


def to_uri(text: str) -> str:
    """Return the URI of an IRI (RFC 3987, section 3.1); a URI is returned unchanged.

    Spaces and non-ASCII characters are percent-encoded as UTF-8; host names are encoded by IDNA 2008 (UTS 46).

    Args:
        text: The IRI; whether it is a valid URL is not checked.

    Raises:
        ValueError: The host name is invalid.
    """
    if text.isascii() and " " not in text:
        return text
    parts = urlsplit(text)
    place = parts.netloc
    if not place.isascii():
        user, at, host = place.rpartition("@")
        name, colon, port = host.partition(":")
        try:
            place = user + at + idna.encode(name, uts46=True).decode() + colon + port
        except idna.IDNAError as error:
            raise ValueError(f"{name} is not a host name: {error}") from error
    path, query, fragment = (quote(part, safe=_KEPT) for part in (parts.path, parts.query, parts.fragment))
    return urlunsplit((parts.scheme, place, path, query, fragment))


def decoded(header: bytes) -> str:
    """Decode a header field that should be ASCII, but can be UTF-8 or Latin-1."""
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")
