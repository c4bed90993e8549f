"""Alpha stays what it was, and colours are neither multiplied by it once more nor once too little."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import pytest

from tests.bitmaps import FIELDS, V5, bmp
from tests.conformance import judges, making
from tests.conformance.complaints import Complaints
from tests.conformance.judges import Chromium, Seen
from tests.conformance.making import Samples
from tests.conformance.tools import run
from tests.integration.server import Server


def _translucent() -> Samples:
    """Columns of three colours, and rows of alpha, from a fifth to opaque."""
    pixels = numpy.zeros((48, 64, 4), numpy.uint8)
    pixels[:, :24, :3], pixels[:, 24:44, :3], pixels[:, 44:, :3] = (220, 60, 40), (60, 200, 90), (240, 240, 240)
    pixels[:, :, 3] = (numpy.arange(48) // 8 * 41 + 50)[:, None]
    return pixels


def _cut_out() -> Samples:
    """The same, where each pixel is opaque or transparent."""
    pixels = _translucent()
    pixels[:, :, 3] = 255
    pixels[8:24, 8:56, 3] = 0
    pixels[8:24, 8:56, :3] = (10, 20, 30)
    return pixels


def _grey(pixels: Samples) -> Samples:
    pixels = pixels.copy()
    pixels[:, :, :3] = pixels[:, :, :1]
    return pixels


def _multiplied(pixels: Samples) -> Samples:
    values = pixels.astype(numpy.float64)
    values[:, :, :3] *= values[:, :, 3:] / 255
    return numpy.round(values).astype(numpy.uint8)


def _palette(alphas: bool) -> bytes:
    """A palette whose entries have an alpha each, by tRNS."""
    pixels = _translucent() if alphas else _cut_out()
    colours, indices = numpy.unique(pixels.reshape(-1, 4), axis=0, return_inverse=True)
    chunks = [making.chunk(b"PLTE", colours[:, :3].tobytes()), making.chunk(b"tRNS", colours[:, 3].tobytes())]
    return making.png(indices.reshape(48, 64).astype(numpy.uint8), chunks, colour_type=3)


def _colour_key(grey: bool, deep: bool) -> bytes:
    """One colour is transparent, by tRNS."""
    pixels = _grey(_cut_out()) if grey else _cut_out()
    values = pixels[:, :, :1] if grey else pixels[:, :, :3]
    if deep:
        values = values.astype(numpy.uint16) * 257
    key = values[10, 10].astype(">u2").tobytes()
    if not deep:
        key = b"".join(bytes([0, value]) for value in values[10, 10])
    return making.png(values, [making.chunk(b"tRNS", key)])


def _gif() -> bytes:
    return making.saved(_cut_out(), "GIF")


def _multiplied_avif() -> bytes:
    return making.avif(_translucent(), "--premultiply")


def _bmp(pixels: Samples, masks: tuple[int, int, int, int], depth: int) -> bytes:
    """Pixels packed into 16 or 32 bits."""
    words = numpy.zeros(pixels.shape[:2], numpy.uint32)
    for band, mask in enumerate(masks):
        lowest = mask & -mask
        words |= numpy.round(pixels[:, :, band] / 255 * (mask // lowest)).astype(numpy.uint32) * numpy.uint32(lowest)
    rows = [row.tobytes() for row in words.astype("<u2" if depth == 16 else "<u4")]
    return bmp(rows, pixels.shape[1], depth, header=V5, compression=FIELDS, masks=masks)


def _in_sixteenths(pixels: Samples) -> Samples:
    return (numpy.round(pixels / 17) * 17).astype(numpy.uint8)


def _psd() -> bytes:
    return run("convert", "{a.png}", "{out.psd}", a_png=making.png(_translucent()))


@dataclass(frozen=True)
class Kind:
    """A way to have alpha, and what is seen of it."""

    format: str
    how: str
    make: Callable[[], bytes]
    seen: Callable[[], Samples]

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"


KINDS = (
    Kind("PNG", "colour and alpha", lambda: making.png(_translucent()), _translucent),
    Kind("PNG", "16 bits", lambda: making.png(_translucent().astype(numpy.uint16) * 257), _translucent),
    Kind("PNG", "grey and alpha", lambda: making.png(_grey(_translucent())[:, :, 2:]), lambda: _grey(_translucent())),
    Kind("PNG", "palette with tRNS", lambda: _palette(alphas=True), _translucent),
    Kind("PNG", "palette with a transparent entry", lambda: _palette(alphas=False), _cut_out),
    Kind("PNG", "colour key", lambda: _colour_key(grey=False, deep=False), _cut_out),
    Kind("PNG", "grey key", lambda: _colour_key(grey=True, deep=False), lambda: _grey(_cut_out())),
    Kind("PNG", "colour key of 16 bits", lambda: _colour_key(grey=False, deep=True), _cut_out),
    Kind("PNG", "grey key of 16 bits", lambda: _colour_key(grey=True, deep=True), lambda: _grey(_cut_out())),
    Kind("TIFF", "unassociated", lambda: making.tiff(making.Page(_translucent(), extra=[2])), _translucent),
    Kind("TIFF", "associated", lambda: making.tiff(making.Page(_multiplied(_translucent()), extra=[1])), _translucent),
    Kind("WebP", "without loss", lambda: making.saved(_translucent(), "WEBP", lossless=True), _translucent),
    Kind("WebP", "lossy", lambda: making.saved(_translucent(), "WEBP", quality=98), _translucent),
    Kind("AVIF", "straight", lambda: making.avif(_translucent()), _translucent),
    Kind("AVIF", "premultiplied", _multiplied_avif, _translucent),
    Kind("HEIC", "straight", lambda: making.heic(_translucent()), _translucent),
    Kind("JXL", "straight", lambda: making.jxl(making.png(_translucent()), "png"), _translucent),
    Kind("JXL", "premultiplied", lambda: making.jxl(making.png(_translucent()), "png", "--premultiply=1"),
         _translucent),
    Kind("JXL", "grey and alpha", lambda: making.jxl(making.png(_grey(_translucent())[:, :, 2:]), "png"),
         lambda: _grey(_translucent())),
    Kind("GIF", "transparent colour", _gif, _cut_out),
    Kind("BMP", "32 bits", lambda: _bmp(_translucent(), (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 32), _translucent),
    Kind("BMP", "one bit of 16", lambda: _bmp(_cut_out(), (0x7C00, 0x3E0, 0x1F, 0x8000), 16), _cut_out),
    Kind("BMP", "four bits of 16", lambda: _bmp(_translucent(), (0xF00, 0xF0, 0xF, 0xF000), 16),
         lambda: _in_sixteenths(_translucent())),
    Kind("TGA", "32 bits", lambda: making.saved(_translucent(), "TGA"), _translucent),
    Kind("TGA", "in runs", lambda: making.saved(_translucent(), "TGA", compression="tga_rle"), _translucent),
    Kind("PSD", "merged picture", _psd, _translucent),
)  # fmt: skip
OUTPUTS = {"png": "PNG", "webp": "WebP", "avif": "AVIF", "heic": "HEIC", "jxl": "JXL", "tiff": "TIFF", "gif": "GIF"}
_ALIKE = 6


def _wrong(shown: Seen, wanted: Seen) -> str | None:
    if numpy.abs(shown[:, :, 3] - wanted[:, :, 3]).mean() * 255 > 3:
        return "other alpha"
    return "other colours" if judges.difference(shown, wanted) > _ALIKE else None


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_judges_see_the_alpha_of_the_originals(kind: Kind, chromium: Chromium) -> None:
    extension, wanted = kind.format.lower(), judges.rgba(kind.seen())
    data = kind.make()
    if extension != "bmp":  # of whose alpha only browsers know
        assert _wrong(judges.seen(extension, data), wanted) is None
    if extension in judges.MEDIA_TYPES and extension != "avif":  # see below
        assert _wrong(chromium.still(extension, data), wanted) is None


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_alpha(server: Server, cell: Callable[[str, str], None], chromium: Chromium, kind: Kind, output: str) -> None:
    cell(kind.format, "alpha")
    if kind is KINDS[0] and output != "png":
        cell(OUTPUTS[output], "alpha")
    reference = server.put(kind.make())
    wanted = judges.rgba(kind.seen())
    if output == "gif":  # what is half opaque or more is opaque
        wanted[:, :, 3] = wanted[:, :, 3] >= 0.5
    with Complaints() as complaints:
        if not server.get(f"{reference}/info").json()["alpha"]:
            complaints.add(f"{kind.how}: /info tells of no alpha", "info")
        # Changed on the way, or the answer might be the original.
        query = "?flop" + ("" if output in ("png", "tiff", "gif") else "&quality=97")
        answer = server.get(f"{reference}.{output}{query}")
        assert answer.status_code == 200, f"answered with {answer.status_code}"
        # Chromium shows the alpha of AVIFs less opaque, avifenc's, too; and of GIFs it reads those that others refuse.
        if output != "gif" and (wrong := _wrong(judges.seen(output, answer.content)[:, ::-1], wanted)):
            complaints.add(f"{kind.how}: {wrong} in {OUTPUTS[output]}", query)
        if output in ("gif", "png", "webp"):
            shown = chromium.still(output, answer.content)
            if wrong := _wrong(shown[:, ::-1], wanted):
                complaints.add(f"{kind.how}: {wrong} in {OUTPUTS[output]} in a browser", query)


@pytest.mark.parametrize("make", [_translucent, _cut_out])
def test_transparent_gifs_are_valid(
    server: Server, cell: Callable[[str, str], None], make: Callable[[], Samples]
) -> None:
    cell("GIF", "alpha")
    reference = server.put(making.png(make()))
    wanted = judges.rgba(make())
    wanted[:, :, 3] = wanted[:, :, 3] >= 0.5
    assert _wrong(judges.seen("gif", server.get(f"{reference}.gif").content), wanted) is None
