"""Colours are what a viewer that heeds the file's colour space shows, and HDR becomes SDR as ITU-R BT.2408 has it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy
import pytest
from PIL import Image

from tests import pictures
from tests.conformance import judges, making
from tests.conformance.colours import (
    D65,
    PRIMARIES,
    REFERENCE_WHITE,
    Array,
    converted,
    hlg_encode,
    icc_profile,
    lab_to_srgb,
    pq_encode,
    srgb_decode,
    srgb_encode,
)
from tests.conformance.complaints import Complaints
from tests.conformance.judges import Chromium, Seen
from tests.conformance.making import Samples, chrm_chunk, cicp_chunk, gama_chunk, iccp_chunk
from tests.conformance.tools import run
from tests.integration.server import Server

_SIDE = 16
_COLOURS = (
    (255, 255, 255), (200, 200, 200), (128, 128, 128), (64, 64, 64), (200, 40, 30), (40, 180, 60), (40, 60, 200),
    (230, 220, 40), (50, 190, 200), (180, 60, 170), (220, 180, 150), (0, 0, 0),
)  # fmt: skip
_SRGB_CHUNK = making.chunk(b"sRGB", b"\0")
_LIES = (gama_chunk(1.0), chrm_chunk(D65, PRIMARIES["swapped"]))


def patches(values: Array) -> Array:
    """Twelve squares of even colours."""
    return numpy.repeat(numpy.repeat(values.reshape(3, 4, -1), _SIDE, axis=0), _SIDE, axis=1)


SHOWN = numpy.array(_COLOURS) / 255
"""What has to be seen, in sRGB."""


def told(picture: Seen) -> Array:
    """The mean of the middle of each square."""
    rows = [
        picture[y + 5 : y + 11, x + 5 : x + 11, :3].mean(axis=(0, 1))
        for y in range(0, 3 * _SIDE, _SIDE) for x in range(0, 4 * _SIDE, _SIDE)
    ]  # fmt: skip
    return numpy.array(rows)


def samples(values: Array, bits: int = 8) -> Samples:
    scaled = numpy.round(numpy.clip(values, 0, 1) * (2**bits - 1))
    result: Samples = scaled.astype(numpy.uint8 if bits == 8 else numpy.uint16)
    return result


def encoded(primaries: str, gamma: float | None = None, bits: int = 8) -> Samples:
    """The squares with these primaries, encoded by sRGB's curve or a gamma."""
    linear = numpy.clip(converted(srgb_decode(SHOWN), "sRGB", primaries), 0, 1)
    return samples(patches(srgb_encode(linear) if gamma is None else linear ** (1 / gamma)), bits)


@dataclass(frozen=True)
class Kind:
    """A way to say the colour space."""

    format: str
    how: str
    make: Callable[[], bytes]
    alike: int = 6
    """In levels of 255, of any patch."""

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"


def _heic(primaries: str, number: int, matrix: int, bits: int) -> bytes:
    return making.heic_with_nclx(encoded(primaries, bits=8 if bits == 8 else 16), (number, 13, matrix))


def _avif(primaries: str, cicp: str, bits: int) -> bytes:
    return making.avif(encoded(primaries, bits=8 if bits == 8 else 16), "--cicp", cicp, "-d", str(bits))


def _tiff(primaries: str) -> bytes:
    profile = icc_profile(primaries)
    return making.tiff(making.Page(encoded(primaries), tags={34675: (7, list(profile))}))


def _with_profile(format: str, primaries: str) -> bytes:
    options = {"lossless": True} if format == "WEBP" else {"quality": 97, "subsampling": 0}
    return making.saved(encoded(primaries), format, icc_profile=icc_profile(primaries), **options)


def _jp2(primaries: str) -> bytes:
    return making.jp2(encoded(primaries), icc_profile(primaries))


def _jxl(primaries: str) -> bytes:
    return making.jxl(making.png(encoded(primaries), [iccp_chunk(icc_profile(primaries))]), "png")


def _heic_with_profile(primaries: str) -> bytes:
    profile = icc_profile(primaries)
    return run("heif-enc", "-q", "95", "-p", "chroma=444", "{a.png}", "-o", "{out.heic}",
                      a_png=making.png(encoded(primaries), [iccp_chunk(profile)]))  # fmt: skip


