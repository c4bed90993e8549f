"""The spec of a rendition: what is asked for, as one frozen value with one canonical string."""

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self
from urllib.parse import parse_qsl

from progimage.engine.codecs import FORMATS
from progimage.engine.codecs.format import Format
from progimage.engine.errors import InvalidParameter
from progimage.engine.faces import DETECTOR, EXTRA
from progimage.engine.operations import Operations
from progimage.engine.parameters import by_name, declared, parameter, parse, query_string, written
from progimage.engine.values import Choice, Flag, Number, OrWord, Words, whole

MAX_STAGES = 16
_PLACES = ("Region", "Size", "Turn")
"""What changes the place of pixels only."""
_IN_SRGB_GROUPS, _IN_SRGB = ("Tone", "Watermark"), ("background", "border", "sharpen")
"""What takes samples for those of sRGB, so that it can't be done to HDR."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPE = "\\"


@dataclass(frozen=True)
class Stages:
    """An ordered list of operations, as `ops` has it: `rotate:90|width:300;height:200|blur:2`."""

    allowed = (
        f"1 to {MAX_STAGES} stages with | between them, each one or more name:value with ; between them, such as"
        " rotate:90|width:300;height:200|blur:2; a | or ; in a value has a backslash before it"
    )

    def parse(self, text: str) -> tuple[Operations, ...]:
        """Return the operations of each stage."""
        stages = _split(text, "|")
        if not text or len(stages) > MAX_STAGES:
            raise ValueError(text)
        return tuple(self._stage(number, stage) for number, stage in enumerate(stages, 1))

    def _stage(self, number: int, text: str) -> Operations:
        pairs = []
        for part in _split(text, ";"):
            name, _, value = part.partition(":")
            pairs.append((name, _ESCAPED.sub(r"\1", value)))
        values = parse(Operations, pairs, f"ops {number}: ")
        stage = Operations(**values)
        _check_shape(stage)
        return stage

    def write(self, value: Sequence[Operations]) -> str:
        """Write the stages, without what is at its default."""
        return "|".join(";".join(f"{name}:{_escaped(text)}" for name, text in written(stage)) for stage in value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": ["rotate:90|width:300;height:200|blur:2"]}


@dataclass(frozen=True)
class RenditionSpec(Operations):
    """What a rendition is to be.

    The operations are those of `Operations`; each other parameter has its line here.

    Attributes:
        format: The name of the format that it is written in.
    """

    format: str

    # Source
    page: int | None = parameter(
        whole(1, 100_000),
        "The one page or frame to take, counted from 1. Without it, an animation or several pages are kept where the"
        " format can hold them, and the first is taken where it can't.",
        "Source", aliases=("frame",),
    )  # fmt: skip
    dpi: float = parameter(
        Number(1, 2400), "How large a drawing (SVG) is by itself: at 96 it is as large as in browsers.", "Source",
        unit="dots an inch", default=96,
    )  # fmt: skip
    autorotate: bool = parameter(
        Flag(),
        "Turn the image upright, as its EXIF orientation says, before all else. What the container itself turns (AVIF,"
        " HEIC, JPEG XL) is turned in any case.",
        "Source",
        default=True,
    )
    # Pipeline
    ops: tuple[Operations, ...] | None = parameter(
        Stages(),
        "Operations in an order of your own: each stage goes through the whole order of this page, then the next"
        " begins. No other operation on pixels may stand beside it.",
        "Pipeline",
    )
    # Output
    quality: int | str | None = parameter(
        OrWord(("auto",), whole(1, 100)),
        "How true a lossy format is to the picture. `auto` takes the lowest at which hardly anybody sees a difference."
        " Without it, each format has its own usual value.",
        "Output", aliases=("q",), feature="quality",
    )  # fmt: skip
    lossless: bool = parameter(Flag(), "Keep every pixel as it is.", "Output", default=False, feature="lossless")
    effort: int | None = parameter(
        whole(1, 9), "How hard the encoder tries to make the file small: 1 is the fastest.", "Output", feature="effort"
    )
    progressive: bool | None = parameter(
        Flag(),
        "Write it so that a coarse picture shows while it loads. Without it, a JPEG of up to a megapixel is, since that"
        " saves 3 % of its bytes.",
        "Output", aliases=("interlace",), feature="progressive",
    )  # fmt: skip
    palette: int | None = parameter(
        whole(2, 256, 256), "Reduce to so many colours.", "Output", unit="colours", feature="palette"
    )
    chroma: str | None = parameter(
        Choice(("4:2:0", "4:4:4"), (("420", "4:2:0"), ("444", "4:4:4"))),
        "Whether colour has half the resolution or all of it.", "Output", feature="chroma",
    )  # fmt: skip
    depth: str | None = parameter(Choice(("8", "10", "16")), "Bits a channel.", "Output", unit="bits", feature="depth")
    strip: bool = parameter(
        Flag(), "Leave out all metadata, the colour profile, too: colours are converted to sRGB.", "Output",
        default=False,
    )  # fmt: skip
    keep: frozenset[str] = parameter(
        Words(("exif", "icc", "xmp")), "Which metadata to keep.", "Output", default=frozenset({"icc"})
    )
    profile: str = parameter(
        Choice(("keep", "srgb", "p3")),
        "The colour space: the image's own, sRGB, or Display P3 (with its profile).", "Output", default="keep",
    )  # fmt: skip
    hdr: str = parameter(
        Choice(("sdr", "keep")),
        "What becomes of HDR (PQ, HLG, and light in floats): `sdr` maps it to what every screen shows, where the white"
        " of paper (203 cd/m²) is white; `keep` leaves it HDR, with at least 10 bits. It is `sdr` unless asked for,"
        " since a viewer that does not know HDR shows it grey, and one address should look the same in every format.",
        "Output", default="sdr",
    )  # fmt: skip
    max_bytes: int | None = parameter(
        whole(100, 1_000_000_000), "The largest file to make: takes the highest quality that fits, up to `quality`.",
        "Output", unit="bytes", feature="quality",
    )  # fmt: skip

    @classmethod
    def parse(
        cls, format: str, query: Iterable[tuple[str, str]] = (), *, drop_unfit: bool | Container[str] = False
    ) -> Self:
        """Make the spec that query parameters ask for.

        Args:
            format: The name of a format that can be written.
            query: Names and values, in any order.
            drop_unfit: Leave out parameters of the output that the format does not have: all of them, where the format
                was not the client's choice, or those of these names, which were not.

        Raises:
            InvalidParameter: A parameter is unknown, given twice, out of its range, has nothing to say for this
                format, or contradicts another.
        """
        row = FORMATS[format]
        values = parse(cls, query)
        droppable = drop_unfit if not isinstance(drop_unfit, bool) else values if drop_unfit else ()
        values = {name: v for name, v in values.items() if name not in droppable or not _unfit(name, v, row)}
        for name, value in values.items():
            allowed = _unfit(name, value, row)
            if allowed:
                raise InvalidParameter(name, by_name(RenditionSpec)[name].kind.write(value), allowed)
        spec = cls(row.name, **values)
        _check_shape(spec)
        _check_together(spec, values)
        return spec

    @classmethod
    def from_canonical(cls, text: str) -> Self:
        """Return the spec that a canonical string stands for."""
        format, _, query = text.partition("?")
        return cls.parse(format, parse_qsl(query, keep_blank_values=True))

    def canonical(self) -> str:
        """Return the one string that stands for this spec; equal specs have equal strings.

        It reads as a format and a query: ``PNG?width=300&page=2``.
        """
        return self._canonical

    @cached_property
    def _canonical(self) -> str:
        query = query_string(written(self))
        return f"{self.format}?{query}" if query else self.format

    @property
    def stages(self) -> tuple[Operations, ...]:
        """The operations in the order in which the pixels go through them; one stage if there is no `ops`."""
        return self.ops or (self,)

    @property
    def kept(self) -> frozenset[str]:
        """Which metadata are kept."""
        return frozenset() if self.strip else self.keep

    def references(self) -> dict[str, str]:
        """Return the references of other images that are needed, by the name of the parameter."""
        if self.ops is None:
            return super().references()
        return {
            f"ops {number}: {name}": reference
            for number, stage in enumerate(self.ops, 1)
            for name, reference in stage.references().items()
        }


def changes_pixels(operations: Operations) -> bool:
    """Return whether there is anything to do to the pixels."""
    return any(getattr(operations, one.name) != one.default for one in declared(Operations))


def keeps_gain_map(spec: RenditionSpec) -> bool:
    """Return whether a rendition keeps the gain map of its image, if it has one.

    It does where the format holds one, the place of each pixel is all that changes, and nothing is asked for that the
    encoder of such files leaves no choice of.
    """
    if not FORMATS[spec.format].gain_maps or spec.strip or spec.profile != "keep":
        return False
    if spec.effort or spec.chroma or spec.progressive is not None:
        return False
    return all(
        getattr(stage, one.name) == one.default or one.group in _PLACES
        for stage in spec.stages
        for one in declared(Operations)
    )


def canonical_name(name: str) -> str:
    """Return a parameter's own name for any of its names; an unknown one stays as it is."""
    known = by_name(RenditionSpec).get(name)
    return known.name if known else name


