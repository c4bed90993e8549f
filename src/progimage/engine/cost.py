"""Estimated CPU time of a task in seconds, from the header of the image and the spec.

A cost is a sum over all kinds of work: megapixels that need this work, times its weight, the measured time per
megapixel. `make costs` measures the weights and stores them in cost_weights.json. They come from one machine, so a cost
compares tasks well, but gives their duration only roughly. docs/decisions/0010-cost.md says how accurate it is.
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
from progimage.engine.parameters import Parameter, declared
from progimage.engine.spec import RenditionSpec, changes_pixels

_MEGAPIXEL = 1_000_000
_SAMPLE = 1024 * 1024
"""Maximum number of pixels that are encoded repeatedly to find the quality."""
_AUTO_TRIES, _FITTING_TRIES = 8, 9
_DEEP = 2
"""Reading a 16-bit sample takes as long as reading this many 8-bit samples."""
_FINE = 90
"""From this quality on, encoding takes clearly longer."""
_UNKNOWN = {"read": "read other", "write": "write PNG"}
"""Substitute weights for formats that were never measured, such as those added by other packages."""
_STATED = tuple(one for one in declared(Operations) if one.seconds)
"""Parameters whose costs are stated in their declarations, not measured."""
_NO_OTHERS: Mapping[str, "Facts"] = MappingProxyType({})


class Units(dict[str, float]):
    """The amount of each kind of work by the name of its weight, in megapixels or in the unit of the weight."""

    def add(self, name: str, amount: float) -> None:
        """Add an amount of one kind of work."""
        self[name] = self.get(name, 0.0) + amount

    def include(self, other: "Units") -> None:
        """Add all amounts of another `Units`."""
        for name, amount in other.items():
            self.add(name, amount)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts from the header of an image that a cost is estimated from.

    Attributes:
        format: Name of the format.
        width: Upright width of the first frame or page, in pixels.
        height: Upright height of the first frame or page, in pixels.
        mode: Pixel mode, as in the table of formats.
        frames: Number of frames or pages.
        copy: Width and height of the rung that is read instead of the original, if any.
        part: Whether only a part of the image is read, from a pyramid.
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
        """Return the facts of an opened image.

        Args:
            source: The image.
            upright: Whether the orientation will be applied.
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
        """Whether the image is a drawing, whose cost can't be estimated in advance."""
        return FORMATS[self.format].vector

    @property
    def samples(self) -> float:
        """Samples per pixel, relative to the three that weights are measured with."""
        mode = self.mode.removesuffix("16")
        bands = 1 if mode in ("1", "L", "LA", "F") else 4 if mode == "CMYK" else 3
        return (bands + self.has_alpha) / 3

    @property
    def has_alpha(self) -> bool:
        """Whether the image has an alpha channel."""
        return has_alpha(self.mode)

    @property
    def deep(self) -> bool:
        """Whether the image has more than 8 bits per channel."""
        return is_deep(self.mode) or self.mode == "F"

    @property
    def depth(self) -> int:
        """Factor of the reading cost relative to 8-bit samples."""
        return _DEEP if self.deep else 1

    def frames_for(self, spec: RenditionSpec) -> int:
        """Return the number of frames or pages of a rendition."""
        target = FORMATS[spec.format]
        if spec.page is not None:
            return 1
        keeps_all = target.writes_animations if FORMATS[self.format].animated else target.writes_pages
        return self.frames if keeps_all else 1


def rendition_cost(facts: Facts, spec: RenditionSpec, others: Mapping[str, Facts] = _NO_OTHERS) -> float:
    """Return the estimated CPU time of a rendition in seconds.

    Args:
        facts: Facts of the image.
        spec: Spec of the rendition.
        others: Facts of the other images that the spec needs, by reference.
    """
    return priced(rendition_units(facts, spec, others))


