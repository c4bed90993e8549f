"""The pyramid: a large image in tiles at full size, half size and so on, so that a part can be read without the rest.

It is a tiled TIFF with a page for each level, upright, with the image's colour profile and no other metadata. A pixel
of level `n` stands for `2**n` × `2**n` pixels of the image; incomplete ones at the right and bottom edge are dropped.
"""

import math

import pyvips

from progimage.engine.codecs import CODECS
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.decode import decode, with_decoders
from progimage.engine.description import Description, Page
from progimage.engine.files import AnyFile, InputFile, OutputFile
from progimage.engine.frame import turned_upright
from progimage.engine.geometry import Box, Size, crop_box, fitting
from progimage.engine.ladder import COPIED_MODES, Ladder, suffices
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.source import open_source
from progimage.engine.spec import RenditionSpec

TILE = 512
"""Side of a tile in pixels."""
LEAST_PIXELS = 20_000_000
"""Smaller images get no pyramid, since decoding them completely takes less time than building one."""
_LARGEST_PART = 4
"""The pyramid is used only for parts of up to one in this many pixels of the image, unless it has `_HUGE_PIXELS`."""
_HUGE_PIXELS = 50_000_000
"""For images with at least this many pixels, the pyramid is used for parts of any size."""

_JPEG = {"compression": "jpeg", "Q": 90}
_DEFLATE = {"compression": "deflate", "predictor": "horizontal"}


def may_serve(ladder: Ladder, spec: RenditionSpec) -> bool:
    """Return whether a rendition should be made from the image's pyramid.

    Args:
        ladder: Ladder of the image, which must be a still image of 8 bits.
        spec: Spec of the rendition.
    """
    if ladder.width * ladder.height < LEAST_PIXELS or spec.kept - {"icc"} or (ladder.turned and not spec.autorotate):
        return False
    first = spec.stages[0]
    part = crop_box(ladder.size, first)
    if not isinstance(part, Box) or first.trim is not None or first.kernel == "nearest":
        return False
    whole = ladder.width * ladder.height
    return whole >= _HUGE_PIXELS or part.width * part.height * _LARGEST_PART <= whole


def build_pyramid(source: AnyFile, target: AnyFile, flat: bool, limits: Limits) -> None:
    """Write the pyramid of an image.

    Args:
        source: The image: a still image of 8 bits, grey or RGB, with or without alpha.
        target: The file to write.
        flat: Whether the image has areas of uniform colour, whose edges JPEG would blur.
        limits: The largest image to accept.

    Raises:
        NotAnImage: `source` is not in a supported image format.
        CorruptImage: `source` is damaged.
        LimitExceeded: `source` is too large.
    """
    opened = open_source(InputFile(source), limits)

    def attempt(decoder: Decoder, file: OutputFile) -> None:
        frame = next(decode(opened, decoder, 0, 1))
        assert frame.mode in COPIED_MODES, frame.mode
        turned = frame.orientation > 1
        pixels = turned_upright(frame.pixels.copy_memory(), frame.orientation) if turned else frame.pixels
        options = _DEFLATE if flat or pixels.hasalpha() else _JPEG
        pixels.tiffsave_target(
            file.target(), tile=True, tile_width=TILE, tile_height=TILE, pyramid=True, depth="onetile", keep="icc",
            **options,
        )  # fmt: skip

    with OutputFile(target) as file:
        with_decoders(opened, lambda decoder: attempt(decoder, file))


def open_pyramid(file: InputFile, limits: Limits) -> Source:
    """Read the header of a pyramid.

    Raises:
        LimitExceeded: The image is too large.
    """
    image = pyvips.Image.tiffload_source(file.source())
    levels = image.get("n-pages") if image.get_typeof("n-pages") else 1
    limits.check(image.width, image.height)
    codec = CODECS["TIFF"]
    description = Description(format=codec.format, pages=(Page(image.width, image.height),), mode=mode_of(image))
    return Source(file, codec, description, limits, levels=levels)


def level_for(source: Source, operations: Operations) -> Decoding:
    """Return the level of a pyramid to read: the smallest that suffices.

    Args:
        source: The pyramid.
        operations: The operations of the first stage, which crop a box.
    """
    box = crop_box(source.size, operations)
    assert isinstance(box, Box)
    wanted = fitting((box.width, box.height), operations).resized
    for level in range(source.levels - 1, 0, -1):
        here = part_of_level(box, 2**level)
        size = here.width, here.height
        # At the edges, a tile can be off by one pixel.
        same = all(abs(side - target) <= 1 for side, target in zip(size, wanted, strict=True))
        if same or suffices(size, wanted):
            return Decoding(level=level)
    return Decoding()


def part_of_level(box: Box, scale: int) -> Box:
    """Return the part of a level that contains a box of the image.

    Args:
        box: The box, in pixels of the image.
        scale: Width and height of the level's pixels, in pixels of the image.
    """
    left, top = box.left // scale, box.top // scale
    right, bottom = math.ceil((box.left + box.width) / scale), math.ceil((box.top + box.height) / scale)
    return Box(left, top, right - left, bottom - top)


def scale_of(full: Size, here: Size) -> int:
    """Return the width and height of a level's pixels, in pixels of the image: a power of two."""
    return 1 << round(math.log2(max(full) / max(here)))
