"""Damage that costs no pixel, and what is left of a file that has lost some: as others show the same file.

They are Chromium, and for JPEG djpeg: without an end marker Chromium leaves out the last rows, though they are there.
"""

import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import pytest
from PIL import Image

from tests import pictures
from tests.conformance import judges, making
from tests.conformance.complaints import Complaints
from tests.conformance.judges import Chromium, Seen
from tests.integration.server import Server
from tests.programs import needs


def _noise() -> Image.Image:
    grain = numpy.random.default_rng(5).integers(0, 90, (120, 160, 3), dtype=numpy.uint8)
    return Image.fromarray(grain + numpy.asarray(pictures.colour((160, 120))) // 2)


def _in_png(*parts: tuple[bytes, bytes, int]) -> bytes:
    """A PNG with chunks behind its header: their names, what is in them, and what is added to the checksum."""
    whole = pictures.saved(_noise(), "PNG")
    added = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", (zlib.crc32(name + body) + wrong) % 2**32)
        for name, body, wrong in parts
    )
    return whole[:33] + added + whole[33:]


def _riff(data: bytes, wrong: int) -> bytes:
    return data[:4] + struct.pack("<I", len(data) - 8 + wrong) + data[8:]


@dataclass(frozen=True)
class Kind:
    """A damaged file.

    Attributes:
        format: Its format.
        how: What is wrong with it.
        data: The file.
        lost: It has lost pixels.
    """

    format: str
    how: str
    data: bytes
    lost: bool = False

    def __str__(self) -> str:
        return f"{self.format}, {self.how}"


_JPEG = pictures.saved(_noise(), "JPEG", quality=85)
_PROGRESSIVE = pictures.saved(_noise(), "JPEG", quality=85, progressive=True)
_PNG = pictures.saved(_noise(), "PNG")
_WEBP = pictures.saved(_noise(), "WEBP", quality=80)
_GIF = pictures.saved(_noise().quantize(64), "GIF", interlace=0)
KINDS = [
    Kind("JPEG", "no end", _JPEG[:-2]),
    Kind("JPEG", "progressive, no end", _PROGRESSIVE[:-2]),
    Kind("JPEG", "bytes behind the end", _JPEG + b"junk" * 50),
    Kind("JPEG", "stray bytes", _JPEG[:20] + b"\1\2\3" + _JPEG[20:]),
    Kind("JPEG", "half", _JPEG[: len(_JPEG) // 2], lost=True),
    Kind("PNG", "text with a wrong checksum", _in_png((b"tEXt", b"a\0b", 1))),
    Kind("PNG", "long text", _in_png((b"zTXt", b"a\0\0" + zlib.compress(bytes(1_800_000)), 0))),
    Kind("PNG", "no end", _PNG[:-12]),
    Kind("PNG", "bytes behind the end", _PNG + b"junk" * 50),
    Kind("WebP", "bytes behind the end", _WEBP + b"junk" * 50),
    Kind("GIF", "no end", _GIF[:-1]),
    Kind("GIF", "bytes behind the end", _GIF + b"junk" * 50),
    Kind("AVIF", "bytes behind the end", making.saved(making.scene(), "AVIF") + b"junk" * 50),
]  # fmt: skip


def _by_djpeg(data: bytes) -> Seen:
    # It ends with a code of its own after it has warned.
    made = subprocess.run([needs("djpeg"), "-rgb"], input=data, capture_output=True, timeout=60, check=False).stdout
    return judges.rgba(numpy.asarray(Image.open(io.BytesIO(made))))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_damage(server: Server, cell: Callable[[str, str], None], chromium: Chromium, kind: Kind) -> None:
    cell(kind.format, "damage")
    answer = server.client.put("/storage/", content=kind.data)
    with Complaints() as complaints:
        if kind.lost:
            if answer.status_code != 400:
                complaints.add("accepted though pixels are lost", kind.how)
            answer = server.client.put("/storage/?damaged=accept", content=kind.data)
        if answer.status_code != 200:
            complaints.add("refused", kind.how)
            return
        info = server.get(f"{answer.text}/info").json()
        if not info["warnings"] or info["damaged"] is not kind.lost:
            complaints.add("/info does not say it", kind.how)
        ours = judges.read_png(server.get(f"{answer.text}.png?flop").content)[:, ::-1]  # not its own bytes
        shown = _by_djpeg(kind.data) if kind.format == "JPEG" else chromium.still(kind.format.lower(), kind.data)
        if ours.shape != shown.shape:
            complaints.add("another size", kind.how)
        elif judges.difference(ours, shown) > 2:
            complaints.add("other pixels", kind.how)
