"""From frames to a file: one small writer for each way of writing, chosen by the table of formats."""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import pillow_heif
import pyvips
from PIL import Image

from progimage.engine.encoder_options import (
    TRELLIS_EFFORT,
    USUAL_QUALITY,
    pillow_options,
    vips_options,
    with_kept_metadata,
)
from progimage.engine.errors import CannotRepresent, EngineError
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame, from_pillow
from progimage.engine.modes import mode_of
from progimage.engine.plan import Plan
from progimage.engine.quality import automatic_quality, fitting_quality

_ICO_SIDES = (256, 128, 64, 48, 32, 24, 16)
_OPAQUE_FROM = 128
"""The alpha from which on a pixel counts as opaque where there is only opaque and transparent."""
_SMALL_PIXELS = 1_000_000
_VIPS_SAVERS = {
    "AVIF": "heifsave_target",
    "JPEG": "jpegsave_target",
    "PNG": "pngsave_target",
    "TIFF": "tiffsave_target",
    "WEBP": "webpsave_target",
}


def encode(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    """Write frames to a file.

    Args:
        first: The first frame or page, after all steps.
        rest: The others, made as they are asked for.
        plan: What was settled for this rendering.
        target: The file.

    Raises:
        CannotRepresent: The codec refuses this image.
        InvalidParameter: It can't be encoded as is asked for.
    """
    try:
        spec = plan.spec
        if not isinstance(spec.quality, str) and not spec.max_bytes:
            _write(first, rest, replace(plan, quality=spec.quality), target)
            return
        # It is encoded several times.
        frames = [_in_memory(frame) for frame in chain([first], rest)]
        if isinstance(spec.quality, int):
            quality = spec.quality
        elif spec.quality == "auto":
            still = replace(plan, several=False)
            quality = automatic_quality(
                frames[0], lambda frame, q: _write(frame, iter(()), replace(still, quality=q), target), target
            )
        else:
            quality = USUAL_QUALITY[plan.format.name]
        if spec.max_bytes:
            quality = fitting_quality(lambda q: _write_all(frames, plan, q, target), quality, spec.max_bytes, target)
        _write_all(frames, plan, quality, target)
    except (EngineError, MemoryError, pyvips.Error):
        raise
    except Exception as error:  # Pillow's plugins raise whatever their writing runs into
        raise CannotRepresent(f"{plan.format.name} can't hold this image: {error}") from error


def _in_memory(frame: Frame) -> Frame:
    return replace(frame, pixels=frame.pixels.copy_memory())


def _write_all(frames: list[Frame], plan: Plan, quality: int, target: OutputFile) -> None:
    _write(frames[0], iter(frames[1:]), replace(plan, quality=quality), target)


def _write(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    _writer(plan, first)(first, rest, plan, target)


_Writer = Callable[[Frame, Iterator[Frame], Plan, OutputFile], None]


def _writer(plan: Plan, first: Frame) -> _Writer:
    name, mode = plan.format.name, first.mode
    if plan.several:
        return _write_animation if plan.format.animated else _write_pages
    if name in ("ICO", "ICNS"):
        return _write_ico if name == "ICO" else _write_icns
    if name == "BLP":
        return _write_blp
    if mode in ("RGB16", "RGBA16") and name in ("HEIC", "PPM", "PNM"):
        return _write_deep_heic if name == "HEIC" else _write_deep_pnm
    if name in _VIPS_SAVERS and mode not in ("P", "PA") and not _better_by_pillow(name, first, plan):
        return _write_vips
    return _write_pillow


def _better_by_pillow(name: str, frame: Frame, plan: Plan) -> bool:
    if name == "AVIF":  # it is faster, but has neither 10 bits nor a lossless way
        return not plan.spec.lossless and frame.mode not in ("RGB16", "RGBA16")
    # It is faster, but needs all pixels at once, and has not what libvips does with more effort.
    small = frame.pixels.width * frame.pixels.height <= _SMALL_PIXELS
    return name == "JPEG" and small and (plan.spec.effort or 0) < TRELLIS_EFFORT


def _write_vips(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    # A 1-bit image is dithered by Pillow: libvips would only cut at the middle.
    pixels = from_pillow(to_pillow(first)).pixels if first.mode == "1" else first.pixels
    pixels = with_kept_metadata(replace(first, pixels=pixels), plan)
    getattr(pixels, _VIPS_SAVERS[plan.format.name])(target.target(), **vips_options(first, plan))


def _write_pillow(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    _save(to_pillow(first, plan.spec.palette), plan, target, **pillow_options(first, plan))


def _write_animation(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    # The writers look up a frame's duration after they have asked for the frame, so the list may grow with them.
    durations = [first.duration]
    options = pillow_options(first, plan) | {"save_all": True, "duration": durations}

    def following() -> Iterator[Image.Image]:
        for frame in rest:
            durations.append(frame.duration)
            yield to_pillow(frame, plan.spec.palette)

    if plan.format.name != "GIF":
        options["loop"] = plan.plays
    elif plan.plays != 1:  # a GIF counts the repeats after the first time
        options["loop"] = max(0, plan.plays - 1)
    if first.mode == "PA":
        options["disposal"] = 2  # or the frame before would be seen through this one
    # The PNG writer goes through the frames twice.
    images = list(following()) if plan.format.name == "PNG" else following()
    _save(to_pillow(first, plan.spec.palette), plan, target, append_images=images, **options)
    if plan.format.name == "WEBP" and first.mode == "RGBA":
        _flag_webp_alpha(target)


def _flag_webp_alpha(target: OutputFile) -> None:
    # libwebp leaves the flag out where every frame is an opaque part of a transparent canvas; viewers that go by the
    # flag would show black. The flags are the byte after the header of the chunk VP8X (RFC 9649, section 2.7).
    head = os.pread(target.descriptor, 21, 0)
    if head[12:16] == b"VP8X":
        os.pwrite(target.descriptor, bytes([head[20] | 0x10]), 20)


def _write_pages(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    options = pillow_options(first, plan) | {"save_all": True}
    _save(to_pillow(first, plan.spec.palette), plan, target, append_images=map(to_pillow, rest), **options)


def _write_ico(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    whole = to_pillow(first)
    longest = max(whole.size)
    sides = [side for side in _ICO_SIDES if side < longest] + [min(longest, _ICO_SIDES[0])]
    images = {image.size: image for image in (_scaled(whole, side / longest) for side in sorted(set(sides)))}
    largest = list(images.values())[-1]
    _save(largest, plan, target, sizes=list(images), append_images=list(images.values()))


def _write_icns(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    # An icon is square: the rest of a picture that is not stays transparent.
    whole = to_pillow(first)
    side = max(whole.size)
    square = Image.new("RGBA", (side, side))
    square.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
    _save(square, plan, target)


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def _write_deep_heic(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    pixels = first.pixels
    mode = "RGBA;16" if first.mode == "RGBA16" else "RGB;16"
    heif = pillow_heif.from_bytes(mode, (pixels.width, pixels.height), bytes(pixels.write_to_memory()))
    options = pillow_options(first, plan)
    for kind in ("icc_profile", "exif", "xmp"):
        if kind in options:
            heif[0].info[kind] = options.pop(kind)
    with target.file() as file:
        heif.save(file, **options)


def _write_deep_pnm(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    # Netpbm's raw PPM: samples of two bytes, the more significant one first.
    pixels = first.pixels
    header = f"P6\n{pixels.width} {pixels.height}\n65535\n".encode()
    with target.file() as file:
        file.write(header + bytes(pixels.byteswap().write_to_memory()))


def _write_blp(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    # Not by Pillow, whose writer takes time that grows with the square of the pixels. BLP2, type 1 (not JPEG),
    # encoding 1 (palette), no alpha, no mipmaps; then size, offsets and lengths of 16 levels, palette as BGRA, indices.
    image = to_pillow(first)
    colours = (image.getpalette("RGB") or []) + [0] * 768
    palette = b"".join(struct.pack("4B", *reversed(colours[i : i + 3]), 255) for i in range(0, 768, 3))
    start = 4 + 4 + 4 + 8 + 2 * 64 + len(palette)
    pixels = image.tobytes()
    header = struct.pack("<4siBBBBII", b"BLP2", 1, 1, 0, 0, 0, *image.size)
    levels = struct.pack("<16I16I", start, *[0] * 15, len(pixels), *[0] * 15)
    with target.file() as file:
        file.write(header + levels + palette + pixels)


def _save(image: Image.Image, plan: Plan, target: OutputFile, **options: Any) -> None:
    with target.file() as file:
        image.save(file, plan.format.pillow, **options)


def to_pillow(frame: Frame, colours: int | None = None) -> Image.Image:
    """Make a Pillow image of a frame; `1`, `P` and `PA` are dithered to it if need be.

    Args:
        frame: The frame.
        colours: How many colours a palette may have, or None: 256.
    """
    pixels = frame.pixels
    kind = {"1": "L", "L16": "I;16", "PA": "RGBA"}.get(frame.mode, frame.mode)
    if frame.mode == "P":
        kind = mode_of(pixels)
    image = Image.frombuffer(kind, (pixels.width, pixels.height), bytes(pixels.write_to_memory()), "raw", kind, 0, 1)
    if frame.mode == "1":
        return image.convert("1")
    if frame.mode == "P":
        return _to_palette(image, colours or 256)
    if frame.mode == "PA":
        return _to_transparent_palette(image, colours or 256)
    return image


def _to_palette(image: Image.Image, colours: int) -> Image.Image:
    """Reduce to a palette: exactly if there are few enough colours, else with Floyd-Steinberg dithering."""
    if image.mode == "L" and colours == 256:
        return image.convert("P")
    image = image.convert("RGB")
    reduced = image.quantize(colours, Image.Quantize.MEDIANCUT)
    if image.getcolors(colours) is not None:
        return reduced
    return image.quantize(palette=reduced, dither=Image.Dither.FLOYDSTEINBERG)


def _to_transparent_palette(image: Image.Image, count: int) -> Image.Image:
    alpha = image.getchannel("A")
    colours = image.convert("RGB")
    if alpha.histogram()[:_OPAQUE_FROM] == [0] * _OPAQUE_FROM:
        return _to_palette(colours, count)
    transparent = count - 1
    reduced = _to_palette(colours, transparent)
    reduced.paste(transparent, mask=alpha.point(lambda value: 255 if value < _OPAQUE_FROM else 0))
    reduced.info["transparency"] = transparent
    return reduced
