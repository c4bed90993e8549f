"""What each encoder is told: our own choices, and what the spec asks for, in the encoder's own words."""

from typing import Any

import pyvips
from PIL import Image

from progimage.engine.errors import InvalidParameter
from progimage.engine.frame import METADATA, ORIENTATION, Frame, icc_profile, with_metadata
from progimage.engine.plan import Plan

_JPEG2000_UNTILED, _JPEG2000_TILE = 16_000_000, (2048, 2048)
"""From how many pixels on, and into what tiles, JPEG 2000 is cut: one of 99 megapixels was too much for 4 GiB."""
_ORIENTATION, _EXIF_IFD, _EXIF_WIDTH, _EXIF_HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
_THUMBNAIL = "jpeg-thumbnail-data"

# What each format is written with; the figures behind it are in docs/decisions/0002-codecs.md.
_VIPS: dict[str, dict[str, Any]] = {
    "JPEG": {"Q": 80, "optimize_coding": True},
    "PNG": {"compression": 6, "filter": "all"},
    "TIFF": {"compression": "deflate", "predictor": "horizontal"},
    "WEBP": {"Q": 80, "effort": 4},
    "AVIF": {"compression": "av1", "Q": 60, "effort": 2},
}
_PILLOW: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 60, "speed": 7, "max_threads": 1, "autotiling": False, "advanced": {"tune": "ssim"}},
    "GIF": {"optimize": False},
    "HEIC": {"quality": 65},
    "JPEG": {"quality": 80},
    "JXL": {"quality": 80, "effort": 5, "num_threads": 0},
    "J2K": {"no_jp2": True},  # lossless, like JP2: OpenJPEG's quality in dB gets even colours wrong
    "MPO": {"quality": 80},
    "PDF": {"quality": 85, "creationDate": None, "modDate": None},
    "PNG": {"compress_level": 6},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    # Without key frames, each of which would be encoded in two ways: a quarter less time for as many bytes.
    "WEBP": {"quality": 80, "method": 4, "kmin": 0, "kmax": 0},
}
TRELLIS_EFFORT = 7
"""From this effort on a JPEG gets what only mozjpeg has, which libvips is built with."""
_FAST_EFFORT = 2
"""Up to this effort a JPEG has the standard's Huffman tables, rather than its own."""
_BEST = 100
_FULL_CHROMA_QUALITY = 90
"""From this quality on a JPEG keeps all of its colour, as libvips has it."""
USUAL_QUALITY: dict[str, int] = {
    name: table.get("quality") or table["Q"]
    for name, table in (_VIPS | _PILLOW).items()
    if "quality" in table or "Q" in table
}
"""The quality of each format that has one, where none is asked for."""


def vips_options(frame: Frame, plan: Plan) -> dict[str, Any]:
    """Return the arguments of the libvips saver of the plan's format.

    Args:
        frame: The first frame, after all steps.
        plan: The plan.
    """
    name, spec = plan.format.name, plan.spec
    options = dict(_VIPS[name])
    if frame.mode == "1":
        options |= {"bitdepth": 1}
        options |= {"compression": "ccittfax4", "predictor": "none"} if name == "TIFF" else {"filter": "none"}
    elif frame.mode == "F":
        options |= {"predictor": "float"}
    if name == "AVIF" and frame.mode in ("RGB16", "RGBA16"):
        # The most that AV1's main profile has, so that every decoder reads it.
        options["bitdepth"] = 10
    if plan.quality:
        options["Q"] = plan.quality
    if spec.lossless and name in ("WEBP", "AVIF"):
        del options["Q"]
        options |= {"lossless": True} | ({"exact": True} if name == "WEBP" else {})
    if spec.effort:
        options |= _vips_effort(name, spec.effort)
    if spec.progressive:
        options["interlace"] = True
    if spec.chroma:
        options["subsample_mode"] = "on" if spec.chroma == "4:2:0" else "off"
    keep = pyvips.enums.ForeignKeep
    flags = {"icc": keep.ICC, "exif": keep.EXIF, "xmp": keep.XMP}
    options["keep"] = sum(flags[kind] for kind in spec.kept)
    return options


def _vips_effort(name: str, effort: int) -> dict[str, Any]:
    if name == "JPEG":
        # Huffman tables of its own, then what mozjpeg adds: quantisation that looks ahead, and the best of many scans.
        hard = {
            "trellis_quant": effort >= TRELLIS_EFFORT,
            "overshoot_deringing": effort >= TRELLIS_EFFORT,
            "optimize_scans": effort == 9,
        }
        return {"optimize_coding": effort > _FAST_EFFORT} | {option: True for option, on in hard.items() if on}
    if name == "WEBP":
        return {"effort": _of_six(effort)}
    return {"compression": effort} if name == "PNG" else {"effort": effort}


