"""Options of uploads and filters of lists, parsed from names and values."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from progimage import clock
from progimage.auth import Visibility
from progimage.engine import FORMATS, InvalidParameter
from progimage.images.library import UploadOptions
from progimage.images.requests import each_once
from progimage.storage import ImageFilter

Pairs = Iterable[tuple[str, str]]

DAMAGED = "damaged"
UPLOAD_OPTIONS = ("visibility", "expires", "label", "metadata", DAMAGED)
FILTERS = ("owner", "format", "sha256", "min_bytes", "max_bytes", "after", "before", "label", "deleted")
_LONGEST_LABEL, _MOST_LABELS = 100, 50
_LARGEST_METADATA = 4096
LONGEST_SECONDS = 100 * 366 * 24 * 3600
"""The longest time in a request, in seconds: about 100 years."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([0-9]{1,10})([smhdw]?)")
_ISO_DURATION = re.compile(
    r"P(?:(\d{1,4})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,10})S)?)?", re.ASCII
)
_DAMAGED = ("refuse", "accept")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATE = "a date such as 2027-01-31 or 2027-01-31T12:00:00Z"
_EXPIRES = f"{_DATE}, or a duration such as 30d, 12h, 90 (seconds) or P30D, that ends within 100 years"


def upload_options(pairs: Pairs) -> UploadOptions:
    """Parse the options of an upload.

    Args:
        pairs: Names and values; `label` may be repeated.

    Raises:
        InvalidParameter: A value is invalid, or another name is repeated.
    """
    options, labels = UploadOptions(), []
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
    """Parse a visibility.

    Raises:
        InvalidParameter: The value is invalid.
    """
    try:
        return Visibility(text)
    except ValueError:
        raise _invalid("visibility", text, ", ".join(Visibility)) from None


def damaged(text: str) -> bool:
    """Return whether to accept an image that has lost pixels.

    Raises:
        InvalidParameter: The value is invalid.
    """
    if text not in _DAMAGED:
        raise _invalid(DAMAGED, text, " or ".join(_DAMAGED))
    return text == "accept"


def asked_damaged(pairs: Pairs) -> bool:
    """Return whether a query asks to accept an image that has lost pixels.

    Raises:
        InvalidParameter: The value is invalid.
    """
    return any(damaged(value) for name, value in pairs if name == DAMAGED)


def expiry(text: str, name: str = "expires") -> float:
    """Parse a date, or a duration from now, and return it as a Unix timestamp.

    Raises:
        InvalidParameter: The value is neither, or in the past.
    """
    now = clock.now()
    lifetime = _seconds(text)
    at = now + lifetime if lifetime is not None else date(name, text, _EXPIRES)
    if not now < at <= now + LONGEST_SECONDS:
        raise _invalid(name, text, _EXPIRES)
    return at


def checked_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels sorted and without duplicates.

    Raises:
        InvalidParameter: The value is invalid.
    """
    kept = tuple(sorted(set(labels)))
    for label in kept:
        if not 0 < len(label) <= _LONGEST_LABEL or not label.isprintable() or label != label.strip():
            raise _invalid("label", label, f"1 to {_LONGEST_LABEL} printable characters")
    if len(kept) > _MOST_LABELS:
        raise _invalid("label", f"{len(kept)} labels", f"at most {_MOST_LABELS} labels")
    return kept


def metadata(values: Any) -> dict[str, str]:
    """Validate the metadata of an image.

    Raises:
        InvalidParameter: The value is invalid.
    """
    allowed = f"a JSON object of strings, at most {_LARGEST_METADATA} bytes"
    try:
        found: dict[str, str] = msgspec.convert(values, dict[str, str])
    except msgspec.ValidationError as error:
        raise _invalid("metadata", str(error), allowed) from None
    if len(msgspec.json.encode(found)) > _LARGEST_METADATA:
        raise _invalid("metadata", f"{len(msgspec.json.encode(found))} bytes", allowed)
    return found


def image_filter(pairs: Pairs) -> ImageFilter:
    """Parse the filters of a list of images.

    Raises:
        InvalidParameter: The value is invalid.
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
    """Parse a date, and return it as a Unix timestamp.

    Raises:
        InvalidParameter: The value is invalid.
    """
    try:
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _invalid(name, text, allowed) from None


def flag(name: str, text: str) -> bool:
    """Parse a flag; an empty value is true.

    Raises:
        InvalidParameter: The value is invalid.
    """
    if text.lower() not in ("", "true", "false", "1", "0"):
        raise _invalid(name, text, "true or false")
    return text.lower() not in ("false", "0")


def whole_number(name: str, text: str, minimum: int, maximum: int) -> int:
    """Parse an integer.

    Raises:
        InvalidParameter: The value is invalid.
    """
    if text.isascii() and text.isdigit() and len(text) < 20 and minimum <= int(text) <= maximum:
        return int(text)
    raise _invalid(name, text, f"a whole number from {minimum} to {maximum}")


def check_range(name: str, given: int, minimum: int, maximum: int) -> None:
    """Reject a number in a JSON body that is out of range.

    Raises:
        InvalidParameter: The number is out of range.
    """
    if not minimum <= given <= maximum:
        raise InvalidParameter(name, str(given), f"{minimum} to {maximum}")


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
        raise _invalid("metadata", text, "a JSON object of strings") from None


def _invalid(name: str, given: str, allowed: str) -> InvalidParameter:
    return InvalidParameter(name, given[:100], allowed)
