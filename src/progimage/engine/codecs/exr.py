"""OpenEXR, read with the library of the Academy Software Foundation."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyvips

from progimage.engine.codecs.codec import Decoder, Decoding, ReadOnly, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.samples import float_pixels, light, openexr
from progimage.engine.colorimetry import BT709, Calibrated, Chromaticities
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind, say
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame
from progimage.engine.geometry import Box
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    import numpy


_SIGNATURE = b"\x76\x2f\x31\x01"
_CHANNELS = (("R", "G", "B"), ("Y", "RY", "BY"), ("Y",))
"""Supported sets of channels, the best first: RGB, luminance with colour differences, luminance."""
_ALPHA = "A"
_DEEP = "deep"
_MOST_SIDE = 1_000_000


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a file that is used.

    Attributes:
        channels: Names of the channels to read, without alpha.
        sampling: Horizontal and vertical subsampling of each channel, including alpha.
        alpha: Whether there is an alpha channel.
        data: The data window.
        display: The display window.
        space: Its primaries.
        several: Whether the file has more parts.
    """

    channels: tuple[str, ...]
    sampling: Mapping[str, tuple[int, int]]
    alpha: bool
    data: Box
    display: Box
    space: Chromaticities
    several: bool


class _OpenExr(ReadOnly):
    """OpenEXR, read-only. Of several parts, only the first is used."""

    format = Format(name="EXR", extensions=("exr",), media_type="image/x-exr", description="OpenEXR", costs_like="JXL")

    def __init__(self) -> None:
        self.recognises: Callable[[bytes], bool] | None = lambda head: head.startswith(_SIGNATURE)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        part = _part(file)
        data, display = part.data, part.display
        limits.check(data.width, data.height)
        limits.check(display.width, display.height)
        warnings = []
        if part.several:
            warnings.append("The file has several parts; only the first is used.")
        return Description(
            format=self.format,
            pages=(Page(display.width, display.height, native=part),),
            mode=("L" if len(part.channels) == 1 else "RGB") + "A" * part.alpha + "16",
            depth=32,
            floating=True,
            premultiplied=part.alpha,
            colour=Calibrated(1, part.space),
            warnings=tuple(warnings),
        )

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return OpenEXR; see `Codec`."""
        return (Decoder(_frames),)


def _part(file: InputFile) -> _Part:
    library = openexr()
    try:
        with library.File(file.reader(), separate_channels=True, header_only=True, num_threads=0) as opened:
            parts = len(opened.parts)
            header: dict[str, Any] = opened.parts[0].header
            sampling = {one.name: (one.xSampling, one.ySampling) for one in header["channels"]}
            kind = str(header.get("type", ""))
            data, display = _box(header["dataWindow"]), _box(header["displayWindow"])
            space = _primaries(header.get("chromaticities"))
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise CorruptImage(f"The header of the OpenEXR file is invalid: {say(error)}.") from error
    if _DEEP in kind:
        raise UnreadKind("OpenEXR files with deep pixels aren't supported.")
    channels = next((names for names in _CHANNELS if set(names) <= sampling.keys()), None)
    if channels is None:
        given = ", ".join(sorted(sampling)[:20])
        raise UnreadKind(f"OpenEXR files need the channels R, G and B, or Y; this file has {given or 'none'}.")
    alpha = _ALPHA in sampling
    return _Part(channels, sampling, alpha, data, display, space, parts > 1)


def _box(window: Any) -> Box:
    (left, top), (right, bottom) = (tuple(map(int, corner)) for corner in window)
    if not all(-_MOST_SIDE < edge < _MOST_SIDE for edge in (left, top, right, bottom)):
        raise ValueError("the position of a window is out of range")
    if right < left or bottom < top:
        raise ValueError("a window has no pixels")
    return Box(left, top, right - left + 1, bottom - top + 1)


def _primaries(said: Any) -> Chromaticities:
    if said is None:
        return BT709
    red, green, blue, white = ((float(said[at]), float(said[at + 1])) for at in (0, 2, 4, 6))
    space = Chromaticities(white, red, green, blue)
    space.to_xyz()  # raises ValueError if they are collinear
    return space


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    import numpy

    part: _Part = source.description.first.native
    names = [*part.channels, *([_ALPHA] if part.alpha else [])]
    opened = openexr().InputFile(source.file.reader())
    try:
        if all(part.sampling[name] == (1, 1) for name in names):
            read = opened.channels(names, float_pixels())
        else:  # `channels` can't return subsampled channels together
            read = [opened.channel(name, float_pixels()) for name in names]
    finally:
        opened.close()
    planes = [_plane(samples, name, part) for name, samples in zip(names, read, strict=True)]
    if len(part.channels) == 3 and part.channels[0] == "Y":
        planes[:3] = _colours(planes[:3], part.space)
    pixels = _placed(light(numpy.stack(planes, axis=2) if len(planes) > 1 else planes[0]), part)
    yield Frame(pixels, mode_of(pixels))


def _plane(read: bytes, name: str, part: _Part) -> "numpy.ndarray[Any, Any]":
    """Return the samples of a channel, scaled up to one for each pixel."""
    import numpy

    across, down = part.sampling[name]
    width, height = (-(-side // step) for side, step in ((part.data.width, across), (part.data.height, down)))
    samples = numpy.frombuffer(read, numpy.float32)
    if samples.size != width * height:
        raise CorruptImage("A channel of the OpenEXR file doesn't have as many samples as its header says.")
    plane = samples.reshape(height, width)
    if (across, down) == (1, 1):
        return plane
    return plane.repeat(down, axis=0).repeat(across, axis=1)[: part.data.height, : part.data.width]


def _colours(planes: "list[numpy.ndarray[Any, Any]]", space: Chromaticities) -> "list[numpy.ndarray[Any, Any]]":
    """Convert luminance and relative colour differences to red, green and blue."""
    luminance, red_less, blue_less = planes
    of_red, of_green, of_blue = space.to_xyz()[1]
    red, blue = (red_less + 1) * luminance, (blue_less + 1) * luminance
    return [red, (luminance - red * of_red - blue * of_blue) / of_green, blue]


def _placed(pixels: pyvips.Image, part: _Part) -> pyvips.Image:
    """Return the display window: pixels outside are cropped, and missing pixels are black."""
    left, top = part.data.left - part.display.left, part.data.top - part.display.top
    if (left, top, pixels.width, pixels.height) == (0, 0, part.display.width, part.display.height):
        return pixels
    return pixels.embed(left, top, part.display.width, part.display.height, extend="black")


CODECS = (_OpenExr(),)
