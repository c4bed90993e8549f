"""Renditions are upright for a viewer that heeds what they say, whatever said how the original is turned."""

from collections.abc import Callable, Collection

import pytest

from tests.conformance import judges, making
from tests.conformance.complaints import Complaints
from tests.conformance.judges import Chromium
from tests.conformance.orientation import KINDS, ORIENTATIONS, OUTPUTS, Kind, keeps, upright_size, what_is_wrong
from tests.integration.server import Server

_NOT_BY_BROWSERS = ("XMP alone", "eXIf behind the pixels")
NAMES = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "avif": "AVIF", "heic": "HEIC", "jxl": "JXL", "tiff": "TIFF"}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_judges_see_the_originals_upright(kind: Kind, chromium: Chromium) -> None:
    scene = judges.rgba(making.scene())
    for orientation in ORIENTATIONS:
        data = kind.make(orientation)
        extension = kind.format.lower()
        assert judges.difference(judges.seen(extension, data), scene) < 8, orientation
        if kind.how not in _NOT_BY_BROWSERS and extension in ("jpeg", "png", "avif"):
            assert judges.difference(chromium.still(extension, data), scene) < 8, orientation


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_upright(server: Server, cell: Callable[[str, str], None], kind: Kind, output: str) -> None:
    if kind is KINDS[0]:
        cell(NAMES[output], "orientation written")
    cell(kind.format, "orientation read")
    found: dict[str, dict[str, list[int]]] = {}
    for orientation in ORIENTATIONS:
        reference = server.put(kind.make(orientation))
        for keep in keeps(output):
            if wrong := what_is_wrong(server, reference, output, keep):
                found.setdefault(wrong, {}).setdefault(keep, []).append(orientation)
    with Complaints() as complaints:
        for wrong, by_keep in found.items():
            complaints.add(f"{kind.how}: {wrong}{_under(by_keep, keeps(output))}", f"{output} {by_keep}")


def _under(wrong: Collection[str], asked: Collection[str]) -> str:
    """With which kinds of metadata something is wrong, if it is not with all of them."""
    right = [query for query in asked if query not in wrong]
    if not right:
        return ""
    named = wrong if "strip" not in wrong else right
    single = " or ".join(query for query in named if "," not in query)
    return f" with {single}" if named is wrong else f" unless {single}"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_size_that_is_told(server: Server, cell: Callable[[str, str], None], kind: Kind) -> None:
    cell(kind.format, "orientation read")
    with Complaints() as complaints:
        for orientation in ORIENTATIONS:
            reference = server.put(kind.make(orientation))
            if upright_size(server, reference) != (making.WIDTH, making.HEIGHT):
                complaints.add(f"{kind.how}: /info tells another size", orientation)
            placeholder = server.get(f"{reference}/placeholder").json()
            if (placeholder["width"], placeholder["height"]) != (making.WIDTH, making.HEIGHT):
                complaints.add(f"{kind.how}: /placeholder tells another size", orientation)
