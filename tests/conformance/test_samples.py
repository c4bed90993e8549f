"""Formats that few programs read, each against another decoder: their samples, their light, and how they lie."""

import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy
import OpenEXR
import pytest
from PIL import Image

from tests.conformance import judges, making
from tests.conformance.colours import REFERENCE_WHITE, converted, pq_encode, srgb_decode, srgb_encode
from tests.conformance.judges import Seen
from tests.conformance.making import Samples
from tests.conformance.test_depth import fine
from tests.conformance.tools import run
from tests.integration.server import Server


def _raw(data: bytes, shape: tuple[int, ...]) -> Seen:
    return judges.rgba(numpy.frombuffer(data, "<u2").reshape(shape))


def _by_ffmpeg(extension: str, grey: bool = False) -> Callable[[bytes], Seen]:
    kind, channels = ("gray16le", 1) if grey else ("rgb48le", 3)

    def decode(data: bytes) -> Seen:
        made = run("ffmpeg", "-v", "error", "-i", f"{{a.{extension}}}", "-pix_fmt", kind, "-f", "rawvideo",
                   "{out.raw}", **{f"a_{extension}": data})  # fmt: skip
        return _raw(made, (48, 64, channels))

    return decode


def _by_imagemagick(extension: str) -> Callable[[bytes], Seen]:
    return lambda data: judges.read_png(run("convert", f"{extension}:{{a.bin}}", "PNG64:{out.png}", a_bin=data))


def _by_opj(data: bytes) -> Seen:
    return judges.read_png(run("opj_decompress", "-i", "{a.j2k}", "-o", "{out.png}", a_j2k=data))


def _by_jxrlib(options: tuple[str, ...]) -> Callable[[bytes], Seen]:
    """JxrDecApp has the library that the service has, but nothing of imagecodecs."""

    def decode(data: bytes) -> Seen:
        made = run("JxrDecApp", "-i", "{a.jxr}", "-o", "{out.tif}", *options, a_jxr=data)
        return judges.read_png(run("convert", "tiff:{a.tif}", "PNG64:{out.png}", a_tif=made))

    return decode


def _by_netpbm(data: bytes) -> Seen:
    made = run("pamtopnm", "{a.pam}", a_pam=data)
    return judges.read_png(run("convert", "{a.ppm}", "PNG64:{out.png}", a_ppm=made))


def _pam(values: Samples, most: int) -> bytes:
    height, width, channels = values.shape
    kind = {1: "GRAYSCALE", 3: "RGB"}[channels]
    head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {most}\nTUPLTYPE {kind}\nENDHDR\n"
    return head.encode() + values.astype(">u2").tobytes()


def _of_bits(bits: int, grey: bool = False) -> Samples:
    values: Samples = (fine(grey) >> (16 - bits)).astype(numpy.uint8 if bits <= 8 else numpy.uint16)
    return values


def _jpeg_ls() -> bytes:
    """CharLS writes one plane after the other, which FFmpeg does not read."""
    options = ("-c:v", "jpegls", "-pix_fmt", "rgb24")
    return run("ffmpeg", "-v", "error", "-i", "{a.ppm}", *options, "{out.jls}", a_ppm=making.ppm(_of_bits(8)))


def _packed_tiff(bits: int) -> bytes:
    """A TIFF that tiffcp has compressed by LZW, without knowing what its bits stand for."""
    values = _of_bits(bits)
    ones = values[..., None].astype(numpy.uint32) >> numpy.arange(bits - 1, -1, -1) & 1
    rows = numpy.packbits(ones.reshape(len(values), -1).astype(numpy.uint8), axis=1)

    class Packed(making.Page):
        def data(self) -> bytes:
            return rows.tobytes()

    return run("tiffcp", "-c", "lzw", "{a.tif}", "{out.tif}", a_tif=making.tiff(Packed(values, bits=bits)))


def _grey_jpeg_ls() -> bytes:
    return bytes(imagecodecs.jpegls_encode(numpy.ascontiguousarray(_of_bits(16, True).squeeze())))


