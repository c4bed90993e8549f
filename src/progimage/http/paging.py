"""Paging of lists: a page ends with a cursor where the next one starts, even if items were added in between."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar.params import Parameter

from progimage.engine import InvalidParameter
from progimage.images.options import whole_number

CURSOR, LIMIT = "cursor", "limit"
MAX_LISTED = 1000
DEFAULT_LISTED = 100
CURSOR_PARAMETER = Annotated[
    str | None, Parameter(query=CURSOR, description="Where the page starts: `next` of the previous page.")
]
LIMIT_PARAMETER = Annotated[
    str | None,
    Parameter(query=LIMIT, description=f"Maximum number of items, 1 to {MAX_LISTED}. Default: {DEFAULT_LISTED}."),
]

_Item = TypeVar("_Item")
_Place = TypeVar("_Place", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class Page(Generic[_Place]):
    """The page of a list that a request asks for.

    Attributes:
        limit: Maximum number of items to return.
        after: Sort key of the last item of the previous page; None: this is the first page.
    """

    limit: int
    after: _Place | None

    @classmethod
    def asked_for(cls, limit: str | None, cursor: str | None, place: Any) -> "Page[_Place]":
        """Return the page that the query parameters select.

        Args:
            limit: Value of `limit`.
            cursor: Value of `cursor`.
            place: Type of the items' sort key.

        Raises:
            InvalidParameter: A value is invalid.
        """
        count = DEFAULT_LISTED if limit is None else whole_number(LIMIT, limit, 1, MAX_LISTED)
        return cls(count, None if cursor is None else _read(cursor, place))

    def cut(self, found: Sequence[_Item], place: Callable[[_Item], _Place]) -> tuple[Sequence[_Item], str | None]:
        """Return the items of the page, and the cursor of the next one, if there is one.

        Args:
            found: The items from the start of the page; one more than `limit` if there are more.
            place: Returns the sort key of an item.
        """
        items = found[: self.limit]
        return items, _written(place(items[-1])) if len(found) > self.limit else None


def _written(place: Iterable[float | int | str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(list(place))).decode().rstrip("=")


def _read(cursor: str, place: Any) -> Any:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=place)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise InvalidParameter(CURSOR, cursor[:100], "the value of `next` in a previous response") from None
