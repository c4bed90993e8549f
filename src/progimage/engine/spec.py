"""The spec of a rendition: format, size and operations as one frozen value with one canonical string."""

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
from progimage.engine.transformations import added, beside_added
from progimage.engine.values import Choice, Flag, Number, OrWord, Words, whole

MAX_STAGES = 16
_PLACES = ("Region", "Size", "Turn")
"""Groups of parameters that only move pixels."""
_IN_SRGB_GROUPS, _IN_SRGB = ("Tone", "Watermark"), ("background", "border", "sharpen")
"""Groups and parameters that work on sRGB samples and therefore can't be applied to HDR."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPE = "\\"


@dataclass(frozen=True)
class Stages:
    """The ordered stages of `ops`, such as `rotate:90|width:300;height:200|blur:2`."""

    allowed = (
        f"1 to {MAX_STAGES} stages separated by |, each with one or more name:value separated by ;, such as"
        " rotate:90|width:300;height:200|blur:2; escape | and ; in a value with a backslash"
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
        """Return the canonical text of the stages, without parameters at their defaults."""
        return "|".join(";".join(f"{name}:{_escaped(text)}" for name, text in written(stage)) for stage in value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"type": "string", "examples": ["rotate:90|width:300;height:200|blur:2"]}


@dataclass(frozen=True)
@beside_added
class RenditionSpec(Operations):
    """The complete description of a rendition.

    It adds the parameters for source, pipeline and output to those of `Operations`.

    Attributes:
        format: Name of the output format, a key of `FORMATS`.
    """

    format: str

    # Source
    page: int | None = parameter(
        whole(1, 100_000),
        "Number of the single page or frame to use, from 1. Without it, all frames or pages are kept if the format can"
        " hold them; otherwise the first is used.",
        "Source", aliases=("frame",),
    )  # fmt: skip
    dpi: float = parameter(
        Number(1, 2400), "Resolution that sets the natural size of a drawing (SVG); 96 gives the size in browsers.",
        "Source", unit="dots per inch", default=96,
    )  # fmt: skip
    autorotate: bool = parameter(
        Flag(),
        "Turn the image upright according to its EXIF orientation before everything else. Rotations by the container"
        " (AVIF, HEIC, JPEG XL) are always applied.",
        "Source",
        default=True,
    )
    # Pipeline
    ops: tuple[Operations, ...] | None = parameter(
        Stages(),
        "Operations in a custom order, as a list of stages. Each stage applies its operations in the usual order, and"
        " the next stage continues with the result. Can't be combined with other operations on pixels.",
        "Pipeline",
    )
    # Output
    quality: int | str | None = parameter(
        OrWord(("auto",), whole(1, 100)),
        "Quality of lossy compression. `auto` chooses the lowest quality at which hardly anybody sees a difference."
        " Without it, each format uses its own default.",
        "Output", aliases=("q",), feature="quality",
    )  # fmt: skip
    lossless: bool = parameter(Flag(), "Compress without loss.", "Output", default=False, feature="lossless")
    effort: int | None = parameter(
        whole(1, 9), "How hard the encoder tries to make the file small; 1 is fastest.", "Output", feature="effort"
    )
    progressive: bool | None = parameter(
        Flag(),
        "Encode so that a coarse image appears while the file loads. Without it, JPEGs of up to one megapixel are"
        " progressive, since that saves 3 % of their bytes.",
        "Output", aliases=("interlace",), feature="progressive",
    )  # fmt: skip
    palette: int | None = parameter(
        whole(2, 256, 256), "Reduce the image to a palette of this many colours.", "Output", unit="colours",
        feature="palette",
    )  # fmt: skip
    chroma: str | None = parameter(
        Choice(("4:2:0", "4:4:4"), (("420", "4:2:0"), ("444", "4:4:4"))),
        "Chroma subsampling: store colour at half (4:2:0) or full (4:4:4) resolution.", "Output", feature="chroma",
    )  # fmt: skip
    depth: str | None = parameter(
        Choice(("8", "10", "16")), "Bits per channel.", "Output", unit="bits", feature="depth"
    )
    strip: bool = parameter(
        Flag(), "Remove all metadata, including the colour profile; colours are converted to sRGB.", "Output",
        default=False,
    )  # fmt: skip
    keep: frozenset[str] = parameter(
        Words(("exif", "icc", "xmp")), "Metadata to keep.", "Output", default=frozenset({"icc"})
    )
    profile: str = parameter(
        Choice(("keep", "srgb", "p3")),
        "Colour space: the image's own, sRGB, or Display P3 (with its profile).", "Output", default="keep",
    )  # fmt: skip
    hdr: str = parameter(
        Choice(("sdr", "keep")),
        "How to render HDR (PQ, HLG and linear floating point): `sdr` tone-maps it for standard displays, with"
        " reference white (203 cd/m²) as white; `keep` leaves it HDR, with at least 10 bits. The default is `sdr`"
        " because viewers without HDR support show HDR as grey, and a URL should look the same in every format.",
        "Output", default="sdr",
    )  # fmt: skip
    max_bytes: int | None = parameter(
        whole(100, 1_000_000_000), "Maximum file size: uses the highest quality that fits, up to `quality`.",
        "Output", unit="bytes", feature="quality",
    )  # fmt: skip

    @classmethod
    def parse(
        cls, format: str, query: Iterable[tuple[str, str]] = (), *, drop_unfit: bool | Container[str] = False
    ) -> Self:
        """Parse query parameters to a spec.

        >>> spec = RenditionSpec.parse("WEBP", [("w", "300"), ("quality", "80")])
        >>> spec.width
        300
        >>> spec.canonical()
        'WEBP?width=300&quality=80'

        Args:
            format: Name of a format that can be written.
            query: Names and values, in any order.
            drop_unfit: Which output parameters to ignore if the format doesn't support them: all (True), those with
                these names, or none. Use it for formats or parameters that the caller didn't choose.

        Raises:
            InvalidParameter: A parameter is unknown, given twice, has an invalid value, doesn't apply to the format,
                or contradicts another.
        """
        return cls.of(format, parse(cls, query), drop_unfit=drop_unfit)

    @classmethod
    def of(cls, format: str, values: dict[str, Any], *, drop_unfit: bool | Container[str] = False) -> Self:
        """Return the spec with parsed parameters: names and values, as `parameters.parse` returns them.

        The other arguments and the errors are those of `parse`.
        """
        row = FORMATS[format]
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
        """Return the spec for a canonical string."""
        format, _, query = text.partition("?")
        return cls.parse(format, parse_qsl(query, keep_blank_values=True))

    def canonical(self) -> str:
        """Return the canonical string of this spec. Equal specs have equal strings.

        It consists of the format and a query: ``PNG?width=300&page=2``.
        """
        return self._canonical

    @cached_property
    def _canonical(self) -> str:
        query = query_string(written(self))
        return f"{self.format}?{query}" if query else self.format

    @property
    def stages(self) -> tuple[Operations, ...]:
        """The operations in the order of their application; a single stage if there is no `ops`."""
        return self.ops or (self,)

    @property
    def kept(self) -> frozenset[str]:
        """The kinds of metadata to keep."""
        return frozenset() if self.strip else self.keep

    def references(self) -> dict[str, str]:
        """Return the references of the other images that the spec needs, by parameter name."""
        if self.ops is None:
            return super().references()
        return {
            f"ops {number}: {name}": reference
            for number, stage in enumerate(self.ops, 1)
            for name, reference in stage.references().items()
        }


def changes_pixels(operations: Operations) -> bool:
    """Return whether any operation differs from its default."""
    return any(getattr(operations, one.name) != one.default for one in declared(Operations))


def keeps_gain_map(spec: RenditionSpec) -> bool:
    """Return whether a rendition keeps the gain map of the original, if there is one.

    It does if the format can hold a gain map, the operations only move pixels, and the spec sets no option that the
    gain map encoder doesn't support.
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
    """Return the canonical name of a parameter for a name or alias. Unknown names are returned unchanged."""
    known = by_name(RenditionSpec).get(name)
    return known.name if known else name


