"""The tasks that workers can run: one type of plain data for each kind of task.

A task contains no file names. It is sent with the descriptors of its inputs and outputs, in the order that its type
documents; the worker has no access to other files. Since a worker can have been taken over, the server checks with
`check` that each value of a result is plausible.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from progimage.engine import (
    FORMATS,
    INSPECTION_VERSION,
    ImageInfo,
    Inspection,
    Limits,
    Placeholder,
    Rendered,
    RenditionSpec,
    Swatch,
    build_pyramid,
    inspect,
    inspect_upload,
    palette,
    placeholder,
    render,
)
from progimage.workers.protocol import BadResult

_LONGEST_TEXT = 1000
_LONGEST_PREVIEW = 16 * 1024
_MOST_SIDE = 2**31
_MOST_WARNINGS = 20
_MODE = re.compile(r"[A-Za-z0-9;]{1,16}")
_NAME = re.compile(r"[A-Za-z0-9]{1,64}")
_HASH = re.compile(r"[0-9a-f]{32}")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_BASE83 = re.compile(r"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{6,100}")
_PREVIEW = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/]*={0,2}")


class Task(msgspec.Struct, frozen=True, tag=True):
    """A task for a worker.

    Attributes:
        result: Type of the result.
    """

    result: ClassVar[Any] = None

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
        """Run the task. Called in the worker.

        Args:
            inputs: Open descriptors of the files to read.
            outputs: Open descriptors of the files to write.
        """
        raise NotImplementedError

    def check(self, result: Any) -> None:
        """Check that the result of a worker is plausible. Called in the server.

        Raises:
            BadResult: The result is implausible.
        """


class Nothing(Task, frozen=True):
    """Does nothing; used to check that a worker responds."""

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Do nothing."""


class InspectTask(Task, frozen=True):
    """Determines the properties of an image. One input: the image."""

    limits: Limits
    result: ClassVar[Any] = ImageInfo

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> ImageInfo:
        """Decode the image and return its properties."""
        return inspect(inputs[0], self.limits)

    def check(self, result: ImageInfo) -> None:
        """Check the properties."""
        _check_info(result, self.limits)


class InspectUploadTask(Task, frozen=True):
    """Validates an upload and builds its ladder. One input: the image. One output for each side of the ladder."""

    limits: Limits
    sides: tuple[int, ...]
    result: ClassVar[Any] = Inspection

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> Inspection:
        """Decode the image, return its properties, and write its rungs."""
        return inspect_upload(inputs[0], self.limits, dict(zip(self.sides, outputs, strict=True)))

    def check(self, result: Inspection) -> None:
        """Check the properties and the ladder."""
        _check_info(result.info, self.limits)
        if result.ladder is None:
            return
        sides = [rung.side for rung in result.ladder.rungs]
        _require(sides == sorted(set(sides) & set(self.sides), reverse=True), "the sides of the ladder", sides)
        _require(result.ladder.size == result.info.upright, "the size of the ladder", result.ladder.size)
        for rung in result.ladder.rungs:
            _require(0 < rung.width <= rung.side and 0 < rung.height <= rung.side, "the size of a rung", rung)


class RenderTask(Task, frozen=True):
    """Makes a rendition. Inputs: the image, then the images of `references`. One output: the rendition.

    Attributes:
        spec: Canonical string of the spec.
        limits: Limits for the images to read and the rendition.
        references: References of the other images that the spec needs, in the order of the inputs.
        stands_for: Upright width and height of the original, if the image is a rung of its ladder.
        pyramid: Whether the image is a pyramid.
        sound: Whether the image is known to be undamaged.
    """

    spec: str
    limits: Limits
    references: tuple[str, ...] = ()
    stands_for: tuple[int, int] | None = None
    pyramid: bool = False
    sound: bool = False
    result: ClassVar[Any] = Rendered

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> Rendered:
        """Render the image."""
        spec = RenditionSpec.from_canonical(self.spec)
        images = dict(zip(self.references, inputs[1:], strict=True))
        return render(inputs[0], spec, outputs[0], self.limits, images, self.stands_for, self.pyramid, self.sound)

    def check(self, result: Rendered) -> None:
        """Check the size and the number of frames."""
        _require(0 < result.width <= _MOST_SIDE and 0 < result.height <= _MOST_SIDE, "the size", result)
        _require(0 < result.frames <= self.limits.frames, "the frames", result.frames)


