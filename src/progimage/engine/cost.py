"""What a task will cost, in seconds of CPU time, reckoned from what a header says and from what is asked for.

A cost is a sum: megapixels that go through each kind of work, times what a megapixel of it was measured to take. The
weights are measured by `make costs` and kept in cost_weights.json; they are those of one machine, so that a cost says
how much more one task is than another, and roughly how long it is. docs/decisions/0010-cost.md says how well it holds.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Self

from progimage.engine.codecs import FORMATS
from progimage.engine.codecs.codec import Source
from progimage.engine.faces import LOOKED_AT
from progimage.engine.geometry import Box, Size, crop_box, extended, fitting, turned
from progimage.engine.modes import has_alpha, is_deep
from progimage.engine.operations import Operations
from progimage.engine.parameters import declared
from progimage.engine.spec import RenditionSpec, changes_pixels

_MEGAPIXEL = 1_000_000
_SAMPLE = 1024 * 1024
"""So many pixels of a picture are encoded again and again, to find its quality."""
_AUTO_TRIES, _FITTING_TRIES = 8, 9
_DEEP = 2
"""A sample of 16 bits is read in the time of so many of 8."""
_FINE = 90
"""From this quality on an encoder has clearly more to do."""
_UNKNOWN = {"read": "read other", "write": "write PNG"}
"""What is taken for the weight of a format that was never measured, such as one that another package adds."""
_NO_OTHERS: Mapping[str, "Facts"] = MappingProxyType({})


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
        mode: The kind of its pixels, as the table of formats names them.
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
        own = source.upright if upright else source.size
        full = source.stands_for or own
        copy = own if source.stands_for else None
        found = source.description
        return cls(found.format.name, *full, found.mode, found.count, copy, part=source.levels > 0)

    @property
    def size(self) -> Size:
        """Width and height of the image."""
        return self.width, self.height

    @property
    def is_drawing(self) -> bool:
        """Whether it is drawn, at a cost that only drawing it tells."""
        return FORMATS[self.format].vector

    @property
    def samples(self) -> float:
        """How many samples a pixel has, as a share of the three that weights are for."""
        mode = self.mode.removesuffix("16")
        bands = 1 if mode in ("1", "L", "LA", "F") else 4 if mode == "CMYK" else 3
        return (bands + self.has_alpha) / 3

    @property
    def has_alpha(self) -> bool:
        """Whether its pixels have an alpha channel."""
        return has_alpha(self.mode)

    @property
    def deep(self) -> bool:
        """Whether they have more than 8 bits a channel."""
        return is_deep(self.mode) or self.mode == "F"

    @property
    def depth(self) -> int:
        """How many of 8 bits a sample counts as when it is read."""
        return _DEEP if self.deep else 1

    def frames_for(self, spec: RenditionSpec) -> int:
        """Return how many frames or pages a rendition has."""
        target = FORMATS[spec.format]
        if spec.page is not None:
            return 1
        keeps_all = target.writes_animations if FORMATS[self.format].animated else target.writes_pages
        return self.frames if keeps_all else 1


def rendition_cost(facts: Facts, spec: RenditionSpec, others: Mapping[str, Facts] = _NO_OTHERS) -> float:
    """Return what a rendition costs, in seconds of CPU time.

    Args:
        facts: Of the image.
        spec: What is asked for.
        others: Of the other images in it, by their references.
    """
    return priced(rendition_units(facts, spec, others))


def costliest(facts: Facts, spec: RenditionSpec, others: Mapping[str, Facts] = _NO_OTHERS) -> tuple[int, str]:
    """Return the parameter without which a rendition would cost least, and its stage of `ops`, counted from 1; or 0."""
    tried: list[tuple[float, int, str]] = []
    for number, stage in enumerate(spec.ops or (), 1):
        for one in declared(Operations):
            if getattr(stage, one.name) != one.default:
                without = (*spec.stages[: number - 1], replace(stage, **{one.name: one.default}), *spec.stages[number:])
                tried.append((rendition_cost(facts, replace(spec, ops=without), others), number, one.name))
    for one in declared(RenditionSpec):
        if one.name != "ops" and getattr(spec, one.name) != one.default:
            tried.append((rendition_cost(facts, replace(spec, **{one.name: one.default}), others), 0, one.name))
    _, number, name = min(tried, default=(0.0, 0, "width"))
    return number, name


def survey_cost(facts: Facts) -> float:
    """Return what it costs to validate an upload and to make its ladder, in seconds of CPU time."""
    units = _read(facts, all_frames=True)
    units.add("survey", _megapixels(facts.size) * facts.samples * facts.depth)
    return priced(units)


def look_cost(facts: Facts) -> float:
    """Return what it costs to make a placeholder or to find the dominant colours, in seconds of CPU time."""
    return priced(_read(facts))


def pyramid_cost(facts: Facts) -> float:
    """Return what it costs to make the pyramid of an image, in seconds of CPU time."""
    units = _read(facts)
    units.add("pyramid", _megapixels(facts.size) * facts.samples * facts.depth)
    return priced(units)


def priced(units: Units) -> float:
    """Return the cost of some work, in seconds of CPU time."""
    return sum(amount * _weight(name) for name, amount in units.items())


def _weight(name: str) -> float:
    """Return a weight; of what can't be measured, since it is refused or never written, that of what is nearest."""
    weights = _weights()
    while name not in weights and " " in name:
        name = name.rpartition(" ")[0]
    return weights[_UNKNOWN.get(name, name)]