def _unfit(name: str, value: Any, format: Format) -> str | None:
    """Say what would be allowed if a parameter of the output is not for this format; None if it is."""
    feature = by_name(RenditionSpec)[name].feature
    if name == "keep":
        held = [kind for kind in ("exif", "icc", "xmp") if kind in format.keeps]
        return None if value <= set(held) else f"what {format.name} can hold: {', '.join(held) or 'nothing'}"
    if name == "profile" and value == "p3" and not format.icc:
        return f"keep or srgb, since {format.name} holds no colour profile"
    if name == "hdr" and value == "keep" and not format.cicp:
        holding = sorted(other.name for other in FORMATS.values() if other.cicp)
        return f"sdr for {format.name}; keep only for {', '.join(holding)}"
    if name == "depth":
        depths = format.depths
        return None if int(value) in depths else f"{' or '.join(map(str, depths))} for {format.name}"
    if name == "quality" and value == "auto" and format.has(name) and not format.can_read:
        return f"1 to 100 for {format.name}, which can't be read back to be compared"
    if feature is None or value is False or format.has(feature):
        return None
    having = sorted(other.name for other in FORMATS.values() if other.can_write and other.has(feature))
    return f"not for {format.name}; only for {', '.join(having)}"


def _check_shape(operations: Operations) -> None:
    if operations.aspect and operations.width and operations.height:
        ratio = f"{operations.aspect.numerator}:{operations.aspect.denominator}"
        raise InvalidParameter("aspect", ratio, "only with width or height or neither, not with both")
    if operations.gravity == "face" and not DETECTOR:
        allowed = by_name(Operations)["gravity"].kind.allowed.replace(", face", "")
        why = f"this server has no face detector for face, which its operator adds by installing {EXTRA}"
        raise InvalidParameter("gravity", "face", f"{allowed}; {why}")