class PlaceholderTask(Task, frozen=True):
    """Makes the placeholders of an image. One input: the image."""

    limits: Limits
    result: ClassVar[Any] = Placeholder

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> Placeholder:
        """Return the placeholders."""
        return placeholder(inputs[0], self.limits)

    def check(self, result: Placeholder) -> None:
        """Check the size and the texts, which end up in web pages."""
        _require(0 < result.width <= _MOST_SIDE and 0 < result.height <= _MOST_SIDE, "the size", result.width)
        _require(len(result.thumbhash) <= 100 and _BASE64.fullmatch(result.thumbhash), "thumbhash", result.thumbhash)
        _require(_BASE83.fullmatch(result.blurhash), "blurhash", result.blurhash)
        fits = len(result.data_uri) <= _LONGEST_PREVIEW and _PREVIEW.fullmatch(result.data_uri)
        _require(fits, "data_uri", result.data_uri)


class PaletteTask(Task, frozen=True):
    """Finds the dominant colours of an image. One input: the image."""

    limits: Limits
    colours: int
    result: ClassVar[Any] = list[Swatch]

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> list[Swatch]:
        """Return the dominant colours."""
        return palette(inputs[0], self.colours, self.limits)

    def check(self, result: list[Swatch]) -> None:
        """Check the colours, which end up in web pages."""
        _require(len(result) <= self.colours, "the number of colours", len(result))
        for swatch in result:
            _require(_COLOUR.fullmatch(swatch.color) and 0 <= swatch.share <= 1, "a colour", swatch)


class PyramidTask(Task, frozen=True):
    """Builds the pyramid of an image. One input: the image. One output: the pyramid.

    Attributes:
        flat: Whether the image has areas of uniform colour, whose edges JPEG would blur.
        limits: The largest image to accept.
    """

    flat: bool
    limits: Limits

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Write the pyramid."""
        build_pyramid(inputs[0], outputs[0], self.flat, self.limits)


TASKS = Nothing | InspectTask | InspectUploadTask | RenderTask | PlaceholderTask | PaletteTask | PyramidTask
"""The union of all task types."""


def _check_info(info: ImageInfo, limits: Limits) -> None:
    format = FORMATS.get(info.format)
    _require(format is not None and format.can_read and info.media_type == format.media_type, "format", info.format)
    _require(0 < info.width <= _MOST_SIDE and 0 < info.height <= _MOST_SIDE, "the size", (info.width, info.height))
    _require(info.width * info.height <= limits.pixels, "the pixels", info.width * info.height)
    _require(0 < info.frames <= limits.frames, "frames", info.frames)
    _require(0 <= info.duration < 2**53, "duration", info.duration)
    _require(_MODE.fullmatch(info.mode) and 1 <= info.bit_depth <= 64, "mode", (info.mode, info.bit_depth))
    _require(1 <= info.orientation <= 8, "orientation", info.orientation)
    _require(info.icc is None or _is_text(info.icc), "icc", info.icc)
    _require(len(info.exif) <= 100, "exif", len(info.exif))
    for name, value in info.exif.items():
        plain = _is_text(value) if isinstance(value, str) else math.isfinite(value) and abs(value) < 2**53
        _require(_NAME.fullmatch(name) and plain, "exif", name)
    for side in (info.upright_width, info.upright_height, info.coded_width, info.coded_height, *(info.crop or ())):
        _require(0 <= side <= _MOST_SIDE, "a size", side)
    _require(info.upright in ((info.width, info.height), (info.height, info.width)), "upright", info.upright)
    _require(len(info.page_sizes) in (0, info.frames), "the sizes of pages", len(info.page_sizes))
    for size in info.page_sizes:
        _require(0 < size[0] <= _MOST_SIDE and 0 < size[1] <= _MOST_SIDE, "the size of a page", size)
    for text in (info.primaries, info.transfer):
        _require(text is None or _is_text(text), "a colour space", text)
    _require(0 <= info.plays < 2**32 and len(info.durations) <= limits.frames, "plays", info.plays)
    _require(all(0 <= duration < 2**53 for duration in info.durations), "durations", info.durations)
    _require(len(info.warnings) <= _MOST_WARNINGS and all(map(_is_text, info.warnings)), "warnings", info.warnings)
    _require(limits.damaged or not info.damaged, "damaged", info.damaged)
    _require(0 <= info.inspection <= INSPECTION_VERSION, "inspection", info.inspection)
    _require(info.perceptual_hash is None or _HASH.fullmatch(info.perceptual_hash), "a hash", info.perceptual_hash)


def _is_text(text: str) -> bool:
    return len(text) <= _LONGEST_TEXT and text.isprintable()


def _require(condition: object, what: str, given: object) -> None:
    if not condition:
        raise BadResult(f"{what}: {given!r}"[:_LONGEST_TEXT])