KINDS = (
    Kind("PNG", "cICP before iCCP and gAMA", lambda: making.png(
        encoded("P3"), [cicp_chunk(12, 13), iccp_chunk(icc_profile("swapped")), *_LIES])),
    Kind("PNG", "cICP of BT.2020", lambda: making.png(encoded("BT.2020", bits=16), [cicp_chunk(9, 13)])),
    Kind("PNG", "iCCP before sRGB and gAMA", lambda: making.png(
        encoded("P3"), [iccp_chunk(icc_profile("P3")), _SRGB_CHUNK, *_LIES])),
    Kind("PNG", "iCCP before gAMA", lambda: making.png(encoded("P3"), [iccp_chunk(icc_profile("P3")), *_LIES])),
    Kind("PNG", "sRGB before gAMA", lambda: making.png(encoded("sRGB"), [_SRGB_CHUNK, *_LIES])),
    Kind("PNG", "gAMA and cHRM", lambda: making.png(
        encoded("P3", 2.2, 16), [gama_chunk(1 / 2.2), chrm_chunk(D65, PRIMARIES["P3"])])),
    Kind("PNG", "gAMA of linear light", lambda: making.png(encoded("sRGB", 1.0, 16), [gama_chunk(1.0)])),
    Kind("PNG", "iCCP with swapped primaries", lambda: making.png(
        encoded("swapped"), [iccp_chunk(icc_profile("swapped"))])),
    *(Kind("AVIF", f"{name} by nclx, {bits} bits", partial(_avif, name, cicp, bits),
           10 if (name, bits) == ("BT.2020", 8) else 6)
      for name, cicp in (("P3", "12/13/6"), ("BT.2020", "9/13/9")) for bits in (8, 10)),
    Kind("AVIF", "P3 by ICC", lambda: making.avif(encoded("P3"), "--icc", "{p.icc}", p_icc=icc_profile("P3"))),
    Kind("AVIF", "ICC with swapped primaries", lambda: making.avif(
        encoded("swapped"), "--icc", "{p.icc}", p_icc=icc_profile("swapped"))),
    *(Kind("HEIC", f"{name} by nclx, {bits} bits", partial(_heic, name, number, matrix, bits),
           10 if (name, bits) == ("BT.2020", 8) else 6)
      for name, number, matrix in (("P3", 12, 6), ("BT.2020", 9, 9)) for bits in (8, 10)),
    Kind("HEIC", "ICC with swapped primaries", lambda: _heic_with_profile("swapped")),
    *(Kind(name, f"ICC with {'swapped primaries' if of == 'swapped' else of}",
           partial(_with_profile, name.upper(), of)) for name in ("JPEG", "WebP") for of in ("P3", "swapped")),
    *(Kind("TIFF", f"ICC with {'swapped primaries' if of == 'swapped' else of}", partial(_tiff, of))
      for of in ("P3", "swapped")),
    *(Kind("JP2", f"ICC with {'swapped primaries' if of == 'swapped' else of}",
           partial(_jp2, of)) for of in ("P3", "swapped")),
    Kind("JXL", "ICC with swapped primaries", lambda: _jxl("swapped")),
    Kind("JXL", "P3", lambda: making.jxl(
        making.ppm(encoded("P3")), "ppm", "-x", "color_space=RGB_D65_DCI_Rel_SRG")),
)  # fmt: skip
OUTPUTS = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "avif": "AVIF", "heic": "HEIC", "jxl": "JXL", "tiff": "TIFF"}