def _check_together(spec: RenditionSpec, given: dict[str, Any]) -> None:
    if spec.strip and "keep" in given:
        raise InvalidParameter("keep", ",".join(sorted(spec.keep)), "not together with strip")
    if spec.profile == "p3" and "icc" not in spec.kept:
        raise InvalidParameter("profile", "p3", "only where the colour profile is kept, without strip")
    if spec.hdr == "keep":
        _check_hdr(spec)
    if spec.lossless:
        for name in ("quality", "max_bytes"):
            if name in given:
                raise InvalidParameter(name, str(given[name]), "not together with lossless")
    if spec.ops:
        operations = {field.name for field in fields(Operations)}
        for name in given:
            if name in operations:
                text = by_name(RenditionSpec)[name].kind.write(given[name])
                raise InvalidParameter(name, text, "not beside ops: make it one of its stages")


def _check_hdr(spec: RenditionSpec) -> None:
    if spec.profile != "keep" or spec.strip or spec.depth == "8":
        name = "strip" if spec.strip else "depth" if spec.depth == "8" else "profile"
        raise InvalidParameter("hdr", "keep", f"sdr together with {name}, which makes SDR of it")
    for stage in spec.stages:
        for one in declared(Operations):
            if getattr(stage, one.name) != one.default and (one.group in _IN_SRGB_GROUPS or one.name in _IN_SRGB):
                raise InvalidParameter("hdr", "keep", f"sdr together with {one.name}, which works in SDR")


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that has no backslash before it; the backslashes stay."""
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] == _ESCAPE:
            position += 1
        elif text[position] == separator:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _escaped(text: str) -> str:
    return re.sub(r"([|;\\])", r"\\\1", text)


def may_be_transparent(spec: RenditionSpec, transparent: bool) -> bool:
    """Return whether a rendition may have transparent pixels.

    Args:
        spec: What is asked for.
        transparent: The original has some.
    """
    for stage in spec.stages:
        canvas = stage.fit == "contain" and (stage.aspect or (stage.width and stage.height))
        space = (canvas or stage.extend) and stage.extend_mode == "background"
        transparent = bool(transparent or space or stage.rotate % 90 or stage.radius or stage.mask)
        if stage.background and stage.background.alpha == 255:
            transparent = False
        elif stage.border and stage.border_color.alpha < 255:
            transparent = True
    return transparent
