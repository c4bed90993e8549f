"""What an upload says of its images, and what a list of images is narrowed to: names and values, read from text."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from progimage import clock
from progimage.auth import Visibility
from progimage.engine import FORMATS, InvalidParameter
from progimage.images.library import Options
from progimage.images.requests import each_once
from progimage.storage import ImageFilter

Pairs = Iterable[tuple[str, str]]

DAMAGED = "damaged"
UPLOAD_OPTIONS = ("visibility", "expires", "label", "metadata", DAMAGED)
FILTERS = ("owner", "format", "sha256", "min_bytes", "max_bytes", "after", "before", "label", "deleted")
CURSOR, LIMIT = "cursor", "limit"
MOST_LISTED, USUALLY_LISTED = 1000, 100
"""How many items a page of a list may have, and has if nothing is asked for."""
_LONGEST_LABEL, _MOST_LABELS = 100, 50
_LARGEST_METADATA = 4096
_LONGEST_LIFE = 100 * 366 * 24 * 3600
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([0-9]{1,10})([smhdw]?)")
_ISO_DURATION = re.compile(
    r"P(?:(\d{1,4})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,10})S)?)?", re.ASCII
)
_DAMAGED = ("refuse", "accept")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATE = "a date such as 2027-01-31 or 2027-01-31T12:00:00Z"
_EXPIRES = f"{_DATE}, or a duration such as 30d, 12h, 90 (seconds) or P30D, that ends within 100 years"


def upload_options(pairs: Pairs) -> Options:
    """Read the options of an upload.

    Args:
        pairs: Their names and values; `label` may be there several times.

    Raises:
        InvalidParameter: It can't be used.
    """
    options, labels = Options(), []
    for name, value in each_once(pairs):
        if name == "visibility":
            options = replace(options, visibility=visibility(value))
        elif name == "expires":
            options = replace(options, expires_at=expiry(value))
        elif name == "metadata":
            options = replace(options, metadata=metadata(_json(value)))
        elif name == DAMAGED:
            options = replace(options, damaged=damaged(value))
        else:
            labels.append(value)
    return replace(options, labels=checked_labels(labels))


def visibility(text: str) -> Visibility:
    """Read who may read an image.

    Raises:
        InvalidParameter: It can't be used.
    """
    try:
        return Visibility(text)
    except ValueError:
        raise _invalid("visibility", text, ", ".join(Visibility)) from None


def damaged(text: str) -> bool:
    """Read whether an image that has lost pixels is accepted.

    Raises:
        InvalidParameter: It can't be used.
    """
    if text not in _DAMAGED:
        raise _invalid(DAMAGED, text, " or ".join(_DAMAGED))
    return text == "accept"


def asked_damaged(pairs: Pairs) -> bool:
    """Return whether a query says that an image that has lost pixels is accepted.

    Raises:
        InvalidParameter: It can't be used.
    """
    return any(damaged(value) for name, value in pairs if name == DAMAGED)


def expiry(text: str, name: str = "expires") -> float:
    """Read a date or a duration from now, and return when that is, in seconds since 1970.

    Raises:
        InvalidParameter: It is neither, or is over.
    """
    now = clock.now()
    lifetime = _seconds(text)
    at = now + lifetime if lifetime is not None else date(name, text, _EXPIRES)
    if not now < at <= now + _LONGEST_LIFE:
        raise _invalid(name, text, _EXPIRES)
    return at


def checked_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels in order, each once.

    Raises:
        InvalidParameter: It can't be used.
    """
    kept = tuple(sorted(set(labels)))
    for label in kept:
        if not 0 < len(label) <= _LONGEST_LABEL or not label.isprintable() or label != label.strip():
            raise _invalid("label", label, f"1 to {_LONGEST_LABEL} characters that can be printed")
    if len(kept) > _MOST_LABELS:
        raise _invalid("label", f"{len(kept)} labels", f"at most {_MOST_LABELS} labels")
    return kept


