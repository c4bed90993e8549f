"""Decoders that the service does not use for the format, and what a file says of how it is to be shown."""

import base64
import functools
import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from tests.conformance.boxes import boxes
from tests.conformance.making import Samples
from tests.conformance.tools import run

Seen = NDArray[numpy.float64]
"""Height, width, and red, green, blue and alpha of 0 to 1, upright, alpha not multiplied in."""
MEDIA_TYPES = {
    "avif": "image/avif", "bmp": "image/bmp", "gif": "image/gif", "jpeg": "image/jpeg", "png": "image/png",
    "webp": "image/webp",
}  # fmt: skip
_TURN: dict[int, Callable[[Samples], Samples]] = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a[:, ::-1].swapaxes(0, 1),
}  # fmt: skip


def rgba(samples: Samples) -> Seen:
    """Samples of 8 or 16 bits, or float of 0 to 1, grey or colour, with alpha or without."""
    scale = {"u1": 255.0, "u2": 65535.0}.get(samples.dtype.str[1:], 1.0)
    values = samples.astype(numpy.float64) / scale
    if values.ndim == 2:
        values = values[:, :, None]
    channels = values.shape[2]
    colour = numpy.repeat(values[:, :, :1], 3, axis=2) if channels < 3 else values[:, :, :3]
    alpha = values[:, :, -1:] if channels in (2, 4) else numpy.ones_like(values[:, :, :1])
    return numpy.concatenate([colour, alpha], axis=2)


def read_png(data: bytes) -> Seen:
    if data[24] == 16:
        return rgba(numpy.asarray(imagecodecs.png_decode(data)))
    return rgba(numpy.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))


def seen(extension: str, data: bytes) -> Seen:
    """Decode a file, and turn the picture as it says."""
    return _DECODERS[extension](data)


def _by_pillow(data: bytes) -> Seen:
    return _turned(read_png(data) if data.startswith(b"\x89PNG") else _jpeg(data), orientation_said(data))


def _jpeg(data: bytes) -> Seen:
    return rgba(numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def _by_imagemagick(extension: str) -> Callable[[bytes], Seen]:
    def decode(data: bytes) -> Seen:
        made = run("convert", f"{extension}:{{a.bin}}[0]", "PNG64:{out.png}", a_bin=data)
        return _turned(read_png(made), orientation_said(data))

    return decode


def _by_avifdec(data: bytes) -> Seen:
    made = run("avifdec", "{a.avif}", "-d", "16", "{out.png}", a_avif=data)
    pixels: Any = read_png(made)
    said = avif_info(data)
    if crop := re.search(r"clap \(Clean Aperture\).*?X: (\d+), Y: (\d+), W: (\d+), H: (\d+)", said, re.DOTALL):
        x, y, width, height = map(int, crop.groups())
        pixels = pixels[y : y + height, x : x + width]
    if rotation := re.search(r"irot \(Rotation\)\s*: (\d)", said):
        pixels = numpy.rot90(pixels, int(rotation[1]))
    if mirror := re.search(r"imir \(Mirror\)\s*: Mode (\d)", said):
        pixels = pixels[:, ::-1] if mirror[1] == "1" else pixels[::-1]
    return numpy.ascontiguousarray(pixels)


def avif_info(data: bytes) -> str:
    return run("avifdec", "--info", "{a.avif}", a_avif=data).decode()


def avif_frames(data: bytes, count: int) -> list[Seen]:
    """The pictures of an animated AVIF, as avifdec has them."""
    return [
        read_png(run("avifdec", "{a.avif}", "-d", "16", "--index", str(index), "{out.png}", a_avif=data))
        for index in range(count)
    ]


def _by_heif_convert(data: bytes) -> Seen:
    return read_png(run("heif-convert", "{a.heic}", "{out.png}", a_heic=data))


def _by_djxl(data: bytes) -> Seen:
    return read_png(run("djxl", "{a.jxl}", "{out.png}", a_jxl=data))


def _by_opj(data: bytes) -> Seen:
    return read_png(run("opj_decompress", "-i", "{a.jp2}", "-o", "{out.png}", a_jp2=data))


def _photoshop(data: bytes) -> Seen:
    """By ImageMagick, which takes the white of Photoshop out of its own files, too, where there is none."""
    return read_png(run("convert", "-define", "psd:alpha-unblend=off", "psd:{a.bin}[0]", "PNG64:{out.png}", a_bin=data))


def _tga(data: bytes) -> Seen:
    """By Pillow: ImageMagick heeds no origin."""
    return rgba(numpy.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))


