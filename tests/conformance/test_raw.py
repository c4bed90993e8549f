"""Camera raw files are developed as dcraw does it, and are upright; where there is a preview, it is what is seen."""

from collections.abc import Callable

import numpy
import pytest
from PIL import Image, ImageFilter

from tests import raws
from tests.conformance import judges, making
from tests.conformance.judges import Seen
from tests.conformance.orientation import ORIENTATIONS
from tests.integration.server import Server

_ALIKE = 3


def _scene() -> Image.Image:
    """The usual scene, smooth, since each sample of a mosaic has one colour of three."""
    return Image.fromarray(making.scene()).resize((192, 144)).filter(ImageFilter.GaussianBlur(3))


def _inner(picture: Seen) -> Seen:
    """What has neighbours on all sides."""
    return picture[4:-4, 4:-4]


def _shown(server: Server, data: bytes, query: str = "") -> Seen:
    answer = server.get(f"{server.put(data)}.png{query}")
    assert answer.status_code == 200, f"answered with {answer.status_code}"
    return judges.read_png(answer.content)


def test_dcraw_sees_the_scene() -> None:
    wanted = judges.rgba(numpy.asarray(_scene()))
    assert judges.difference(_inner(judges.seen("dng", raws.raw_file(_scene()))), _inner(wanted)) < _ALIKE


@pytest.mark.parametrize("kind", ["mosaic", "linear"])
def test_developed(server: Server, cell: Callable[[str, str], None], kind: str) -> None:
    cell("DNG", "colour")
    data = raws.raw_file(_scene(), photometric=raws.CFA if kind == "mosaic" else raws.LINEAR_RAW)
    assert judges.difference(_inner(_shown(server, data)), _inner(judges.seen("dng", data))) < _ALIKE


@pytest.mark.parametrize("with_preview", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_upright(server: Server, cell: Callable[[str, str], None], orientation: int, with_preview: bool) -> None:
    cell("DNG", "orientation read")
    stored = Image.fromarray(making.stored(numpy.asarray(_scene()), orientation))
    preview = making.saved(numpy.asarray(stored), "JPEG", quality=97) if with_preview else b""
    data = raws.raw_file(stored, orientation=orientation, preview=preview)
    wanted = judges.rgba(numpy.asarray(_scene()))
    assert judges.difference(_inner(judges.seen("dng", data)), _inner(wanted)) < _ALIKE  # dcraw turns it likewise
    for query in ("", "?width=96"):
        found = _shown(server, data, query)
        scene = numpy.asarray(_scene().resize((found.shape[1], found.shape[0]))) if query else None
        assert judges.difference(_inner(found), _inner(wanted if scene is None else judges.rgba(scene))) < 2 * _ALIKE