@cache
def _weights() -> dict[str, float]:
    found: dict[str, float] = json.loads(Path(__file__).with_name("cost_weights.json").read_text())["weights"]
    return found


def rendition_units(facts: Facts, spec: RenditionSpec, others: Mapping[str, Facts] = _NO_OTHERS) -> Units:
    """Return the work of a rendition."""
    frames = facts.frames_for(spec)
    size, alpha, read = facts.size, facts.has_alpha, facts.copy or facts.size
    here = read
    units = _stages(facts, spec, read)
    once = Units()
    for operations in spec.stages:
        size, alpha = _stage(units, once, size, here, operations, alpha, deep=facts.deep, vector=facts.is_drawing)
        here = size
        once.include(_other_images(size, operations, others))
    for name in list(units):
        units[name] *= facts.samples * frames
    units.include(once)
    if more := _frames_on_the_way(facts, spec, frames):
        units.add(_reading(facts.format), _megapixels(facts.size) * facts.samples * facts.depth * more)
    if facts.mode == "CMYK":
        units.add("cmyk", _megapixels(read) * frames)
        units.add("cmyk frame", frames)
    units.add("request", 1)
    units.add("frame", frames)
    if any(changes_pixels(operations) for operations in spec.stages) and spec.ops:
        units.add("stage", len(spec.ops))
    units.include(_write(facts, size, spec, frames, alpha))
    return units


def _frames_on_the_way(facts: Facts, spec: RenditionSpec, frames: int) -> int:
    """Return how many frames of an animation have to be read beside those that are rendered."""
    return (spec.page or 1) - 1 if FORMATS[facts.format].animated else 0


def _read(facts: Facts, *, all_frames: bool = False) -> Units:
    megapixels = _megapixels(facts.copy or facts.size) * facts.samples * facts.depth
    return Units({_reading(facts.format): megapixels * (facts.frames if all_frames else 1)})


def _reading(format: str) -> str:
    """Return the weight of reading a format; one that nothing here writes could not be measured."""
    measured = FORMATS[format].reckoned_as or format
    return f"read {measured}" if measured in FORMATS and FORMATS[measured].can_write else "read other"


def _stages(facts: Facts, spec: RenditionSpec, read: Size) -> Units:
    """Return the work of reading what the first stage needs."""
    operations = spec.stages[0]
    if facts.part:
        box = crop_box(facts.size, operations)
        part = (box.width, box.height) if isinstance(box, Box) else facts.size
        return Units({"read JPEG": _megapixels(part)})  # as its tiles are
    shrink = 1
    shrinks = () if facts.deep else FORMATS[facts.format].shrinks  # what is deep is decoded whole
    if shrinks and not operations.crop and operations.trim is None:
        wanted = fitting(facts.size, operations).resized
        spare = min(side / max(1, target) for side, target in zip(read, wanted, strict=True))
        shrink = next((fraction for fraction in shrinks if spare >= 1.6 * fraction), 1)
    name = _reading(facts.format) if shrink == 1 else f"{_reading(facts.format)} 1/{shrink}"
    units = Units({name: _megapixels(read) * facts.depth})
    return units


