"""More than 8 bits a channel are told of, and are still there in a PNG of 16 bits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import pytest

from tests.conformance import judges, making
from tests.conformance.complaints import Complaints
from tests.conformance.making import Samples
from tests.conformance.tools import run
from tests.integration.server import Server


def fine(grey: bool = False) -> Samples:
    """Slopes so gentle that 8 bits would make steps of them."""
    across = 16_000 + numpy.arange(64) * 53
    down = 40_000 + numpy.arange(48) * 71
    planes = [numpy.broadcast_to(across, (48, 64)), numpy.broadcast_to(down[:, None], (48, 64))]
    planes.append((planes[0] + planes[1]) // 2)
    return numpy.stack(planes[:1] if grey else planes, axis=2).astype(numpy.uint16)


def _floats(grey: bool) -> Samples:
    values = (fine(grey) / 65535).astype(numpy.float32)
    return values[:, :, 0] if grey else values


def _heic(bits: int) -> bytes:
    return run("heif-enc", "-L", "-p", "chroma=444", "--matrix_coefficients=0", "-b", str(bits), "{a.png}",
                      "-o", "{out.heic}", a_png=making.png(fine()))  # fmt: skip


def _avif(bits: int) -> bytes:
    return run("avifenc", "-l", "-s", "9", "-d", str(bits), "{a.png}", "-o", "{out.avif}",
                      a_png=making.png(fine()))  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A picture with many bits a channel.

    Attributes:
        format: Its format.
        how: Its kind.
        bits: How many it has.
        make: Makes it.
        grey: It has one channel.
    """

    format: str
    how: str
    bits: int
    make: Callable[[], bytes]
    grey: bool = False

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"


KINDS = (
    Kind("PNG", "16 bits", 16, lambda: making.png(fine())),
    Kind("PNG", "16 bits, grey", 16, lambda: making.png(fine(True)), True),
    Kind("TIFF", "16 bits", 16, lambda: making.tiff(making.Page(fine(), bits=16))),
    Kind("TIFF", "16 bits, grey", 16, lambda: making.tiff(making.Page(fine(True)[:, :, 0], 1, 16)), True),
    Kind("TIFF", "float", 32, lambda: making.tiff(making.Page(_floats(False), bits=32))),
    Kind("TIFF", "float, grey", 32, lambda: making.tiff(making.Page(_floats(True), 1, 32)), True),
    Kind("PSD", "16 bits", 16, lambda: run("convert", "{a.png}", "{out.psd}", a_png=making.png(fine()))),
    Kind("PFM", "grey", 32, lambda: making.pfm(_floats(True)), True),
    Kind("PFM", "colour", 32, lambda: making.pfm(_floats(False))),
    Kind("AVIF", "10 bits", 10, lambda: _avif(10)),
    Kind("AVIF", "12 bits", 12, lambda: _avif(12)),
    Kind("HEIC", "10 bits", 10, lambda: _heic(10)),
    Kind("HEIC", "12 bits", 12, lambda: _heic(12)),
    Kind("JXL", "16 bits", 16, lambda: making.jxl(making.png(fine()), "png")),
    Kind("JXL", "16 bits, grey", 16, lambda: making.jxl(making.png(fine(True)), "png"), True),
)
_OUTPUTS = {"tiff": ("TIFF", 16), "avif": ("AVIF", 10), "heic": ("HEIC", 10), "jxl": ("JXL", 16)}


def _wrong(found: judges.Seen, kind: Kind) -> str | None:
    """What is wrong with a picture that was of such a kind."""
    error = float(numpy.abs(found - judges.rgba(fine(kind.grey))).max()) * 65535
    levels = len(numpy.unique(numpy.round(found[20, :, 0] * 65535)))
    # A step and rounding, since some fill 16 bits up with zeros; heif-enc itself is off by another one.
    allowed = max(2.0, 65535 / (2 ** min(kind.bits, 16) - 1) * (2.2 if kind.format == "HEIC" else 1.2))
    # Of 8 bits there are 14 levels.
    return f"off by {error:.0f} of 65535, in {levels} levels" if error > allowed or levels < 25 else None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.format not in ("PFM", "TIFF")], ids=str)
def test_judges_see_every_bit(kind: Kind) -> None:
    assert _wrong(judges.seen(kind.format.lower(), kind.make()), kind) is None


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_depth(server: Server, cell: Callable[[str, str], None], kind: Kind) -> None:
    cell(kind.format, "depth")
    put = server.client.put("/storage/", content=kind.make())
    assert put.status_code == 200, f"{kind.how}: its upload is answered with {put.status_code}"
    reference = put.text
    with Complaints() as complaints:
        told = server.get(f"{reference}/info").json()["bit_depth"]
        if told not in (kind.bits, max(kind.bits, 16)):  # 10 and 12 bits may be told of as the 16 that they become
            complaints.add(f"{kind.how}: /info tells of {told} bits", "info")
        answer = server.get(f"{reference}.png?flop")
        assert answer.status_code == 200, f"{kind.how}: answered with {answer.status_code}"
        if answer.content[24] != 16:
            complaints.add(f"{kind.how}: becomes a PNG of {answer.content[24]} bits", "png")
        elif wrong := _wrong(judges.read_png(answer.content)[:, ::-1], kind):
            complaints.add(f"{kind.how}: loses bits", wrong)


@pytest.mark.parametrize("output", _OUTPUTS)
def test_depth_of_what_is_written(server: Server, cell: Callable[[str, str], None], output: str) -> None:
    format, bits = _OUTPUTS[output]
    cell(format, "depth")
    grey = output == "jxl"  # of which docs/conversion.md promises no more
    query = "" if output == "tiff" else f"?depth={bits}&lossless"
    answer = server.get(f"{server.put(making.png(fine(grey)))}.{output}{query}")
    assert answer.status_code == 200, f"{bits} bits are answered with {answer.status_code}"
    if output == "tiff":
        assert judges.tiff_page(answer.content, 0)[258] == [16] * 3, "written with 8 bits"
    kind = Kind("HEIC" if bits == 10 else format, "written", bits, lambda: answer.content, grey)
    assert _wrong(judges.seen(output, answer.content), kind) is None, "written with lost bits"