def _by_dcraw(data: bytes) -> Seen:
    """Developed with the camera's white balance, sRGB's curve, and no brightening, and turned upright."""
    made = run("dcraw", "-w", "-W", "-6", "-o", "1", "-g", "2.4", "12.92", "-T", "-c", "{a.dng}", a_dng=data)
    return tiff_pixels(made, 0)


_DECODERS: dict[str, Callable[[bytes], Seen]] = {
    "avif": _by_avifdec, "gif": _by_imagemagick("gif"), "heic": _by_heif_convert, "jp2": _by_opj, "jpeg": _by_pillow,
    "jxl": _by_djxl, "png": _by_pillow, "tiff": _by_imagemagick("tiff"), "webp": _by_imagemagick("webp"),
    "dng": _by_dcraw, "psd": _photoshop, "tga": _tga,
}  # fmt: skip


def _turned(pixels: Seen, orientation: int) -> Seen:
    return numpy.ascontiguousarray(_TURN[orientation](pixels))


def orientation_said(data: bytes) -> int:
    """The orientation of JPEG, PNG, WebP and TIFF: EXIF's, and XMP's only if EXIF has none."""
    for payload in _exif_payloads(data):
        if found := _exif_orientation(payload):
            return found
    told = re.search(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])", data)
    return int(told[1]) if told else 1


def _exif_payloads(data: bytes) -> list[bytes]:
    if data.startswith((b"II*\0", b"MM\0*")):
        return [data]
    if data.startswith(b"\x89PNG"):
        return [content for kind, content in png_chunks(data) if kind == b"eXIf"]
    if data[8:12] == b"WEBP":
        return [content.removeprefix(b"Exif\0\0") for kind, content in _riff(data) if kind == b"EXIF"]
    return [content[6:] for kind, content in _segments(data) if kind == 0xE1 and content.startswith(b"Exif\0\0")]


