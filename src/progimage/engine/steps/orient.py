"""Turn the picture upright, as its description says."""

from dataclasses import replace

from progimage.engine.description import turned_size
from progimage.engine.frame import Frame, turned_upright
from progimage.engine.operations import Operations
from progimage.engine.plan import Plan

_MIRRORED = 2


def orient(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Turn the pixels upright.

    It is done for every target: some can't carry an orientation, and for others a viewer may ignore it.
    """
    orientation, pixels, full = frame.orientation, frame.pixels, frame.stands_for
    if orientation == 1 or not (plan.spec.autorotate or plan.always_turned):
        return frame
    if orientation > _MIRRORED:  # the rest need rows that a sequential read has passed, or has yet to reach
        pixels = pixels.copy_memory()
    turned = turned_upright(pixels, orientation)
    return replace(frame, pixels=turned, orientation=1, stands_for=full and turned_size(full, orientation))