def _judge(complaints: Complaints, where: str, picture: Seen, how: str, alike: int = 6) -> None:
    off = numpy.abs(told(picture) - SHOWN).max(axis=1) * 255
    if off.max() > alike:
        worst = int(off.argmax())
        found = tuple(int(value) for value in numpy.round(told(picture)[worst] * 255))
        complaints.add(f"{how}: wrong colours", f"{where} has {found}, not {_COLOURS[worst]}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.format in ("AVIF", "JPEG", "PNG", "WebP")], ids=str)
def test_a_browser_sees_the_originals_in_their_colours(kind: Kind, chromium: Chromium) -> None:
    with Complaints() as complaints:
        _judge(complaints, "original", chromium.still(kind.format.lower(), kind.make()), kind.how, kind.alike)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_colours(server: Server, cell: Callable[[str, str], None], chromium: Chromium, kind: Kind) -> None:
    cell(kind.format, "colour")
    reference = server.put(kind.make())
    with Complaints() as complaints:
        plain = server.get(f"{reference}.png?profile=srgb")
        assert plain.status_code == 200, f"answered with {plain.status_code}"
        _judge(complaints, "PNG in sRGB", judges.read_png(plain.content), kind.how, kind.alike)
        for output in ("png", "webp"):
            answer = server.get(f"{reference}.{output}?{'lossless' if output == 'webp' else ''}")
            _judge(complaints, f"{output} in a browser", chromium.still(output, answer.content), kind.how, kind.alike)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("primaries", ["P3", "swapped"])
def test_colours_of_what_is_written(
    server: Server, cell: Callable[[str, str], None], chromium: Chromium, output: str, primaries: str
) -> None:
    cell(OUTPUTS[output], "colour")
    reference = server.put(making.png(encoded(primaries), [iccp_chunk(icc_profile(primaries))]))
    query = "" if output in ("png", "tiff") else "?quality=97"
    answer = server.get(f"{reference}.{output}{query}")
    assert answer.status_code == 200, f"answered with {answer.status_code}"
    with Complaints() as complaints:
        shown = judges.for_browsers(output, answer.content)
        _judge(complaints, output, chromium.still(*shown), f"written from {primaries}")


# Printing inks and Lab


def _cmyk() -> tuple[Samples, list[tuple[int, int, int]]]:
    """Squares of white, each ink, and black, and roughly what is seen."""
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 128)] * 2
    seen = [(255, 255, 255), (0, 165, 230), (220, 0, 130), (250, 235, 10), (35, 30, 32), (148, 148, 148)] * 2
    return patches(numpy.array(inks)).astype(numpy.uint8), seen


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_inks(server: Server, cell: Callable[[str, str], None], format: str) -> None:
    cell(format, "colour")
    inks, wanted = _cmyk()
    if format == "TIFF":
        data = making.tiff(making.Page(inks, photometric=5))
    else:  # with Adobe's marker, and inverted as Adobe does
        data = pictures.saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=97)
    found = told(judges.read_png(server.get(f"{server.put(data)}.png?profile=srgb").content)) * 255
    off = numpy.abs(found - numpy.array(wanted)).max(axis=1)
    assert off.max() < 60, "CMYK: wrong colours"


_LAB = numpy.array([
    (100, 0, 0), (53, 0, 0), (75, 0, 0), (20, 0, 0), (50, 45, 30), (55, -40, 25), (40, 20, -50), (85, -5, 60),
    (65, -25, -20), (50, 45, -30), (75, 15, 20), (0, 0, 0),
], dtype=numpy.float64)  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
def test_lab(server: Server, cell: Callable[[str, str], None], bits: int) -> None:
    cell("TIFF", "colour")
    light = numpy.round(_LAB[:, :1] / 100 * (2**bits - 1))
    rest = numpy.round(_LAB[:, 1:] * 2 ** (bits - 8))
    stored = patches(numpy.concatenate([light, rest], axis=1)).astype(numpy.int64)
    kept = stored.astype(numpy.uint8) if bits == 8 else stored.astype(numpy.uint16)
    white = (5, [3457, 10_000, 3585, 10_000])  # D50
    reference = server.put(making.tiff(making.Page(kept, photometric=8, bits=bits, tags={318: white})))
    found = told(judges.read_png(server.get(f"{reference}.png?profile=srgb").content))
    off = numpy.abs(found - lab_to_srgb(_LAB)).max() * 255
    assert off < 8, f"Lab of {bits} bits: wrong colours"


# High dynamic range

CICP = {"PQ": 16, "HLG": 18}
_RAMP = numpy.array([0, 1, 2, 5, 10, 20, 36, 60, 100, 150, 203, 300, 450, 600, 800, 1000], dtype=numpy.float64)