def _exif_orientation(payload: bytes) -> int | None:
    order = "<" if payload.startswith(b"II") else ">"
    (at,) = struct.unpack(f"{order}I", payload[4:8])
    (count,) = struct.unpack(f"{order}H", payload[at : at + 2])
    for index in range(count):
        entry = payload[at + 2 + 12 * index : at + 14 + 12 * index]
        tag, _, _, value = struct.unpack(f"{order}HHIH", entry[:10])
        if tag == 0x0112:
            return value if value in range(1, 9) else None
    return None


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _riff(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack("<I", data[at + 4 : at + 8])
        found.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


def tiff_page(data: bytes, index: int) -> dict[int, list[int]]:
    """The tags of whole numbers of a page of a TIFF."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack(f"{order}I", data[4:8])
    for _ in range(index):
        (count,) = struct.unpack(f"{order}H", data[at : at + 2])
        (at,) = struct.unpack(f"{order}I", data[at + 2 + 12 * count : at + 6 + 12 * count])
    assert at, f"there is no page {index + 1}"
    (count,) = struct.unpack(f"{order}H", data[at : at + 2])
    tags = {}
    for entry in range(count):
        start = at + 2 + 12 * entry
        tag, kind, length = struct.unpack(f"{order}HHI", data[start : start + 8])
        letter = {1: "B", 3: "H", 4: "I"}.get(kind)
        if letter:
            size = struct.calcsize(f"{order}{length}{letter}")
            place = start + 8 if size <= 4 else struct.unpack(f"{order}I", data[start + 8 : start + 12])[0]
            tags[tag] = list(struct.unpack(f"{order}{length}{letter}", data[place : place + size]))
    return tags


def heif_properties(data: bytes, kind: bytes) -> list[bytes]:
    """The properties of a kind that a HEIC or AVIF has."""
    meta = dict(boxes(data))[b"meta"][4:]
    ipco = dict(boxes(dict(boxes(meta))[b"iprp"]))[b"ipco"]
    return [content for name, content in boxes(ipco) if name == kind]


def on(background: float, picture: Seen) -> Seen:
    """The colours of a picture on a grey background."""
    alpha = picture[:, :, 3:]
    return picture[:, :, :3] * alpha + background * (1 - alpha)


def difference(one: Seen, other: Seen) -> float:
    """How much two pictures differ, in levels of 255: the mean over pixels and channels, on black and on white."""
    assert one.shape == other.shape, f"is {_size(one)}, not {_size(other)}"
    return max(float(numpy.abs(on(grey, one) - on(grey, other)).mean()) * 255 for grey in (0.0, 1.0))


def _size(picture: Seen) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


@dataclass(frozen=True)
class Animation:
    """What a browser shows.

    Attributes:
        frames: Each picture.
        durations: In milliseconds.
        plays: How often; 0 is without end.
    """

    frames: list[Seen]
    durations: list[int]
    plays: int


_DRAW = """
    const shown = (picture, width, height) => {
        const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
        context.drawImage(picture, 0, 0);
        const pixels = context.getImageData(0, 0, width, height, { colorSpace: "srgb" }).data;
        let text = "";
        for (let at = 0; at < pixels.length; at += 8192) {
            text += String.fromCharCode(...pixels.subarray(at, at + 8192));
        }
        return { width, height, pixels: btoa(text) };
    };
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
"""
_STILL = f"""async ([data, type]) => {{ {_DRAW}
    const picture = new Image();
    picture.src = URL.createObjectURL(new Blob([bytes], {{ type }}));
    await picture.decode();
    return shown(picture, picture.naturalWidth, picture.naturalHeight);
}}"""
_FRAMES = f"""async ([data, type]) => {{ {_DRAW}
    let decoder = new ImageDecoder({{ data: bytes, type, preferAnimation: true }});
    try {{
        await decoder.tracks.ready;
    }} catch (error) {{  // a still AVIF
        decoder = new ImageDecoder({{ data: bytes, type }});
        await decoder.tracks.ready;
    }}
    await decoder.completed;
    const track = decoder.tracks.selectedTrack, frames = [];
    for (let frameIndex = 0; frameIndex < track.frameCount; frameIndex++) {{
        const {{ image }} = await decoder.decode({{ frameIndex }});
        frames.push({{ ...shown(image, image.displayWidth, image.displayHeight), duration: image.duration }});
        image.close();
    }}
    const again = track.repetitionCount;
    return {{ frames, plays: again === Infinity ? 0 : again + 1 }};
}}"""


class Chromium:
    """A browser, as a judge of what a viewer shows, in sRGB."""

    def __init__(self, opened: Callable[[], Page]) -> None:
        self._opened = functools.cache(opened)

    def still(self, extension: str, data: bytes) -> Seen:
        return _pixels(self._evaluated(_STILL, extension, data))

    def frames(self, extension: str, data: bytes) -> Animation:
        told = self._evaluated(_FRAMES, extension, data)
        durations = [round((frame["duration"] or 0) / 1000) for frame in told["frames"]]
        return Animation([_pixels(frame) for frame in told["frames"]], durations, told["plays"])

    def _evaluated(self, script: str, extension: str, data: bytes) -> dict[str, Any]:
        page, text = self._opened(), base64.b64encode(data).decode()
        try:
            told: dict[str, Any] = page.evaluate(script, [text, MEDIA_TYPES[extension]])
        except Exception as error:
            why = str(error).splitlines()[0].removeprefix("Page.evaluate: ")
            raise AssertionError(f"Chromium says {why}") from None
        return told


def _pixels(told: dict[str, Any]) -> Seen:
    samples = numpy.frombuffer(base64.b64decode(told["pixels"]), numpy.uint8)
    return rgba(samples.reshape(told["height"], told["width"], 4))


def for_browsers(extension: str, data: bytes) -> tuple[str, bytes]:
    """Return a file of the same colours, with the same profile, of a format that Chromium reads, and its extension."""
    if extension == "heic":
        return "png", run("heif-convert", "{a.heic}", "{out.png}", a_heic=data)
    if extension == "jxl":
        return "png", run("djxl", "{a.jxl}", "{out.png}", a_jxl=data)
    if extension == "tiff":
        return "png", run("convert", "tiff:{a.tif}[0]", "PNG48:{out.png}", a_tif=data)
    return extension, data


def tiff_pixels(data: bytes, index: int) -> Seen:
    """A page of a TIFF, as it is stored."""
    return read_png(run("convert", f"tiff:{{a.tif}}[{index}]", "PNG64:{out.png}", a_tif=data))