def costliest(facts: Facts, spec: RenditionSpec, others: Mapping[str, Facts] = _NO_OTHERS) -> tuple[int, str]:
    """Return the stage of `ops`, from 1, or 0 outside `ops`, and the name of the costliest parameter.

    That is the parameter whose omission reduces the cost most.
    """
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


def inspection_cost(facts: Facts) -> float:
    """Return the estimated CPU time for validating an upload and building its ladder, in seconds."""
    units = _read(facts, all_frames=True)
    units.add("inspection", _megapixels(facts.size) * facts.samples * facts.depth)
    return priced(units)


def analysis_cost(facts: Facts) -> float:
    """Return the estimated CPU time for a placeholder or for the dominant colours, in seconds."""
    return priced(_read(facts))


def pyramid_cost(facts: Facts) -> float:
    """Return the estimated CPU time for building the pyramid of an image, in seconds."""
    units = _read(facts)
    units.add("pyramid", _megapixels(facts.size) * facts.samples * facts.depth)
    return priced(units)


def priced(units: Units) -> float:
    """Return the estimated CPU time for an amount of work, in seconds."""
    return sum(amount * _weight(name) for name, amount in units.items())


def _weight(name: str) -> float:
    """Return a weight. For combinations that can't be measured, the nearest measured weight is used."""
    weights = _weights()
    while name not in weights and " " in name:
        name = name.rpartition(" ")[0]
    return weights[_UNKNOWN.get(name, name)]


@cache
def _weights() -> dict[str, float]:
    found: dict[str, float] = json.loads(Path(__file__).with_name("cost_weights.json").read_text())["weights"]
    return found | {_stated(one): one.seconds for one in _STATED}


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
    """Return the number of frames of an animation that have to be decoded besides those that are rendered."""
    return (spec.page or 1) - 1 if FORMATS[facts.format].animated else 0


def _read(facts: Facts, *, all_frames: bool = False) -> Units:
    megapixels = _megapixels(facts.copy or facts.size) * facts.samples * facts.depth
    return Units({_reading(facts.format): megapixels * (facts.frames if all_frames else 1)})


def _reading(format: str) -> str:
    """Return the name of the weight for reading a format. Formats that we can't write couldn't be measured."""
    measured = FORMATS[format].costs_like or format
    return f"read {measured}" if measured in FORMATS and FORMATS[measured].can_write else "read other"


