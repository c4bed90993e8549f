"""Frames: decoded pixels, converted from the codecs' output to the few pixel modes that the pipeline works with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import pyvips
from PIL import Image

from progimage.engine.colorimetry import Cicp
from progimage.engine.errors import CorruptImage
from progimage.engine.libraries import Library

PROFILE = "icc-profile-data"
"""libvips' metadata name of the ICC profile."""
_ORIENTATION = "orientation"
"""libvips' metadata name of the EXIF orientation."""
_INFINITE = 3.4e38
_quantizer = Library("quantizer", lambda: import_module("progimage.engine.quantizer"))
"""Loads our palette module, which uses numpy."""
METADATA = {"exif": "exif-data", "xmp": "xmp-data"}
"""libvips' metadata names of other kinds of metadata."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame or page.

    Attributes:
        pixels: Grey, RGB or CMYK, optionally with alpha as the last band; unsigned char, unsigned short, or (grey
            only) float. Its metadata contains the ICC profile that still has to be applied.
        mode: Pixel mode, one of `modes.MODES`. Pixels of mode `1` are stored as grey, and those of `P` as grey or RGB;
            the mode only says that they are all black and white, or have at most 256 colours.
        duration: Duration of the frame in milliseconds; 0 if it isn't part of an animation.
        stands_for: Width and height of the image, in the orientation of the pixels, if it was decoded at another size.
        orientation: Orientation that still has to be applied to the pixels, 1 to 8 as in EXIF.
        gain_map: How much brighter displays with headroom show each pixel, with the gain map's parameters as metadata;
            of the same size as the pixels.
        hdr: Code points of the samples, if they are PQ or HLG; None if they are sRGB or have an ICC profile.
    """

    pixels: pyvips.Image
    mode: str
    duration: int = 0
    stands_for: tuple[int, int] | None = None
    orientation: int = 1
    hdr: Cicp | None = None
    gain_map: pyvips.Image | None = None


def icc_profile(pixels: pyvips.Image) -> bytes | None:
    """Return the ICC profile of the pixels, if any."""
    return bytes(pixels.get(PROFILE)) if pixels.get_typeof(PROFILE) else None