def light(nits: Array, transfer: str) -> Samples:
    """Neutral columns of 4 pixels, of BT.2020 in 16 bits."""
    codes = (pq_encode if transfer == "PQ" else hlg_encode)(nits)
    row = numpy.repeat(codes, 64 // len(codes))
    return samples(numpy.broadcast_to(row[None, :, None], (48, 64, 3)), 16)


def _hdr_png(pixels: Samples, transfer: str) -> bytes:
    return making.png(pixels, [cicp_chunk(9, CICP[transfer])])


def _hdr_avif(pixels: Samples, transfer: str) -> bytes:
    return making.avif(pixels, "--cicp", f"9/{CICP[transfer]}/9", "-d", "10")


def _hdr_heic(pixels: Samples, transfer: str) -> bytes:
    return making.heic_with_nclx(pixels, (9, CICP[transfer], 9))


def _hdr_jxl(pixels: Samples, transfer: str) -> bytes:
    name = {"PQ": "PeQ", "HLG": "HLG"}[transfer]
    return making.jxl(making.ppm(pixels), "ppm", "-x", f"color_space=RGB_D65_202_Rel_{name}")


HDR = {"PNG": _hdr_png, "AVIF": _hdr_avif, "HEIC": _hdr_heic, "JXL": _hdr_jxl}


@pytest.mark.parametrize("transfer", CICP)
@pytest.mark.parametrize("format", HDR)
def test_diffuse_white_becomes_white(
    server: Server, cell: Callable[[str, str], None], chromium: Chromium, format: str, transfer: str
) -> None:
    cell(format, "HDR")
    reference = server.put(HDR[format](light(numpy.array([REFERENCE_WHITE]), transfer), transfer))
    with Complaints() as complaints:
        plain = judges.read_png(server.get(f"{reference}.png?profile=srgb").content)
        level = round(float(plain[8:40, 8:56, :3].min()) * 255)
        if level < 250:
            complaints.add(f"{transfer}: diffuse white becomes {level}", "PNG in sRGB")
        for output in (output for output in ("png", "webp", "jpeg") if OUTPUTS[output] != format):  # else the original
            shown = chromium.still(output, server.get(f"{reference}.{output}").content)
            level = round(float(shown[8:40, 8:56, :3].mean()) * 255)
            if level < 250:
                complaints.add(f"{transfer}: diffuse white becomes {level}", f"{output} in a browser")


@pytest.mark.parametrize("transfer", CICP)
@pytest.mark.parametrize("format", HDR)
def test_greys_stay_in_order_and_neutral(
    server: Server, cell: Callable[[str, str], None], format: str, transfer: str
) -> None:
    cell(format, "HDR")
    reference = server.put(HDR[format](light(_RAMP, transfer), transfer))
    answer = server.get(f"{reference}.png?profile=srgb")
    levels = judges.read_png(answer.content)[8:40, 1::4, :3].mean(axis=0) * 255
    with Complaints() as complaints:
        if (levels.max(axis=1) - levels.min(axis=1)).max() > 5:
            complaints.add(f"{transfer}: greys get a tint", levels.round())
        if (numpy.diff(levels.mean(axis=1)) < -1).any():
            complaints.add(f"{transfer}: greys lose their order", levels.mean(axis=1).round())
        if levels[0].max() > 8 or levels[-1].min() < 250:
            complaints.add(f"{transfer}: not from black to white", levels.mean(axis=1).round())
        middle = float(levels[6].mean())  # 36 cd/m² is 18 % of diffuse white, which sRGB has at 118
        if not 80 <= middle <= 160:
            complaints.add(f"{transfer}: middle grey becomes {middle:.0f}", levels.mean(axis=1).round())


@pytest.mark.parametrize("output", ["avif", "png"])
@pytest.mark.parametrize("transfer", CICP)
@pytest.mark.parametrize("format", HDR)
def test_hdr_is_kept_if_asked_for(
    server: Server, cell: Callable[[str, str], None], format: str, transfer: str, output: str
) -> None:
    cell(format, "HDR")
    if format.lower() != output and format in ("AVIF", "PNG"):
        cell(output.upper(), "HDR")
    reference = server.put(HDR[format](light(_RAMP, transfer), transfer))
    answer = server.get(f"{reference}.{output}?hdr=keep&flip" + ("&quality=95" if output == "avif" else ""))
    assert answer.status_code == 200, f"hdr=keep is answered with {answer.status_code}"
    where = f"{transfer} kept as {output.upper()}"
    if output == "avif":
        said = judges.avif_info(answer.content)
        depth, *cicp = (
            int(re.findall(rf"{name}\s*: (\d+)", said)[0])
            for name in ("Bit Depth", "Color Primaries", "Transfer Char.", "Matrix Coeffs.")
        )
        wanted_depth, matrix = 10, 9
    else:
        depth, cicp = answer.content[24], list(dict(judges.png_chunks(answer.content)).get(b"cICP", b""))[:3]
        wanted_depth, matrix = 16, 0
    assert depth == wanted_depth, f"{where}: {depth} bits"
    # HLG may be kept, or become PQ.
    kept = next((name for name in {transfer, "PQ"} if cicp == [9, CICP[name], matrix]), None)
    assert kept, f"{where}: CICP {'/'.join(map(str, cicp))}"
    off = numpy.abs(judges.seen(output, answer.content) - judges.rgba(light(_RAMP, kept)))
    assert off[8:40, 1::4].mean() * 255 < 3, f"{where}: other samples"
    plain = server.get(f"{reference}.{output}?hdr=sdr")
    assert plain.status_code == 200, f"hdr=sdr is answered with {plain.status_code}"