def _unfit(name: str, value: Any, format: Format) -> str | None:
    """Return the allowed values if an output parameter doesn't apply to a format; None if it applies."""
    feature = by_name(RenditionSpec)[name].feature
    if name == "keep":
        held = [kind for kind in ("exif", "icc", "xmp") if kind in format.keeps]
        return None if value <= set(held) else f"metadata that {format.name} holds: {', '.join(held) or 'none'}"
    if name == "profile" and value == "p3" and not format.icc:
        return f"keep or srgb, because {format.name} can't hold a colour profile"
    if name == "hdr" and value == "keep" and not format.cicp:
        holding = sorted(other.name for other in FORMATS.values() if other.cicp)
        return f"sdr for {format.name}; keep is available for {', '.join(holding)}"
    if name == "depth":
        depths = format.depths
        return None if int(value) in depths else f"{' or '.join(map(str, depths))} for {format.name}"
    if name == "quality" and value == "auto" and format.has(name) and not format.can_read:
        return f"1 to 100 for {format.name}; auto needs a format that can also be read"
    if feature is None or value is False or format.has(feature):
        return None
    having = sorted(other.name for other in FORMATS.values() if other.can_write and other.has(feature))
    return f"only for {', '.join(having)}, not for {format.name}"


def _check_shape(operations: Operations) -> None:
    if operations.aspect and operations.width and operations.height:
        ratio = f"{operations.aspect.numerator}:{operations.aspect.denominator}"
        raise InvalidParameter("aspect", ratio, "with at most one of width and height")
    if operations.gravity == "face" and not DETECTOR:
        allowed = by_name(Operations)["gravity"].kind.allowed.replace(", face", "")
        why = f"this server has no face detector; its operator can add one by installing {EXTRA}"
        raise InvalidParameter("gravity", "face", f"{allowed}; {why}")


