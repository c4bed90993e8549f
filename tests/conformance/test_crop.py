"""What a clean aperture (clap) leaves of an AVIF or HEIC is all that is seen of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import pytest

from tests.conformance import boxes, judges, making
from tests.conformance.complaints import Complaints
from tests.conformance.judges import Seen
from tests.integration.server import Server

CROPS = {
    "in the middle": (12, 8, 40, 32),
    "at a corner": (0, 0, 48, 32),
    "off the middle": (20, 4, 24, 40),
}


@dataclass(frozen=True)
class Kind:
    """A picture with a clean aperture, which may be turned after that.

    Attributes:
        format: Its format.
        how: Where it is, and how it is turned.
        crop: x, y, width and height.
        quarters: How often it is turned, anticlockwise.
    """

    format: str
    how: str
    crop: tuple[int, int, int, int]
    quarters: int

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"

    def make(self) -> bytes:
        turn = [boxes.irot(self.quarters)] if self.quarters else []
        if self.format == "HEIC":
            aperture = boxes.clap((making.WIDTH, making.HEIGHT), self.crop)
            return boxes.with_properties(making.heic(making.scene()), [aperture, *turn])
        turned = ["--irot", str(self.quarters)] if turn else []
        return making.avif(making.scene(), "--crop", ",".join(map(str, self.crop)), *turned)

    def seen(self) -> Seen:
        x, y, width, height = self.crop
        cut: Seen = numpy.rot90(judges.rgba(making.scene())[y : y + height, x : x + width], self.quarters)
        return cut


KINDS = [
    Kind(format, f"{how}{', turned' if quarters else ''}", crop, quarters)
    for format in ("AVIF", "HEIC") for how, crop in CROPS.items() for quarters in (0, 1)
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_judges_see_what_is_left(kind: Kind) -> None:
    assert judges.difference(judges.seen(kind.format.lower(), kind.make()), kind.seen()) < 6


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_crop(server: Server, cell: Callable[[str, str], None], kind: Kind) -> None:
    cell(kind.format, "crop")
    reference = server.put(kind.make())
    wanted = kind.seen()
    with Complaints() as complaints:
        info = server.get(f"{reference}/info").json()
        if (info["upright_height"], info["upright_width"]) != wanted.shape[:2]:
            complaints.add("/info tells another size", f"{info['upright_width']}x{info['upright_height']}")
        for output in ("png", "avif", "heic"):
            query = "flop" if output == "png" else "flop&quality=95"
            found = judges.seen(output, server.get(f"{reference}.{output}?{query}").content)[:, ::-1]
            if found.shape != wanted.shape:
                complaints.add("another size", f"{output}: {found.shape[1]}x{found.shape[0]}")
            elif judges.difference(found, wanted) > 8:
                complaints.add("another part", output)
