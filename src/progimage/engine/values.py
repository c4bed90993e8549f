"""Kinds of parameter values: their syntax in a query and their allowed values.

A kind parses text to a value, and writes a value as its one canonical text. `parse` raises ValueError for invalid text;
`parameters.parse` turns that into an InvalidParameter with the kind's `allowed`.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from tinycss2 import color4

_DECIMAL = re.compile(r"[+-]?(\d{1,10}(\.\d{0,9})?|\.\d{1,9})", re.ASCII)
_BARE_HEX = re.compile(r"[0-9a-fA-F]{3,8}")
_SEPARATOR = re.compile(r"[ ,]+")
_PLACES = 4
"""Decimal places that a number keeps. 0.0001 pixels don't matter, and rounding gives equal requests equal specs."""


class Kind(Protocol):
    """Syntax of a parameter's value."""

    @property
    def allowed(self) -> str:
        """Description of the allowed values, for error messages and documentation."""

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for; raise ValueError if the text is invalid."""

    def write(self, value: Any) -> str:
        """Return the canonical text of a value."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the text."""


class Length(NamedTuple):
    """A length in pixels, or in percent of a reference length such as the width of the image."""

    value: float
    percent: bool = False

    def pixels(self, whole: float, scale: float = 1) -> float:
        """Return the length in pixels.

        Args:
            whole: Length of 100 %, in pixels.
            scale: Factor for lengths in pixels; percentages are not scaled.
        """
        return self.value * whole / 100 if self.percent else self.value * scale


class Colour(NamedTuple):
    """A colour in sRGB, each channel from 0 to 255. An alpha of 0 is transparent."""

    red: int
    green: int
    blue: int
    alpha: int = 255


@dataclass(frozen=True)
class Number:
    """A decimal number in a range.

    Attributes:
        minimum: Smallest allowed value.
        maximum: Largest allowed value.
        bare: Value of a parameter that is named without a value; None if a value is required.
        whole: Whether only whole numbers are allowed.
        odd: Whether only odd numbers are allowed.
    """

    minimum: float
    maximum: float
    bare: float | None = None
    whole: bool = False
    odd: bool = False

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        what = "an odd number" if self.odd else "a whole number" if self.whole else "a number"
        return f"{what} from {_plain(self.minimum)} to {_plain(self.maximum)}"

    def parse(self, text: str) -> float:
        """Return the number."""
        if not text and self.bare is not None:
            return self.bare
        value = _decimal(text)
        if self.whole:
            # "+1" and "1.0" would be alternative spellings of the same number.
            if not (text.isascii() and text.removeprefix("-").isdigit()):
                raise ValueError(text)
            value = int(text)
        if not self.minimum <= value <= self.maximum or (self.odd and value % 2 == 0):
            raise ValueError(text)
        return value

    def write(self, value: float) -> str:
        """Return the number without trailing zeros."""
        return _plain(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "integer" if self.whole else "number", "minimum": self.minimum, "maximum": self.maximum}


def whole(minimum: int, maximum: int, bare: int | None = None, *, odd: bool = False) -> Number:
    """Return a `Number` that allows only whole numbers."""
    return Number(minimum, maximum, bare, whole=True, odd=odd)


@dataclass(frozen=True)
class Flag:
    """A boolean. A flag that is named without a value is true."""

    allowed = "true or false"

    def parse(self, text: str) -> bool:
        """Return whether the flag is set."""
        return {"": True, "true": True, "1": True, "false": False, "0": False}.get(text) or _is_false(text)

    def write(self, value: bool) -> str:
        """Return "true" or "false"."""
        return "true" if value else "false"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of a fixed set of words.

    Attributes:
        words: The allowed words.
        synonyms: Pairs of an alternative spelling and the word that it stands for.
    """

    words: tuple[str, ...]
    synonyms: tuple[tuple[str, str], ...] = ()

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        return _listed(self.words)

    def parse(self, text: str) -> str:
        """Return the word."""
        word = dict(self.synonyms).get(text, text)
        if word not in self.words:
            raise ValueError(text)
        return word

    def write(self, value: str) -> str:
        """Return the word."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "enum": [*self.words, *(synonym for synonym, _ in self.synonyms)]}