def _stages(facts: Facts, spec: RenditionSpec, read: Size) -> Units:
    """Return the work of reading the pixels that the first stage needs."""
    operations = spec.stages[0]
    if facts.part:
        box = crop_box(facts.size, operations)
        part = (box.width, box.height) if isinstance(box, Box) else facts.size
        return Units({"read JPEG": _megapixels(part)})  # the format of its tiles
    shrink = 1
    shrinks = () if facts.deep else FORMATS[facts.format].shrinks  # deep images are decoded at full size
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
    """Add the work of one stage; return the resulting size and whether there is an alpha channel.

    Args:
        units: Receives the work that is done for every frame.
        once: Receives the work that is done only for the first frame.
        size: Width and height of the image.
        read: Width and height of the pixels that were read in its place.
        operations: The operations of the stage.
        alpha: Whether the image has an alpha channel.
        deep: Whether the image has more than 8 bits per channel.
        vector: Whether the image is a drawing.
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
    _add_stated(units, fitted.canvas, o, deep, "Size")
    size = turned(fitted.canvas, o.rotate)
    if o.rotate % 90:
        alpha = True
        units.add(_on("rotate", deep, alpha), _megapixels(size))
    elif o.rotate or o.flip or o.flop:
        units.add(_on("turn", deep, alpha), _megapixels(size))
    if o.normalize:
        once.add("normalize frame", 1)  # a 16-bit histogram, regardless of the size
    for name, amount in (*_tone(o), *_effects(o)):
        units.add(_on(name, deep, alpha), _megapixels(size) * amount)
    _add_stated(units, size, o, deep, "Turn", "Tone", "Effects")
    before = size
    size = extended(extended(size, o.extend, o.dpr), o.border, o.dpr)
    if size != before:
        alpha = alpha or (o.extend is not None and o.background is None)
        units.add(_on("canvas", deep, alpha), _megapixels(size))
    for name, given in (("radius", o.radius), ("radius", o.mask), ("over", o.watermark), ("over", o.text)):
        if given:
            alpha = alpha or name != "over"
            units.add(_on(name, deep, alpha), _megapixels(size))
    _add_stated(units, size, o, deep, "Frame and mask", "Watermark")
    if o.mask:  # it is stretched over the image
        units.add("resize to", _megapixels(size))
    if o.text:
        units.add("text", min(1.0, len(o.text) * (o.text_size or max(size) / 20) ** 2 * o.dpr**2 / _MEGAPIXEL))
    if o.background is not None and alpha:
        units.add(_on("flatten", deep, alpha), _megapixels(size))
        alpha = o.background.alpha < 255
    return size, alpha


def _add_stated(units: Units, size: Size, o: Operations, deep: bool, *groups: str) -> None:
    for one in _STATED:
        if one.group in groups and getattr(o, one.name) != one.default:
            units.add(_stated(one), _megapixels(size) * (_DEEP if deep else 1))


def _stated(one: Parameter) -> str:
    """Return the name of the weight of a parameter with a stated cost."""
    return f"stated {one.name}"


def _look_for_the_part(units: Units, size: Size, o: Operations, deep: bool, alpha: bool) -> None:
    if o.gravity in ("smart", "entropy", "face"):
        way = "smart" if o.gravity == "face" else o.gravity  # `face` works like `smart` if there are no faces
        units.add(_on(str(way), deep, alpha), _megapixels(size))
        units.add(_on(f"{way} frame", deep, alpha), 1)


def _look_for_faces(once: Units, read: Size, o: Operations) -> None:
    if o.gravity == "face":
        once.add("resize from", _megapixels(read))
        once.add("face", _megapixels(read) * min(1, LOOKED_AT / max(read)) ** 2)
        once.add("face frame", 1)


def _on(name: str, deep: bool, alpha: bool) -> str:
    """Return the name of the weight for work on deep pixels or pixels with alpha."""
    return f"{name}{' deep' * deep}{' alpha' * alpha}"


def _other_images(size: Size, o: Operations, others: Mapping[str, Facts]) -> Units:
    """Return the work on the other images of a stage, which is done once for all frames."""
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
        yield "median area", side**2  # for 16 bits, where libvips sorts
    if o.blur:
        yield "blur", 1
        yield "blur sigma", o.blur * o.dpr
    if o.sharpen:
        yield "sharpen", 1
        yield "sharpen sigma", min(10, o.sharpen * o.dpr)
    if o.pixelate:
        yield "pixelate", 1


def _write(facts: Facts, size: Size, spec: RenditionSpec, frames: int, alpha: bool) -> Units:
    """Return the work of encoding, including repeated attempts."""
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
    """Return the name of the weight for writing a rendition.

    Args:
        spec: Spec of the rendition.
        moving: Whether an animation is written.
        deep: Whether more than 8 bits per channel are written.
    """
    lossless = spec.lossless and FORMATS[spec.format].has("quality")  # otherwise the format is always lossless
    fine = spec.chroma == "4:4:4" or (isinstance(spec.quality, int) and spec.quality >= _FINE)
    words = (
        ("lossless", lossless), (f"effort {spec.effort}", spec.effort), ("moving", moving),
        ("deep", deep and not moving), ("fine", fine and not lossless and not moving),
        ("progressive", spec.progressive and not moving),
    )  # fmt: skip
    format = FORMATS[spec.format]
    return " ".join(["write", format.costs_like or format.name, *(word for word, holds in words if holds)])


def _megapixels(size: Size) -> float:
    return math.prod(size) / _MEGAPIXEL
