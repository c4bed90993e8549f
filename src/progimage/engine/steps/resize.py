"""Bring the image to the requested size: resample, then crop or add a canvas."""

from dataclasses import replace

import pyvips

from progimage.engine.faces import LOOKED_AT, Face, faces_in, part_with
from progimage.engine.frame import Frame
from progimage.engine.geometry import Size, fitting, place
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.paint import TRANSPARENT, ink, premultiplied, ready_for
from progimage.engine.picture import as_picture
from progimage.engine.plan import Plan

# libvips' names of the methods that find the interesting part; the one for `face` is used if there is no face.
_INTERESTING = {"smart": "attention", "entropy": "entropy", "face": "attention"}


def resize(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Resample to the fitted size, then crop or extend to the canvas size."""
    pixels = frame.pixels
    here = pixels.width, pixels.height
    fitted = fitting(frame.stands_for or here, operations, vector=plan.vector)
    if fitted.resized == fitted.canvas == here:
        return replace(frame, stands_for=None)
    cut_to = min(fitted.canvas[0], fitted.resized[0]), min(fitted.canvas[1], fitted.resized[1])
    if operations.gravity == "face" and cut_to != fitted.resized:
        pixels = pixels.copy_memory()  # they are read twice
        frame = replace(frame, pixels=pixels)
    if fitted.resized != here:
        pixels = resized(pixels, fitted.resized, operations.kernel)
    if cut_to != fitted.resized:
        pixels = cut(pixels, cut_to, operations, plan, "size", frame)
    if fitted.canvas != cut_to:
        gravity = "centre" if operations.gravity in _INTERESTING else operations.gravity
        left, top = place(gravity, fitted.canvas, cut_to)
        pixels = on_canvas(pixels, left, top, fitted.canvas, operations)
    return replace(frame, pixels=pixels, mode=mode_of(pixels), stands_for=None)


def resized(pixels: pyvips.Image, target: Size, kernel: str) -> pyvips.Image:
    """Resample to a size, in the pixels' own colour space.

    Args:
        pixels: The pixels to resample.
        target: Width and height to resample to.
        kernel: libvips' name of the resampling kernel.
    """
    across, down = target[0] / pixels.width, target[1] / pixels.height
    return premultiplied(pixels, lambda image: image.resize(across, vscale=down, kernel=kernel))


def cut(
    pixels: pyvips.Image, target: Size, operations: Operations, plan: Plan, what: str, unresized: Frame
) -> pyvips.Image:
    """Crop the image to a size, at the position that gravity selects.

    Args:
        pixels: The image; at least as large as `target` in both directions.
        target: Width and height of the part to keep.
        operations: The operations of the stage, with the gravity.
        plan: Stores the position that was found in the first frame.
        what: Name of the crop, to tell two crops of one stage apart.
        unresized: The frame before resampling, in which small faces can still be found.
    """
    gravity = operations.gravity
    if isinstance(gravity, str) and gravity in _INTERESTING:
        pixels = pixels.copy_memory()  # they are read twice
        place_found = plan.settle(
            what, operations, pixels, lambda: _interesting(pixels, target, str(gravity), unresized)
        )
        return pixels.crop(*place_found, *target)
    return pixels.crop(*place(gravity, (pixels.width, pixels.height), target), *target)


def _interesting(pixels: pyvips.Image, target: Size, gravity: str, unresized: Frame) -> Size:
    if gravity == "face" and (faces := _faces(unresized)):
        return part_with(faces, (pixels.width, pixels.height), target)
    found = pixels.smartcrop(*target, interesting=_INTERESTING[gravity])
    # libvips records the negated position of the part as its offset.
    return -found.xoffset, -found.yoffset


def _faces(frame: Frame) -> list[Face]:
    pixels = frame.pixels
    scale = LOOKED_AT / max(pixels.width, pixels.height)
    if scale < 1:
        small = max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale))
        pixels = resized(pixels, small, "linear")
    return faces_in(as_picture(replace(frame, pixels=pixels)))


def on_canvas(pixels: pyvips.Image, left: int, top: int, canvas: Size, operations: Operations) -> pyvips.Image:
    """Put the image on a larger canvas that is filled according to `extend_mode` and `background`."""
    if operations.extend_mode != "background":
        # Repeated pixels are read several times.
        return pixels.copy_memory().embed(left, top, *canvas, extend=operations.extend_mode)
    colour = operations.background or TRANSPARENT
    pixels = ready_for(pixels, colour)
    return pixels.embed(left, top, *canvas, extend="background", background=ink(colour, pixels))
