"""Every way in which a file can say how it is turned, and how renditions of them are judged."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import boxes, judges, making
from tests.conformance.colours import icc_profile
from tests.conformance.making import Samples, exif, stored
from tests.integration.server import Server

ORIENTATIONS = range(1, 9)
OUTPUTS = ("jpeg", "png", "webp", "avif", "heic", "jxl", "tiff")
_ALIKE = 8
"""In levels of 255; what is turned wrongly differs by 20 and more."""


@dataclass(frozen=True)
class Kind:
    """A way to say an orientation.

    Attributes:
        format: Of the files.
        how: What says it.
        make: Makes a file that looks like `making.scene` to a viewer that heeds it.
    """

    format: str
    how: str
    make: Callable[[int], bytes]

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"


def _turned(orientation: int) -> Samples:
    return stored(making.scene(), orientation)


def _jpeg(orientation: int, in_exif: int | None, in_xmp: int | None) -> bytes:
    return making.jpeg(_turned(orientation), in_exif, in_xmp, icc_profile=icc_profile("sRGB"))


def _png(orientation: int, behind: bool) -> bytes:
    chunks = [making.chunk(b"eXIf", exif(orientation))]
    return making.png(_turned(orientation), behind=chunks) if behind else making.png(_turned(orientation), chunks)


def _tiff(orientation: int) -> bytes:
    return making.tiff(making.Page(_turned(orientation), tags={274: (3, [orientation])}))


def _heic(orientation: int, with_exif: bool) -> bytes:
    if with_exif:
        plain = making.heif_of_jpeg(_jpeg(orientation, orientation, None), "heic")
    else:
        plain = making.heic(_turned(orientation))
    return boxes.with_properties(plain, boxes.ORIENTED[orientation])


def _avif(orientation: int, with_exif: bool) -> bytes:
    names = {b"irot": "--irot", b"imir": "--imir"}
    turns = [part for box in boxes.ORIENTED[orientation] for part in (names[box[4:8]], str(box[8]))]
    if with_exif:
        return making.avif(_turned(orientation), *turns, "--exif", "{e.bin}", e_bin=exif(orientation))
    return making.avif(_turned(orientation), *turns)


def _jxl_of_jpeg(orientation: int, transcoded: bool) -> bytes:
    options = ("-j", "1") if transcoded else ("-j", "0", "-d", "0.5")
    return making.jxl(_jpeg(orientation, orientation, None), "jpg", *options)


def _jxl_with_foreign_exif(orientation: int) -> bytes:
    plain = making.jxl(making.png(making.scene()), "png", "--container=0")
    return boxes.jxl_with_exif(plain, exif(orientation))


def _other(orientation: int) -> int:
    return orientation % 8 + 1


KINDS = (
    Kind("JPEG", "EXIF", lambda o: _jpeg(o, o, None)),
    Kind("JPEG", "EXIF and the same in XMP", lambda o: _jpeg(o, o, o)),
    Kind("JPEG", "EXIF and another in XMP", lambda o: _jpeg(o, o, _other(o))),
    Kind("JPEG", "XMP alone", lambda o: _jpeg(o, None, o)),
    Kind("PNG", "eXIf before the pixels", lambda o: _png(o, behind=False)),
    Kind("PNG", "eXIf behind the pixels", lambda o: _png(o, behind=True)),
    Kind("WebP", "EXIF", lambda o: making.saved(_turned(o), "WEBP", lossless=True, exif=exif(o))),
    Kind("TIFF", "tag", _tiff),
    Kind("HEIC", "irot and imir", lambda o: _heic(o, with_exif=False)),
    Kind("HEIC", "irot, imir and EXIF", lambda o: _heic(o, with_exif=True)),
    Kind("HEIC", "EXIF alone, which says nothing", lambda o: making.heif_of_jpeg(_jpeg(1, o, None), "heic")),
    Kind("AVIF", "irot and imir", lambda o: _avif(o, with_exif=False)),
    Kind("AVIF", "irot, imir and EXIF", lambda o: _avif(o, with_exif=True)),
    Kind("AVIF", "EXIF alone, which says nothing", lambda o: making.heif_of_jpeg(_jpeg(1, o, None), "avif")),
    Kind("JXL", "of a JPEG, without loss", lambda o: _jxl_of_jpeg(o, transcoded=True)),
    Kind("JXL", "of a JPEG's pixels", lambda o: _jxl_of_jpeg(o, transcoded=False)),
    Kind("JXL", "EXIF alone, which says nothing", _jxl_with_foreign_exif),
)  # fmt: skip


def keeps(output: str) -> list[str]:
    """Return the queries that keep nothing, each kind of metadata, or all that docs/transformations.md tells of."""
    text = (Path(__file__).parents[2] / "docs" / "transformations.md").read_text()
    row = re.search(rf"^\| {output.upper()} \|.*\| ([a-z, ]*) \|$", text, re.MULTILINE)
    assert row, f"docs/transformations.md does not tell what {output} keeps"
    kinds = [kind.strip() for kind in row[1].split(",") if kind.strip()]
    return ["strip", *(f"keep={kind}" for kind in kinds), *([f"keep={','.join(kinds)}"] if len(kinds) > 1 else [])]


def what_is_wrong(server: Server, reference: str, output: str, keep: str) -> str | None:
    """Return what is wrong with a rendition of something that looks like `making.scene`, or None."""
    answer = server.get(f"{reference}.{output}?{keep}&quality=95" if output not in ("png", "tiff") else
                        f"{reference}.{output}?{keep}")  # fmt: skip
    if answer.status_code != 200:
        return f"answered with {answer.status_code}"
    picture = judges.seen(output, answer.content)
    scene = judges.rgba(making.scene())
    if picture.shape != scene.shape:
        return "turned"
    if judges.difference(picture, scene) < _ALIKE:
        return None
    turns = [o for o in ORIENTATIONS if judges.rgba(_turned(o)).shape == picture.shape]
    as_turned = [o for o in turns if judges.difference(picture, judges.rgba(_turned(o))) < _ALIKE]
    return "turned" if as_turned else "other colours"


def upright_size(server: Server, reference: str) -> tuple[int, int]:
    """Return width and height once it is turned upright, as /info tells them; its other fields have to go with that."""
    info = server.get(f"{reference}/info").json()
    size = (info["width"], info["height"])
    told: tuple[int, int] = (info["upright_width"], info["upright_height"])
    assert told == (size if info["orientation"] < 5 else size[::-1])
    return told


def pairs(*columns: Sequence[object]) -> list[tuple[int, ...]]:
    """Return rows of indices in which each two values of two columns meet at least once; not the fewest, but few."""
    open_pairs = {
        (a, i, b, j)
        for a in range(len(columns)) for b in range(a + 1, len(columns))
        for i in range(len(columns[a])) for j in range(len(columns[b]))
    }  # fmt: skip
    rows = []
    while open_pairs:
        a, i, b, j = min(open_pairs)
        row = {a: i, b: j}
        for column in range(len(columns)):
            if column not in row:
                row[column] = max(range(len(columns[column])), key=lambda v: (_met(row, column, v, open_pairs), -v))
        open_pairs -= {(x, row[x], y, row[y]) for x in row for y in row if x < y}
        rows.append(tuple(row[column] for column in range(len(columns))))
    return rows


def _met(row: dict[int, int], column: int, value: int, open_pairs: set[tuple[int, int, int, int]]) -> int:
    met = ((x, row[x], column, value) if x < column else (column, value, x, row[x]) for x in row)
    return sum(pair in open_pairs for pair in met)