def _of_six(effort: int) -> int:
    return round((effort - 1) * 6 / 8)  # libwebp counts from 0 to 6


def pillow_options(frame: Frame, plan: Plan) -> dict[str, Any]:
    """Return the arguments of Pillow's `save` for the plan's format.

    Args:
        frame: The first frame, after all steps.
        plan: The plan.

    Raises:
        InvalidParameter: The encoder can't do what is asked for with this image.
    """
    name, spec = plan.format.name, plan.spec
    options = dict(_PILLOW.get(name, {}))
    profile = icc_profile(frame.pixels)
    if profile and plan.format.icc:
        options["icc_profile"] = profile
    if plan.format.pillow == "JPEG2000" and frame.pixels.width * frame.pixels.height > _JPEG2000_UNTILED:
        options["tile_size"] = _JPEG2000_TILE
    if plan.quality:
        options["quality"] = plan.quality
    if name == "PDF" and frame.mode not in ("L", "RGB", "CMYK"):
        del options["quality"]  # the others are not stored as JPEG
    if spec.lossless or (name == "JXL" and plan.quality == _BEST):  # its encoder takes no other quality of 100
        options |= _pillow_lossless(name)
    if spec.effort:
        words = {
            "AVIF": ("speed", 10 - spec.effort),
            "JXL": ("effort", spec.effort),
            "PNG": ("compress_level", spec.effort),
            "WEBP": ("method", _of_six(spec.effort)),
        }
        if name in words:
            options.update([words[name]])
    if name == "JPEG":
        return options | _pillow_jpeg(plan, options["quality"]) | metadata_of(frame, plan)
    if spec.progressive:
        raise InvalidParameter("progressive", "true", "not for an animation")
    if spec.chroma:
        options |= {"subsampling": spec.chroma} if name == "AVIF" else {"chroma": int(spec.chroma.replace(":", ""))}
    return options | metadata_of(frame, plan)


def _pillow_jpeg(plan: Plan, quality: int) -> dict[str, Any]:
    # Only small ones come here; libvips writes the others, which are not progressive unless that is asked for.
    spec = plan.spec
    thorough = (spec.effort or 5) > _FAST_EFFORT
    full = spec.chroma == "4:4:4" or (not spec.chroma and quality >= _FULL_CHROMA_QUALITY)
    return {
        "optimize": thorough,
        "progressive": thorough if spec.progressive is None else spec.progressive,
        "subsampling": "4:4:4" if full else "4:2:0",
    }


def _pillow_lossless(name: str) -> dict[str, Any]:
    if name == "AVIF":
        raise InvalidParameter("lossless", "true", "not for an animation in AVIF")
    words: dict[str, dict[str, Any]] = {
        "HEIC": {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
        "JXL": {"lossless": True, "quality": None},
        "WEBP": {"lossless": True, "exact": True, "quality": 80},  # here the quality is an effort
    }
    return words.get(name, {})


def metadata_of(frame: Frame, plan: Plan) -> dict[str, bytes]:
    """Return the EXIF and the XMP that are to be kept, if the image has them."""
    pixels = frame.pixels
    found: dict[str, bytes] = {
        kind: bytes(pixels.get(METADATA[kind]))
        for kind in ("exif", "xmp")
        if kind in plan.spec.kept and kind in plan.format.metadata and pixels.get_typeof(METADATA[kind])
    }
    exif = _exif_of(pixels, found.pop("exif")) if "exif" in found else None
    return found | ({"exif": exif} if exif else {})


def with_kept_metadata(frame: Frame, plan: Plan) -> pyvips.Image:
    """Return the pixels with the metadata that libvips is to write."""
    kept = metadata_of(frame, plan)
    pixels = with_metadata(frame.pixels, {METADATA[kind]: data for kind, data in kept.items()})
    if pixels.get_typeof(_THUMBNAIL):
        pixels.remove(_THUMBNAIL)
    return pixels


def _exif_of(pixels: pyvips.Image, data: bytes) -> bytes | None:
    """Return the EXIF with what is true of these pixels, without a thumbnail; None if it can't be read."""
    exif = Image.Exif()
    try:
        exif.load(data)
        exif[_ORIENTATION] = pixels.get(ORIENTATION) if pixels.get_typeof(ORIENTATION) else 1
        inner = exif.get_ifd(_EXIF_IFD)
        if inner:
            inner[_EXIF_WIDTH], inner[_EXIF_HEIGHT] = pixels.width, pixels.height
        return exif.tobytes()
    except Exception:  # Pillow trips over broken EXIF in many ways; the picture is whole without it
        return None
