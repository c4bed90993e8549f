"""Drawings have the size, the edges and the letters that Chromium gives them, with the same fonts."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from progimage.engine.fonts import font_files
from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.conformance.complaints import Complaints
from tests.integration.server import Server
from tests.pictures import open_bytes

_XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
_CELL = 400, 60
_ALIKE = 0.9
"""Two rasterizers smooth edges differently; boxes in place of letters are below that."""
TEXTS = {
    "Latin": "Straße façade Łódź", "Greek": "Ελληνικά", "Cyrillic": "Українська", "Hebrew": "עברית שלום",
    "Arabic": "العربية سلام", "Devanagari": "हिन्दी क्षत्रिय", "Bengali": "বাংলা ক্ষ", "Gujarati": "ગુજરાતી",
    "Gurmukhi": "ਗੁਰਮੁਖੀ", "Tamil": "தமிழ் கொ", "Telugu": "తెలుగు", "Kannada": "ಕನ್ನಡ", "Malayalam": "മലയാളം",
    "Sinhala": "සිංහල", "Thai": "ภาษาไทย", "Lao": "ພາສາລາວ", "Khmer": "ភាសាខ្មែរ", "Burmese": "မြန်မာ",
    "Tibetan": "བོད་ཡིག", "Ethiopic": "አማርኛ", "Armenian": "Հայերեն", "Georgian": "ქართული", "Chinese": "漢字",
    "Japanese": "ひらがな", "Korean": "한국어", "emoji": "😀🎉🚀", "serif": "serif|serif", "mono": "mono|monospace",
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A drawing whose size or edges are judged.

    Attributes:
        name: What it is about.
        attributes: Of its root.
    """

    name: str
    attributes: str

    def __str__(self) -> str:
        return self.name

    @property
    def document(self) -> str:
        return f'<svg {_XMLNS} {self.attributes}><rect x="-50%" y="-50%" width="300%" height="300%" fill="red"/></svg>'


SIZES = (
    Drawing("pixels", 'width="33" height="21"'),
    Drawing("millimetres", 'width="210mm" height="297mm" viewBox="0 0 210 297"'),
    Drawing("inches", 'width="1.5in" height="2in"'),
    Drawing("points and picas", 'width="30pt" height="4pc"'),
    Drawing("quarters", 'width="200Q" height="2cm"'),
    Drawing("em", 'width="5em" height="3rem"'),
    Drawing("one side", 'width="90" viewBox="0 0 30 20"'),
    Drawing("none", ""),
)
EDGES = (
    Drawing("3:2", 'width="300" height="200" viewBox="0 0 300 200"'),
    Drawing("no box", 'width="300" height="200"'),
    Drawing("another ratio", 'width="300" height="100" viewBox="0 0 100 100" preserveAspectRatio="xMidYMid slice"'),
    Drawing("fractions", 'width="99.7" height="66.1"'),
)


def _text(said: str) -> str:
    text, _, family = said.partition("|")
    return (
        f'<svg {_XMLNS} width="{_CELL[0]}" height="{_CELL[1]}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="10" y="42" font-size="32" font-family="{family or "sans-serif"}">{text}</text></svg>'
    )


def _images(documents: Mapping[str, str], size: str = "") -> str:
    def image(name: str) -> str:
        data = base64.b64encode(documents[name].encode()).decode()
        return f'<img id="{escape(name)}" style="display:block;{size}" src="data:image/svg+xml;base64,{data}">'

    return f"<!doctype html><meta charset=utf-8><style>body{{margin:0}}</style>{''.join(map(image, documents))}"


