"""Repair of damage to a WebP that affects no pixels: wrong file length, missing padding, trailing bytes.

Source: RFC 9649, section 2.3 (chunks) and 2.7 (the extended file).
"""

from progimage.engine.codecs.mending import Mended, after_end, joined
from progimage.engine.files import InputFile

_HEADER, _FRAMING = 12, 8
_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")
_KNOWN = (*_PIXELS, b"VP8X", b"ALPH", b"ANIM", b"ICCP", b"EXIF", b"XMP ")
_FRAME = b"ANMF"
_MOST_CHUNKS = 100_000


def mended(file: InputFile) -> Mended | None:
    """Return a file with harmless damage repaired; None if there is none, or the file isn't a WebP."""
    data = file.data
    if bytes(data[:4]) != b"RIFF" or bytes(data[8:_HEADER]) != b"WEBP":
        return None
    said = int.from_bytes(data[4:8], "little") + _FRAMING
    at, frames, pixels, cut = _HEADER, 0, False, b""
    for _ in range(_MOST_CHUNKS):
        kind = bytes(data[at : at + 4])
        if at + _FRAMING > len(data) or (at >= said and kind not in _KNOWN):
            break
        length = int.from_bytes(data[at + 4 : at + _FRAMING], "little")
        if at + _FRAMING + length > len(data):
            cut = kind
            break
        pixels = pixels or kind in _PIXELS
        frames += kind == _FRAME
        at += _FRAMING + length + length % 2
    end = min(at, len(data))
    if not pixels or (cut in _PIXELS and cut != _FRAME):
        return None  # left to the decoder
    if cut in _KNOWN:
        what = "The last frame of the WebP is truncated." if cut == _FRAME else ""
        warning = "" if what else f"A chunk of the WebP is truncated and ignored: {cut.decode().strip()}."
        return Mended(_ended(data, at, end), (warning,) if warning else (), what)
    if at == said == len(data):
        return None
    if said == at and len(data) > at:
        return Mended(file, (after_end(len(data) - at),))
    if frames and said > len(data):
        return Mended(_ended(data, at, end), (), "The WebP is shorter than its header says: frames are missing.")
    warnings = (
        ["The header of the WebP has a wrong file length."] if said != at else ["The last byte of the WebP is missing."]
    )
    if len(data) > at:
        warnings.append(after_end(len(data) - at))
    return Mended(_ended(data, at, end), tuple(warnings))


def _ended(data: memoryview, at: int, end: int) -> InputFile:
    """Return a file that ends after its last chunk, with the matching length in its header."""
    length = (at - _FRAMING).to_bytes(4, "little")
    return joined([data[:4], length, data[_FRAMING:end], b"\0" * (at - end)])
