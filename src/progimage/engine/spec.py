"""The spec of a rendition: what is asked for, as one frozen value with one canonical string."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from progimage.engine.errors import InvalidParameter
from progimage.engine.formats import FORMATS

MAX_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class RenditionSpec:
    """What a rendition is to be.

    Attributes:
        format: The name of the format that it is written in.
        page: The one page or frame to take, counted from 1, or None: an animation or several pages are kept where
            the format can hold them, and the first is taken where it can't.
    """

    format: str
    page: int | None = None

    @classmethod
    def parse(cls, format: str, query: Sequence[tuple[str, str]] = ()) -> Self:
        """Make the spec that query parameters ask for.

        Args:
            format: The name of a format that can be written.
            query: Names and values, in any order.

        Raises:
            InvalidParameter: A parameter is unknown, given twice, or out of its range.
        """
        given: dict[str, int] = {}
        for name, value in query:
            if name != "page":
                raise InvalidParameter(name, value, "the only parameters here are page and download")
            if name in given:
                raise InvalidParameter(name, value, "a parameter is given once")
            given[name] = _whole_number(name, value, 1, MAX_PAGE)
        return cls(FORMATS[format].name, **given)

    def canonical(self) -> str:
        """Return the one string that stands for this spec; equal specs have equal strings.

        It reads as an extension and a query: ``PNG?page=2``.
        """
        return self.format if self.page is None else f"{self.format}?page={self.page}"


def _whole_number(name: str, value: str, least: int, most: int) -> int:
    # Not int(): it also takes "+1", " 1" and "1_0", which would be further spellings of one spec.
    if value.isascii() and value.isdigit() and len(value) <= 9 and least <= int(value) <= most:
        return int(value)
    raise InvalidParameter(name, value, f"a whole number from {least} to {most}")