@dataclass(frozen=True)
class Kind:
    """A file of samples.

    Attributes:
        format: Its format.
        how: Its kind.
        bits: How many a sample has.
        make: Makes it.
        judge: Decodes it.
        alike: By how much of the whole range the service and the judge may differ.
    """

    format: str
    how: str
    bits: int
    make: Callable[[], bytes]
    judge: Callable[[bytes], Seen]
    alike: float = 1 / 65535

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"


def _jpeg(bits: int, grey: bool = False, **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        return bytes(
            imagecodecs.jpeg8_encode(
                numpy.ascontiguousarray(_of_bits(bits, grey).squeeze()), bitspersample=bits, **options
            )
        )

    return make


KINDS = (
    # ffmpeg converts YCbCr with fewer bits.
    Kind("JPEG", "12 bits", 12, _jpeg(12, level=98, subsampling="444"), _by_ffmpeg("jpg"), 0.01),
    Kind("JPEG", "12 bits, grey", 12, _jpeg(12, True, level=98), _by_ffmpeg("jpg", grey=True), 0.004),
    Kind("JPEG", "lossless, 8 bits", 8, _jpeg(8, lossless=True), _by_ffmpeg("jpg"), 1 / 255),
    Kind("JPEG", "lossless, 16 bits, grey", 16, _jpeg(16, True, lossless=True), _by_ffmpeg("jpg", grey=True)),
    Kind("JPEG-LS", "8 bits", 8, _jpeg_ls, _by_ffmpeg("jls"), 1 / 255),
    Kind("JPEG-LS", "16 bits, grey", 16, _grey_jpeg_ls,
         _by_ffmpeg("jls", grey=True)),
    Kind("HTJ2K", "8 bits", 8, lambda: bytes(imagecodecs.htj2k_encode(_of_bits(8))), _by_opj),
    Kind("HTJ2K", "16 bits", 16, lambda: bytes(imagecodecs.htj2k_encode(_of_bits(16))), _by_opj),
    Kind("JXR", "8 bits", 8, lambda: bytes(imagecodecs.jpegxr_encode(_of_bits(8), 1.0)), _by_jxrlib(("-c", "9"))),
    Kind("JXR", "16 bits", 16, lambda: bytes(imagecodecs.jpegxr_encode(_of_bits(16), 1.0)), _by_jxrlib(("-c", "10"))),
    Kind("PAM", "a largest sample of 4095", 12, lambda: _pam(_of_bits(12), 4095), _by_netpbm),
    Kind("PAM", "a largest sample of 1000", 10, lambda: _pam(_of_bits(16) % 1001, 1000), _by_netpbm),
    Kind("TIFF", "3 bits", 3, lambda: _packed_tiff(3), _by_imagemagick("tiff"), 1 / 255),
    Kind("TIFF", "10 bits", 10, lambda: _packed_tiff(10), _by_imagemagick("tiff")),
    Kind("TIFF", "12 bits", 12, lambda: _packed_tiff(12), _by_imagemagick("tiff")),
    Kind("TIFF", "14 bits", 14, lambda: _packed_tiff(14), _by_imagemagick("tiff")),
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_samples(server: Server, cell: Callable[[str, str], None], kind: Kind) -> None:
    cell(kind.format, "depth")
    data = kind.make()
    reference = server.put(data)
    info = server.get(f"{reference}/info").json()
    assert (info["format"], info["bit_depth"]) == (kind.format, kind.bits), f"{kind.how}: told of wrongly"
    found = judges.read_png(server.get(f"{reference}.png").content)
    assert numpy.abs(found - kind.judge(data)).max() <= kind.alike, f"{kind.how}: other samples"


def test_pam_is_written(server: Server, cell: Callable[[str, str], None]) -> None:
    cell("PAM", "depth")
    answer = server.get(f"{server.put(making.png(fine()))}.pam")
    assert numpy.array_equal(_by_netpbm(answer.content), judges.rgba(fine())), "written with other samples"


def test_pcx_of_four_colours(server: Server, cell: Callable[[str, str], None]) -> None:
    cell("PCX", "colour")
    numbers, palette = numpy.arange(48 * 64, dtype=numpy.uint8).reshape(48, 64) % 4, bytes(range(60, 108))
    rows = numpy.packbits((numbers[..., None] >> numpy.array([1, 0]) & 1).reshape(48, -1), axis=1).tobytes()
    head = bytes([10, 5, 1, 2, 0, 0, 0, 0, 63, 0, 47, 0, 72, 0, 72, 0]) + palette + bytes([0, 1, 16, 0])
    data = head.ljust(128, b"\0") + b"".join(bytes([0xC1, byte]) for byte in rows)
    found = judges.read_png(server.get(f"{server.put(data)}.png").content)
    assert numpy.array_equal(found, _by_imagemagick("pcx")(data)), "other colours"


# Light


def _light() -> Samples:
    """From black to the white of paper; black next to it is cut off in RGBE."""
    light: Samples = (0.05 + 0.9 * (fine().astype(numpy.float32) - 16_000) / 30_000).astype(numpy.float32)
    return light


def _exr(light: Samples, **header: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.fspath(Path(folder, "a.exr"))
        kind = {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(kind | header, {"RGBA" if light.shape[2] == 4 else "RGB": light}) as file:
            file.write(path)
        return Path(path).read_bytes()


def _half(light: Samples) -> bytes:
    return bytes(imagecodecs.jpegxr_encode(light.astype(numpy.float16), 1.0))


def _radiance(light: Samples) -> bytes:
    return bytes(imagecodecs.rgbe_encode(light))


def _half_by_jxrlib(data: bytes) -> Seen:
    """Light of sRGB, by the floats that JxrDecApp makes."""
    made = run("JxrDecApp", "-i", "{a.jxr}", "-o", "{out.tif}", "-c", "12", a_jxr=data)
    at = numpy.asarray(imagecodecs.tiff_decode(made)).astype(numpy.float64)
    return judges.rgba(srgb_encode(at[:, :, :3]).astype(numpy.float64))


LIGHT: dict[str, tuple[Callable[[Samples], bytes], Callable[[bytes], Seen]]] = {
    "EXR": (_exr, _by_imagemagick("exr")),
    "HDR": (_radiance, _by_imagemagick("hdr")),
    "JXR": (_half, _half_by_jxrlib),
}


@pytest.mark.parametrize("format", LIGHT)
def test_light_no_brighter_than_paper(server: Server, cell: Callable[[str, str], None], format: str) -> None:
    cell(format, "colour")
    make, judge = LIGHT[format]
    data = make(_light())
    found = judges.read_png(server.get(f"{server.put(data)}.png").content)
    assert numpy.abs(found - judge(data)).max() < 0.002, "other colours"


@pytest.mark.parametrize("format", LIGHT)
def test_light_that_is_kept(server: Server, cell: Callable[[str, str], None], format: str) -> None:
    """In PQ each pixel is as bright as in the file, where paper is at 203 cd/m²."""
    cell(format, "HDR")
    light = _light() * 6
    reference = server.put(LIGHT[format][0](light))
    assert server.get(f"{reference}/info").json()["hdr"], "not told to be HDR"
    data = server.get(f"{reference}.png?hdr=keep").content
    at = data.index(b"cICP") + 4
    assert tuple(data[at : at + 2]) == (9, 16), "not marked as PQ"
    expected = pq_encode(converted(light, "sRGB", "BT.2020") * REFERENCE_WHITE)
    assert numpy.abs(judges.read_png(data)[:, :, :3] - expected).max() < 0.003, "not as bright as in the file"


@pytest.mark.parametrize("format", LIGHT)
def test_light_that_is_mapped(server: Server, cell: Callable[[str, str], None], format: str) -> None:
    """Light up to a third of paper white is unchanged; brighter light is mapped below white and keeps its order."""
    cell(format, "HDR")
    steps = numpy.array([0.05, 0.1, 0.3, 1, 2, 4, 8], numpy.float32)
    light = numpy.repeat(numpy.tile(numpy.repeat(steps, 16), (48, 1))[:, :, None], 3, axis=2)
    png = server.get(f"{server.put(LIGHT[format][0](light))}.png").content
    found = srgb_decode(judges.read_png(png)[24, 8::16, 0])
    assert numpy.allclose(found[:2], steps[:2], rtol=0.05), "the dark is changed"
    assert (numpy.diff(found) > 0).all() and found[-1] > 0.97, "highlights are lost"


def test_alpha_of_openexr(server: Server, cell: Callable[[str, str], None]) -> None:
    cell("EXR", "alpha")
    alpha = numpy.tile(numpy.linspace(0.2, 1, 64, dtype=numpy.float32), (48, 1))[:, :, None]
    data = _exr(numpy.concatenate([_light() * alpha, alpha], axis=2))
    found, judged = judges.read_png(server.get(f"{server.put(data)}.png").content), _by_imagemagick("exr")(data)
    assert numpy.abs(found[:, :, 3] - judged[:, :, 3]).max() < 0.001, "other alpha"
    assert numpy.abs(found[:, :, :3] - judges.rgba(srgb_encode(_light()))[:, :, :3]).max() < 0.003, "other colours"


def test_windows_of_openexr(server: Server, cell: Callable[[str, str], None]) -> None:
    cell("EXR", "crop")
    data = _exr(_light(), dataWindow=((-10, -4), (53, 43)), displayWindow=((0, 0), (39, 29)))
    found = judges.read_png(server.get(f"{server.put(data)}.png").content)
    made = run("convert", "exr:{a.exr}", "-crop", "40x30+0+0!", "+repage", "PNG64:{out.png}", a_exr=data)
    assert found.shape == (30, 40, 4), "of another size"
    assert numpy.abs(found - judges.read_png(made)).max() < 0.002, "another part"


@pytest.mark.parametrize("axes", ["-Y +X", "-Y -X", "+Y -X", "+Y +X", "+X -Y", "-X -Y", "-X +Y", "+X +Y"])
def test_axes_of_radiance(server: Server, cell: Callable[[str, str], None], axes: str) -> None:
    """What stands first has the scanlines; with -Y they go down, and with +X to the right (Radiance's manual)."""
    cell("HDR", "orientation read")
    light, (first, second) = _light(), axes.split()
    across, down = ("+X" in axes), ("-Y" in axes)
    stored = light[:: 1 if down else -1, :: 1 if across else -1]
    stored = stored if first.endswith("Y") else stored.swapaxes(0, 1)
    data = _radiance(numpy.ascontiguousarray(stored))
    head, _, pixels = data.partition(b"\n\n")
    size = f"{first} {stored.shape[0]} {second} {stored.shape[1]}\n".encode()
    found = judges.read_png(
        server.get(f"{server.put(head + b'%c%c' % (10, 10) + size + pixels.partition(b'%c' % 10)[2])}.png").content
    )
    assert found.shape == (48, 64, 4), "of another size"
    assert numpy.abs(found - _by_imagemagick("hdr")(_radiance(light))).max() < 0.02, "not upright"


@pytest.mark.parametrize("transform", [1, 2, 3])
def test_transforms_of_jpeg_xr(server: Server, cell: Callable[[str, str], None], transform: int) -> None:
    """JxrDecApp can do those that do not turn by a quarter, if it is told to."""
    cell("JXR", "orientation read")
    plain = bytearray(imagecodecs.jpegxr_encode(_of_bits(8), 1.0))
    judged = run("JxrDecApp", "-i", "{a.jxr}", "-o", "{out.bmp}", "-c", "0", "-O", str(transform), a_jxr=bytes(plain))
    plain[plain.index(b"\x02\xbc\x04\0\x01\0\0\0") + 8] = transform
    found = judges.read_png(server.get(f"{server.put(bytes(plain))}.png").content)
    shown = judges.rgba(numpy.asarray(Image.open(io.BytesIO(judged)).convert("RGB")))
    assert numpy.array_equal(found, shown), "not upright"