def _stage(
    units: Units, once: Units, size: Size, read: Size, operations: Operations, alpha: bool, *, deep: bool, vector: bool
) -> tuple[Size, bool]:
    """Add the work of one stage, and return the size that it makes and whether that has an alpha channel.

    Args:
        units: Is given the work on every frame.
        once: Is given what is done in the first frame only.
        size: Width and height of the picture.
        read: Of what stands for it.
        operations: What is asked for.
        alpha: The picture has an alpha channel.
        deep: It has more than 8 bits a channel.
        vector: It is a drawing.
    """
    o = operations
    if o.trim is not None:
        units.add(_on("trim", deep, alpha), _megapixels(read))
    box = crop_box(size, o)
    if box:
        size = (box.width, box.height) if isinstance(box, Box) else box
        if not isinstance(box, Box):
            _look_for_the_part(units, read, o, deep, alpha)
            _look_for_faces(once, read, o)
        read = min(read[0], size[0]), min(read[1], size[1])
    fitted = fitting(size, o, vector=vector)
    if fitted.resized != size:
        units.add(_on("resize from", deep, alpha), _megapixels(read))
        units.add(_on("resize to", deep, alpha), _megapixels(fitted.resized))
    if fitted.canvas != fitted.resized:
        _look_for_the_part(units, fitted.resized, o, deep, alpha)
        _look_for_faces(once, read, o)
    if fitted.canvas[0] > fitted.resized[0] or fitted.canvas[1] > fitted.resized[1]:
        alpha = alpha or (o.background is None or o.background.alpha < 255)
        units.add(_on("canvas", deep, alpha), _megapixels(fitted.canvas))
    size = turned(fitted.canvas, o.rotate)
    if o.rotate % 90:
        alpha = True
        units.add(_on("rotate", deep, alpha), _megapixels(size))
    elif o.rotate or o.flip or o.flop:
        units.add(_on("turn", deep, alpha), _megapixels(size))
    if o.normalize:
        once.add("normalize frame", 1)  # a histogram of 16 bits, however small the picture
    for name, amount in (*_tone(o), *_effects(o)):
        units.add(_on(name, deep, alpha), _megapixels(size) * amount)
    before = size
    size = extended(extended(size, o.extend, o.dpr), o.border, o.dpr)
    if size != before:
        alpha = alpha or (o.extend is not None and o.background is None)
        units.add(_on("canvas", deep, alpha), _megapixels(size))
    for name, given in (("radius", o.radius), ("radius", o.mask), ("over", o.watermark), ("over", o.text)):
        if given:
            alpha = alpha or name != "over"
            units.add(_on(name, deep, alpha), _megapixels(size))
    if o.mask:  # it is stretched over the picture
        units.add("resize to", _megapixels(size))
    if o.text:
        units.add("text", min(1.0, len(o.text) * (o.text_size or max(size) / 20) ** 2 * o.dpr**2 / _MEGAPIXEL))
    if o.background is not None and alpha:
        units.add(_on("flatten", deep, alpha), _megapixels(size))
        alpha = o.background.alpha < 255
    return size, alpha


def _look_for_the_part(units: Units, size: Size, o: Operations, deep: bool, alpha: bool) -> None:
    if o.gravity in ("smart", "entropy", "face"):
        way = "smart" if o.gravity == "face" else o.gravity  # as it is where there are no faces
        units.add(_on(str(way), deep, alpha), _megapixels(size))
        units.add(_on(f"{way} frame", deep, alpha), 1)


def _look_for_faces(once: Units, read: Size, o: Operations) -> None:
    if o.gravity == "face":
        once.add("resize from", _megapixels(read))
        once.add("face", _megapixels(read) * min(1, LOOKED_AT / max(read)) ** 2)
        once.add("face frame", 1)


