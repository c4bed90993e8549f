"""The only part of an XMP packet that affects pixels: the orientation."""

import re

_NAMESPACE = re.compile(rb"""xmlns:([A-Za-z_][\w.-]{0,30}) ?= ?["']http://ns\.adobe\.com/tiff/1\.0/["']""")
_LONGEST = 1_000_000
"""Maximum number of bytes to search; the rest is ignored."""


def xmp_orientation(xmp: bytes) -> int | None:
    """Return `tiff:Orientation`, 1 to 8, of an XMP packet; None if it is missing or invalid.

    The packet is searched with regular expressions rather than parsed, so that XML entities can't expand. The property
    can be an attribute or an element, in UTF-8, UTF-16 or UTF-32 (ISO 16684-1; XMP specification, part 1, 7 and C.2).
    """
    plain = _without_comments(xmp[:_LONGEST].replace(b"\0", b""))
    bound = _NAMESPACE.search(plain)
    for prefix in {bound[1] if bound else b"tiff", b"tiff"}:
        name = re.escape(prefix) + b":Orientation"
        found = re.search(
            rb"\s" + name + rb"""\s?=\s?["']\s?([1-8])\s?["']|<""" + name + rb"(?:\s[^<>]*)?>\s*([1-8])\s*</", plain
        )
        if found:
            return int(found[1] or found[2])
    return None


def _without_comments(text: bytes) -> bytes:
    parts = text.split(b"<!--")
    return parts[0] + b"".join(part.partition(b"-->")[2] for part in parts[1:])
