"""Frames: decoded pixels, brought from what a codec gives to the few kinds that the pipeline works with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import pyvips
from PIL import Image

from progimage.engine.colorimetry import Cicp
from progimage.engine.errors import CorruptImage
from progimage.engine.libraries import Library

PROFILE = "icc-profile-data"
"""Under what name libvips keeps an ICC profile."""
_ORIENTATION = "orientation"
"""Under what name libvips keeps the EXIF orientation."""
_INFINITE = 3.4e38
_quantizer = Library("quantizer", lambda: import_module("progimage.engine.quantizer"))
"""Returns our own module that finds palettes, which calculates with numpy."""
METADATA = {"exif": "exif-data", "xmp": "xmp-data"}
"""Under what names libvips keeps other metadata."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame or page.

    Attributes:
        pixels: Grey, RGB or CMYK, with or without alpha as the last band; unsigned char, unsigned short, or (grey
            only) float. Its metadata holds the ICC profile that is still to be applied.
        mode: The kind of pixels, one of `modes.MODES`. `1` is kept as grey, and `P` as grey or RGB: the mode tells
            only that there is nothing but black and white, or that there are at most 256 colours.
        duration: How long it is shown, in milliseconds; 0 outside of an animation.
        stands_for: The width and height that the image has, where it was decoded at another size; as the pixels lie.
        orientation: How the pixels are still to be turned upright: 1 to 8, as EXIF counts.
        gain_map: By how much a screen with headroom shows each pixel brighter, with the parameters of that; as large as
            the pixels.
        hdr: The code points of the samples, where they are PQ or HLG; None: they are sRGB, or as their profile says.
    """

    pixels: pyvips.Image
    mode: str
    duration: int = 0
    stands_for: tuple[int, int] | None = None
    orientation: int = 1
    hdr: Cicp | None = None
    gain_map: pyvips.Image | None = None


def icc_profile(pixels: pyvips.Image) -> bytes | None:
    """Return the ICC profile that goes with some pixels, if one does."""
    return bytes(pixels.get(PROFILE)) if pixels.get_typeof(PROFILE) else None


def with_profile(pixels: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Return the pixels with an ICC profile, if there is one."""
    return with_metadata(pixels, {PROFILE: profile})


def without_icc(pixels: pyvips.Image) -> pyvips.Image:
    """Return the pixels without an ICC profile."""
    if not pixels.get_typeof(PROFILE):
        return pixels
    bare = pixels.copy()
    bare.remove(PROFILE)
    return bare


def with_metadata(pixels: pyvips.Image, blobs: Mapping[str, bytes | None]) -> pyvips.Image:
    """Return the pixels with metadata, as libvips names them; those that are None or empty are left out."""
    pixels = pixels.copy()  # metadata may be set on a copy only
    for name, data in blobs.items():
        if data:
            pixels.set_type(pyvips.GValue.blob_type, name, data)
    return pixels


_UPRIGHT: dict[int, tuple[str, ...]] = {
    2: ("flop",), 3: ("d180",), 4: ("flip",), 5: ("d90", "flop"), 6: ("d90",), 7: ("d270", "flop"), 8: ("d270",),
}  # fmt: skip
"""What turns pixels of each orientation upright (JEITA CP-3451, tag 274)."""


def turned_upright(pixels: pyvips.Image, orientation: int) -> pyvips.Image:
    """Turn pixels upright.

    Args:
        pixels: The pixels; in memory, unless the orientation is 1 or 2.
        orientation: How they lie: 1 to 8, as EXIF counts.
    """
    for turn in _UPRIGHT.get(orientation, ()):
        if turn == "flop":
            pixels = pixels.flip("horizontal")
        else:
            pixels = pixels.flip("vertical") if turn == "flip" else pixels.rot(turn)
    return pixels


def without_orientation(pixels: pyvips.Image) -> pyvips.Image:
    """Return the pixels without the orientation that libvips has read: what the description says counts."""
    if not pixels.get_typeof(_ORIENTATION):
        return pixels
    bare = pixels.copy()
    bare.remove(_ORIENTATION)
    return bare


def normalise(image: pyvips.Image) -> pyvips.Image:
    """Bring whatever libvips loads to the few kinds of pixels that a `Frame` may have."""
    if image.format in ("complex", "dpcomplex"):
        raise CorruptImage("Images of complex numbers are not read.")
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
    """Convert CIELab of D50, as files have it; libvips' own conversion takes it for that of D65."""
    converted = image.icc_export(output_profile="srgb", intent="relative", depth=16 if deep else 8).copy()
    converted.remove(PROFILE)
    return converted


def to_range(image: pyvips.Image, white: int) -> pyvips.Image:
    """Bring samples of unknown range to 0..`white`, as floats.

    Samples that all lie in 0..1, 0..255 or 0..65535, or a tenth beyond, are taken to have that range, and clipped to
    it; any others are stretched, so that the least is black and the greatest white. What is no finite number becomes 0.
    """
    image = image.cast("float").copy_memory()  # it is read more than once
    image = (image.abs() < _INFINITE).ifthenelse(image, 0)
    least, greatest = image.min(), image.max()
    for top in (1, 255, 65535):
        if least >= -top / 10 and greatest <= top * 1.1:
            return (image / top).clamp() * white
    return (image - least) * (white / ((greatest - least) or 1))


def whole_range(pixels: pyvips.Image, bits: int) -> pyvips.Image:
    """Return 16-bit samples, of which a decoder has shifted fewer bits to the top, over all of their range."""
    white = ((1 << bits) - 1) << (16 - bits)
    if pixels.format != "ushort" or not 8 < bits < 16:
        return pixels
    return (pixels * (65535 / white) + 0.5).cast("ushort").copy(interpretation=pixels.interpretation)


def from_pillow(image: Image.Image) -> Frame:
    """Take over the pixels of a loaded Pillow image, of any mode.

    Raises:
        ValueError: The mode is one that Pillow can't convert.
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
    plain = image if mode == wanted else image.convert(wanted)  # which would copy
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
    # Pillow keeps L as 0..255 for 0..100, and a and b with 128 added.
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
    """Make a Pillow image of a frame; `1`, `P` and `PA` are dithered to it if need be.

    A palette needs numpy; see `engine.libraries`.

    Args:
        frame: The frame.
        colours: How many colours a palette may have, or None: 256.
    """
    pixels = frame.pixels
    if frame.mode in ("P", "PA"):
        return with_one_palette([frame], colours)[0]
    kind = {"1": "L", "L16": "I;16"}.get(frame.mode, frame.mode)
    image = Image.frombuffer(kind, (pixels.width, pixels.height), bytes(pixels.write_to_memory()), "raw", kind, 0, 1)
    return image.convert("1") if frame.mode == "1" else image


def with_one_palette(frames: Sequence[Frame], colours: int | None = None) -> list[Image.Image]:
    """Make Pillow images of frames, all of them with the same palette; see `to_pillow`."""
    quantizer = _quantizer()
    pictures = [quantizer.samples_of(frame.pixels) for frame in frames]
    palette = quantizer.palette_for(pictures, colours or 256)
    return [palette.picture(samples) for samples in pictures]
