"""Turn the image upright according to its orientation."""

from dataclasses import replace

from progimage.engine.description import turned_size
from progimage.engine.frame import Frame, turned_upright
from progimage.engine.operations import Operations
from progimage.engine.plan import Plan

_MIRRORED = 2


def orient(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Turn the pixels upright.

    This is done for every format: some can't store an orientation, and viewers can ignore it in others.
    """
    orientation, pixels, full = frame.orientation, frame.pixels, frame.stands_for
    if orientation == 1 or not (plan.spec.autorotate or plan.always_turned):
        return frame
    if orientation > _MIRRORED:  # the others need rows in an order that a sequential read can't provide
        pixels = pixels.copy_memory()
    turned = turned_upright(pixels, orientation)
    return replace(frame, pixels=turned, orientation=1, stands_for=full and turned_size(full, orientation))