@dataclass(frozen=True)
class OrWord:
    """A value of another kind, or one of a fixed set of words.

    Attributes:
        words: The allowed words.
        kind: The other kind.
    """

    words: tuple[str, ...]
    kind: Kind

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        return f"{_listed(self.words)}, or {self.kind.allowed}"

    def parse(self, text: str) -> Any:
        """Return the word or the value."""
        return text if text in self.words else self.kind.parse(text)

    def write(self, value: Any) -> str:
        """Return the word, or the canonical text of the value."""
        return value if value in self.words else self.kind.write(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"oneOf": [{"type": "string", "enum": list(self.words)}, self.kind.schema()]}


@dataclass(frozen=True)
class CssColour:
    """A CSS colour in sRGB: a name, hexadecimal digits, `rgb()`, `hsl()` or `hwb()`, with or without alpha."""

    allowed = (
        "a CSS colour: a name such as orange or transparent, hexadecimal digits such as f80 or ff880080 (with or"
        " without #), rgb(), hsl() or hwb()"
    )

    def parse(self, text: str) -> Colour:
        """Return the colour."""
        parsed = color4.parse_color(f"#{text}" if _BARE_HEX.fullmatch(text) else text)
        if parsed is None or isinstance(parsed, str):  # "currentcolor" is a string
            raise ValueError(text)
        try:
            srgb = parsed.to("srgb")
        except NotImplementedError:  # lab(), color(display-p3 …) and the like
            raise ValueError(text) from None
        return Colour(*(max(0, min(255, round(value * 255))) for value in (*srgb.coordinates, srgb.alpha)))

    def write(self, value: Colour) -> str:
        """Return the hexadecimal digits: 6, or 8 if the colour isn't opaque."""
        digits = bytes(value).hex()
        return digits[:6] if value.alpha == 255 else digits

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "format": "color", "examples": ["orange", "ff880080"]}


@dataclass(frozen=True)
class Ratio:
    """A ratio of width to height."""

    allowed = "a ratio of width to height such as 16:9 or 1.5, from 1:100 to 100:1"

    def parse(self, text: str) -> Fraction:
        """Return the ratio in its lowest terms."""
        parts = [_decimal(part) for part in text.split(":")]
        if len(parts) > 2 or min(parts) <= 0:
            raise ValueError(text)
        ratio = Fraction(str(parts[0])) / Fraction(str(parts[-1] if len(parts) == 2 else 1))
        if not Fraction(1, 100) <= ratio <= 100:
            raise ValueError(text)
        return ratio

    def write(self, value: Fraction) -> str:
        """Return the ratio in its lowest terms."""
        return f"{value.numerator}:{value.denominator}"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": ["16:9"]}


