"""One photograph in every format that holds metadata, with a place and a secret wherever there is room for them."""

import struct
from collections.abc import Callable

import pillow_heif
from PIL import Image, PngImagePlugin, TiffImagePlugin

from tests import pictures

PLACE, SECRET = (48_123_457, 1_000_003), "SecretOfTheHouse"
"""A latitude that no coded pixels have by chance, and a text that stands in all other fields."""
MARKS = (SECRET.encode(), *(struct.pack(f"{order}2I", *PLACE) for order in "<>"), b"48.12345", b"GPSLatitude")
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,12.345N"'
    f' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>{SECRET}</dc:creator></rdf:Description></rdf:RDF>'
    "</x:xmpmeta>"
).encode()


def exif(orientation: int = 1) -> Image.Exif:
    """EXIF with a place, an author, and a thumbnail that has the same in it."""
    found = Image.Exif()
    found[0x0112] = orientation
    found[0x013B] = SECRET
    found.get_ifd(0x8825)[2] = (TiffImagePlugin.IFDRational(*PLACE),) * 3
    found.get_ifd(0x8769)[0x927C] = b"Maker\0" + SECRET.encode()
    return found


def photograph() -> Image.Image:
    return pictures.colour((96, 64))


def jpeg(orientation: int = 1, **options: object) -> bytes:
    data = pictures.saved(photograph(), "JPEG", exif=exif(orientation), xmp=XMP, comment=SECRET, quality=90, **options)
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\x16\x1c\x02\x5a\0\x10" + SECRET.encode() + b"\0"
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc + data[2:] + b"trailer " + SECRET.encode()


def png(orientation: int = 1) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return pictures.saved(photograph(), "PNG", exif=exif(orientation), pnginfo=text) + SECRET.encode()


def gif(*, frames: int = 1) -> bytes:
    others = [photograph().rotate(90 * index) for index in range(1, frames)]
    options = {"save_all": True, "append_images": others, "loop": 3, "duration": 70} if others else {}
    data = pictures.saved(photograph(), "GIF", comment=SECRET.encode(), **options)
    parts = [XMP[at : at + 255] for at in range(0, len(XMP), 255)]
    block = b"\x21\xff\x0bXMP DataXMP" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    return data[:-1] + block + b";" + SECRET.encode()


def jp2() -> bytes:
    payload = bytes.fromhex("4a706754694666457869662d3e4a5032") + exif().tobytes().removeprefix(b"Exif\0\0")
    data = pictures.saved(photograph(), "JPEG2000")
    return data + b"".join(
        struct.pack(">I", 8 + len(body)) + kind + body for kind, body in ((b"uuid", payload), (b"xml ", XMP))
    )


def heic() -> bytes:
    pillow_heif.register_heif_opener()
    return pictures.saved(photograph(), "HEIF", exif=exif().tobytes(), xmp=XMP, quality=90)


def tiff() -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270] = info[315] = SECRET
    info[700] = XMP
    info[34665] = exif().get_ifd(0x8769)
    return pictures.saved(photograph(), "TIFF", tiffinfo=info, save_all=True, append_images=[photograph()])


def mpo() -> bytes:
    return pictures.saved(photograph(), "MPO", save_all=True, append_images=[photograph().rotate(180)], exif=exif(6))


SOURCES: dict[str, Callable[[], bytes]] = {
    "JPEG": jpeg,
    "JPEG progressive": lambda: jpeg(progressive=True),
    "JPEG to be turned": lambda: jpeg(6),
    "PNG": png,
    "PNG to be turned": lambda: png(6),
    "APNG": lambda: pictures.saved(
        photograph(), "PNG", save_all=True, append_images=[photograph().rotate(90)], exif=exif()
    ),
    "WEBP": lambda: pictures.saved(photograph(), "WEBP", exif=exif().tobytes(), xmp=XMP, quality=90),
    "WEBP to be turned": lambda: pictures.saved(photograph(), "WEBP", exif=exif(6).tobytes(), lossless=True),
    "WEBP animated": lambda: pictures.saved(
        photograph(), "WEBP", save_all=True, append_images=[photograph().rotate(90)], exif=exif().tobytes(), xmp=XMP
    ),
    "AVIF": lambda: pictures.saved(photograph(), "AVIF", exif=exif().tobytes(), xmp=XMP, quality=80),
    "AVIF animated": lambda: pictures.saved(
        photograph(), "AVIF", save_all=True, append_images=[photograph().rotate(90)], exif=exif().tobytes(), xmp=XMP
    ),
    "HEIC": heic,
    "JXL": lambda: pictures.saved(photograph(), "JXL", exif=exif().tobytes(), xmp=XMP),
    "GIF": gif,
    "GIF animated": lambda: gif(frames=3),
    "JP2": jp2,
    "TIFF": tiff,
    "TIFF in CMYK": lambda: pictures.saved(photograph().convert("CMYK"), "TIFF", tiffinfo={315: SECRET}, exif=exif()),
    "MPO": mpo,
}  # fmt: skip


def leaked(data: bytes) -> list[bytes]:
    """Return what some bytes give away."""
    return [mark for mark in MARKS if mark in data]
