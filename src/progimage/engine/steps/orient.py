"""Turn the picture the way that its EXIF orientation says."""

from dataclasses import replace

from progimage.engine.frame import ORIENTATION, Frame
from progimage.engine.operations import Operations
from progimage.engine.plan import Plan

_UPRIGHT, _MIRRORED = 1, 2


def orient(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Turn the pixels upright, and take the orientation out of the metadata.

    It is done for every target: some can't carry an orientation, and for others a viewer may ignore it.
    """
    pixels = frame.pixels
    orientation = pixels.get(ORIENTATION) if pixels.get_typeof(ORIENTATION) else _UPRIGHT
    if orientation not in range(2, 9) or not plan.spec.autorotate:
        return frame
    if orientation > _MIRRORED:  # the rest need rows that a sequential read has passed, or has yet to reach
        pixels = pixels.copy_memory()
    return replace(frame, pixels=pixels.autorot())
