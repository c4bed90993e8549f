"""Palettes as ImageMagick reads them: few colours stay what they were, and so does transparency."""

from collections.abc import Callable

import numpy
import pytest
from PIL import Image

from tests import pictures
from tests.conformance import judges, making
from tests.conformance.tools import run
from tests.integration.server import Server


def _few() -> making.Samples:
    colours = numpy.array(
        [[200, 30, 30, 255], [30, 200, 30, 255], [30, 30, 200, 255], [0, 0, 0, 0], [240, 240, 240, 255]], numpy.uint8
    )
    chosen: making.Samples = colours[numpy.add.outer(numpy.arange(40) // 7, numpy.arange(60) // 9) % 5]
    return chosen


def _seen(extension: str, data: bytes) -> judges.Seen:
    return judges.read_png(run("convert", f"{extension}:{{a.bin}}[0]", "PNG32:{out.png}", a_bin=data))


@pytest.mark.parametrize("extension", ["png", "gif"])
def test_few_colours_are_exact(server: Server, cell: Callable[[str, str], None], extension: str) -> None:
    cell(extension.upper(), "palette")
    samples = _few()
    reference = server.put(pictures.saved(Image.fromarray(samples), "PNG"))
    seen = _seen(extension, server.get(f"{reference}.{extension}?palette=256").content)
    wanted = judges.rgba(samples)
    assert numpy.array_equal(seen[:, :, 3], wanted[:, :, 3]), "alpha differs"
    assert numpy.array_equal(seen * seen[:, :, 3:], wanted * wanted[:, :, 3:]), "colours differ"


def test_levels_of_alpha_stay(server: Server, cell: Callable[[str, str], None]) -> None:
    cell("PNG", "palette")
    picture = pictures.transparent((96, 64))
    reference = server.put(pictures.saved(picture, "PNG"))
    seen = _seen("png", server.get(f"{reference}.png?palette=256").content)
    wanted = judges.rgba(numpy.asarray(picture))
    assert numpy.abs(seen[:, :, 3] - wanted[:, :, 3]).max() < 0.12, "alpha differs"
    assert len(numpy.unique(seen[:, :, 3])) > 8, "alpha has few levels"
