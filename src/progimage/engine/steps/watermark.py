"""Draw another image or a text over the image."""

from dataclasses import replace
from xml.sax.saxutils import escape

import pyvips

from progimage.engine.errors import InvalidParameter
from progimage.engine.fonts import font_description, load_fonts
from progimage.engine.frame import Frame
from progimage.engine.geometry import Size, place
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.paint import over, times_alpha, with_alpha
from progimage.engine.picture import open_picture
from progimage.engine.plan import Plan
from progimage.engine.steps.resize import resized
from progimage.engine.values import COMPASS, Length

_TEXT_SHARE, _TEXT_LEAST = 20, 12
_ALIGN = {0: "low", 0.5: "centre", 1: "high"}


def watermark(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Draw the watermark, then the text."""
    pixels = frame.pixels
    if operations.watermark:
        layer = plan.settle("watermark", operations, pixels, lambda: _picture(pixels, operations, plan))
        pixels = _marked(
            pixels, layer, operations.watermark_gravity, operations.watermark_offset, operations.watermark_tile,
            operations.dpr,
        )  # fmt: skip
    if operations.text:
        layer = plan.settle("text", operations, pixels, lambda: _text(pixels, operations, plan))
        pixels = _marked(
            pixels, layer, operations.text_gravity, operations.text_offset, operations.text_tile, operations.dpr,
            round(_text_size(pixels, operations) / 2),
        )  # fmt: skip
    return frame if pixels is frame.pixels else replace(frame, pixels=pixels, mode=mode_of(pixels))


def _marked(
    pixels: pyvips.Image,
    layer: pyvips.Image,
    gravity: str | tuple[float, float],
    offset: tuple[Length, ...] | None,
    tile: bool,
    scale: float,
    margin: int = 0,
) -> pyvips.Image:
    """Draw a layer at the position given by gravity and offset; without an offset, `margin` pixels from the edges."""
    size = pixels.width, pixels.height
    away = (margin, margin)
    if offset:
        away = round(offset[0].pixels(size[0], scale)), round(offset[1].pixels(size[1], scale))
    if tile:
        return over(pixels, _tiled(layer, away, size))
    fractions = COMPASS[gravity] if isinstance(gravity, str) else (0.5, 0.5)
    # Offsets point inwards from right and bottom edges, and right and down otherwise. Only edges have a margin.
    moved = [
        distance * (-1 if fraction == 1 else 0 if fraction == 0.5 and not offset else 1)
        for fraction, distance in zip(fractions, away, strict=True)
    ]
    left, top = place(gravity, size, (layer.width, layer.height))
    return over(pixels, layer, left + moved[0], top + moved[1])


def _tiled(layer: pyvips.Image, space: Size, size: Size) -> pyvips.Image:
    width, height = layer.width + max(0, space[0]), layer.height + max(0, space[1])
    spaced = layer.embed(max(0, space[0]) // 2, max(0, space[1]) // 2, width, height).copy_memory()
    return spaced.replicate(-(-size[0] // width), -(-size[1] // height)).crop(0, 0, *size)


def _picture(pixels: pyvips.Image, operations: Operations, plan: Plan) -> pyvips.Image:
    layer = with_alpha(open_picture(plan.images[operations.watermark or ""], plan.limits).pixels)
    if operations.watermark_scale is None:
        scale = min(1, pixels.width / layer.width, pixels.height / layer.height)
    else:
        scale = operations.watermark_scale * pixels.width / layer.width
    target = max(1, round(layer.width * scale)), max(1, round(layer.height * scale))
    if target[0] * target[1] > plan.limits.pixels:
        raise InvalidParameter(
            "watermark_scale",
            f"{operations.watermark_scale:g}",
            f"values that result in at most {plan.limits.pixels} pixels",
        )
    if target != (layer.width, layer.height):
        layer = resized(layer, target, operations.kernel)
    return times_alpha(layer, operations.watermark_opacity).copy_memory()


def _text_size(pixels: pyvips.Image, operations: Operations) -> float:
    if operations.text_size:
        return operations.text_size * operations.dpr
    longer: int = max(pixels.width, pixels.height)
    return max(_TEXT_LEAST, longer / _TEXT_SHARE)


def _text(pixels: pyvips.Image, operations: Operations, plan: Plan) -> pyvips.Image:
    """Render the text, and return it as pixels of a single colour with the shape of the text as alpha."""
    text = operations.text or ""
    size = _text_size(pixels, operations)
    if size * size * len(text) > plan.limits.pixels:
        raise InvalidParameter(
            "text_size",
            f"{size:g}",
            f"values that result in a text of at most {plan.limits.pixels} pixels, including dpr",
        )
    width = pixels.width - 2 * round(size / 2)
    if operations.text_width:
        width = round(operations.text_width[0].pixels(pixels.width, operations.dpr))
    gravity = operations.text_gravity
    align = _ALIGN[COMPASS[gravity][0]] if isinstance(gravity, str) else "centre"
    load_fonts()
    try:
        shape = pyvips.Image.text(
            escape(text),
            font=font_description(operations.text_font, size),
            dpi=72,
            width=max(1, min(width, pixels.width)),
            align=align,
            wrap="word-char",
        )
    except pyvips.Error:
        raise InvalidParameter("text", text, "a text with visible characters") from None
    ink = pyvips.Image.black(shape.width, shape.height, bands=3) + list(operations.text_color[:3])
    layer = ink.cast("uchar").copy(interpretation="srgb").bandjoin(shape)
    return times_alpha(layer, operations.text_opacity * operations.text_color.alpha / 255).copy_memory()