def _check_together(spec: RenditionSpec, given: dict[str, Any]) -> None:
    if spec.strip and "keep" in given:
        raise InvalidParameter("keep", ",".join(sorted(spec.keep)), "only without strip")
    if spec.profile == "p3" and "icc" not in spec.kept:
        raise InvalidParameter(
            "profile", "p3", "only if the colour profile is kept: with icc in keep, and without strip"
        )
    if spec.hdr == "keep":
        _check_hdr(spec)
    if spec.lossless:
        for name in ("quality", "max_bytes"):
            if name in given:
                raise InvalidParameter(name, str(given[name]), "only without lossless")
    if spec.ops:
        operations = {field.name for field in fields(Operations)}
        for name in given:
            if name in operations:
                text = by_name(RenditionSpec)[name].kind.write(given[name])
                raise InvalidParameter(name, text, "only without ops; with ops, make it part of a stage")


def _check_hdr(spec: RenditionSpec) -> None:
    if spec.profile != "keep" or spec.strip or spec.depth == "8":
        name = "strip" if spec.strip else "depth" if spec.depth == "8" else "profile"
        raise InvalidParameter("hdr", "keep", f"only sdr together with {name}, which produces SDR")
    for stage in spec.stages:
        for one in declared(Operations):
            if getattr(stage, one.name) != one.default and (one.group in _IN_SRGB_GROUPS or one.name in _IN_SRGB):
                raise InvalidParameter("hdr", "keep", f"only sdr together with {one.name}, which works in SDR")


def _split(text: str, separator: str) -> list[str]:
    """Split at each separator that isn't escaped by a backslash, and keep the backslashes."""
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
    """Return whether a rendition can have transparent pixels.

    Args:
        spec: Spec of the rendition.
        transparent: Whether the original has transparent pixels.
    """
    for stage in spec.stages:
        canvas = stage.fit == "contain" and (stage.aspect or (stage.width and stage.height))
        space = (canvas or stage.extend) and stage.extend_mode == "background"
        transparent = bool(transparent or space or stage.rotate % 90 or stage.radius or stage.mask)
        if stage.background and stage.background.alpha == 255:
            transparent = False
        elif stage.border and stage.border_color.alpha < 255:
            transparent = True
        transparent = transparent or any(one.transparent and one.is_wanted(stage) for one in added())
    return transparent
