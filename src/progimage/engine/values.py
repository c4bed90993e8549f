"""Kinds of parameter values: how each is written in a query, and what is allowed.

A kind parses a text to a value, and writes a value as its one canonical text. `parse` raises ValueError for what is not
allowed; the parameter that it belongs to says so to the client, with the kind's `allowed`.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from tinycss2 import color4

_DECIMAL = re.compile(r"[+-]?(\d{1,10}(\.\d{0,9})?|\.\d{1,9})")
_BARE_HEX = re.compile(r"[0-9a-fA-F]{3,8}")
_SEPARATOR = re.compile(r"[ ,]+")
_PLACES = 4
"""Decimals that a number keeps: a ten-thousandth of a pixel is nothing, and equal requests shall be equal."""


class Kind(Protocol):
    """How the value of a parameter is written."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for; raise ValueError if it is not allowed."""

    def write(self, value: Any) -> str:
        """Return the canonical text of a value."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the text."""


class Length(NamedTuple):
    """A length in pixels, or in percent of what it is measured along."""

    value: float
    percent: bool = False

    def pixels(self, whole: float, scale: float = 1) -> float:
        """Return it in pixels.

        Args:
            whole: What 100 % is, in pixels.
            scale: By what a number of pixels is multiplied.
        """
        return self.value * whole / 100 if self.percent else self.value * scale


class Colour(NamedTuple):
    """A colour in sRGB, each channel 0 to 255; an alpha of 0 is transparent."""

    red: int
    green: int
    blue: int
    alpha: int = 255


@dataclass(frozen=True)
class Number:
    """A decimal number in a range.

    Attributes:
        least: The least that is allowed.
        most: The most that is allowed.
        bare: What the parameter means when it is named without a value, or None: it needs one.
        whole: Only whole numbers are allowed.
        odd: Only odd ones are.
    """

    least: float
    most: float
    bare: float | None = None
    whole: bool = False
    odd: bool = False

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        what = "an odd number" if self.odd else "a whole number" if self.whole else "a number"
        return f"{what} from {_plain(self.least)} to {_plain(self.most)}"

    def parse(self, text: str) -> float:
        """Return the number."""
        if not text and self.bare is not None:
            return self.bare
        value = _decimal(text)
        if self.whole:
            # Not "+1" or "1.0", which would be further spellings of one number.
            if not text.removeprefix("-").isdigit():
                raise ValueError(text)
            value = int(text)
        if not self.least <= value <= self.most or (self.odd and value % 2 == 0):
            raise ValueError(text)
        return value

    def write(self, value: float) -> str:
        """Write it without needless zeros."""
        return _plain(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "integer" if self.whole else "number", "minimum": self.least, "maximum": self.most}


def whole(least: int, most: int, bare: int | None = None, *, odd: bool = False) -> Number:
    """Return the kind of whole numbers in a range."""
    return Number(least, most, bare, whole=True, odd=odd)