def with_profile(pixels: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Return the pixels with an ICC profile attached, unless it is None."""
    return with_metadata(pixels, {PROFILE: profile})


def without_icc(pixels: pyvips.Image) -> pyvips.Image:
    """Return the pixels without an ICC profile."""
    if not pixels.get_typeof(PROFILE):
        return pixels
    bare = pixels.copy()
    bare.remove(PROFILE)
    return bare


def with_metadata(pixels: pyvips.Image, blobs: Mapping[str, bytes | None]) -> pyvips.Image:
    """Return the pixels with metadata, by libvips' names. Values that are None or empty are skipped."""
    pixels = pixels.copy()  # metadata can only be set on a copy
    for name, data in blobs.items():
        if data:
            pixels.set_type(pyvips.GValue.blob_type, name, data)
    return pixels


_UPRIGHT: dict[int, tuple[str, ...]] = {
    2: ("flop",), 3: ("d180",), 4: ("flip",), 5: ("d90", "flop"), 6: ("d90",), 7: ("d270", "flop"), 8: ("d270",),
}  # fmt: skip
"""The operations that turn pixels upright, by orientation (JEITA CP-3451, tag 274)."""


def turned_upright(pixels: pyvips.Image, orientation: int) -> pyvips.Image:
    """Turn pixels upright.

    Args:
        pixels: The pixels; in memory, unless the orientation is 1 or 2.
        orientation: Orientation of the pixels, 1 to 8 as in EXIF.
    """
    for turn in _UPRIGHT.get(orientation, ()):
        if turn == "flop":
            pixels = pixels.flip("horizontal")
        else:
            pixels = pixels.flip("vertical") if turn == "flip" else pixels.rot(turn)
    return pixels


def without_orientation(pixels: pyvips.Image) -> pyvips.Image:
    """Return the pixels without the orientation that libvips has read; the description's takes precedence."""
    if not pixels.get_typeof(_ORIENTATION):
        return pixels
    bare = pixels.copy()
    bare.remove(_ORIENTATION)
    return bare


def normalise(image: pyvips.Image) -> pyvips.Image:
    """Convert any pixels that libvips loads to those that a `Frame` can have."""
    if image.format in ("complex", "dpcomplex"):
        raise CorruptImage("Images with complex samples aren't supported.")
    if image.interpretation in ("lab", "labs", "labq"):
        image = srgb_of_lab(image)
    if image.interpretation in ("xyz", "yxy", "lch", "cmc", "hsv"):
        image = image.colourspace("srgb")
    if image.interpretation == "cmyk":
        image = image.extract_band(0, n=4)
        if image.format == "uchar":
            return image
        inks = image / 257 if image.format == "ushort" else to_range(image, 255)
        return (inks + 0.5).cast("uchar").copy(interpretation="cmyk")
    if image.bands > 4:
        image = image.extract_band(0, n=3)
    if image.format not in ("uchar", "ushort"):
        if image.bands == 1:
            return image.cast("float").copy(interpretation="b-w")
        image = to_range(image, 65535).cast("ushort")
    deep = image.format == "ushort"
    if image.bands < 3:
        return image.copy(interpretation="grey16" if deep else "b-w")
    return image.copy(interpretation="rgb16" if deep else "srgb")


def srgb_of_lab(image: pyvips.Image, *, deep: bool = True) -> pyvips.Image:
    """Convert CIELab relative to D50, as files store it; libvips' own conversion assumes D65."""
    converted = image.icc_export(output_profile="srgb", intent="relative", depth=16 if deep else 8).copy()
    converted.remove(PROFILE)
    return converted


def to_range(image: pyvips.Image, white: int) -> pyvips.Image:
    """Scale samples of unknown range to 0..`white`, as floats.

    If all samples lie in 0..1, 0..255 or 0..65535, or at most a tenth beyond, that range is assumed and samples are
    clipped to it. Otherwise they are stretched, so that the smallest is black and the largest white. Samples that
    aren't finite become 0.
    """
    image = image.cast("float").copy_memory()  # it is read more than once
    image = (image.abs() < _INFINITE).ifthenelse(image, 0)
    minimum, greatest = image.min(), image.max()
    for top in (1, 255, 65535):
        if minimum >= -top / 10 and greatest <= top * 1.1:
            return (image / top).clamp() * white
    return (image - minimum) * (white / ((greatest - minimum) or 1))


def whole_range(pixels: pyvips.Image, bits: int) -> pyvips.Image:
    """Scale 16-bit samples that a decoder has only shifted up from fewer bits, so that they use the full range."""
    white = ((1 << bits) - 1) << (16 - bits)
    if pixels.format != "ushort" or not 8 < bits < 16:
        return pixels
    return (pixels * (65535 / white) + 0.5).cast("ushort").copy(interpretation=pixels.interpretation)


def from_pillow(image: Image.Image) -> Frame:
    """Convert a loaded Pillow image of any mode to a frame.

    Raises:
        ValueError: Pillow can't convert the mode.
    """
    mode = image.mode
    if mode == "LAB":
        return Frame(_from_lab(image), "RGB")
    if mode.startswith("I;16"):
        return Frame(_memory(image, _native_16bit(image), "ushort", "grey16"), "L16")
    if mode == "F":
        return Frame(_memory(image, image.tobytes(), "float", "b-w"), "F")
    if mode == "I":
        pixels = _memory(image, image.tobytes(), "int", "b-w")
        if pixels.min() < 0 or pixels.max() > 65535:
            pixels = to_range(pixels, 65535)
        return Frame(pixels.cast("ushort").copy(interpretation="grey16"), "L16")
    if mode == "CMYK":
        return Frame(_memory(image, image.tobytes(), "uchar", "cmyk"), "CMYK")
    grey = mode in ("1", "L", "LA", "La")
    transparent = image.has_transparency_data or mode in ("La", "RGBa")
    wanted = ("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB")
    plain = image if mode == wanted else image.convert(wanted)  # `convert` would always copy
    pixels = _memory(plain, plain.tobytes(), "uchar", "b-w" if grey else "srgb")
    return Frame(pixels, mode if mode in ("1", "P") and not transparent else plain.mode)


def _memory(image: Image.Image, data: bytes, kind: str, interpretation: str) -> pyvips.Image:
    bands = len(image.getbands())
    return pyvips.Image.new_from_memory(data, image.width, image.height, bands, kind).copy(
        interpretation=interpretation
    )


def _native_16bit(image: Image.Image) -> bytes:
    data = image.tobytes()
    if image.mode != "I;16B":
        return data
    swapped = pyvips.Image.new_from_memory(data, image.width, image.height, 1, "ushort").byteswap()
    return bytes(swapped.write_to_memory())


def _from_lab(image: Image.Image) -> pyvips.Image:
    # Pillow stores L as 0..255 for 0..100, and adds 128 to a and b.
    pixels = pyvips.Image.new_from_memory(
        b"".join(image.getchannel(band).tobytes() for band in range(3)),
        image.width,
        image.height * 3,
        1,
        "uchar",
    )
    planes = [pixels.crop(0, image.height * band, image.width, image.height) for band in range(3)]
    lab = (planes[0] * (100 / 255)).bandjoin([planes[1] - 128, planes[2] - 128])
    return srgb_of_lab(lab.copy(interpretation="lab"), deep=False)


def to_pillow(frame: Frame, colours: int | None = None) -> Image.Image:
    """Convert a frame to a Pillow image. For modes `1`, `P` and `PA` it is dithered if necessary.

    A palette needs numpy; see `engine.libraries`.

    Args:
        frame: The frame.
        colours: Maximum number of colours in a palette; None means 256.
    """
    pixels = frame.pixels
    if frame.mode in ("P", "PA"):
        return with_one_palette([frame], colours)[0]
    kind = {"1": "L", "L16": "I;16"}.get(frame.mode, frame.mode)
    image = Image.frombuffer(kind, (pixels.width, pixels.height), bytes(pixels.write_to_memory()), "raw", kind, 0, 1)
    return image.convert("1") if frame.mode == "1" else image


def with_one_palette(frames: Sequence[Frame], colours: int | None = None) -> list[Image.Image]:
    """Convert frames to Pillow images that share one palette; see `to_pillow`."""
    quantizer = _quantizer()
    pictures = [quantizer.samples_of(frame.pixels) for frame in frames]
    palette = quantizer.palette_for(pictures, colours or 256)
    return [palette.picture(samples) for samples in pictures]
