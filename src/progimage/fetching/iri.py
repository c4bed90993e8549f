"""URLs as people and servers write them, with letters of any script, as the ASCII that HTTP takes."""

from urllib.parse import quote, urlsplit, urlunsplit

import idna

_KEPT = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is beside letters, digits, -, . and _: the reserved characters of RFC 3986, and the percent sign."""


def to_uri(text: str) -> str:
    """Return the URI of an IRI (RFC 3987, section 3.1); what is one already stays as it is.

    Letters of other scripts and spaces are percent-encoded as UTF-8, in a host name by IDNA 2008 (UTS 46).

    Args:
        text: The IRI. It may be no URL at all, which is then for others to say.

    Raises:
        ValueError: The host can't be a name.
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
            raise ValueError(f"{name} is no host name: {error}") from error
    path, query, fragment = (quote(part, safe=_KEPT) for part in (parts.path, parts.query, parts.fragment))
    return urlunsplit((parts.scheme, place, path, query, fragment))


def decoded(header: bytes) -> str:
    """Return the text of a header field that should be ASCII, but may be UTF-8, or else Latin-1."""
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")