@dataclass(frozen=True)
class Flag:
    """Yes or no; a flag that is named without a value is set."""

    allowed = "true or false"

    def parse(self, text: str) -> bool:
        """Return whether it is set."""
        return {"": True, "true": True, "1": True, "false": False, "0": False}.get(text) or _is_false(text)

    def write(self, value: bool) -> str:
        """Write true or false."""
        return "true" if value else "false"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of some words.

    Attributes:
        words: The words.
        synonyms: Other spellings that are customary, with the word that each stands for.
    """

    words: tuple[str, ...]
    synonyms: tuple[tuple[str, str], ...] = ()

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
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
    """A value of another kind, or one of some words.

    Attributes:
        words: The words.
        kind: The other kind.
    """

    words: tuple[str, ...]
    kind: Kind

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"{_listed(self.words)}, or {self.kind.allowed}"

    def parse(self, text: str) -> Any:
        """Return the word or the value."""
        return text if text in self.words else self.kind.parse(text)

    def write(self, value: Any) -> str:
        """Write the word or the value."""
        return value if value in self.words else self.kind.write(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"oneOf": [{"type": "string", "enum": list(self.words)}, self.kind.schema()]}


@dataclass(frozen=True)
class CssColour:
    """A CSS colour in sRGB: a name, hexadecimal digits, `rgb()`, `hsl()` or `hwb()`, with or without alpha."""

    allowed = (
        "a CSS colour: a name such as orange or transparent, hexadecimal digits such as f80 or ff880080 (the # may be"
        " left out), rgb(), hsl() or hwb()"
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
        """Write hexadecimal digits."""
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
        """Write it in its lowest terms."""
        return f"{value.numerator}:{value.denominator}"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": ["16:9"]}


@dataclass(frozen=True)
class Lengths:
    """Some lengths in a row, each in pixels or, with a %, in percent.

    Attributes:
        allowed: What is allowed, in words.
        counts: How many there may be.
        example: One such text.
        negative: They may be less than 0.
        positive: The last two have to be more than 0: they are a width and a height.
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
        """Write them with commas."""
        return ",".join(_plain(length.value) + "%" * length.percent for length in value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": [self.example]}


@dataclass(frozen=True)
class Four:
    """One to four numbers of pixels for the four sides or corners, as CSS has them.

    Attributes:
        names: What the four are, in their order.
        most: The largest number.
    """

    names: str
    most: int

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"one to four numbers from 0 to {self.most}, as in CSS: {self.names}"

    def parse(self, text: str) -> tuple[float, float, float, float]:
        """Return the four numbers."""
        given = [_decimal(part) for part in _SEPARATOR.split(text.strip())]
        if len(given) > 4 or min(given) < 0 or max(given) > self.most:
            raise ValueError(text)
        # CSS: what is left out is as the one across from it.
        first, second = given[0], given[1] if len(given) > 1 else given[0]
        third = given[2] if len(given) > 2 else first
        return first, second, third, given[3] if len(given) > 3 else second

    def write(self, value: tuple[float, float, float, float]) -> str:
        """Write as few numbers as are needed."""
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
"""Where each place is, as fractions of the width from the left and of the height from the top."""
_SYNONYMS = (
    ("center", "centre"),
    ("top", "north"),
    ("bottom", "south"),
    ("left", "west"),
    ("right", "east"),
)


@dataclass(frozen=True)
class Place:
    """A place in a picture: a compass point, a point as fractions, or a way to find the most interesting part.

    Attributes:
        found: The ways to find one.
    """

    found: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"{', '.join((*COMPASS, *self.found))}, or x,y as fractions from 0 to 1"

    def parse(self, text: str) -> str | tuple[float, float]:
        """Return the name of the place or the fractions."""
        word = dict(_SYNONYMS).get(text, text)
        if word in COMPASS or word in self.found:
            return word
        x, y = (_decimal(part) for part in text.split(","))  # ValueError, too, unless there are two
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(text)
        return x, y

    def write(self, value: str | tuple[float, float]) -> str:
        """Write the name or the fractions."""
        return value if isinstance(value, str) else ",".join(map(_plain, value))

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": [*COMPASS, *self.found, "0.3,0.25"]}


@dataclass(frozen=True)
class Words:
    """Some of a set of words, with commas.

    Attributes:
        words: The words.
    """

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"one or more of {', '.join(self.words)}, with commas"

    def parse(self, text: str) -> frozenset[str]:
        """Return the words."""
        given = text.split(",")
        if not set(given) <= set(self.words) or len(set(given)) != len(given):
            raise ValueError(text)
        return frozenset(given)

    def write(self, value: frozenset[str]) -> str:
        """Write them in their own order."""
        return ",".join(word for word in self.words if word in value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": [",".join(self.words[:2])]}


@dataclass(frozen=True)
class Reference:
    """The reference of a stored image."""

    allowed = "the reference of a stored image"

    def parse(self, text: str) -> str:
        """Return the reference."""
        if str(uuid.UUID(text)) != text:
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
    """A text to be drawn.

    Attributes:
        most: How many characters it may have.
    """

    most: int

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"1 to {self.most} characters, none of them a control character but for the newline"

    def parse(self, text: str) -> str:
        """Return the text."""
        if not 0 < len(text) <= self.most or not text.strip():
            raise ValueError(text)
        # Cc: control characters; Cs: halves of surrogate pairs, which are no characters.
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
        return {"type": "string", "minLength": 1, "maxLength": self.most}


def _is_false(text: str) -> bool:
    if text not in ("false", "0"):
        raise ValueError(text)
    return False


def _decimal(text: str) -> float:
    # Not float(): it also takes "1e3", "nan", "1_0" and " 1".
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    return round(float(text), _PLACES) + 0.0  # no -0


def _length(text: str) -> Length:
    return Length(_decimal(text.removesuffix("%")), text.endswith("%"))


def _plain(value: float) -> str:
    text = f"{value:.{_PLACES}f}"
    return text.rstrip("0").rstrip(".")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
