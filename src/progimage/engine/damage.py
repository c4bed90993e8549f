"""Damaged images: a sentence on how much of the image can still be decoded."""

from dataclasses import replace

import pyvips

from progimage.engine.codecs.codec import Decoder, Source
from progimage.engine.decode import decode, with_decoders
from progimage.engine.errors import CorruptImage, EngineError
from progimage.engine.files import InputFile
from progimage.engine.limits import Limits
from progimage.engine.source import open_source


def explained(error: CorruptImage, file: InputFile, limits: Limits) -> CorruptImage:
    """Return an error that also says whether `damaged=accept` would accept the image.

    Args:
        error: The error that the image was rejected with.
        file: The image file.
        limits: The largest image to accept.
    """
    try:
        what_is_left(file, replace(limits, damaged=True))
    except EngineError:
        return error
    return CorruptImage(f"{str(error).rstrip('.')}. With damaged=accept, the part that can be decoded is kept.")


def what_is_left(file: InputFile, limits: Limits) -> str:
    """Return a sentence that says which part of a damaged image is missing.

    Args:
        file: The image file.
        limits: The largest image to accept, with `damaged` set.

    Raises:
        CorruptImage: Nothing can be decoded.
        NotAnImage, LimitExceeded: See `open_source`.
    """
    source = open_source(file, limits)
    above, below, height = with_decoders(source, lambda decoder: _blank_rows(source, decoder))
    if above == height:
        raise CorruptImage("Nothing of the image can be decoded.")
    if above or below:
        where, rows = ("first", above) if above > below else ("last", below)
        are = f"row of {height} is" if rows == 1 else f"{rows} of {height} rows are"
        return f"The image is damaged: the {where} {are} missing and left blank."
    if source.description.lost:
        return source.description.lost
    count = source.description.count
    whole = _whole_frames(source) if count > 1 else 0
    if whole:
        kind = "frames" if source.description.animated else "pages"
        return f"The image is damaged: only the first {whole} of its {count} {kind} are intact."
    return "The image is damaged: some of its pixels can't be decoded."


def _blank_rows(source: Source, decoder: Decoder) -> tuple[int, int, int]:
    """Decode all frames; return the blank rows at the top and at the bottom of the first frame, and its height."""
    frames = decode(source, decoder, 0, source.description.count)
    pixels = next(frames).pixels
    low, high = decoder.blank
    blank = ((pixels >= low) & (pixels <= high)).bandand().copy_memory()
    for frame in frames:
        frame.pixels.avg()
    if not decoder.lenient:  # all rows are there, although something else can be missing
        return 0, 0, blank.height
    _, top, _, height = blank.find_trim(background=[255], threshold=1, line_art=True)
    return top if height else blank.height, blank.height - top - height if height else 0, blank.height


def _whole_frames(source: Source) -> int:
    """Return the number of frames or pages before the first that can't be decoded."""
    decoders = source.codec.decoders(source.description)
    return max(_counted(source, decoder) for decoder in decoders if not decoder.lenient)


def _counted(source: Source, decoder: Decoder) -> int:
    count = 0
    try:
        for frame in decode(source, decoder, 0, source.description.count):
            frame.pixels.avg()
            count += 1
    except (CorruptImage, pyvips.Error, UnicodeDecodeError):
        return count
    return count
