"""Encoding frames to a file: once, or repeatedly to find the quality."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import pyvips

from progimage.engine.codecs import CODECS
from progimage.engine.errors import CannotRepresent, EngineError
from progimage.engine.files import FULL_DISK, OutputFile
from progimage.engine.frame import Frame
from progimage.engine.plan import Plan
from progimage.engine.quality import automatic_quality, highest_quality


def encode(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    """Write frames to a file.

    Args:
        first: The first frame or page, after all steps.
        rest: The remaining frames or pages, rendered lazily.
        plan: Plan of the rendering.
        target: The file to write.

    Raises:
        CannotRepresent: The codec can't encode this image.
        InvalidParameter: The image can't be encoded as requested.
    """
    try:
        spec = plan.spec
        if not isinstance(spec.quality, str) and not spec.max_bytes:
            _write(first, rest, replace(plan, quality=spec.quality), target)
            return
        # The frames are encoded several times.
        frames = [_in_memory(frame) for frame in chain([first], rest)]
        if isinstance(spec.quality, int):
            quality = spec.quality
        elif spec.quality == "auto":
            still = replace(plan, several=False)
            quality = automatic_quality(
                frames[0], lambda frame, q: _write(frame, iter(()), replace(still, quality=q), target), target
            )
        else:
            quality = plan.format.usual_quality
        if spec.max_bytes:
            quality = highest_quality(lambda q: _write_all(frames, plan, q, target), quality, spec.max_bytes, target)
        _write_all(frames, plan, quality, target)
    except (EngineError, MemoryError, pyvips.Error, UnicodeDecodeError):
        raise
    except Exception as error:  # Pillow's plugins can raise any kind of exception while they write
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise CannotRepresent(f"{plan.format.name} can't hold this image: {error}") from error


def _in_memory(frame: Frame) -> Frame:
    return replace(frame, pixels=frame.pixels.copy_memory())


def _write_all(frames: list[Frame], plan: Plan, quality: int, target: OutputFile) -> None:
    _write(frames[0], iter(frames[1:]), replace(plan, quality=quality), target)


def _write(first: Frame, rest: Iterator[Frame], plan: Plan, target: OutputFile) -> None:
    CODECS[plan.format.name].encode(first, rest, plan, target)
