"""Pages keep their own sizes, modes and levels; none is changed to that of the first."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import pypdfium2
import pytest

from tests.conformance import judges, making
from tests.conformance.complaints import Complaints
from tests.conformance.making import Page, Samples
from tests.integration.server import Server


def _grey(width: int, height: int) -> Samples:
    return (numpy.add.outer(numpy.arange(height) * 2, numpy.arange(width) * 2) + 10).astype(numpy.uint8)


def _colour(width: int, height: int) -> Samples:
    grey = _grey(width, height)
    return numpy.stack([grey, 255 - grey, grey // 2], axis=2)


def _black_and_white(width: int, height: int) -> Samples:
    return (numpy.add.outer(numpy.arange(height) // 6, numpy.arange(width) // 8) % 2).astype(numpy.uint8)


@dataclass(frozen=True)
class Mode:
    """A kind of page.

    Attributes:
        page: Makes one of a width and a height.
        bits: A sample.
        samples: A pixel.
        seen: What its samples are, of 0 to 1.
    """

    page: Callable[[int, int], Page]
    bits: int
    samples: int
    seen: Callable[[int, int], judges.Seen]


MODES = {
    "grey": Mode(lambda w, h: Page(_grey(w, h), 1), 8, 1, lambda w, h: judges.rgba(_grey(w, h))),
    "16 bits": Mode(lambda w, h: Page(_grey(w, h).astype(numpy.uint16) * 256, 1, 16), 16, 1,
                    lambda w, h: judges.rgba(_grey(w, h).astype(numpy.uint16) * 256)),
    "1 bit": Mode(lambda w, h: Page(_black_and_white(w, h), 1, 1), 1, 1,
                  lambda w, h: judges.rgba(_black_and_white(w, h) * 255)),
    "1 bit, 0 is white": Mode(lambda w, h: Page(1 - _black_and_white(w, h), 0, 1), 1, 1,
                              lambda w, h: judges.rgba(_black_and_white(w, h) * 255)),
    "RGB": Mode(lambda w, h: Page(_colour(w, h)), 8, 3, lambda w, h: judges.rgba(_colour(w, h))),
}  # fmt: skip
SIZES = ((64, 48), (40, 30), (24, 56))
FILES = (
    ("grey", "1 bit"), ("RGB", "1 bit"), ("1 bit", "RGB"), ("1 bit", "grey", "RGB"), ("RGB", "16 bits"),
    ("16 bits", "1 bit"), ("grey", "1 bit, 0 is white"),
)  # fmt: skip


@pytest.fixture(params=FILES, ids=" and ".join)
def modes(request: pytest.FixtureRequest) -> tuple[str, ...]:
    kinds: tuple[str, ...] = request.param
    return kinds


def _file(modes: tuple[str, ...]) -> bytes:
    return making.tiff(*(MODES[mode].page(*size) for mode, size in zip(modes, SIZES, strict=False)))


def _judge(complaints: Complaints, modes: tuple[str, ...], number: int, found: judges.Seen) -> None:
    wanted = MODES[modes[number - 1]].seen(*SIZES[number - 1])
    if found.shape != wanted.shape:
        complaints.add(f"{_place(modes, number)}: another size", f"page {number}")
    elif judges.difference(found, wanted) > 2:
        complaints.add(f"{_place(modes, number)}: other levels", f"page {number}")


def _place(modes: tuple[str, ...], number: int) -> str:
    return f"{modes[0]} before {modes[1]}" if number == 1 else f"{modes[number - 1]} behind {modes[number - 2]}"


def test_judges_see_the_pages(modes: tuple[str, ...]) -> None:
    with Complaints() as complaints:
        for number in range(1, len(modes) + 1):
            _judge(complaints, modes, number, judges.tiff_pixels(_file(modes), number - 1))


def test_pages_as_tiff(server: Server, cell: Callable[[str, str], None], modes: tuple[str, ...]) -> None:
    cell("TIFF", "pages")
    answer = server.get(f"{server.put(_file(modes))}.tiff?flop")
    assert answer.status_code == 200, f"answered with {answer.status_code}"
    with Complaints() as complaints:
        for number, mode in enumerate(modes, 1):
            tags = judges.tiff_page(answer.content, number - 1)
            kind = (tags[258][0], tags.get(277, [1])[0])
            if kind != (MODES[mode].bits, MODES[mode].samples):
                what = f"{_place(modes, number)}: becomes {kind[1]} samples of {kind[0]} bits"
                complaints.add(what, f"page {number}")
            _judge(complaints, modes, number, judges.tiff_pixels(answer.content, number - 1)[:, ::-1])


@pytest.mark.parametrize("query", ["", "?quality=97"])
def test_pages_as_pdf(server: Server, cell: Callable[[str, str], None], modes: tuple[str, ...], query: str) -> None:
    cell("PDF", "pages")
    answer = server.get(f"{server.put(_file(modes))}.pdf{query}")
    assert answer.status_code == 200, f"{' and '.join(modes)}: answered with {answer.status_code}"
    document = pypdfium2.PdfDocument(answer.content)
    assert len(document) == len(modes), f"{len(document)} pages, not {len(modes)}"
    with Complaints() as complaints:
        for number, mode in enumerate(modes, 1):
            page = document[number - 1]
            picture = next(iter(page.get_objects()))
            bits = min(MODES[mode].bits, 8) * MODES[mode].samples  # a PDF has no more than 8 bits here
            found = picture.get_metadata().bits_per_pixel
            if found != bits:
                complaints.add(f"{_place(modes, number)}: becomes {found} bits a pixel", number)
            shown = numpy.asarray(page.render(scale=1).to_pil().convert("RGB"))
            _judge(complaints, modes, number, judges.rgba(shown))


def test_single_pages(server: Server, cell: Callable[[str, str], None], modes: tuple[str, ...]) -> None:
    cell("TIFF", "pages")
    reference = server.put(_file(modes))
    with Complaints() as complaints:
        if server.get(f"{reference}/info").json()["frames"] != len(modes):
            complaints.add("/info tells of other pages", "info")
        for number in range(1, len(modes) + 1):
            answer = server.get(f"{reference}.png?page={number}")
            assert answer.status_code == 200, f"page={number} is answered with {answer.status_code}"
            _judge(complaints, modes, number, judges.read_png(answer.content))