@dataclass(frozen=True)
class Lengths:
    """A list of lengths, each in pixels, or in percent with a %.

    Attributes:
        allowed: Description of the allowed values.
        counts: Allowed numbers of lengths.
        example: Example text.
        negative: Whether lengths below 0 are allowed.
        positive: Whether the last two lengths, a width and a height, must be greater than 0.
    """

    allowed: str
    counts: tuple[int, ...]
    example: str
    negative: bool = False
    positive: bool = False

    def parse(self, text: str) -> tuple[Length, ...]:
        """Return the lengths."""
        lengths = tuple(_length(part) for part in _SEPARATOR.split(text.strip()))
        if len(lengths) not in self.counts:
            raise ValueError(text)
        for length in lengths:
            if abs(length.value) > (1000 if length.percent else 100_000) or (length.value < 0 and not self.negative):
                raise ValueError(text)
        if self.positive and min(lengths[-2:]).value <= 0:
            raise ValueError(text)
        return lengths

    def write(self, value: Sequence[Length]) -> str:
        """Return the lengths separated by commas."""
        return ",".join(_plain(length.value) + "%" * length.percent for length in value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": [self.example]}


@dataclass(frozen=True)
class Four:
    """One to four lengths in pixels for the four sides or corners, with the shorthand rules of CSS.

    Attributes:
        names: Names of the four sides or corners, in order.
        maximum: Largest allowed length.
    """

    names: str
    maximum: int

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        return f"one to four numbers from 0 to {self.maximum}, as in CSS: {self.names}"

    def parse(self, text: str) -> tuple[float, float, float, float]:
        """Return the four numbers."""
        given = [_decimal(part) for part in _SEPARATOR.split(text.strip())]
        if len(given) > 4 or min(given) < 0 or max(given) > self.maximum:
            raise ValueError(text)
        # As in CSS, a missing value equals the one on the opposite side.
        first, second = given[0], given[1] if len(given) > 1 else given[0]
        third = given[2] if len(given) > 2 else first
        return first, second, third, given[3] if len(given) > 3 else second

    def write(self, value: tuple[float, float, float, float]) -> str:
        """Return the shortest equivalent list of numbers."""
        first, second, third, fourth = value
        count = 4 if fourth != second else 3 if third != first else 2 if second != first else 1
        return ",".join(_plain(number) for number in value[:count])

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": ["10", "10,20"]}


COMPASS: dict[str, tuple[float, float]] = {
    "northwest": (0, 0),
    "north": (0.5, 0),
    "northeast": (1, 0),
    "west": (0, 0.5),
    "centre": (0.5, 0.5),
    "east": (1, 0.5),
    "southwest": (0, 1),
    "south": (0.5, 1),
    "southeast": (1, 1),
}
"""Position of each compass point, as fractions of the width from the left and of the height from the top."""
_SYNONYMS = (
    ("center", "centre"),
    ("top", "north"),
    ("bottom", "south"),
    ("left", "west"),
    ("right", "east"),
)


@dataclass(frozen=True)
class Place:
    """A position in an image: a compass point, a point as fractions, or a method that finds the most interesting part.

    Attributes:
        found: Names of the allowed methods.
    """

    found: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        return f"{', '.join((*COMPASS, *self.found))}, or x,y as fractions from 0 to 1"

    def parse(self, text: str) -> str | tuple[float, float]:
        """Return the name or the fractions."""
        word = dict(_SYNONYMS).get(text, text)
        if word in COMPASS or word in self.found:
            return word
        x, y = (_decimal(part) for part in text.split(","))  # raises ValueError unless there are two
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(text)
        return x, y

    def write(self, value: str | tuple[float, float]) -> str:
        """Return the name, or the fractions separated by a comma."""
        return value if isinstance(value, str) else ",".join(map(_plain, value))

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": [*COMPASS, *self.found, "0.3,0.25"]}


@dataclass(frozen=True)
class Words:
    """One or more of a fixed set of words, separated by commas.

    Attributes:
        words: The allowed words.
    """

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        return f"one or more of {', '.join(self.words)}, separated by commas"

    def parse(self, text: str) -> frozenset[str]:
        """Return the words."""
        given = text.split(",")
        if not set(given) <= set(self.words) or len(set(given)) != len(given):
            raise ValueError(text)
        return frozenset(given)

    def write(self, value: frozenset[str]) -> str:
        """Return the words separated by commas, in the order of `words`."""
        return ",".join(word for word in self.words if word in value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": [",".join(self.words[:2])]}


def is_reference(text: str) -> bool:
    """Return whether a text can be the reference of an image: a UUID in its usual form, in lower case.

    >>> is_reference("7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90")
    True
    """
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


@dataclass(frozen=True)
class Reference:
    """The reference of a stored image."""

    allowed = "the reference of a stored image"

    def parse(self, text: str) -> str:
        """Return the reference."""
        if not is_reference(text):
            raise ValueError(text)
        return text

    def write(self, value: str) -> str:
        """Return the reference."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "format": "uuid"}


@dataclass(frozen=True)
class Text:
    """A text to draw.

    Attributes:
        maximum: Maximum number of characters.
    """

    maximum: int

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        return f"1 to {self.maximum} characters, not only white space, and no control characters except newlines"

    def parse(self, text: str) -> str:
        """Return the text."""
        if not 0 < len(text) <= self.maximum or not text.strip():
            raise ValueError(text)
        # Reject control characters (Cc) and unpaired surrogates (Cs), which aren't characters.
        if any((character < " " and character != "\n") or "\x7f" <= character < "\xa0" for character in text):
            raise ValueError(text)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(text)
        return text

    def write(self, value: str) -> str:
        """Return the text."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "minLength": 1, "maxLength": self.maximum}


def _is_false(text: str) -> bool:
    if text not in ("false", "0"):
        raise ValueError(text)
    return False


def _decimal(text: str) -> float:
    # float() alone would also accept "1e3", "nan", "1_0" and " 1".
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    return round(float(text), _PLACES) + 0.0  # turns -0.0 into 0.0


def _length(text: str) -> Length:
    return Length(_decimal(text.removesuffix("%")), text.endswith("%"))


def _plain(value: float) -> str:
    text = f"{value:.{_PLACES}f}"
    return text.rstrip("0").rstrip(".")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