def _chromium(folder: Path, page: str, *options: str) -> bytes:
    """Have Chromium look at a page, with the fonts of the service and no others."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    folders = "".join(f"<dir>{one}</dir>" for one in sorted({str(file.parent) for file in font_files()}))
    generic = {"sans-serif": "Noto Sans", "serif": "Noto Serif", "monospace": "Roboto Mono", "emoji": "Twemoji Mozilla"}
    aliases = "".join(
        f'<alias binding="same"><family>{name}</family><prefer><family>{family}</family></prefer></alias>'
        for name, family in generic.items()
    )
    no_outlines = (
        "<selectfont><rejectfont><pattern><patelt name='family'><string>Noto Emoji</string></patelt>"
        "</pattern></rejectfont></selectfont>"
    )
    (folder / "fonts.conf").write_text(
        f"<fontconfig>{folders}<cachedir>{folder}</cachedir>{no_outlines}{aliases}</fontconfig>"
    )
    (folder / "page.html").write_text(page)
    done = subprocess.run(
        [CHROMIUM, "--headless", *OPTIONS, "--hide-scrollbars", "--force-device-scale-factor=1", *options,
         (folder / "page.html").as_uri()],
        env=os.environ | {"FONTCONFIG_FILE": str(folder / "fonts.conf")}, capture_output=True, timeout=120, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def _similarity(one: NDArray[numpy.float64], other: NDArray[numpy.float64]) -> float:
    """SSIM (Wang et al., 2004), by squares of 8 pixels."""

    def mean(values: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        sums: NDArray[numpy.float64] = numpy.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        means: NDArray[numpy.float64] = (sums[8:, 8:] - sums[:-8, 8:] - sums[8:, :-8] + sums[:-8, :-8]) / 64
        return means

    a, b = mean(one), mean(other)
    varies, too, together = mean(one**2) - a**2, mean(other**2) - b**2, mean(one * other) - a * b
    return float(((2 * a * b + 6.5) * (2 * together + 58.5) / ((a**2 + b**2 + 6.5) * (varies + too + 58.5))).mean())


def _grey(picture: Image.Image) -> NDArray[numpy.float64]:
    return numpy.asarray(picture.convert("RGB").convert("L"), numpy.float64)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """What Chromium takes the drawings' sizes for, in pixels of its layout."""
    script = (
        "<script>onload = () => document.body.textContent = JSON.stringify(Object.fromEntries("
        "[...document.images].map(image => [image.id, [image.naturalWidth, image.naturalHeight]])))</script>"
    )
    page = _images({drawing.name: drawing.document for drawing in SIZES}) + script
    told = _chromium(tmp_path_factory.mktemp("sizes"), page, "--dump-dom").decode()
    found: dict[str, list[int]] = json.loads(re.search(r'\{".*\}', told)[0])  # type: ignore[index]
    return found


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image.Image]:
    """Chromium's pictures of the texts."""
    folder = tmp_path_factory.mktemp("texts")
    page = _images({name: _text(said) for name, said in TEXTS.items()})
    size = f"--window-size={_CELL[0]},{_CELL[1] * len(TEXTS) + 200}"
    _chromium(folder, page, size, f"--screenshot={folder / 'texts.png'}")
    picture = Image.open(folder / "texts.png").convert("RGB")
    return {
        name: picture.crop((0, _CELL[1] * index, _CELL[0], _CELL[1] * (index + 1))) for index, name in enumerate(TEXTS)
    }


@pytest.mark.parametrize("drawing", SIZES, ids=str)
def test_size(server: Server, cell: Callable[[str, str], None], sizes: dict[str, list[int]], drawing: Drawing) -> None:
    cell("SVG", "size")
    picture = open_bytes(server.get(f"{server.put(drawing.document.encode())}.png").content)
    assert list(picture.size) == sizes[drawing.name], "another size than in Chromium"


@pytest.mark.parametrize("drawing", EDGES, ids=str)
def test_edges(server: Server, cell: Callable[[str, str], None], drawing: Drawing) -> None:
    cell("SVG", "edges")
    reference = server.put(drawing.document.encode())
    with Complaints() as complaints:
        for query in ("width=100", "height=101", "width=33", "width=301", "dpi=150", "width=50&height=50&fit=cover"):
            pixels = numpy.asarray(open_bytes(server.get(f"{reference}.png?{query}").content).convert("RGBA"))
            if not (pixels == (255, 0, 0, 255)).all():
                complaints.add("a fringe", query)


@pytest.mark.parametrize("name", TEXTS)
def test_text(server: Server, cell: Callable[[str, str], None], texts: dict[str, Image.Image], name: str) -> None:
    cell("SVG", "text")
    drawn = open_bytes(server.get(f"{server.put(_text(TEXTS[name]).encode())}.png").content)
    found = _similarity(_grey(drawn), _grey(texts[name]))
    assert found > _ALIKE, f"{name} has an SSIM of {found:.2f}"


def test_judge_tells_letters_from_boxes(texts: dict[str, Image.Image]) -> None:
    boxes = Image.new("L", _CELL, 255)
    for left in range(10, 150, 24):
        ImageDraw.Draw(boxes).rectangle((left, 18, left + 16, 42), outline=0, width=2)
    assert max(_similarity(_grey(picture), _grey(boxes)) for picture in texts.values()) < _ALIKE
    for one, other in (("Khmer", "Lao"), ("Bengali", "Gurmukhi"), ("Armenian", "Georgian"), ("Chinese", "Japanese")):
        assert _similarity(_grey(texts[one]), _grey(texts[other])) < _ALIKE
