"""What a task will cost, in seconds of CPU time, reckoned from what a header says and from what is asked for.

A cost is a sum: megapixels that go through each kind of work, times what a megapixel of it was measured to take. The
weights are measured by `make costs` and kept in cost_weights.json; they are those of one machine, so that a cost says
how much more one task is than another, and roughly how long it is. docs/decisions/0010-cost.md says how well it holds.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

from progimage.engine.formats import FORMATS
from progimage.engine.geometry import Box, Size, crop_box, extended, fitting, turned
from progimage.engine.operations import Operations
from progimage.engine.parameters import declared
from progimage.engine.source import Source
from progimage.engine.spec import RenditionSpec, changes_pixels

_MEGAPIXEL = 1_000_000
_PAGES_WRITTEN = ("MPO", "PDF", "TIFF")
_SAMPLE = 1024 * 1024
"""So many pixels of a picture are encoded again and again, to find its quality."""
_AUTO_TRIES, _FITTING_TRIES = 8, 9
_DEEP = 2
"""A sample of 16 bits counts as so many of 8."""


class Units(dict[str, float]):
    """How much there is of each kind of work, in megapixels or what else its weight is for, by the weight's name."""

    def add(self, name: str, amount: float) -> None:
        """Add some work."""
        self[name] = self.get(name, 0.0) + amount

    def include(self, other: "Units") -> None:
        """Add all that another has."""
        for name, amount in other.items():
            self.add(name, amount)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a cost is reckoned from: what the header of an image says.

    Attributes:
        format: The name of its format.
        width: Upright, in pixels; of the first frame or page.
        height: Likewise.
        mode: The kind of its pixels.
        frames: How many frames or pages it has.
        copy: The width and height of a smaller copy that is read in its place, if one is.
        part: Only the part that is asked for is read, of a pyramid.
    """

    format: str
    width: int
    height: int
    mode: str = "RGB"
    frames: int = 1
    copy: Size | None = None
    part: bool = False

    @classmethod
    def of(cls, source: Source, upright: bool = True) -> Self:
        """Return what the header of an open image says.

        Args:
            source: The image.
            upright: Its orientation is applied.
        """
        own = source.upright if upright else (source.width, source.height)
        full = source.stands_for or own
        copy = own if source.stands_for else None
        return cls(source.format.name, *full, source.mode, source.count, copy, part=source.levels > 0)

    @property
    def size(self) -> Size:
        """Width and height of the image."""
        return self.width, self.height

    @property
    def is_drawing(self) -> bool:
        """Whether it is drawn, at a cost that only drawing it tells."""
        return self.format == "SVG"

    @property
    def samples(self) -> float:
        """How many samples a pixel has, as a share of the three of 8 bits that weights are for."""
        mode = self.mode.upper()
        bands = 1 if mode.startswith(("1", "L", "F", "I")) else 4 if mode.startswith("CMYK") else 3
        return (bands + self.has_alpha) / 3 * (_DEEP if "16" in mode or mode in ("F", "I") else 1)

    @property
    def has_alpha(self) -> bool:
        """Whether its pixels have an alpha channel."""
        return self.mode.upper().removesuffix("16").endswith("A")

    def frames_for(self, spec: RenditionSpec) -> int:
        """Return how many frames or pages a rendition has."""
        target = FORMATS[spec.format]
        if spec.page is not None:
            return 1
        keeps_all = target.animated if FORMATS[self.format].animated else target.pages and target.name in _PAGES_WRITTEN
        return self.frames if keeps_all else 1


def rendition_cost(facts: Facts, spec: RenditionSpec, others: Iterable[Facts] = ()) -> float:
    """Return what a rendition costs, in seconds of CPU time.

    Args:
        facts: Of the image.
        spec: What is asked for.
        others: Of the other images in it.
    """
    units = rendition_units(facts, spec)
    for other in others:
        units.include(_read(other))
    return priced(units)


def costliest(facts: Facts, spec: RenditionSpec) -> tuple[int, str]:
    """Return the parameter without which a rendition would cost least, and its stage of `ops`, counted from 1; or 0."""
    tried: list[tuple[float, int, str]] = []
    for number, stage in enumerate(spec.ops or (), 1):
        for one in declared(Operations):
            if getattr(stage, one.name) != one.default:
                without = (*spec.stages[: number - 1], replace(stage, **{one.name: one.default}), *spec.stages[number:])
                tried.append((rendition_cost(facts, replace(spec, ops=without)), number, one.name))
    for one in declared(RenditionSpec):
        if one.name != "ops" and getattr(spec, one.name) != one.default:
            tried.append((rendition_cost(facts, replace(spec, **{one.name: one.default})), 0, one.name))
    _, number, name = min(tried, default=(0.0, 0, "width"))
    return number, name


def survey_cost(facts: Facts) -> float:
    """Return what it costs to validate an upload and to make its ladder, in seconds of CPU time."""
    units = _read(facts, all_frames=True)
    units.add("survey", _megapixels(facts.size) * facts.samples)
    return priced(units)


def look_cost(facts: Facts) -> float:
    """Return what it costs to make a placeholder or to find the dominant colours, in seconds of CPU time."""
    return priced(_read(facts))


def pyramid_cost(facts: Facts) -> float:
    """Return what it costs to make the pyramid of an image, in seconds of CPU time."""
    units = _read(facts)
    units.add("pyramid", _megapixels(facts.size) * facts.samples)
    return priced(units)


def priced(units: Units) -> float:
    """Return the cost of some work, in seconds of CPU time."""
    weights = _weights()
    return sum(amount * weights[name] for name, amount in units.items())


@cache
def _weights() -> dict[str, float]:
    found: dict[str, float] = json.loads(Path(__file__).with_name("cost_weights.json").read_text())["weights"]
    return found


def rendition_units(facts: Facts, spec: RenditionSpec) -> Units:
    """Return the work of a rendition."""
    frames = facts.frames_for(spec)
    size, alpha, read = facts.size, facts.has_alpha, facts.copy or facts.size
    units = _stages(facts, spec, read)
    for operations in spec.stages:
        size, alpha = _stage(units, size, read, operations, alpha, vector=facts.is_drawing)
        read = size
    for name in list(units):
        units[name] *= facts.samples * frames
    units.add("request", 1)
    units.add("frame", frames)
    if any(changes_pixels(operations) for operations in spec.stages) and spec.ops:
        units.add("stage", len(spec.ops))
    units.include(_write(size, spec, frames, alpha))
    return units


def _read(facts: Facts, *, all_frames: bool = False) -> Units:
    megapixels = _megapixels(facts.copy or facts.size) * facts.samples
    return Units({_reading(facts.format): megapixels * (facts.frames if all_frames else 1)})


def _reading(format: str) -> str:
    """Return the weight of reading a format; one that nothing here writes could not be measured."""
    return f"read {format}" if FORMATS[format].can_write else "read other"


def _stages(facts: Facts, spec: RenditionSpec, read: Size) -> Units:
    """Return the work of reading what the first stage needs."""
    operations = spec.stages[0]
    if facts.part:
        box = crop_box(facts.size, operations)
        part = (box.width, box.height) if isinstance(box, Box) else facts.size
        return Units({"read JPEG": _megapixels(part)})  # as its tiles are
    shrink = 1
    if facts.format in ("JPEG", "MPO") and not operations.crop and operations.trim is None:
        wanted = fitting(facts.size, operations).resized
        spare = min(side / max(1, target) for side, target in zip(read, wanted, strict=True))
        shrink = next((fraction for fraction in (8, 4, 2) if spare >= 1.6 * fraction), 1)
    name = _reading(facts.format) if shrink == 1 else f"read JPEG 1/{shrink}"
    return Units({name: _megapixels(read)})


def _stage(
    units: Units, size: Size, read: Size, operations: Operations, alpha: bool, *, vector: bool
) -> tuple[Size, bool]:
    """Add the work of one stage, and return the size that it makes and whether that has an alpha channel."""
    o = operations
    clear = " alpha" if alpha else ""
    if o.trim is not None:
        units.add("trim", _megapixels(read))
    box = crop_box(size, o)
    if box:
        size = (box.width, box.height) if isinstance(box, Box) else box
        if not isinstance(box, Box) and o.gravity in ("smart", "entropy"):
            units.add(str(o.gravity), _megapixels(read))
        read = min(read[0], size[0]), min(read[1], size[1])
    fitted = fitting(size, o, vector=vector)
    if fitted.resized != size:
        units.add(f"resize from{clear}", _megapixels(read))
        units.add(f"resize to{clear}", _megapixels(fitted.resized))
        if o.gravity in ("smart", "entropy") and fitted.canvas != fitted.resized:
            units.add(str(o.gravity), _megapixels(fitted.resized))
    if fitted.canvas[0] > fitted.resized[0] or fitted.canvas[1] > fitted.resized[1]:
        units.add("canvas", _megapixels(fitted.canvas))
        alpha = alpha or (o.background is None or o.background.alpha < 255)
    size = turned(fitted.canvas, o.rotate)
    if o.rotate % 90:
        units.add("rotate", _megapixels(size))
        alpha = True
    elif o.rotate or o.flip or o.flop:
        units.add("turn", _megapixels(size))
    _tone(units, _megapixels(size), o)
    _effects(units, _megapixels(size), o, " alpha" if alpha else "")
    before = size
    size = extended(extended(size, o.extend, o.dpr), o.border, o.dpr)
    if size != before:
        units.add("canvas", _megapixels(size))
        alpha = alpha or (o.extend is not None and o.background is None)
    for name, given in (("radius", o.radius), ("radius", o.mask), ("over", o.watermark), ("over", o.text)):
        if given:
            units.add(name, _megapixels(size))
            alpha = alpha or name != "over"
    if o.mask:  # it is stretched over the picture
        units.add("resize to", _megapixels(size))
    if o.text:
        units.add("text", min(1.0, len(o.text) * (o.text_size or max(size) / 20) ** 2 * o.dpr**2 / _MEGAPIXEL))
    if o.background is not None and alpha:
        units.add("flatten", _megapixels(size))
        alpha = o.background.alpha < 255
    return size, alpha


def _tone(units: Units, megapixels: float, o: Operations) -> None:
    for name, changes in (
        ("lab", o.normalize), ("lab", o.tint is not None), ("gamma", o.gamma != 1), ("line", o.brightness != 1),
        ("line", o.contrast != 1), ("matrix", o.saturation != 1), ("matrix", o.hue % 360 != 0),
        ("matrix", o.sepia != 0), ("grey", o.grayscale), ("negate", o.negate), ("grey", o.threshold is not None),
    ):  # fmt: skip
        if changes:
            units.add(name, megapixels)


def _effects(units: Units, megapixels: float, o: Operations, clear: str) -> None:
    if o.median:
        units.add("median", megapixels)
        units.add("median side", megapixels * o.median * o.dpr)
    if o.blur:
        units.add(f"blur{clear}", megapixels)
        units.add(f"blur sigma{clear}", megapixels * o.blur * o.dpr)
    if o.sharpen:
        units.add("sharpen", megapixels)
        units.add("sharpen sigma", megapixels * min(10, o.sharpen * o.dpr))
    if o.pixelate:
        units.add(f"pixelate{clear}", megapixels)


def _write(size: Size, spec: RenditionSpec, frames: int, alpha: bool) -> Units:
    """Return the work of encoding, as often as that is done."""
    megapixels = _megapixels(size) * frames * (_DEEP if spec.depth not in (None, "8") else 1) * (4 / 3 if alpha else 1)
    words = [spec.format, *(["lossless"] if spec.lossless else []), *([f"effort {spec.effort}"] if spec.effort else [])]
    name, units = f"write {' '.join(words)}", Units()
    sample = min(megapixels, _SAMPLE / _MEGAPIXEL)
    units.add(name, megapixels)
    if spec.quality == "auto":
        units.add(name, _AUTO_TRIES * sample)
        units.add("compare", _AUTO_TRIES * sample)
        units.add("try", _AUTO_TRIES)
    if spec.max_bytes:
        units.add(name, _FITTING_TRIES * megapixels)
        units.add("try", _FITTING_TRIES)
    if spec.palette or spec.format in ("GIF", "BLP"):
        units.add("quantize", megapixels)
    if spec.strip or spec.profile != "keep":
        units.add("profile", megapixels)
    return units


def _megapixels(size: Size) -> float:
    return math.prod(size) / _MEGAPIXEL