def _on(name: str, deep: bool, alpha: bool) -> str:
    """Return the weight of some work on a kind of pixels."""
    return f"{name}{' deep' * deep}{' alpha' * alpha}"


def _other_images(size: Size, o: Operations, others: Mapping[str, Facts]) -> Units:
    """Return the work on the other images of one stage, which is done once for all frames."""
    units = Units()
    if mask := others.get(o.mask or ""):
        units.include(_read(mask))
    if mark := others.get(o.watermark or ""):
        layer = min(_megapixels(mark.size), _megapixels(size))
        if o.watermark_scale is not None:
            layer = _megapixels(mark.size) * (o.watermark_scale * size[0] / mark.width) ** 2
        units.include(_read(mark))
        units.add("resize from alpha", _megapixels(mark.size))
        units.add("resize to alpha", layer)
        units.add("over", layer)
    return units


def _tone(o: Operations) -> Iterator[tuple[str, float]]:
    for name, changes in (
        ("lab", o.normalize), ("lab", o.tint is not None), ("gamma", o.gamma != 1), ("line", o.brightness != 1),
        ("line", o.contrast != 1), ("matrix", o.saturation != 1), ("matrix", o.hue % 360 != 0),
        ("matrix", o.sepia != 0), ("grey", o.grayscale), ("negate", o.negate), ("grey", o.threshold is not None),
    ):  # fmt: skip
        if changes:
            yield name, 1


def _effects(o: Operations) -> Iterator[tuple[str, float]]:
    if o.median:
        side = o.median * o.dpr
        yield "median", 1
        yield "median side", side
        yield "median area", side**2  # of 16 bits, where libvips sorts
    if o.blur:
        yield "blur", 1
        yield "blur sigma", o.blur * o.dpr
    if o.sharpen:
        yield "sharpen", 1
        yield "sharpen sigma", min(10, o.sharpen * o.dpr)
    if o.pixelate:
        yield "pixelate", 1


def _write(facts: Facts, size: Size, spec: RenditionSpec, frames: int, alpha: bool) -> Units:
    """Return the work of encoding, as often as that is done."""
    format = FORMATS[spec.format]
    deep = spec.depth != "8" if spec.depth else facts.deep and len(format.depths) > 1
    megapixels = _megapixels(size) * frames * (4 / 3 if alpha else 1)
    name, units = writing(spec, moving=frames > 1 and format.writes_animations, deep=deep), Units()
    sample = min(megapixels, _SAMPLE / _MEGAPIXEL)
    units.add(name, megapixels)
    if spec.quality == "auto":
        units.add(name, _AUTO_TRIES * sample)
        units.add("compare", _AUTO_TRIES * sample)
        units.add("try", _AUTO_TRIES)
    if spec.max_bytes:
        units.add(name, _FITTING_TRIES * megapixels)
        units.add("try", _FITTING_TRIES)
    if spec.palette or format.only_palettes:
        units.add("quantize", megapixels)
        units.add("palette", 1)
    if spec.strip or spec.profile != "keep":
        units.add("profile", megapixels)
    return units


def writing(spec: RenditionSpec, *, moving: bool, deep: bool) -> str:
    """Return the weight of writing what a spec asks for.

    Args:
        spec: What is asked for.
        moving: An animation is written.
        deep: More than 8 bits a channel are.
    """
    lossless = spec.lossless and FORMATS[spec.format].has("quality")  # else it is in any case
    fine = spec.chroma == "4:4:4" or (isinstance(spec.quality, int) and spec.quality >= _FINE)
    words = (
        ("lossless", lossless), (f"effort {spec.effort}", spec.effort), ("moving", moving),
        ("deep", deep and not moving), ("fine", fine and not lossless and not moving),
        ("progressive", spec.progressive and not moving),
    )  # fmt: skip
    format = FORMATS[spec.format]
    return " ".join(["write", format.reckoned_as or format.name, *(word for word, holds in words if holds)])


def _megapixels(size: Size) -> float:
    return math.prod(size) / _MEGAPIXEL
