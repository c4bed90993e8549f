"""What a picture looks like, in a few bytes: placeholders, dominant colours, a perceptual hash."""

import base64
from dataclasses import dataclass

import blurhash
import dhash
import pyvips
import thumbhash
from PIL import Image

from progimage.engine.colourspace import to_rgb
from progimage.engine.files import AnyFile, InputFile
from progimage.engine.limits import Limits
from progimage.engine.paint import with_alpha
from progimage.engine.picture import open_picture
from progimage.engine.steps.size import resized

_THUMBHASH_SIDE = 100
"""The largest picture that ThumbHash takes."""
_BLURHASH_SIDE, _BLURHASH_COMPONENTS = 32, 4
_PREVIEW_SIDE, _PREVIEW_QUALITY = 24, 40
_PALETTE_SIDE = 128
_OPAQUE_FROM = 128
_KMEANS_ROUNDS = 4
_FLAT_SHARE = 0.55
"""Line art has at least this share of pixels that are the same as their neighbour. Of 26 photographs that were
measured, none had more than 0.43, and of 6 drawings none less than 0.89."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What to show until a picture is there.

    Attributes:
        width: Of the upright picture, in pixels.
        height: Likewise.
        thumbhash: Its ThumbHash, in base64; it has the aspect ratio and the transparency.
        blurhash: Its BlurHash, of 4 or 3 components along the longer side.
        data_uri: A tiny WebP, to be stretched by the browser.
    """

    width: int
    height: int
    thumbhash: str
    blurhash: str
    data_uri: str


@dataclass(frozen=True, slots=True)
class Swatch:
    """A dominant colour.

    Attributes:
        color: As in CSS, such as #c08040.
        share: What part of the opaque pixels is near to it, 0 to 1.
    """

    color: str
    share: float


def placeholder(file: AnyFile, limits: Limits) -> Placeholder:
    """Make the placeholders of an image file.

    Args:
        file: The file.
        limits: The largest image to accept.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: It is broken.
        LimitExceeded: It is too large.
    """
    picture = open_picture(InputFile(file), limits, longest=_THUMBHASH_SIDE)
    width, height = picture.stands_for
    small = to_rgb(picture.pixels)
    sample = with_alpha(_within(small, _THUMBHASH_SIDE))
    hashed = thumbhash.rgba_to_thumb_hash(sample.width, sample.height, bytes(sample.write_to_memory()))
    across, down = (_BLURHASH_COMPONENTS, 3) if width >= height else (3, _BLURHASH_COMPONENTS)
    flat = _within(small, _BLURHASH_SIDE)
    flat = flat.flatten(background=[255, 255, 255]) if flat.hasalpha() else flat
    preview = _within(small, _PREVIEW_SIDE).webpsave_buffer(Q=_PREVIEW_QUALITY, keep="none")
    return Placeholder(
        width=width,
        height=height,
        thumbhash=base64.b64encode(bytes(hashed)).decode(),
        blurhash=blurhash.encode(_pillow(flat), across, down),
        data_uri=f"data:image/webp;base64,{base64.b64encode(preview).decode()}",
    )


def palette(file: AnyFile, colours: int, limits: Limits) -> list[Swatch]:
    """Return the dominant colours of an image file, the most frequent first.

    They are found by median cut and refined by k-means. What is more than half transparent does not count.

    Args:
        file: The file.
        colours: The most to return.
        limits: The largest image to accept.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: It is broken.
        LimitExceeded: It is too large.
    """
    small = with_alpha(
        _within(to_rgb(open_picture(InputFile(file), limits, longest=_PALETTE_SIDE).pixels), _PALETTE_SIDE)
    )
    samples = bytes(small.write_to_memory())
    opaque = [bytes(samples[i : i + 3]) for i in range(0, len(samples), 4) if samples[i + 3] >= _OPAQUE_FROM]
    if not opaque:
        return []
    row = Image.frombytes("RGB", (len(opaque), 1), b"".join(opaque))
    reduced = row.quantize(colours, Image.Quantize.MEDIANCUT, kmeans=_KMEANS_ROUNDS)
    table = reduced.getpalette("RGB") or []
    counts: list[tuple[int, int]] = sorted(reduced.getcolors(colours) or [], reverse=True)  # type: ignore[arg-type]
    return [
        Swatch("#" + bytes(table[3 * index : 3 * index + 3]).hex(), round(count / len(opaque), 4))
        for count, index in counts
    ]


def perceptual_hash(picture: pyvips.Image) -> str:
    """Return a hash whose bits differ the less, the more two pictures look alike (dHash, Krawetz 2013).

    Args:
        picture: Grey or sRGB of 8 bits.

    Returns:
        32 hexadecimal digits: 64 bits of the differences along rows, then 64 of those along columns.
    """
    flat = picture.flatten(background=[255] * (picture.bands - 1)) if picture.hasalpha() else picture
    row, column = dhash.dhash_row_col(_pillow(flat))
    return str(dhash.format_hex(row, column))


def is_line_art(picture: pyvips.Image) -> bool:
    """Return whether a picture is drawn rather than photographed: it has even areas, which lossless formats keep small.

    Args:
        picture: Grey or sRGB of 8 bits.
    """
    if picture.width < 2:
        return False
    left = picture.crop(0, 0, picture.width - 1, picture.height).cast("short")
    right = picture.crop(1, 0, picture.width - 1, picture.height).cast("short")
    differing = ((left - right).abs() > 0).bandor()
    return bool(differing.avg() / 255 <= 1 - _FLAT_SHARE)


def _within(picture: pyvips.Image, longest: int) -> pyvips.Image:
    scale = longest / max(picture.width, picture.height)
    if scale >= 1:
        return picture
    return resized(picture, (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), "lanczos3")


def _pillow(picture: pyvips.Image) -> Image.Image:
    size = picture.width, picture.height
    return Image.frombytes("L" if picture.bands == 1 else "RGB", size, bytes(picture.write_to_memory()))
