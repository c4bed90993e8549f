"""Parsing a drawing to elements, without any references to outside the document."""

import re
import zlib
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser, tostring

from progimage.engine.errors import CorruptImage, LimitExceeded, NotAnImage

SVG = "{http://www.w3.org/2000/svg}"
HREFS = "href", "{http://www.w3.org/1999/xlink}href"
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
_MOST_BYTES = 64 * 1024 * 1024
"""Maximum size of a document after decompression."""
_MOST_ELEMENTS, _DEEPEST = 200_000, 400
_LONG = 64 * 1024
"""Number of first bytes that are allowed to contain nothing but a comment or an instruction."""
_OPENING = re.compile(r"[\s>]*(<!--|<\?)")
# References to IDs in the same document, and data URIs.
_OWN_HREF = re.compile(r"\s*(#|data:)", re.IGNORECASE)


def is_gzip(head: bytes) -> bool:
    """Return whether a file starts like gzip."""
    return head.startswith(_GZIP)


def begins_as_svg(head: bytes) -> bool:
    """Return whether a file is markup, in UTF-8 or UTF-16, with an SVG element near its beginning."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head.decode("utf-16", "ignore")
    else:
        text = head.decode("utf-8-sig", "ignore")
    if not text.lstrip().startswith("<"):
        return False
    return re.search(r"<(\w+:)?svg[\s/>]", text) is not None or (len(head) >= _LONG and _prolog_goes_on(text))


def _prolog_goes_on(text: str) -> bool:
    """Return whether a text ends inside a comment or an instruction before the root element."""
    at = 0
    while found := _OPENING.match(text, at):
        end = text.find("-->" if found[1] == "<!--" else "?>", found.end())
        if end < 0:
            return True
        at = end + 2
    return False


def inflated(data: bytes, maximum: int = _MOST_BYTES, *, whole: bool = True) -> bytes:
    """Decompress a gzip file.

    Args:
        data: The file, or its first bytes.
        maximum: Maximum decompressed size in bytes.
        whole: Whether the file has to be complete. Otherwise the available part is returned.

    Raises:
        CorruptImage: The data is invalid.
        LimitExceeded: The decompressed data exceeds `maximum`.
    """
    inflating = zlib.decompressobj(_GZIP_WINDOW)
    try:
        found = inflating.decompress(data, maximum)
    except zlib.error as error:
        raise CorruptImage(f"The compressed drawing is invalid: {error}.") from None
    if whole and inflating.unconsumed_tail:
        raise LimitExceeded("bytes after decompression", maximum + 1, maximum)
    if whole and not inflating.eof:
        raise CorruptImage("The compressed drawing is truncated.")
    return found


class _Bounded(TreeBuilder):
    """Builds the tree of a document as long as it stays within the limits."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._elements = self._characters = 0

    def start(self, tag: Any, attrs: Any, /) -> Any:
        self._depth += 1
        self._elements += 1
        if self._depth > _DEEPEST:
            raise LimitExceeded("levels of nested elements", self._depth, _DEEPEST)
        if self._elements > _MOST_ELEMENTS:
            raise LimitExceeded("elements", self._elements, _MOST_ELEMENTS)
        self._count(sum(map(len, attrs.values())))
        return super().start(tag, attrs)

    def data(self, data: Any, /) -> Any:
        self._count(len(data))
        return super().data(data)

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > _MOST_BYTES:
            raise LimitExceeded("characters after entities are expanded", self._characters, _MOST_BYTES)

    def end(self, tag: Any, /) -> Any:
        self._depth -= 1
        return super().end(tag)


def parse(data: bytes) -> Element:
    """Return the root of a drawing without references to outside the document; see `read`."""
    root = read(data)
    for element in root.iter():
        for name in list(outside(element)):
            del element.attrib[name]
    return root


def read(data: bytes) -> Element:
    """Return the root of a drawing.

    Entities that the document declares are expanded. Nothing is loaded.

    Args:
        data: The document in any encoding that XML allows; it can be compressed.

    Raises:
        NotAnImage: The file is XML, but not SVG.
        CorruptImage: The document isn't well-formed.
        LimitExceeded: The document exceeds a limit.
    """
    parser = XMLParser(target=_Bounded())  # noqa: S314  (nothing is loaded, and what entities make is bounded)
    try:
        parser.feed((inflated(data) if is_gzip(data) else data).lstrip())
        root: Element = parser.close()
    except (ParseError, LookupError, ValueError) as error:
        raise CorruptImage(f"The SVG can't be read: {error}.") from None
    if root.tag == "svg":  # without its namespace
        _add_namespace(root)
    if root.tag != f"{SVG}svg":
        raise NotAnImage("The file is XML, but not SVG.")
    return root


def _add_namespace(root: Element) -> None:
    for element in root.iter():
        if isinstance(element.tag, str) and not element.tag.startswith("{"):
            element.tag = f"{SVG}{element.tag}"


def outside(element: Element) -> Iterator[str]:
    """Yield the attributes that refer to something outside the document."""
    for name in HREFS:
        target = element.get(name)
        if target and not _OWN_HREF.match(target):
            yield name


def local_name(element: Element) -> str:
    """Return the local name of an SVG element; "" for other elements."""
    return element.tag.removeprefix(SVG) if element.tag.startswith(SVG) else ""


def written(root: Element) -> str:
    """Return a drawing as XML text."""
    return tostring(root, encoding="unicode")