def metadata(values: Any) -> dict[str, str]:
    """Check names and values that a client keeps with an image.

    Raises:
        InvalidParameter: It can't be used.
    """
    allowed = f"a JSON object of names and texts, of {_LARGEST_METADATA} bytes at most"
    try:
        found: dict[str, str] = msgspec.convert(values, dict[str, str])
    except msgspec.ValidationError as error:
        raise _invalid("metadata", str(error), allowed) from None
    if len(msgspec.json.encode(found)) > _LARGEST_METADATA:
        raise _invalid("metadata", "more", allowed)
    return found


def image_filter(pairs: Pairs) -> ImageFilter:
    """Read which images are to be listed.

    Raises:
        InvalidParameter: It can't be used.
    """
    values: dict[str, Any] = {}
    labels = []
    for name, value in each_once(pairs):
        if name == "label":
            labels.append(value)
        elif name in ("min_bytes", "max_bytes"):
            values[name] = whole_number(name, value, 0, 2**62)
        elif name in ("after", "before"):
            values[name] = date(name, value)
        elif name == "deleted":
            values[name] = flag(name, value)
        elif name == "format":
            if value.upper() not in FORMATS:
                raise _invalid(name, value, ", ".join(FORMATS))
            values[name] = value.upper()
        elif name == "sha256":
            if not _SHA256.fullmatch(value):
                raise _invalid(name, value, "64 hexadecimal digits in lower case")
            values[name] = value
        else:
            values[name] = value
    return ImageFilter(**values, labels=checked_labels(labels))


def date(name: str, text: str, allowed: str = _DATE) -> float:
    """Read a date, and return it in seconds since 1970.

    Raises:
        InvalidParameter: It can't be used.
    """
    try:
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _invalid(name, text, allowed) from None


def flag(name: str, text: str) -> bool:
    """Read a flag; it needs no value.

    Raises:
        InvalidParameter: It can't be used.
    """
    if text.lower() not in ("", "true", "false", "1", "0"):
        raise _invalid(name, text, "true or false")
    return text.lower() not in ("false", "0")


def whole_number(name: str, text: str, least: int, most: int) -> int:
    """Read a whole number.

    Raises:
        InvalidParameter: It can't be used.
    """
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise _invalid(name, text, f"a whole number from {least} to {most}")


def check_range(name: str, given: int, least: int, most: int) -> None:
    """Refuse a number of a JSON body that is out of its range.

    Raises:
        InvalidParameter: It is.
    """
    if not least <= given <= most:
        raise InvalidParameter(name, str(given), f"{least} to {most}")


def page(pairs: Pairs) -> tuple[int, str | None]:
    """Read which page of a list is wanted: how many items, and where the page before ended.

    Raises:
        InvalidParameter: It can't be used.
    """
    given = dict(pairs)
    most = whole_number(LIMIT, given[LIMIT], 1, MOST_LISTED) if LIMIT in given else USUALLY_LISTED
    return most, given.get(CURSOR)


def cursor_of(parts: Iterable[float | int | str]) -> str:
    """Return where a page of a list ends, as text that only we need to understand."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(parts))).decode().rstrip("=")


def read_cursor(text: str, kind: Any) -> Any:
    """Return what a cursor was made of.

    Raises:
        InvalidParameter: It can't be used.
    """
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise _invalid("cursor", text, "the `next` of another answer") from None


def _seconds(text: str) -> int | None:
    plain = _DURATION.fullmatch(text)
    if plain:
        return int(plain[1]) * _UNITS[plain[2] or "s"]
    iso = _ISO_DURATION.fullmatch(text)
    if iso and any(iso.groups()):
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
        return weeks * _UNITS["w"] + days * _UNITS["d"] + hours * 3600 + minutes * 60 + seconds
    return None


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise _invalid("metadata", text, "a JSON object of names and texts") from None


def _invalid(name: str, given: str, allowed: str) -> InvalidParameter:
    return InvalidParameter(name, given[:100], allowed)
